"""The situation: what tightens is kept as it is read, what loosens only with the signatures of people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.control_support import NOW, TENANT, Control
from zt_engine.adapters.approvals import approve, read_approvers
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.control_plane.housekeeping import OVERLAYS_KEPT, Housekeeping

KEYS = {person: Ed25519PrivateKey.generate() for person in ("yamada", "suzuki")}
APPROVERS = read_approvers(
    {
        person: key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for person, key in KEYS.items()
    }
)
OVERLAY = {"id": "o1", "scope": "label:C2", "effect": "threshold:+5", "not_before": NOW, "not_after": NOW + 3600}
GRANT = {
    "id": "g/1", "kind": "break_glass", "subjects": ["tanaka"], "services": ["portal"], "ceiling": 200,
    "not_before": NOW, "not_after": NOW + 3600, "reason": "typhoon",
}  # fmt: skip
CONTINUITY = {"id": "c1", "not_before": NOW, "not_after": NOW + 3600, "reason": "earthquake"}


@pytest.fixture
def control() -> Iterator[Control]:
    with Control(approvers=APPROVERS) as one:
        yield one


def signed(record: dict[str, Any], *people: str, kind: str = "grant") -> dict[str, Any]:
    return record | {"approvals": [approve(KEYS[person], kind, record) for person in people]}


def test_an_overlay_is_told_as_it_was_written_and_again_when_it_goes(control: Control) -> None:
    put = control.call("PUT", "/v1/situation/overlays/o1", OVERLAY, who="security")
    gone = control.call("DELETE", "/v1/situation/overlays/o1?reason=over", who="security")

    assert [put.status_code, gone.status_code] == [200, 204]
    owned = OVERLAY | {"owner": "admin:security"}
    assert control.announced() == [("overlay.changed", owned), ("overlay.changed", {"id": "o1", "removed": True})]
    assert [(event.action, event.reason) for event in control.audit()] == [
        ("overlay.changed", ""),
        ("overlay.removed", "over"),
    ]
    assert control.call("DELETE", "/v1/situation/overlays/o1").json()["code"] == "RECORD_NOT_FOUND"


def test_an_overlay_is_whose_who_raised_it_whatever_it_says(control: Control) -> None:
    for who in ("security", "owner"):
        control.call("PUT", "/v1/situation/overlays/o1", OVERLAY | {"owner": "admin:somebody"}, who=who)

    assert [told["owner"] for _, told in control.announced()] == ["admin:security", "admin:owner"]
    assert control.call("GET", "/v1/situation").json()["overlays"][0]["owner"] == "admin:owner"
    assert b'"owner":"admin:owner"' in control.audit()[-1].after


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"effect": "ceiling:9999"}, "OVERLAY_EFFECT"),
        ({"scope": "everything"}, "OVERLAY_SCOPE"),
        ({"not_after": NOW - 1}, "SITUATION_TIMES"),
        ({"id": "another"}, "RECORD_ID"),
        ({"surprise": 1}, "SITUATION_RECORD"),
    ],
)
def test_an_overlay_sidecars_would_refuse_is_refused_here(control: Control, members: dict[str, Any], code: str) -> None:
    answer = control.call("PUT", "/v1/situation/overlays/o1", OVERLAY | members)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert control.announced() == []


def test_a_grant_that_enough_people_signed_is_told_so_that_sidecars_verify_it_themselves(control: Control) -> None:
    record = signed(GRANT, "yamada", "suzuki")

    answer = control.call("PUT", "/v1/situation/grants/g%2F1", record)
    ((kind, told),) = control.announced()

    assert (answer.status_code, kind) == (200, "grant.changed")
    document = json.dumps({"threat_level": 0, "grants": [told]}).encode()
    (grant,) = decode_situation(document, where="", approvers=APPROVERS).grants
    assert grant.approvers == ("suzuki", "yamada")


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (GRANT, "APPROVAL_MISSING"),
        (signed(GRANT, "yamada"), "APPROVAL_MISSING"),
        (signed(GRANT, "yamada", "yamada"), "APPROVAL_MISSING"),
        (signed(GRANT, "yamada", "suzuki") | {"ceiling": 100}, "APPROVAL_SIGNATURE"),
        (signed(GRANT | {"subjects": ["yamada"]}, "yamada", "suzuki"), "APPROVAL_OWN"),
        (signed(GRANT | {"not_after": NOW + 7200}, "yamada", "suzuki"), "GRANT_TOO_LONG"),
        (signed(GRANT, "yamada", "suzuki", kind="continuity"), "APPROVAL_SIGNATURE"),
    ],
)
def test_the_control_plane_cannot_loosen_anything_by_itself(
    control: Control, record: dict[str, Any], code: str
) -> None:
    answer = control.call("PUT", "/v1/situation/grants/g%2F1", record)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert control.announced() == []
    assert control.call("GET", "/v1/situation").json()["grants"] == []


def test_there_is_one_declaration_of_continuity_at_a_time(control: Control) -> None:
    other = CONTINUITY | {"id": "c2"}
    control.call("PUT", "/v1/situation/continuity/c1", signed(CONTINUITY, "yamada", "suzuki", kind="continuity"))
    control.call("PUT", "/v1/situation/continuity/c2", signed(other, "yamada", "suzuki", kind="continuity"))

    assert control.call("GET", "/v1/situation").json()["continuity"]["id"] == "c2"
    with control.store.reading(TENANT) as tx:
        assert list(tx.situation.all("continuity")) == ["c2"]
    control.call("DELETE", "/v1/situation/continuity/c2")
    assert control.call("GET", "/v1/situation").json()["continuity"] is None


def test_the_threat_level_is_set_and_nothing_else_is_one(control: Control) -> None:
    set_ = control.call("PUT", "/v1/situation/threat-level", {"threat_level": 3, "reason": "summit"})
    wrong = [
        control.call("PUT", "/v1/situation/threat-level", {"threat_level": level, "reason": "x"}).status_code
        for level in (-1, 5, "3", True, None)
    ]

    assert set_.json() == {"threat_level": 3}
    assert wrong == [422] * 5
    assert control.announced() == [("threat_level.changed", {"threat_level": 3})]
    assert control.call("GET", "/v1/situation").json()["threat_level"] == 3


def test_a_revocation_that_ends_sooner_does_not_shorten_another(control: Control) -> None:
    for until in (NOW + 900, NOW + 60, None):
        control.call("POST", "/v1/revocations", {"kind": "jti", "key": "t1", "until": until, "reason": "x"})

    held = control.call("GET", "/v1/situation").json()

    assert [one["until"] for one in held["revocations"]] == [None, NOW + 900, NOW + 60]
    assert held["revocations_in_force"] == 3


def test_a_revocation_that_is_over_already_is_refused(control: Control) -> None:
    answer = control.call("POST", "/v1/revocations", {"kind": "jti", "key": "t1", "until": NOW, "reason": "x"})

    assert answer.status_code == 422
    assert control.announced() == []


@pytest.mark.parametrize("who", ["viewer", "helpdesk", "approver"])
def test_the_situation_is_the_security_teams_to_change(control: Control, who: str) -> None:
    answers = [
        control.call("PUT", "/v1/situation/threat-level", {"threat_level": 1, "reason": "x"}, who=who),
        control.call("PUT", "/v1/situation/overlays/o1", OVERLAY, who=who),
        control.call("DELETE", "/v1/situation/overlays/o1", who=who),
        control.call("POST", "/v1/revocations", {"kind": "jti", "key": "k", "until": None, "reason": "x"}, who=who),
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert control.call("GET", "/v1/situation", who=who).status_code == 200


def test_a_device_nobody_knows_is_revoked_and_remarked_on(control: Control) -> None:
    body = {"kind": "device", "key": "laptop-x", "until": None, "reason": "lost"}
    answer = control.call("POST", "/v1/revocations", body, who="security")

    assert (answer.status_code, answer.json()["known"]) == (201, False)
    assert control.announced() == [("revocation.added", {"kind": "device", "key": "laptop-x", "until": None})]


# -- the threat level goes down


def lowering(to: int, *people: str, previous: int = 3, end: int = NOW + 3600, **more: Any) -> dict[str, Any]:
    record = {"tenant": TENANT, "previous": previous, "threat_level": to, "expires_at": end, **more}
    approvals = [approve(KEYS[person], "threat_level", record) for person in people]
    return {"threat_level": to, "previous": previous, "expires_at": end, "reason": "over", "approvals": approvals}


def set_level(control: Control, body: dict[str, Any]) -> tuple[int, str]:
    answer = control.call("PUT", "/v1/situation/threat-level", body, who="security")
    return answer.status_code, answer.json().get("code", "")


def raised(control: Control, level: int = 3) -> None:
    assert set_level(control, {"threat_level": level, "reason": "summit"}) == (200, "")


def test_one_person_raises_the_level_and_two_lower_it(control: Control) -> None:
    raised(control)

    alone = set_level(control, {"threat_level": 2, "reason": "over"})
    both = set_level(control, lowering(1, "yamada", "suzuki"))

    assert (alone, both) == ((422, "APPROVAL_MISSING"), (200, ""))
    assert control.announced() == [("threat_level.changed", {"threat_level": level}) for level in (3, 1)]
    assert control.audit()[-1].reason == "over (approved by suzuki, yamada)"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (lowering(1, "yamada"), "APPROVAL_MISSING"),
        (lowering(1, "yamada", "yamada"), "APPROVAL_MISSING"),
        (lowering(1, "yamada", "suzuki") | {"threat_level": 0}, "APPROVAL_SIGNATURE"),
        (lowering(1, "yamada", "suzuki") | {"expires_at": NOW + 7200}, "APPROVAL_SIGNATURE"),
        (lowering(1, "yamada", "suzuki", tenant="other"), "APPROVAL_SIGNATURE"),
        (lowering(1, "yamada", "suzuki", previous=4), "THREAT_LEVEL_LOWERING"),
        (lowering(1, "yamada", "suzuki", end=NOW), "THREAT_LEVEL_LOWERING"),
        (lowering(1, "yamada", "suzuki", end=NOW + 86_401), "THREAT_LEVEL_LOWERING"),
    ],
)
def test_a_lowering_that_was_not_signed_for_this_change_now_lowers_nothing(
    control: Control, body: dict[str, Any], code: str
) -> None:
    raised(control)

    assert set_level(control, body) == (422, code)
    assert control.call("GET", "/v1/situation").json()["threat_level"] == 3


def test_a_lowering_is_used_once(control: Control) -> None:
    raised(control)
    once = lowering(1, "yamada", "suzuki")
    assert set_level(control, once) == (200, "")
    again = set_level(control, once)
    raised(control)

    assert (again, set_level(control, once)) == ((422, "LOWERING_USED"), (422, "LOWERING_USED"))


def test_a_lowering_is_no_raising_where_the_level_fell_meanwhile(control: Control) -> None:
    raised(control)
    assert set_level(control, lowering(0, "yamada", "suzuki")) == (200, "")

    assert set_level(control, lowering(1, "yamada", "suzuki")) == (422, "THREAT_LEVEL_LOWERING")
    assert control.call("GET", "/v1/situation").json()["threat_level"] == 0


def test_a_lowering_that_few_signed_is_called_a_lowering(control: Control) -> None:
    raised(control)
    answer = control.call("PUT", "/v1/situation/threat-level", {"threat_level": 2, "reason": "x"}, who="security")

    assert answer.json()["detail"] == "the lowering of the threat level is approved by 0 people, 2 are needed"


def test_where_nobody_could_sign_one_person_lowers_it_and_the_audit_says_so() -> None:
    with Control(approvers=dict(list(APPROVERS.items())[:1])) as alone:
        raised(alone)

        assert set_level(alone, {"threat_level": 0, "reason": "over"}) == (200, "")
        assert alone.audit()[-1].reason == "over (approved by nobody: fewer than two approvers are known)"


# -- breaking the glass


def broken(control: Control, id_: str = "g/1", *, later: int = 0, **members: Any) -> tuple[int, str]:
    """Declare a break-glass grant that two people signed, which begins some seconds from the start of the test."""
    times = {"not_before": NOW + later, "not_after": NOW + later + 3600}
    record = signed(GRANT | {"id": id_} | times | members, "yamada", "suzuki")
    answer = control.call("PUT", f"/v1/situation/grants/{id_.replace('/', '%2F')}", record, who="security")
    return answer.status_code, answer.json().get("code", "")


def review(control: Control, id_: str = "g/1", **headers: str) -> int:
    path = f"/v1/situation/grants/{id_.replace('/', '%2F')}/review"
    return control.call("POST", path, {"findings": "two cases read"}, who="security", **headers).status_code


def test_what_was_signed_to_break_the_glass_is_declared_once(control: Control) -> None:
    assert broken(control) == (200, "")
    assert broken(control) == (200, "")  # the same again, while it holds, is no second one

    control.call("DELETE", "/v1/situation/grants/g%2F1?reason=over")
    assert broken(control) == (422, "GRANT_USED")
    assert broken(control, reason="another typhoon") == (200, "")
    assert broken(control) == (422, "GRANT_USED")  # nor in another's place
    control.clock.advance(3700)
    assert broken(control) == (422, "GRANT_USED")
    assert [kind for kind, _ in control.announced()] == ["grant.changed"] * 4


def test_an_exception_may_be_declared_again(control: Control) -> None:
    record = signed(GRANT | {"kind": "exception"}, "yamada")
    for _ in range(2):
        assert control.call("PUT", "/v1/situation/grants/g%2F1", record).status_code == 200
        assert control.call("DELETE", "/v1/situation/grants/g%2F1?reason=x").status_code == 204


def test_without_a_review_within_72_hours_of_its_end_nobody_breaks_the_glass_again(control: Control) -> None:
    assert broken(control) == (200, "")
    (waiting,) = control.call("GET", "/v1/situation").json()["reviews"]
    assert (waiting["grant"], waiting["due"]) == ("g/1", NOW + 3600 + 72 * 3600)
    assert review(control) == 404  # it has not ended

    control.clock.advance(3600 + 72 * 3600)
    assert broken(control, "g2", later=75 * 3600) == (200, "")
    control.clock.advance(2)
    assert broken(control, "g3", later=75 * 3600) == (422, "GRANT_REVIEW_DUE")
    control.call("DELETE", "/v1/situation/grants/g%2F1?reason=x")  # taking it away settles nothing
    assert broken(control, "g3", later=75 * 3600) == (422, "GRANT_REVIEW_DUE")

    assert control.call("POST", "/v1/situation/grants/g%2F1/review", {"findings": "x"}, who="approver").is_error
    assert review(control) == 200
    assert broken(control, "g3", later=75 * 3600) == (200, "")
    (event,) = [event for event in control.audit() if event.action == "grant.reviewed"]
    assert (event.actor, event.reason, event.object) == ("admin:security", "two cases read", "grant:g/1")
    assert review(control) == 404


def test_continuity_and_other_grants_wait_for_no_review(control: Control) -> None:
    broken(control)
    control.clock.advance(80 * 3600)
    times = {"not_before": NOW + 80 * 3600, "not_after": NOW + 81 * 3600}
    exception = signed(GRANT | times | {"kind": "exception", "id": "g2"}, "yamada")
    declared = signed(CONTINUITY | times, "yamada", "suzuki", kind="continuity")

    assert control.call("PUT", "/v1/situation/grants/g2", exception).status_code == 200
    assert control.call("PUT", "/v1/situation/continuity/c1", declared).status_code == 200


def test_the_glass_is_not_broken_a_second_time_by_a_rollout(control: Control) -> None:
    record = signed(GRANT, "yamada", "suzuki")
    plan = {"rings": [{"name": "all", "percent": 100}]}
    body = {"kind": "grant", "record": record, "plan": plan, "reason": "typhoon"}
    first = control.call("POST", "/v1/rollouts", body)

    assert first.status_code == 201, first.text
    assert control.call("POST", "/v1/rollouts", body).json()["code"] == "GRANT_USED"
    assert [one["grant"] for one in control.call("GET", "/v1/situation").json()["reviews"]] == ["g/1"]


def test_a_rollout_is_no_way_round_the_review_nor_a_second_use_of_what_was_signed(control: Control) -> None:
    def rolled(id_: str, later: int = 0) -> str:
        times = {"not_before": NOW + later, "not_after": NOW + later + 3600}
        record = signed(GRANT | {"id": id_} | times, "yamada", "suzuki")
        plan = {"rings": [{"name": "all", "percent": 100}]}
        body = {"kind": "grant", "record": record, "plan": plan, "reason": "typhoon"}
        return str(control.call("POST", "/v1/rollouts", body, who="security").json().get("code", ""))

    assert broken(control) == (200, "")
    control.call("DELETE", "/v1/situation/grants/g%2F1?reason=over")
    assert rolled("g/1") == "GRANT_USED"
    control.clock.advance(3600 + 72 * 3600 + 2)
    assert rolled("g2", later=75 * 3600) == "GRANT_REVIEW_DUE"
    review(control)
    assert rolled("g2", later=75 * 3600) == ""
    assert broken(control, "g2", later=75 * 3600) == (200, "")  # the same, which holds
    assert [one["grant"] for one in control.call("GET", "/v1/situation").json()["reviews"]] == ["g2"]


def test_an_overlay_that_ended_thirty_days_ago_gives_its_place_back_and_stays_in_the_audit(control: Control) -> None:
    for id_, record in (("o1", OVERLAY), ("o2", OVERLAY | {"not_after": NOW + 3601})):
        assert control.call("PUT", f"/v1/situation/overlays/{id_}", record | {"id": id_}).status_code == 200
    written = OVERLAY | {"id": "o3", "not_before": "2026-09-21T00:00:00Z", "not_after": "2026-09-21T14:30:00Z"}
    assert control.call("PUT", "/v1/situation/overlays/o3", written).status_code == 200
    control.announced()
    control.clock.advance(OVERLAYS_KEPT + 3601)
    Housekeeping(control.plane).turn(now=control.plane.now())
    left = [one["id"] for one in control.call("GET", "/v1/situation").json()["overlays"]]

    assert left == ["o2"]
    assert control.announced() == [("overlay.changed", {"id": id_, "removed": True}) for id_ in ("o1", "o3")]
    assert [(event.actor, event.action, event.object) for event in control.audit()[-2:]] == [
        ("system", "overlay.removed", f"overlay:{id_}") for id_ in ("o1", "o3")
    ]
