"""What a decision log promises the listener, for the fake and for the one on disk."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import pytest

from tests.fakes.decision_log import FakeDecisionLog
from tests.log_support import FailingFiles, open_log
from zt_engine.adapters.log_reader import Companion, read_log
from zt_engine.core.decision_log import RECORD_PREFIX
from zt_engine.core.errors import UnavailableError
from zt_engine.ports import DecisionLog


class DiscardingLog(DecisionLog, Protocol):
    """The port, and what the listener does with a turn that failed before its flush."""

    def discard(self) -> None: ...


class Subject(Protocol):
    """A log under test, with a way to break it and to see what an auditor would see."""

    @property
    def log(self) -> DiscardingLog: ...

    def set_broken(self, broken: bool) -> None: ...

    def lines(self) -> list[bytes]: ...

    def input(self, digest: str) -> bytes | None: ...


class FakeSubject:
    def __init__(self) -> None:
        self.log = FakeDecisionLog()

    def set_broken(self, broken: bool) -> None:
        self.log.broken = broken

    def lines(self) -> list[bytes]:
        return self.log.lines

    def input(self, digest: str) -> bytes | None:
        return self.log.inputs.get(digest)


class DiskSubject:
    def __init__(self, folder: Path) -> None:
        self.files = FailingFiles()
        self.folder = folder / "log"
        self.log = open_log(folder, files=self.files, reserve_bytes=0)

    def set_broken(self, broken: bool) -> None:
        self.files.error = errno.EIO if broken else 0

    def lines(self) -> list[bytes]:
        lines = [line[:-1] for segment in read_log([self.folder]) for line in segment.lines()]
        return [line for line in lines if not line.startswith(RECORD_PREFIX)]

    def input(self, digest: str) -> bytes | None:
        found = [Companion(path).find(digest) for path in (self.folder / "inputs").iterdir()]
        return next((one for one in found if one is not None), None)


@pytest.fixture(params=["fake", "disk"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield FakeSubject()
        return
    disk = DiskSubject(tmp_path)
    yield disk
    disk.set_broken(False)
    disk.log.close()


def ids(subject: Subject) -> list[str]:
    return [json.loads(line)["decision_id"] for line in subject.lines()]


def body(name: str) -> bytes:
    return b'"ts":"t","decision_id":"%b"' % name.encode()


def test_nothing_is_there_before_the_flush_and_everything_in_order_after_it(subject: Subject) -> None:
    subject.log.append(body("a"))
    subject.log.append(body("b"))
    before = ids(subject)
    subject.log.flush()

    assert (before, ids(subject)) == ([], ["a", "b"])


def test_each_line_names_the_one_before_it_across_flushes(subject: Subject) -> None:
    for name in "abc":
        subject.log.append(body(name))
        subject.log.flush()

    lines = subject.lines()

    for before, line in pairwise(lines):
        assert json.loads(line)["prev_hash"] == sha256(before).hexdigest()
        assert json.loads(line)["seq"] == json.loads(before)["seq"] + 1


def test_a_failed_flush_says_so_and_leaves_nothing_of_its_turn(subject: Subject) -> None:
    subject.log.append(body("kept"))
    subject.log.flush()

    subject.set_broken(True)
    subject.log.append(body("lost"))
    with pytest.raises(UnavailableError) as caught:
        subject.log.flush()

    subject.set_broken(False)
    subject.log.append(body("next"))
    subject.log.flush()
    assert caught.value.code == "LOG_UNAVAILABLE"
    assert ids(subject) == ["kept", "next"]


def test_a_flush_of_nothing_is_nothing_even_when_writing_fails(subject: Subject) -> None:
    subject.set_broken(True)

    subject.log.flush()

    assert ids(subject) == []


def test_an_input_is_kept_byte_for_byte(subject: Subject) -> None:
    canonical = '{"a":"日本","b":[1,2]}'.encode()
    digest = sha256(canonical).hexdigest()

    subject.log.store_input(digest, canonical)
    subject.log.store_input(digest, canonical)
    subject.log.flush()

    assert subject.input(digest) == canonical


def test_an_input_of_a_failed_flush_can_be_stored_again(subject: Subject) -> None:
    digest = sha256(b"{}").hexdigest()
    subject.set_broken(True)
    subject.log.store_input(digest, b"{}")
    with pytest.raises(UnavailableError):
        subject.log.flush()
    subject.set_broken(False)

    subject.log.store_input(digest, b"{}")
    subject.log.flush()

    assert subject.input(digest) == b"{}"


def test_a_discarded_turn_is_never_written(subject: Subject) -> None:
    subject.log.append(body("lost"))
    subject.log.store_input(sha256(b"{}").hexdigest(), b"{}")

    subject.log.discard()

    subject.log.append(body("next"))
    subject.log.flush()
    assert ids(subject) == ["next"]
    assert subject.input(sha256(b"{}").hexdigest()) is None


@pytest.mark.parametrize("call", ["append", "input"])
def test_a_newline_cannot_be_smuggled_in(subject: Subject, call: str) -> None:
    smuggle: dict[str, Callable[[], None]] = {
        "append": lambda: subject.log.append(b'"a":"b\n"'),
        "input": lambda: subject.log.store_input("0" * 64, b"{}\n{}"),
    }

    with pytest.raises(ValueError, match="line"):
        smuggle[call]()
