"""Who asks: one authoritative source a field, delegation as intersection, binding to a proven key, assurance levels."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.issuer import NOW, config_for
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.core.identity import (
    ANONYMOUS,
    Actor,
    Subject,
    SubjectRecord,
    VerifiedCertificate,
    VerifiedToken,
    assurance_level,
    binding,
    delegated,
    establish,
    step_up_satisfied,
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

ISSUER = "https://idp.example"
X5T, JKT = "A" * 43, "B" * 43
ALL_CLAIMS = IssuerMapping(sources={name: Source("claim", (name,)) for name in SUBJECT_FIELDS})
NO_SOURCE = IssuerMapping(sources=dict.fromkeys(SUBJECT_FIELDS, NOBODY))


def token(**changes: object) -> VerifiedToken:
    fields: dict[str, object] = {
        "issuer": ISSUER, "subject": "tanaka", "client_id": "portal-web", "claims": {}, "expires_at": NOW + 300,
        "not_before": NOW, "jti": "j1", "key_id": "k1", "x5t": "", "jkt": "", "session": "", "acr": "", "amr": (),
        "auth_time": None, "actor": None, "digest": "00",
    }  # fmt: skip
    return VerifiedToken(**(fields | changes))  # type: ignore[arg-type]


def record(**changes: object) -> SubjectRecord:
    fields: dict[str, object] = {
        "id": "tanaka", "issuer": ISSUER, "version": 3, "status": "active", "groups": ("staff",),
        "compartments": ("case:1",), "clearance": 200, "org": "cao", "valid_until": None, "roles": ("reader",),
        "nationality": "JP", "employment": "regular",
    }  # fmt: skip
    return SubjectRecord(**(fields | changes))  # type: ignore[arg-type]


def refusal(*args: object, **named: object) -> str:
    with pytest.raises(InputError) as caught:
        establish(*args, **named)  # type: ignore[arg-type]
    return caught.value.code


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


# Delegation (P14).

BOT = record(id="bot", type="workload", groups=("staff", "bots"), compartments=("case:2",), clearance=100, roles=())


def test_a_bot_that_acts_for_a_user_holds_what_both_hold() -> None:
    acting = token(actor=Actor(ISSUER, "bot"))

    subject = establish(acting, record(groups=("staff", "chiefs")), IssuerMapping(), actor=BOT)

    assert (subject.type, subject.id) == ("user", "tanaka")
    assert (subject.groups, subject.roles, subject.compartments, subject.clearance) == (("staff",), (), (), 100)
    assert subject.delegate is not None
    assert (subject.delegate.type, subject.delegate.id, subject.delegate.clearance) == ("workload", "bot", 100)


def test_a_delegate_without_a_record_is_refused() -> None:
    assert refusal(token(actor=Actor(ISSUER, "bot")), record(), IssuerMapping()) == "DELEGATE_UNKNOWN"


def test_a_delegate_that_is_not_active_is_refused() -> None:
    acting = token(actor=Actor(ISSUER, "bot"))
    suspended = msgspec.structs.replace(BOT, status="suspended")

    assert refusal(acting, record(), IssuerMapping(), actor=suspended) == "DELEGATE_INACTIVE"


@pytest.mark.parametrize("actor", [Actor(ISSUER, "other"), Actor("https://other.example", "bot")])
def test_the_delegates_record_is_the_delegates(actor: Actor) -> None:
    assert refusal(token(actor=actor), record(), IssuerMapping(), actor=BOT) == "SUBJECT_MISMATCH"


def test_a_user_who_is_not_active_cannot_be_acted_for() -> None:
    acting = token(actor=Actor(ISSUER, "bot"))

    assert refusal(acting, record(status="suspended"), IssuerMapping(), actor=BOT) == "SUBJECT_INACTIVE"


_texts = st.frozensets(st.sampled_from(["a", "b", "c", "d"])).map(lambda texts: tuple(sorted(texts)))
_scalar = st.sampled_from(["", "JP", "US"])
_records = st.builds(
    SubjectRecord,
    id=st.just("tanaka"),
    issuer=st.just(ISSUER),
    version=st.just(1),
    status=st.just("active"),
    type=st.sampled_from(["user", "workload"]),
    groups=_texts,
    roles=_texts,
    compartments=_texts,
    clearance=st.integers(0, 1000),
    org=_scalar,
    nationality=_scalar,
    employment=_scalar,
    valid_until=st.none() | st.integers(0, 10),
)


def exceeds(subject: Subject, principal: SubjectRecord) -> bool:
    """Whether the subject holds anything the principal does not."""
    return (
        subject.clearance > principal.clearance
        or any(not set(getattr(subject, n)) <= set(getattr(principal, n)) for n in ("groups", "roles", "compartments"))
        or any(getattr(subject, n) not in ("", getattr(principal, n)) for n in ("org", "nationality", "employment"))
        or ending(subject.valid_until) > ending(principal.valid_until)
    )


def ending(valid_until: int | None) -> float:
    return math.inf if valid_until is None else valid_until


@given(_records, _records)
def test_p14_a_delegated_principal_never_exceeds_either(user: SubjectRecord, actor: SubjectRecord) -> None:
    subject = establish(token(actor=Actor(ISSUER, "tanaka")), user, IssuerMapping(), actor=actor)

    assert not exceeds(subject, user)
    assert not exceeds(subject, actor)


@given(_records, _records)
def test_delegating_twice_to_the_same_actor_changes_nothing(user: SubjectRecord, actor: SubjectRecord) -> None:
    once = establish(token(actor=Actor(ISSUER, "tanaka")), user, IssuerMapping(), actor=actor)

    assert delegated(once, actor) == once


# Binding.

CERTIFICATE = VerifiedCertificate(
    x5t=X5T, device_uri="urn:zt:device:d1", not_before=NOW, not_after=NOW + 60, serial="1", issuer="CN=CA"
)
OTHER = msgspec.structs.replace(CERTIFICATE, x5t="C" * 43)


@pytest.mark.parametrize(
    ("x5t", "jkt", "certificate", "proven", "expected"),
    [
        ("", "", None, None, "none"),
        ("", "", CERTIFICATE, None, "none"),
        ("", "", CERTIFICATE, JKT, "none"),
        (X5T, "", CERTIFICATE, None, "mtls"),
        (X5T, "", CERTIFICATE, JKT, "mtls"),
        ("", JKT, None, JKT, "dpop"),
        ("", JKT, CERTIFICATE, JKT, "dpop"),
        (X5T, JKT, CERTIFICATE, JKT, "mtls"),
    ],
)
def test_a_token_is_bound_by_the_key_it_names_and_that_was_proven(
    x5t: str, jkt: str, certificate: VerifiedCertificate | None, proven: str | None, expected: str
) -> None:
    assert binding(token(x5t=x5t, jkt=jkt), certificate=certificate, jkt=proven) == expected


@pytest.mark.parametrize(
    ("x5t", "jkt", "certificate", "proven"),
    [
        (X5T, "", None, None),
        (X5T, "", OTHER, None),
        (X5T, "", None, X5T),
        ("", JKT, None, None),
        ("", JKT, CERTIFICATE, "C" * 43),
        ("", X5T, CERTIFICATE, None),
        (X5T, JKT, CERTIFICATE, None),
        (X5T, JKT, None, JKT),
        (X5T, JKT, OTHER, JKT),
    ],
)
def test_a_token_whose_key_was_not_proven_is_refused(
    x5t: str, jkt: str, certificate: VerifiedCertificate | None, proven: str | None
) -> None:
    with pytest.raises(InputError, match="TOKEN_BINDING_UNPROVEN"):
        binding(token(x5t=x5t, jkt=jkt), certificate=certificate, jkt=proven)


def test_a_dpop_bound_token_is_no_bearer_token_and_an_unbound_one_no_dpop_token() -> None:
    assert binding(token(jkt=JKT), certificate=None, jkt=JKT, scheme="dpop") == "dpop"
    assert binding(token(), certificate=None, jkt=None, scheme="bearer") == "none"
    with pytest.raises(InputError, match="TOKEN_BINDING_UNPROVEN"):
        binding(token(jkt=JKT), certificate=None, jkt=JKT, scheme="bearer")
    with pytest.raises(InputError, match="TOKEN_BINDING_UNPROVEN"):
        binding(token(), certificate=None, jkt=JKT, scheme="dpop")


# Assurance and step-up (RFC 9470).

TABLE = {"loa10": 10, "loa9": 9, "loa1": 1, "pwd": 1, "otp": 5, "hwk": 9}


@pytest.mark.parametrize(
    ("acr", "amr", "level"),
    [
        ("", (), 0),
        ("loa9", (), 9),
        ("loa10", (), 10),
        ("unknown", (), 0),
        ("unknown", ("pwd",), 1),
        ("loa1", ("pwd", "hwk"), 9),
        ("LOA9", (), 0),
        ("", ("pwd", "unknown"), 1),
    ],
)
def test_levels_come_from_the_table_and_unknown_names_are_worth_nothing(
    acr: str, amr: tuple[str, ...], level: int
) -> None:
    subject = Subject(type="user", acr=acr, amr=amr)

    assert assurance_level(subject, TABLE) == level


def test_a_stronger_sign_in_satisfies_a_weaker_demand_by_level_not_by_name() -> None:
    ten, nine = (Subject(type="user", acr=acr) for acr in ("loa10", "loa9"))

    assert step_up_satisfied(ten, acr="loa9", max_age=None, table=TABLE, now=NOW)
    assert not step_up_satisfied(nine, acr="loa10", max_age=None, table=TABLE, now=NOW)  # "loa9" > "loa10" as text


def test_an_acr_outside_the_table_is_satisfied_by_itself_only() -> None:
    subject = Subject(type="user", acr="urn:special", amr=("hwk",))

    assert step_up_satisfied(subject, acr="urn:special", max_age=None, table=TABLE, now=NOW)
    assert not step_up_satisfied(subject, acr="urn:other", max_age=None, table=TABLE, now=NOW)


@pytest.mark.parametrize(
    ("auth_time", "max_age", "satisfied"),
    [
        (NOW - 60, 60, True),
        (NOW - 61, 60, False),
        (NOW, 0, True),
        (None, 60, False),
        (None, None, True),
        (NOW - 10**6, None, True),
    ],
)
def test_a_sign_in_is_recent_enough_only_when_its_time_is_known(
    auth_time: int | None, max_age: int | None, satisfied: bool
) -> None:
    subject = Subject(type="user", auth_time=auth_time)

    assert step_up_satisfied(subject, acr="", max_age=max_age, table=TABLE, now=NOW) is satisfied


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
