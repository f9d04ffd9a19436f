"""Who asks: one authoritative source a field, programs told from people, and one name for each of several issuers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.issuer import NOW, config_for
from tests.unit.identity_support import ALL_CLAIMS, BOT, ISSUER, NO_SOURCE, record, refusal, token
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.core.identity import (
    ANONYMOUS,
    Actor,
    Subject,
    establish,
)
from zt_engine.core.issuer import (
    NOBODY,
    SUBJECT_FIELDS,
    IssuerMapping,
    Source,
    WorkloadRule,
    check_issuer,
    subject_sources,
)

# One source a field.


def test_by_default_the_directory_speaks_for_every_field_and_the_token_for_none() -> None:
    claims = dict.fromkeys(SUBJECT_FIELDS, "from the token") | {"clearance": 400, "groups": ["admin"]}

    subject = establish(token(claims=claims), record(), IssuerMapping())

    assert subject == Subject(
        type="user", id="tanaka", issuer=ISSUER, groups=("staff",), roles=("reader",), org="cao", nationality="JP",
        compartments=("case:1",), clearance=200, employment="regular",
    )  # fmt: skip


def test_where_the_token_speaks_the_directory_is_not_asked() -> None:
    claims = {
        "groups": ["b", "a", "b"], "roles": [], "org": "ndl", "nationality": "", "compartments": ["x"],
        "clearance": 100, "employment": "seconded", "valid_until": NOW + 5, "status": "active",
    }  # fmt: skip

    subject = establish(token(claims=claims), record(), ALL_CLAIMS)

    assert subject == Subject(
        type="user", id="tanaka", issuer=ISSUER, groups=("a", "b"), org="ndl", compartments=("x",), clearance=100,
        employment="seconded", valid_until=NOW + 5,
    )  # fmt: skip


def test_what_nobody_says_is_the_least() -> None:
    assert establish(token(), None, NO_SOURCE) == Subject(type="user", id="tanaka", issuer=ISSUER)


@given(st.sets(st.sampled_from(SUBJECT_FIELDS)))
def test_each_field_comes_from_its_own_source_only(from_token: set[str]) -> None:
    claims = {
        "groups": ["t"], "roles": ["t"], "org": "t", "nationality": "t", "compartments": ["t"], "clearance": 1,
        "employment": "t", "valid_until": 1, "status": "active",
    }  # fmt: skip
    mapping = IssuerMapping(sources={name: Source("claim", (name,)) for name in from_token})

    subject = establish(token(claims=claims), record(valid_until=2), mapping)

    for name in SUBJECT_FIELDS:
        expected = claims[name] if name in from_token else getattr(record(valid_until=2), name)
        assert getattr(subject, name) == (tuple(expected) if isinstance(expected, list) else expected)


def test_a_claim_may_lie_deeper() -> None:
    sources = subject_sources(dict.fromkeys(SUBJECT_FIELDS, "none") | {"roles": "claim:/realm_access/roles"})

    subject = establish(token(claims={"realm_access": {"roles": ["r"]}}), None, IssuerMapping(sources=sources))

    assert subject.roles == ("r",)


def test_a_name_with_slashes_or_dots_is_one_claim() -> None:
    sources = subject_sources(dict.fromkeys(SUBJECT_FIELDS, "none") | {"org": "claim:https://example.org/org.unit"})

    subject = establish(token(claims={"https://example.org/org.unit": "x"}), None, IssuerMapping(sources=sources))

    assert subject.org == "x"


def test_without_a_record_a_subject_of_the_directory_is_unknown() -> None:
    assert refusal(token(), None, IssuerMapping()) == "SUBJECT_UNKNOWN"
    assert refusal(token(), None, IssuerMapping(sources={**NO_SOURCE.sources, "clearance": Source("directory")})) == (
        "SUBJECT_UNKNOWN"
    )


@pytest.mark.parametrize("changes", [{"id": "suzuki"}, {"issuer": "https://other.example"}])
def test_the_record_of_somebody_else_is_refused(changes: dict[str, object]) -> None:
    assert refusal(token(), record(**changes), IssuerMapping()) == "SUBJECT_MISMATCH"


@pytest.mark.parametrize("status", ["suspended", "retired", "", "ACTIVE", "unknown"])
def test_only_an_active_record_establishes_a_subject(status: str) -> None:
    assert refusal(token(), record(status=status), IssuerMapping()) == "SUBJECT_INACTIVE"


def test_a_token_that_should_say_its_status_and_does_not_is_inactive() -> None:
    assert refusal(token(claims={}), None, ALL_CLAIMS) == "SUBJECT_INACTIVE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("groups", "admin"),
        ("groups", {"admin": True}),
        ("groups", ["admin", 1]),
        ("groups", [["admin"]]),
        ("groups", [""]),
        ("groups", ["a\nb"]),
        ("groups", ["x"] * 513),
        ("groups", None),
        ("roles", True),
        ("compartments", "case:1"),
        ("compartments", [None]),
        ("clearance", True),
        ("clearance", "200"),
        ("clearance", 200.0),
        ("clearance", float("nan")),
        ("clearance", -1),
        ("clearance", 1001),
        ("clearance", None),
        ("org", 5),
        ("org", ["cao"]),
        ("org", "x" * 257),
        ("nationality", {"x": 1}),
        ("employment", "a\0"),
        ("valid_until", "2027"),
        ("valid_until", 1.5),
        ("valid_until", True),
        ("valid_until", -1),
        ("status", ["active"]),
        ("status", True),
    ],
)
def test_a_claim_of_the_wrong_type_is_refused_and_never_guessed_at(name: str, value: object) -> None:
    assert refusal(token(claims={"status": "active", name: value}), None, ALL_CLAIMS) == "TOKEN_CLAIMS"


def test_a_path_through_something_that_is_no_object_is_refused() -> None:
    mapping = IssuerMapping(sources={**NO_SOURCE.sources, "roles": Source("claim", ("realm_access", "roles"))})

    assert refusal(token(claims={"realm_access": "roles"}), None, mapping) == "TOKEN_CLAIMS"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(SUBJECT_FIELDS), _json))
def test_any_claims_make_a_well_typed_subject_or_are_refused(claims: dict[str, object]) -> None:
    try:
        subject = establish(token(claims={"status": "active"} | claims), None, ALL_CLAIMS)
    except InputError as error:
        assert error.code in ("TOKEN_CLAIMS", "SUBJECT_INACTIVE")
    else:
        assert msgspec.convert(msgspec.to_builtins(subject), Subject, strict=True) == subject


# Users, workloads, anonymous.


@pytest.mark.parametrize(
    ("rule", "claims", "expected"),
    [
        (WorkloadRule(), {}, "user"),
        (WorkloadRule(claim="kind", value="service"), {"kind": "service"}, "workload"),
        (WorkloadRule(claim="kind", value="service"), {"kind": "person"}, "user"),
        (WorkloadRule(claim="kind", value="service"), {"kind": ["service"]}, "user"),
        (WorkloadRule(claim="kind", value="service"), {}, "user"),
        (WorkloadRule(client_ids=("portal-web",)), {}, "workload"),
        (WorkloadRule(client_ids=("portal-*",)), {}, "workload"),
        (WorkloadRule(client_ids=("portal",)), {}, "user"),
        (WorkloadRule(client_ids=("*-web",)), {}, "user"),
        (WorkloadRule(subject_is_client=True), {}, "user"),
    ],
)
def test_a_workload_is_told_from_a_user_by_configuration(
    rule: WorkloadRule, claims: dict[str, object], expected: str
) -> None:
    mapping = IssuerMapping(sources=NO_SOURCE.sources, workload=rule)

    assert establish(token(claims=claims), None, mapping).type == expected


def test_a_client_that_is_its_own_subject_is_a_workload() -> None:
    mapping = IssuerMapping(sources=NO_SOURCE.sources, workload=WorkloadRule(subject_is_client=True))

    assert establish(token(subject="robot", client_id="robot"), None, mapping).type == "workload"


WORKLOAD_RULES = [
    (WorkloadRule(claim="kind", value="service"), {"claims": {"kind": "service"}}),
    (WorkloadRule(client_ids=("rpa-*",)), {"client_id": "rpa-1"}),
    (WorkloadRule(subject_is_client=True), {"client_id": "tanaka"}),
]


@pytest.mark.parametrize("rule", [WorkloadRule(), *(rule for rule, _ in WORKLOAD_RULES)])
def test_a_program_s_record_is_enough_to_be_a_program(rule: WorkloadRule) -> None:
    assert establish(token(), record(type="workload"), IssuerMapping(workload=rule)).type == "workload"


@pytest.mark.parametrize(("rule", "changes"), WORKLOAD_RULES)
def test_a_program_cannot_use_a_person_s_record(rule: WorkloadRule, changes: dict[str, object]) -> None:
    asked, mapping = token(**changes), IssuerMapping(workload=rule)

    assert refusal(asked, record(), mapping) == "SUBJECT_MISMATCH"
    assert establish(asked, record(type="workload"), mapping).type == "workload"


def test_the_client_of_a_delegated_token_is_the_actor_and_makes_no_program_of_the_subject() -> None:
    mapping = IssuerMapping(workload=WorkloadRule(client_ids=("bot",)))
    acting = token(client_id="bot", actor=Actor(ISSUER, "bot"))

    subject = establish(acting, record(), mapping, actor=BOT)

    assert subject.delegate is not None
    assert (subject.type, subject.delegate.type) == ("user", "workload")


@pytest.mark.parametrize("rule", [WorkloadRule(client_ids=("b*",)), WorkloadRule(subject_is_client=True)])
def test_a_program_cannot_act_with_a_person_s_record(rule: WorkloadRule) -> None:
    acting = token(client_id="bot", actor=Actor(ISSUER, "bot"))
    person = msgspec.structs.replace(BOT, type="user")

    assert refusal(acting, record(), IssuerMapping(workload=rule), actor=person) == "SUBJECT_MISMATCH"


# Names (several issuers).

_PARTNER = "https://idp.partner.example"


def test_a_subject_of_another_issuer_than_the_home_issuer_has_the_issuer_in_its_name() -> None:
    for issuer, home, name in (
        (ISSUER, "", "tanaka"),
        (ISSUER, ISSUER, "tanaka"),
        (_PARTNER, ISSUER, f"{_PARTNER}|tanaka"),
    ):
        subject = establish(token(issuer=issuer), record(issuer=issuer), IssuerMapping(home=home))

        assert (subject.id, subject.issuer) == (name, issuer)


@pytest.mark.parametrize(
    ("issuer", "sub"),
    [
        (ISSUER, f"{_PARTNER}|tanaka"),
        ("partner", "tanaka"),
        (f"{_PARTNER}|x", "tanaka"),
        (_PARTNER, "x" * 256),
    ],
)
def test_a_name_that_could_be_somebody_else_s_or_is_too_long_is_refused(issuer: str, sub: str) -> None:
    asked = token(issuer=issuer, subject=sub)

    assert refusal(asked, record(issuer=issuer, id=sub), IssuerMapping(home=ISSUER)) == "TOKEN_CLAIMS"


_issuers = st.sampled_from([ISSUER, _PARTNER, f"{_PARTNER}|x", "https://x", "urn:x"])
_subs = st.sampled_from(["tanaka", "x|tanaka", "auth0|1", f"{_PARTNER}|tanaka", "https://x", "https://x|tanaka", "|"])


@given(st.tuples(_issuers, _subs), st.tuples(_issuers, _subs))
def test_two_people_never_have_one_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    names, mapping = set(), IssuerMapping(sources=NO_SOURCE.sources, home=ISSUER)
    for issuer, sub in {one, other}:
        try:
            found = establish(token(issuer=issuer, subject=sub), None, mapping)
        except InputError:
            continue
        assert found.id not in names
        names.add(found.id)


def test_nobody_is_anonymous_and_holds_nothing() -> None:
    assert Subject(type="anonymous") == ANONYMOUS
    assert (ANONYMOUS.clearance, ANONYMOUS.groups, ANONYMOUS.compartments) == (0, (), ())


# Configuration.


def test_sources_are_read_from_configuration() -> None:
    assert subject_sources(
        {"groups": "claim:groups", "org": "directory", "roles": "none", "clearance": "claim:/a~1b/c~0"}
    ) == {
        "groups": Source("claim", ("groups",)),
        "org": Source("directory"),
        "roles": NOBODY,
        "clearance": Source("claim", ("a/b", "c~")),
    }


def test_every_wrong_source_is_named_at_once_with_a_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        subject_sources({"group": "claim:groups", "org": "claim:", "roles": "ldap", "acr": "none"}, where="zt.toml")

    assert [(problem.code, problem.where) for problem in caught.value.problems] == [
        ("ISSUER_FIELD", "zt.toml"),
        ("ISSUER_SOURCE", "zt.toml"),
        ("ISSUER_SOURCE", "zt.toml"),
        ("ISSUER_FIELD", "zt.toml"),
    ]
    assert "did you mean `groups`" in str(caught.value)


def test_a_good_configuration_has_no_problems() -> None:
    assert check_issuer(config_for(DevIssuer())) == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"issuer": ""}, "ISSUER_EMPTY"),
        ({"audiences": ()}, "ISSUER_AUDIENCE"),
        ({"audiences": ("a", "")}, "ISSUER_AUDIENCE"),
        ({"algorithms": ()}, "ISSUER_ALGORITHM"),
        ({"algorithms": ("RS1",)}, "ISSUER_ALGORITHM"),
        ({"keys": ""}, "ISSUER_KEYS"),
        ({"max_lifetime": 0}, "ISSUER_LIMIT"),
        ({"max_lifetime": 86_401}, "ISSUER_LIMIT"),
        ({"keys_hard_limit": 10}, "ISSUER_LIMIT"),
    ],
)
def test_each_wrong_setting_has_its_code(changes: dict[str, object], code: str) -> None:
    assert [problem.code for problem in check_issuer(config_for(DevIssuer(), **changes))] == [code]


def test_a_verified_token_shows_neither_claims_nor_its_id() -> None:
    shown = repr(token(claims={"note": "planted-secret"}, jti="planted-id", session="planted-session"))

    assert "planted" not in shown
