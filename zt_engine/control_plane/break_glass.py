"""Breaking the glass: what two people signed is declared once, and looked at by somebody afterwards.

Whether it was used only the decision logs say, so whatever was declared counts as used. Until everything that ended
more than `REVIEW_SECONDS` ago was reviewed, nobody breaks it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog

from zt_engine.control_plane.ledger import write_down
from zt_engine.core.errors import InputError
from zt_engine.core.instants import parse_instant
from zt_engine.ports.inventory import Transaction

log = structlog.get_logger()

KIND: Final = "break_glass"
REVIEW_SECONDS: Final = 72 * 3600


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A grant that was declared and waits for its review."""

    grant: str
    until: int
    declared_by: str


_decode: Final = msgspec.json.Decoder(Broken).decode


def declare(tx: Transaction, record: Mapping[str, Any], *, actor: str, now: int) -> None:
    """Note that a grant is declared, if it is one that breaks the glass. Its record was read and its approvals hold.

    InputError GRANT_USED for one that was declared before, GRANT_REVIEW_DUE while an earlier one waits too long.
    """
    if record.get("kind") != KIND:
        return
    for held in map(_decode, tx.situation.all(KIND).values()):
        if held.until + REVIEW_SECONDS < now:
            raise InputError("GRANT_REVIEW_DUE", f"`{held.grant}` was never reviewed", hint=held.grant)
    until = _instant(record["not_after"])
    digest = signed_content(record)
    if until < now or not tx.nonces.first_use(digest, purpose=KIND, expires_at=until + 1, now=now):
        raise InputError("GRANT_USED", "it was signed for one use, and declared before or is over", where="approvals")
    broken = Broken(grant=str(record["id"]), until=until, declared_by=actor)
    tx.situation.put(KIND, digest, msgspec.json.encode(broken))
    log.warning("grant.glass_broken", grant=broken.grant, until=until, by=actor)


def review(tx: Transaction, grant: str, *, actor: str, findings: str, now: int) -> int:
    """Write down what a review of a grant that has ended found; how many declarations that settles.

    RECORD_NOT_FOUND where none waits for one.
    """
    waiting = {key: _decode(body) for key, body in tx.situation.all(KIND).items()}
    live = tx.situation.all("grant")
    mine = {key: one for key, one in waiting.items() if one.grant == grant and (one.until < now or grant not in live)}
    if not mine:
        raise InputError("RECORD_NOT_FOUND", "no grant of this name has ended and waits for a review")
    for key, one in mine.items():
        tx.situation.put(KIND, key, None)
        after = {"declared_by": one.declared_by, "until": one.until}
        write_down(
            tx, actor=actor, action="grant.reviewed", object_=f"grant:{grant}", reason=findings, after=after, now=now
        )
    return len(mine)


def reviews(tx: Transaction) -> list[dict[str, Any]]:
    """Return what waits for a review, and until when it may; the most urgent first."""
    waiting = sorted(map(_decode, tx.situation.all(KIND).values()), key=lambda one: (one.until, one.grant))
    return [
        {"grant": one.grant, "until": one.until, "due": one.until + REVIEW_SECONDS, "declared_by": one.declared_by}
        for one in waiting
    ]


def signed_content(record: Mapping[str, Any]) -> str:
    """Return the digest of what was signed, however it was written and whoever signed it."""
    signed = {name: value for name, value in record.items() if name != "approvals"}
    return hashlib.sha256(json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _instant(value: object) -> int:
    read = parse_instant(value) if isinstance(value, str) else value
    if not isinstance(read, int):
        raise InputError("SITUATION_TIMES", "no instant", where="not_after")
    return read
