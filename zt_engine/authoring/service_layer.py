"""A service to begin with: its part of the catalogue, a layer that demands a role, its tests and its scenarios."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from zt_engine.core.bundle import is_service_id
from zt_engine.core.errors import ConfigError, Problem

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SERVICES: Final = re.compile(r"^services:[ \t]*(?:#.*)?\n", re.MULTILINE)
CODE: Final = "ROLE_REQUIRED"


def service_files(service: str, *, host: str, staff: str) -> Mapping[str, str]:
    """Return the files of a service's layer and of its scenarios, by their places in a pack; ConfigError.

    `staff` is what the pack calls the employment of its own people.
    """
    if not is_service_id(service):
        raise _fault("SERVICE_ID_INVALID", f"`{service}` is no service id", "such as travel_expenses")
    if not _HOST.fullmatch(host):
        raise _fault("NEW_HOST", f"`{host}` is no host name", "such as expenses.example.org")
    words = {"ID": service, "TITLE": service.replace("_", " "), "HOST": host, "STAFF": staff}
    return {
        f"service/{service}/{service}.rego": _filled(REGO, words),
        f"service/{service}/{service}_test.rego": _filled(TEST, words),
        f"service/{service}/data.yaml": _filled(DATA, words),
        f"scenarios/{service}.yaml": _filled(SCENARIOS, words),
    }


def with_service(catalogue: str, service: str, *, host: str, label: str) -> str:
    """Return a catalogue with one more service, whatever else stands in it untouched."""
    found = _SERVICES.search(catalogue)
    if found is None:
        raise _fault("NEW_CATALOGUE", "there is no line `services:`", "write the service into the catalogue by hand")
    words = {"ID": service, "TITLE": service.replace("_", " "), "HOST": host, "LABEL": label}
    return catalogue[: found.end()] + _filled(ENTRY, words) + "\n" + catalogue[found.end() :]


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"@{name}@", value)
    return text


def _fault(code: str, message: str, hint: str) -> ConfigError:
    return ConfigError((Problem(code=code, message=message, hint=hint),))


ENTRY: Final = """\
  @ID@:
    title: {ja: @TITLE@, en: @TITLE@}
    owner: @ID@
    review_at: 2027-04-01
    hosts: [@HOST@]
    channels: [open]
    ceiling: @LABEL@
    label: @LABEL@
    enforces: [no_store]
    routes:
      - {path: "/", methods: [GET, HEAD]}
      - {path: "/entries/{entry}", methods: [GET, PUT]}
"""

DATA: Final = """\
# Roles that may use the service. Who has them is said by the identity provider, or by the directory.
roles: [@ID@.user]
"""

REGO: Final = """\
# METADATA
# title: @TITLE@ / @TITLE@
# description: What this service demands on top of the layers above it; it can relax none of theirs.
# custom:
#   control: ISO/IEC 27001 A.5.18
#   owner: @ID@
package zt.layer.service.@ID@

import data.zt.lib.report

# METADATA
# title: The service's answer / サービスの判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: @ID@
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
result := {
	"allow": count(_unmet) == 0,
	"unmet": report.entries(_unmet, {}),
	"obligations": [],
	"threshold": 0,
}

# METADATA
# title: What is demanded and not proven / 満たされていない要件
# custom:
#   control: ISO/IEC 27001 A.5.15
#   owner: @ID@
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := _required - _passed

# METADATA
# title: Codes a request must prove / 求める要件
# custom:
#   control: ISO/IEC 27001 A.5.15
#   owner: @ID@
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "ROLE_REQUIRED"

# METADATA
# title: A role of this service / このサービスの役割
# custom:
#   control: ISO/IEC 27001 A.5.18
#   owner: @ID@
#   remedy_ja: サービスの担当者に依頼してください。
#   remedy_en: Ask whoever runs the service.
_passed contains "ROLE_REQUIRED" if {
	some role in input.subject.roles
	role in data.zt.layer.service.@ID@.roles
}
"""

TEST: Final = """\
package zt.layer.service.@ID@_test

import data.zt.layer.service.@ID@
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := @ID@.result with input as input_
}

_roles(roles) := object.union(fixtures.read("C1", 100), {"subject": {"roles": roles}})

test_whoever_has_the_role_is_let_through if {
	fixtures.codes(_decide(_roles(["@ID@.user"]))) == set()
}

test_nobody_else_is[note] if {
	some note, roles in {"no role": [], "another role": ["somebody.else"], "roles of the wrong type": null}
	fixtures.codes(_decide(_roles(roles))) == {"ROLE_REQUIRED"}
}

test_an_empty_input_is_denied if {
	fixtures.codes(_decide({})) == {"ROLE_REQUIRED"}
}
"""

SCENARIOS: Final = """\
# Who and what is asked is written out here; what more scenarios share goes into _fixtures.yaml under a name.
scenarios:
  - name: {ja: "役割のない人は @TITLE@ を開けない", en: "without the role nobody opens @TITLE@"}
    subject:
      {type: user, id: hanada, issuer: "https://idp.example", groups: [staff], clearance: 200, amr: [hwk], acr: phr,
       auth_age: 600, employment: @STAFF@}
    device:
      {id: new-1, status: active, ownership: corp, assigned: [hanada], key: mtls, report_age: 120, method: mdm_server,
       facts: {disk.encrypted: true, os.supported: true, vuln.kev_overdue: [], integrity.rooted: false}}
    at: 2026-11-20T10:00:00+09:00
    request: {method: GET, url: "https://@HOST@/entries/1", client_ip: 192.0.2.10, channel: open}
    expect: {effect: deny, reasons: [ROLE_REQUIRED]}
  - name: {ja: "役割のある人は @TITLE@ を開ける", en: "with the role @TITLE@ is opened"}
    subject:
      {type: user, id: hanada, issuer: "https://idp.example", groups: [staff], clearance: 200, amr: [hwk], acr: phr,
       auth_age: 600, employment: @STAFF@, roles: [@ID@.user]}
    device:
      {id: new-1, status: active, ownership: corp, assigned: [hanada], key: mtls, report_age: 120, method: mdm_server,
       facts: {disk.encrypted: true, os.supported: true, vuln.kev_overdue: [], integrity.rooted: false}}
    at: 2026-11-20T10:00:00+09:00
    request: {method: GET, url: "https://@HOST@/entries/1", client_ip: 192.0.2.10, channel: open}
    expect: {effect: allow, reasons: []}
"""
