"""What the store promises of browser sessions and of sign-ins under way, on each database."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tests.store_support import NOW, TENANT
from zt_engine.adapters.store_sql import SqlStore
from zt_engine.core.session import SessionRecord
from zt_engine.ports.sessions import HeldSession, PendingSignIn


def pending(state: str = "s", **fields: Any) -> PendingSignIn:
    told = {
        "state": state, "ticket": "t", "host": "portal.example", "to": "/", "nonce": "n", "verifier": "v",
        "redirect_uri": "https://portal.example/.zt/callback", "device_id": "", "expires_at": NOW + 60,
    }  # fmt: skip
    return PendingSignIn(**(told | fields))


def held(letter: str = "a", **fields: Any) -> HeldSession:
    record = SessionRecord(
        sid=letter * 43, version=1, host="portal.example", issuer="https://idp.example", subject="tanaka",
        client_id="portal", claims={"groups": ["staff"]}, until=NOW + 60,
    )  # fmt: skip
    return HeldSession(record=replace(record, **fields), ends_at=NOW + 600, refresh="sealed")


def test_a_sign_in_comes_back_once_and_in_time(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.sessions.begin(pending("one"))
        tx.sessions.begin(pending("late", expires_at=NOW))

    with store.writing(TENANT) as tx:
        assert tx.sessions.take("one", now=NOW) == pending("one")
        assert tx.sessions.take("one", now=NOW) is None
        assert tx.sessions.take("late", now=NOW) is None
        assert tx.sessions.take("never", now=NOW) is None


def test_a_session_comes_back_as_it_went_in_until_it_is_removed(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.sessions.put(held())
        tx.sessions.put(replace(held(), claimed_until=NOW))
        assert tx.sessions.get("a" * 43) == replace(held(), claimed_until=NOW)
        tx.sessions.remove("a" * 43)

    with store.reading(TENANT) as tx:
        assert tx.sessions.get("a" * 43) is None
    with store.reading("other") as tx:
        assert tx.sessions.page(after="", limit=10) == ()


def test_sessions_are_found_by_person_by_provider_and_by_page(store: SqlStore) -> None:
    mine, also, other = held("a", provider_session="p1"), held("b"), held("c", subject="suzuki", provider_session="p1")
    with store.writing(TENANT) as tx:
        for one in (other, also, mine):
            tx.sessions.put(one)

    with store.reading(TENANT) as tx:
        assert tx.sessions.of_person("https://idp.example", "tanaka") == (mine, also)
        assert tx.sessions.of_provider("https://idp.example", "p1") == (mine, other)
        assert tx.sessions.of_provider("https://other.example", "p1") == ()
        assert tx.sessions.page(after="a" * 43, limit=1) == (also,)


def test_what_is_over_is_found_and_sign_ins_that_are_over_are_gone(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.sessions.begin(pending("old", expires_at=NOW))
        tx.sessions.begin(pending("new"))
        tx.sessions.put(held("a", until=NOW))
        tx.sessions.put(held("b"))

    with store.writing(TENANT) as tx:
        assert [one.record.sid[0] for one in tx.sessions.over(now=NOW, limit=10)] == ["a"]
        assert tx.sessions.take("old", now=NOW - 1) is None
        assert tx.sessions.take("new", now=NOW) == pending("new")
