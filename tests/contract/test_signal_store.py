"""What the store promises of where rules about signals stand, on each database and in memory."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.store_support import NOW, TENANT
from zt_engine.adapters.store_sql import SqlStore
from zt_engine.core.errors import UnavailableError
from zt_engine.core.signals import Declared, Held, Mark, RiskState, State, SwitchState


def held(id_: str = "signals/risk/tanaka", *, version: int = 1, due: int = NOW, state: State | None = None) -> Held:
    return Held(
        id=id_,
        version=version,
        rule="risk",
        principal="subject:田中",
        exercise=False,
        state=state or RiskState(marks=(Mark(), Mark(NOW, NOW), Mark()), cleared=NOW - 9),
        declared=(Declared(f"{id_}/1", "threshold:+20", NOW + 60),),
        due=due,
    )


@pytest.mark.parametrize("state", [RiskState(), SwitchState(hot=((NOW, "admin:edr/s1"),), since=NOW, until=NOW + 9)])
def test_where_a_rule_stands_comes_back_as_it_was(store: SqlStore, state: State) -> None:
    with store.writing(TENANT) as tx:
        tx.signals.put(held(state=state))

    with store.reading(TENANT) as tx:
        assert tx.signals.get("signals/risk/tanaka") == held(state=state)
        assert tx.signals.get("signals/risk/suzuki") is None


def test_of_two_that_heard_of_somebody_first_one_has_to_try_again(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.signals.put(held())

    with pytest.raises(UnavailableError, match="STORE_CONFLICT"), store.writing(TENANT) as tx:
        tx.signals.put(replace(held(), due=NOW + 5))
    with store.writing(TENANT) as tx:
        tx.signals.put(held(version=2, due=NOW + 7))

    with store.reading(TENANT) as tx:
        assert tx.signals.get("signals/risk/tanaka") == held(version=2, due=NOW + 7)


def test_what_is_due_is_found_the_longest_overdue_first_and_no_tenant_sees_anothers(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        for name, due in (("a", NOW), ("b", NOW - 5), ("c", NOW + 1), ("d", NOW - 5)):
            tx.signals.put(held(name, due=due))
    with store.writing(TENANT) as tx:
        tx.signals.remove("d")

    with store.reading(TENANT) as tx:
        assert tx.signals.due(now=NOW, limit=10) == ("b", "a")
        assert tx.signals.due(now=NOW, limit=1) == ("b",)
    with store.reading("another") as tx:
        assert tx.signals.due(now=NOW, limit=10) == ()
        assert tx.signals.get("a") is None
