"""The strict subset of YAML: the same values as ruamel's own reader, or a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from zt_engine.adapters.yaml_strict import YamlList, YamlMap, YamlNode, read_yaml
from zt_engine.core.errors import ConfigError


def plain(node: YamlNode) -> object:
    if isinstance(node, YamlMap):
        return [(key, node.lines[key], plain(value)) for key, value in node.items.items()]
    if isinstance(node, YamlList):
        return [plain(item) for item in node.items]
    return node.text


def reference(node: Node) -> object:
    if isinstance(node, MappingNode):
        return [(key.value, key.start_mark.line + 1, reference(value)) for key, value in node.value]
    if isinstance(node, SequenceNode):
        return [reference(item) for item in node.value]
    return node.value


def refused(text: str | bytes) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, where="f")
    return caught.value.problems[0].code, caught.value.problems[0].where


words = st.sampled_from(
    ["a", "b", "key: ", "x: ", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "'q'", '"d"', "# c",
     "|\n", "?", "~", "1", "true", "&x ", "*x", "!t ", "---\n", "...\n"]
)  # fmt: skip


@given(st.lists(words, max_size=14).map("".join))
def test_what_is_read_is_what_the_reference_reads(text: str) -> None:
    text = "top: 0\n" + text
    try:
        found = read_yaml(text, where="f")
    except ConfigError:
        return

    assert plain(found) == reference(YAML(typ="safe", pure=True).compose(text))


def test_plain_scalars_have_the_type_they_look_like_and_no_other() -> None:
    found = read_yaml(
        "{a: true, b: 'true', c: 12, d: yes, e: 012, f: 1.0, g: ~, h: 0x1F, i: 1_000, j: -5, k: Null}", where="f"
    )

    assert [node.value for node in found.items.values()] == [
        *(True, "true", 12, "yes", "012", "1.0", None, "0x1F", "1_000", -5, "Null"),
    ]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: &x 1\nb: *x", "YAML_SYNTAX", 1),
        ("a: 1\nb: !!python/object:os.system {}", "YAML_SYNTAX", 2),
        ("%YAML 1.1\n---\na: 1", "YAML_SYNTAX", 1),
        ("a: 1\n---\nb: 2", "YAML_SYNTAX", 2),
        ("a: 1\nb: {c: 1, c: 2}", "YAML_DUPLICATE_KEY", 2),
        ("? [a]\n: 1", "YAML_SYNTAX", 1),
        ("a: 1\n\tb: 2", "YAML_SYNTAX", 2),
        ("a: [1, 2", "YAML_SYNTAX", 1),
        ("a: 1\nb: \x07", "YAML_ENCODING", 2),
        (b"a: 1\nb: \xff", "YAML_ENCODING", 2),
        ('a: "\\ud800"', "YAML_SYNTAX", 1),
        ('a: "\\U00110000"', "YAML_SYNTAX", 1),
        ("[" * 100_000, "YAML_TOO_LARGE", 1),
        ("- " * 100_000, "YAML_TOO_LARGE", 1),
        ("{a: " * 100_000, "YAML_TOO_LARGE", 1),
        ("#" * 3_000_001, "YAML_TOO_LARGE", 1),
    ],
)
def test_what_two_readers_could_read_differently_is_refused_at_its_line(
    text: str | bytes, code: str, line: int
) -> None:
    assert refused(text) == (code, f"f:{line}")
