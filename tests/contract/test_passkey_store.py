"""What the store promises of people's keys and of ceremonies under way, on each database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tests.store_support import NOW, TENANT, opened
from zt_engine.adapters.store_sql import SqlStore
from zt_engine.core.webauthn import Passkey
from zt_engine.ports.webauthn import Ceremony


def passkey(letter: str = "a", **fields: Any) -> Passkey:
    told: dict[str, Any] = {
        "id": letter * 43, "issuer": "https://idp.example", "subject": "tanaka", "credential": "c" * 1364,
        "public_key": "k", "handle": "h", "name": f"鍵 {letter}", "counter": 1, "backup_eligible": False,
        "backed_up": False, "transports": ("internal",), "created_at": NOW,
    }  # fmt: skip
    return Passkey(**(told | fields))


def ceremony(name: str = "one", **fields: Any) -> Ceremony:
    told: dict[str, Any] = {
        "id": name, "kind": "prove", "issuer": "https://idp.example", "subject": "tanaka", "sid": "s",
        "expires_at": NOW + 60,
    }  # fmt: skip
    return Ceremony(**(told | fields))


def test_a_key_comes_back_as_it_went_in_until_it_is_removed(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.passkeys.put(passkey())
        tx.passkeys.put(replace(passkey(), counter=7, used_at=NOW))
        assert tx.passkeys.get("a" * 43) == replace(passkey(), counter=7, used_at=NOW)
        tx.passkeys.remove("a" * 43)

    with store.reading(TENANT) as tx:
        assert tx.passkeys.get("a" * 43) is None


def test_keys_are_found_by_person_and_by_nobody_else(store: SqlStore) -> None:
    others = (passkey("c", subject="suzuki"), passkey("d", issuer="https://other.example"))
    with store.writing(TENANT) as tx:
        for one in (passkey("b"), passkey("a"), *others):
            tx.passkeys.put(one)

    with store.reading(TENANT) as tx:
        assert tx.passkeys.of_person("https://idp.example", "tanaka") == (passkey("a"), passkey("b"))
    with store.reading("other") as tx:
        assert tx.passkeys.of_person("https://idp.example", "tanaka") == ()
        assert tx.passkeys.get("a" * 43) is None


def test_a_ceremony_can_be_looked_at_and_comes_back_once_and_in_time(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.passkeys.begin(ceremony())
        tx.passkeys.begin(ceremony("late", expires_at=NOW))

    with store.writing(TENANT) as tx:
        assert tx.passkeys.look("one", now=NOW) == ceremony()
        assert tx.passkeys.look("late", now=NOW) is None
        assert tx.passkeys.take("one", now=NOW) == ceremony()
        assert tx.passkeys.take("one", now=NOW) is None
        assert tx.passkeys.take("late", now=NOW) is None
        assert tx.passkeys.take("never", now=NOW) is None


def test_ceremonies_that_are_over_are_pruned(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.passkeys.begin(ceremony())
        tx.passkeys.begin(ceremony("late", expires_at=NOW))

    assert store.prune(NOW) == 1
    with store.reading(TENANT) as tx:
        assert tx.passkeys.look("one", now=NOW) == ceremony()


def test_of_many_at_once_one_takes_a_ceremony(tmp_path: Path) -> None:
    with opened("sqlite", tmp_path) as store:
        with store.writing(TENANT) as tx:
            tx.passkeys.begin(ceremony())

        def take(_: int) -> bool:
            with store.writing(TENANT) as tx:
                return tx.passkeys.take("one", now=NOW) is not None

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(24))) == 1
