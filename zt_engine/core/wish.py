"""What a sign-in was begun for (RFC 9470), and what of it did not come back.

A provider that never says `acr`, or does not heed `max_age`, would be asked again and again: whoever comes back without
what was asked for is told so instead.
"""

from __future__ import annotations

from typing import Final

import msgspec

from zt_engine.core.identity import AssuranceTable
from zt_engine.core.session import SessionRecord

MAX_ASKED: Final = 16
UNKNOWN: Final = 2**31
"""Above every level: what the table does not know is only enough for itself."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the identity provider was asked for."""

    acr_values: str = ""
    max_age: int | None = None

    @property
    def levels(self) -> tuple[str, ...]:
        """The values of `acr` that were asked for, each of which is needed."""
        return tuple(self.acr_values.split()[:MAX_ASKED])


def unmet(wish: Wish, record: SessionRecord, table: AssuranceTable, *, now: float) -> tuple[str, ...]:
    """Return what was asked for and is not there, by the rule that decides the next request; before a policy, no level.

    `table` is how strong the policy in force takes each `acr` and `amr` to be.
    """
    said = max(table.get(name, 0) for name in (record.acr, *record.amr, ""))
    missing = [one for one in wish.levels if one != record.acr and said < table.get(one, UNKNOWN)] if table else []
    if wish.max_age is not None and (record.auth_time is None or now - record.auth_time > wish.max_age):
        missing.append("max_age")
    return tuple(missing)
