"""An `opa run --server` of our own, for authoring: the second engine that every scenario is decided on."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from zt_engine.core.errors import UnavailableError

START_SECONDS = 20.0
POLL_SECONDS = 0.01
DATA_BYTES = 4 << 30


@contextlib.contextmanager
def serve_bundle(executable: Path, bundle: bytes) -> Iterator[str]:
    """Serve a bundle on a Unix socket in a private folder until the block ends; yield the address for `OpaEngine`.

    Its signature is not checked: whoever serves what they just built has nothing to check it against. Raises
    UnavailableError OPA_FAILED with OPA's own words.
    """
    with tempfile.TemporaryDirectory(prefix="zt-opa-") as folder, Path(folder, "log").open("w+b") as log:
        path, address = Path(folder, "bundle.tar.gz"), f"{folder}/s"
        path.write_bytes(bundle)
        options = ("--addr", f"unix://{address}", "--log-level", "error", "--skip-version-check", "--skip-verify")
        process = subprocess.Popen(  # noqa: S603 - a program by absolute path, empty environment
            [str(executable), "run", "--server", *options, "--bundle", str(path)],
            cwd=folder,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
            _await(process, address, log=Path(folder, "log"))
            yield f"unix://{address}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()


def _await(process: subprocess.Popen[bytes], address: str, *, log: Path) -> None:
    """Wait until the server accepts connections; OPA says nothing when it does."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(address) == 0:
                return
        try:
            process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        break
    said = " ".join(log.read_text(errors="replace").split())[-500:]
    raise UnavailableError("OPA_FAILED", f"opa did not serve the bundle: {said}")
