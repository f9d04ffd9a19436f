"""Our sidecar with browsers' sessions that nobody has told it of: `python -m benchmarks.sessions_child CONFIG RECORDS`.

Everything else is as `zt sidecar run` does it. A control plane would tell it of sessions over the stream; what a
decision costs does not depend on how they came.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import uvloop

from zt_engine import logs
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.cli import sidecar
from zt_engine.core.session import SessionRecord
from zt_engine.sidecar.replica import Changes


class Told(SidecarProgram):
    """A sidecar that knows some sessions before it serves."""

    records: tuple[SessionRecord, ...] = ()

    async def _meet(self) -> None:
        known = self.replica.state
        sessions = Changes(sessions={record.sid: record for record in self.records})
        assert known.situation is not None
        self.replica.adopt(known.records.changed(sessions), known.situation, now=self.clock.now())
        await super()._meet()


def main(config: Path, records: Path) -> None:
    """Serve until told to stop."""
    Told.records = msgspec.json.decode(records.read_bytes(), type=tuple[SessionRecord, ...])
    sidecar.SidecarProgram = Told  # type: ignore[attr-defined]
    logs.configure(verbose=False)
    uvloop.run(sidecar.serve(config))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
