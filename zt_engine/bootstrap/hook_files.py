"""Files beside a printed configuration: a copy of the proxy's key in the form that this proxy reads."""

from __future__ import annotations

import contextlib
from pathlib import Path

from zt_engine.adapters.owned_files import replace_owned
from zt_engine.core.errors import ConfigError, Problem


def keep_private(path: Path, content: bytes) -> Path | None:
    """Have a file say this, for its owner's eyes only; returns its path if it did not yet. ConfigError CONFIG_FILE."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == content and path.stat().st_mode & 0o077 == 0:
            return None
    try:
        replace_owned(path, content)
    except OSError as error:
        raise ConfigError((Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path)),)) from None
    return path


def absolute(path: Path | None) -> str:
    """Return a path as a configuration names it, empty for none."""
    return "" if path is None else str(path.absolute())
