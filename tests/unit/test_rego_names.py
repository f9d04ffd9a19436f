"""Names in queries and forms, for a rule: what PHP would read as another name, or not at all, is refused."""

from __future__ import annotations

import json
import os
import subprocess
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import find_peer
from tests.unit.test_rego_parts import body, field, read
from zt_engine.core.errors import InputError
from zt_engine.sidecar.rego.names import examine
from zt_engine.sidecar.rego.question import pairs

PHP = """
foreach (json_decode(stream_get_contents(STDIN)) as $query) {
    parse_str($query, $read);
    $told[] = array_map("strval", array_keys($read));
}
echo json_encode($told, JSON_INVALID_UTF8_SUBSTITUTE);
"""
ONE = [
    ("a.b", "a_b"), ("a b", "a.b"), ("a", "a[]"), ("a[b]", "a[b]x"), ("a.b[c]", "a_b[d]"), ("a[b]", "a[b].c"),
    ("a_b", "c", "a b"),
]  # fmt: skip
CUT = [(" a",), ("a\0b",), ("a[b",), ("a[",), ("[a",), ("a[b\0]",)]
APART = [
    ("a.b", "a.c"), ("a b",), ("a[]",), ("a[b]", "a[c]"), ("a[b.c]", "a[b_c]"), ("Items[0].Name", "Items[1].Name"),
    ("form:a.x", "form:a.y"), ("a_b", "a-b"), ("a]",), ("", "a"),
]  # fmt: skip


@pytest.mark.parametrize("names", [*ONE, *CUT])
def test_names_that_php_takes_for_one_or_for_another_are_refused(names: tuple[str, ...]) -> None:
    for said in (names, names[::-1]):
        with pytest.raises(InputError, match="PATH_AMBIGUOUS"):
            pairs("&".join(f"{quote(name)}=1" for name in said))
        with pytest.raises(InputError, match="REGO_BODY"):
            read(body(*[field(name.encode(), b"1") for name in said]))


@pytest.mark.parametrize("names", APART)
def test_names_that_stay_apart_are_told_as_they_were_sent(names: tuple[str, ...]) -> None:
    assert list(pairs("&".join(f"{quote(name)}=1" for name in names))) == list(names)


@settings(max_examples=20)
@given(
    st.lists(st.lists(st.text("a_. []\0b", min_size=1, max_size=6), min_size=1, max_size=3, unique=True), min_size=40)
)
def test_what_is_not_refused_php_finds_under_as_many_names(drawn: list[list[str]]) -> None:
    """But for what stands in brackets, which is told to a rule as it was sent, and for a name without any beginning."""
    php = find_peer("php")
    if php is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `php` is missing")
        pytest.skip(reason="no php on this machine")
    passed = [names for names in drawn if _passes(names)]
    queries = ["&".join(f"{quote(name)}=1" for name in names) for names in passed]

    told = subprocess.run(
        [php, "-r", PHP], input=json.dumps(queries or ["a"]), text=True, capture_output=True, check=True
    )

    for names, found in zip(passed, json.loads(told.stdout), strict=False):
        bases = {name if "]" not in name.partition("[")[2] else name.partition("[")[0] for name in names}
        assert len(found) == len(bases - {""}), (names, found)


def _passes(names: list[str]) -> bool:
    try:
        examine(names, "REGO_BODY")
    except InputError:
        return False
    return True
