"""The tables of the packs fit each other: labels, codes, caveats, services, obligations, promised thresholds."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.unit.packs_support import PACKS, POLICIES, data_files, document, rego_files, services
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.authoring.scenarios import read_scenarios

CODE = re.compile(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"')
CODE_IN_DATA = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
KINDS = {"auth", "report", "device", "contact", "none"}

# A label the catalogue cannot contain and a threat level that cannot be declared: no request can show these.
OUT_OF_REACH = {"LABEL_UNKNOWN", "SITUATION_UNKNOWN", "SERVICE_CEILING_EXCEEDED"}


def baseline(pack: str) -> Any:
    return document(pack, "baseline/data.yaml")


def without_comments(path: Path) -> str:
    return "\n".join(line.split("#")[0] for line in path.read_text(encoding="utf-8").splitlines())


def used_codes(pack: str) -> set[str]:
    rego = {code for path in rego_files(pack, tests=False) for code in CODE.findall(without_comments(path))}
    return rego.union(*(CODE_IN_DATA.findall(without_comments(path)) for path in data_files(pack)))


@pytest.mark.parametrize("pack", PACKS)
def test_every_code_has_a_reason_and_every_reason_is_used(pack: str) -> None:
    assert used_codes(pack) == set(document(pack, "reasons.yaml"))


@pytest.mark.parametrize("pack", PACKS)
def test_every_reason_speaks_both_languages_politely_and_says_what_to_do(pack: str) -> None:
    for code, reason in document(pack, "reasons.yaml").items():
        assert set(reason) == {"kind", "ja", "en", "hint_ja", "hint_en", "command"}, code
        assert reason["kind"] in KINDS, code
        for key in ("ja", "hint_ja"):
            assert re.search(r"(です|ます|ません|ください|ました)。$", reason[key]), (code, reason[key])
        for key in ("en", "hint_en"):
            assert re.fullmatch(r"[A-Z][ -~]*\.", reason[key]), (code, reason[key])


@pytest.mark.parametrize("pack", PACKS)
def test_no_reason_tells_an_attacker_a_number(pack: str) -> None:
    for code, reason in document(pack, "reasons.yaml").items():
        assert not re.search(r"[0-9]", reason["en"] + reason["hint_en"]), code


@pytest.mark.parametrize("pack", PACKS)
def test_the_baseline_knows_exactly_the_labels_and_caveats_of_the_catalogue(pack: str) -> None:
    catalogue = document(pack, "catalogue.yaml")

    labels = {code: row["rank"] for code, row in baseline(pack)["labels"].items()}

    assert labels == {code: level["rank"] for code, level in catalogue["labels"].items()}
    assert set(baseline(pack)["caveats"]) == set(catalogue["caveats"])


def test_thresholds_of_jp_gov_are_the_promised_ones() -> None:
    rows = baseline("jp-gov")["labels"]

    thresholds = {code: [level["threshold"] for level in row["levels"]] for code, row in rows.items()}

    assert thresholds == {
        "C0": [0, 0, 0, 0, 0],
        "C1": [10, 15, 20, 25, 30],
        "C2": [60, 65, 70, 75, 80],
        "C3-S": [85, 90, 95, 100, 100],
        "C3-TS": [95, 100, 100, 100, 100],
        "CX": [1000, 1000, 1000, 1000, 1000],
    }


def test_report_ages_of_jp_gov_are_halved_from_level_one() -> None:
    rows = baseline("jp-gov")["labels"]

    ages = {
        code: [rows[code]["levels"][level]["report_age"] for level in (0, 1, 4)] for code in ("C2", "C3-S", "C3-TS")
    }

    assert ages == {"C2": [86400, 43200, 43200], "C3-S": [3600, 1800, 1800], "C3-TS": [900, 450, 450]}


STATUS = {"DEVICE_LOST", "DEVICE_REVOKED", "DEVICE_QUARANTINED", "DEVICE_RETIRED"}
GATES = {
    # label: the gates that it has beside those of the label below it
    "C0": {
        "SERVICE_CEILING_EXCEEDED", "DELEGATE_CEILING", "COMPARTMENT_MISSING", "AUDIENCE_RESTRICTED", "NOT_RELEASABLE",
        "PURPOSE_REQUIRED", "CAVEAT_NOT_MET",
    },
    "C1": {"AUTH_REQUIRED", "SUBJECT_EXPIRED", "CLEARANCE_TOO_LOW", *STATUS},
    "C2": {
        "MFA_REQUIRED", "DEVICE_NOT_ENROLLED", "DEVICE_NOT_ASSIGNED", "DISK_NOT_ENCRYPTED", "OS_UNSUPPORTED",
        "KEV_OVERDUE", "INTEGRITY_BROKEN", "PROTECTION_OFF", "REPORT_STALE", "BYOD_CEILING",
    },
    "C3-S": {
        "CHANNEL_CLOSED_REQUIRED", "PHISHING_RESISTANT_REQUIRED", "REAUTH_REQUIRED", "HARDWARE_KEY_REQUIRED",
        "ENCRYPTION_UNATTESTED", "SECURE_BOOT_UNPROVEN", "KEV_OPEN", "ADMIN_SESSION",
    },
    "C3-TS": {"BOOT_UNATTESTED", "NAMED_LIST_REQUIRED", "ROOM_NOT_APPROVED"},
}  # fmt: skip


def test_gates_of_jp_gov_are_the_promised_ones_and_grow_with_the_label() -> None:
    rows = baseline("jp-gov")["labels"]
    known: set[str] = set()

    for code, gates in GATES.items():
        known |= gates
        assert set(rows[code]["reads"]) == known, code
    assert rows["CX"]["reads"] == ["LABEL_FORBIDDEN"]


def test_obligations_of_jp_gov_are_the_promised_ones() -> None:
    rows = baseline("jp-gov")["labels"]
    secret = {"no_store", "no_download", "watermark", "notify_owner"}

    assert {code: (set(row["obligations"]), set(row["unmanaged"])) for code, row in rows.items()} == {
        "C0": (set(), set()),
        "C1": (set(), set()),
        "C2": ({"no_store"}, {"no_download", "watermark"}),
        "C3-S": (secret, set()),
        "C3-TS": (secret, set()),
        "CX": ({"notify_owner"}, set()),
    }
    assert rows["C3-TS"]["export"] == ["dual_control"]


def test_each_threat_level_of_jp_gov_adds_what_it_promises_to_c2() -> None:
    levels = baseline("jp-gov")["labels"]["C2"]["levels"]

    assert [level["byod"] for level in levels] == [True, True, False, False, False]
    assert ["PHISHING_RESISTANT_REQUIRED" in level["writes"] for level in levels] == [False, False, True, True, True]
    assert ["no_download" in level["obligations"] for level in levels] == [False, False, False, True, True]
    assert ["CONTINUITY_ROLE_REQUIRED" in level["reads"] for level in levels] == [False, False, False, False, True]


@pytest.mark.parametrize("pack", PACKS)
def test_every_label_has_a_column_for_every_threat_level_and_none_loosens(pack: str) -> None:
    for row in baseline(pack)["labels"].values():
        assert len(row["levels"]) == 5
        for calm, tense in pairwise(row["levels"]):
            assert calm["threshold"] <= tense["threshold"]
            assert set(calm["writes"]) <= set(tense["writes"])
            assert calm["byod"] or not tense["byod"]


@pytest.mark.parametrize("pack", PACKS)
def test_a_self_report_never_reaches_the_first_sensitive_threshold(pack: str) -> None:
    model = load_trust((POLICIES / pack / "trust.yaml").read_text(encoding="utf-8"), where="trust.yaml")

    sensitive = min(row["levels"][0]["threshold"] for row in baseline(pack)["labels"].values() if row["rank"] == 200)

    assert model.ladder["self_report"] <= sensitive


@pytest.mark.parametrize("pack", PACKS)
def test_the_levels_a_baseline_asks_for_exist_in_the_trust_file(pack: str) -> None:
    assurance = document(pack, "trust.yaml")["assurance"]

    asked = {ask["acr"] for ask in baseline(pack)["asks"].values() if "acr" in ask}

    assert asked <= set(assurance)
    assert {baseline(pack)["assurance"]["mfa"], baseline(pack)["assurance"]["phishing_resistant"]} <= set(
        assurance.values()
    )


@pytest.mark.parametrize("pack", PACKS)
def test_every_service_that_a_register_or_a_folder_names_is_in_the_catalogue(pack: str) -> None:
    layer = "ministry" if pack == "jp-gov" else "organisation"
    data = document(pack, f"{layer}/data.yaml")
    registers = [data[name] for name in ("robots", "delegates", "programs", "assistants") if name in data]

    named = {service for register in registers for row in register.values() for service in row["services"]}
    folders = {path.name for path in (POLICIES / pack / "service").iterdir()}

    assert named | folders <= services(pack)


def _obligations(value: Any, key: str = "") -> set[str]:
    if isinstance(value, dict):
        return set().union(*(_obligations(item, name) for name, item in value.items()))
    if isinstance(value, list):
        here = {item for item in value if isinstance(item, str)} if key in ("obligations", "unmanaged") else set()
        return here.union(*(_obligations(item, key) for item in value if not isinstance(item, str)))
    return set()


@pytest.mark.parametrize("pack", PACKS)
def test_a_service_that_carries_sensitive_data_can_enforce_what_it_will_be_asked(pack: str) -> None:
    catalogue = load_catalogue((POLICIES / pack / "catalogue.yaml").read_text(encoding="utf-8"), where="catalogue.yaml")
    rows = baseline(pack)["labels"]

    for rule in catalogue.rules:
        row = rows[rule.label.code]
        asked = (set(row["obligations"]) | set(row["unmanaged"])) - {"notify_owner", "read_only"}
        assert asked <= set(rule.enforces) or row["rank"] >= 900, (rule.where, asked)


def scenario_reasons(pack: str) -> set[str]:
    found: set[str] = set()
    for scenario in read_scenarios(POLICIES / pack / "scenarios"):
        reasons = scenario.expect.get("reasons", [])
        assert isinstance(reasons, list)
        found.update(map(str, reasons))
    return found


@pytest.mark.parametrize(("pack", "least"), [("jp-gov", 60), ("corp", 20)])
def test_scenarios_are_many_and_each_has_its_own_name(pack: str, least: int) -> None:
    scenarios = read_scenarios(POLICIES / pack / "scenarios")

    assert len(scenarios) >= least
    assert (
        len({scenario.en for scenario in scenarios}) == len({scenario.ja for scenario in scenarios}) == len(scenarios)
    )


@pytest.mark.parametrize("pack", PACKS)
def test_every_service_has_scenarios(pack: str) -> None:
    hosts = {
        host: service for service, row in document(pack, "catalogue.yaml")["services"].items() for host in row["hosts"]
    }

    urls = [str(scenario.question.request["url"]) for scenario in read_scenarios(POLICIES / pack / "scenarios")]

    assert {hosts.get(url.split("/")[2]) for url in urls} >= services(pack)


def test_every_code_of_jp_gov_is_shown_by_a_scenario() -> None:
    assert set(document("jp-gov", "reasons.yaml")) - scenario_reasons("jp-gov") - OUT_OF_REACH == set()
