"""The document that Rego sees: the schema is the types, equal inputs are equal bytes, and everything made is valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.device import DeviceKey
from device_inventory.facts import FactEnvelope
from tests.bundles import TINY
from tests.peers import ROOT
from tests.world import HEALTHY, NOW, device, situation
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.authoring.input_schema import schema_text
from zt_engine.bootstrap.activation import nobody
from zt_engine.core.catalogue import Catalogue
from zt_engine.core.decision_cache import projection
from zt_engine.core.identity import ANONYMOUS, Delegate, Subject
from zt_engine.core.policy_input import NEVER, PolicyInput, assemble, digest, fragment, schema, trust_fragment
from zt_engine.core.request import AccessRequest, RequestTarget
from zt_engine.core.situation import Applied, AppliedGrant, AppliedOverlay
from zt_engine.sidecar.moments import Moments
from zt_engine.sidecar.outcomes import situation_fragment
from zt_engine.sidecar.principals import Principal
from zt_engine.sidecar.targets import Places

VALIDATOR = jsonschema.Draft7Validator(schema())
CATALOGUE: Catalogue = load_catalogue((TINY / "catalogue.yaml").read_bytes(), where="catalogue.yaml")
MODEL = load_trust((TINY / "trust.yaml").read_text(), where="trust.yaml")


def valid(document: bytes) -> dict[str, Any]:
    """The document, after it passed the schema and the types, both strictly."""
    parsed = json.loads(document)
    VALIDATOR.validate(parsed)
    msgspec.json.decode(document, type=PolicyInput)
    return parsed


# -- the schema -------------------------------------------------------------------------------------------------------


def test_the_committed_schema_is_the_one_the_types_make() -> None:
    committed = (ROOT / "policies/schemas/input.json").read_text(encoding="utf-8")

    assert committed == schema_text(), "run: python -m zt_engine.authoring.input_schema policies/schemas/input.json"


def test_the_module_writes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "input.json"
    monkeypatch.setattr("sys.argv", ["input_schema", str(target)])
    source = (ROOT / "zt_engine/authoring/input_schema.py").read_text()
    exec(compile(source, "input_schema.py", "exec"), {"__name__": "__main__"})

    assert target.read_text(encoding="utf-8") == schema_text()


def test_the_schema_is_itself_valid_and_uses_no_references() -> None:
    jsonschema.Draft7Validator.check_schema(schema())

    assert "$ref" not in schema_text()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("extra",), 1),
        (("request", "method"), None),
        (("subject", "auth_age"), None),
        (("subject", "type"), "admin"),
        (("subject", "binding"), "cookie"),
        (("device", "ownership"), "unknown"),
        (("device", "report_age"), None),
        (("device", "nonsense"), True),
        (("resource", "label", "rank"), "200"),
        (("trust", "score"), 77.5),
        (("time",), "now"),
    ],
)
def test_the_schema_refuses_what_the_types_would_not_make(path: tuple[str, ...], value: object) -> None:
    document = json.loads(nobody())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


@pytest.mark.parametrize("part", ["request", "subject", "device", "resource", "trust", "situation", "time"])
def test_every_part_is_required(part: str) -> None:
    document = json.loads(nobody())
    del document[part]

    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(document)


# -- the document -----------------------------------------------------------------------------------------------------


def canonical(document: bytes) -> bytes:
    return json.dumps(json.loads(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_smallest_document_is_valid_and_canonical() -> None:
    valid(nobody())

    assert nobody() == canonical(nobody())


# What `str.isprintable` says yes to, drawn as such: of any twelve characters one is not, most of the time.
PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=12)
TEXTS = st.lists(PRINTABLE, max_size=3).map(tuple)
SUBJECTS = st.just(ANONYMOUS) | st.builds(
    Subject,
    type=st.sampled_from(["user", "workload"]),
    id=PRINTABLE,
    issuer=PRINTABLE,
    groups=TEXTS,
    roles=TEXTS,
    org=PRINTABLE,
    nationality=PRINTABLE,
    amr=TEXTS,
    acr=PRINTABLE,
    auth_time=st.none() | st.integers(NOW - 10**6, NOW + 1000),
    compartments=TEXTS,
    clearance=st.integers(0, 1000),
    employment=PRINTABLE,
    valid_until=st.none() | st.integers(0, 2**40),
    delegate=st.none()
    | st.builds(Delegate, type=st.just("workload"), id=PRINTABLE, clearance=st.integers(0, 1000), compartments=TEXTS),
)
ANY_VALUE = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | PRINTABLE | TEXTS


def envelopes(value: st.SearchStrategy[Any]) -> st.SearchStrategy[FactEnvelope]:
    return st.builds(
        FactEnvelope,
        status=st.sampled_from(["observed", "not_collected", "not_supported", "error"]),
        value=value,
        method=st.sampled_from(["attested", "mdm_server", "signed_agent", "self_report", "declared"]),
        received_at=st.integers(NOW - 10**7, NOW + 1000),
    )


FACTS = st.fixed_dictionaries(
    {},
    optional={
        "of.a-newer%version": envelopes(ANY_VALUE),
        **{name: envelopes(st.just(HEALTHY[name])) for name in ("device.key_protection", "disk.encrypted")},
    },
)
DEVICES = st.none() | st.builds(
    lambda device_id, status, ownership, facts, received: device(
        device_id, status=status, ownership=ownership, facts=facts, report_received_at=received,
        keys=(DeviceKey(x5t="k", not_after=NOW),),
    ),
    PRINTABLE,
    st.sampled_from(["invited", "enrolled", "active", "quarantined", "lost", "revoked", "retired"]),
    st.sampled_from(["corp", "byod", "shared"]),
    FACTS,
    st.integers(NOW - 10**7, NOW + 10**4),
)  # fmt: skip
APPLIED = st.builds(
    Applied,
    threat_level=st.integers(0, 4),
    continuity=st.booleans(),
    overlays=st.lists(st.builds(AppliedOverlay, id=PRINTABLE, effect=PRINTABLE, scope=PRINTABLE), max_size=2).map(
        tuple
    ),
    grants=st.lists(
        st.builds(
            AppliedGrant,
            id=PRINTABLE,
            kind=st.sampled_from(["exception", "break_glass", "continuity", "approval"]),
            ceiling=st.integers(0, 1000),
            waives=TEXTS,
            not_after=st.integers(0, 2**40),
            action=PRINTABLE,
            object=PRINTABLE,
            approvers=TEXTS,
        ),
        max_size=2,
    ).map(tuple),
)
REQUESTS = st.builds(
    lambda purpose, pep: AccessRequest(
        hook="nginx", pep=pep, proof="key", channel="open", enforces=(), method="GET",
        target=RequestTarget("https", "portal.example", 443, "/cases/a%20b", "/cases/a%20b"), client_ip="2001:db8::1",
        request_id="r1", purpose=purpose,
    ),
    st.none() | PRINTABLE,
    PRINTABLE,
)  # fmt: skip


def document(
    request: AccessRequest, who: Subject, record: Any, applied: Applied, *, assigned: bool = True, tick: int = NOW
) -> bytes:
    """A document made by the very functions of the decision path."""
    principal = Principal(1, since=0, until=2**40, situation=situation())
    principal.subject, principal.device, principal.assigned = who, record, assigned
    principal.issuer = who.issuer
    moment = Moments(MODEL, facts=(*HEALTHY, "of.a-newer%version"), tick_seconds=5).of(principal, tick, strongest=None)
    place = Places(CATALOGUE, projection(("",)), b"k" * 32).of(request.target, request.method)
    return assemble(
        request=place.asked(request.channel, request.hook, request.purpose, request.client_ip),
        subject=moment.subject_json,
        device=moment.device_json,
        resource=place.resource_json,
        trust=trust_fragment(1, 2, 3, 4, 5, 6),
        grants=fragment(applied.grants),
        situation=situation_fragment(applied),
        enforces=fragment(["no_store"]),
        tick_start=moment.tick_start,
        tick_end=moment.tick_end,
    )


@given(REQUESTS, SUBJECTS, DEVICES, APPLIED)
def test_every_document_the_path_makes_is_valid_and_canonical(
    request: AccessRequest, who: Subject, record: Any, applied: Applied
) -> None:
    raw = document(request, who, record, applied)
    parsed = valid(raw)

    assert raw == canonical(raw)
    assert raw.isascii() or b"\n" not in raw
    assert parsed["subject"]["id"] == who.id
    assert parsed["device"]["id"] == ("" if record is None else record.device_id)
    assert parsed["request"]["purpose"] == request.purpose
    assert parsed["request"]["params"] == {"case_id": "a b"}


@given(REQUESTS, SUBJECTS, DEVICES, APPLIED)
def test_equal_inputs_have_equal_bytes_and_one_digest(
    request: AccessRequest, who: Subject, record: Any, applied: Applied
) -> None:
    one, other = document(request, who, record, applied), document(request, who, record, applied)

    assert one == other
    assert digest(one) == digest(other)
    assert digest(one) != digest(document(request, who, record, applied, tick=NOW + 1000))


def test_what_never_happened_is_older_than_anything() -> None:
    request = AccessRequest(
        hook="nginx", pep="front", proof="key", channel="open", enforces=(), method="GET",
        target=RequestTarget("https", "portal.example", 443, "/cases/1", "/cases/1"), client_ip="192.0.2.1",
        request_id="r",
    )  # fmt: skip

    parsed = valid(document(request, Subject(type="user"), None, Applied(threat_level=0)))

    assert (parsed["subject"]["auth_age"], parsed["device"]["report_age"]) == (NEVER, NEVER)
    assert parsed["device"]["status"] == "unknown"
