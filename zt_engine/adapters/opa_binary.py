"""The `opa` program, for authoring and publishing only; the sidecar never starts it.

Policy sources are input: a run sees an empty environment, a private folder with the files it is given, a capabilities
file without anything that reaches outside, and limits on processor time, wall time, memory and output.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from zt_engine.core.errors import ConfigError, Problem, UnavailableError
from zt_engine.ports import OpaOutput

HOW_TO_GET_IT = (
    "in a checkout `make peers` builds it; or download it from https://www.openpolicyagent.org/docs/#1-download-opa"
    " and set OPA or add it to PATH"
)
CAPABILITIES = "capabilities.json"
WALL_SECONDS = 120
CPU_SECONDS = 120
DATA_BYTES = 2 << 30
"""Writable memory (RLIMIT_DATA). RLIMIT_AS would count the address space that Go only reserves."""
FILE_BYTES = 64 << 20
"""The most one run may write into one file, its own output included."""


def find_opa(setting: str | None, *, path: str | None = None) -> Path:
    """Return the executable: the `OPA` setting, else the first on `path`; ConfigError OPA_MISSING says how to get it.

    A setting that names no executable is an error, not a reason to look elsewhere.
    """
    if setting:
        if os.access(setting, os.X_OK) and Path(setting).is_file():
            return Path(setting).resolve()
        raise _missing(f"`{setting}` from the setting OPA is not an executable file")
    found = shutil.which("opa", path=path)
    if found is None:
        raise _missing("compiling and testing Rego needs the program `opa`, which is not on PATH")
    return Path(found).resolve()


def packaged_capabilities() -> bytes:
    """The capabilities file every policy is compiled against: what our Wasm engine offers, and no network."""
    return resources.files("zt_engine.adapters").joinpath(CAPABILITIES).read_bytes()


class OpaBinary:
    """Runs one `opa` executable; safe to share between threads."""

    def __init__(
        self,
        executable: Path,
        *,
        capabilities: bytes | None = None,
        wall_seconds: float = WALL_SECONDS,
        data_bytes: int = DATA_BYTES,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        self._executable = executable
        self._capabilities = packaged_capabilities() if capabilities is None else capabilities
        self._wall_seconds = wall_seconds
        self._limits = {
            resource.RLIMIT_CPU: CPU_SECONDS,
            resource.RLIMIT_DATA: data_bytes,
            resource.RLIMIT_FSIZE: file_bytes,
            resource.RLIMIT_CORE: 0,
        }

    def run(self, *arguments: str, files: Mapping[str, bytes], collect: tuple[str, ...] = ()) -> OpaOutput:
        """Run `opa <arguments>` among `files` in a folder that is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="zt-opa-") as folder:
            root, outputs = Path(folder, "work"), Path(folder)
            for name, content in {**files, CAPABILITIES: self._capabilities}.items():
                target = root / name
                if ".." in Path(name).parts or Path(name).is_absolute():
                    raise ValueError(f"`{name}` leaves the folder")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            status = self._execute(arguments, root=root, outputs=outputs)
            made = {name: (root / name).read_bytes() for name in collect if (root / name).is_file()}
            return OpaOutput(
                status=status,
                stdout=(outputs / "stdout").read_bytes(),
                stderr=(outputs / "stderr").read_bytes(),
                made=made,
            )

    def _execute(self, arguments: tuple[str, ...], *, root: Path, outputs: Path) -> int:
        command = " ".join(arguments[:1])
        with (outputs / "stdout").open("wb") as out, (outputs / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [str(self._executable), *arguments],
                cwd=root,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                for limit, value in self._limits.items():
                    # Set from outside: code between fork and exec is unsafe in a process that has threads.
                    with contextlib.suppress(ProcessLookupError):
                        resource.prlimit(process.pid, limit, (value, value))
                status = process.wait(self._wall_seconds)
            except subprocess.TimeoutExpired:
                raise UnavailableError(
                    "OPA_TIMEOUT", f"`opa {command}` took more than {self._wall_seconds:g} s"
                ) from None
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if status in (-signal.SIGXFSZ, -signal.SIGXCPU, -signal.SIGKILL) or _hit_a_limit(outputs, self._limits):
            raise UnavailableError("OPA_KILLED", f"`opa {command}` went over a limit on time, memory or output")
        return status


_OUT_OF_MEMORY = (
    b"fatal error: ", b"out of memory", b"cannot allocate memory", b"failed to create new OS thread",
    b"pthread_create failed", b"mmap errno 12", b"SIGSEGV", b"unexpected fault address",
)  # fmt: skip
"""What Go says when it wants more memory than there is, depending on who asked for it first. A run that ended with any
fatal error has given no answer, whatever the reason."""


def _hit_a_limit(outputs: Path, limits: Mapping[int, int]) -> bool:
    """Whether an output filled its file, or Go gave up for want of memory (which it says in its own words only)."""
    with (outputs / "stderr").open("rb") as file:
        beginning = file.read(65536)
    if any(words in beginning for words in _OUT_OF_MEMORY):
        return True
    return any((outputs / name).stat().st_size >= limits[resource.RLIMIT_FSIZE] for name in ("stdout", "stderr"))


def _missing(message: str) -> ConfigError:
    return ConfigError((Problem(code="OPA_MISSING", message=message, hint=HOW_TO_GET_IT),))
