"""The records in memory: identity tells what is current, and a key that two devices claim belongs to neither."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.device import DeviceKey, DeviceRecord
from tests.world import NOW, device, situation, subject
from zt_engine.sidecar.replica import Replica

LATER = NOW + 1000


def key(name: str, *, until: int = LATER) -> DeviceKey:
    return DeviceKey(x5t=name, not_after=until)


def filled(*devices: DeviceRecord) -> Replica:
    replica = Replica()
    replica.replace(devices, [subject()], situation(), now=NOW)
    return replica


def put(replica: Replica, *devices: DeviceRecord) -> None:
    replica.replace(devices, [subject()], situation(), now=NOW)


def owner(replica: Replica, name: str, *, now: float = NOW) -> str | None:
    found = replica.device_of(name, now=now)
    return None if found is None else found[0].device_id


def test_it_is_ready_once_everything_was_loaded() -> None:
    assert not Replica().ready
    assert filled().ready


def test_an_equal_record_keeps_its_identity_and_a_changed_one_does_not() -> None:
    replica = filled(device("a"), device("b"))
    a, b = replica.devices["a"], replica.devices["b"]
    person = replica.subjects["https://idp.example", "tanaka"]

    put(replica, device("a"), device("b", status="lost"))

    assert replica.devices["a"] is a
    assert replica.devices["b"] is not b
    assert replica.subjects["https://idp.example", "tanaka"] is person


def test_a_device_is_found_by_its_key_until_the_key_s_time_is_over() -> None:
    replica = filled(device("a", keys=(key("k"), DeviceKey(jkt="j", not_after=NOW + 5))))

    assert (owner(replica, "k"), owner(replica, "j"), owner(replica, "")) == ("a", "a", None)
    assert owner(replica, "j", now=NOW + 5) is None


def test_what_is_not_in_the_new_set_is_gone_with_its_keys() -> None:
    replica = filled(device("a", keys=(key("k"),)))

    put(replica)

    assert (owner(replica, "k"), dict(replica.devices)) == (None, {})


def test_a_key_that_two_devices_claim_belongs_to_neither_and_both_look_changed() -> None:
    replica = filled(device("a", keys=(key("k"),)), device("b", keys=(key("other"),)))
    a, b = replica.devices["a"], replica.devices["b"]

    put(replica, device("a", keys=(key("k"),)), device("b", keys=(key("other"),)), device("clone", keys=(key("k"),)))

    assert (owner(replica, "k"), owner(replica, "other")) == (None, "b")
    assert replica.devices["a"] is not a
    assert replica.devices["b"] is b

    claimed = replica.devices["a"]
    put(replica, device("a", keys=(key("k"),)), device("b", keys=(key("other"),)))

    assert owner(replica, "k") == "a"
    assert replica.devices["a"] is not claimed


def test_the_version_of_the_keys_changes_with_the_keys_and_with_nothing_else() -> None:
    replica = filled(device("a", keys=(key("k"),)))
    before = replica.keys.version

    put(replica, device("a", keys=(key("k"),), status="lost", version=2))
    assert replica.keys.version == before
    put(replica, device("a", keys=(key("k", until=LATER + 1),)))
    assert replica.keys.version == before + 1
    put(replica, device("b", keys=(key("k", until=LATER + 1),)))
    put(replica, device("b", keys=(key("new"),)))
    assert replica.keys.version > before + 1


def test_preparing_another_set_changes_nothing() -> None:
    replica = filled(device("a", keys=(key("k"),)))

    replica.state.records.becoming([device("b", keys=(key("k"),))], [])

    assert (owner(replica, "k"), list(replica.devices)) == ("a", ["a"])


RECORDS = st.lists(
    st.builds(
        lambda name, keys: device(name, keys=tuple(map(key, keys))),
        st.sampled_from("abc"),
        st.sets(st.sampled_from(["k", "l", "m"]), max_size=2),
    ),
    max_size=3,
    unique_by=lambda record: record.device_id,
)


@given(st.lists(RECORDS, min_size=1, max_size=6))
def test_after_any_history_it_is_as_if_only_the_last_set_had_been_loaded(history: list[list[DeviceRecord]]) -> None:
    replica = Replica()
    for records in history:
        held = dict(replica.devices)
        owners = {name: owner(replica, name) for name in "klm"}
        put(replica, *(msgspec.structs.replace(record) for record in records))
        for name, old in held.items():
            if replica.devices.get(name) is old:
                assert {key for key in "klm" if owners[key] == name} == {
                    key for key in "klm" if owner(replica, key) == name
                }
    fresh = filled(*history[-1])

    assert replica.devices == fresh.devices
    assert {name: owner(replica, name) for name in "klm"} == {name: owner(fresh, name) for name in "klm"}
