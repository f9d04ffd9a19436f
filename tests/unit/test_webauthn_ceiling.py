"""A browser without a device that proves itself with a key reaches C1, and with no key more (worked example G)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.test_authorize import Bench
from tests.unit.trust_support import MODEL, person, score
from tests.world import ISSUER, NOW, situation
from zt_engine.core.decision import Decision, Effect
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.core.webauthn import Passkey
from zt_engine.sidecar.replica import Changes

HANDLE = b"h" * 43
C1, C2 = 10, 60
"""The scores that the baseline asks for."""
CASE, NOTE = "https://portal.example/cases/1", "https://portal.example/notes/a"


def key(*, hardware: bool) -> Passkey:
    return Passkey(
        id="a" * 43, issuer="i", subject="s", credential="c", public_key="k", handle="h", name="n", counter=1,
        backup_eligible=False, backed_up=False, attested=hardware, created_at=0,
    )  # fmt: skip


@given(
    hardware=st.booleans(), age=st.integers(min_value=0, max_value=86_400),
    binding=st.sampled_from(["none", "session", "dpop"]), status=st.sampled_from(["active", "suspended"]),
)  # fmt: skip
def test_no_key_lifts_a_browser_without_a_device_above_c1(hardware: bool, age: int, binding: Any, status: str) -> None:
    used = key(hardware=hardware)

    trust = score(None, person(acr=used.acr, amr=used.amr, auth_age=age, status=status), binding)

    assert trust.score < C2
    assert trust.after_step_up < C2


@pytest.mark.parametrize("hardware", [False, True])
def test_a_fresh_key_reaches_c1(hardware: bool) -> None:
    used = key(hardware=hardware)

    trust = score(None, person(acr=used.acr, amr=used.amr, auth_age=5), "none")

    assert C1 <= trust.score <= 15


def test_the_model_knows_every_name_a_key_s_sign_in_has_and_takes_hardware_to_be_stronger() -> None:
    soft, hard = (key(hardware=hardware) for hardware in (False, True))

    for used in (soft, hard):
        assert MODEL.assurance[used.acr] >= MODEL.assurance[used.amr[0]] >= MODEL.assurance["mfa"]
    assert MODEL.assurance[hard.acr] > MODEL.assurance[soft.acr]


def told(bench: Bench, version: int, acr: str, amr: tuple[str, ...], *, age: int = 0) -> None:
    """Have the stream tell of a session that began without a device."""
    now = int(bench.world.clock.now())
    record = SessionRecord(
        sid=sid_of(HANDLE), version=version, host="portal.example", issuer=ISSUER, subject="tanaka",
        client_id="portal", claims={"groups": ["staff"]}, acr=acr, amr=amr, auth_time=now - age, until=now + 900,
    )  # fmt: skip
    replica = bench.world.replica
    records = replica.state.records.changed(Changes(sessions={record.sid: record}))
    replica.state = replace(replica.state, records=records)


def asked(bench: Bench, url: str) -> Decision:
    return bench.decided(url, token=b"", certificate=None, session=HANDLE).decision


@pytest.mark.parametrize("hardware", [False, True])
def test_with_the_policy_in_force_it_opens_c1_and_no_c2(opa: str, hardware: bool) -> None:
    bench, used = Bench(opa), key(hardware=hardware)
    told(bench, 2, used.acr, used.amr)

    assert (asked(bench, NOTE).effect, asked(bench, NOTE).reasons) == (Effect.ALLOW, ())
    assert not asked(bench, CASE).opens


def test_the_next_request_of_a_session_that_was_raised_is_decided_by_what_the_key_proved(opa: str) -> None:
    bench, used = Bench(opa), key(hardware=False)
    overlay = {
        "id": "drill", "cause": "test", "scope": "tenant", "effect": "acr:phr", "not_before": NOW - 60,
        "not_after": NOW + 600, "severity": "low", "exercise": False, "approvals": [],
    }  # fmt: skip
    bench.world.situation = situation(overlays=[overlay])
    bench.world.publish()
    told(bench, 1, "pwd", ("pwd",), age=60)
    before = asked(bench, NOTE)

    told(bench, 2, used.acr, used.amr)

    assert (before.effect, before.reasons) == (Effect.STEP_UP, ("OVERLAY_ACR",))
    assert asked(bench, NOTE).effect is Effect.ALLOW
