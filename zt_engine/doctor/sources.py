"""The files of a configuration, read within bounds: whoever wrote them may be an enemy."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zt_engine.core.errors import ConfigError, Problem

MAX_BYTES = 4 << 20
MAX_TOTAL = 16 << 20
MAX_FILES = 2_000
MAX_INCLUDES = 16
"""Files inside files inside files."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_WILD = re.compile(r"[*?\[]")


def fault(code: str, message: str, where: str) -> ConfigError:
    """Return the error that says a file cannot be looked at."""
    return ConfigError((Problem(code=code, message=message, where=where),))


class Sources:
    """Reads each file once, counts them, and remembers what it could not read."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.unreadable: list[Problem] = []
        self._texts: dict[str, str] = {}
        self._total = 0
        self._open: list[str] = []

    def read(self, path: str, *, where: str = "") -> str:
        """Return a file's text; ConfigError DOCTOR_UNREADABLE, DOCTOR_TOO_LARGE for what is no text of sane size."""
        where = where or path
        if path in self._texts:
            return self._texts[path]
        if len(self.files) >= MAX_FILES:
            raise fault("DOCTOR_TOO_LARGE", f"more than {MAX_FILES} files", where)
        try:
            raw = _bytes(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise fault("DOCTOR_UNREADABLE", f"{_named(path)}: {reason}", where) from None
        self._total += len(raw)
        if len(raw) > MAX_BYTES or self._total > MAX_TOTAL:
            raise fault("DOCTOR_TOO_LARGE", f"{_named(path)}: over {MAX_BYTES} bytes, or {MAX_TOTAL} in all", where)
        # A comment in an older encoding makes no configuration unreadable; syntax is ASCII in all of them.
        text = raw.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
        if _CONTROL.search(text) is not None:
            raise fault("DOCTOR_UNREADABLE", f"{_named(path)}: holds control characters, so it is no text", where)
        self.files.append(path)
        self._texts[path] = text
        return text

    def note(self, error: ConfigError) -> None:
        """Remember what could not be read, and go on with the rest."""
        self.unreadable.extend(error.problems)

    @contextmanager
    def inside(self, path: str, *, where: str) -> Iterator[None]:
        """Hold a file open for the includes in it; DOCTOR_SYNTAX when it includes itself."""
        real = os.path.realpath(path)
        if real in self._open or len(self._open) >= MAX_INCLUDES:
            raise fault("DOCTOR_SYNTAX", f"{_named(path)} is included from inside itself, or too deep", where)
        self._open.append(real)
        try:
            yield
        finally:
            self._open.pop()

    def included(self, pattern: str, *, base: str, where: str) -> list[str]:
        """Return the files that an include names, in order; a name without wildcards has to exist."""
        path = os.path.join(base, pattern)  # noqa: PTH118  (a pattern, not a path)
        if _WILD.search(pattern) is None:
            if not Path(path).exists():
                raise fault("DOCTOR_UNREADABLE", f"{_named(path)}: no such file", where)
            return [path]
        found: list[str] = []
        for match in glob.iglob(path):  # noqa: PTH207
            found.append(match)
            if len(found) > MAX_FILES:
                raise fault("DOCTOR_TOO_LARGE", f"`{pattern}` names more than {MAX_FILES} files", where)
        return sorted(match for match in found if Path(match).is_file())


def _bytes(path: str) -> bytes:
    """Read one byte more than is allowed, and nothing but a regular file: a pipe would never end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("no regular file")
        return stream.read(MAX_BYTES + 1)


def _named(path: str) -> str:
    return f"`{_CONTROL.sub('?', path)[:200]}`"
