"""Browser sessions in the control plane: they begin in one browser, live on by one refresh, and end for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any

import msgspec
import pytest

from tests.control_support import NOW, URL
from tests.session_support import ISSUER, Office
from zt_engine.adapters.sealing import FileSealer
from zt_engine.control_plane.sessions import check_return, digest
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.session import sid_of


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    with made.control:
        yield made


def code_of(error: pytest.ExceptionInfo[InputError]) -> str:
    return error.value.code


# -- beginning


def test_a_browser_is_sent_to_the_provider_with_pkce_state_and_nonce(office: Office) -> None:
    begun, query = office.begin(acr_values="phr", max_age=60)
    office.finish(begun, query)

    assert query["redirect_uri"] == "https://portal.example/.zt/callback"
    assert (query["acr_values"], query["max_age"]) == ("phr", "60")
    assert query["challenge"] == digest(office.provider.verifier)


def test_a_session_begins_and_sidecars_are_told_without_any_secret(office: Office) -> None:
    done = office.signed_in()

    ((kind, told),) = office.control.announced()
    assert (kind, told["sid"], told["subject"], told["host"]) == (
        "session.changed", sid_of(done.handle.encode()), "tanaka", "portal.example",
    )  # fmt: skip
    assert done.to == "/cases/1"
    assert done.handle not in msgspec.json.encode(told).decode()
    assert "r1" not in str(office.kept(done.sid).refresh)


def test_a_sign_in_that_says_nothing_of_its_time_is_not_taken_for_a_fresh_one(office: Office) -> None:
    office.signed_in()

    ((_, told),) = office.control.announced()
    assert told["auth_time"] is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"state": "x" * 43}, "SIGN_IN_STATE"),
        ({"now": NOW + 601}, "SIGN_IN_STATE"),
        ({"ticket": "y" * 43}, "SIGN_IN_BROWSER"),
        ({"ticket": ""}, "SIGN_IN_BROWSER"),
        ({"host": "other.example"}, "SIGN_IN_BROWSER"),
        ({"device_id": "laptop-2"}, "SIGN_IN_BROWSER"),
        ({"issuer": "https://evil.example"}, "SIGN_IN_MIXED"),
        ({"error": "access_denied"}, "SIGN_IN_DENIED"),
        ({"code": ""}, "SIGN_IN_DENIED"),
        ({"code": "another nonce"}, "SIGN_IN_MIXED"),
    ],
)
def test_an_answer_that_is_not_to_this_very_sign_in_begins_nothing(
    office: Office, change: dict[str, Any], code: str
) -> None:
    with pytest.raises(InputError) as error:
        office.finish(*office.begin(), **change)

    assert code_of(error) == code
    assert office.control.announced() == []


def test_an_answer_counts_once(office: Office) -> None:
    begun, query = office.begin()
    office.finish(begun, query)
    with pytest.raises(InputError) as error:
        office.finish(begun, query)

    assert code_of(error) == "SIGN_IN_STATE"
    assert len(office.provider.exchanged) == 1


def test_where_the_provider_promises_its_name_an_answer_without_it_is_refused(office: Office) -> None:
    office.provider.promise = True
    with pytest.raises(InputError) as error:
        office.signed_in()
    assert code_of(error) == "SIGN_IN_MIXED"

    begun, query = office.begin()
    assert office.finish(begun, query, issuer=ISSUER).sid


@pytest.mark.parametrize(
    "to",
    [
        "",
        "cases",
        "//evil.example",
        "https://evil.example/",
        "/\\evil",
        "/a b",
        "/a\n",
        "/.zt/logout",
        "/é",
        "/" * 5000,
    ],
)
def test_a_way_back_that_leads_elsewhere_is_refused(to: str) -> None:
    with pytest.raises(InputError) as error:
        check_return(to)
    assert code_of(error) == "SIGN_IN_RETURN"


# -- living on


def test_of_ten_thousand_refreshes_at_once_one_reaches_the_provider_and_nobody_is_logged_out(office: Office) -> None:
    sid, later = office.signed_in().sid, NOW + 600
    office.provider.pause.clear()

    def ask(_: int) -> bool:
        return office.sessions.refresh(sid, now=later) is not None

    with ThreadPoolExecutor(32) as pool:
        racing = [pool.submit(ask, number) for number in range(10_000)]
        for _ in islice(as_completed(racing), 9_000):
            pass  # whoever asks while one of them waits for the provider gets an answer at once
        office.provider.pause.set()
        assert all(one.result() for one in racing)

    assert office.provider.refreshed == 1
    assert office.kept(sid).record.until == later + 900


def test_a_refresh_turns_the_token_over_and_sidecars_are_told(office: Office) -> None:
    sid = office.signed_in().sid
    office.control.announced()
    for turn in (1, 2):
        record = office.sessions.refresh(sid, now=NOW + 600 * turn)
        assert record is not None
        assert record.version == turn + 1

    assert [told["version"] for _, told in office.control.announced()] == [2, 3]
    assert FileSealer(b"k" * 32).open(office.kept(sid).refresh, about=sid) == "r1++"


def test_a_session_that_the_provider_refuses_ends_and_one_it_is_silent_about_lives_until_its_time(
    office: Office,
) -> None:
    sid = office.signed_in().sid
    office.provider.failure = UnavailableError("SIGN_IN_PROVIDER", "silent")
    assert office.sessions.refresh(sid, now=NOW + 600) is not None
    assert office.sessions.refresh(sid, now=NOW + 900) is None

    office.provider.failure = InputError("SIGN_IN_ENDED", "over")
    other = office.signed_in().sid
    assert office.sessions.refresh(other, now=NOW + 600) is None
    assert office.kept(other) is None


def test_nothing_refreshes_a_session_beyond_its_end(office: Office) -> None:
    sid, now = office.signed_in().sid, NOW
    while (record := office.sessions.refresh(sid, now=now)) is not None:
        now += 600
        assert record.until <= NOW + 8 * 3600

    assert now >= NOW + 8 * 3600


def test_without_a_refresh_token_a_session_lives_its_whole_time_and_the_provider_is_not_asked(office: Office) -> None:
    office.provider.refresh_token = ""
    sid = office.signed_in().sid

    record = office.sessions.refresh(sid, now=NOW + 7 * 3600)
    assert record is not None
    assert (record.until, office.provider.refreshed) == (NOW + 8 * 3600, 0)


def test_what_is_sealed_opens_for_its_own_session_under_its_own_key_alone() -> None:
    sealed = FileSealer(b"k" * 32).seal("secret", about="a")

    assert FileSealer(b"k" * 32).open(sealed, about="a") == "secret"
    for sealer, about, text in (
        (FileSealer(b"k" * 32), "b", sealed), (FileSealer(b"o" * 32), "a", sealed), (FileSealer(b"k" * 32), "a", "??"),
    ):  # fmt: skip
        with pytest.raises(UnavailableError):
            sealer.open(text, about=about)


# -- ending


def test_signing_out_ends_a_session_for_every_sidecar(office: Office) -> None:
    sid = office.signed_in().sid
    office.control.announced()

    assert office.sessions.end(sid, reason="signed out", actor="tanaka", now=NOW)
    assert office.control.announced() == [("session.changed", {"sid": sid, "ended": True})]
    assert not office.sessions.end(sid, reason="signed out", actor="tanaka", now=NOW)


def test_a_session_that_ends_while_it_is_refreshed_stays_ended(office: Office) -> None:
    sid = office.signed_in().sid
    office.provider.pause.clear()
    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(office.sessions.refresh, sid, now=NOW + 600)
        assert office.provider.asked.wait(10)
        office.sessions.end(sid, reason="signed out", actor="tanaka", now=NOW + 600)
        office.provider.pause.set()

        assert refreshing.result() is None
    assert office.kept(sid) is None


@pytest.mark.parametrize(("token", "left"), [("tanaka|", 0), ("|idp-7", 0), ("suzuki|", 2), ("suzuki|idp-7", 2)])
def test_the_provider_s_word_ends_every_session_it_is_about(office: Office, token: str, left: int) -> None:
    sids = [office.signed_in().sid, office.signed_in().sid]
    sent = office.control.call(
        "POST", "/v1/backchannel-logout", f"logout_token={token}".encode(), who=None,
        content_type="application/x-www-form-urlencoded",
    )  # fmt: skip
    again = office.control.call(
        "POST", "/v1/backchannel-logout", f"logout_token={token}".encode(), who=None,
        content_type="application/x-www-form-urlencoded",
    )  # fmt: skip

    assert (sent.status_code, again.status_code, again.json()["code"]) == (200, 400, "LOGOUT_TOKEN")
    assert sum(office.kept(sid) is not None for sid in sids) == left


def test_sessions_that_are_over_are_forgotten_and_told(office: Office) -> None:
    sid = office.signed_in().sid
    office.control.announced()

    assert office.sessions.sweep(now=NOW + 899) == 0
    assert office.sessions.sweep(now=NOW + 900) == 1
    assert office.control.announced() == [("session.changed", {"sid": sid, "ended": True})]


def test_only_sidecars_may_begin_and_refresh(office: Office) -> None:
    for path in ("/v1/sign-ins", "/v1/sign-ins/finish", f"/v1/sessions/{'a' * 43}/refresh"):
        assert office.control.call("POST", path, {}, who="owner").status_code == 401, (path, URL)
