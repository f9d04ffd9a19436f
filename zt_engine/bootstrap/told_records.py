"""Records as the stream tells them, read as strictly as those of a folder."""

from __future__ import annotations

from collections.abc import Callable

from zt_engine.adapters.device_stream import decode_streamed_device
from zt_engine.adapters.subject_json import decode_subject
from zt_engine.core.situation import Situation
from zt_engine.sidecar.events import Readers
from zt_engine.sidecar.shared_facts import shared

ReadSituation = Callable[[bytes, str], Situation]


def readers(read_situation: ReadSituation) -> Readers:
    """Return the strict readers of records."""
    return Readers(
        device=lambda raw, where: shared(decode_streamed_device(raw, where=where)),
        subject=lambda raw, where: decode_subject(raw, where=where),
        situation=read_situation,
    )
