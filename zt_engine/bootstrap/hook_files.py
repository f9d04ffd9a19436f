"""Files and places in a printed configuration: how it names them, and the proxy's key in the form that it reads."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from zt_engine.adapters.owned_files import replace_owned
from zt_engine.config import UNIX
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


def spoken(listen: str) -> str:
    """Return a place as proxies write it: sockets by their whole path."""
    return UNIX + os.path.abspath(listen[len(UNIX) :]) if listen.startswith(UNIX) else listen
