"""The decision log of a sidecar, as its settings want it."""

from __future__ import annotations

from zt_engine.adapters.log_checkpoints import CheckpointPublisher, CheckpointSink, DirectorySink, SyslogSink
from zt_engine.adapters.log_checkpoints import load_signing_key as load_log_key
from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.adapters.log_settings import LogSettings, check_settings
from zt_engine.bootstrap.identity import secret_file
from zt_engine.config import Settings
from zt_engine.ports import Clock

MIB = 1 << 20


def open_log(settings: Settings, clock: Clock) -> DecisionLog:
    """Open the decision log with its signed checkpoints."""
    sinks: list[CheckpointSink] = [
        DirectorySink(settings.path(settings.log.checkpoints), log_folder=settings.path(settings.log.dir))
    ]
    if settings.log.syslog is not None:
        sinks.append(SyslogSink(settings.log.syslog))
    secret_file(settings.path(settings.log.key_file))
    key = load_log_key(settings.path(settings.log.key_file))
    publisher = CheckpointPublisher(key, sinks, sidecar=settings.sidecar.id)
    files = LogSettings(
        folder=settings.path(settings.log.dir),
        sidecar=settings.sidecar.id,
        segment_bytes=settings.log.segment_mib * MIB,
        segment_seconds=settings.log.segment_seconds,
        quota_bytes=settings.log.quota_mib * MIB,
        reserve_bytes=settings.log.reserve_mib * MIB,
    )
    check_settings(files)
    return DecisionLog(files, publisher=publisher, clock=clock.now)
