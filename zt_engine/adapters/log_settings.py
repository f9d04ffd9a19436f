"""Where the decision log lives and how large it may grow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zt_engine.core.errors import ConfigError, Problem

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Where the log lives and how large it may grow. `inputs` and `archive` default to folders inside `folder`."""

    folder: Path
    sidecar: str
    inputs: Path | None = None
    archive: Path | None = None
    segment_bytes: int = 256 * _MIB
    segment_seconds: float = 3600.0
    quota_bytes: int = 20 * 1024 * _MIB
    keep_seconds: float | None = None
    moved_to: Path | None = None
    reserve_bytes: int = 64 * _MIB
    remembered_inputs: int = 200_000


def check_settings(settings: LogSettings) -> None:
    """Refuse sizes that cannot work, all of them at once."""
    problems = [
        Problem(code="LOG_SETTING", message=f"`{name}` must be at least {least}", where=f"log.{name}")
        for name, least in (("segment_bytes", 4096), ("reserve_bytes", 0), ("remembered_inputs", 1))
        if getattr(settings, name) < least
    ]
    if settings.quota_bytes < 2 * settings.segment_bytes:
        message = "`quota_bytes` must hold at least two segments, or nothing could ever be removed"
        problems.append(Problem(code="LOG_SETTING", message=message, where="log.quota_bytes"))
    if problems:
        raise ConfigError(tuple(problems))
