"""What was judged once is not judged again, unless a single byte of it is another one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.adapters.opa_memory import OpaMemory
from zt_engine.core.errors import UnavailableError
from zt_engine.ports import OpaOutput

Asked = tuple[tuple[str, ...], dict[str, bytes], tuple[str, ...]]


class Counting:
    """Answers each question with its number."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.fails = 0
        self.status = 0

    def run(self, *arguments: str, files: Mapping[str, bytes], collect: tuple[str, ...] = ()) -> OpaOutput:
        self.asked.append((arguments, dict(files), collect))
        if self.fails:
            self.fails -= 1
            raise UnavailableError("OPA_TIMEOUT", "too slow")
        return OpaOutput(status=self.status, stdout=str(len(self.asked)).encode(), stderr=b"")


texts = st.text("ab'\",() ", max_size=4)
questions = st.tuples(
    st.lists(texts, max_size=2).map(lambda more: ("check", *more)),
    st.dictionaries(texts, st.binary(max_size=3), max_size=2),
    st.lists(texts, max_size=2).map(tuple),
)


@given(questions, questions)
def test_two_questions_have_one_answer_only_if_they_are_the_same(one: Asked, other: Asked) -> None:
    opa = OpaMemory(counting := Counting())
    first, second = (opa.run(*arguments, files=files, collect=collect) for arguments, files, collect in (one, other))

    assert (first == second) == (one == other)
    assert len(counting.asked) == (1 if one == other else 2)


@pytest.mark.parametrize("command", ["test", "eval", "run", ""])
def test_what_is_no_judgement_is_asked_each_time(command: str) -> None:
    opa = OpaMemory(counting := Counting())
    for _ in range(2):
        opa.run(*filter(None, [command]), files={})

    assert len(counting.asked) == 2


def test_what_failed_is_asked_again() -> None:
    counting = Counting()
    counting.fails = 1
    opa = OpaMemory(counting)
    with pytest.raises(UnavailableError):
        opa.run("check", files={})

    assert opa.run("check", files={}).stdout == b"2"


@pytest.mark.parametrize("status", [1, 2, -15])
def test_what_opa_refused_or_was_ended_at_is_asked_again(status: int) -> None:
    """A full disk and a signal look like a refusal, and are gone the next time."""
    counting = Counting()
    counting.status = status
    opa = OpaMemory(counting)
    assert opa.run("check", files={}).status == status
    counting.status = 0

    assert opa.run("check", files={}).status == 0
