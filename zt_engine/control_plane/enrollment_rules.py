"""What an organisation demands of enrollments, reports and renewals, as values."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.ports.credentials import Person

HOUR: Final = 3600
DAY: Final = 86_400


class EnrollmentRules(msgspec.Struct, frozen=True, kw_only=True):
    """Ranks are those of labels. A table of them is in ascending order, and its last row is for all ranks above."""

    sign_in: frozenset[str] = frozenset()
    """`acr` or `amr` values, one of which a sign-in must show before a key is certified; empty: any sign-in."""
    sign_in_age: int | None = None
    """Seconds since the person signed in, at most; None: a session of any age."""
    attestation: Literal["none", "optional", "required"] = "none"
    hardware: frozenset[str] | None = None
    """The chips that were registered beforehand (`Attested.hardware`): a foreign one is refused. None: any chip."""
    lifetimes: tuple[tuple[int, int], ...] = ((1000, DAY),)
    """Rank -> seconds a certificate lives, for devices with a ceiling of up to this rank."""
    grace: tuple[tuple[int, int], ...] = ((100, 7 * DAY), (200, DAY), (1000, 0))
    """Rank -> seconds after its end in which a certificate is renewed as if it were valid."""
    enrollment_seconds: int = DAY
    report_every: tuple[int, int] = (720, 900)

    def lifetime(self, ceiling: int) -> int:
        """Seconds a certificate of a device with this ceiling lives."""
        return _row(self.lifetimes, ceiling)

    def grace_of(self, ceiling: int) -> int:
        """Seconds after the end of a certificate in which nothing has to be shown anew."""
        return _row(self.grace, ceiling)

    def check_sign_in(self, person: Person, *, now: float) -> None:
        """Refuse a sign-in that is too weak or too old to have a key certified: SIGN_IN_WEAK, SIGN_IN_OLD."""
        if self.sign_in and self.sign_in.isdisjoint((person.acr, *person.amr)):
            raise InputError("SIGN_IN_WEAK", "the sign-in shows none of the methods that are demanded here")
        if self.sign_in_age is not None and (person.auth_time is None or now - person.auth_time > self.sign_in_age):
            raise InputError("SIGN_IN_OLD", f"the sign-in is not of the last {self.sign_in_age} s")


def _row(table: tuple[tuple[int, int], ...], rank: int) -> int:
    return next((seconds for limit, seconds in table if rank <= limit), table[-1][1])
