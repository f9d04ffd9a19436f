"""What the store promises the control plane, on each database and in memory, where it is everybody's fake."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from device_inventory.device import DEVICE_STATUSES
from device_inventory.enrollment import STATES, UNDER_WAY
from tests.store_support import (
    NOW,
    TENANT,
    audited,
    device,
    enrollment,
    invitation,
    key,
    subject,
    there,
)
from zt_engine.adapters.store_sql import SqlStore
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.ports.inventory import (
    ChangeLog,
    DeviceFilter,
    EnrollmentFilter,
    InventoryStore,
    RememberedAnswer,
    SidecarRecord,
    Transaction,
)


def test_the_store_is_what_the_ports_ask_for(store: SqlStore) -> None:
    inventory: InventoryStore = store
    changes: ChangeLog = store

    assert inventory is changes


def test_a_device_comes_back_as_it_went_in(store: SqlStore) -> None:
    given_device = device(
        keys=(key("a"),), owner="p", assigned=("p", "q"), name="端末", ends_at=NOW, helper_key={"a": "b"}
    )
    with store.writing(TENANT) as tx:
        tx.devices.put(given_device)

    with store.reading(TENANT) as tx:
        assert tx.devices.get("d1") == given_device
        assert tx.devices.get("d2") is None


def test_what_raises_is_undone_altogether(store: SqlStore) -> None:
    with pytest.raises(LookupError), store.writing(TENANT) as tx:
        tx.devices.put(device())
        tx.invitations.put(invitation())
        tx.audit.record(audited())
        tx.outbox.announce("device.changed", b"{}")
        raise LookupError

    with store.reading(TENANT) as tx:
        assert (tx.devices.get("d1"), tx.invitations.get("i1")) == (None, None)
        assert tx.audit.page(after=0, limit=10) == ()
    assert store.sequence(TENANT, fence=store.elect() or 0, limit=10) == ()


def test_an_error_that_was_caught_in_the_block_still_undoes_it(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.devices.put(device("d2", version=5))

    with pytest.raises(UnavailableError) as caught, store.writing(TENANT) as tx:
        tx.devices.put(device("d1"))
        with pytest.raises(UnavailableError):
            tx.devices.put(device("d2", version=4))

    assert caught.value.code == "STORE_CONFLICT"
    with store.reading(TENANT) as tx:
        assert tx.devices.get("d1") is None


def test_a_reading_transaction_refuses_to_write(store: SqlStore) -> None:
    def attempts(tx: Transaction) -> list[object]:
        return [
            lambda: tx.devices.put(device()),
            lambda: tx.invitations.put(invitation()),
            lambda: tx.nonces.use("n", purpose="p", holder="h", now=NOW),
            lambda: tx.outbox.announce("device.changed", b"{}"),
            lambda: tx.outbox.seen("d", received_at=NOW, facts=()),
            lambda: tx.audit.record(audited()),
            lambda: tx.situation.put("overlay", "o", None),
        ]

    with store.reading(TENANT) as tx:
        for attempt in attempts(tx):
            with pytest.raises(RuntimeError):
                attempt()


@pytest.mark.parametrize("version", [0, 3, 4])
def test_a_device_that_was_not_read_must_be_newer(store: SqlStore, version: int) -> None:
    with store.writing(TENANT) as tx:
        tx.devices.put(device(version=4))

    with pytest.raises(UnavailableError) as caught, store.writing(TENANT) as tx:
        tx.devices.put(device(version=version, name="other"))

    assert caught.value.code == "STORE_CONFLICT"


def test_a_device_that_was_read_may_keep_its_version_but_not_lose_it(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.devices.put(device(version=4))
    with store.writing(TENANT) as tx:
        held = there(tx.devices.get("d1"))
        tx.devices.put(replace(held, report_seq=9))
        tx.devices.put(replace(held, report_seq=10))

    with store.reading(TENANT) as tx:
        assert tx.devices.get("d1").report_seq == 10
    with pytest.raises(UnavailableError), store.writing(TENANT) as tx:
        tx.devices.put(replace(there(tx.devices.get("d1")), version=3))


def test_a_device_is_found_by_every_key_it_ever_had(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.devices.put(device(keys=(key("a"),)))
    with store.writing(TENANT) as tx:
        revoked = replace(key("a"), revoked_at=NOW)
        # The same key under another certificate, and a new one.
        keys = (revoked, key("b", spki="spki-a"), key("c"))
        tx.devices.put(replace(there(tx.devices.get("d1")), version=2, keys=keys))
    with store.writing(TENANT) as tx:
        tx.devices.put(replace(there(tx.devices.get("d1")), version=3, keys=()))

    with store.reading(TENANT) as tx:
        found = [tx.devices.of_certificate(f"x5t-{name}") for name in "abc"]
        found += [tx.devices.of_key(f"spki-{name}") for name in "ac"]
        assert [one.device_id for one in found] == ["d1"] * 5
        assert (tx.devices.of_certificate("x5t-z"), tx.devices.of_key("spki-b")) == (None, None)


@pytest.mark.parametrize("stolen", [key("z", spki="spki-a"), replace(key("z"), x5t="x5t-a")])
@pytest.mark.parametrize("left", ["active", "revoked"])
def test_a_key_of_one_device_never_becomes_that_of_another(store: SqlStore, stolen: object, left: str) -> None:
    with store.writing(TENANT) as tx:
        tx.devices.put(device(keys=(key("a"),), status=left))
        tx.devices.put(device("d2"))

    for newcomer in (device("d3", keys=(stolen,)), device("d2", version=2, keys=(stolen,))):
        with pytest.raises(UnavailableError) as caught, store.writing(TENANT) as tx:
            tx.devices.get(newcomer.device_id)
            tx.devices.put(newcomer)
        assert caught.value.code == "STORE_CONFLICT"
    with store.reading(TENANT) as tx:
        assert tx.devices.of_key("spki-a").device_id == tx.devices.of_certificate("x5t-a").device_id == "d1"
        assert tx.devices.get("d3") is None


def test_devices_of_one_serial_come_newest_first_and_no_serial_is_nobodys(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.devices.put(device("old", serial_hash="h", created_at=NOW))
        tx.devices.put(device("new", serial_hash="h", created_at=NOW + 5))
        tx.devices.put(device("other", serial_hash="i"))
        tx.devices.put(device("unknown"))

        assert [one.device_id for one in tx.devices.of_serial("h")] == ["new", "old"]
        assert tx.devices.of_serial("") == ()


def test_devices_of_a_person_are_those_enrolled_for_or_assigned_to_them(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.devices.put(device("d1", owner="p"))
        tx.devices.put(device("d2", assigned=("q", "p")))
        tx.devices.put(device("d3", owner="q", assigned=("q",)))
    with store.writing(TENANT) as tx:
        tx.devices.put(replace(there(tx.devices.get("d2")), version=2, assigned=("q",)))
        tx.devices.put(device("d3", version=2, owner="r"))

    with store.reading(TENANT) as tx:
        found = {name: [one.device_id for one in tx.devices.of_owner(name)] for name in ("p", "q", "r", "")}
    assert found == {"p": ["d1"], "q": ["d2"], "r": ["d3"], "": []}


def test_pages_follow_each_other_in_the_order_of_code_points(store: SqlStore) -> None:
    names = ["Z", "a", "B", "é", "_", "-", "0", "端末", "a-b", "aB", "Ab"]
    with store.writing(TENANT) as tx:
        for name in names:
            tx.devices.put(device(name))

    found: list[str] = []
    with store.reading(TENANT) as tx:
        while page := tx.devices.page(DeviceFilter(), after=found[-1] if found else "", limit=3):
            found += [one.device_id for one in page]
    assert found == sorted(names)


def test_devices_are_counted_by_their_status_and_last_report(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        for name, at, status in (("a", 10, "active"), ("b", 20, "active"), ("c", 20, "lost"), ("d", 30, "active")):
            tx.devices.put(device(name, status=status, report_received_at=at))
        tx.devices.put(device("never"))
    with store.writing("another") as tx:
        tx.devices.put(device("a", tenant="another", report_received_at=20))
    with store.writing(TENANT) as tx:
        tx.devices.put(replace(there(tx.devices.get("a")), report_received_at=25))

    with store.reading(TENANT) as tx:
        assert tx.devices.reported("active", after=10, until=20) == 1
        assert tx.devices.reported("active", after=20, until=30) == 2
        assert tx.devices.reported("lost", after=0, until=99) == 1
        assert tx.devices.reported("active", after=30, until=99) == 0


def test_every_filter_filters(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        for status in DEVICE_STATUSES:
            tx.devices.put(device(status, status=status))
        tx.devices.put(device("own", ownership="byod", owner="p", name="Straße 50%_\\", model="ThinkPad"))

    def wanted(**members: object) -> list[str]:
        with store.reading(TENANT) as tx:
            return [one.device_id for one in tx.devices.page(DeviceFilter(**members), after="", limit=99)]

    assert wanted(status="lost") == ["lost"]
    assert wanted(ownership="byod") == wanted(owner="p") == ["own"]
    assert wanted(text="STRASSE") == wanted(text="50%_\\") == wanted(text="thinkp") == ["own"]
    assert wanted(text="5%0") == wanted(text="adp") == []
    assert wanted(text="active", status="lost") == []
    assert len(wanted()) == len(DEVICE_STATUSES) + 1


def test_an_invitation_is_found_by_its_code_and_no_two_have_one(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.invitations.put(invitation(code="c"))
        tx.invitations.put(invitation("i2", code="c2"))
        tx.invitations.put(replace(invitation(code="c"), state="used"))

        assert tx.invitations.of_code("c").state == "used"
        assert tx.invitations.of_code("x") is None
        assert [one.id for one in tx.invitations.page(after="i1", limit=9)] == ["i2"]
    with pytest.raises(UnavailableError) as caught, store.writing(TENANT) as tx:
        tx.invitations.put(invitation("i3", code="c"))
    assert caught.value.code == "STORE_CONFLICT"


def test_a_device_comes_from_one_enrollment(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        for number in range(3):
            tx.enrollments.put(enrollment(f"e{number}"))
        tx.enrollments.put(enrollment("e1", state="certified", device_id="d1"))

        assert tx.enrollments.of_device("d1").id == "e1"
        assert (tx.enrollments.of_device("d2"), tx.enrollments.get("e9")) == (None, None)
        assert [one.id for one in tx.enrollments.page(EnrollmentFilter(), after="e0", limit=1)] == ["e1"]
    with pytest.raises(UnavailableError) as caught, store.writing(TENANT) as tx:
        tx.enrollments.put(enrollment("e2", device_id="d1"))
    assert caught.value.code == "STORE_CONFLICT"


def test_enrollments_are_found_by_their_person_their_device_their_state_and_words(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        for state in STATES:
            tx.enrollments.put(enrollment(state, state=state))
        tx.enrollments.put(replace(enrollment("e-50%_\\"), subject="Straße", invitation="i9", device_id="d9"))
        tx.enrollments.put(replace(enrollment("there"), issuer="https://other", device_id="d8"))
    with store.writing(TENANT) as tx:
        tx.enrollments.put(replace(there(tx.enrollments.get("there")), state="complete"))

    def wanted(**members: object) -> list[str]:
        with store.reading(TENANT) as tx:
            return [one.id for one in tx.enrollments.page(EnrollmentFilter(**members), after="", limit=99)]

    odd = ["e-50%_\\"]
    assert wanted(states=("waiting",)) == ["waiting"]
    assert wanted(states=UNDER_WAY) == sorted([*UNDER_WAY, *odd])
    assert wanted(states=()) == []
    assert wanted(subject="Straße") == wanted(device_id="d9") == wanted(invitation="i9") == odd
    assert wanted(issuer="https://other") == wanted(issuer="https://other", subject="p1") == ["there"]
    assert wanted(subject="strasse") == wanted(device_id="d") == []
    assert wanted(subject="") == wanted(issuer="") == wanted(device_id="") == wanted(invitation="") == []
    assert wanted(text="STRASSE") == wanted(text="50%_\\") == wanted(text="I9") == wanted(text="D9") == odd
    assert wanted(text="5%0") == wanted(text="9d") == []
    assert wanted(text="d8", states=("complete",)) == ["there"]
    assert wanted(text="d8", states=UNDER_WAY) == []
    assert len(wanted()) == len(STATES) + 2


def test_a_nonce_is_good_once_for_its_holder_and_purpose_until_it_is_over(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.nonces.add("n", purpose="key", holder="e1", expires_at=NOW + 60)
        refused = [
            tx.nonces.use("m", purpose="key", holder="e1", now=NOW),
            tx.nonces.use("n", purpose="report", holder="e1", now=NOW),
            tx.nonces.use("n", purpose="key", holder="e2", now=NOW),
            tx.nonces.use("n", purpose="key", holder="e1", now=NOW + 60),
        ]
        used = [tx.nonces.use("n", purpose="key", holder="e1", now=NOW + 59) for _ in range(2)]

    assert refused == [False] * 4
    assert used == [True, False]


def test_an_id_of_the_other_side_is_new_once(store: SqlStore) -> None:
    def first(digest: str, *, now: int, purpose: str = "jti") -> bool:
        with store.writing(TENANT) as tx:
            return tx.nonces.first_use(digest, purpose=purpose, expires_at=now + 60, now=now)

    assert [first("a", now=NOW), first("a", now=NOW), first("a", now=NOW + 59)] == [True, False, False]
    assert first("b", now=NOW)
    assert first("a", now=NOW, purpose="other")
    assert [first("a", now=NOW + 60), first("a", now=NOW + 61)] == [True, False]


def test_audit_events_are_numbered_without_a_gap_and_found_by_their_object(store: SqlStore) -> None:
    for number in range(3):
        with store.writing(TENANT) as tx:
            tx.audit.record(audited(reason=f"{number}a"))
            tx.audit.record(audited("device:d2", reason=f"{number}b", before=b'{"a":1}', after=b"{}"))
        with pytest.raises(LookupError), store.writing(TENANT) as tx:
            tx.audit.record(audited(reason="undone"))
            assert len(tx.audit.of("device:d1", limit=9)) == number + 2
            raise LookupError

    with store.reading(TENANT) as tx:
        events = tx.audit.page(after=0, limit=99)
        assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
        assert [event.reason for event in tx.audit.of("device:d2", limit=2)] == ["2b", "1b"]
        assert tx.audit.page(after=4, limit=1) == (events[4],)
    assert events[1] == audited("device:d2", reason="0b", before=b'{"a":1}', after=b"{}", seq=2)


def test_an_answer_is_remembered_for_its_actor_and_key(store: SqlStore) -> None:
    answer = RememberedAnswer(request_digest="r", status=201, body=b'\x00{"a": "\xe2\x82\xac"}\xff')
    with store.writing(TENANT) as tx:
        tx.answers.put("admin:a", "k", answer, expires_at=NOW + 60)

    with store.reading(TENANT) as tx:
        assert tx.answers.get("admin:a", "k") == answer
        assert tx.answers.get("admin:b", "k") is tx.answers.get("admin:a", "l") is None
    with pytest.raises(UnavailableError) as caught, store.writing(TENANT) as tx:
        tx.answers.put("admin:a", "k", answer, expires_at=NOW + 60)
    assert caught.value.code == "STORE_CONFLICT"


def test_what_is_over_is_pruned_and_nothing_else(store: SqlStore) -> None:
    answer = RememberedAnswer(request_digest="r", status=200, body=b"")
    for name, end in (("old", NOW), ("new", NOW + 1)):
        with store.writing(name) as tx:
            tx.nonces.add("n", purpose="p", holder="h", expires_at=end)
            tx.nonces.first_use("n", purpose="p", expires_at=end, now=0)
            tx.answers.put("a", "k", answer, expires_at=end)

    assert store.prune(NOW) == 3
    with store.writing("new") as tx:
        assert tx.nonces.use("n", purpose="p", holder="h", now=NOW)
        assert not tx.nonces.first_use("n", purpose="p", expires_at=NOW + 9, now=NOW)
        assert tx.answers.get("a", "k") == answer
    with store.reading("old") as tx:
        assert tx.answers.get("a", "k") is None


def test_sidecars_are_kept(store: SqlStore) -> None:
    joined = SidecarRecord(id="s1", public_key={"kty": "OKP"}, joined_at=NOW)
    later = replace(joined, applied_seq=7, refusals=("BUNDLE_ROLLBACK",), revoked_at=NOW)
    with store.writing(TENANT) as tx:
        tx.sidecars.put(joined)
        tx.sidecars.put(replace(joined, id="s0"))
        tx.sidecars.put_all([later, replace(joined, id="s3")])
        tx.sidecars.put_all([])

    with store.reading(TENANT) as tx:
        assert tx.sidecars.get("s1") == later
        assert tx.sidecars.get("s2") is None
        assert [one.id for one in tx.sidecars.all()] == ["s0", "s1", "s3"]


def test_subjects_come_in_the_order_of_issuer_and_id(store: SqlStore) -> None:
    records = [subject(id_, issuer=issuer) for issuer in ("https://a", "https://B") for id_ in ("2", "1", "10")]
    with store.writing(TENANT) as tx:
        for record in records:
            tx.situation.put_subject(record)
        tx.situation.put_subject(replace(records[0], version=2, status="suspended"))

    found = []
    with store.reading(TENANT) as tx:
        assert tx.situation.subject("https://a", "2").status == "suspended"
        assert tx.situation.subject("https://a", "3") is None
        after = ("", "")
        while page := tx.situation.subjects(after=after, limit=2):
            found += page
            after = (found[-1].issuer, found[-1].id)
    places = [(record.issuer, record.id) for record in found]
    assert places == sorted((record.issuer, record.id) for record in records)


def test_the_situation_is_kept_by_kind_and_id(store: SqlStore) -> None:
    with store.writing(TENANT) as tx:
        tx.situation.put("overlay", "o1", b'{"a":1}')
        tx.situation.put("overlay", "o2", b"{}")
        tx.situation.put("grant", "o1", b'{"g":1}')
        tx.situation.put("overlay", "o1", b'{ "a": 2 }')
        tx.situation.put("overlay", "o2", None)
        tx.situation.put("overlay", "o3", None)

    with store.reading(TENANT) as tx:
        assert tx.situation.all("overlay") == {"o1": b'{ "a": 2 }'}
        assert tx.situation.all("grant") == {"o1": b'{"g":1}'}
        assert tx.situation.all("revocation") == {}


@pytest.mark.parametrize("odd", ["a\0b", "\ud800", "x" * 513])
def test_a_name_that_cannot_be_kept_is_refused_the_same_way_everywhere(store: SqlStore, odd: str) -> None:
    attempts = [
        lambda tx: tx.devices.get(odd),
        lambda tx: tx.devices.page(DeviceFilter(owner=odd), after="", limit=1),
        lambda tx: tx.devices.page(DeviceFilter(), after=odd, limit=1),
        lambda tx: tx.devices.of_certificate(odd),
        lambda tx: tx.invitations.of_code(odd),
        lambda tx: tx.invitations.put(invitation(odd)),
        lambda tx: tx.answers.get("a", odd),
        lambda tx: tx.nonces.use(odd, purpose="p", holder="h", now=NOW),
        lambda tx: tx.situation.put("overlay", odd, b"{}"),
        lambda tx: tx.situation.subjects(after=(odd, ""), limit=1),
        lambda tx: tx.audit.of(odd, limit=1),
    ]
    for attempt in attempts:
        with pytest.raises(InputError) as caught, store.writing(TENANT) as tx:
            attempt(tx)
        assert caught.value.code == "STORE_VALUE"


def test_numbers_beyond_64_bits_are_refused_the_same_way_everywhere(store: SqlStore) -> None:
    with pytest.raises(InputError) as caught, store.reading(TENANT) as tx:
        tx.audit.page(after=10**30, limit=1)
    assert caught.value.code == "STORE_VALUE"
    with pytest.raises(InputError):
        store.events(TENANT, after=10**30, limit=1)


def test_a_search_for_what_no_name_can_have_finds_an_error_or_nothing(store: SqlStore) -> None:
    with pytest.raises(InputError), store.reading(TENANT) as tx:
        tx.devices.page(DeviceFilter(text="a\0"), after="", limit=1)


def test_whoever_listens_is_told_of_announcements_alone(store: SqlStore) -> None:
    told: list[int] = []
    store.on_commit(lambda: told.append(len(told)))

    with store.writing(TENANT) as tx:
        tx.devices.put(device())
    with store.writing(TENANT) as tx:
        tx.outbox.announce("device.changed", b"{}")
        assert told == []
    with pytest.raises(LookupError), store.writing(TENANT) as tx:
        tx.outbox.announce("device.changed", b"{}")
        raise LookupError

    assert told == [0]


def test_a_transaction_within_one_is_a_fault_of_the_program(store: SqlStore) -> None:
    if store._database.dialect == "postgresql":
        pytest.skip(reason="PostgreSQL has row locks, and would wait for one of its own")
    with store.writing(TENANT), pytest.raises(RuntimeError), store.writing(TENANT):
        pass


NAMES = ("a", "b", "c")
WRITES = st.lists(
    st.tuples(st.sampled_from(["north", "south"]), st.sampled_from(range(9)), st.sampled_from(NAMES)), max_size=12
)


def write(tx: Transaction, tenant: str, what: int, name: str, number: int) -> None:
    match what:
        case 0:
            tx.devices.put(
                device(name, tenant=tenant, version=number, keys=(key(name),), owner="p", serial_hash="h", name=tenant)
            )
        case 1:
            tx.invitations.put(invitation(name, tenant=tenant, sponsor=tenant))
        case 2:
            tx.enrollments.put(enrollment(name, tenant=tenant, device_id=name))
        case 3:
            tx.situation.put("overlay", name, tenant.encode().join([b'"', b'"']))
            known = tx.situation.subject(subject(name).issuer, name)
            tx.situation.put_subject(subject(name, org=tenant, version=1 if known is None else known.version + 1))
        case 4:
            tx.audit.record(audited(reason=tenant))
        case 5:
            tx.sidecars.put(SidecarRecord(id=name, public_key={"tenant": tenant}, joined_at=NOW))
        case 6:
            tx.outbox.announce("overlay.changed", tenant.encode().join([b'"', b'"']))
        case 7:
            tx.outbox.seen(name, received_at=NOW, facts=(tenant,))
        case 8:
            tx.nonces.first_use(name, purpose=tenant, expires_at=NOW + 60, now=NOW)


def everything(store: SqlStore, tenant: str) -> list[object]:
    with store.reading(tenant) as tx:
        seen: list[object] = [
            *tx.devices.page(DeviceFilter(text=""), after="", limit=99),
            *tx.devices.of_serial("h"),
            *tx.devices.of_owner("p"),
            *tx.invitations.page(after="", limit=99),
            *tx.enrollments.page(EnrollmentFilter(), after="", limit=99),
            *tx.situation.subjects(after=("", ""), limit=99),
            *tx.situation.all("overlay").values(),
            *tx.audit.page(after=0, limit=99),
            *tx.audit.of("device:d1", limit=99),
            *tx.sidecars.all(),
        ]
        for name in NAMES:
            seen += [tx.devices.get(name), tx.devices.of_key(f"spki-{name}"), tx.devices.of_certificate(f"x5t-{name}")]
            seen += [tx.invitations.of_code(f"code-{name}"), tx.enrollments.of_device(name), tx.sidecars.get(name)]
    store.gather_seen(tenant, now=NOW)
    seen += [event.data for event in store.events(tenant, after=0, limit=999)]
    return seen


@given(WRITES)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_invariant_11_no_tenant_ever_sees_anything_of_another(
    store: SqlStore, writes: list[tuple[str, int, str]]
) -> None:
    """Same ids, keys, codes and numbers in both: each sees its own and nothing else, and counts by itself."""
    for number, (tenant, what, name) in enumerate(writes):
        with store.writing(tenant) as tx:
            held = tx.devices.get(name)
            write(tx, tenant, what, name, number + 1 + (0 if held is None else held.version))
    fence = store.elect() or 0

    for tenant, other in (("north", "south"), ("south", "north")):
        store.gather_seen(tenant, now=NOW)
        store.sequence(tenant, fence=fence, limit=999)
        assert other not in repr(everything(store, tenant))
        events = store.events(tenant, after=0, limit=9999)
        assert all(later.seq == earlier.seq + 1 for earlier, later in pairwise(events))
        assert store.span(tenant) == (1, len(events))
