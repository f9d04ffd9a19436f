"""The fast reader of device records takes nothing the strict one refuses, and makes the same of what it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from device_inventory.facts import CATALOGUE, METHODS, STATUSES
from tests.world import HEALTHY, NOW, device, facts
from zt_engine.adapters.device_json import decode_device
from zt_engine.adapters.device_stream import decode_streamed_device
from zt_engine.control_plane.snapshot import device_data
from zt_engine.core.errors import ConfigError

GOOD: Mapping[str, Any] = json.loads(device_data(device(facts=facts(HEALTHY, NOW))))
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**54), st.floats(allow_nan=False), st.text(max_size=4),
    st.lists(st.one_of(st.text(max_size=3), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.none()),
    st.sampled_from(["\u0000", "\ud800", "x" * 257, "observed", "active", "a.b", [], {}, 2**53, 1e308]),
)  # fmt: skip
FACT_NAMES = st.sampled_from([*sorted(CATALOGUE), "new.fact", "New", ""])
FACT = st.fixed_dictionaries(
    {"status": st.sampled_from([*STATUSES, "seen"]), "value": ODD, "method": st.sampled_from([*METHODS, "heard"])},
    optional={"received_at": st.one_of(st.integers(-1, NOW), ODD), "boot_id": ODD, "extra": ODD},
)  # fmt: skip
PRINTS = st.sampled_from(["A" * 43, "A" * 42 + "B", "A" * 44, None])
KEY = st.fixed_dictionaries(
    {"not_after": st.one_of(st.integers(0, NOW), ODD)}, optional={"x5t": PRINTS, "jkt": PRINTS}
)  # fmt: skip


def both(raw: bytes) -> tuple[object, object]:
    found: list[object] = []
    for read in (decode_streamed_device, decode_device):
        try:
            record = read(raw, where="event 1")
        except ConfigError as error:
            found.append([(problem.code, problem.where) for problem in error.problems])
        else:
            kinds = {name: type(fact.value) for name, fact in record.facts.items()}
            found.append((record, dict(record.facts), kinds))
    return found[0], found[1]


def test_a_record_as_the_control_plane_writes_it_is_read_alike() -> None:
    fast, strict = both(json.dumps(GOOD).encode())

    assert fast == strict
    assert isinstance(fast, tuple)


@given(
    changes=st.dictionaries(st.sampled_from([*GOOD, "extra"]), ODD, max_size=2),
    told=st.dictionaries(FACT_NAMES, FACT, max_size=3),
    keys=st.lists(KEY, max_size=3),
    missing=st.sets(st.sampled_from(sorted(GOOD)), max_size=1),
)  # fmt: skip
def test_whatever_is_written_both_readers_say_the_same(
    changes: dict[str, Any], told: dict[str, Any], keys: list[Any], missing: set[str]
) -> None:
    record = {**GOOD, "keys": keys, "facts": {**GOOD["facts"], **told}, **changes}
    for name in missing:
        record.pop(name, None)

    fast, strict = both(json.dumps(record).encode())

    assert fast == strict


@given(value=ODD)
def test_every_fact_has_the_same_values_in_both(value: Any) -> None:
    fact = {"status": "observed", "value": value, "method": "self_report", "received_at": NOW}
    for name in sorted(CATALOGUE):
        fast, strict = both(json.dumps({**GOOD, "facts": {name: fact}}).encode())

        assert fast == strict, name


@given(st.binary(max_size=64))
def test_what_is_no_record_is_refused_by_both(raw: bytes) -> None:
    fast, strict = both(raw)

    assert fast == strict
