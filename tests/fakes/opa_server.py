"""A real OPA server on a Unix socket, with the bundle it is given."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def opa_server(opa: str, files: Mapping[str, bytes], *, revision: str) -> Iterator[str]:
    """Serve these Rego and data files as one bundle; yield the address."""
    with tempfile.TemporaryDirectory(prefix="opa-") as folder:
        bundle = Path(folder, "bundle")
        for name, content in {**files, ".manifest": json.dumps({"revision": revision}).encode()}.items():
            (bundle / name).parent.mkdir(parents=True, exist_ok=True)
            (bundle / name).write_bytes(content)
        with opa_serving(opa, bundle, socket_path=f"{folder}/opa.sock") as address:
            yield address


@contextlib.contextmanager
def opa_serving(
    opa: str, bundle: Path, *, socket_path: str, options: tuple[str, ...] = ("--skip-verify",)
) -> Iterator[str]:
    """Run `opa run --server` on a bundle until the block ends; yield the address once it accepts connections."""
    address = f"unix://{socket_path}"
    command = [opa, "run", "--server", "--addr", address, "--skip-version-check", "--log-level", "error", *options]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [*command, "--bundle", str(bundle)], env={}, cwd=bundle.parent, stderr=log, stdout=log
        ) as process,
    ):
        try:
            while not _accepts(socket_path):
                # OPA says nothing once it listens: ask until it answers or has ended.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.01)
                    log.seek(0)
                    raise AssertionError("opa did not start: " + log.read().decode())
            yield address
        finally:
            process.kill()


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0
