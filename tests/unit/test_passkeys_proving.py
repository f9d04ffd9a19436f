"""A session proves itself with a key: once, in its own browser, and it says no more than the key showed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.authenticator import FakeAuthenticator
from tests.passkey_support import BEFORE, HOST, KeyOffice, secret_of
from tests.passkey_support import office as office
from tests.passkey_support import one_office as one_office
from zt_engine.core.errors import InputError


def code_of(error: pytest.ExceptionInfo[InputError]) -> str:
    return error.value.code


def test_a_session_says_what_the_key_proved_and_when(office: KeyOffice) -> None:
    key, kept = office.with_key()
    sid = office.signed_in(**BEFORE)
    office.control.clock.advance(4000)
    office.control.announced()

    begun = office.begin(sid)
    code = office.prove(begun, key)
    raised = office.finish(begun, sid, code)

    held = office.session(sid)
    assert held is not None
    record = held.record
    assert (raised.to, raised.version, record.version) == ("/cases/1?page=2", 2, 2)
    assert (record.acr, record.amr, record.auth_time) == ("phr", ("swk", "user", "mfa"), office.now)
    assert held.raised_by == kept.id
    assert office.held()[0].used_at == office.now
    assert [(kind, told["acr"], told["version"]) for kind, told in office.control.announced()] == [
        ("session.changed", "phr", 2)
    ]
    (event,) = [one for one in office.control.audit() if one.action == "session.raised"]
    assert (json.loads(event.before)["acr"], json.loads(event.after)["acr"]) == ("pwd", "phr")


def test_nothing_else_of_a_session_changes(office: KeyOffice) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(claims={"roles": ["staff"]}, session="idp-7", **BEFORE)
    before = office.session(sid)
    office.control.clock.advance(10)
    begun = office.begin(sid)
    office.finish(begun, sid, office.prove(begun, key))
    after = office.session(sid)

    assert before is not None
    assert after is not None
    for name in before.record.__struct_fields__:
        same = getattr(before.record, name) == getattr(after.record, name)
        assert same == (name not in ("acr", "amr", "auth_time", "version"))
    assert (before.ends_at, before.refresh) == (after.ends_at, after.refresh)


def test_a_code_counts_once(office: KeyOffice) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(**BEFORE)
    begun = office.begin(sid)
    code = office.prove(begun, key)
    office.finish(begun, sid, code)

    with pytest.raises(InputError) as error:
        office.finish(begun, sid, code)
    assert code_of(error) == "PASSKEY_CHALLENGE"


def test_a_challenge_is_answered_once_whatever_the_answer(office: KeyOffice) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(**BEFORE)
    begun = office.begin(sid)
    office.prove(begun, key)
    with pytest.raises(InputError) as error:
        office.prove(begun, key)
    assert code_of(error) == "PASSKEY_CHALLENGE"

    wrong = office.begin(sid)
    asked = office.proving.asked(secret_of(wrong), now=office.now)
    with pytest.raises(InputError) as error:
        office.proving.prove(secret_of(wrong), b"{}", now=office.now)
    assert code_of(error) == "PASSKEY_INVALID"
    with pytest.raises(InputError) as error:
        office.proving.prove(secret_of(wrong), key.get(asked.options), now=office.now)
    assert code_of(error) == "PASSKEY_CHALLENGE"


def test_of_a_double_submit_one_counts(office: KeyOffice) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(**BEFORE)
    begun = office.begin(sid)
    asked = office.proving.asked(secret_of(begun), now=office.now)
    answer = key.get(asked.options)

    def submit(_: int) -> bool:
        try:
            office.proving.prove(secret_of(begun), answer, now=office.now)
        except InputError as error:
            assert error.code == "PASSKEY_CHALLENGE"
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(submit, range(8))) == 1


def test_an_answer_of_one_ceremony_is_none_for_another(office: KeyOffice) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(**BEFORE)
    first, second = office.begin(sid), office.begin(sid)
    asked = office.proving.asked(secret_of(first), now=office.now)

    with pytest.raises(InputError) as error:
        office.proving.prove(secret_of(second), key.get(asked.options), now=office.now)
    assert code_of(error) == "PASSKEY_CHALLENGE"


@pytest.mark.parametrize("seconds", [300, 5000])
def test_a_ceremony_is_over_after_five_minutes(office: KeyOffice, seconds: int) -> None:
    _, _ = office.with_key()
    begun = office.begin(office.signed_in(**BEFORE))
    office.control.clock.advance(seconds)

    with pytest.raises(InputError) as error:
        office.proving.asked(secret_of(begun), now=office.now)
    assert code_of(error) == "PASSKEY_CHALLENGE"


def test_a_code_is_over_after_a_minute(office: KeyOffice) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(**BEFORE)
    begun = office.begin(sid)
    code = office.prove(begun, key)
    office.control.clock.advance(60)

    with pytest.raises(InputError) as error:
        office.finish(begun, sid, code)
    assert code_of(error) == "PASSKEY_CHALLENGE"


@pytest.mark.parametrize(
    "changed",
    [{"ticket": ""}, {"ticket": "A" * 43}, {"host": "other.example"}, {"device_id": "d-1"}, {"sid": "other"}],
    ids=lambda changed: next(iter(changed)) + "=" + next(iter(changed.values()))[:8],
)
def test_what_was_proven_counts_only_in_the_browser_and_for_the_session_that_began(
    office: KeyOffice, changed: dict[str, str]
) -> None:
    """A thief who has a session and sends the address of his ceremony to its person gets nothing for her key."""
    key, _ = office.with_key()
    sid, other = office.signed_in(**BEFORE), office.signed_in(**BEFORE)
    begun = office.begin(sid)
    code = office.prove(begun, key)
    told: dict[str, Any] = {"sid": other} if "sid" in changed else changed

    with pytest.raises(InputError) as error:
        office.finish(begun, **{"sid": sid, "code": code} | told)
    assert code_of(error) == "PASSKEY_SESSION"
    for one in (sid, other):
        held = office.session(one)
        assert held is not None
        assert held.record.acr == "pwd"
    with pytest.raises(InputError) as error:  # better nobody than somebody else
        office.finish(begun, sid, code)
    assert code_of(error) == "PASSKEY_CHALLENGE"


def test_a_secret_of_one_step_is_none_of_another(office: KeyOffice) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(**BEFORE)
    begun = office.begin(sid)
    with pytest.raises(InputError) as error:
        office.finish(begun, sid, secret_of(begun))
    assert code_of(error) == "PASSKEY_CHALLENGE"

    begun = office.begin(sid)
    code = office.prove(begun, key)
    for step in (
        lambda: office.proving.asked(code, now=office.now),
        lambda: office.proving.prove(code, b"{}", now=office.now),
    ):
        with pytest.raises(InputError) as error:
            step()
        assert code_of(error) == "PASSKEY_CHALLENGE"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"host": "other.example"}, "PASSKEY_SESSION"),
        ({"to": "//evil.example"}, "SIGN_IN_RETURN"),
        ({"to": "https://evil.example/"}, "SIGN_IN_RETURN"),
        ({"to": "/.zt/logout"}, "SIGN_IN_RETURN"),
        ({"scheme": "http"}, "SIGN_IN_PLAIN"),
        ({"sid": "A" * 43}, "SESSION_NOT_FOUND"),
        ({"wanted": ("phrh",)}, "PASSKEY_NONE"),
        ({"wanted": ("pwd",)}, "PASSKEY_NONE"),
    ],
)
def test_what_may_not_be_begun_is_not(office: KeyOffice, fields: dict[str, Any], code: str) -> None:
    office.with_key()
    sid = office.signed_in(**BEFORE)

    with pytest.raises(InputError) as error:
        office.begin(**{"sid": sid} | fields)
    assert code_of(error) == code


def test_a_session_of_a_device_proves_itself_from_that_device(office: KeyOffice) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(device_id="d-1", **BEFORE)

    for device in ("", "d-2"):
        with pytest.raises(InputError) as error:
            office.begin(sid, device_id=device)
        assert code_of(error) == "PASSKEY_SESSION"
    begun = office.begin(sid, device_id="d-1")
    assert office.finish(begun, sid, office.prove(begun, key), device_id="d-1").version == 2


def test_who_has_no_key_is_told_so_at_once(office: KeyOffice) -> None:
    office.with_key("suzuki")
    with pytest.raises(InputError) as error:
        office.begin(office.signed_in("tanaka", **BEFORE))
    assert code_of(error) == "PASSKEY_NONE"


def test_the_key_of_another_person_proves_nothing(office: KeyOffice) -> None:
    office.with_key("tanaka")
    stranger, _ = office.with_key("suzuki")
    begun = office.begin(office.signed_in("tanaka", **BEFORE))

    with pytest.raises(InputError) as error:
        office.prove(begun, stranger)
    assert code_of(error) == "PASSKEY_UNKNOWN"


def test_a_key_that_nobody_registered_proves_nothing(office: KeyOffice) -> None:
    office.with_key()
    begun = office.begin(office.signed_in(**BEFORE))
    with pytest.raises(InputError) as error:
        office.prove(begun, FakeAuthenticator())
    assert code_of(error) == "PASSKEY_UNKNOWN"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"origin": "https://portal.example"}, "PASSKEY_ORIGIN"),
        ({"rp": "portal.example"}, "PASSKEY_ORIGIN"),
        ({"verified": False}, "PASSKEY_VERIFICATION"),
        ({"eligible": True}, "PASSKEY_INVALID"),
        ({"signer": None}, "PASSKEY_INVALID"),
    ],
)
def test_what_a_key_answers_wrongly_proves_nothing(office: KeyOffice, wrong: dict[str, Any], code: str) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(**BEFORE)
    with pytest.raises(InputError) as error:
        office.prove(office.begin(sid), key, **wrong)

    assert code_of(error) == code
    held = office.session(sid)
    assert held is not None
    assert held.record.version == 1


def test_a_counter_that_goes_back_locks_the_key_and_nothing_is_proven_with_it_again(office: KeyOffice) -> None:
    key, kept = office.with_key(counter=10)
    sid = office.signed_in(**BEFORE)
    begun = office.begin(sid)

    with pytest.raises(InputError) as error:
        office.prove(begun, key, counter=10)
    assert code_of(error) == "PASSKEY_COUNTER"
    assert office.held()[0].trouble == "counter"
    assert [one.action for one in office.control.audit()][-1] == "passkey.locked"
    with pytest.raises(InputError) as error:
        office.begin(sid)
    assert code_of(error) == "PASSKEY_NONE"
    browser = office.browser("tanaka")
    browser.get("/my/keys")
    assert "Locked" in browser.text
    assert browser.get(f"/my/keys/{kept.id}").status_code == 200


def test_a_forged_answer_with_a_small_counter_locks_nothing(office: KeyOffice) -> None:
    key, _ = office.with_key(counter=10)
    begun = office.begin(office.signed_in(**BEFORE))

    with pytest.raises(InputError) as error:
        office.prove(begun, key, counter=1, signer=None)
    assert code_of(error) == "PASSKEY_INVALID"
    assert office.held()[0].trouble == ""


def test_a_key_locked_or_taken_away_meanwhile_raises_nothing(office: KeyOffice) -> None:
    key, kept = office.with_key()
    sid = office.signed_in(**BEFORE)
    begun = office.begin(sid)
    code = office.prove(begun, key)
    browser = office.browser("tanaka")
    browser.get(f"/my/keys/{kept.id}")
    browser.post(f"/my/keys/{kept.id}/remove")

    with pytest.raises(InputError) as error:
        office.finish(begun, sid, code)
    assert code_of(error) == "PASSKEY_UNKNOWN"


def test_a_lost_key_takes_along_every_session_it_proved_and_no_other(office: KeyOffice) -> None:
    key, kept = office.with_key()
    proven, plain, others = office.signed_in(**BEFORE), office.signed_in(**BEFORE), office.signed_in("suzuki")
    begun = office.begin(proven)
    office.finish(begun, proven, office.prove(begun, key))
    office.control.announced()
    browser = office.browser("tanaka")

    browser.get(f"/my/keys/{kept.id}")
    browser.post(f"/my/keys/{kept.id}/lost")

    assert "reported lost" in browser.text
    assert [office.session(sid) is None for sid in (proven, plain, others)] == [True, False, False]
    ended = [told["sid"] for kind, told in office.control.announced() if kind == "session.changed" and "ended" in told]
    assert ended == [proven]


def test_a_session_that_ended_meanwhile_stays_ended(office: KeyOffice) -> None:
    key, _ = office.with_key()
    sid = office.signed_in(**BEFORE)
    begun = office.begin(sid)
    code = office.prove(begun, key)
    office.sessions.end(sid, reason="signed out", actor="test", now=office.now)

    with pytest.raises(InputError) as error:
        office.finish(begun, sid, code)
    assert code_of(error) == "SESSION_NOT_FOUND"
    assert office.session(sid) is None


# -- for every mixture


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ticket=st.sampled_from(["own", "other", ""]),
    session=st.sampled_from(["own", "other"]),
    host=st.sampled_from([HOST, "other.example"]),
    device=st.sampled_from(["", "d-1"]),
    wait=st.sampled_from([0, 59, 60]),
)
def test_only_what_began_it_finishes_it(
    one_office: KeyOffice, ticket: str, session: str, host: str, device: str, wait: int
) -> None:
    office = one_office
    office.forget()
    key, _ = office.with_key()
    sid, other = office.signed_in(**BEFORE), office.signed_in(**BEFORE)
    begun, another = office.begin(sid), office.begin(other)
    code = office.prove(begun, key)
    office.control.clock.advance(wait)
    told = {
        "ticket": {"own": begun.ticket, "other": another.ticket, "": ""}[ticket],
        "sid": sid if session == "own" else other,
        "host": host,
        "device_id": device,
    }
    right = (ticket, session, host, device) == ("own", "own", HOST, "") and wait < 60
    try:
        office.finish(begun, **{"code": code} | told)
    except InputError:
        assert not right
    else:
        assert right
    levels = {one: held.record.acr for one in (sid, other) if (held := office.session(one)) is not None}
    assert levels == {sid: "phr" if right else "pwd", other: "pwd"}
