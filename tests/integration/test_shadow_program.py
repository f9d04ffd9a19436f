"""`zt sidecar shadow` as it runs: beside a real sidecar, told of a real candidate by a real control plane."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.contestants import ZT
from benchmarks.fleet_parts import whole_sidecar
from benchmarks.inventory_site import InventorySite, once
from benchmarks.processes import ROOT, cores
from benchmarks.site import HOOK, PACK
from tests.sidecar_support import wait_for
from zt_engine.adapters.control_http import ControlClient
from zt_engine.adapters.releases_http import ReleasesHttp
from zt_engine.bootstrap.packs import compiled_bundle
from zt_engine.bootstrap.publishing import Publisher
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST, make_bundle
from zt_engine.core.bundle_signature import SIGNATURES

DATA = "zt/layer/baseline/data.json"
PLAN = {"rings": [{"name": "all", "percent": 100}], "mode": "report-only"}
PATIENCE = 150.0
"""Seconds: a shadow gives way to everybody, so on a machine that is busy with tests it is slow."""


class Office:
    """A control plane, a sidecar and its shadow, each a process; one person with a laptop."""

    def __init__(self, site: InventorySite, stack: ExitStack, folder: Path) -> None:
        core = cores()[0]
        self.site = site
        stack.enter_context(site.served(core=core, log=folder / "control.log"))
        self.sidecar = stack.enter_context(whole_sidecar(site, core=core, log=folder / "sidecar.log"))
        self.admin = stack.enter_context(site.administer())
        self.client = ControlClient(site.url, key=site.admin_key.encode(), ca_file=None, language="en")
        stack.callback(self.client.close)
        self.publisher = Publisher(
            ReleasesHttp(self.client), site.sandbox.bundle_key, clock=time.time, days=30, author="tanaka"
        )
        command = (sys.executable, "-c", ZT, "sidecar", "shadow", "--config", site.sandbox.folder / "whole.toml")
        with (folder / "shadow.log").open("wb") as said:
            self.shadow = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,  # it stands back with its whole session
            )
        stack.callback(self._ended)

    def _ended(self) -> None:
        self.shadow.kill()
        self.shadow.wait()

    def ask(self) -> int:
        """Ask as nginx does for the person's page; return the status."""
        person, laptop = self.site.people[0], self.site.laptops[0]
        target = person.targets[1]
        headers = {
            "X-Original-URI": target.path, "X-Original-Host": target.host, "X-Original-Method": "GET",
            "X-Original-Proto": "https", "X-Original-Port": "443", "X-Real-IP": "192.0.2.7",
            "Zt-Request-Id": os.urandom(16).hex(), "Zt-Client-Verify": "SUCCESS",
            "Zt-Client-Cert": laptop.escaped.decode(), "Zt-Pep-Key": self.site.sandbox.pep_key,
            "Authorization": f"Bearer {self.site.token(0, now=time.time())}",
        }  # fmt: skip
        url = f"http://127.0.0.1:{self.sidecar.port}{HOOK.decode()}"
        return httpx.get(url, headers=headers, trust_env=False).status_code

    def rollouts(self) -> list[dict[str, Any]]:
        """Return what is under way."""
        items: list[dict[str, Any]] = self.admin.get("/v1/rollouts").json()["items"]
        return items

    def seen(self, ref_seq: int) -> list[dict[str, Any]]:
        """Return what shadows have reported of a rollout."""
        told = self.admin.get(f"/v1/rollouts/{ref_seq}").json()
        reports: list[dict[str, Any]] = told["reports"]
        return reports


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    site = InventorySite(folder / "site", 1, bundle=compiled_bundle(PACK))
    site.admit({"whole": site.folder / "state/control-plane"})
    with ExitStack() as stack:
        yield Office(site, stack, folder)


def candidate(site: InventorySite) -> bytes:
    """Return what decides here, but for a stronger sign-in than there is, signed."""
    files = {name: raw for name, raw in bundle_archive.read(compiled_bundle(PACK)).items() if name != SIGNATURES}
    zt = json.loads(files.pop(MANIFEST))["metadata"]["zt"]
    data = json.loads(files[DATA])
    data["assurance"] = {**data["assurance"], "mfa": 9, "phishing_resistant": 9}
    files[DATA] = json.dumps(data, sort_keys=True, separators=(",", ":")).encode()
    return make_bundle(
        files, pack=zt["pack"], version="1.0.1", input_version=zt["input_version"],
        layers={service: tuple(names) for service, names in zt["layers"].items()},
        reads=tuple(zt["reads"]), builtins=zt["builtins"], key=site.sandbox.bundle_key,
    )  # fmt: skip


@pytest.mark.timeout(3 * PATIENCE)
def test_a_candidate_of_rules_is_seen_to_shut_somebody_out_by_processes_as_they_run_and_decides_nothing(
    office: Office,
) -> None:
    assert office.ask() == 200

    watched = office.publisher.publish(candidate(office.site), plan=PLAN)
    assert watched.state == "watched"
    (rollout,) = office.rollouts()
    ref_seq = int(rollout["ref_seq"])
    wait_for(
        lambda: b"shadow.watching" in (office.site.folder.parent / "shadow.log").read_bytes(),
        "the shadow to hear of it",
        seconds=PATIENCE,
    )

    def lost() -> list[dict[str, Any]]:
        assert office.ask() == 200
        reports = office.seen(ref_seq)
        return [
            change for report in reports for change in report["changes"]
            if change["before"] == "allow" and change["after"] != "allow" and change["verified"]
        ]  # fmt: skip

    wait_for(lost, "somebody whom the candidate shuts out", seconds=PATIENCE)
    (shadow,) = office.seen(ref_seq)
    assert (shadow["sidecar"], shadow["errors"]) == ("whole", 0)
    assert shadow["decided"] >= 1

    answer = office.admin.post(f"/v1/rollouts/{ref_seq}/abort", json={"reason": "too strict"}, headers=once())
    assert answer.status_code == 200
    assert office.ask() == 200
    office.shadow.send_signal(signal.SIGTERM)
    assert office.shadow.wait(30) == 0
