"""Whoever answers for one service releases what is its own, by HTTP, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import compiled
from tests.control_support import Control
from tests.peers import ROOT
from tests.publisher_office import KEY, Office, remade, remembered
from zt_engine.bootstrap import delegating, publishing
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST, sign_bundle
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.release import Release, write_release

CORP = ROOT / "policies/corp"
RULES = "service/payroll/payroll.rego"
TITLE = ("title: Payroll / 人事給与", "title: Payroll, of the owner")
DUE = "    review_at: 2027-04-01\n    hosts: [payroll."
REVIEWED = {"catalogue.yaml": (DUE, DUE.replace("-04-", "-05-"))}
DATA = "zt/layer/baseline/data.json"
SNEAKED = "package zt.layer.baseline\n\nmore := 1\n"
PART = "    hosts: [payroll.corp.example]\n    channels: [open]\n    ceiling: Confidential\n"
FOREIGN: Mapping[str, tuple[str, Mapping[str, tuple[str, str]], str]] = {
    "another layer's rules": ("OWNER_FOREIGN", {"baseline/baseline.rego": ("package", "#\npackage")}, "baseline/"),
    "another service's rules": (
        "OWNER_FOREIGN", {"service/source_code/source_code.rego": ("package", "#\npackage")}, "service/source_code/",
    ),
    "a service whose name begins alike": (
        "OWNER_FOREIGN", {"service/payroll2/a.rego": ("", "package zt.layer.service.payroll2\n")}, "service/payroll2/",
    ),
    "the trust model": ("OWNER_FOREIGN", {"trust.yaml": ("\n", "\n\n")}, "trust.yaml"),
    "scenarios": ("OWNER_FOREIGN", {"scenarios/company.yaml": ("\n", "\n\n")}, "scenarios/company.yaml"),
    "data elsewhere": ("OWNER_FOREIGN", {DATA: ("{", '{"a":1,')}, DATA),
    "another service's part": (
        "OWNER_FOREIGN", {"catalogue.yaml": ("hosts: [wiki.", "hosts: [wiki2.")}, "catalogue.yaml: services.wiki",
    ),
    "what belongs to no service": ("OWNER_FOREIGN", {"catalogue.yaml": ("[no_copy]", "[]")}, "catalogue.yaml: caveats"),
    "its ceiling": (
        "OWNER_CEILING", {"catalogue.yaml": (PART, PART.replace("Confidential", "Restricted"))}, "services.payroll",
    ),
    "a module that its rules do not make": (
        "OWNER_FOREIGN", {RULES: ('"threshold": 0', '"threshold": 1')}, "policy.wasm",
    ),
    "entrypoints of its own": ("OWNER_FOREIGN", {"main/main.rego": ("package", "#\npackage")}, "main/main.rego"),
    "a package of the baseline in a file of its own": (
        "OWNER_FOREIGN", {"service/payroll/b.rego": ("", SNEAKED)}, "service/payroll/",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def in_force(opa: str) -> bytes:
    return sign_bundle(compiled(opa, CORP), KEY)


@pytest.fixture(scope="module")
def site(in_force: bytes, opa: str) -> Iterator[Office]:
    """A release is in force; `payroll` is the key of that service's owner."""
    with pytest.MonkeyPatch.context() as patch, Control() as control:
        patch.setattr(publishing, "weakenings", remembered)
        patch.setattr(delegating, "opa_executable", lambda _: Path(opa))
        office = Office(control)
        office.publisher.publish(in_force)
        control.administrators.add("payroll", "viewer", service="payroll")
        yield office


def submitted(office: Office, raw: bytes, **more: object) -> Any:
    """The answer to whoever signs anything and checks nothing."""
    digest, following = hashlib.sha256(raw).hexdigest(), office.plane.next()
    assert following.active is not None
    release = Release(
        tenant=following.tenant, seq=following.seq, size=len(raw), bundle_digest=digest,
        content_digest=hashlib.sha256(bundle_archive.read(raw)[MANIFEST]).hexdigest(),
        way_back=following.active.content_digest, not_before=0, not_after=2**40,
    )  # fmt: skip
    kind = {"content_type": "application/octet-stream"}
    office.control.call("PUT", f"/v1/bundles/{digest}", raw, who="payroll", **kind)
    body = {"record": write_release(release, KEY), **more}
    return office.control.call("POST", "/v1/releases", body, who="payroll")


def refused(office: Office, raw: bytes, **more: object) -> tuple[int, str, str]:
    answer = submitted(office, raw, **more)
    return answer.status_code, answer.json()["code"], answer.text


@pytest.mark.parametrize("what", FOREIGN)
def test_invariant_14_what_is_not_the_owners_is_refused_and_named(site: Office, in_force: bytes, what: str) -> None:
    code, edits, where = FOREIGN[what]
    status, told, text = refused(site, remade(in_force, None, edits))

    assert (status, told) == (403, code), text
    assert where in text
    assert [one["seq"] for one in site.plane.history()] == [1]


def test_another_version_of_the_pack_is_not_the_owners(site: Office, in_force: bytes) -> None:
    status, code, text = refused(site, remade(in_force, "another"))

    assert (status, code) == (403, "OWNER_FOREIGN")
    assert ".manifest" in text


def test_without_opa_nothing_of_an_owner_is_taken(
    site: Office, in_force: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: None) -> Path:
        raise ConfigError((Problem(code="OPA_MISSING", message="no opa"),))

    monkeypatch.setattr(delegating, "opa_executable", missing)

    assert refused(site, remade(in_force, None, REVIEWED))[:2] == (503, "OWNER_UNVERIFIED")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/devices", None),
        ("GET", "/v1/audit", None),
        ("GET", "/v1/situation", None),
        ("POST", "/v1/releases/1/approvals", {"key_id": "k", "signature": "s"}),
        ("DELETE", "/v1/releases/1", None),
        ("POST", "/v1/rollouts/1/advance", {"reason": "now"}),
    ],
)
def test_invariant_14_an_owner_of_a_service_may_do_nothing_else(
    site: Office, method: str, path: str, body: object
) -> None:
    answer = site.control.call(method, path, body, who="payroll")

    assert (answer.status_code, answer.json()["code"]) == (403, "AUTH_FORBIDDEN")


def test_an_owner_stages_nothing(site: Office, in_force: bytes) -> None:
    assert refused(site, remade(in_force, None, REVIEWED), staged={})[:2] == (403, "AUTH_FORBIDDEN")


def test_an_owner_releases_rules_and_catalogue_of_the_service(site: Office, in_force: bytes, opa: str) -> None:
    """Last: it is in force then."""
    rules = sign_bundle(compiled(opa, CORP, edits=(TITLE,)), KEY)
    both = remade(rules, None, REVIEWED)
    done = site.publisher_of("payroll").publish(both)

    assert done.seq == 2
    assert done.state in ("released", "waiting")
    assert site.plane.get(2)["submitted_by"] == "admin:payroll"
