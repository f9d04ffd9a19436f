"""The situation: whatever is added only tightens, whatever ends restores, and only signatures loosen."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from zt_engine.adapters.approvals import Approver, approve, key_id
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.core.errors import ConfigError
from zt_engine.core.situation import Applied, Effect, Grant, Overlay, Situation, Target, Term, situate
from zt_engine.core.situation_words import parse_effect, parse_scope

RANKS = {"C0": 0, "C1": 100, "C2": 200, "C3-S": 300}
ASSURANCE = {"pwd": 1, "mfa": 2, "phr": 3, "hwk": 3}
YAMADA, SATO = Ed25519PrivateKey.from_private_bytes(b"y" * 32), Ed25519PrivateKey.from_private_bytes(b"s" * 32)
APPROVERS = {
    key_id(YAMADA.public_key()): Approver("yamada", YAMADA.public_key()),
    key_id(SATO.public_key()): Approver("sato", SATO.public_key()),
}
HOUR = 3600


def overlay(effect: str, scope: str = "tenant", identifier: str = "o1", **more: object) -> Overlay:
    parsed, terms = parse_effect(effect), parse_scope(scope)
    assert parsed is not None
    assert terms is not None
    values = {"not_before": 0, "not_after": 1000, **more}
    return Overlay(id=identifier, effect=effect, scope=scope, parsed_effect=parsed, terms=terms, **values)


def situation(*overlays: Overlay, grants: tuple[Grant, ...] = (), threat_level: int = 0) -> Situation:
    return situate(version="v", threat_level=threat_level, overlays=overlays, grants=grants)


def target(**more: object) -> Target:
    values = {"service": "portal", "label_rank": 200, "subject_id": "tanaka", "groups": ("na1",), "device_id": "d1"}
    return Target(**{**values, "ownership": "corp", **more})


def applied(found: Situation, start: int = 100, end: int = 105, **more: object) -> Applied:
    return found.effective(start, end, target=target(**more), ranks=RANKS, assurance=ASSURANCE)


def tightness(found: Applied) -> tuple[object, ...]:
    """Everything that could loosen a decision, so that componentwise comparison says which is tighter."""
    strongest = -1 if found.acr is None else ASSURANCE.get(found.acr, 10**6)
    ceiling = 10**6 if found.ceiling is None else found.ceiling
    age = 10**9 if found.report_age is None else found.report_age
    return len(found.deny), -ceiling, found.threshold_plus, strongest, -age


def no_looser(one: Applied, other: Applied) -> bool:
    """Say whether `one` is at least as tight as `other`."""
    return (
        all(a >= b for a, b in zip(tightness(one), tightness(other), strict=True))
        and set(one.obligations) >= set(other.obligations)
        and one.grants == other.grants
        and one.continuity == other.continuity
        and one.threat_level >= other.threat_level
    )


effects = st.sampled_from(
    ["deny", "ceiling:0", "ceiling:100", "ceiling:300", "threshold:+5", "threshold:+20", "acr:mfa", "acr:phr",
     "acr:new", "report_age:60", "report_age:900", "obligation:no_store", "obligation:watermark"]
)  # fmt: skip
scopes = st.sampled_from(
    ["tenant", "service:portal", "service:mail", "subject:tanaka", "group:na1", "group:na2", "device:d1",
     "ownership:byod", "ownership:corp", "label:C2", "label:C3-S", "label:X", "service:portal and label:C1",
     "group:na1 and subject:suzuki"]
)  # fmt: skip
identifiers = st.integers(0, 99).map(lambda number: f"o{number:02d}")


@st.composite
def overlays(draw: st.DrawFn) -> Overlay:
    start = draw(st.integers(90, 110))
    span = {"not_before": start, "not_after": start + draw(st.integers(1, 12)), "exercise": draw(st.booleans())}
    return overlay(draw(effects), draw(scopes), draw(identifiers), **span)


sets_of_overlays = st.lists(overlays(), max_size=6, unique_by=lambda item: item.id)
targets = st.fixed_dictionaries(
    {
        "service": st.sampled_from(["portal", "mail"]),
        "label_rank": st.sampled_from([0, 100, 200, 300]),
        "subject_id": st.sampled_from(["tanaka", "suzuki", ""]),
        "groups": st.sampled_from([(), ("na1",), ("na1", "na2")]),
        "device_id": st.sampled_from(["", "d1", "d2"]),
        "ownership": st.sampled_from(["corp", "byod", "shared", "", "unknown"]),
    }
)


@given(sets_of_overlays, overlays(), targets)
def test_adding_an_overlay_never_loosens(some: list[Overlay], more: Overlay, who: dict[str, object]) -> None:
    before = applied(situation(*some), **who)
    after = applied(situation(*some, replace(more, id="new")), **who)

    assert no_looser(after, before)


@given(sets_of_overlays, targets, st.integers(0, 4), st.integers(0, 4))
def test_raising_the_threat_level_never_loosens(some: list[Overlay], who: dict[str, object], a: int, b: int) -> None:
    low, high = sorted((a, b))

    assert no_looser(
        applied(situation(*some, threat_level=high), **who), applied(situation(*some, threat_level=low), **who)
    )


@given(st.permutations(range(6)), sets_of_overlays, targets)
def test_overlays_have_no_order(order: list[int], some: list[Overlay], who: dict[str, object]) -> None:
    shuffled = [some[n] for n in order if n < len(some)]

    assert applied(situation(*shuffled), **who) == applied(situation(*some), **who)


@given(sets_of_overlays, targets)
def test_the_end_of_an_overlay_restores_exactly_what_was_before(some: list[Overlay], who: dict[str, object]) -> None:
    ended = overlay("deny", identifier="ended", not_before=0, not_after=99)

    assert applied(situation(*some, ended), **who) == applied(situation(*some), **who)


@given(sets_of_overlays, overlays(), targets)
def test_an_exercise_is_recorded_and_changes_nothing(
    some: list[Overlay], more: Overlay, who: dict[str, object]
) -> None:
    exercise = replace(more, id="drill", exercise=True)

    with_it, without = applied(situation(*some, exercise), **who), applied(situation(*some), **who)

    assert replace(with_it, exercises=()) == replace(without, exercises=())
    assert set(with_it.exercises) - set(without.exercises) <= {"drill"}


@given(sets_of_overlays, targets, st.sampled_from([0, 100, 200, 300]))
def test_a_stricter_label_is_never_better_off(some: list[Overlay], who: dict[str, object], rank: int) -> None:
    low, high = sorted((rank, int(str(who["label_rank"]))))
    below = applied(situation(*some), **{**who, "label_rank": low})

    assert no_looser(applied(situation(*some), **{**who, "label_rank": high}), below)


@given(sets_of_overlays, targets)
def test_hiding_what_kind_of_device_it_is_escapes_nothing(some: list[Overlay], who: dict[str, object]) -> None:
    shown = applied(situation(*some), **who)

    assert no_looser(applied(situation(*some), **{**who, "ownership": ""}), shown)


@given(sets_of_overlays, targets)
def test_the_index_finds_what_looking_at_every_overlay_finds(some: list[Overlay], who: dict[str, object]) -> None:
    def covered(term: Term) -> bool:
        if term.kind == "label":
            return int(str(who["label_rank"])) >= RANKS.get(term.name, 0)
        if term.kind == "ownership":
            return who["ownership"] in (term.name, "", "unknown")
        facts = {"service": who["service"], "subject": who["subject_id"], "device": who["device_id"]}
        return (
            term.kind == "tenant"
            or facts.get(term.kind) == term.name
            or (term.kind == "group" and term.name in who["groups"])
        )

    expected = {
        item.id
        for item in some
        if item.not_before <= 105 and item.not_after >= 100 and not item.exercise and all(map(covered, item.terms))
    }

    assert {item.id for item in applied(situation(*some), **who).overlays} == expected


@pytest.mark.parametrize(("start", "end"), [(90, 100), (104, 110), (105, 106), (101, 102), (0, 999)])
def test_an_overlay_counts_if_it_covers_any_part_of_the_tick(start: int, end: int) -> None:
    assert applied(situation(overlay("deny", not_before=start, not_after=end))).deny == ("OVERLAY_DENIED",)


def test_the_strongest_acr_wins_and_one_without_a_level_is_stronger_than_all() -> None:
    def asked(*names: str) -> str | None:
        return applied(situation(*(overlay(f"acr:{name}", identifier=name) for name in names))).acr

    assert asked() is None
    assert asked("mfa", "pwd") == "mfa"
    assert asked("hwk", "phr", "mfa") == "phr"
    assert asked("hwk", "unheard-of") == "unheard-of"


def test_what_is_in_force_is_shown_with_its_words() -> None:
    found = applied(situation(overlay("ceiling:100", "service:portal and label:C1", "s7")))

    assert [(item.id, item.effect, item.scope) for item in found.overlays] == [
        ("s7", "ceiling:100", "service:portal and label:C1"),
    ]
    assert found.ceiling == 100


# Words.


@pytest.mark.parametrize(
    ("text", "effect"),
    [
        ("deny", Effect("deny")),
        ("ceiling:0", Effect("ceiling", 0)),
        ("ceiling:1000", Effect("ceiling", 1000)),
        ("threshold:+100", Effect("threshold", 100)),
        ("acr:urn:example:phr", Effect("acr", name="urn:example:phr")),
        ("report_age:0", Effect("report_age", 0)),
        ("obligation:no_store", Effect("obligation", name="no_store")),
    ],
)
def test_the_effects_are_a_closed_list(text: str, effect: Effect) -> None:
    assert parse_effect(text) == effect


@pytest.mark.parametrize(
    "text",
    ["", "allow", "deny:", "deny:x", "Deny", "ceiling", "ceiling:", "ceiling:-1", "ceiling:1001", "ceiling:0100",
     "ceiling:C2", "threshold:5", "threshold:-5", "threshold:+0", "threshold:+101", "acr:", "acr:a b",
     "report_age:-1", "report_age:1.5", "obligation:", "obligation:No", "grant:x", "ceiling:１", "deny\n",
     "ceiling:1\n"],
)  # fmt: skip
def test_any_other_effect_is_refused(text: str) -> None:
    assert parse_effect(text) is None


@pytest.mark.parametrize(
    "text",
    ["", "all", "tenant:x", "service", "service:", "service:a b", "ownership:private", "label:C1 or label:C2",
     "tenant ", " tenant", "tenant and", "tenant and tenant", "group:a AND group:b",
     "service:a and service:b and group:c and group:d and group:e"],
)  # fmt: skip
def test_any_other_scope_is_refused(text: str) -> None:
    assert parse_scope(text) is None


# Grants.


def grant(**more: object) -> Grant:
    values: dict[str, object] = {
        "id": "g1", "kind": "exception", "subjects": frozenset({"tanaka"}), "groups": frozenset(), "services":
         frozenset({"portal"}), "ceiling": 200, "waives": ("PATCH_OLD",), "not_before": 100, "not_after": 105,
         "approvers": ("yamada",),
    }  # fmt: skip
    return Grant(**{**values, **more})


grants = st.builds(
    grant,
    kind=st.sampled_from(["exception", "break_glass", "continuity"]),
    ceiling=st.integers(0, 1000),
    not_before=st.integers(95, 105),
    not_after=st.integers(100, 110),
)


@given(grants, st.sampled_from([0, 100, 200, 300, 900]))
def test_no_grant_reaches_above_c2(item: Grant, rank: int) -> None:
    found = applied(situation(grants=(item,)), label_rank=rank).grants

    assert all(one.ceiling <= 200 for one in found)
    assert not found or rank <= 200


@given(grants, st.integers(90, 110), st.integers(1, 10))
def test_a_grant_counts_only_if_it_covers_the_whole_tick(item: Grant, start: int, length: int) -> None:
    found = applied(situation(grants=(item,)), start, start + length, label_rank=0).grants

    assert bool(found) == (item.not_before <= start and item.not_after >= start + length)


@pytest.mark.parametrize(
    ("change", "who", "holds"),
    [
        ({}, {}, True),
        ({}, {"subject_id": "suzuki"}, False),
        ({}, {"subject_id": ""}, False),
        ({"subjects": frozenset({""})}, {"subject_id": ""}, False),
        ({"subjects": frozenset(), "groups": frozenset({"na1"})}, {"subject_id": "suzuki"}, True),
        ({"subjects": frozenset(), "groups": frozenset({"na2"})}, {}, False),
        ({}, {"service": "mail"}, False),
        ({"services": frozenset({"*"})}, {"service": "mail"}, True),
        ({"ceiling": 100}, {}, False),
        ({"subjects": frozenset(), "groups": frozenset({"na1"})}, {"subject_id": "yamada"}, False),
        (
            {"kind": "approval", "action": "payroll.change", "object": "/p"},
            {"action": "payroll.change", "label_rank": 300},
            True,
        ),
        ({"kind": "approval", "action": "payroll.change", "object": "/p"}, {"action": "payroll.read"}, False),
        ({"kind": "approval", "action": "", "object": "/p"}, {"action": ""}, False),
    ],
)
def test_a_grant_is_for_whom_where_and_what_it_names(
    change: Mapping[str, object], who: Mapping[str, object], holds: bool
) -> None:
    assert bool(applied(situation(grants=(grant(**change),)), **who).grants) == holds


# The file.


def grant_record(**more: object) -> dict[str, object]:
    return {"id": "g1", "kind": "exception", "subjects": ["tanaka"], "services": ["portal"], "ceiling": 900,
     "waives": ["OLD"], "not_before": 100, "not_after": 100 + HOUR, "reason": "試験", **more}  # fmt: skip


def signed(record: Mapping[str, object], *keys: Ed25519PrivateKey, kind: str = "grant") -> dict[str, object]:
    return {**record, "approvals": [approve(key, "grant" if kind == "grant" else "continuity", record) for key in keys]}


def decode(**document: object) -> Situation:
    raw = json.dumps({"threat_level": 0, **document}, ensure_ascii=False).encode()
    return decode_situation(raw, where="situation.json", approvers=APPROVERS)


def faults(raw: bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        decode_situation(raw, where="situation.json", approvers=APPROVERS)
    return [problem.code for problem in caught.value.problems]


OVERLAY = {"id": "o1", "scope": "tenant", "effect": "deny", "not_before": 100, "not_after": 200}


def test_a_situation_is_read_with_all_its_records() -> None:
    times = {"not_before": "2026-11-22T00:00:00+09:00", "not_after": "2026-11-22T01:00:00+09:00"}
    found = decode(
        threat_level=2,
        overlays=[{**OVERLAY, **times, "cause": "G1", "severity": "high", "approvals": []}],
        grants=[signed(grant_record(), YAMADA)],
        revocations=[{"kind": "device", "key": "d1", "until": None}, {"kind": "jti", "key": "t1", "until": 50}],
        continuity=signed({"id": "c1", "not_before": 100, "not_after": 200}, YAMADA, SATO, kind="continuity"),
    )

    assert found.problems == ()
    assert applied(found).threat_level == 2
    assert applied(found).continuity
    assert [(item.id, item.ceiling, item.approvers) for item in applied(found).grants] == [("g1", 200, ("yamada",))]
    assert found.overlays[0].not_before == 1795273200
    assert found.is_revoked("device", "d1", now=10**10)
    assert found.is_revoked("jti", "t1", now=50.0)
    assert not found.is_revoked("jti", "t1", now=50.5)
    assert not found.is_revoked("cert", "d1", now=0)


def test_nothing_but_a_threat_level_is_a_quiet_situation() -> None:
    assert applied(decode()) == Applied(threat_level=0)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"threat_level": True}, "SITUATION_THREAT_LEVEL"),
        ({"threat_level": 5}, "SITUATION_THREAT_LEVEL"),
        ({"threat_level": -1}, "SITUATION_THREAT_LEVEL"),
        ({"threat_level": 1.0}, "SITUATION_THREAT_LEVEL"),
        ({"threat_level": "1"}, "SITUATION_THREAT_LEVEL"),
        ({"threat_level": None}, "SITUATION_THREAT_LEVEL"),
        ({"overlay": []}, "SITUATION_RECORD"),
        ({"overlays": {}}, "SITUATION_RECORD"),
        ({"overlays": [1]}, "SITUATION_RECORD"),
        ({"overlays": [OVERLAY] * 1001}, "SITUATION_RECORD"),
        ({"overlays": [OVERLAY, OVERLAY]}, "SITUATION_DUPLICATE"),
        ({"overlays": [{**OVERLAY, "efect": 1}]}, "SITUATION_RECORD"),
        ({"overlays": [{**OVERLAY, "exercise": 1}]}, "SITUATION_RECORD"),
        ({"overlays": [{**OVERLAY, "id": "a b"}]}, "SITUATION_RECORD"),
        ({"overlays": [{**OVERLAY, "id": "a\n"}]}, "SITUATION_RECORD"),
        ({"overlays": [{**OVERLAY, "effect": "allow"}]}, "OVERLAY_EFFECT"),
        ({"overlays": [{**OVERLAY, "id": "device-registration"}]}, "OVERLAY_ID"),
        ({"overlays": [{**OVERLAY, "scope": "world"}]}, "OVERLAY_SCOPE"),
        ({"overlays": [{**OVERLAY, "not_after": 100}]}, "SITUATION_TIMES"),
        ({"overlays": [{**OVERLAY, "not_after": None}]}, "SITUATION_RECORD"),
        ({"overlays": [{**OVERLAY, "not_after": True}]}, "SITUATION_RECORD"),
        ({"overlays": [{**OVERLAY, "not_after": "tomorrow"}]}, "SITUATION_TIMES"),
        ({"overlays": [{**OVERLAY, "not_after": "2026-11-22"}]}, "SITUATION_TIMES"),
        ({"overlays": [{**OVERLAY, "not_after": 10**15}]}, "SITUATION_TIMES"),
        ({"revocations": [{"kind": "token", "key": "a", "until": 1}]}, "SITUATION_RECORD"),
        ({"revocations": [{"kind": "jti", "key": "", "until": 1}]}, "SITUATION_RECORD"),
        ({"revocations": [{"kind": "jti", "key": "a"}]}, "SITUATION_RECORD"),
        ({"grants": [grant_record(kind="free")]}, "SITUATION_RECORD"),
        ({"grants": [grant_record(), grant_record()]}, "SITUATION_DUPLICATE"),
        ({"continuity": True}, "SITUATION_RECORD"),
    ],
)
def test_a_fault_refuses_the_whole_file(document: dict[str, object], code: str) -> None:
    assert code in faults(json.dumps({"threat_level": 0, **document}).encode())


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'{"threat_level": 0, "threat_level": 1}', b'{"threat_level": 0}x',
     b'\xff{"threat_level": 0}', b'{"threat_level": NaN}', b"[" * 100_000, b'{"overlays": ' + b"[" * 500 + b"]" * 500
     + b"}"],
)  # fmt: skip
def test_what_is_no_json_object_with_one_reading_is_refused(raw: bytes) -> None:
    assert faults(raw) == ["SITUATION_SYNTAX"]


def test_every_fault_is_reported_at_once() -> None:
    bad = [{**OVERLAY, "effect": "x", "scope": "y"}, {**OVERLAY, "id": "o2", "not_after": 1}]

    assert faults(json.dumps({"overlays": bad, "thret_level": 1}).encode()) == [
        *("SITUATION_RECORD", "SITUATION_THREAT_LEVEL", "OVERLAY_EFFECT", "OVERLAY_SCOPE", "SITUATION_TIMES"),
    ]


BAD_GRANTS = [
    (signed(grant_record()), "APPROVAL_MISSING"),
    (signed(grant_record(kind="break_glass"), YAMADA), "APPROVAL_MISSING"),
    (signed(grant_record(kind="break_glass"), YAMADA, YAMADA), "APPROVAL_MISSING"),
    (signed(grant_record(kind="continuity"), YAMADA), "APPROVAL_MISSING"),
    ({**signed(grant_record(), YAMADA), "ceiling": 100}, "APPROVAL_SIGNATURE"),
    ({**signed(grant_record(), YAMADA), "id": "g2"}, "APPROVAL_SIGNATURE"),
    (signed(grant_record(), YAMADA, kind="continuity"), "APPROVAL_SIGNATURE"),
    (signed(grant_record(), Ed25519PrivateKey.from_private_bytes(b"z" * 32)), "APPROVAL_KEY_UNKNOWN"),
    (signed(grant_record(), YAMADA, Ed25519PrivateKey.from_private_bytes(b"z" * 32)), "APPROVAL_KEY_UNKNOWN"),
    (signed(grant_record(subjects=["tanaka", "yamada"]), YAMADA), "APPROVAL_OWN"),
    (signed(grant_record(subjects=[]), YAMADA), "GRANT_SCOPE"),
    (signed(grant_record(services=[]), YAMADA), "GRANT_SCOPE"),
    (signed(grant_record(action="x"), YAMADA), "GRANT_SCOPE"),
    (signed(grant_record(kind="approval"), YAMADA, SATO), "GRANT_SCOPE"),
    (signed(grant_record(kind="approval", action="a", object="/o"), YAMADA, SATO), "GRANT_SCOPE"),
    (signed(grant_record(kind="break_glass", not_after=101 + HOUR), YAMADA, SATO), "GRANT_TOO_LONG"),
    (signed(grant_record(not_after=10**9), YAMADA), "GRANT_TOO_LONG"),
]


@pytest.mark.parametrize(("record", "code"), BAD_GRANTS)
def test_a_grant_that_is_not_properly_signed_is_left_out_and_reported_while_the_rest_stays(
    record: dict[str, object], code: str
) -> None:
    found = decode(grants=[record], overlays=[OVERLAY], revocations=[{"kind": "jti", "key": "t", "until": 9}])

    assert [problem.code for problem in found.problems] == [code]
    assert found.grants == ()
    assert applied(found, 110, 115).deny == ("OVERLAY_DENIED",)
    assert found.is_revoked("jti", "t", now=1)


def test_an_approval_signed_by_two_people_is_in_force_for_its_action() -> None:
    record = grant_record(kind="approval", action="payroll.change", object="/payroll/7", waives=[], ceiling=0)
    found = decode(grants=[signed(record, YAMADA, SATO)])

    (one,) = applied(found, 110, 115, action="payroll.change", label_rank=300).grants

    assert (one.action, one.object, one.approvers) == ("payroll.change", "/payroll/7", ("sato", "yamada"))


@pytest.mark.parametrize("keys", [(), (YAMADA,), (YAMADA, YAMADA)])
def test_continuity_is_declared_by_two_people_or_not_at_all(keys: tuple[Ed25519PrivateKey, ...]) -> None:
    record = {"id": "c1", "not_before": 100, "not_after": 200}
    found = decode(continuity=signed(record, *keys, kind="continuity"))

    assert not applied(found).continuity
    assert [problem.code for problem in found.problems] == ["APPROVAL_MISSING"]


def test_without_approvers_no_grant_is_in_force() -> None:
    raw = json.dumps({"threat_level": 0, "grants": [signed(grant_record(), YAMADA)]}).encode()

    found = decode_situation(raw, where="s")

    assert found.grants == ()
    assert [problem.code for problem in found.problems] == ["APPROVAL_KEY_UNKNOWN"]


def test_the_version_changes_with_the_text_and_with_what_the_keys_prove() -> None:
    raw = json.dumps({"threat_level": 0, "grants": [signed(grant_record(), YAMADA)]}).encode()

    versions = {
        decode_situation(raw, where="s", approvers=APPROVERS).version,
        decode_situation(raw, where="s").version,
        decode_situation(raw + b" ", where="s").version,
    }

    assert len(versions) == 3
    assert decode_situation(raw, where="s").version in versions


def test_a_revocation_listed_twice_lasts_until_the_later_end() -> None:
    found = decode(revocations=[{"kind": "cert", "key": "c", "until": until} for until in (50, 90, 70)])

    assert found.is_revoked("cert", "c", now=90)
    assert not found.is_revoked("cert", "c", now=91)


@pytest.mark.parametrize("scope", ["subject:chatbot", "group:contractors"])
def test_who_acts_for_another_brings_every_restriction_of_either(scope: str) -> None:
    """A delegate must not be a way around an overlay, whichever of the two it is about."""
    stop = situation(overlay("deny", scope))

    alone = applied(stop)
    through = applied(stop, actor_id="chatbot", groups=(), restricted_groups=("contractors",))

    assert (alone.deny, through.deny) == ((), ("OVERLAY_DENIED",))


@given(sets_of_overlays, targets, st.sampled_from(["suzuki", "chatbot"]))
def test_acting_through_somebody_never_loosens(some: list[Overlay], who: dict[str, object], actor: str) -> None:
    through = {**who, "actor_id": actor, "restricted_groups": who["groups"], "groups": ()}

    assert no_looser(applied(situation(*some), **through), applied(situation(*some), **who))


def test_a_grant_does_not_help_somebody_whose_delegate_approved_it() -> None:
    given_to = situation(grants=(grant(approvers=("chatbot", "suzuki")),))

    assert applied(given_to).grants
    assert not applied(given_to, actor_id="chatbot").grants
