"""What the host built-ins answer, family by family; that OPA answers the same is `test_rego_against_opa`."""

from __future__ import annotations

import pytest

from zt_engine.adapters.rego_builtins import REGISTRY, BuiltinError
from zt_engine.adapters.rego_values import UNDEFINED, ExactNumber, RegoSet, Value, dumps, equal

NOON = 1_795_349_472_123_456_789  # 2026-11-22T12:11:12.123456789Z

ANSWERS: list[tuple[str, list[Value], Value]] = [
    ("base64url.encode_no_pad", ["f?"], "Zj8"),
    ("crypto.hmac.equal", ["a", "a"], True),
    ("crypto.hmac.md5", ["what do ya want for nothing?", "Jefe"], "750c783e6ab0b503eaa86e310a5db738"),
    ("crypto.md5", ["a"], "0cc175b9c0f1b6a831c399e269772661"),
    ("crypto.sha1", ["a"], "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
    ("crypto.sha256", [""], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("glob.quote_meta", ["*.example"], "\\*.example"),
    ("graph.reachable_paths", [{"a": ["b"], "b": ["a", "c"]}, ["a"]], RegoSet([["a", "b"]])),
    ("hex.decode", ["e697a5"], "日"),
    ("hex.encode", ["日"], "e697a5"),
    ("indexof_n", ["日本日", "日"], [0, 2]),
    ("json.marshal_with_options", [{"b": 1, "a": RegoSet([2])}, {"pretty": False}], '{"a":[2],"b":1}'),
    ("json.patch", [{"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}]], {"a": [1, 2]}),
    ("net.cidr_contains_matches", ["10.0.0.0/8", ["10.1.2.3", "11.0.0.1"]], RegoSet([["10.0.0.0/8", 0]])),
    ("net.cidr_expand", ["192.0.2.0/31"], RegoSet(["192.0.2.0", "192.0.2.1"])),
    ("net.cidr_is_valid", ["2001:db8::/129"], False),
    ("net.cidr_merge", [["192.0.2.0/25", "192.0.2.128/25"]], RegoSet(["192.0.2.0/24"])),
    ("numbers.range_step", [5, 0, 2], [5, 3, 1]),
    ("object.subset", [{"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}], True),
    ("regex.find_n", ["[0-9]+", "a1b22", -1], ["1", "22"]),
    ("regex.globs_match", ["a.*", "ab+"], True),
    ("regex.replace", ["key=value", "(\\w+)=(\\w+)", "$2=$1"], "value=key"),
    ("regex.split", [",\\s*", "a, b,c"], ["a", "b", "c"]),
    ("regex.template_match", ["urn:{[a-z]+}:x", "urn:abc:x", "{", "}"], True),
    ("semver.compare", ["1.2.0-rc.1", "1.2.0"], -1),
    ("semver.is_valid", ["1.2"], False),
    ("sprintf", ["%s has %d of %v, %05.1f", ["a", 3, {"k": [1]}, ExactNumber("2.25")]], 'a has 3 of {"k": [1]}, 002.2'),
    ("strings.any_prefix_match", [["abc", "x"], RegoSet(["ab"])], True),
    ("strings.any_suffix_match", ["abc", ["bc", "z"]], True),
    ("strings.count", ["ababa", "ab"], 2),
    ("strings.split_n", ["a/b/c", "/", 2], ["a", "b"]),
    ("time.add_date", [NOON, 0, 1, 9], NOON + 39 * 86_400_000_000_000),
    ("time.clock", [[NOON, "Asia/Tokyo"]], [21, 11, 12]),
    ("time.date", [NOON], [2026, 11, 22]),
    ("time.diff", [NOON, NOON + 3_600_000_000_000], [0, 0, 0, 1, 0, 0]),
    ("time.format", [[NOON, "Asia/Tokyo", "2006-01-02 15:04:05 MST"]], "2026-11-22 21:11:12 JST"),
    ("time.parse_duration_ns", ["1d2h"], 93_600_000_000_000),
    ("time.parse_ns", ["2006-01-02", "2026-11-22"], 1_795_305_600_000_000_000),
    ("time.parse_rfc3339_ns", ["2026-11-22T12:11:12.123456789Z"], NOON),
    ("time.weekday", [NOON], "Sunday"),
    ("units.parse", ["100m"], ExactNumber("0.1")),
    ("units.parse_bytes", ["1.5KiB"], 1536),
    ("uri.is_valid", ["http://[::1"], False),
    ("uri.parse", ["https://a.example:8443/x?q=1"], {
        "scheme": "https", "hostname": "a.example", "port": "8443", "path": "/x", "raw_path": "/x", "raw_query": "q=1",
    }),
    ("urlquery.decode", ["a+b%2Fc"], "a b/c"),
    ("urlquery.decode_object", ["a=1&a=2"], {"a": ["1", "2"]}),
    ("urlquery.encode", ["a b/c"], "a+b%2Fc"),
    ("urlquery.encode_object", [{"a": ["1", "2"], "b": "x y"}], "a=1&a=2&b=x+y"),
    ("uuid.parse", ["00000000-0000-4000-8000-000000000000"], {"version": 4, "variant": "RFC4122"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "answer"), ANSWERS, ids=[name for name, _, _ in ANSWERS])
def test_a_builtin_answers(name: str, given: list[Value], answer: Value) -> None:
    found = REGISTRY[name](*given)

    assert found is not UNDEFINED
    assert equal(found, answer), dumps(found)


def test_every_builtin_has_an_example() -> None:
    shown = {name for name, _, _ in ANSWERS}

    assert REGISTRY.keys() - shown == {"crypto.hmac.sha1", "crypto.hmac.sha256", "crypto.hmac.sha512"}


# OPA finds no addresses in what is no collection, which is no error.
@pytest.mark.parametrize("name", sorted(REGISTRY.keys() - {"net.cidr_contains_matches"}))
def test_a_builtin_refuses_operands_of_the_wrong_type(name: str) -> None:
    """A number is never taken for a text, an array or an object; the checks themselves answer false."""
    arity = {"crypto.hmac.equal": 2, "time.add_date": 4}.get(name) or len(
        next(g for n, g, _ in ANSWERS if n == _like(name))
    )
    wrong: list[Value] = [None] * arity

    if name.endswith("is_valid"):
        assert REGISTRY[name](*wrong) is False
        return
    with pytest.raises(BuiltinError):
        REGISTRY[name](*wrong)


def _like(name: str) -> str:
    return "crypto.hmac.md5" if name.startswith("crypto.hmac") else name


def test_what_is_no_uuid_is_undefined_and_not_an_error() -> None:
    assert REGISTRY["uuid.parse"]("not a uuid") is UNDEFINED


@pytest.mark.parametrize(
    ("pattern", "text"), [("(?=a)", "a"), ("(a)\\1", "aa"), ("\\C", "a"), ("(", ""), ("a**", ""), ("[", "")]
)
def test_a_pattern_that_re2_or_go_does_not_take_is_refused(pattern: str, text: str) -> None:
    with pytest.raises(BuiltinError):
        REGISTRY["regex.find_n"](pattern, text, -1)


def test_a_pattern_with_an_escaped_backslash_before_a_c_is_taken() -> None:
    assert REGISTRY["regex.find_n"]("\\\\C", "\\C", -1) == ["\\C"]


def test_the_hour_that_is_skipped_or_repeated_follows_gos_choice() -> None:
    before_spring_forward = 1_772_953_200_000_000_000  # 2026-03-08T07:00:00Z, an hour after New York's jump

    assert REGISTRY["time.format"]([before_spring_forward, "America/New_York"]) == "2026-03-08T03:00:00-04:00"
    assert REGISTRY["time.format"]([before_spring_forward - 1, "America/New_York", "15:04"]) == "01:59"
