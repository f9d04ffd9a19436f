"""What is nearly a narrower route's path is refused: against the definition, tried on every route and object."""

from __future__ import annotations

import itertools
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_catalogue import SCHEME, catalogue, label_of, matches, most_specific, rule
from zt_engine.core.catalogue import Catalogue, ObjectRule
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.core.route_guard import Guard, fold
from zt_engine.core.route_matcher import Shape, TangledError, Wild


def outcome(found: Catalogue, path: str, method: str = "GET") -> str:
    try:
        return label_of(found, path, method).code
    except InputError as error:
        return error.code


def item(path: str, code: str = "C2") -> ObjectRule:
    return ObjectRule(service="portal", path=path, label=SCHEME.label(code))


FOUND = catalogue(
    rule("/*", "C0", ("GET", "POST")),
    rule("/admin", "C2"),
    rule("/cases/{case_id}/salary", "C2"),
    rule("/reports/", "C2"),
    rule("/secret/*", "C2"),
    rule("/open", "C0", ("GET", "POST")),
    objects=(item("/files/pay.php"),),
)


@pytest.mark.parametrize(
    "path",
    ["/admin/", "/Admin", "/ADMIN/", "/admin%20", "/admin.", "/admin.%20.", "/admin/x", "/admin/x/y", "/admin/...",
     "/admin%E3%80%80", "/%EF%BD%81dmin", "/admin%EF%BC%8F", "/%C5%BFecret/a",
     "/files/pay.php/", "/files/pay.php/x", "/files/PAY.php", "/Files/pay.php", "/files/pay.php%20", "/files/pay.php.",
     "/Cases/1/salary", "/cases/1/salary/", "/cases/1/Salary.", "/reports", "/Reports/", "/secret", "/Secret/a/b"],
)  # fmt: skip
def test_a_path_that_is_nearly_a_stricter_one_is_refused(path: str) -> None:
    assert outcome(FOUND, path) == "PATH_ALIASED"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/admin", "C2"),
        ("/files/pay.php", "C2"),
        ("/cases/1/salary", "C2"),
        ("/reports/", "C2"),
        ("/secret/a", "C2"),
        ("/secret/", "C2"),
        ("/administration", "C0"),
        ("/x/admin", "C0"),
        ("/files/pay.phps", "C0"),
        ("/files", "C0"),
        ("/cases/1/salary/x", "C0"),
        ("/reports2", "C0"),
        ("/Open/", "C0"),
        ("/", "C0"),
        ("/%E7%A7%98", "C0"),
    ],
)
def test_a_path_that_is_written_down_or_like_no_other_is_served(path: str, code: str) -> None:
    assert outcome(FOUND, path) == code


def test_a_method_that_the_narrower_route_does_not_list_is_a_gain_as_well() -> None:
    found = catalogue(rule("/*", "C1", ("GET", "DELETE")), rule("/admin", "C1"))

    assert outcome(found, "/admin/", "GET") == "C1"
    assert outcome(found, "/admin/", "DELETE") == "PATH_ALIASED"


def test_both_spellings_written_down_are_two_paths() -> None:
    found = catalogue(rule("/*", "C0"), rule("/admin", "C2"), rule("/Admin", "C1"), rule("/admin/", "C0"))

    assert [outcome(found, path) for path in ("/admin", "/Admin", "/admin/", "/ADMIN")] == [
        "C2", "C1", "C0", "PATH_ALIASED",
    ]  # fmt: skip


def test_trees_whose_literals_differ_in_case_only_are_two_trees() -> None:
    found = catalogue(rule("/A/{x}", "C0"), rule("/a/{x}", "C2"), rule("/*", "C1"))

    assert [outcome(found, path) for path in ("/A/1", "/a/1", "/a/1/", "/A/1/2")] == ["C0", "C2", "PATH_ALIASED", "C1"]


def test_what_follows_a_route_with_longer_routes_is_not_its_own() -> None:
    found = catalogue(rule("/*", "C0"), rule("/cases", "C2"), rule("/cases/{case_id}", "C1"))

    assert [outcome(found, path) for path in ("/cases/", "/cases/1", "/cases/1/", "/cases/1/2")] == [
        "PATH_ALIASED", "C1", "PATH_ALIASED", "C0",
    ]  # fmt: skip


def test_the_guard_of_another_host_or_of_routes_that_all_mean_the_same_is_none() -> None:
    assert catalogue(rule("/*"), rule("/a"), rule("/b/{x}")).hosts["portal.example"].guard is None
    assert catalogue(rule("/a", "C0"), rule("/b", "C2")).hosts["portal.example"].guard is None
    assert FOUND.hosts["portal.example"].guard is not None


def test_a_guard_that_grows_without_bound_is_refused_when_it_is_loaded() -> None:
    wild: dict[Shape, int] = {(*[Wild.PARAM] * size, "a", Wild.REST): 0 for size in range(20)}

    with pytest.raises(TangledError):
        Guard(wild, ())


# The definition, tried on every route and object.

SEGMENTS = ("a", "A", "b", "b.", "c", " ")
literals = st.sampled_from(["a", "A", "b", "B"])
shapes = st.builds(
    lambda body, end: (*body, *end),
    st.lists(st.one_of(literals, st.just(Wild.PARAM)), max_size=2),
    st.one_of(literals.map(lambda name: (name,)), st.sampled_from([("",), (Wild.PARAM,), (Wild.REST,)])),
)
PATHS = [
    [*body, end]
    for size in range(3)
    for body in itertools.product(SEGMENTS, repeat=size)
    for end in (*SEGMENTS, "")
]  # fmt: skip


def folded(segments: tuple[str | Wild, ...] | list[str]) -> list[str | Wild]:
    """Fold, without the empty end."""
    found = [segment if isinstance(segment, Wild) else fold(segment) for segment in segments]
    while found and found[-1] == "":
        del found[-1]
    return found


def fits(shape: Shape, path: list[str], every: set[Shape]) -> bool:
    """Whether a template would match a path if both were folded."""
    template, here = folded(shape), folded(path)
    rest = bool(template) and template[-1] is Wild.REST
    body = template[:-1] if rest else template
    if len(here) < len(body) or any(w is not Wild.PARAM and w != s for w, s in zip(body, here, strict=False)):
        return False
    if len(here) == len(body):
        return not rest or any(not isinstance(segment, Wild) for segment in body)
    if rest:
        return True
    longer = any(len(folded(other)) > len(body) and folded(other)[: len(body)] == body for other in every)
    return bool(body) and not any(isinstance(segment, Wild) for segment in body) and not longer


def wins(one: Shape, other: Shape) -> bool:
    """Whether a template has a literal or an end, or a parameter instead of the rest, where the other first differs."""
    order = {Wild.PARAM: 1, Wild.REST: 2}
    for mine, theirs in itertools.zip_longest(one, other):
        if mine != theirs:
            return theirs in order and order.get(mine, 0) < order[theirs]
    return False


def spelled(shape: Shape) -> str:
    names = iter("xyz")
    return "/" + "/".join(
        "*" if segment is Wild.REST else "{" + next(names) + "}" if segment is Wild.PARAM else segment
        for segment in shape
    )


@given(
    st.dictionaries(shapes, st.sampled_from(["C0", "C2"]), min_size=1, max_size=6),
    st.lists(st.tuples(literals, literals).map(lambda names: "/" + "/".join(names)), max_size=2, unique=True),
)
def test_every_path_is_refused_exactly_when_the_definition_says_so(codes: dict[Shape, str], objects: list[str]) -> None:
    every = set(codes)
    plain = [path for path in objects if most_specific(every, path[1:].split("/")) is not None]
    rules = [rule(spelled(shape), code) for shape, code in codes.items()]
    try:
        found = catalogue(*rules, objects=[item(path) for path in plain])
    except ConfigError as refused:
        assert {problem.code for problem in refused.problems} == {"CATALOGUE_AMBIGUOUS"}
        return
    things = dict(codes)
    things.update({tuple(path[1:].split("/")): "C2" for path in plain})

    for path in PATHS:
        written = "/" + "/".join(quote(segment) for segment in path)
        matched = most_specific(every, path)
        if tuple(path) in things:
            expected = things[tuple(path)]
        elif matched is None:
            expected = "ROUTE_UNKNOWN"
        elif any(things[one] != codes[matched] and wins(one, matched) and fits(one, path, every) for one in things):
            expected = "PATH_ALIASED"
        else:
            expected = codes[matched]
        assert outcome(found, written) == expected, (written, matched)
        assert matched is None or matches(matched, path)
