"""A publisher that dies on its way: what is in force is the old or the new, whole, and the next one carries on.

A publisher changes nothing but by what it sends, so it can only die before or behind one of its requests. Every one of
them is tried; what the dead one had in its memory is gone, as after SIGKILL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.control_support import Control
from tests.publisher_office import Office, remembered, version
from zt_engine.bootstrap import publishing, release_diff, release_reading
from zt_engine.bootstrap.publishing import Publisher
from zt_engine.core.errors import InputError

MOST = 20
"""More requests than any publishing makes."""


class Killed(BaseException):
    """The end of a process: nothing catches it."""


class Deadly:
    """A client that is killed before its request number `at` leaves, or before it learns what became of it."""

    def __init__(self, inner: Any, at: int, *, sent: bool) -> None:
        self._inner = inner
        self._left = at
        self._sent = sent
        self.died_in = ""

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)

        def tried(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self.died_in = name
                if self._sent:
                    call(*arguments, **named)
                raise Killed
            return call(*arguments, **named)

        return tried


@pytest.fixture(autouse=True)
def _weakenings_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (publishing, release_reading, release_diff):
        monkeypatch.setattr(module, "weakenings", remembered)


def published(office: Office, plane: Any, raw: bytes) -> None:
    publisher = Publisher(plane, office.key, clock=office.control.clock.now, days=30, author="tanaka")
    publisher.publish(raw)


def deaths(raw: bytes, *, sent: bool, before: bytes | None) -> Iterator[tuple[Office, str]]:
    """Yield an office after each death there can be, and what was asked at that moment."""
    for at in range(1, MOST):
        with Control() as control:
            office = Office(control, approvers=False)
            if before is not None:
                office.publisher.publish(before)
            deadly = Deadly(office.plane, at, sent=sent)
            try:
                published(office, deadly, raw)
            except Killed:
                yield office, deadly.died_in
            else:
                return
    raise AssertionError("it makes more requests than were tried")


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_wherever_a_publisher_dies_the_old_or_the_new_is_in_force_and_the_next_one_finishes(
    sent: bool, first: bool
) -> None:
    old, new = version("1"), version("2")
    died = []
    for office, where in deaths(new, sent=sent, before=None if first else old):
        died.append(where)
        active = office.plane.next().active
        came = sent and where == "submit"
        assert (active is None) == (first and not came)
        if active is not None:
            assert office.publisher.fetch(active.bundle_digest).revision.startswith("corp-2-" if came else "corp-1-")
            assert office.publisher.record(active.seq).seq == active.seq
        told = [kind for kind, _ in office.control.announced() if kind.startswith("bundle.")]
        assert len(told) == (0 if first else 1) + came

        again = office.publisher_of().publish(new)

        assert again.state == ("unchanged" if came else "released")
        seqs = [release["seq"] for release in office.plane.history()]
        assert sorted(seqs) == list(range(1, len(seqs) + 1))
        assert len(seqs) == (1 if first else 2)
        following = office.plane.next().active
        assert following is not None
        assert office.publisher.fetch(following.bundle_digest).revision.startswith("corp-2-")
    assert {"next", "put_bundle", "submit"} <= set(died)


def test_a_bundle_that_a_dead_publisher_left_is_in_force_nowhere_and_costs_the_next_one_nothing() -> None:
    new = version("2")
    for office, where in deaths(new, sent=True, before=version("1")):
        if where != "put_bundle":
            continue
        with pytest.raises(InputError) as refused:
            office.plane.get(2)
        assert refused.value.code == "RELEASE_NOT_FOUND"
        assert office.publisher_of().publish(new).seq == 2
