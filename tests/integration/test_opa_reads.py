"""What a bundle says it reads is everything that could change its answer: the decision cache keys on nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fakes.opa_server import opa_server
from tests.integration.opa_support import tool
from zt_engine.adapters.engine_opa import OpaEngine
from zt_engine.authoring.reads import input_reads
from zt_engine.authoring.rego_ast import parse_modules
from zt_engine.core.errors import ConfigError, UnavailableError


def reads(opa: str, *bodies: str) -> tuple[str, ...]:
    sources = {f"{n}.rego": f"package p{n}\n\n{body}\n".encode() for n, body in enumerate(bodies)}
    return input_reads(parse_modules(sources, tool(opa), where={name: name for name in sources}))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x := 1", ()),
        ("x := input.subject.acr", ("/subject/acr",)),
        ('x := input.device.facts["disk.encrypted"].value', ("/device/facts/disk.encrypted/value",)),
        ('x := input["a/b"]["c~d"]', ("/a~1b/c~0d",)),
        # whole documents
        ("x := input", ("",)),
        ("x if walk(input, [_, 1])", ("",)),
        ("x := count(input)", ("",)),
        ("x := [v | v := input[_]]", ("",)),
        ("x := {k | some k; input[k]}", ("",)),
        ("x := y.b if y := input", ("",)),
        ('x := object.get(input, ["a", "b"], 0)', ("",)),
        # dynamic keys count with their constant start, and what is inside a key counts by itself
        ("x := input.a[input.b.c].d", ("/a", "/b/c")),
        ("x if some k, v in input.a.b", ("/a/b",)),
        ("x if every v in input.a { v == input.b }", ("/a", "/b")),
        ("x := input.a[0].b", ("/a",)),
        ("x := input.a[true]", ("/a",)),
        ('x := input.a[_].b["c"]', ("/a",)),
        # a longer reference is covered by a shorter one, a similar name is not
        ("x := [input.a.b, input.a.b.c, input.a.bc, input.ab]", ("/a/b", "/a/bc", "/ab")),
        # aliases: of a part, of an import, of a whole input under another name
        ("x := y.c if y := input.a.b", ("/a/b",)),
        ("import input.device as dev\n\nx := dev.facts.z", ("/device/facts/z",)),
        ("import input.device\n\nx := device[input.n]", ("/device", "/n")),
        ("import input as whole\n\nx := whole.a", ("/a",)),
        ("import input as whole\n\nx := whole", ("",)),
        # functions that are handed a part
        ("f(s) := s.acr\n\nx := f(input.subject)", ("/subject",)),
        ("f(s) := s.acr\n\nx := f(input)", ("",)),
        # negation, comprehensions, else, defaults, heads, templates, `with`
        ("x if not input.a.b", ("/a/b",)),
        ('x := {"k": v | v := input.c}', ("/c",)),
        ("x := 1 if { input.a } else := input.b", ("/a", "/b")),
        ("x contains input.c.d if true", ("/c/d",)),
        ("x[input.k] := input.v", ("/k", "/v")),
        ('x := $"at {input.t.u}"', ("/t/u",)),
        ('y := input.a\n\nx := z if z := y with input as {"a": input.b}', ("",)),
        ("y := input.a\n\nx := z if z := y with input.a as 1", ("/a",)),
        ('x if {\n\tinput.a == 1\n\tz := {"b": [input.c]}\n\tz.b[0] == 2\n}', ("/a", "/c")),
        ("x if input.a in {input.b, 1}", ("/a", "/b")),
        ("x if input.a.b == input.a.c", ("/a/b", "/a/c")),
    ],
)  # fmt: skip
def test_reads_are_found_in_every_shape_of_rego(opa: str, body: str, expected: tuple[str, ...]) -> None:
    assert reads(opa, body) == expected


def test_reads_of_all_modules_are_united_and_annotations_are_no_code(opa: str) -> None:
    annotated = "# METADATA\n# schemas:\n#   - input: schema.x\n# custom:\n#   see: input.secret\nx := input.a"

    assert reads(opa, annotated, "x := input.b.c", "x := input.b") == ("/a", "/b")


def test_rego_that_cannot_be_parsed_is_a_problem_with_its_line(opa: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reads(opa, "x if {", "y := ]")

    assert {problem.code for problem in caught.value.problems} == {"REGO_ERROR"}
    assert [problem.where for problem in caught.value.problems][:2] == ["0.rego:4", "1.rego:3"]


# -- soundness: whatever lies outside of what is read cannot change any answer

_key = st.sampled_from(["a", "b", "c", "d/e"])
_ref = st.lists(_key, min_size=1, max_size=3).map(lambda keys: "input" + "".join(f'["{key}"]' for key in keys))
_any = st.one_of(  # of no type the checker could know, so that everything may be done with it
    _ref,
    st.tuples(_ref, _ref).map(lambda t: f"{t[0]}[{t[1]}]"),
    st.tuples(_ref, _ref, _key).map(lambda t: f'{t[0]}[{t[1]}]["{t[2]}"]'),
    _ref.map(lambda ref: f"f({ref})"),
)
_expression = st.recursive(
    _any | _any.map(lambda e: f"[v | some v in {e}]") | _any.map(lambda e: f"{{k | some k; {e}[k]}}"),
    lambda inner: inner.map(lambda e: f"[{e}, 1]") | inner.map(lambda e: f'{{"k": {e}}}'),
    max_leaves=3,
)
_leaf = st.sampled_from(["a", "b", "c", "d/e", 1])
_value = st.recursive(_leaf, lambda inner: st.dictionaries(_key, inner, max_size=3), max_leaves=8)
_document = st.dictionaries(_key, _value, max_size=4)


def _project(document: dict[str, object], pointers: tuple[str, ...]) -> dict[str, object]:
    """The document with nothing in it but what the pointers name."""
    kept: dict[str, object] = {}
    for pointer in pointers:
        keys = [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
        value: object = document
        with contextlib.suppress(KeyError, TypeError):
            for key in keys:
                value = value[key]  # type: ignore[index]
            if not keys:
                return document
            node = kept
            for key in keys[:-1]:
                node = node.setdefault(key, {})  # type: ignore[assignment]
            node[keys[-1]] = value
    return kept


@pytest.fixture(scope="module")
def opa_path(opa: str) -> str:
    return opa


@settings(
    max_examples=10,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(
    rules=st.lists(_expression, min_size=10, max_size=15),
    documents=st.lists(_document, min_size=15, max_size=25),
)
def test_what_is_not_read_cannot_change_an_answer(
    opa_path: str, rules: list[str], documents: list[dict[str, object]]
) -> None:
    """Generated rules, asked about whole documents and about nothing but what the analysis says each of them reads."""
    bodies = [f"f(x) := x.a\n\nanswer := {rule}\n\nanother if not answer" for rule in rules]
    sources = {f"p{n}.rego": f"package p{n}\n\n{body}\n".encode() for n, body in enumerate(bodies)}
    modules = parse_modules(sources, tool(opa_path), where={name: name for name in sources})
    wrong = []
    with _asking(opa_path, sources) as engine:
        for module in modules:
            pointers = input_reads([module])
            for document in documents:
                whole, part = (
                    _answer(engine, module.package[0], value) for value in (document, _project(document, pointers))
                )
                if whole != part:
                    wrong.append((bodies[int(module.package[0][1:])], pointers, document, whole, part))

    assert wrong == []


@contextlib.contextmanager
def _asking(opa: str, sources: dict[str, bytes]) -> Iterator[OpaEngine]:
    with opa_server(opa, sources, revision="r1") as address:
        engine = OpaEngine(address, revision="r1", deadline_ms=5000)
        try:
            yield engine
        finally:
            engine.close()


def _answer(engine: OpaEngine, package: str, document: dict[str, object]) -> object:
    try:
        return json.loads(engine.evaluate(f"{package}/answer", json.dumps(document).encode()))
    except UnavailableError as error:
        return error.code


def test_the_folder_of_the_packs_reads_no_whole_input(opa: str) -> None:
    """A pack that reads everything would make every request a new decision."""
    policies = Path(__file__).parents[2] / "policies"
    for pack in sorted(path.parent for path in policies.glob("*/pack.yaml")):
        files = [*policies.glob("lib/**/*.rego"), *pack.glob("**/*.rego")]
        sources = {str(path): path.read_bytes() for path in files if not path.name.endswith("_test.rego")}
        pointers = input_reads(parse_modules(sources, tool(opa), where={name: name for name in sources}))

        assert pointers
        assert not {"", "/request", "/device", "/device/facts", "/subject"} & set(pointers)
