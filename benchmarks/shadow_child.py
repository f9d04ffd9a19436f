"""A shadow without a control plane, for the bench: it watches one overlay about everybody, and reports to a file.

`python -m benchmarks.shadow_child LOG_FOLDER REPORT`
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.log_archive import Archive
from zt_engine.adapters.log_following import LogFollower
from zt_engine.adapters.priority import Crowd, stand_back
from zt_engine.adapters.shadow_http import Watched
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.bootstrap.shadow import Shadow
from zt_engine.core.bundle import open_bundle


class FileControl:
    """Says what is watched, and writes what was seen."""

    def __init__(self, report: Path) -> None:
        self._report = report
        now = int(time.time())
        record = {
            "id": "bench", "scope": "tenant", "effect": "threshold:+1",
            "not_before": now - 3600, "not_after": now + 86_400,
        }  # fmt: skip
        staged = {"ref_seq": 1, "rings": [{"name": "all", "percent": 100}], "mode": "enforce"}
        self._told = Watched(
            staged=staged,
            type="overlay.changed",
            object="overlay:bench",
            record=msgspec.Raw(msgspec.json.encode(record)),
        )

    def watched(self) -> tuple[Watched, ...]:
        return (self._told,)

    def bundle(self, digest: str) -> bytes:
        raise NotImplementedError(digest)

    def report(self, _ref_seq: int, told: dict[str, Any], /) -> None:
        draft = self._report.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(told))
        draft.replace(self._report)


def main(folder: Path, report: Path) -> None:
    """Watch until told to stop."""
    stand_back()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    shadow = Shadow(
        LogFollower(folder),
        Archive(folder / "archive"),
        FileControl(report),
        SystemClock(),
        open_release=lambda raw: open_bundle(raw, keys={}, require_signature=False),
        read_situation=lambda raw: decode_situation(raw, where="candidate"),
        waited=Crowd().waited,
    )
    shadow.turn()
    report.with_suffix(".ready").touch()
    shadow.run(stopped)
    shadow.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
