"""How each contestant is started: OPA's server, a granian application, our sidecar, our listener alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import Contestant, free_port
from benchmarks.site import HOOK, Site

ZT = "from zt_engine.cli import main; main()"
"""The command `zt`, also where it is not installed on the path."""
OPA_CONFIG = {
    "decision_logs": {"plugin": "file_logger"},
    "plugins": {"file_logger": {"path": "", "max_size_mb": 1024}},
}


def opa_server(opa: Path, folder: Path, bundle: bytes, *, core: int) -> Contestant:
    """Start a stock OPA server with a bundle, one processor, its decision log in a file and no other logging.

    Its own file logger is the fastest way it has to write decisions down, faster than its console log in a file.
    """
    folder.mkdir()
    (folder / "bundle.tar.gz").write_bytes(bundle)
    config = json.loads(json.dumps(OPA_CONFIG))
    config["plugins"]["file_logger"]["path"] = str(folder / "decisions.log")
    (folder / "config.json").write_text(json.dumps(config))
    port = free_port()
    command = [
        opa, "run", "--server", "--addr", f"127.0.0.1:{port}", "--log-level", "error", "--skip-version-check",
        "--config-file", folder / "config.json", "--bundle", folder / "bundle.tar.gz",
    ]  # fmt: skip
    return Contestant(
        "opa", command, core=core, log=folder / "output", port=port, ready=f"http://127.0.0.1:{port}/health",
        env={"GOMAXPROCS": "1"},
    )  # fmt: skip


def granian_noop(granian: Path, folder: Path, answer: bytes, *, core: int) -> Contestant:
    """Start granian with the application that answers the headers of `answer`: one worker, one thread."""
    folder.mkdir()
    headers = [
        [name.lower(), value.strip()]
        for name, _, value in (line.partition(":") for line in answer.decode().split("\r\n")[1:-2])
        if name.lower() != "content-length"
    ]
    (folder / "answer.json").write_text(json.dumps(headers))
    port = free_port()
    command = [
        granian, "--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port), "--http", "1", "--no-ws",
        "--workers", "1", "--runtime-threads", "1", "--runtime-mode", "st", "--loop", "uvloop", "--no-access-log",
        "--log-level", "warning", "benchmarks.noop_rsgi:application",
    ]  # fmt: skip
    return Contestant(
        "noop", command, core=core, log=folder / "output", port=port, ready=f"http://127.0.0.1:{port}{HOOK.decode()}",
        env={"ZT_NOOP_ANSWER": str(folder / "answer.json")},
    )  # fmt: skip


def sidecar(name: str, site: Site, folder: Path, *, core: int, cache: bool = True) -> Contestant:
    """Start our sidecar on a copy of a site's installation, as `zt sidecar run` does."""
    port, admin_port = free_port(), free_port()
    config = site.clone(folder, port=port, admin_port=admin_port, cache=cache)
    command = [
        sys.executable, "-c", ZT, "sidecar", "run", "--config", config,
    ]  # fmt: skip
    contestant = Contestant(
        name, command, core=core, log=folder / "output", port=port, ready=f"http://127.0.0.1:{admin_port}/readyz"
    )
    contestant.metrics = f"http://127.0.0.1:{admin_port}/metrics"
    return contestant


def sidecar_with(settings: Callable[[str], str], site: Site, folder: Path, *, core: int) -> Contestant:
    """Start our sidecar on such a copy with settings that were made of the installation's own."""
    before = site.sandbox.config.read_text()
    try:
        site.sandbox.config.write_text(settings(before))
        return sidecar("sidecar", site, folder, core=core)
    finally:
        site.sandbox.config.write_text(before)


def noop(
    module: str, where: int | Path, folder: Path, answer: bytes, *more: Path, core: int, ready: str = ""
) -> Contestant:
    """Start one of our listeners with an application that answers at once, at a port or a socket."""
    folder.mkdir()
    (folder / "answer").write_bytes(answer)
    command = [sys.executable, "-m", f"benchmarks.{module}", str(where), folder / "answer", *more]
    port = where if isinstance(where, int) else 0
    return Contestant("noop", command, core=core, log=folder / "output", port=port, ready=ready)


def listener_noop(folder: Path, answer: bytes, *, core: int) -> Contestant:
    """Start our HTTP listener so."""
    port = free_port()
    ready = f"http://127.0.0.1:{port}{HOOK.decode()}"
    return noop("noop_listener", port, folder, answer, core=core, ready=ready)


def churn(folder: Path, persons: int, *, core: int) -> Contestant:
    """Start the people who keep changing a site's records. Nobody asks it anything."""
    command = [sys.executable, "-m", "benchmarks.churn", folder, str(persons)]
    return Contestant("churn", command, core=core, log=folder / "churn", port=0, ready="")
