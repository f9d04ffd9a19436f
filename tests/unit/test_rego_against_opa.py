"""The host built-ins answer what OPA's own answer: drawn calls, one OPA process, no difference."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.conformance.judge import as_json
from tests.unit.rego_cases import Call, Draw
from zt_engine.adapters.rego_builtins import REGISTRY, BuiltinError
from zt_engine.adapters.rego_values import UNDEFINED, Value, dumps, loads, order

_NO_UTF8 = re.compile("[\udc80-\udcff]")


def _written(value: Value) -> str:
    """A literal whose type the checker does not see, so that wrong operands reach the built-in."""
    return f"[{dumps(value).decode('utf-8', 'surrogateescape')}, input.other][input.first]"


def _opa_answers(opa: str, folder: Path, calls: list[Call]) -> dict[str, Value]:
    rules = [f"r[{index}] := {name}({', '.join(map(_written, given))})" for index, (name, given) in enumerate(calls)]
    (folder / "t.rego").write_text("package t\n\n" + "\n".join(rules) + "\n", encoding="utf-8")
    (folder / "input.json").write_text('{"first": 0, "other": null}', encoding="utf-8")
    arguments = ["eval", "--format", "raw", "-i", "input.json", "-d", "t.rego", "data.t.r"]
    done = subprocess.run([opa, *arguments], cwd=folder, capture_output=True, check=True, timeout=60)
    answers = loads(done.stdout.strip())
    assert isinstance(answers, dict)
    return {str(key): value for key, value in answers.items()}


def _our_answer(name: str, given: list[Value]) -> Value | None:
    """The answer as JSON in a list, None when there is none."""
    try:
        found = REGISTRY[name](*given)
    except BuiltinError:
        return None
    if found is UNDEFINED:
        return None
    # OPA prints a byte that is no UTF-8 as the replacement character; inside a policy it is refused.
    text = dumps(as_json(found)).decode("utf-8", "surrogateescape")
    return [loads(_NO_UTF8.sub("\ufffd", text).encode())]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_drawn_call_is_answered_otherwise_than_by_opa(seed: int, opa: str, tmp_path: Path) -> None:
    calls = Draw(seed).calls(120)

    answers = _opa_answers(opa, tmp_path, calls)

    different = []
    for index, (name, given) in enumerate(calls):
        ours = _our_answer(name, given)
        theirs = [answers[str(index)]] if str(index) in answers else None
        if (ours is None) != (theirs is None) or (ours is not None and order(ours) != order(theirs)):
            different.append((name, given, theirs, ours))
    assert different == []
    assert len(answers) > len(calls) // 2
