"""A small pack that is right in every respect, to be made wrong in one; and the real `opa` to judge it."""

from __future__ import annotations

import textwrap
from functools import cache
from pathlib import Path

import pytest

from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.adapters.opa_memory import OpaMemory
from zt_engine.bootstrap import workbench
from zt_engine.ports import OpaTool

META = """\
# METADATA
# title: English / 日本語
# scope: document
# custom:
#   control: AC-3
#   remedy_ja: 直してください。
#   remedy_en: Fix it.
"""

LAYER = (
    META
    + """\
result := {
	"allow": count(unmet) == 0,
	"unmet": [{"code": code} | some code in unmet],
	"obligations": [],
	"threshold": 0,
}

"""
    + META
    + """\
unmet contains "%s" if not %s
"""
)


def layer(package: str, code: str, condition: str, more: str = "") -> str:
    return f"package {package}\n\n{more}{LAYER % (code, condition)}"


FILES = {
    "tiny/pack.yaml": 'pack: tiny\nversion: "1"\nlayers: [baseline, ministry]\n',
    "tiny/baseline/baseline.rego": layer(
        "zt.layer.baseline", "MFA_REQUIRED", "checks.strong(input.subject.acr)", "import data.zt.lib.checks\n\n"
    ),
    "tiny/baseline/baseline_test.rego": """\
package zt.layer.baseline_test

import data.zt.layer.baseline
import data.zt.layer.ministry
import data.zt.layer.service.portal

test_strong if baseline.result.allow with input.subject.acr as "aal2"

test_weak if baseline.result.unmet == [{"code": "MFA_REQUIRED"}] with input.subject.acr as "aal1"

test_ministry if ministry.result.allow with input.request.channel as "closed"

test_ministry_open if not ministry.result.allow with input.request.channel as "open"

test_portal if portal.result.allow with input.subject.groups as ["staff"]

test_portal_foreign if not portal.result.allow with input.subject.groups as []
""",
    "tiny/ministry/ministry.rego": layer(
        "zt.layer.ministry", "CHANNEL_CLOSED", "input.request.channel in data.zt.layer.ministry.channels"
    ),
    "tiny/ministry/data.yaml": "channels: [closed]\n",
    "tiny/service/portal/portal.rego": layer("zt.layer.service.portal", "NOT_STAFF", '"staff" in input.subject.groups'),
    "tiny/catalogue.yaml": """\
catalogue: 1
services:
  portal:
    hosts: [portal.example]
  wiki:
    hosts: [wiki.example]
""",
    "tiny/trust.yaml": "trust: 1\nassurance:\n  aal1: 1\n  aal2: 2\n",
    "tiny/reasons.yaml": """\
MFA_REQUIRED: {kind: auth, ja: 多要素のサインインが必要です。, en: Sign in with a second factor.}
CHANNEL_CLOSED: {kind: contact, ja: 閉域網から使ってください。, en: Use the closed network.}
NOT_STAFF: {kind: contact, ja: 職員のみ使えます。, en: For staff only.}
""",
    "lib/zt/checks.rego": f"package zt.lib.checks\n\n{META}strong(acr) if data.zt.assurance[acr] >= 2\n",
    "schemas/input.json": (Path(__file__).parents[2] / "policies/schemas/input.json").read_text(encoding="utf-8"),
}


def write_pack(root: Path, **changes: str | None) -> Path:
    """Write the pack below `root` and return its folder; a change names a file, None leaves it out."""
    for name, content in {**FILES, **changes}.items():
        if content is not None:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content), encoding="utf-8")
    return root / "tiny"


@cache
def tool(opa: str) -> OpaTool:
    """The real `opa`, which judges the same bytes once in a test process."""
    return OpaMemory(OpaBinary(Path(opa)))


def share_tool(monkeypatch: pytest.MonkeyPatch, opa: str) -> None:
    """Have every workbench of a test ask the one `opa` of the test process."""
    monkeypatch.setattr(workbench, "OpaMemory", lambda _: tool(opa))
