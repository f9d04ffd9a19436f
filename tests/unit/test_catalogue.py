"""The matcher against a matcher that tries everything, and what the catalogue makes of what was matched."""

from __future__ import annotations

import itertools
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from zt_engine.core.catalogue import Catalogue, ObjectRule, Observe, Rule, Service
from zt_engine.core.catalogue_compiler import compile_catalogue
from zt_engine.core.classification import Declassify, Label, Level, Scheme, effective_label, join
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.core.route_matcher import (
    Shape,
    TangledError,
    TemplateError,
    Wild,
    compile_templates,
    crossings,
    decode_segment,
    decode_segments,
    meet,
    parse_template,
    walk,
)

RANKS = {"C0": 0, "C1": 100, "C2": 200, "C3-S": 300}
SCHEME = Scheme(
    id="jp-gov",
    levels={code: Level(code=code, rank=rank, ja=code, en=code) for code, rank in RANKS.items()},
    caveats=frozenset({"no_copy"}),
    maps={},
)


def service(name: str = "portal", *, ceiling: int = 300, hosts: tuple[str, ...] = ("portal.example",)) -> Service:
    return Service(
        id=name,
        title_ja=name,
        title_en=name,
        owner="ict",
        review_at=100,
        hosts=hosts,
        channels=("open",),
        ceiling=ceiling,
    )


def rule(path: str, code: str = "C1", methods: tuple[str, ...] = ("GET",), where: str = "c:1", **more: object) -> Rule:
    template = parse_template(path)
    values = {"service": "portal", "channels": ("open",), "ceiling": 300, "label": SCHEME.label(code), **more}
    return Rule(template=template, methods=methods, where=where, **values)


def catalogue(*rules: Rule, services: tuple[Service, ...] = (), objects: tuple[ObjectRule, ...] = ()) -> Catalogue:
    return compile_catalogue(
        scheme=SCHEME, services=services or (service(),), rules=rules, objects=objects, digest="d", version="v"
    )


def label_of(found: Catalogue, path: str, method: str = "GET") -> Label:
    return found.match("portal.example", method, path).label


def refusal(*rules: Rule, **more: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        catalogue(*rules, **more)
    return [problem.code for problem in caught.value.problems]


# The matcher.

SEGMENTS = ("a", "b", "c", "")
shapes = st.builds(
    lambda body, end: (*body, *end),
    st.lists(st.sampled_from(["a", "b", Wild.PARAM]), max_size=3),
    st.sampled_from([("a",), ("b",), ("",), (Wild.PARAM,), (Wild.REST,)]),
)
PATHS = [[*body, end] for size in range(4) for body in itertools.product(SEGMENTS[:3], repeat=size) for end in SEGMENTS]


def matches(shape: Shape, segments: list[str]) -> bool:
    if shape[-1] is Wild.REST:
        return len(segments) >= len(shape) and matches_each(shape[:-1], segments)
    return len(segments) == len(shape) and matches_each(shape, segments)


def matches_each(shape: Shape, segments: list[str]) -> bool:
    return all(
        segment != "" if wanted is Wild.PARAM else wanted == segment
        for wanted, segment in zip(shape, segments, strict=False)
    )


def most_specific(found: set[Shape], segments: list[str]) -> Shape | None:
    """The definition, word for word: at the first difference a literal comes before a parameter before the rest."""
    order = {Wild.PARAM: 1, Wild.REST: 2}
    fitting = [shape for shape in found if matches(shape, segments)]
    return min(fitting, key=lambda shape: [order.get(segment, 0) for segment in shape], default=None)


@given(st.sets(shapes, max_size=8))
def test_the_automaton_finds_what_trying_every_template_finds(found: set[Shape]) -> None:
    root = compile_templates({shape: shape for shape in found})

    for segments in PATHS:
        assert walk(root, segments) == most_specific(found, segments)


def contains(wide: Shape, narrow: Shape) -> bool:
    return all(matches(wide, path) for path in PATHS if matches(narrow, path))


@given(st.sets(shapes, max_size=6))
def test_crossings_are_the_pairs_that_share_paths_while_neither_contains_the_other(found: set[Shape]) -> None:
    expected = {
        frozenset(pair)
        for pair in itertools.combinations(found, 2)
        if any(matches(pair[0], path) and matches(pair[1], path) for path in PATHS)
        and not contains(*pair)
        and not contains(pair[1], pair[0])
    }

    assert {frozenset(pair) for pair in crossings(found)} == expected


@given(shapes, shapes)
def test_the_meet_of_two_templates_matches_exactly_what_both_match(a: Shape, b: Shape) -> None:
    both = meet(a, b)

    for path in PATHS:
        assert (both is not None and matches(both, path)) == (matches(a, path) and matches(b, path))


def test_a_literal_branch_that_ends_early_does_not_hide_the_parameter_beside_it() -> None:
    found = catalogue(rule("/a/b/c", "C2"), rule("/{x}/b/d", "C1"))

    assert found.match("portal.example", "GET", "/a/b/d").route == "/{x}/b/d"


def test_a_rest_needs_at_least_one_more_segment() -> None:
    found = catalogue(rule("/files/*"))

    assert found.match("portal.example", "GET", "/files/").route == "/files/*"
    with pytest.raises(InputError, match="ROUTE_UNKNOWN"):
        found.match("portal.example", "GET", "/files")


def test_a_parameter_is_never_empty() -> None:
    found = catalogue(rule("/cases/{case_id}"))

    with pytest.raises(InputError, match="ROUTE_UNKNOWN"):
        found.match("portal.example", "GET", "/cases/")


def test_a_long_path_below_a_rest_costs_no_more_than_a_short_one() -> None:
    root = compile_templates({("files", Wild.REST): "found"})

    assert walk(root, ["files", *["x"] * 1_000_000]) == "found"
    assert root.literals["files"].default.sink


def test_templates_that_overlap_too_much_are_refused_instead_of_filling_the_memory() -> None:
    wild = {
        tuple(Wild.PARAM if bit else f"s{n}" for n, bit in enumerate(bits))
        for bits in itertools.product((0, 1), repeat=14)
    }

    with pytest.raises(TangledError):
        list(crossings(wild))


@pytest.mark.parametrize(
    "path",
    ["", "a", "/*/a", "/{A}", "/{}", "/{a}/{a}", "/a{b}", "/{a}b", "//", "/a//b", "/..", "/%2e%2e", "/a%2fb", "/%zz",
     "/%ff", "/a?b", "/a#b", "/a;b", "/**", "/a*", "/\\", "/か\u3099", "/a\nb", "/" + "/".join("a" * 33)],
)  # fmt: skip
def test_a_template_with_two_readings_is_refused(path: str) -> None:
    with pytest.raises(TemplateError):
        parse_template(path)


def test_ten_thousand_routes_make_an_automaton_that_grows_with_their_number_only() -> None:
    root = compile_templates({("api", f"r{n}", Wild.PARAM): n for n in range(10_000)})

    assert walk(root, ["api", "r9999", "x"]) == 9999


@given(
    st.lists(st.text(alphabet="a%2eEF5cC7A0./é\\;\u0301秘", max_size=9), min_size=1, max_size=4), st.integers(0, 300)
)
def test_a_path_is_decoded_as_each_of_its_segments_is(names: list[str], more: int) -> None:
    raw = [quote(name, safe="%.\\;").replace("/", "%2F") for name in names] + ["a" * more]
    one_by_one = [decode_segment(segment) if "%" in segment else segment for segment in raw]
    clear = not any(s is None or s in (".", "..") or "\\" in s for s in one_by_one)

    assert decode_segments("/" + "/".join(raw)) == (one_by_one if clear else None)


# The catalogue.


def test_unknown_host_route_and_method_are_refused_with_their_own_codes() -> None:
    found = catalogue(rule("/a"))

    for host, method, path, code in (
        ("other.example", "GET", "/a", "HOST_UNKNOWN"),
        ("PORTAL.example", "GET", "/a", "HOST_UNKNOWN"),
        ("portal.example", "GET", "/b", "ROUTE_UNKNOWN"),
        ("portal.example", "GET", "/a/", "ROUTE_UNKNOWN"),
        ("portal.example", "POST", "/a", "METHOD_UNKNOWN"),
        ("portal.example", "HEAD", "/a", "METHOD_UNKNOWN"),
        ("portal.example", "GET", "a", "PATH_UNREADABLE"),
        ("portal.example", "GET", "//a", "PATH_UNREADABLE"),
        ("portal.example", "GET", "/あ", "PATH_UNREADABLE"),
        ("portal.example", "GET", "/%ff", "PATH_UNREADABLE"),
        ("portal.example", "GET", "/a%2Fb", "PATH_UNREADABLE"),
        ("portal.example", "GET", "/%2E%2E", "PATH_UNREADABLE"),
        ("portal.example", "GET", "/%00", "PATH_UNREADABLE"),
        ("portal.example", "GET", "/%E3%81%8B%E3%82%99", "PATH_UNREADABLE"),
    ):
        with pytest.raises(InputError) as caught:
            found.match(host, method, path)

        assert caught.value.code == code


def test_a_method_that_the_most_specific_route_does_not_list_is_not_the_business_of_a_wider_one() -> None:
    found = catalogue(rule("/cases/new", "C2"), rule("/cases/{case_id}", "C1", ("GET", "POST")))

    with pytest.raises(InputError, match="METHOD_UNKNOWN"):
        found.match("portal.example", "POST", "/cases/new")


@given(
    st.text(min_size=1, max_size=8).filter(
        lambda text: decode_segment(quote(text, safe="")) == text and text.isprintable()
    )
)
def test_a_literal_is_found_however_its_characters_are_escaped(name: str) -> None:
    plain = quote(name, safe="")
    found = catalogue(rule(f"/docs/{plain}", "C2"), rule("/docs/{name}", "C0"))

    assert label_of(found, f"/docs/{plain}").code == "C2"
    assert label_of(found, "/docs/" + "".join(f"%{byte:02x}" for byte in name.encode())).code == "C2"


def test_parameters_are_decoded_and_become_compartments() -> None:
    found = catalogue(
        rule("/cases/{case_id}/{file}", "C2", compartments=("case:{case_id}", "desk:na1", "{case_id}/{file}:x"))
    )

    resource = found.match("portal.example", "GET", "/cases/2026%E5%8F%B7/a%20b")

    assert resource.params == {"case_id": "2026号", "file": "a b"}
    assert resource.label.compartments == ("2026号/a b:x", "case:2026号", "desk:na1")


def test_reading_and_writing_follow_the_method_unless_the_route_says_otherwise() -> None:
    found = catalogue(
        rule("/a", methods=("GET", "HEAD", "OPTIONS", "POST")), rule("/search", methods=("POST",), write=False)
    )

    assert [found.match("portal.example", m, "/a").write for m in ("GET", "HEAD", "OPTIONS", "POST")] == [False] * 3 + [
        True
    ]
    assert not found.match("portal.example", "POST", "/search").write


def test_an_object_raises_the_label_of_its_route_and_only_its_own() -> None:
    item = ObjectRule(
        service="portal", path="/files/%E7%A7%98.pdf", label=replace(SCHEME.label("C2"), caveats=("no_copy",))
    )
    found = catalogue(rule("/files/{name}", "C1", compartments=("file:{name}",)), objects=(item,))

    raised = found.match("portal.example", "GET", "/files/%e7%a7%98.pdf")

    assert (raised.label.code, raised.label.caveats, raised.label.compartments) == (
        "C2",
        ("no_copy",),
        ("file:秘.pdf",),
    )
    assert raised.params == {"name": "秘.pdf"}
    assert label_of(found, "/files/other.pdf").code == "C1"
    with pytest.raises(InputError, match="METHOD_UNKNOWN"):
        found.match("portal.example", "POST", "/files/%e7%a7%98.pdf")


def test_an_object_never_lowers() -> None:
    found = catalogue(
        rule("/files/*", "C2"), objects=(ObjectRule(service="portal", path="/files/a", label=SCHEME.label("C0")),)
    )

    assert label_of(found, "/files/a").code == "C2"


@given(st.sampled_from(sorted(RANKS)), st.sampled_from(sorted(RANKS)))
def test_the_label_of_an_object_is_the_join_with_its_route(route: str, own: str) -> None:
    found = catalogue(
        rule("/files/*", route), objects=(ObjectRule(service="portal", path="/files/a", label=SCHEME.label(own)),)
    )

    assert label_of(found, "/files/a") == join(SCHEME.label(route), SCHEME.label(own))


def test_an_opaque_route_carries_the_strictest_label_of_its_service() -> None:
    strict = replace(SCHEME.label("C2"), caveats=("no_copy",), declassify=Declassify(at=5, code="C0", rank=0))
    found = catalogue(
        rule("/graphql", "C0", ("POST",), opaque=True),
        rule("/cases/{case_id}", label=strict, compartments=("case:{case_id}", "desk:na1")),
    )

    opaque = label_of(found, "/graphql", "POST")

    assert (opaque.code, opaque.caveats, opaque.compartments) == ("C3-S", ("no_copy",), ("case:*", "desk:na1"))
    assert effective_label(opaque, tick_start=9, clock_synchronised=True) == opaque


def test_labels_above_the_ceiling_are_refused_for_routes_and_objects() -> None:
    low = service(ceiling=100)
    item = ObjectRule(service="portal", path="/b", label=SCHEME.label("C2"), where="c:9")

    assert refusal(rule("/a", "C2", ceiling=100), rule("/b", "C1", ceiling=100), services=(low,), objects=(item,)) == [
        "CATALOGUE_CEILING",
        "CATALOGUE_CEILING",
    ]


def test_two_rules_for_one_request_are_refused_naming_both() -> None:
    with pytest.raises(ConfigError) as caught:
        catalogue(rule("/cases/{a}", "C1", where="cat.yaml:12"), rule("/cases/{b}", "C2", where="cat.yaml:30"))

    (problem,) = caught.value.problems
    assert problem.code == "CATALOGUE_AMBIGUOUS"
    assert problem.where == "cat.yaml:30"
    assert "`/cases/{b}` (C2)" in problem.message
    assert "`/cases/{a}` (C1) (cat.yaml:12)" in problem.message


def test_crossing_rules_with_different_labels_are_refused_until_the_paths_they_share_are_written_down() -> None:
    crossing = (rule("/{tenant}/secret", "C3-S"), rule("/b/{page}", "C1"))

    assert refusal(*crossing) == ["CATALOGUE_AMBIGUOUS"]
    assert label_of(catalogue(*crossing, rule("/b/secret", "C3-S")), "/b/secret").code == "C3-S"


def test_crossing_rules_that_mean_the_same_are_accepted() -> None:
    found = catalogue(rule("/{tenant}/x", "C1"), rule("/b/{page}", "C1"))

    assert label_of(found, "/b/x").code == "C1"


def test_crossing_rules_whose_compartments_stand_elsewhere_are_refused() -> None:
    rules = (
        rule("/{a}/x", "C1", compartments=("case:{a}",)),
        rule("/b/{a}", "C1", compartments=("case:{a}",)),
    )

    assert refusal(*rules) == ["CATALOGUE_AMBIGUOUS"]


def test_a_wider_rule_with_another_label_is_no_ambiguity() -> None:
    found = catalogue(rule("/*", "C2"), rule("/public/{page}", "C0"))

    assert (label_of(found, "/public/a").code, label_of(found, "/public/a/b").code) == ("C0", "C2")


def test_services_may_share_a_host_and_not_a_path() -> None:
    both = (service("portal"), service("mail"))

    found = catalogue(rule("/a"), rule("/mail/*", service="mail"), services=both)

    assert found.match("portal.example", "GET", "/mail/1").service == "mail"
    assert refusal(rule("/a"), rule("/a", service="mail"), services=both) == ["CATALOGUE_AMBIGUOUS"]


def test_a_service_answers_on_each_of_its_hosts() -> None:
    found = catalogue(rule("/a"), services=(service(hosts=("one.example", "2001:db8::1")),))

    assert found.match("2001:db8::1", "GET", "/a") == found.match("one.example", "GET", "/a")


def test_an_object_on_no_route_or_listed_twice_is_refused() -> None:
    item = ObjectRule(service="portal", path="/a", label=SCHEME.label("C2"))

    assert refusal(rule("/a"), objects=(item, replace(item, path="/%61"))) == ["CATALOGUE_DUPLICATE"]
    assert refusal(rule("/a"), objects=(replace(item, path="/b"),)) == ["CATALOGUE_OBJECT"]


def test_a_compartment_needs_a_parameter_that_is_captured() -> None:
    assert refusal(rule("/a/{b}", compartments=("case:{case_id}",))) == ["CATALOGUE_COMPARTMENT"]


def test_nothing_above_c2_is_merely_observed_not_even_by_an_object() -> None:
    mode = Observe(until=9)
    item = ObjectRule(service="portal", path="/a/1", label=SCHEME.label("C3-S"))
    found = catalogue(rule("/a/{n}", "C2", observe=mode), rule("/s", "C3-S", observe=mode), objects=(item,))

    assert found.match("portal.example", "GET", "/a/2").observe == mode
    assert found.match("portal.example", "GET", "/a/1").observe is None
    assert found.match("portal.example", "GET", "/s").observe is None


def test_overdue_reviews_are_named_as_tasks() -> None:
    found = catalogue(rule("/a", label=replace(SCHEME.label("C1"), max_until=50)))

    assert [code for code, _, _ in found.tasks(now=60)] == ["LABEL_TERM_PASSED"]
    assert [code for code, _, _ in found.tasks(now=100)] == ["LABEL_REVIEW_OVERDUE", "LABEL_TERM_PASSED"]


def test_too_many_routes_are_refused_in_words() -> None:
    same = rule("/a")

    assert "CATALOGUE_TOO_LARGE" in refusal(*[same] * 20_001)
