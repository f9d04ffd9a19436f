"""The trust score: the worked examples to one decimal, and what each circumstance is worth."""

from __future__ import annotations

from typing import Any

import pytest

from device_inventory.facts import DAY, HOUR, FactEnvelope
from tests.unit.trust_support import GOOD, HOME, MODEL, NOW, OFFICE, context, device, envelope, laptop, person, score
from zt_engine.core.identity import ANONYMOUS, Binding, Subject
from zt_engine.core.trust import combine, device_points, risk_penalty, subject_points
from zt_engine.core.trust_model import POINT
from zt_engine.core.trust_readings import Pillar

TOTP = ("otp",)
AGENT = {"method": "signed_agent", "key_method": "attested"}
HW = {"method": "signed_agent", "key": "hw"}
UNPATCHED = {"patch.oldest_pending_days": 45, "vuln.kev_overdue": ("CVE-2026-1",), "vuln.kev_open": ("CVE-2026-1",)}
BYOD = {"mdm.enrolled": False, "user.is_admin": True, "edr.running": False, "patch.oldest_pending_days": 20}
# No LUKS, no TPM, 81 pending security updates of up to 45 days, root, no EDR, no firewall, no desktop to lock.
TEST_VM = dict.fromkeys(GOOD, None) | {
    "patch.oldest_pending_days": 45,
    "vuln.kev_open": (),
    "vuln.kev_overdue": (),
    "integrity.rooted": False,
    "disk.encrypted": False,
    "user.is_admin": True,
}

# case: device, subject, binding, address, penalty; then D, U, C, T as printed in the specification
EXAMPLES: dict[str, tuple[Any, Subject, Binding, str, int, tuple[float, float, float, float]]] = {
    "A": (laptop("mdm_server", key_method="attested"), person(), "mtls", OFFICE, 0, (96.0, 99.2, 100, 98.1)),
    "B": (laptop(**AGENT), person(), "mtls", HOME, 0, (88.0, 99.2, 88, 92.5)),
    "C": (laptop(**HW), person(amr=TOTP, auth_age=4 * HOUR), "session", HOME, 0, (79.9, 69.8, 88, 77.5)),
    "D": (laptop(**HW, age=3 * DAY), person(amr=TOTP, auth_age=4 * HOUR), "session", HOME, 0, (35.7, 69.8, 88, 50.7)),
    "E": (
        laptop(**HW, changes=UNPATCHED),
        person(amr=TOTP, auth_age=4 * HOUR), "session", HOME, 0, (58.8, 69.8, 88, 69.0),
    ),
    "F": (
        laptop("self_report", key="os_keystore", changes=BYOD),
        person(amr=TOTP), "none", HOME, 0, (29.3, 71.2, 88, 44.3),
    ),
    "F2": (laptop("self_report"), person(), "mtls", OFFICE, 0, (40.0, 99.2, 100, 55.0)),
    "B2": (laptop(**AGENT), person(), "mtls", OFFICE, 0, (88.0, 99.2, 100, 94.9)),
    "G": (None, person(), "dpop", HOME, 0, (0, 99.2, 88, 15.0)),
    "H": (laptop("mdm_server", key_method="attested"), person(), "mtls", OFFICE, 20, (96.0, 99.2, 100, 78.1)),
    "I": (
        laptop("signed_agent", key="file", changes=TEST_VM),
        person(amr=TOTP), "session", HOME, 0, (23.1, 75.2, 88, 38.1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EXAMPLES)
def test_the_worked_examples_come_out_as_printed(case: str) -> None:
    record, subject, binding, address, penalty, printed = EXAMPLES[case]
    pillars = (
        device_points(MODEL, record, tick_end=NOW),
        subject_points(MODEL, subject, binding=binding, tick_end=NOW),
        context(address),
    )

    trust = combine(MODEL, *pillars, penalty)

    shown = (*(f"{pillar.exact / POINT:.1f}" for pillar in pillars), f"{trust.exact / POINT:.1f}")
    assert shown == tuple(f"{figure:.1f}" for figure in printed)
    assert trust.score == trust.exact // POINT
    assert tuple(trust.pillars.values()) == tuple(pillar.exact // POINT for pillar in pillars)


def test_a_medium_user_risk_is_the_twenty_points_of_example_h() -> None:
    assert risk_penalty(MODEL, [("user_risk", "medium")]) == 20


def test_a_report_would_lift_example_d_and_a_stronger_sign_in_alone_would_not() -> None:
    record, subject, binding, *_ = EXAMPLES["D"]

    trust = score(record, subject, binding)

    assert (trust.score, trust.after_step_up, trust.best) == (50, 50, 88)


def test_a_stronger_sign_in_lifts_example_c() -> None:
    record, subject, binding, *_ = EXAMPLES["C"]

    trust = score(record, subject, binding)

    assert (trust.score, trust.after_step_up, trust.best) == (77, 86, 86)


def test_a_fresh_bad_fact_is_bad_in_the_best_case_too() -> None:
    healthy = laptop("signed_agent")
    unencrypted = laptop("signed_agent", changes={"disk.encrypted": False})

    difference = score(healthy, person()).best - score(unencrypted, person()).best

    assert difference == 4  # 12 * .85 * .40


def test_a_renewed_fact_keeps_its_method_and_an_unknown_one_becomes_the_agents() -> None:
    withheld = laptop("mdm_server", changes={"disk.encrypted": None})
    stale = device({**laptop("mdm_server").facts, "disk.encrypted": envelope(False, "self_report", age=2 * DAY)})

    unknown_best = device_points(MODEL, withheld, tick_end=NOW).best
    stale_best = device_points(MODEL, stale, tick_end=NOW).best

    assert unknown_best == (88 * 950 + 12 * 850) * 1000
    assert stale_best == (88 * 950 + 12 * 400) * 1000


def test_no_report_can_help_where_there_is_no_device() -> None:
    assert device_points(MODEL, None, tick_end=NOW) == Pillar(0, 0, 0)
    assert score(None, person()).best == 15


def test_nothing_is_offered_that_the_issuer_cannot_give() -> None:
    subject = person(amr=("pwd",), auth_age=2 * HOUR)

    none = subject_points(MODEL, subject, binding="mtls", tick_end=NOW, strongest="")
    otp = subject_points(MODEL, subject, binding="mtls", tick_end=NOW, strongest="otp")
    anything = subject_points(MODEL, subject, binding="mtls", tick_end=NOW)

    assert none.stepped_up == none.exact
    assert none.exact < otp.stepped_up < anything.stepped_up


def test_a_program_proves_a_key_instead_of_signing_in() -> None:
    robot = Subject(type="workload", id="rpa-1", issuer="https://idp.example")

    bound, unbound = (
        subject_points(MODEL, robot, binding=binding, tick_end=NOW) for binding in ("mtls", "none")
    )  # fmt: skip

    assert bound.exact == 99_250_000
    assert bound.stepped_up == bound.exact
    assert unbound.exact == 24_250_000


def test_an_anonymous_subject_is_worth_nothing() -> None:
    assert subject_points(MODEL, ANONYMOUS, binding="none", tick_end=NOW).exact == 0


def test_a_subject_whose_standing_is_not_active_has_none() -> None:
    active, left = (
        subject_points(MODEL, person(status=status), binding="mtls", tick_end=NOW) for status in ("active", "left")
    )

    assert active.exact - left.exact == 14_250_000


def test_the_best_of_several_sign_in_methods_counts() -> None:
    together = subject_points(MODEL, person(amr=("pwd", "otp", "never-heard-of")), binding="mtls", tick_end=NOW)
    alone = subject_points(MODEL, person(amr=("otp",)), binding="mtls", tick_end=NOW)

    assert together == alone


def test_a_boot_fact_is_void_after_another_boot() -> None:
    told = {**laptop("signed_agent").facts, "boot.secure_boot": FactEnvelope(
        status="observed", value=True, method="signed_agent", received_at=NOW, boot_id="b1"
    )}  # fmt: skip

    same = device_points(MODEL, device(told, boot_id="b1"), tick_end=NOW).exact
    other = device_points(MODEL, device(told, boot_id="b2"), tick_end=NOW).exact

    assert same - other == 5 * 850 * 1000


def test_the_better_of_edr_and_antivirus_counts() -> None:
    edr, av, neither = (
        device_points(MODEL, laptop("attested", changes=changes), tick_end=NOW).exact
        for changes in (
            {"av.realtime": None},
            {"edr.running": False},
            {"edr.running": False, "av.realtime": False},
        )
    )

    assert (edr - neither, av - neither) == (10 * POINT, 7 * POINT)


@pytest.mark.parametrize(
    ("ip", "location"),
    [
        ("203.0.113.255", "headquarters"),
        ("203.0.114.0", "unlisted"),
        ("::ffff:203.0.113.1", "headquarters"),
        ("2001:db8:1:ffff::1", "headquarters"),
        ("2001:db8:2::1", "embassies"),
        ("2001:db8:3::1", "unlisted"),
        ("203.0.113.1%eth0", "unlisted"),
        ("fe80::1%eth0", "unlisted"),
        ("0203.0.113.1", "unlisted"),
        ("", "unlisted"),
        ("headquarters", "unlisted"),
    ],
)
def test_an_address_has_one_location(ip: str, location: str) -> None:
    assert MODEL.locate(ip) == location


def test_working_hours_open_by_the_start_of_a_tick_and_close_by_its_end() -> None:
    monday_7_jst = 1_792_360_800 + 0  # 2026-10-19T07:00:00+09:00

    inside = {
        start: MODEL.in_hours(tick_start=monday_7_jst + start, tick_end=monday_7_jst + start + 5)
        for start in (-5, -1, 0, 15 * HOUR - 6, 15 * HOUR - 5, -2 * DAY + HOUR)
    }

    assert list(inside.values()) == [False, False, True, True, False, False]


def test_unlisted_circumstances_are_worth_nothing() -> None:
    assert context().exact - context(path="carrier-pigeon").exact == 15 * POINT
    assert context().exact - context(behaviour="???").exact == 40 * POINT


@pytest.mark.parametrize(
    ("risks", "points"),
    [
        ([], 0),
        ([("user_risk", "low"), ("user_risk", "medium")], 20),
        ([("user_risk", "medium"), ("device_risk", "medium")], 40),
        ([("user_risk", "high"), ("device_risk", "high")], 60),
        ([("source_reputation", "low")], 2),
        ([("source_reputation", "strange")], 5),
        ([("strange", "low")], 60),
    ],
)
def test_a_penalty_is_the_worst_of_each_family_up_to_the_cap(risks: list[tuple[str, str]], points: int) -> None:
    assert risk_penalty(MODEL, risks) == points


def test_a_penalty_never_takes_more_than_there_is() -> None:
    trust = score(None, ANONYMOUS, "none", penalty=60)

    assert (trust.exact, trust.score, trust.best, trust.after_step_up) == (0, 0, 0, 0)
