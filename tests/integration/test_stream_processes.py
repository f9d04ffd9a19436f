"""Control plane and sidecar as processes: join, revoke, kill -9, come back. Nothing here is made up but the people."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from device_inventory.facts import CATALOGUE
from tests import forked
from tests.control_support import TENANT
from tests.forked import Forked
from tests.peers import ROOT
from tests.sidecar_support import CASE, Client, Process, Reply, edit, installation, question, wait_for
from tests.stream_server import enrolled, free_port
from tests.world import subject
from zt_engine.adapters.ca_keys import load_authorities, read_passphrase
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.store_sql import open_store
from zt_engine.bootstrap.sandbox import Device
from zt_engine.control_plane.ledger import Ledger

SECRET = "https://portal.example/secret"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATIENCE = 60.0


class Issued:
    """A certificate of the control plane's own CA, as nginx forwards it."""

    def __init__(self, folder: Path, device_id: str) -> None:
        control = folder / "control"
        passphrase = read_passphrase(folder / "keys/device-ca.passphrase")
        authority = X509CertificateAuthority(load_authorities(control / "device-ca", passphrase=passphrase))
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        issued = authority.issue(
            csr.public_bytes(Encoding.PEM), device_id=device_id, protection="hw", seconds=3600, now=time.time()
        )
        self.key, self.x5t = issued.key, issued.key.x5t
        self.escaped = quote(issued.pem.decode("ascii"), safe="").encode("ascii")


class Site:
    """One machine with both programs, and a device that was written into the inventory while neither ran."""

    def __init__(self, folder: Path, opa: str, *, database: str = "") -> None:
        """`database` is the URL of one; without it there is a file in the folder."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.sandbox = installation(folder, opa)
        self.database = database or f"sqlite:///{folder / 'control/zt.db'}"
        edit(
            self.sandbox,
            "zt.toml",
            ("127.0.0.1:9443", f"127.0.0.1:{self.port}"),
            ("[policy]\n", f'[control_plane]\nurl = ["{self.url}"]\n\n[policy]\n'),
            ("sqlite:///control/zt.db", database or "sqlite:///control/zt.db"),
        )
        for name in ("devices", "subjects"):
            shutil.rmtree(folder / "policy" / name)
        self.key = (folder / "keys/admin.key").read_text().strip()
        issued = Issued(folder, "laptop-1")
        self.laptop = Device("laptop-1", issued)  # type: ignore[arg-type]
        self._fill(issued)
        self.control: Forked | None = None

    def _fill(self, issued: Issued) -> None:
        now = int(time.time())
        store = open_store(self.database)
        store.migrate()
        device = enrolled("laptop-1", issued.x5t, now=now, keys=(issued.key,))
        with store.writing(TENANT) as tx:
            Ledger(CATALOGUE)(tx, device, before=None, actor="system", action="device.enrolled", now=now)
            record = subject("tanaka")
            tx.situation.put_subject(record)
            tx.outbox.announce("subject.changed", msgspec.json.encode(record))
        store.close()

    def start_control(self) -> None:
        words = ["control", "run", "--config", str(self.sandbox.config)]
        self.control = Forked(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
        wait_for(self._answers, "the control plane", seconds=PATIENCE)

    def _answers(self) -> bool:
        assert self.control is not None
        assert self.control.poll() is None
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def end_control(self, number: signal.Signals) -> None:
        if self.control is not None and self.control.poll() is None:
            self.control.send_signal(number)
            self.control.wait(PATIENCE)

    def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": os.urandom(16).hex()}
        return httpx.request(method, self.url + path, json=body, headers=headers, trust_env=False, timeout=PATIENCE)

    def join(self) -> tuple[int, str, str]:
        answer = self.call("POST", "/v1/sidecars/tokens", {"sidecar": "edge-1"})
        assert answer.status_code == 201, answer.text
        words = ["sidecar", "join", answer.json()["token"], "--config", str(self.sandbox.config)]
        return forked.run(words, env=ENVIRONMENT)

    def ask(self, client: Client, url: str) -> Reply:
        token = self.sandbox.token("tanaka", device=self.laptop)
        return client.send(question(self.sandbox, url, device=self.laptop, token=token))


@pytest.fixture
def site(tmp_path: Path, opa: str) -> Iterator[Site]:
    site = Site(tmp_path / "site", opa)
    try:
        yield site
    finally:
        site.end_control(signal.SIGKILL)


def test_both_programs_from_joining_to_a_revocation_through_a_crash(site: Site) -> None:
    site.start_control()
    status, out, err = site.join()
    assert status == 0, err
    assert "edge-1" in out

    process = Process(site.sandbox).started()
    client = Client(process.address)
    try:
        wait_for(lambda: site.ask(client, CASE).status == 200, "the allow")
        assert site.ask(client, SECRET).reason == "NOT_ALLOWED"

        # Killed: a secret is decided ten seconds longer, everything confidential a minute.
        site.end_control(signal.SIGKILL)
        wait_for(lambda: site.ask(client, SECRET).reason == "STALE_POLICY", "the end of the lease", seconds=PATIENCE)
        assert site.ask(client, CASE).status == 200

        site.start_control()
        wait_for(lambda: site.ask(client, SECRET).reason == "NOT_ALLOWED", "the lease", seconds=PATIENCE)

        answer = site.call("POST", "/v1/devices/laptop-1/revoke", {"reason": "stolen"})
        assert answer.status_code == 200, answer.text
        wait_for(lambda: site.ask(client, CASE).status == 403, "the denial", seconds=5)

        listed = site.call("GET", "/v1/sidecars").json()
        wait_for(lambda: site.call("GET", "/v1/lag").json()["items"] == [], "the acknowledgement")
        assert [(one["id"], one["connected"]) for one in listed["items"]] == [("edge-1", True)]
        assert site.call("GET", "/v1/sidecars/edge-1/lag").json()["behind"] == 0
    finally:
        client.close()
        process.signal(signal.SIGTERM)
        assert process.ended() == 0
        process.close()

    assert not [event for event in process.events() if event.get("level") == "error" or "Traceback" in str(event)]
    assert json.loads((site.sandbox.folder / "state/control-plane/membership.json").read_text())["id"] == "edge-1"


def test_a_successor_follows_before_it_takes_over_and_goes_on_writing_down(site: Site) -> None:
    site.start_control()
    assert site.join()[0] == 0
    first = Process(site.sandbox, name="first").started()
    client = Client(first.address)
    try:
        wait_for(lambda: site.ask(client, CASE).status == 200, "the allow")

        second = Process(site.sandbox, name="second").started()
        try:
            assert first.ended() == 0
            client.close()  # it idled, and was let go
            assert second.address == first.address
            assert site.ask(client, CASE).status == 200

            site.call("POST", "/v1/devices/laptop-1/lost", {"reason": "left on a train"})
            wait_for(lambda: site.ask(client, CASE).status == 403, "the denial", seconds=5)
            kept = site.sandbox.folder / "state/control-plane/replica/batches.jws"
            wait_for(lambda: kept.read_bytes().count(b"\n") >= 1, "what came to be kept")
        finally:
            second.signal(signal.SIGTERM)
            assert second.ended() == 0
            second.close()
    finally:
        client.close()
        first.close()
