"""A sheet says what the facts say, however many devices it shares its bytes with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from device_inventory.device import DeviceRecord
from device_inventory.device_json import MAX_FACTS
from device_inventory.fact_sheet import FactSheet, fact_sheet, policy_facts
from device_inventory.facts import FUTURE_TOLERANCE, FactEnvelope
from tests.bundles import TINY
from tests.world import HEALTHY, NOW, device, facts
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.core.policy_input import fragment
from zt_engine.core.trust_readings import Readings, pillar_at, read_device
from zt_engine.sidecar.sheets import Sheets

MODEL = load_trust((TINY / "trust.yaml").read_text(), where="trust.yaml")
NAMES = (*sorted(HEALTHY), "of.a-newer%version", "os.name")
INSTANTS = st.one_of(
    st.sampled_from([NOW, NOW - 60, NOW - 900, NOW - 3_600, NOW - 86_400, NOW + FUTURE_TOLERANCE]),
    st.integers(NOW - 20 * 86_400, NOW + 1_000),
)
ENVELOPE = st.builds(
    lambda value, method, at, boot: FactEnvelope(
        status="error" if value is None else "observed", value=value, method=method, received_at=at, boot_id=boot,
    ),
    st.sampled_from([None, True, False, "attested_hw", 0, 1]),
    st.sampled_from(["attested", "signed_agent"]),
    INSTANTS,
    st.sampled_from(["", "", "b1", "b2"]),
)  # fmt: skip
FACTS = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), ENVELOPE),
    st.builds(lambda at: facts(HEALTHY, at), INSTANTS),
)


def make(record: DeviceRecord) -> tuple[FactSheet, Readings]:
    return fact_sheet(record, names=NAMES, ranges=MODEL.freshness), read_device(MODEL, record)


@given(
    st.lists(st.tuples(FACTS, st.sampled_from(["b1", "b2", "b3"]), INSTANTS), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), INSTANTS, st.integers(NOW - 2_000, NOW + 1_000_000)), max_size=8),
)
def test_it_says_at_any_time_what_the_facts_say(
    said: list[tuple[dict[str, FactEnvelope], str, int]], asked: list[tuple[int, int, int]]
) -> None:
    sheets = Sheets(make)
    for number, at, now in asked:
        held, boot, _ = said[number % len(said)]
        moved = {name: replace(fact, received_at=fact.received_at + at - NOW) for name, fact in held.items()}
        record = replace(device(facts=moved), boot_id=boot)

        shown, pillar = sheets.of(record).at(now)

        assert shown == fragment(policy_facts(record, tick_end=now, names=NAMES, ranges=MODEL.freshness))
        assert pillar == pillar_at(read_device(MODEL, record), now)


def test_devices_that_say_the_same_are_read_once() -> None:
    made: list[DeviceRecord] = []

    def counted(record: DeviceRecord) -> tuple[FactSheet, Readings]:
        made.append(record)
        return make(record)

    sheets = Sheets(counted)

    for number in range(5):
        record = replace(device(facts=facts(HEALTHY, NOW - number)), device_id=f"laptop-{number}")
        sheets.of(record).at(NOW + 5)

    assert len(made) == 1


def test_one_that_has_aged_is_read_by_its_own_facts() -> None:
    sheets = Sheets(make)
    fresh = sheets.of(device(facts=facts(HEALTHY, NOW))).at(NOW)
    old = sheets.of(replace(device(facts=facts(HEALTHY, NOW - 10**6)), device_id="another")).at(NOW)

    assert old[1].exact < fresh[1].exact


def test_a_record_with_as_many_instants_as_a_record_may_have_facts_has_a_sheet() -> None:
    like = facts(HEALTHY, NOW)["edr.running"]
    record = device(facts={f"later.f{number}": replace(like, received_at=NOW - number) for number in range(MAX_FACTS)})

    shown, _ = Sheets(make).of(record).at(NOW)

    assert shown == fragment(policy_facts(record, tick_end=NOW, names=NAMES, ranges=MODEL.freshness))
