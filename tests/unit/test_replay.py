"""A recorded decision is decided again and compared byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import pytest

from zt_engine.authoring.replay import ArchiveReader, replay
from zt_engine.core.decision_event import DecisionEvent, LoggedObligation, encode_event
from zt_engine.core.decision_log import Chain, LogSegment, Noted, record_body
from zt_engine.core.errors import InputError

DOCUMENT = b'{"version":1}'
DIGEST = sha256(DOCUMENT).hexdigest()
RECORDED = {
    "effect": "deny",
    "reasons": ["TRUST_LOW"],
    "obligations": [{"id": "no_store"}, {"id": "max_rows", "value": 10}],
    "threshold": 60,
}


class EmptyArchive:
    def read(self, kind: str, digest: str) -> bytes:
        raise InputError("LOG_ARCHIVE_MISSING", "nothing is here", where=f"{kind}/{digest}")


class Again:
    """Decides the same every time, and remembers what it was asked."""

    def __init__(self, outcome: Mapping[str, object] = RECORDED) -> None:
        self.outcome = outcome
        self.asked: list[tuple[object, bytes]] = []

    def __call__(self, archive: ArchiveReader, event: Mapping[str, object], document: bytes, /) -> Mapping[str, object]:
        self.asked.append((event["revision"], document))
        return self.outcome


def segment(*digests: str | None, revision: str = "r1", document: bytes | None = DOCUMENT) -> LogSegment:
    chain = Chain()
    chain.append(record_body(Noted(at="t", kind="bundle", digest="d")))
    for number, digest in enumerate(digests):
        event = DecisionEvent(
            ts="t",
            decision_id=f"d{number}",
            request_id="",
            sidecar="s",
            tenant="t",
            effect="deny",
            reasons=("TRUST_LOW",),
            obligations=(LoggedObligation(id="no_store"), LoggedObligation(id="max_rows", value=10)),
            threshold=60,
            revision=revision,
            input_digest=digest,
        )
        chain.append(encode_event(event))
    lines = [line + b"\n" for line in chain.pending]
    return LogSegment(name="f", chain="c", first=0, lines=lambda: lines, find_input=lambda _: document)


def test_what_is_decided_the_same_is_the_same() -> None:
    report = replay([segment(DIGEST, DIGEST)], Again(), EmptyArchive())

    assert (report.decisions, report.replayed, report.same) == (2, 2, 2)
    assert (report.differences, report.faults) == ((), ())


def test_a_refusal_before_policy_has_no_input_and_is_not_replayed() -> None:
    report = replay([segment(None, DIGEST)], Again(), EmptyArchive())

    assert (report.decisions, report.replayed, report.same) == (2, 1, 1)


def test_the_same_input_under_the_same_policy_is_decided_once() -> None:
    again = Again()

    replay([segment(DIGEST, DIGEST), segment(DIGEST, revision="r2")], again, EmptyArchive())

    assert again.asked == [("r1", DOCUMENT), ("r2", DOCUMENT)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("effect", "allow"),
        ("reasons", ["TRUST_LOW", "MFA_REQUIRED"]),
        ("obligations", [{"id": "max_rows", "value": 10}, {"id": "no_store"}]),
        ("threshold", 60.0),
        ("threshold", None),
    ],
)
def test_each_compared_field_must_agree_to_the_byte(field: str, value: object) -> None:
    report = replay([segment(DIGEST)], Again({**RECORDED, field: value}), EmptyArchive())

    (difference,) = report.differences
    assert (difference.field, difference.where, report.same) == (field, "f:2", 0)


def test_a_missing_field_is_a_difference() -> None:
    report = replay([segment(DIGEST)], Again({}), EmptyArchive())

    assert {difference.field for difference in report.differences} == set(RECORDED)


def test_an_input_that_is_missing_or_was_changed_is_a_fault() -> None:
    missing = replay([segment(DIGEST, document=None)], Again(), EmptyArchive())
    changed = replay([segment(DIGEST, document=b"{}")], Again(), EmptyArchive())

    assert [fault.code for fault in missing.faults] == ["LOG_INPUT_MISSING"]
    assert [fault.code for fault in changed.faults] == ["LOG_INPUT_CHANGED"]


def test_a_decision_that_cannot_be_made_again_is_a_fault() -> None:
    def fails(archive: ArchiveReader, event: Mapping[str, object], document: bytes, /) -> Mapping[str, object]:
        archive.read("bundle", "d")
        return {}

    report = replay([segment(DIGEST)], fails, EmptyArchive())

    assert [fault.code for fault in report.faults] == ["LOG_REPLAY_FAILED"]


def test_it_stops_after_the_first_differences() -> None:
    digests = [DIGEST] * 50

    report = replay([segment(*digests)], Again({**RECORDED, "effect": "allow"}), EmptyArchive(), limit=5)

    assert len(report.differences) == 5


def test_a_line_that_is_no_event_is_a_fault() -> None:
    broken = LogSegment(name="f", chain="c", first=0, lines=lambda: [b'{"ts":"\xff"}\n', b"[]\n", b"{}\n"])

    report = replay([broken], Again(), EmptyArchive())

    assert [fault.where for fault in report.faults] == ["f:1", "f:2", "f:3"]
