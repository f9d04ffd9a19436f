"""What no input may do to the packs: withholding, ageing, mistyping, a stricter label or a higher threat level never
opens anything (invariants 5 and 6). Decided by the compiled packs, on the engine that decides.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.packs_support import POLICIES, document
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.authoring.build import build
from zt_engine.authoring.pack import read_pack
from zt_engine.bootstrap.packs import compiled_bundle
from zt_engine.core.bundle import open_bundle
from zt_engine.core.decision import meet, read_layers

FACTS: dict[str, Any] = {
    "device.key_protection": "attested_hw",
    "disk.encrypted": True,
    "os.supported": True,
    "vuln.kev_open": [],
    "vuln.kev_overdue": [],
    "edr.running": True,
    "av.realtime": True,
    "mdm.enrolled": True,
    "boot.secure_boot": True,
    "boot.measured": True,
    "user.is_admin": False,
    "integrity.rooted": False,
}
WAIVABLE = ("REPORT_STALE", "REPORT_INCOMPLETE", "TRUST_LOW", "BYOD_CEILING")
METHODS = ("attested", "mdm_server", "signed_agent", "self_report", "declared")

JUNK = st.sampled_from([None, True, False, "", "junk", -1, [], {}])

# Members for which null or an empty list is a statement of its own (no end date, nobody acts, nothing restricted).
MEANINGFUL_WHEN_EMPTY = {
    "valid_until", "delegate", "caveats", "compartments", "rel_to", "audience", "purpose", "grants", "write", "export",
    "params", "overlays", "continuity", "enforces",
}  # fmt: skip


def fact(value: Any, method: str = "attested") -> dict[str, Any]:
    return {"status": "observed", "value": value, "method": method, "confidence": 1000}


def healthy(code: str, rank: int) -> dict[str, Any]:
    """A request that everything speaks for, whatever the label."""
    return {
        "version": 1,
        "request": {
            "method": "GET", "host": "h.example", "path": "/x", "route": "/x", "write": False, "params": {},
            "client_ip": "203.0.113.7", "channel": "closed", "hook": "nginx", "purpose": None,
        },
        "subject": {
            "type": "user", "id": "tanaka", "issuer": "https://idp.example", "groups": ["staff", "list"],
            "roles": ["continuity"], "org": "o", "nationality": "JPN", "amr": ["hwk"], "acr": "phr", "auth_age": 60,
            "compartments": [], "clearance": 900, "employment": "regular", "valid_until": None, "binding": "mtls",
            "delegate": None,
        },
        "device": {
            "id": "vault-terminal-1", "status": "active", "ownership": "corp", "assigned": True,
            "key_protection": "attested_hw", "report_age": 60,
            "facts": {name: fact(value) for name, value in FACTS.items()},
        },
        "resource": {
            "service": "documents", "service_ceiling": 900, "state": None,
            "attributes": {"named_list": "list", "export": False, "on_premises": True},
            "label": {
                "code": code, "rank": rank, "integrity": 1, "caveats": [], "compartments": [], "rel_to": [],
                "audience": [], "purpose": [],
            },
        },
        "trust": {
            "score": 100, "best": 100, "after_step_up": 100, "pillars": {"device": 100, "subject": 100, "context": 100},
        },
        "grants": [],
        "situation": {"threat_level": 0, "overlays": [], "continuity": False},
        "enforces": [],
        "tick_start": 1_789_999_995,
        "time": 1_790_000_000,
    }  # fmt: skip


class Policy:
    """A compiled pack, asked for the meet of its baseline and organisation layers."""

    def __init__(self, raw: bytes) -> None:
        bundle = open_bundle(raw, keys={}, require_signature=False)
        self.engine = WasmEngine(bundle.wasm, bundle.data, revision="r")
        self.layers = bundle.layers["unlisted"]
        self.known = {code: reason.kind for code, reason in bundle.reasons.items()}

    def decide(self, document_: dict[str, Any]) -> tuple[bool, set[str], set[str], int]:
        """Whether it is allowed, what is unmet, the obligations and the threshold; raises on any illegal shape."""
        raw = self.engine.evaluate("zt/main/unlisted", msgspec.json.encode(document_))
        verdict = meet(read_layers(raw), required=self.layers, known=self.known)
        codes = {item.code for item in verdict.unmet}
        return verdict.allow, codes, {duty.id for duty in verdict.obligations}, verdict.threshold


@pytest.fixture(scope="module")
def jp_gov(opa: str) -> Iterator[Policy]:
    policy = Policy(build(read_pack(POLICIES / "jp-gov"), OpaBinary(Path(opa))))
    yield policy
    policy.engine.close()


@pytest.fixture(scope="module")
def corp() -> Iterator[Policy]:
    policy = Policy(compiled_bundle("corp"))
    yield policy
    policy.engine.close()


LABELS = [(code, row["rank"]) for code, row in document("jp-gov", "baseline/data.yaml")["labels"].items()]

CORP = [(code, row["rank"]) for code, row in document("corp", "baseline/data.yaml")["labels"].items()]


@st.composite
def requests(draw: st.DrawFn, labels: Sequence[tuple[str, int]] = LABELS) -> dict[str, Any]:
    """Requests around the healthy one, a few members changed to other legal values."""
    body = healthy(*draw(st.sampled_from(labels)))
    body["request"]["write"] = draw(st.booleans())
    body["request"]["channel"] = draw(st.sampled_from(["closed", "open", "lgwan"]))
    body["subject"]["auth_age"] = draw(st.sampled_from([60, 3600, 3601, 50_000]))
    body["subject"]["amr"] = draw(st.sampled_from([["hwk"], ["pwd", "otp"], ["pwd"]]))
    body["subject"]["acr"] = ""
    body["subject"]["roles"] = draw(st.sampled_from([[], ["continuity"]]))
    body["device"]["ownership"] = draw(st.sampled_from(["corp", "corp", "byod", "shared", "unknown"]))
    body["device"]["report_age"] = draw(st.sampled_from([60, 450, 900, 1800, 3600, 43_200, 43_201, 86_400, 90_000]))
    body["resource"]["label"]["integrity"] = draw(st.sampled_from([1, 2]))
    body["resource"]["label"]["caveats"] = draw(st.sampled_from([[], ["no_copy"], ["nofor"]]))
    body["trust"]["score"] = draw(st.sampled_from([100, 97, 90, 85, 71, 60, 20]))
    body["situation"]["threat_level"] = draw(st.integers(0, 4))
    for name in draw(st.lists(st.sampled_from(sorted(FACTS)), max_size=3)):
        body["device"]["facts"][name] = fact(FACTS[name], draw(st.sampled_from(METHODS)))
    if draw(st.booleans()):
        body["grants"] = [
            {
                "id": "g", "kind": draw(st.sampled_from(["exception", "break_glass", "continuity"])), "ceiling": 200,
                "waives": draw(st.lists(st.sampled_from(WAIVABLE))),
                "not_after": 1_790_003_600, "action": "", "object": "", "approvers": ["a", "b"],
            }
        ]  # fmt: skip
    return body


@pytest.mark.parametrize("label", LABELS[:-1], ids=[code for code, _ in LABELS[:-1]])
def test_everything_good_opens_every_label_but_the_forbidden_one(jp_gov: Policy, label: tuple[str, int]) -> None:
    assert jp_gov.decide(healthy(*label))[:2] == (True, set())


def test_the_forbidden_label_never_opens(jp_gov: Policy) -> None:
    assert jp_gov.decide(healthy(*LABELS[-1]))[0] is False


@given(data=st.data())
def test_a_higher_threat_level_never_opens_nor_drops_anything(jp_gov: Policy, data: st.DataObject) -> None:
    body = data.draw(requests())
    calm = jp_gov.decide(body)
    tenser = copy.deepcopy(body)
    tenser["situation"]["threat_level"] = data.draw(st.integers(body["situation"]["threat_level"], 4))

    tense = jp_gov.decide(tenser)

    assert calm[0] or not tense[0]
    assert calm[1] <= tense[1]
    assert calm[2] <= tense[2]
    assert calm[3] <= tense[3]


STRICTER = {
    "caveats": ["nofor", "staff_only", "never-heard-of"],
    "compartments": ["case:1", "case:2"],
    "rel_to": ["JPN", "USA"],
    "audience": ["group:staff", "org:elsewhere"],
    "purpose": ["statistics", "audit"],
}
"""What a label may demand beside its rank. Nothing of it demands nothing."""


@given(data=st.data())
def test_p5_a_stricter_label_never_opens_what_a_looser_one_closes(jp_gov: Policy, data: st.DataObject) -> None:
    body = data.draw(requests())
    body["subject"]["compartments"] = data.draw(st.sampled_from([[], ["case:1"]]))
    body["request"]["purpose"] = data.draw(st.sampled_from([None, "audit"]))
    looser = jp_gov.decide(body)
    rank = body["resource"]["label"]["rank"]
    code, higher = data.draw(st.sampled_from([label for label in LABELS if label[1] >= rank]))
    stricter = copy.deepcopy(body)
    label = stricter["resource"]["label"]
    label |= {"code": code, "rank": higher, "integrity": 2}
    for name in data.draw(st.lists(st.sampled_from(sorted(STRICTER)))):
        label[name] = label[name] or [data.draw(st.sampled_from(STRICTER[name]))]

    strict = jp_gov.decide(stricter)

    assert looser[0] or not strict[0]


@given(data=st.data())
def test_p7_a_role_a_group_or_a_compartment_more_never_closes_what_may_be_read(
    jp_gov: Policy, data: st.DataObject
) -> None:
    body = data.draw(requests())
    body["request"]["write"] = False
    body["resource"]["label"]["compartments"] = data.draw(st.sampled_from([[], ["case:1"]]))
    body["resource"]["label"]["audience"] = data.draw(st.sampled_from([[], ["group:staff"], ["group:list"]]))
    body["subject"]["groups"] = data.draw(st.sampled_from([[], ["staff"]]))
    before = jp_gov.decide(body)
    more = copy.deepcopy(body)
    held, names = data.draw(st.sampled_from([
        ("roles", ["continuity", "export", "anything"]),
        ("groups", ["staff", "list", "anything"]),
        ("compartments", ["case:1", "case:2"]),
    ]))  # fmt: skip
    more["subject"][held] = sorted({*body["subject"][held], data.draw(st.sampled_from(names))})

    after = jp_gov.decide(more)

    assert after[0] or not before[0]
    assert after[1] <= before[1]
    assert after[3] <= before[3]


@settings(max_examples=40)
@given(data=st.data())
def test_integrity_changes_nothing_for_whoever_only_reads(jp_gov: Policy, data: st.DataObject) -> None:
    body = data.draw(requests())
    body["request"]["write"] = False
    body["resource"]["label"]["integrity"] = 1
    plain = jp_gov.decide(body)

    body["resource"]["label"]["integrity"] = 2

    assert jp_gov.decide(body) == plain


def weakened(draw: Callable[[Any], Any], body: dict[str, Any]) -> dict[str, Any]:
    """The same request with one fact less, unknown, failed or old, or an older report."""
    worse = copy.deepcopy(body)
    name = draw(st.sampled_from(sorted(FACTS)))
    match draw(st.sampled_from(["remove", "unknown", "age", "error", "report"])):
        case "remove":
            del worse["device"]["facts"][name]
        case "unknown":
            worse["device"]["facts"][name] |= {"status": "not_collected", "value": None, "confidence": 0}
        case "error":
            worse["device"]["facts"][name] |= {"status": "error", "value": None, "confidence": 0}
        case "age":
            worse["device"]["facts"][name]["confidence"] = 0
        case "report":
            worse["device"]["report_age"] += draw(st.integers(1, 200_000))
    return worse


@given(data=st.data())
def test_withholding_or_ageing_a_fact_never_opens(jp_gov: Policy, data: st.DataObject) -> None:
    body = data.draw(requests())
    before = jp_gov.decide(body)

    after = jp_gov.decide(weakened(data.draw, body))

    assert before[0] or not after[0]
    assert before[2] <= after[2]


@settings(max_examples=60)
@given(data=st.data())
def test_nothing_that_makes_a_request_worse_opens_anything_of_the_company_s_pack(
    corp: Policy, data: st.DataObject
) -> None:
    body = data.draw(requests(CORP))
    body["subject"]["employment"] = "employee"
    before = corp.decide(body)
    worse = weakened(data.draw, body)
    worse["situation"]["threat_level"] = data.draw(st.integers(body["situation"]["threat_level"], 4))
    rank = body["resource"]["label"]["rank"]
    code, higher = data.draw(st.sampled_from([label for label in CORP if label[1] >= rank]))
    worse["resource"]["label"] |= {"code": code, "rank": higher, "integrity": 2}

    after = corp.decide(worse)

    assert before[0] or not after[0]
    assert before[3] <= after[3]


@pytest.mark.parametrize("label", CORP, ids=[code for code, _ in CORP])
def test_everything_good_opens_every_label_of_the_company_s_pack(corp: Policy, label: tuple[str, int]) -> None:
    body = healthy(*label)
    body["subject"]["employment"] = "employee"

    assert corp.decide(body)[:2] == (True, set())


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value and not MEANINGFUL_WHEN_EMPTY.intersection(path):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif path and not MEANINGFUL_WHEN_EMPTY.intersection(path):
        yield path


@given(data=st.data())
def test_a_mistyped_or_missing_member_never_opens(jp_gov: Policy, data: st.DataObject) -> None:
    body = data.draw(requests())
    before = jp_gov.decide(body)
    broken = copy.deepcopy(body)
    *path, last = data.draw(st.sampled_from(sorted(_leaves(body))))
    place = broken
    for key in path:
        place = place[key]
    if data.draw(st.booleans()):
        del place[last]
    else:
        place[last] = data.draw(JUNK)

    after = jp_gov.decide(broken)

    assert before[0] or not after[0], (path, last)


@given(data=st.data())
def test_a_grant_never_opens_a_secret(jp_gov: Policy, data: st.DataObject) -> None:
    body = data.draw(requests())
    if body["resource"]["label"]["rank"] <= 200:
        body["resource"]["label"] |= {"code": "C3-S", "rank": 300}
    without = copy.deepcopy(body) | {"grants": []}
    for grant in body["grants"]:
        grant |= {"ceiling": 900, "waives": sorted(jp_gov.known)}

    assert jp_gov.decide(body)[:2] == jp_gov.decide(without)[:2]
