"""What the stream says of browsers' sessions."""

from __future__ import annotations

from typing import Annotated

import msgspec

from zt_engine.core.errors import Problem
from zt_engine.core.session import SessionRecord


class SessionTold(msgspec.Struct, frozen=True):
    """A browser's session; None: it has ended, or what was told cannot be read."""

    sid: str
    record: SessionRecord | None


class _Session(msgspec.Struct):
    sid: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    ended: bool = False


def read_session(data: bytes, where: str, problems: list[Problem]) -> SessionTold:
    """Read a session; one that does not read opens nothing."""
    named = msgspec.json.decode(data, type=_Session)
    if named.ended:
        return SessionTold(named.sid, None)
    try:
        return SessionTold(named.sid, msgspec.json.decode(data, type=SessionRecord))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problems.append(Problem(code="SESSION_RECORD", message=str(error)[:200], where=where))
        return SessionTold(named.sid, None)
