"""A session's life at a provider that is strict, slow, silent or mistaken: nobody is logged out by accident."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.control_support import NOW, TENANT
from tests.session_support import DUE, ISSUER, OLD, Office, People, sessions
from tests.session_support import office as office
from tests.session_support import only as only
from zt_engine.adapters.sealing import FileSealer
from zt_engine.control_plane.refreshing import AT_ONCE, CLAIM_SECONDS, Refreshing
from zt_engine.control_plane.session_changes import FADE_SECONDS
from zt_engine.control_plane.sessions import EACH, EXCHANGES, SessionRules
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.ports.sessions import Tokens

NEW = b"n" * 32


def answering(office: Office, **tokens: Any) -> None:
    """Let the provider answer refreshes with these tokens."""
    told = {"id_token": b"", "refresh_token": "r9"} | tokens
    office.provider.refresh = lambda _: Tokens(**told)  # type: ignore[method-assign]


# -- what a refresh brings


def test_a_refresh_brings_what_the_directory_says_now(office: Office) -> None:
    sid = office.signed_in().sid
    answering(office, id_token=b"tanaka/b")

    record = office.sessions.refresh(sid, now=DUE)

    assert record is not None
    assert (record.claims, record.acr, record.version) == ({"dept": "b"}, "phr", 2)


def test_an_answer_about_somebody_else_ends_the_session(office: Office) -> None:
    sid = office.signed_in().sid
    answering(office, id_token=b"suzuki/b")

    assert office.sessions.refresh(sid, now=DUE) is None
    assert office.kept(sid) is None


def test_an_id_token_that_cannot_be_verified_prolongs_nothing_and_loses_no_refresh_token(office: Office) -> None:
    done = office.signed_in()
    answering(office, id_token=b"forged", refresh_token="r2")

    record = office.sessions.refresh(done.sid, now=DUE)

    assert record is not None
    assert (record.until, record.version) == (NOW + 900, 1)
    assert FileSealer(OLD).open(office.kept(done.sid).refresh, about=done.sid) == "r2"
    answering(office, id_token=b"tanaka/a", refresh_token="r3")
    later = office.sessions.refresh(done.sid, now=DUE + CLAIM_SECONDS)
    assert later is not None
    assert later.until == DUE + CLAIM_SECONDS + 900


# -- a lost answer


def test_a_crash_between_the_provider_s_answer_and_ours_ends_nobody_s_session_at_once(office: Office) -> None:
    sid = office.signed_in().sid
    with office.control.store.writing(TENANT) as tx:  # who claimed it is gone, and with it the new refresh token
        held = tx.sessions.get(sid)
        assert held is not None
        tx.sessions.put(replace(held, claimed_until=DUE + CLAIM_SECONDS, unanswered=True))
    office.provider.failure = InputError("SIGN_IN_ENDED", "the provider takes it for a theft")

    assert office.sessions.refresh(sid, now=DUE) is not None  # somebody else's claim
    assert office.provider.refreshed == 0
    assert office.sessions.refresh(sid, now=DUE + CLAIM_SECONDS) is not None
    assert office.sessions.refresh(sid, now=NOW + 899) is not None
    assert office.provider.refreshed == 1  # it is not asked again: the answer would be the same
    assert office.sessions.refresh(sid, now=NOW + 900) is None


def test_a_provider_that_says_no_to_a_token_nobody_has_used_is_believed_at_once(office: Office) -> None:
    sid = office.signed_in().sid
    office.provider.failure = InputError("SIGN_IN_ENDED", "over")

    assert office.sessions.refresh(sid, now=DUE) is None
    assert office.kept(sid) is None


def test_a_no_to_an_old_token_ends_nothing_that_somebody_else_has_refreshed(office: Office) -> None:
    sid = office.signed_in().sid

    def late(_: str) -> Tokens:
        with office.control.store.writing(TENANT) as tx:
            held = tx.sessions.get(sid)
            assert held is not None
            tx.sessions.put(replace(held, refresh=FileSealer(OLD).seal("newer", about=sid)))
        raise InputError("SIGN_IN_ENDED", "an old token")

    office.provider.refresh = late  # type: ignore[method-assign]

    assert office.sessions.refresh(sid, now=DUE) is not None
    assert FileSealer(OLD).open(office.kept(sid).refresh, about=sid) == "newer"


# -- bulkheads


def test_a_slow_provider_holds_no_more_threads_than_it_is_given(office: Office) -> None:
    done = [office.signed_in() for _ in range(2)]
    refreshing: Refreshing = office.sessions._refreshing
    for _ in range(AT_ONCE):
        assert refreshing._waiting.acquire(blocking=False)

    assert office.sessions.refresh(done[0].sid, now=DUE) is not None
    assert office.provider.refreshed == 0
    assert not office.kept(done[0].sid).claimed_until

    for _ in range(EXCHANGES):
        assert office.sessions._exchanging.acquire(blocking=False)
    with pytest.raises(UnavailableError):
        office.signed_in()


def test_an_address_that_begins_too_many_sign_ins_waits_and_no_other_does(office: Office) -> None:
    now = [0.0]
    office.sessions = sessions(office, elapsed=lambda: now[0])
    for _ in range(EACH.burst):
        assert office.sessions._begins.admit("203.0.113.7", elapsed=now[0]) == 0

    with pytest.raises(UnavailableError) as error:
        office.begin(address="203.0.113.7")
    assert error.value.code == "SIGN_IN_BUSY"
    assert office.begin(address="203.0.113.8")
    now[0] += 1 / EACH.per_second
    assert office.begin(address="203.0.113.7")


# -- keys


def test_a_retired_key_still_opens_and_what_is_kept_next_is_under_the_new_one(office: Office) -> None:
    sid = office.signed_in().sid
    rotated = sessions(office, sealer=FileSealer(NEW, OLD))

    assert rotated.refresh(sid, now=DUE) is not None
    assert FileSealer(NEW).open(office.kept(sid).refresh, about=sid) == "r1+"


def test_a_removed_key_ends_the_session_with_a_word_about_it_and_asks_the_provider_nothing(office: Office) -> None:
    sid = office.signed_in().sid
    office.control.announced()

    assert sessions(office, sealer=FileSealer(NEW)).refresh(sid, now=DUE) is None

    assert office.control.announced() == [("session.changed", {"sid": sid, "ended": True})]
    assert office.control.audit()[-1].reason == "the key it was kept under was retired"
    assert office.provider.refreshed == 0


def test_a_sign_in_waits_for_a_key_the_provider_has_just_turned_to_and_not_for_ever(office: Office) -> None:
    waited: list[float] = []
    assert sessions_with_new_key(office, 3, waited).sid
    assert len(waited) == 3

    with pytest.raises(InputError) as error:
        sessions_with_new_key(office, 10_000, waited)
    assert error.value.code == "TOKEN_KEY_UNKNOWN"


def sessions_with_new_key(office: Office, looks: int, waited: list[float]) -> Any:
    office.sessions = sessions(office, people=People(unknown=looks), wait=waited.append)
    return office.signed_in()


# -- tabs


def test_two_tabs_finish_two_sign_ins_and_the_first_session_gives_way(office: Office) -> None:
    first, query = office.begin("/a")
    second, other = office.begin("/b", ticket=first.ticket)
    assert second.ticket == first.ticket

    one = office.finish(first, query)
    two = office.finish(second, other, replaces=one.sid)

    assert (one.to, two.to) == ("/a", "/b")
    assert office.kept(one.sid).record.until == NOW + FADE_SECONDS
    assert office.kept(one.sid).refresh == ""
    assert [(event.action, event.actor) for event in office.control.audit()][-2:] == [
        (action, f"person:{ISSUER}|tanaka") for action in ("session.began", "session.replaced")
    ]
    assert office.sessions.refresh(one.sid, now=NOW + 30) is not None
    assert office.sessions.refresh(one.sid, now=NOW + FADE_SECONDS) is None
    assert office.provider.refreshed == 0


def test_a_ticket_that_is_none_is_not_taken_up(office: Office) -> None:
    assert office.begin(ticket="short")[0].ticket != "short"


def test_a_session_of_another_host_gives_way_to_nobody(office: Office) -> None:
    one = office.signed_in()
    begun, query = office.begin(host="other.example", authority="other.example")
    office.finish(begun, query, host="other.example", replaces=one.sid)

    assert office.kept(one.sid).record.until == NOW + 900


def test_a_session_that_gives_way_while_it_is_refreshed_gets_no_longer_life(office: Office) -> None:
    one = office.signed_in()

    def meanwhile(_: str) -> Tokens:
        office.finish(*office.begin(now=DUE), replaces=one.sid, now=DUE)
        return Tokens(id_token=b"", refresh_token="r2")

    office.provider.refresh = meanwhile  # type: ignore[method-assign]
    office.sessions.refresh(one.sid, now=DUE)

    assert office.kept(one.sid).record.until == DUE + FADE_SECONDS
    assert office.kept(one.sid).refresh == ""


# -- signing out


def test_signing_out_goes_on_to_the_provider_with_the_id_token_where_the_settings_want_it(office: Office) -> None:
    office.sessions = sessions(office, rules=SessionRules(client_id="portal", onward=True))
    begun, query = office.begin()
    done = office.finish(begun, query)
    assert query["nonce"] not in office.kept(done.sid).hint
    told = {"back": "https://portal.example", "state": "s", "reason": "signed out", "actor": "tanaka", "now": NOW}

    location = office.sessions.sign_out(done.sid, **told)

    assert location == f"{ISSUER}/end?hint={query['nonce']}&back=https://portal.example/.zt/signed-out&state=s"
    assert office.kept(done.sid) is None
    assert office.sessions.sign_out(done.sid, **told) is None


def test_signing_out_ends_the_session_here_whatever_the_provider_does(office: Office) -> None:
    told = {"back": "https://portal.example", "state": "s", "reason": "signed out", "actor": "tanaka", "now": NOW}
    assert office.sessions.sign_out(office.signed_in().sid, **told) == ""  # nobody wants it

    office.sessions = sessions(office, rules=SessionRules(client_id="portal", onward=True))
    sid = office.signed_in().sid

    def silent(**_: str) -> str:
        raise UnavailableError("SIGN_IN_PROVIDER", "silent")

    office.provider.sign_out_url = silent  # type: ignore[method-assign]
    assert office.sessions.sign_out(sid, **told) == ""
    assert office.kept(sid) is None


# -- tenants


def test_a_session_of_another_tenant_is_none_here(office: Office) -> None:
    sid = office.signed_in().sid
    plane = office.control.plane
    elsewhere = sessions(office)
    elsewhere._plane = elsewhere._refreshing._plane = replace(plane, settings=replace(plane.settings, tenant="other"))
    told = {"back": "", "state": "", "reason": "signed out", "actor": "somebody", "now": NOW}
    begun, query = office.begin()

    assert elsewhere.refresh(sid, now=DUE) is None
    assert elsewhere.sign_out(sid, **told) is None
    assert not elsewhere.end(sid, reason="", actor="", now=NOW)
    with pytest.raises(InputError) as error:
        elsewhere.finish(
            state=query["state"], ticket=begun.ticket, host="portal.example", device_id="", code=query["nonce"],
            issuer=None, error="", now=NOW, replaces=sid,
        )  # fmt: skip
    assert error.value.code == "SIGN_IN_STATE"
    assert office.kept(sid).record.until == NOW + 900
