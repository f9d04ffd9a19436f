"""What the quicker bodies of OPA's runtime answer is what OPA's own bodies answer, to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import msgspec
import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wasm_modules import module
from tests.unit.wasm_support import build, document
from zt_engine.adapters import wasm_quick
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.wasm_module import CompiledPolicy, _inspect, compile_policy, shared_engine
from zt_engine.adapters.wasm_quick import quickened
from zt_engine.adapters.wasm_sections import (
    CODE,
    FUNCTIONS,
    IMPORTS,
    MEMORIES,
    function_names,
    number,
    read_bodies,
    read_imports,
    read_number,
    read_sections,
    write_bodies,
    write_sections,
)
from zt_engine.core.errors import BundleError, UnavailableError

SOURCE = """
package q

same := input.a

text := json.marshal(input.a)

reread := json.unmarshal(input.text)

found := [[key, input.object[key]] | some key in input.keys]

items := {item | some item in input.items}

members := [item | some item in input.keys; item in items]

also := items & {key | some key in input.keys}

ordered := sort(input.items)

compared := [[a < b, a == b, a <= b] | some a in input.items; some b in input.items]

sums := [total | some a in input.items; some b in input.items; total := a + b]

places := [input.items[place] | some place in input.places]

grouped := {key: values | some key in input.keys; values := [value | some value in input.items; value != key]}

constants := [name | some name in ["", "a", "status", "roles.reader", "0123456789abcdefg"]; input.object[name]]

levels := {"": 0, "a": 1, "status": 2, "roles.reader": 3, "0123456789abcdefg": 4}

looked_up := [levels[key] | some key in input.keys]
"""
RULES = tuple(
    f"q/{line.split(' ')[0]}" for line in SOURCE.splitlines() if " := " in line and not line.startswith("levels")
)


class Pair(NamedTuple):
    """One policy in both forms."""

    plain: WasmEngine
    quick: WasmEngine


def _as_it_came(wasm: bytes) -> CompiledPolicy:
    """Compile without any change."""
    compiled = wasmtime.Module(shared_engine(), wasm)
    return CompiledPolicy(module=compiled, pages=_inspect(compiled) + len(wasm) // 65536 + 1)


@pytest.fixture(scope="module")
def wasm(opa: str) -> bytes:
    return build(opa, RULES, SOURCE)


@pytest.fixture(scope="module")
def pair(wasm: bytes) -> Iterator[Pair]:
    engines = [
        WasmEngine(policy, b"{}", revision="r1", budget_ms=60_000)
        for policy in (_as_it_came(wasm), compile_policy(wasm))
    ]
    yield Pair(*engines)
    for engine in engines:
        engine.close()


def answers(engine: WasmEngine, raw: bytes) -> list[object]:
    """What every rule says, the bytes as they are, or why it says nothing."""
    found: list[object] = []
    for rule in RULES:
        try:
            found.append(engine.evaluate(rule, raw))
        except UnavailableError as error:
            found.append(error.code)
    return found


def agree(pair: Pair, value: object) -> None:
    raw = value if isinstance(value, bytes) else document(value)
    assert answers(pair.quick, raw) == answers(pair.plain, raw), raw.decode()


NUMBERS = (
    *("0", "1", "-1", "-0", "7", "10", "999999999", "1000000000", "2147483648", "999999999999999", "4503599627370496"),
    *(
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "123456789012345678901",
    ),
    *("1.0", "10.50", "1e2", "1E-2", "0.1", "-0.0", "100000000000000e1"),
)
"""As they are written: each keeps its spelling."""
numbers = st.sampled_from([msgspec.Raw(text.encode()) for text in NUMBERS])
TEXTS = ("", "a", "status", "roles.reader", "0123456789abcdefg")
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
ODD = 'ab"\\/\n\x1f\x7f~\u00e9\u3042\U0001f600'


class Draw(Random):
    """Inputs for the policy above, drawn from a seed: hypothesis takes twenty times as long for such large values."""

    def text(self) -> str:
        kind = self.randrange(3)
        if kind == 0:
            return "".join(self.choices(ODD, k=self.randrange(20)))
        return self.choice(TEXTS) if kind == 1 else LETTERS[: self.randrange(37)] + self.choice("ab")

    def scalar(self) -> object:
        return self.choice((None, True, False, self.text(), self.text(), self.number(), self.number()))

    def number(self) -> msgspec.Raw:
        return msgspec.Raw(self.choice(NUMBERS).encode())

    def value(self, depth: int = 3) -> object:
        kind = self.randrange(4) if depth else 0
        if kind < 2:
            return self.scalar()
        return self.members(depth) if kind == 2 else [self.value(depth - 1) for _ in range(self.randrange(6))]

    def members(self, depth: int) -> dict[str, object]:
        return {self.text(): self.value(depth - 1) for _ in range(self.choice((0, 1, 3, 5, 6, 12, 25)))}

    def input(self) -> dict[str, object]:
        text = document(self.value()).decode()
        return {
            "a": self.value(),
            "keys": [self.text() for _ in range(self.randrange(8))],
            "object": self.members(3),
            "items": [self.value(2) for _ in range(self.randrange(7))],
            "places": [self.number() for _ in range(self.randrange(4))],
            "text": self.choice((self.text(), text, text[:-1], text + "1")),
        }


@given(seed=st.integers(0, 2**32 - 1))
def test_every_input_is_answered_the_same_to_the_byte(pair: Pair, seed: int) -> None:
    drawn = Draw(seed)
    for _ in range(3):
        agree(pair, drawn.input())


@pytest.mark.parametrize(("comma", "colon"), [(", ", ": "), (" ,", " :"), ("\n,\t", "\r: ")])
def test_white_space_is_read_the_same(pair: Pair, comma: str, colon: str) -> None:
    plain = document({"a": {"x": [1, 20, True, None, "y"]}, "keys": ["x"], "items": [[], {}, 5], "text": "[1 , 2]"})

    agree(pair, f" {plain.decode().replace(',', comma).replace(':', colon)}\n".encode())


@pytest.mark.parametrize("size", [*range(40), 63, 64, 65, 255, 4096, 65_535, 65_536, 70_000])
def test_strings_of_every_length_are_equal_to_themselves_and_to_nothing_else(pair: Pair, size: int) -> None:
    text = ("0123456789abcdefghijklmnopqrstuvwxyz" * 2000)[:size]
    others = [f"{text}~", f"~{text[1:]}", text[:-1] + "~", text[: size // 2] + "~" + text[size // 2 + 1 :], text[:-1]]

    agree(pair, {"a": text, "keys": [text, *others], "object": {text: 1, others[1]: 2}, "items": [text, *others]})


@pytest.mark.parametrize("size", [0, 1, 5, 6, 7, 11, 12, 22, 23, 45, 90, 700])
def test_objects_and_sets_of_every_size_keep_their_order(pair: Pair, size: int) -> None:
    names = [f"name-{number * 7919 % 1000}" for number in range(size)]

    agree(pair, {"a": dict.fromkeys(names, 1), "keys": names[::3], "object": dict.fromkeys(names, "x"), "items": []})


@pytest.mark.parametrize(
    "text",
    [
        *(
            '"',
            '"a',
            '"abcdefgh',
            '"abcdefghijk\\',
            "1",
            "12,",
            "01",
            "1]",
            "-",
            "[1",
            "{",
            '{"a"',
            '{"a":',
            '{"a":1,}',
        ),
        *(
            "[1,]",
            "tru",
            "true",
            "nul",
            "falsehood",
            "set(",
            "set()",
            "{1,2}",
            '"\\u12',
            '"\\u3042"',
            '"a\x00b"',
            "[[]",
        ),
        *("]", "", "[1,2 ,3]", "[1 2]", '{"a" 1}', "12a", "1.", "1e", "00", "[9999999999]"),
    ],
)
def test_text_that_is_no_json_is_refused_the_same(pair: Pair, text: str) -> None:
    agree(pair, {"a": text, "text": text, "keys": [], "object": {}, "items": [], "places": []})


def test_an_object_with_a_key_twice_is_read_the_same(pair: Pair) -> None:
    agree(pair, b'{"a":{"x":1,"y":2,"x":3},"keys":["x","y"],"object":{"x":1,"x":2},"items":[]}')


# --- which modules it touches ---


def test_what_the_installed_opa_makes_is_known(wasm: bytes) -> None:
    """When this fails a new OPA has a new runtime: see what changed in it, and write its digest down."""
    before, after = read_sections(wasm), read_sections(quickened(wasm, spare_pages=1))

    changed = [kind for kind, part in after if (kind, part) not in before]

    assert changed == [IMPORTS, FUNCTIONS, MEMORIES, CODE]
    assert len(read_bodies(dict(after)[CODE])) == len(read_bodies(dict(before)[CODE])) + len(wasm_quick._QUICK)


@pytest.mark.parametrize("name", wasm_quick._QUICK)
def test_a_runtime_with_one_other_byte_is_left_as_it_is(wasm: bytes, name: str) -> None:
    sections = read_sections(wasm)
    bodies = read_bodies(dict(sections)[CODE])
    place = function_names(sections)[name] - len(read_imports(dict(sections)[IMPORTS]).functions)
    bodies[place] = bodies[place][:-1] + b"\x01" + bodies[place][-1:]  # an instruction that does nothing
    changed = write_sections((kind, write_bodies(bodies) if kind == CODE else part) for kind, part in sections)

    assert quickened(changed, spare_pages=1) is changed


def test_a_module_without_names_or_with_another_runtime_is_left_as_it_is(wasm: bytes) -> None:
    nameless = write_sections((kind, part) for kind, part in read_sections(wasm) if kind != 0)

    assert quickened(nameless, spare_pages=1) is nameless
    assert quickened(hand_made := module(), spare_pages=1) is hand_made


def test_a_module_that_keeps_its_memory_to_itself_is_refused(wasm: bytes) -> None:
    """Only a crafted one does; it was let in when the memory still came from us, and broke once it no longer did."""
    imported, exported = b"\x03env\x06memory\x02", b"\x06memory\x02"
    before, behind = wasm.split(imported)
    hidden = before + imported + behind.replace(exported, b"\x06nobody\x02")
    assert hidden != wasm

    with pytest.raises(BundleError) as caught:
        compile_policy(hidden)

    assert caught.value.code == "WASM_INVALID"
    assert "it lacks memory" in str(caught.value)


@pytest.mark.parametrize("other", [b"\x03env\x06nobody\x02", b"\x03ent\x06memory\x02"])
def test_a_memory_that_is_not_the_one_of_a_policy_is_not_taken_for_it(wasm: bytes, other: bytes) -> None:
    changed = wasm.replace(b"\x03env\x06memory\x02", other)
    assert changed != wasm

    assert quickened(changed, spare_pages=1) is changed
    with pytest.raises(BundleError, match="which no policy needs"):
        compile_policy(changed)


def test_a_module_of_very_many_functions_is_left_as_it_is(wasm: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wasm_quick, "_MOST_FUNCTIONS", 500)

    assert quickened(wasm, spare_pages=1) is wasm


@given(raw=st.binary(max_size=60), start=st.integers(0, 400), size=st.integers(0, 60))
def test_bytes_that_are_no_module_are_left_as_they_are(wasm: bytes, raw: bytes, start: int, size: int) -> None:
    damaged = wasm[:start] + raw + wasm[start + size : 3000]

    for found in (raw, b"\x00asm\x01\x00\x00\x00" + raw, damaged):
        assert quickened(found, spare_pages=1) is found


@given(st.integers(0, 2**32 - 1))
def test_numbers_are_read_as_they_were_written(value: int) -> None:
    assert read_number(number(value), 0) == (value, len(number(value)))
