"""The policy input, version 1: what Rego sees. The JSON Schema policies are checked against is made from these types.

The document is assembled from fragments, each encoded when its own source changes: subject and device once per tick,
resource and target once per catalogue, the situation once per change. Joining bytes costs a fiftieth of encoding all.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

INPUT_VERSION = 1

NEVER = 4_000_000_000
"""The age, in seconds, of what never happened. Not null: in Rego null is smaller than every number, so a rule that
demands a small age would be satisfied by no report at all."""


class RequestInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    method: str
    host: str
    path: str
    route: str
    write: bool
    params: dict[str, str]
    client_ip: str
    channel: str
    hook: str
    purpose: str | None


class DelegateInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    id: str
    clearance: int
    compartments: list[str]


class SubjectInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["user", "workload", "anonymous"]
    id: str
    issuer: str
    groups: list[str]
    roles: list[str]
    org: str
    nationality: str
    amr: list[str]
    acr: str
    auth_age: int
    compartments: list[str]
    clearance: int
    employment: str
    valid_until: int | None
    binding: Literal["mtls", "dpop", "session", "none"]
    delegate: DelegateInput | None


class FactInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    status: Literal["observed", "not_collected", "not_supported", "error"]
    value: Any
    method: Literal["attested", "mdm_server", "signed_agent", "self_report", "declared"]
    confidence: int


class DeviceInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    status: Literal["unknown", "invited", "enrolled", "active", "quarantined", "lost", "revoked", "retired"]
    ownership: Literal["corp", "byod", "shared"]
    assigned: bool
    key_protection: str
    report_age: int
    facts: dict[str, FactInput]


class LabelInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    code: str
    rank: int
    integrity: int
    caveats: list[str]
    compartments: list[str]
    rel_to: list[str]
    audience: list[str]
    purpose: list[str]


class ResourceInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    service: str
    service_ceiling: int
    state: str | None
    attributes: dict[str, Any]
    label: LabelInput


class PillarsInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    device: int
    subject: int
    context: int


class TrustInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    score: int
    best: int
    after_step_up: int
    pillars: PillarsInput


class GrantInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    kind: Literal["exception", "break_glass", "continuity", "approval"]
    ceiling: int
    waives: list[str]
    not_after: int
    action: str = ""
    object: str = ""
    approvers: list[str] = []


class OverlayInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    effect: str
    scope: str


class SituationInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    threat_level: int
    overlays: list[OverlayInput]
    continuity: bool


class PolicyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole document; every key is always present."""

    version: Literal[1]
    request: RequestInput
    subject: SubjectInput
    device: DeviceInput
    resource: ResourceInput
    trust: TrustInput
    grants: list[GrantInput]
    situation: SituationInput
    enforces: list[str]
    tick_start: int
    time: int


_encode = msgspec.json.Encoder(order="sorted").encode


_EMPTY = hashlib.sha256()


def fragment(value: object) -> bytes:
    """Encode one part of the document; keys are sorted, so that equal parts have equal bytes."""
    return _encode(value)


def trust_fragment(score: int, best: int, after_step_up: int, device: int, subject: int, context: int) -> bytes:
    """Encode the trust part: six integers, many times a second."""
    return b'{"after_step_up":%d,"best":%d,"pillars":{"context":%d,"device":%d,"subject":%d},"score":%d}' % (
        after_step_up, best, context, device, subject, score,
    )  # fmt: skip


def assemble(
    *,
    request: bytes,
    subject: bytes,
    device: bytes,
    resource: bytes,
    trust: bytes,
    grants: bytes,
    situation: bytes,
    enforces: bytes,
    tick_start: int,
    tick_end: int,
) -> bytes:
    """Join the fragments into the canonical document: sorted keys, no blanks. Equal inputs have equal bytes."""
    return (
        b'{"device":%b,"enforces":%b,"grants":%b,"request":%b,"resource":%b,"situation":%b,"subject":%b,"tick_start":%d,'
        b'"time":%d,"trust":%b,"version":1}'
        % (device, enforces, grants, request, resource, situation, subject, tick_start, tick_end, trust)
    )


def digest(document: bytes) -> str:
    """Name a document: the decision log stores each one once under this name."""
    found = _EMPTY.copy()  # a new one would look the algorithm up again
    found.update(document)
    return found.hexdigest()


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the document, without references, as `opa check --schema` reads it best."""
    _, definitions = msgspec.json.schema_components([PolicyInput], ref_template="{name}")
    body = _inline(definitions["PolicyInput"], definitions)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **body,
        "title": f"policy input, version {INPUT_VERSION}",
    }


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _inline(definitions[node["$ref"]], definitions)
        return {
            key: _inline(value, definitions)
            for key, value in node.items()
            if key != "description" or "type" not in node
        }
    if isinstance(node, list):
        return [_inline(value, definitions) for value in node]
    return node
