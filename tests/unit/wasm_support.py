"""Policies for the engine's tests: real sources, compiled once a session by a real OPA."""

from __future__ import annotations

import functools
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.wasm_module import CompiledPolicy


@functools.cache
def build(opa: str, entrypoints: tuple[str, ...], *sources: str) -> bytes:
    """Compile sources for entrypoints with `opa build -t wasm`."""
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for number, source in enumerate(sources):
            path = Path(folder, f"{number}.rego")
            path.write_text(source)
            names.append(str(path))
        bundle = Path(folder, "bundle.tar.gz")
        flags = [part for entrypoint in entrypoints for part in ("-e", entrypoint)]
        done = subprocess.run(
            [opa, "build", "-t", "wasm", "-o", str(bundle), *flags, *names],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        with tarfile.open(fileobj=io.BytesIO(bundle.read_bytes())) as archive:
            member = archive.extractfile("/policy.wasm")
            assert member is not None
            return member.read()


@functools.cache
def compiled(opa: str, entrypoints: tuple[str, ...], *sources: str) -> CompiledPolicy:
    """Compile the module too; engines of one session share it."""
    return WasmEngine.compile(build(opa, entrypoints, *sources))


def document(value: object) -> bytes:
    """Serialise an input as the engine's own serialiser does."""
    return msgspec.json.encode(value)


def request_input(**changes: Mapping[str, object]) -> dict[str, object]:
    """Return a policy input of version 1 with fourteen facts: about 2.3 kB of JSON."""
    facts = {
        name: {"status": "observed", "value": True, "method": "signed_agent", "confidence": 1000}
        for name in (
            *("disk.encrypted", "os.supported", "os.patched", "firewall.enabled", "screen.lock", "boot.secure"),
            *("agent.running", "malware.protected", "key.hardware", "browser.supported", "updates.automatic"),
            *("backup.enabled", "usb.restricted", "account.standard"),
        )
    }
    value: dict[str, object] = {
        "version": 1,
        "request": {
            "method": "GET",
            "host": "portal.example",
            "path": "/cases/123",
            "route": "/cases/{case_id}",
            "write": False,
            "params": {"case_id": "123"},
            "client_ip": "2001:db8::1",
            "channel": "open",
            "hook": "nginx",
            "purpose": None,
        },
        "subject": {
            "type": "user",
            "id": "tanaka",
            "issuer": "https://idp.example",
            "groups": ["ict-division", "case-officers"],
            "roles": ["officer"],
            "org": "mofa",
            "nationality": "JP",
            "amr": ["pwd", "hwk"],
            "acr": "urn:zt:acr:2",
            "auth_age": 120,
            "compartments": ["case:123"],
            "clearance": 200,
            "employment": "regular",
            "valid_until": None,
            "binding": "mtls",
            "delegate": None,
        },
        "device": {
            "id": "d-0001",
            "status": "active",
            "ownership": "corp",
            "assigned": True,
            "key_protection": "hardware",
            "report_age": 60,
            "facts": facts,
        },
        "resource": {
            "service": "portal",
            "service_ceiling": 200,
            "state": None,
            "attributes": {},
            "label": {
                "code": "C2",
                "rank": 200,
                "integrity": 1,
                "caveats": ["no_copy"],
                "compartments": ["case:123"],
                "rel_to": [],
                "audience": [],
                "purpose": [],
            },
        },
        "trust": {
            "score": 92,
            "best": 98,
            "after_step_up": 95,
            "pillars": {"device": 96, "subject": 92, "context": 97},
        },
        "grants": [],
        "situation": {"threat_level": 0, "overlays": [], "continuity": False},
        "enforces": ["no_store", "watermark"],
        "tick_start": 1789999995,
        "time": 1790000000,
    }
    return {**value, **changes}


REALISTIC = ("zt/main/portal",)
"""The entrypoint of the policy below: three layers, about forty rules."""

BASELINE = """
package zt.layer.baseline

import data.zt.assurance

threshold := data.zt.thresholds[input.resource.label.code] + level_plus
level_plus := 5 * input.situation.threat_level

good(name) if {
    fact := input.device.facts[name]
    fact.status == "observed"
    fact.value == true
    fact.confidence >= 500
}

required contains "AUTH_REQUIRED"
required contains "SUBJECT_ACTIVE"
required contains "CLEARANCE"
required contains "CHANNEL"
required contains "TRUST_LOW"
required contains "CEILING"
required contains "MFA_REQUIRED" if input.resource.label.rank >= 200
required contains "DEVICE_ACTIVE" if input.resource.label.rank >= 100
required contains "DEVICE_ASSIGNED" if input.resource.label.rank >= 200
required contains "BINDING" if input.resource.label.rank >= 200
required contains "DISK_ENCRYPTED" if input.resource.label.rank >= 200
required contains "OS_SUPPORTED" if input.resource.label.rank >= 100
required contains "OS_PATCHED" if input.resource.label.rank >= 200
required contains "MALWARE_PROTECTED" if input.resource.label.rank >= 200
required contains "REPORT_FRESH" if input.resource.label.rank >= 200
required contains sprintf_free(c) if some c in input.resource.label.compartments

sprintf_free(c) := concat(":", ["COMPARTMENT", c])

passed contains "AUTH_REQUIRED" if input.subject.type in {"user", "workload"}
passed contains "SUBJECT_ACTIVE" if input.subject.valid_until == null
passed contains "SUBJECT_ACTIVE" if input.subject.valid_until > input.time
passed contains "CLEARANCE" if input.subject.clearance >= input.resource.label.rank
passed contains "CHANNEL" if input.request.channel in data.zt.channels[input.resource.label.code]
passed contains "TRUST_LOW" if input.trust.score >= threshold
passed contains "CEILING" if input.resource.label.rank <= input.resource.service_ceiling
passed contains "MFA_REQUIRED" if assurance[input.subject.acr] >= 2
passed contains "DEVICE_ACTIVE" if input.device.status == "active"
passed contains "DEVICE_ASSIGNED" if input.device.assigned
passed contains "DEVICE_ASSIGNED" if input.device.ownership == "shared"
passed contains "BINDING" if input.subject.binding in {"mtls", "dpop"}
passed contains "DISK_ENCRYPTED" if good("disk.encrypted")
passed contains "OS_SUPPORTED" if good("os.supported")
passed contains "OS_PATCHED" if good("os.patched")
passed contains "MALWARE_PROTECTED" if good("malware.protected")
passed contains "REPORT_FRESH" if input.device.report_age <= 1200
passed contains sprintf_free(c) if {
    some c in input.resource.label.compartments
    c in input.subject.compartments
}

waived contains code if {
    some grant in input.grants
    grant.kind == "exception"
    grant.not_after >= input.time
    some code in grant.waives
}

unmet := (required - passed) - waived

obligations contains {"id": "no_store"} if input.resource.label.rank >= 200
obligations contains {"id": "watermark"} if "no_copy" in input.resource.label.caveats

result := {
    "allow": count(unmet) == 0,
    "unmet": [{"code": code} | some code in unmet],
    "obligations": [o | some o in obligations],
    "threshold": threshold,
}
"""

MINISTRY = """
package zt.layer.ministry

required contains "EMPLOYMENT"
required contains "NATIONALITY" if input.resource.label.rank >= 300
required contains "PURPOSE" if count(input.resource.label.purpose) > 0
required contains "AUDIENCE" if count(input.resource.label.audience) > 0

passed contains "EMPLOYMENT" if input.subject.employment in {"regular", "fixed_term"}
passed contains "NATIONALITY" if input.subject.nationality == "JP"
passed contains "PURPOSE" if input.request.purpose in input.resource.label.purpose
passed contains "AUDIENCE" if {
    some group in input.resource.label.audience
    group in input.subject.groups
}

unmet := required - passed

result := {
    "allow": count(unmet) == 0,
    "unmet": [{"code": code} | some code in unmet],
    "obligations": [],
    "threshold": 60,
}
"""

SERVICE = """
package zt.layer.service.portal

required contains "CASE_OFFICER" if startswith(input.request.path, "/cases/")
required contains "WRITE_FROM_CORP" if input.request.write

passed contains "CASE_OFFICER" if "case-officers" in input.subject.groups
passed contains "WRITE_FROM_CORP" if input.device.ownership == "corp"

unmet := required - passed

result := {
    "allow": count(unmet) == 0,
    "unmet": [{"code": code} | some code in unmet],
    "obligations": [],
    "threshold": 0,
}
"""

MAIN = """
package zt.main

portal := {
    "baseline": data.zt.layer.baseline.result,
    "ministry": data.zt.layer.ministry.result,
    "service": data.zt.layer.service.portal.result,
}
"""

REALISTIC_SOURCES = (BASELINE, MINISTRY, SERVICE, MAIN)
REALISTIC_DATA = document(
    {
        "zt": {
            "assurance": {"urn:zt:acr:1": 1, "urn:zt:acr:2": 2, "urn:zt:acr:3": 3},
            "thresholds": {"C0": 0, "C1": 40, "C2": 70},
            "channels": {"C0": ["open", "closed"], "C1": ["open", "closed"], "C2": ["open", "closed"]},
        }
    }
)
