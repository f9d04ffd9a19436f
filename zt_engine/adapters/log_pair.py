"""A segment of the decision log and the companion that holds the inputs of its events."""

from __future__ import annotations

from pathlib import Path

from zt_engine.adapters.log_files import AppendFile, Files


class SegmentPair:
    """Two files that rotate and go together, so that replaying a segment needs no other file."""

    __slots__ = ("inputs", "segment", "until")

    def __init__(self, segment: AppendFile, inputs: AppendFile, until: float) -> None:
        self.segment = segment
        self.inputs = inputs
        self.until = until

    @classmethod
    def create(cls, files: Files, *, segment: Path, inputs: Path, line: bytes, until: float) -> SegmentPair:
        """Both files, the segment with its first line; raises OSError and then leaves nothing behind."""
        companion = AppendFile(files, inputs, b"")
        try:
            return cls(AppendFile(files, segment, line), companion, until)
        except BaseException:
            companion.close()
            inputs.unlink(missing_ok=True)
            raise

    def keep_ahead(self) -> None:
        self.inputs.keep_ahead()
        self.segment.keep_ahead()

    def sync(self) -> None:
        self.inputs.sync()
        self.segment.sync()

    def close(self) -> None:
        self.inputs.close()
        self.segment.close()
