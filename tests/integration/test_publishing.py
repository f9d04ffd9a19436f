"""A publisher before a control plane: releases, approvals, the way back, two at once, renewal, history."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.control_support import Control
from tests.publisher_office import KEY, Office, remembered, version
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.bootstrap import publishing, release_diff, release_reading
from zt_engine.bootstrap.policy_before import folder_policy, since
from zt_engine.bootstrap.publishing import DAY, imported
from zt_engine.bootstrap.release_diff import diff
from zt_engine.bootstrap.weakening import weakenings
from zt_engine.core.bundle import open_bundle
from zt_engine.core.errors import BundleError, InputError

LOWERED = {
    "catalogue.yaml": ('label: {code: Confidential, audience: ["group:sales", "group:support"]}', "label: Internal")
}


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    for module in (publishing, release_reading, release_diff):
        monkeypatch.setattr(module, "weakenings", remembered)
    with Control() as control:
        yield Office(control)


def test_a_first_release_is_in_force_at_once_and_the_same_again_is_none(office: Office) -> None:
    first = office.publisher.publish(version("1"))
    again = office.publisher.publish(version("1"))

    assert (first.seq, first.state, first.weakens) == (1, "released", ())
    assert (again.seq, again.state) == (1, "unchanged")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What sidecars follow before there is a release: its catalogue is another one than the bundle's."""
    raw = version("0", LOWERED)
    models = open_bundle(version("0"), keys={KEY.key_id: KEY.public()})
    (tmp_path / "bundle.tar.gz").write_bytes(raw)
    (tmp_path / "catalogue.yaml").write_bytes(models.catalogue or b"")
    (tmp_path / "trust.yaml").write_bytes(models.trust or b"")
    return tmp_path


def first_release(control: Control, folder: Path) -> Office:
    return Office(control, before=lambda: folder_policy(folder, {KEY.key_id: KEY.public()}))


def test_a_first_release_is_compared_with_the_folder_that_decides_before_it(office: Office, folder: Path) -> None:
    """By the publisher, by the control plane beside such a folder, and by each approver."""
    office = first_release(office.control, folder)
    published = office.publisher.publish(version("1", LOWERED))
    before, after = office.reader.texts(1)

    assert (published.state, published.lacking) == ("waiting", 2)
    assert {weakening.code for weakening in published.weakens} >= {"WEAKENS_LABEL"}
    assert office.reader.judged(1)[1] == published.weakens
    assert before["catalogue.yaml"] != after["catalogue.yaml"]
    assert before.keys() == after.keys()


def test_a_first_release_that_gives_nothing_up_is_in_force_at_once(office: Office, folder: Path) -> None:
    published = first_release(office.control, folder).publisher.publish(version("1"))

    assert (published.state, published.weakens) == ("released", ())


def test_a_control_plane_that_knows_what_was_before_refuses_a_first_release_that_hides_it(
    office: Office, folder: Path
) -> None:
    office = first_release(office.control, folder)
    office.before = lambda: None

    with pytest.raises(InputError) as refused:
        office.publisher_of().publish(version("1", LOWERED))

    assert refused.value.code == "RELEASE_APPROVALS"


def test_what_was_before_and_cannot_be_read_takes_two_people(office: Office, folder: Path) -> None:
    (folder / "bundle.tar.gz").write_bytes(b"no bundle")
    candidate = open_bundle(version("1"), keys={KEY.key_id: KEY.public()})
    compared = since(lambda: folder_policy(folder, {KEY.key_id: KEY.public()}), remembered)

    assert [one.code for one in compared(None, candidate)] == ["WEAKENS_UNKNOWN"]
    with pytest.raises(BundleError, match=str(folder)):
        first_release(office.control, folder).publisher.publish(version("1"))


def test_a_release_that_weakens_waits_for_two_people_who_see_the_same_weakening(office: Office) -> None:
    office.publisher.publish(version("1"))
    published = office.publisher.publish(version("2", LOWERED))
    release, seen = office.reader.judged(2)
    one = office.approve(2, "yamada")
    two = office.approve(2, "suzuki")

    assert (published.state, published.lacking) == ("waiting", 2)
    assert {weakening.code for weakening in published.weakens} >= {"WEAKENS_LABEL"}
    assert seen == published.weakens
    assert release.way_back == office.reader.record(1).content_digest
    assert (one["state"], two["state"]) == ("waiting", "released")


def test_one_command_goes_back_without_approvals_and_under_a_new_number(office: Office) -> None:
    office.publisher.publish(version("1"))
    office.publisher.publish(version("2", LOWERED))
    for person in ("yamada", "suzuki"):
        office.approve(2, person)
    back = office.publisher.rollback()
    states = [(one["seq"], one["state"]) for one in office.plane.history()]

    assert (back.seq, back.state) == (3, "released")
    assert states == [(3, "released"), (2, "rolled_back"), (1, "released")]
    assert office.reader.record(3).content_digest == office.reader.record(1).content_digest


def test_to_go_forth_again_to_what_weakens_takes_two_people_again(office: Office) -> None:
    office.publisher.publish(version("1"))
    office.publisher.publish(version("2", LOWERED))
    for person in ("yamada", "suzuki"):
        office.approve(2, person)
    office.publisher.rollback()

    assert office.publisher.publish(version("2", LOWERED)).state == "waiting"


def test_without_anything_before_it_there_is_no_way_back(office: Office) -> None:
    with pytest.raises(InputError) as none:
        office.publisher.rollback()
    office.publisher.publish(version("1"))
    with pytest.raises(InputError) as first:
        office.publisher.rollback()

    assert (none.value.code, first.value.code) == ("RELEASE_NO_WAY_BACK", "RELEASE_NO_WAY_BACK")


def test_who_comes_second_compares_with_what_came_first_and_tries_once_more(office: Office) -> None:
    office.publisher.publish(version("1"))
    other, come = office.publisher_of(), iter([True])
    real = office.plane.submit

    def submit(notice):  # type: ignore[no-untyped-def]
        if next(come, False):
            office.plane.submit = real  # type: ignore[method-assign]
            other.publish(version("other"))
        return real(notice)

    office.plane.submit = submit  # type: ignore[method-assign]
    published = office.publisher.publish(version("2"))

    assert (published.seq, published.state) == (3, "released")
    assert office.reader.record(3).way_back == office.reader.record(2).content_digest


def test_a_release_that_nears_its_end_is_made_again_with_its_way_back_and_its_approvals(office: Office) -> None:
    office.publisher.publish(version("1"))
    office.publisher.publish(version("2", LOWERED))
    for person in ("yamada", "suzuki"):
        office.approve(2, person)
    early = office.publisher.renewal(within=10 * DAY)
    office.control.clock.advance(21 * DAY)
    renewed = office.publisher.renewal(within=10 * DAY)

    assert early is None
    assert renewed is not None
    assert (renewed.seq, renewed.state) == (3, "released")
    old, new = office.reader.record(2), office.reader.record(3)
    assert (new.content_digest, new.way_back, new.approvals_needed) == (old.content_digest, old.way_back, 2)
    assert office.publisher.rollback().state == "released"


def test_a_control_plane_that_sends_another_bundle_is_not_believed(office: Office) -> None:
    office.publisher.publish(version("1"))
    office.plane.bundle = lambda digest: version("loose", LOWERED)  # type: ignore[method-assign]

    with pytest.raises(BundleError) as refused:
        office.publisher.publish(version("2"))

    assert refused.value.code == "BUNDLE_HASH"


def test_what_waits_is_withdrawn_and_who_has_a_release_is_said(office: Office) -> None:
    office.publisher.publish(version("1"))
    office.publisher.publish(version("2", LOWERED))
    office.plane.withdraw(2, "not yet")

    assert [one["state"] for one in office.plane.history()] == ["withdrawn", "released"]
    assert office.plane.status(1)["missing"] == []


def test_a_difference_is_told_from_both_ends(office: Office) -> None:
    office.publisher.publish(version("1"))
    office.publisher.publish(version("2", LOWERED))
    for person in ("yamada", "suzuki"):
        office.approve(2, person)
    found = diff(*office.reader.pair(None, None))
    back = diff(*office.reader.pair(2, 1))

    assert found.changed == ("catalogue.yaml",)
    assert {one.code for one in found.weaker} >= {"WEAKENS_LABEL"}
    assert [(one.where, one.before) for one in back.stricter] == [(one.where, one.after) for one in found.weaker]


def test_another_sites_bundle_is_taken_under_ones_own_key_only_when_that_site_is_believed(office: Office) -> None:
    theirs = BundleSigningKey.generate("site-2")
    raw = version("1", key=theirs)
    with pytest.raises(BundleError) as refused:
        imported(raw, {}, KEY)
    ours = imported(raw, {theirs.key_id: theirs.public()}, KEY)

    assert refused.value.code == "BUNDLE_KEY_UNKNOWN"
    assert office.publisher.publish(ours).state == "released"


def test_a_release_without_sources_of_its_own_to_compare_counts_as_weakened_and_none_is_made_of_it() -> None:
    keys = {KEY.key_id: KEY.public()}
    whole = open_bundle(version("2"), keys=keys)
    bare = msgspec.structs.replace(open_bundle(version("1"), keys=keys), catalogue=None)
    with pytest.raises(BundleError) as refused:
        weakenings(whole, bare)

    assert [one.code for one in weakenings(bare, whole)] == ["WEAKENS_UNKNOWN"]
    assert refused.value.code == "BUNDLE_FILE_MISSING"


def test_the_same_sources_and_key_give_the_same_bundle() -> None:
    assert len({hashlib.sha256(version("1")).hexdigest() for _ in range(2)}) == 1
