"""Releases at the control plane: what is signed, whole, newer and approved is put in force; nothing else is, ever."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.control_support import NOW, TENANT
from tests.publishing_support import (
    APPROVERS,
    KEY,
    Publishing,
    bundle_of,
    opened,
    record_of,
    signatures,
)
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.bootstrap.weakening import weakenings
from zt_engine.control_plane.bundle_shelf import part_of
from zt_engine.control_plane.examining import Examiner
from zt_engine.control_plane.releases import MOST_UNUSED, MOST_WAITING
from zt_engine.control_plane.snapshot import release_data
from zt_engine.control_plane.staged_releases import settle, take_back
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.release import read_notice, read_release, write_release

OTHER = BundleSigningKey.generate("site-1")


@pytest.fixture
def control() -> Iterator[Publishing]:
    with Publishing() as one:
        yield one


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# -- publishing


def test_a_release_is_put_in_force_and_told_as_its_publisher_signed_it(control: Publishing) -> None:
    assert control.call("GET", "/v1/releases/next", who="viewer").json() == {
        "tenant": TENANT, "seq": 1, "active": None, "approvals": 2, "approvals_always": False,
    }  # fmt: skip
    answer = control.publish("1", who="security")
    ((kind, data),) = control.announced()

    assert (answer.status_code, answer.json()["state"], answer.json()["weakens"]) == (201, "released", [])
    assert kind == "bundle.released"
    notice = read_notice(msgspec.json.encode(data))
    told = read_release(notice.record, {KEY.key_id: KEY.public()})
    assert (notice.seq, told.seq, told.content_digest) == (1, 1, opened(bundle_of("1")).content_digest)
    coming = control.call("GET", "/v1/releases/next").json()
    assert (coming["seq"], coming["active"]["content_digest"]) == (2, told.content_digest)
    assert [(event.action, event.actor) for event in control.audit()] == [("release.released", "admin:security")]


def test_a_record_is_shown_to_whoever_gets_ready_while_it_is_examined_and_only_if_a_key_of_ours_signed_it(
    control: Publishing,
) -> None:
    shown: list[int] = []
    control.plane.extras["releases"].offered = lambda record: shown.append(
        read_release(record, {KEY.key_id: KEY.public()}).seq
    )

    assert control.publish("1").status_code == 201
    raw = bundle_of("2")
    control.upload(raw)
    assert control.call("POST", "/v1/releases", {"record": write_release(record_of(raw, 2), OTHER)}).status_code == 422
    raw = bundle_of("3")
    control.upload(raw)
    answer = control.call("POST", "/v1/releases", {"record": write_release(record_of(raw, 7), KEY)})
    assert code(answer)[1] == "RELEASE_CONFLICT"

    assert shown == [1]


def test_the_same_submission_sent_twice_releases_once(control: Publishing) -> None:
    raw = bundle_of("1")
    control.upload(raw)
    body = {"record": write_release(record_of(raw, 1), KEY)}
    answers = [control.call("POST", "/v1/releases", body, idempotency_key="same-key-same-key") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert control.states() == [(1, "released")]
    assert len(control.announced()) == 1


def test_of_two_publishers_who_signed_the_same_number_one_is_told_he_is_late(control: Publishing) -> None:
    for version in ("1", "2"):
        control.upload(bundle_of(version))
    records = [write_release(record_of(bundle_of(version), 1), KEY) for version in ("1", "2")]
    first, second = (control.call("POST", "/v1/releases", {"record": record}) for record in records)

    assert first.status_code == 201
    assert code(second) == (409, "RELEASE_CONFLICT")
    assert control.states() == [(1, "released")]


def test_one_who_was_overtaken_while_he_was_examined_is_late_as_well(control: Publishing) -> None:
    assert control.releases is not None
    control.upload(bundle_of("1"))
    late = control.releases.examine(write_release(record_of(bundle_of("1"), 1), KEY), (), None, now=NOW)
    assert control.publish("2").status_code == 201

    with pytest.raises(InputError) as caught, control.store.writing(TENANT) as tx:
        control.releases.submit(tx, late, actor="admin:b", now=NOW)

    assert caught.value.code == "RELEASE_CONFLICT"
    assert control.states() == [(1, "released")]


@pytest.mark.parametrize(
    ("members", "refusal"),
    [
        ({"tenant": "other"}, (422, "BUNDLE_TENANT")),
        ({"seq": 2}, (409, "RELEASE_CONFLICT")),
        ({"way_back": "0" * 64}, (409, "RELEASE_CONFLICT")),
        ({"bundle_digest": "0" * 64}, (422, "RELEASE_BUNDLE_MISSING")),
        ({"content_digest": "0" * 64}, (422, "BUNDLE_RELEASE")),
        ({"size": 7}, (422, "BUNDLE_RELEASE")),
        ({"not_before": NOW + 60}, (422, "BUNDLE_NOT_YET")),
        ({"not_after": NOW}, (422, "BUNDLE_EXPIRED")),
        ({"not_after": None}, (422, "BUNDLE_RELEASE")),
    ],
)
def test_a_record_that_a_sidecar_would_refuse_is_refused_here(
    control: Publishing, members: dict[str, Any], refusal: tuple[int, str]
) -> None:
    answer = control.publish("1", **members)

    assert code(answer) == refusal
    assert control.states() == []
    assert control.announced() == []
    assert [(event.action, refusal[1].encode() in event.after) for event in control.audit()] == [
        ("release.refused", True)
    ]


def test_only_a_bundle_key_publishes_whoever_asks(control: Publishing) -> None:
    """The control plane holds none: neither its administrators nor itself can make a release, or change one."""
    raw = bundle_of("1")
    control.upload(raw)
    good = write_release(record_of(raw, 1), KEY)
    head, _, tail = good.split(".")
    other = write_release(record_of(raw, 1, author="mallory"), KEY).split(".")[1]

    assert code(control.publish("1", key=OTHER)) == (422, "BUNDLE_SIGNATURE")
    assert code(control.call("POST", "/v1/releases", {"record": f"{head}.{other}.{tail}"})) == (422, "BUNDLE_SIGNATURE")
    assert control.states() == []


def test_a_bundle_signed_by_another_key_or_without_its_own_catalogue_is_no_release(control: Publishing) -> None:
    for raw, refusal in (
        (bundle_of("1", key=OTHER), "BUNDLE_SIGNATURE"),
        (bundle_of("1", without=("catalogue.yaml",)), "BUNDLE_FILE_MISSING"),
        (b"no archive", "BUNDLE_MALFORMED"),
    ):
        control.upload(raw)
        members = {} if raw != b"no archive" else None
        release = record_of(bundle_of("1"), 1, bundle_digest=hashlib.sha256(raw).hexdigest(), size=len(raw))
        if members is not None:
            release = record_of(raw, 1)
        answer = control.call("POST", "/v1/releases", {"record": write_release(release, KEY)})
        assert code(answer) == (422, refusal)
    assert control.states() == []


@pytest.mark.parametrize("who", ["viewer", "helpdesk", "approver"])
def test_the_security_team_publishes_and_nobody_below_it(control: Publishing, who: str) -> None:
    assert control.upload(bundle_of("1"), who=who).status_code == 403
    assert control.publish("1", who=who).status_code == 403
    assert control.call("DELETE", "/v1/releases/1", who=who).status_code == 403
    assert control.call("GET", "/v1/releases", who=who).status_code == 200
    assert (
        control.call("POST", "/v1/releases/1/approvals", {"key_id": "k", "signature": "s"}, who="viewer").status_code
        == 403
    )


# -- approvals


def test_what_weakens_waits_for_two_people_and_is_told_when_the_second_has_signed(control: Publishing) -> None:
    control.publish("1")
    control.announced()
    waiting = control.publish("2-loose", approvals_needed=2, approved_by=["yamada"])
    assert (waiting.status_code, waiting.json()["state"], waiting.json()["lacking"]) == (202, "waiting", 1)
    assert waiting.json()["weakens"][0]["code"] == "WEAKENS_LABEL"
    assert control.announced() == []

    way_back = opened(bundle_of("1")).content_digest
    release = record_of(bundle_of("2-loose"), 99, way_back=way_back)
    (same,) = signatures(release, "yamada")
    again = control.call("POST", "/v1/releases/2/approvals", same, who="approver")
    (second,) = signatures(release, "suzuki")
    answer = control.call("POST", "/v1/releases/2/approvals", second, who="approver")

    assert (again.json()["state"], again.json()["lacking"]) == ("waiting", 1)
    assert (answer.json()["state"], answer.json()["lacking"]) == ("released", 0)
    ((_, data),) = control.announced()
    assert len(data["approvals"]) == 2
    assert control.states() == [(2, "released"), (1, "released")]


def test_a_release_that_has_its_approvals_with_it_is_put_in_force_at_once(control: Publishing) -> None:
    control.publish("1")

    answer = control.publish("2-loose", approvals_needed=2, approved_by=["yamada", "sato"])

    assert (answer.status_code, answer.json()["lacking"]) == (201, 0)


@pytest.mark.parametrize(
    ("content", "people", "refusal"),
    [
        ({"content_digest": "0" * 64}, ["yamada"], "APPROVAL_SIGNATURE"),
        ({"way_back": "0" * 64}, ["yamada"], "APPROVAL_SIGNATURE"),
        ({"tenant": "other"}, ["yamada"], "APPROVAL_SIGNATURE"),
    ],
)
def test_an_approval_is_for_this_content_and_this_way_back_alone(
    control: Publishing, content: dict[str, Any], people: list[str], refusal: str
) -> None:
    control.publish("1")
    control.publish("2-loose", approvals_needed=2)
    release = record_of(bundle_of("2-loose"), 2, way_back=opened(bundle_of("1")).content_digest)
    (signed,) = signatures(replace(release, **content), *people)

    answer = control.call("POST", "/v1/releases/2/approvals", signed)

    assert code(answer) == (422, refusal)
    assert control.states()[0] == (2, "waiting")


def test_what_weakens_and_does_not_say_so_in_its_record_is_refused(control: Publishing) -> None:
    control.publish("1")

    assert code(control.publish("2-loose")) == (422, "RELEASE_APPROVALS")
    assert control.states() == [(1, "released")]


def test_with_fewer_than_two_approvers_none_are_asked_for_and_the_audit_says_so() -> None:
    with Publishing(people=1) as control:
        control.publish("1")
        assert control.call("GET", "/v1/releases/next").json()["approvals"] == 0
        assert control.publish("2-loose").status_code == 201
        assert b"fewer than two approvers" in control.audit()[-1].after
        assert code(control.publish("3", approvals_needed=2)) == (422, "RELEASE_APPROVALS")


def test_a_release_that_waits_is_withdrawn_and_only_once(control: Publishing) -> None:
    control.publish("1")
    control.publish("2-loose", approvals_needed=2)

    assert control.call("DELETE", "/v1/releases/2?reason=mistake").status_code == 204
    assert code(control.call("DELETE", "/v1/releases/2")) == (409, "RELEASE_NOT_WAITING")
    assert code(control.call("DELETE", "/v1/releases/1")) == (409, "RELEASE_NOT_WAITING")
    assert code(control.call("DELETE", "/v1/releases/9")) == (404, "RELEASE_NOT_FOUND")
    one = control.call("GET", "/v1/releases/2").json()
    assert (one["state"], one["why"]) == ("withdrawn", "mistake")
    assert [event["action"] for event in one["audit"]] == ["release.withdrawn", "release.waiting"]
    assert control.call("GET", "/v1/releases/next").json()["seq"] == 3


def test_what_waited_while_something_else_was_released_has_lost_its_way_back(control: Publishing) -> None:
    control.publish("1")
    control.publish("2-loose", approvals_needed=2, approved_by=["yamada"])
    control.publish("3")
    release = record_of(bundle_of("2-loose"), 2, way_back=opened(bundle_of("1")).content_digest)
    (second,) = signatures(release, "suzuki")

    assert code(control.call("POST", "/v1/releases/2/approvals", second)) == (409, "RELEASE_NOT_WAITING")
    assert control.states() == [(3, "released"), (2, "refused"), (1, "released")]
    assert control.call("GET", "/v1/releases/2").json()["why"] == "RELEASE_SUPERSEDED"


def test_a_release_whose_time_ran_out_while_it_waited_is_put_in_force_no_more(control: Publishing) -> None:
    control.publish("1")
    control.publish("2-loose", approvals_needed=2, approved_by=["yamada"], not_after=NOW + 60)
    release = record_of(bundle_of("2-loose"), 2, way_back=opened(bundle_of("1")).content_digest)
    control.clock.advance(61)

    assert code(control.call("POST", "/v1/releases/2/approvals", signatures(release, "suzuki")[0])) == (
        422,
        "BUNDLE_EXPIRED",
    )


def test_so_many_wait_and_no_more(control: Publishing) -> None:
    control.publish("1")
    for _ in range(MOST_WAITING):
        assert control.publish("2-loose", approvals_needed=2).status_code == 202

    assert code(control.publish("2-loose", approvals_needed=2)) == (422, "RELEASES_WAITING")


# -- back


def test_a_rollback_is_a_new_release_of_what_was_in_force_before_and_needs_nobody(control: Publishing) -> None:
    control.publish("1-loose")
    control.publish("2")
    back = control.publish("1-loose")

    assert (back.status_code, back.json()["state"]) == (201, "released")
    assert control.states() == [(3, "released"), (2, "rolled_back"), (1, "released")]
    assert control.call("GET", "/v1/releases/3").json()["rollback"] is True


def test_to_go_forth_again_after_a_rollback_is_a_release_like_any_other(control: Publishing) -> None:
    """A publisher alone cannot swing between two policies until the weaker one is in force."""
    control.publish("1")
    control.publish("2-loose", approvals_needed=2, approved_by=["yamada", "sato"])
    assert control.publish("1").status_code == 201

    assert code(control.publish("2-loose")) == (422, "RELEASE_APPROVALS")


def test_the_same_content_for_longer_needs_nobody_and_keeps_its_way_back(control: Publishing) -> None:
    control.publish("1")
    control.publish("2")
    first = opened(bundle_of("1")).content_digest

    assert control.publish("2", way_back=first, not_after=NOW + 99 * 86_400).status_code == 201
    assert control.call("GET", "/v1/releases/3").json()["way_back"] == first


# -- what sidecars are told


def test_the_newest_release_is_in_the_snapshot_and_its_number_in_the_watermark(control: Publishing) -> None:
    for version in ("1", "2"):
        control.publish(version)
    assert control.releases is not None

    with control.store.reading(TENANT) as tx:
        ((kind, data),) = release_data(tx)
    assert (kind, read_notice(data).seq) == ("bundle.released", 2)
    assert control.releases.least() == 2


def test_a_staged_release_moves_the_least_number_only_when_everybody_is_to_have_it(control: Publishing) -> None:
    control.publish("1")
    control.publish("2")
    assert control.releases is not None
    with control.store.writing(TENANT) as tx:
        two = tx.releases.get(2)
        assert two is not None
        tx.releases.put(replace(two, settled=False))
    assert control.releases.least() == 1
    with control.store.reading(TENANT) as tx:
        assert [read_notice(data).seq for _, data in release_data(tx)] == [1, 2]

    with control.store.writing(TENANT) as tx:
        settle(tx, 2, actor="system", now=NOW)
    assert control.releases.least() == 2
    with control.store.writing(TENANT) as tx:
        take_back(tx, 2, why="guard", actor="system", now=NOW)
    assert control.releases.least() == 1


def test_who_has_a_release_is_said_and_who_has_not_since_when_and_why(control: Publishing) -> None:
    keys = {name: control.join(name) for name in ("edge-1", "edge-2", "edge-3", "edge-4")}
    control.clock.advance(10)
    control.publish("1")
    digest = hashlib.sha256(bundle_of("1")).hexdigest()
    control.acknowledge(keys["edge-1"], "edge-1", bundle_seq=1, bundle_digest=digest)
    control.acknowledge(keys["edge-2"], "edge-2", refusals=["BUNDLE_SMOKE"])
    control.acknowledge(keys["edge-3"], "edge-3", bundle_seq=1, bundle_digest="0" * 64)

    status = control.call("GET", "/v1/releases/1/status", who="viewer").json()

    assert [one["name"] for one in status["has"]] == ["edge-1"]
    assert {one["name"]: (one["why"], one["since"], one["refusals"]) for one in status["missing"]} == {
        "edge-2": ("refused", NOW + 10, ["BUNDLE_SMOKE"]),
        "edge-3": ("behind", NOW + 10, []),
        "edge-4": ("never_heard", NOW + 10, []),
    }
    assert control.call("GET", "/v1/lag").json()["release"]["seq"] == 1
    assert len(control.call("GET", "/v1/lag").json()["release"]["missing"]) == 3
    control.clock.advance(100)
    status = control.call("GET", "/v1/releases/1/status").json()
    assert {one["why"] for one in status["missing"]} == {"disconnected", "never_heard"}


# -- bundles


def test_a_sidecar_fetches_a_bundle_in_parts_and_asks_for_nothing_it_has(control: Publishing) -> None:
    raw = bundle_of("1")
    control.upload(raw)
    path = f"/v1/bundles/{hashlib.sha256(raw).hexdigest()}"
    key = control.join()

    whole = control.as_sidecar(key, "GET", path)
    rest = control.as_sidecar(key, "GET", path, range="bytes=1000-", if_range=whole.headers["etag"])
    middle = control.as_sidecar(key, "GET", path, range="bytes=5-9")
    changed = control.as_sidecar(key, "GET", path, range="bytes=5-9", if_range='"other"')
    beyond = control.as_sidecar(key, "GET", path, range=f"bytes={len(raw)}-")
    held = control.as_sidecar(key, "GET", path, if_none_match=whole.headers["etag"])

    assert (whole.status_code, whole.content) == (200, raw)
    assert (rest.status_code, rest.content) == (206, raw[1000:])
    assert rest.headers["content-range"] == f"bytes 1000-{len(raw) - 1}/{len(raw)}"
    assert (middle.status_code, middle.content) == (206, raw[5:10])
    assert changed.content == raw
    assert code(beyond) == (416, "REQUEST_RANGE")
    assert (held.status_code, held.content) == (304, b"")
    assert control.call("GET", path, who="viewer").content == raw
    assert control.call("GET", path, who=None).status_code == 401
    assert control.call("GET", path, who="stranger").status_code == 401
    assert code(control.call("GET", f"/v1/bundles/{'0' * 64}")) == (404, "BUNDLE_NOT_FOUND")


def test_a_bundle_is_kept_under_its_own_digest_only_and_only_so_many_that_nobody_released(control: Publishing) -> None:
    raw = bundle_of("1")
    assert [control.upload(raw).status_code for _ in range(2)] == [201, 200]
    assert code(control.call("PUT", f"/v1/bundles/{'0' * 64}", raw)) == (422, "BUNDLE_HASH")
    for number in range(MOST_UNUSED - 1):
        assert control.upload(b"%d" % number).status_code == 201
    assert code(control.upload(b"one more")) == (422, "RELEASE_BUNDLES_FULL")

    control.clock.advance(86_401)
    assert control.upload(b"one more").status_code == 201
    assert code(control.publish("1", bundle_digest=hashlib.sha256(b"0").hexdigest())) == (422, "RELEASE_BUNDLE_MISSING")


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-0", (0, 1)), ("bytes=3-", (3, 10)), ("bytes=-4", (6, 10)), ("bytes=-99", (0, 10)),
        ("bytes=0-99", (0, 10)), ("bytes=5-2", None), ("bytes=-", None), ("bytes=0-1,3-4", None), ("lines=1-2", None),
        ("bytes=10-", "REQUEST_RANGE"), ("bytes=-0", "REQUEST_RANGE"),
    ],
)  # fmt: skip
def test_a_range_is_one_range_of_bytes_or_the_whole(wanted: str, part: Any) -> None:
    if isinstance(part, str):
        with pytest.raises(InputError) as caught:
            part_of(wanted, 10)
        assert caught.value.code == part
    else:
        assert part_of(wanted, 10) == part


# -- slow work


def test_candidates_are_examined_one_at_a_time_and_not_for_ever() -> None:
    examiner = Examiner(seconds=0.01, patience=0.01)
    going_on, may_end = Event(), Event()

    def slow() -> None:
        going_on.set()
        may_end.wait(30)

    with pytest.raises(UnavailableError) as caught:
        examiner.run(slow)
    assert going_on.wait(30)
    with pytest.raises(UnavailableError) as busy:
        examiner.run(lambda: None)

    assert (caught.value.code, busy.value.code) == ("RELEASE_TIMEOUT", "RELEASE_BUSY")
    may_end.set()
    patient = Examiner(seconds=30, patience=30)
    ending = Thread(target=lambda: patient.run(lambda: None))
    ending.start()
    ending.join()
    assert patient.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        patient.run(lambda: 1 // 0)


def test_the_engines_own_judge_finds_that_the_same_policy_weakens_nothing() -> None:
    with Publishing(rehearsing=True, weakenings=weakenings) as control:
        assert control.publish("1").status_code == 201
        assert control.publish("2").json()["weakens"] == []


def test_without_bundle_keys_nothing_is_released() -> None:
    with Publishing() as control:
        del control.plane.extras["releases"]

        assert code(control.call("GET", "/v1/releases/next")) == (503, "RELEASE_NO_KEYS")
        assert len(APPROVERS) == 3


STEPS = ["releases.lock", "releases.add", "releases.put", "outbox.announce", "audit.record", "answers.put"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("version", ["2", "1-loose"], ids=["release", "rollback"])
def test_whoever_is_stopped_at_any_step_has_released_nothing_and_lost_nothing(
    control: Publishing, monkeypatch: pytest.MonkeyPatch, step: str, version: str
) -> None:
    control.publish("1-loose")
    control.publish("3")
    control.announced()
    room, name = step.split(".")
    with control.store.reading(TENANT) as tx:
        kind = type(getattr(tx, room))
        before = tx.releases.page(before=0, limit=9)
    with monkeypatch.context() as patched:
        patched.setattr(kind, name, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(BaseException):  # noqa: B017  (whatever comes out of it)
            assert control.publish(version).is_success

    with control.store.reading(TENANT) as tx:
        assert tx.releases.page(before=0, limit=9) == before
    assert control.announced() == []
    assert control.publish(version).status_code == 201
    assert control.states()[0] == (3, "released")
