"""`catalogue.yaml`: what is read, and each fault with its code, file and line."""

from __future__ import annotations

import re

import pytest

from zt_engine.adapters.catalogue_names import individual_number
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.core.catalogue import Observe
from zt_engine.core.classification import Declassify
from zt_engine.core.errors import ConfigError, Problem

GOOD = """\
catalogue: 1
version: "2026-11-22"
scheme: jp-gov
labels:
  C0: {rank: 0, ja: 公開, en: Public}
  C1: {rank: 100, ja: 機密性1, en: Level 1}
  C2: {rank: 200, ja: 機密性2, en: Level 2}
  C3-S: {rank: 300, ja: 秘, en: Secret}
caveats: [no_copy, encrypt_required]
maps: {corp.confidential: C2}
services:
  portal:
    title: {ja: 省内ポータル, en: Portal}
    owner: ict-division
    review_at: 2027-04-01
    hosts: [portal.example, "[2001:DB8:0::1]"]
    channels: [open, closed]
    ceiling: C2
    label: C1
    attributes: {ismap: true, region: [jp, eu]}
    enforces: [no_store]
    observe: {until: 2026-12-01T00:00:00Z, codes: [TRUST_LOW]}
    routes:
      - path: /cases/{case_id}/files/*
        methods: [GET, HEAD]
        label: {code: C2, integrity: 2, caveats: [no_copy], purpose: [audit], rel_to: [JPN], audience: ["org:mofa/na1"],
                declassify: {at: 2026-07-01T03:00:00+09:00, to: C1}, review_at: 2027-01-01}
        compartments: ["case:{case_id}"]
        enforces: [watermark]
        attributes: {region: jp}
        state: registered
      - path: /payroll
        methods: [POST]
        action: payroll.change
        assertion: true
      - path: /import
        methods: [POST]
        label: corp.confidential
objects:
  - {service: portal, path: /cases/123/files/a.pdf, label: {code: C2, compartments: ["case:9"]}}
"""


def faults(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load_catalogue(text, where="catalogue.yaml")
    return list(caught.value.problems)


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def line(text: str, part: str) -> str:
    return f"catalogue.yaml:{text[: text.index(part)].count(chr(10)) + 1}"


def test_a_route_takes_over_from_its_service_what_it_does_not_say() -> None:
    found = load_catalogue(GOOD, where="catalogue.yaml")

    resource = found.match("portal.example", "POST", "/payroll")

    assert (resource.service, resource.route, resource.action) == ("portal", "/payroll", "payroll.change")
    assert (resource.label.code, resource.ceiling, resource.channels) == ("C1", 200, ("open", "closed"))
    assert (resource.write, resource.assertion, resource.enforces) == (True, True, ("no_store",))
    assert resource.attributes == {"ismap": True, "region": ("jp", "eu")}
    assert resource.observe == Observe(until=1796083200, codes=("TRUST_LOW",))


def test_a_label_is_read_with_all_its_parts() -> None:
    found = load_catalogue(GOOD.encode(), where="catalogue.yaml")

    resource = found.match("2001:db8::1", "GET", "/cases/7/files/b/c")

    label = resource.label
    assert (label.scheme, label.code, label.rank, label.integrity, label.availability) == ("jp-gov", "C2", 200, 2, 1)
    assert (label.caveats, label.purpose, label.compartments) == (("no_copy",), ("audit",), ("case:7",))
    assert (label.rel_to, label.audience) == (("JPN",), ("org:mofa/na1",))
    assert label.declassify == Declassify(at=1782842400, code="C1", rank=100)
    assert label.review_at == 1798761600
    assert resource.attributes == {"ismap": True, "region": "jp"}
    assert (resource.enforces, resource.state) == (("no_store", "watermark"), "registered")


def test_the_compartments_of_an_object_are_added_to_those_of_its_route() -> None:
    found = load_catalogue(GOOD, where="catalogue.yaml")

    resource = found.match("portal.example", "GET", "/cases/123/files/a.pdf")

    assert resource.label.compartments == ("case:123", "case:9")


def test_a_foreign_label_stands_for_what_the_map_says() -> None:
    found = load_catalogue(GOOD, where="catalogue.yaml")

    assert found.match("portal.example", "POST", "/import").label.code == "C2"


def test_the_digest_names_the_exact_text_and_the_version_is_what_people_wrote() -> None:
    one, other = load_catalogue(GOOD, where="a"), load_catalogue(GOOD + "# more\n", where="a")

    assert one.digest != other.digest
    assert one.version == "2026-11-22"
    assert load_catalogue(changed('version: "2026-11-22"\n', ""), where="a").version


@pytest.mark.parametrize(
    ("old", "new", "code", "at"),
    [
        ("catalogue: 1", "catalogue: 2", "CATALOGUE_VALUE", "catalogue: 2"),
        ("catalogue: 1", "catalogue: true", "CATALOGUE_VALUE", "catalogue: true"),
        ("scheme: jp-gov\n", "", "CATALOGUE_MISSING", "catalogue: 1"),
        ("rank: 100", "rank: 0", "CATALOGUE_LABELS", "C1:"),
        ("rank: 100", "rank: -1", "CATALOGUE_VALUE", "C1:"),
        ("rank: 100", "rank: '100'", "CATALOGUE_VALUE", "C1:"),
        (", en: Level 1", "", "CATALOGUE_MISSING", "C1:"),
        ("{corp.confidential: C2}", "{corp.confidential: C9}", "LABEL_UNMAPPED", "maps"),
        ("    owner: ict-division\n", "", "CATALOGUE_OWNER_MISSING", "    title"),
        ("owner: ict-division", "owner:", "CATALOGUE_OWNER_MISSING", "owner:"),
        ("owner: ict-division", "owner: 7", "CATALOGUE_VALUE", "owner:"),
        ("    review_at: 2027-04-01\n", "", "CATALOGUE_REVIEW_MISSING", "    title"),
        ("review_at: 2027-04-01", "review_at: 2027-04-31", "CATALOGUE_VALUE", "review_at: 2027-04-31"),
        ("    label: C1\n", "", "CATALOGUE_LABEL_MISSING", "path: /payroll"),
        ("    ceiling: C2\n", "", "CATALOGUE_LABEL_MISSING", "    title"),
        ("ceiling: C2", "ceiling: C1", "CATALOGUE_CEILING", "path: /cases"),
        ("    channels: [open, closed]\n", "", "CATALOGUE_MISSING", "    title"),
        ("channels: [open, closed]", "channels: [opne]", "CATALOGUE_VALUE", "channels:"),
        ("channels: [open, closed]", "channels: [open, open]", "CATALOGUE_DUPLICATE", "channels:"),
        ("channels: [open, closed]", "channels: []", "CATALOGUE_VALUE", "channels:"),
        ("    label: C1\n", "    label: C7\n", "LABEL_UNMAPPED", "label: C7"),
        ("label: corp.confidential", "label: corp.secret", "LABEL_UNMAPPED", "label: corp.secret"),
        ("path: /payroll", "path: payroll", "CATALOGUE_PATH", "path: payroll"),
        ("path: /payroll", "path: /pay?roll", "CATALOGUE_PATH", "path: /pay?roll"),
        (
            "path: /payroll",
            "path: /import",
            "CATALOGUE_AMBIGUOUS",
            "path: /import\n        methods: [POST]\n        label",
        ),
        ("methods: [GET, HEAD]", "methods: [get]", "CATALOGUE_VALUE", "methods: [get]"),
        ("methods: [GET, HEAD]", "methods: GET", "CATALOGUE_VALUE", "methods: GET"),
        ("methods: [GET, HEAD]", "methods: [CONNECT]", "CATALOGUE_VALUE", "methods: [CONNECT]"),
        ("        action: payroll.change", "        wirte: true", "CATALOGUE_UNKNOWN_KEY", "wirte"),
        ("assertion: true", "assertion: yes", "CATALOGUE_VALUE", "assertion"),
        ("caveats: [no_copy], p", "caveats: [no_cpoy], p", "CATALOGUE_VALUE", "label: {code: C2, i"),
        ("rel_to: [JPN]", "rel_to: []", "CATALOGUE_VALUE", "label: {code: C2, i"),
        ('["org:mofa/na1"]', "[mofa]", "CATALOGUE_VALUE", "label: {code: C2, i"),
        ("integrity: 2", "integrity: 3", "CATALOGUE_VALUE", "label: {code: C2, i"),
        ("{code: C2, integrity", "{integrity", "CATALOGUE_LABEL_MISSING", "label: {i"),
        ("to: C1}", "to: C2}", "CATALOGUE_VALUE", "declassify"),
        ("at: 2026-07-01T03:00:00+09:00", "at: 2026-07-01", "CATALOGUE_VALUE", "declassify"),
        ("at: 2026-07-01T03:00:00+09:00, ", "", "CATALOGUE_MISSING", "declassify"),
        ("{until: 2026-12-01T00:00:00Z, ", "{", "CATALOGUE_OBSERVE", "observe"),
        ("codes: [TRUST_LOW]", "codes: [trust low]", "CATALOGUE_VALUE", "observe"),
        ('"case:{case_id}"', '"case:{id}"', "CATALOGUE_COMPARTMENT", "path: /cases"),
        ('"case:{case_id}"', '"case:{case_id"', "CATALOGUE_VALUE", "case:{case_id"),
        ("{ismap: true, ", "{ismap: null, ", "CATALOGUE_VALUE", "ismap"),
        ("{ismap: true, ", "{isMap: true, ", "CATALOGUE_VALUE", "isMap"),
        ("service: portal, ", "service: porta, ", "CATALOGUE_VALUE", "service: porta"),
        ("path: /cases/123/files/a.pdf", "path: /other", "CATALOGUE_OBJECT", "path: /other"),
        ("path: /cases/123/files/a.pdf", "path: /a/../b", "CATALOGUE_PATH", "path: /a/.."),
        ('"case:9"', '"case:{case_id}"', "CATALOGUE_VALUE", "- {service"),
        ("portal.example", "Portal.example", "CATALOGUE_HOST", "Portal.example"),
        ("portal.example", "portal.example:443", "CATALOGUE_HOST", "portal.example:443"),
        ("portal.example", "'*.example'", "CATALOGUE_HOST", "*.example"),
        ("portal.example", "ポータル.example", "CATALOGUE_HOST", "ポータル.example"),
        ('"[2001:DB8:0::1]"', '"2001:db8::1", "[2001:DB8::1]"', "CATALOGUE_DUPLICATE", "2001:db8"),
        ("  portal:\n", "  Portal:\n", "CATALOGUE_SERVICE_ID", "  Portal:"),
        ("  portal:\n", "  default:\n", "CATALOGUE_SERVICE_ID", "  default:"),
        ("  portal:\n", "  unlisted:\n", "CATALOGUE_SERVICE_ID", "  unlisted:"),
        ("/cases/{case_id}/files/*", "/people/{my_number}/*", "CATALOGUE_INDIVIDUAL_NUMBER", "/people"),
        ("ismap: true", "個人番号: true", "CATALOGUE_INDIVIDUAL_NUMBER", "個人番号"),
        ('"case:{case_id}"', '"mynumber:{case_id}"', "CATALOGUE_INDIVIDUAL_NUMBER", "path: /cases"),
        ("    owner: ict-division", "    owner: a\n    owner: b", "YAML_DUPLICATE_KEY", "owner: b"),
        ("owner: ict-division", "owner: &x ict", "YAML_SYNTAX", "owner: &x"),
        ("owner: ict-division", "owner: !!str ict", "YAML_SYNTAX", "owner: !!"),
        ("owner: ict-division", "owner: ict: division", "YAML_SYNTAX", "owner: ict:"),
    ],
)
def test_a_fault_has_a_code_and_a_line(old: str, new: str, code: str, at: str) -> None:
    text = changed(old, new)

    found = faults(text)

    assert (code, line(text, at)) in [(problem.code, problem.where) for problem in found]


def test_a_misspelt_key_comes_with_a_suggestion() -> None:
    (problem,) = faults(changed("enforces: [watermark]", "enforcse: [watermark]"))

    assert problem.hint == "did you mean `enforces`?"


def test_every_fault_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = GOOD.replace("    owner: ict-division\n", "").replace("label: corp.confidential", "label: C9")
    text = text.replace("assertion: true", "assertion: 1").replace("code: C2, integrity", "code: C3-S, integrity")

    found = faults(text)

    assert [problem.code for problem in found] == [
        "CATALOGUE_OWNER_MISSING",
        "CATALOGUE_CEILING",
        "CATALOGUE_VALUE",
        "LABEL_UNMAPPED",
    ]


def test_an_ambiguity_names_both_rules_with_file_and_line() -> None:
    text = changed("path: /import", "path: /payroll")

    (problem,) = faults(text)

    assert problem.code == "CATALOGUE_AMBIGUOUS"
    assert problem.where == line(text, "path: /payroll\n        methods: [POST]\n        label")
    assert line(text, "path: /payroll\n        methods: [POST]\n        action") in problem.message


def test_what_is_merely_observed_is_not_above_c2() -> None:
    text = changed("ceiling: C2", "ceiling: C3-S").replace(
        "label: corp.confidential", "label: C3-S\n        observe: {until: 2026-12-01T00:00:00Z}"
    )

    assert [problem.code for problem in faults(text)] == ["CATALOGUE_OBSERVE"]


def test_a_delete_that_does_not_write_is_a_contradiction() -> None:
    text = changed("methods: [POST]\n        action", "methods: [DELETE]\n        write: false\n        action")

    assert [problem.code for problem in faults(text)] == ["CATALOGUE_VALUE"]


@pytest.mark.parametrize(
    "text", ["", "# nothing", "[]", "a", "- a", "services:", "services: []", "services: {}", "labels: []"]
)
def test_a_file_that_is_no_catalogue_is_refused(text: str) -> None:
    assert faults(text)


def test_a_file_that_ends_in_the_middle_of_a_line_is_refused() -> None:
    for end in range(1, len(GOOD)):
        if GOOD[end - 1] != "\n":
            assert [problem.code for problem in faults(GOOD[:end])] == ["CATALOGUE_INCOMPLETE"]


@pytest.mark.parametrize(
    "name",
    ["my_number", "myNumber", "MyNumber", "mynumber", "MY_NUMBER", "citizen_my_number", "individual_number", "個人番号",
     "マイナンバー", "ﾏｲﾅﾝﾊﾞｰ", "kojin_bangou", "kojinbango", "myNumberCard"],
)  # fmt: skip
def test_a_name_like_the_individual_number_is_recognised(name: str) -> None:
    assert individual_number(name)


@pytest.mark.parametrize("name", ["case_number", "enemy_number", "dummy_numbers", "my_cases", "number", "個人情報"])
def test_other_names_are_not(name: str) -> None:
    assert not individual_number(name)


def test_no_message_repeats_more_of_the_file_than_a_person_needs() -> None:
    long = "x" * 3000

    for old in ("label: corp.confidential", "action: payroll.change"):
        for problem in faults(changed(old, re.sub(":.*", f": {long}", old))):
            assert len(str(problem)) < 1500
