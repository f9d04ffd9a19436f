"""What was published from one source, kept on the disk: whether a release in force came from it is known after a start.

What was released by somebody else since, or put back by a rollback, is not of the source: it is newer than the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from zt_engine.core.errors import BundleError

STATE: Final = "published.json"
KEPT: Final = 200
"""Releases that are remembered; the one in force is among the newest."""


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of the releases that came from a source, and what came last."""

    state: str = msgspec.field(default="", name="commit")
    """What the source was when it was published last: a commit, or the digest of a folder."""
    source: str = ""
    content: str = ""
    """The content digest that was published last."""
    seqs: tuple[int, ...] = ()

    def holds(self, seq: int, content: str) -> bool:
        """Whether a release came from here; the last content under another number is a renewal of it."""
        return seq in self.seqs or (bool(self.content) and content == self.content)

    def with_release(self, state: str, seq: int, content: str) -> Lineage:
        """Return it with one more release."""
        seqs = (*(one for one in self.seqs if one != seq), seq)[-KEPT:]
        return Lineage(state=state, source=self.source, content=content, seqs=seqs)


class LineageFile:
    """The lineage of one source in a folder of the publisher's; another source's is none."""

    def __init__(self, folder: Path, source: str) -> None:
        self._file = folder / STATE
        self._source = source

    def read(self) -> Lineage:
        """Return what is remembered; BundleError SOURCES_UNREADABLE for what is no such file."""
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=Lineage)
        except FileNotFoundError:
            found = Lineage()
        except (OSError, msgspec.DecodeError) as error:
            raise BundleError("SOURCES_UNREADABLE", str(error), where=str(self._file)) from None
        if found.source not in ("", self._source):
            found = Lineage()
        return msgspec.structs.replace(found, source=self._source)

    def write(self, lineage: Lineage) -> None:
        """Remember it, for good and in one step."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(lineage))
        draft.replace(self._file)
