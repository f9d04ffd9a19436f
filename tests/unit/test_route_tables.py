"""The tables find what trying every template finds, or leave it to the automaton."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_catalogue import PATHS, catalogue, label_of, most_specific, rule, shapes
from zt_engine.core.errors import InputError
from zt_engine.core.route_matcher import Shape, Wild
from zt_engine.core.route_tables import MOST_MASKS, tabulate

METHODS = ("GET", "PUT")
LONGER = [[*path[:-1], "c", "b", path[-1]] for path in PATHS if len(path) > 2]
leaves = st.dictionaries(shapes, st.sets(st.sampled_from(METHODS), min_size=1), max_size=10)


def masks(found: dict[Shape, set[str]], size: int) -> int:
    """How many ways there are to place wildcards, among the templates that may match so many segments."""
    able = [s for s in found if len(s) == size or (len(s) < size and s[-1] is Wild.REST)]
    placed = {tuple(segment if isinstance(segment, Wild) else "" for segment in shape) for shape in able}
    return len(placed - {("",) * size})


@given(leaves)
def test_the_tables_find_what_trying_every_template_finds_or_leave_it(found: dict[Shape, set[str]]) -> None:
    tables = tabulate({shape: {method: (shape, method) for method in listed} for shape, listed in found.items()}, {})

    assert set(tables) == {method for listed in found.values() for method in listed}
    for segments in (*PATHS, *LONGER):
        expected = most_specific(set(found), segments)
        for method, table in tables.items():
            entry = table.find("/" + "/".join(segments), segments)
            if entry is not None:
                assert entry == (expected, method)
                assert expected is not None
                assert method in found[expected]
            elif expected is not None and method in found[expected] and segments[-1] != "":
                assert masks(found, len(segments)) > MOST_MASKS


def test_a_method_that_a_literal_route_does_not_list_is_not_looked_for_in_a_wider_table() -> None:
    tables = tabulate({("a",): {"GET": 1}, (Wild.PARAM,): {"GET": 2, "PUT": 3}}, {})

    assert [tables["PUT"].find("/a", ["a"]), tables["PUT"].find("/b", ["b"])] == [None, 3]


def test_templates_of_more_masks_than_are_asked_are_found_by_the_automaton() -> None:
    wild = ["/a/b/{x}", "/a/{x}/c", "/{x}/b/c", "/a/{x}/{y}", "/*"]
    found = catalogue(*(rule(path, "C1") for path in wild), rule("/a/b/c", "C2"), rule("/{x}/{y}/d", "C1"))
    tables = found.hosts["portal.example"].tables["GET"]

    assert tables.find("/a/b/d", ["a", "b", "d"]) is None
    assert label_of(found, "/a/b/d").code == "C1"
    assert label_of(found, "/a/b/c").code == "C2"
    assert tables.find("/q", ["q"]) is not None


def test_what_the_tables_do_not_know_is_refused_with_its_own_code() -> None:
    found = catalogue(rule("/a", "C1"), rule("/b", "C1", ("PUT",)))
    refusals = []
    for method, path in (("PUT", "/a"), ("DELETE", "/a"), ("DELETE", "/c"), ("GET", "/a/")):
        try:
            label_of(found, path, method)
        except InputError as error:
            refusals.append(error.code)

    assert refusals == ["METHOD_UNKNOWN", "METHOD_UNKNOWN", "ROUTE_UNKNOWN", "ROUTE_UNKNOWN"]
