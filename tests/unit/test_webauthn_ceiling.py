"""A browser without a device that proves itself with a key reaches C1, and with no key more (worked example G)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.test_authorize import Bench
from tests.unit.trust_support import MODEL, person, score
from tests.world import ISSUER
from zt_engine.core.decision import Effect
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


@pytest.mark.parametrize("hardware", [False, True])
def test_with_the_policy_in_force_it_opens_c1_and_no_c2(opa: str, hardware: bool) -> None:
    bench, used = Bench(opa), key(hardware=hardware)
    now = int(bench.world.clock.now())
    record = SessionRecord(
        sid=sid_of(HANDLE), version=2, host="portal.example", issuer=ISSUER, subject="tanaka",
        client_id="portal", claims={"groups": ["staff"]}, acr=used.acr, amr=used.amr, auth_time=now, until=now + 900,
    )  # fmt: skip
    replica = bench.world.replica
    told = replica.state.records.changed(Changes(sessions={record.sid: record}))
    replica.state = replace(replica.state, records=told)

    opened, closed = (bench.decided(url, token=b"", certificate=None, session=HANDLE).decision for url in (NOTE, CASE))

    assert (opened.effect, opened.reasons) == (Effect.ALLOW, ())
    assert not closed.opens
