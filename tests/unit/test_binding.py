"""A token counts with the key it names, and as much as its sign-in is worth (RFC 9470)."""

from __future__ import annotations

import msgspec
import pytest

from tests.issuer import NOW
from tests.unit.identity_support import JKT, X5T, token
from zt_engine.core.errors import InputError
from zt_engine.core.identity import (
    Subject,
    VerifiedCertificate,
    assurance_level,
    binding,
    step_up_satisfied,
)

CERTIFICATE = VerifiedCertificate(
    x5t=X5T, device_uri="urn:zt:device:d1", not_before=NOW, not_after=NOW + 60, serial="1", issuer="CN=CA"
)
OTHER = msgspec.structs.replace(CERTIFICATE, x5t="C" * 43)


@pytest.mark.parametrize(
    ("x5t", "jkt", "certificate", "proven", "expected"),
    [
        ("", "", None, None, "none"),
        ("", "", CERTIFICATE, None, "none"),
        ("", "", CERTIFICATE, JKT, "none"),
        (X5T, "", CERTIFICATE, None, "mtls"),
        (X5T, "", CERTIFICATE, JKT, "mtls"),
        ("", JKT, None, JKT, "dpop"),
        ("", JKT, CERTIFICATE, JKT, "dpop"),
        (X5T, JKT, CERTIFICATE, JKT, "mtls"),
    ],
)
def test_a_token_is_bound_by_the_key_it_names_and_that_was_proven(
    x5t: str, jkt: str, certificate: VerifiedCertificate | None, proven: str | None, expected: str
) -> None:
    assert binding(token(x5t=x5t, jkt=jkt), certificate=certificate, jkt=proven) == expected


@pytest.mark.parametrize(
    ("x5t", "jkt", "certificate", "proven"),
    [
        (X5T, "", None, None),
        (X5T, "", OTHER, None),
        (X5T, "", None, X5T),
        ("", JKT, None, None),
        ("", JKT, CERTIFICATE, "C" * 43),
        ("", X5T, CERTIFICATE, None),
        (X5T, JKT, CERTIFICATE, None),
        (X5T, JKT, None, JKT),
        (X5T, JKT, OTHER, JKT),
    ],
)
def test_a_token_whose_key_was_not_proven_is_refused(
    x5t: str, jkt: str, certificate: VerifiedCertificate | None, proven: str | None
) -> None:
    with pytest.raises(InputError, match="TOKEN_BINDING_UNPROVEN"):
        binding(token(x5t=x5t, jkt=jkt), certificate=certificate, jkt=proven)


def test_a_dpop_bound_token_is_no_bearer_token_and_an_unbound_one_no_dpop_token() -> None:
    assert binding(token(jkt=JKT), certificate=None, jkt=JKT, scheme="dpop") == "dpop"
    assert binding(token(), certificate=None, jkt=None, scheme="bearer") == "none"
    with pytest.raises(InputError, match="TOKEN_BINDING_UNPROVEN"):
        binding(token(jkt=JKT), certificate=None, jkt=JKT, scheme="bearer")
    with pytest.raises(InputError, match="TOKEN_BINDING_UNPROVEN"):
        binding(token(), certificate=None, jkt=JKT, scheme="dpop")


# Assurance and step-up (RFC 9470).

TABLE = {"loa10": 10, "loa9": 9, "loa1": 1, "pwd": 1, "otp": 5, "hwk": 9}


@pytest.mark.parametrize(
    ("acr", "amr", "level"),
    [
        ("", (), 0),
        ("loa9", (), 9),
        ("loa10", (), 10),
        ("unknown", (), 0),
        ("unknown", ("pwd",), 1),
        ("loa1", ("pwd", "hwk"), 9),
        ("LOA9", (), 0),
        ("", ("pwd", "unknown"), 1),
    ],
)
def test_levels_come_from_the_table_and_unknown_names_are_worth_nothing(
    acr: str, amr: tuple[str, ...], level: int
) -> None:
    subject = Subject(type="user", acr=acr, amr=amr)

    assert assurance_level(subject, TABLE) == level


def test_a_stronger_sign_in_satisfies_a_weaker_demand_by_level_not_by_name() -> None:
    ten, nine = (Subject(type="user", acr=acr) for acr in ("loa10", "loa9"))

    assert step_up_satisfied(ten, acr="loa9", max_age=None, table=TABLE, now=NOW)
    assert not step_up_satisfied(nine, acr="loa10", max_age=None, table=TABLE, now=NOW)  # "loa9" > "loa10" as text


def test_an_acr_outside_the_table_is_satisfied_by_itself_only() -> None:
    subject = Subject(type="user", acr="urn:special", amr=("hwk",))

    assert step_up_satisfied(subject, acr="urn:special", max_age=None, table=TABLE, now=NOW)
    assert not step_up_satisfied(subject, acr="urn:other", max_age=None, table=TABLE, now=NOW)


@pytest.mark.parametrize(
    ("auth_time", "max_age", "satisfied"),
    [
        (NOW - 60, 60, True),
        (NOW - 61, 60, False),
        (NOW, 0, True),
        (None, 60, False),
        (None, None, True),
        (NOW - 10**6, None, True),
    ],
)
def test_a_sign_in_is_recent_enough_only_when_its_time_is_known(
    auth_time: int | None, max_age: int | None, satisfied: bool
) -> None:
    subject = Subject(type="user", auth_time=auth_time)

    assert step_up_satisfied(subject, acr="", max_age=max_age, table=TABLE, now=NOW) is satisfied
