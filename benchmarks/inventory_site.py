"""The made-up site beside a control plane: its people and laptops in a real inventory, served by `zt control run`."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks.data import Person, people
from benchmarks.processes import Contestant, free_port
from benchmarks.site import ENFORCES, PACK
from device_inventory.facts import CATALOGUE, FactEnvelope
from device_inventory.inventory import Device, HeldKey, SourceFacts
from zt_engine.adapters.ca_keys import load_authorities, read_passphrase
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.store_sql import open_store
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap.joining import KEY, Member, Membership, keep_membership
from zt_engine.bootstrap.sandbox import ISSUER, Sandbox
from zt_engine.control_plane.ledger import Ledger
from zt_engine.core.identity import SubjectRecord
from zt_engine.ports.inventory import SidecarRecord

TENANT = "default"
MDM = "intune"
SECONDS = 20_000


class Laptop(msgspec.Struct, frozen=True):
    """A laptop with its certificate, as nginx forwards it."""

    device_id: str
    escaped: bytes
    key: HeldKey


class InventorySite:
    """One installation with both programs' settings, its inventory filled while nothing runs."""

    def __init__(self, folder: Path, count: int, *, bundle: bytes) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.sandbox = Sandbox(folder, pack=PACK, bundle=bundle, enforces=ENFORCES)
        self.people = people(count)
        for name in ("devices", "subjects"):
            shutil.rmtree(folder / "policy" / name)
        text = (folder / "zt.toml").read_text().replace("127.0.0.1:9443", f"127.0.0.1:{self.port}")
        text = text.replace("[policy]\n", f'[control_plane]\nurl = ["{self.url}"]\n\n[policy]\n', 1)
        self.sandbox.write("zt.toml", text.encode())
        self.admin_key = (folder / "keys/admin.key").read_text().strip()
        passphrase = read_passphrase(folder / "keys/device-ca.passphrase")
        self._authority = X509CertificateAuthority(
            load_authorities(folder / "control/device-ca", passphrase=passphrase)
        )
        self.device_cas = self._authority.authorities()
        self.laptops = [self._laptop(person) for person in self.people]
        self._fill()

    def _laptop(self, person: Person) -> Laptop:
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        issued = self._authority.issue(
            csr.public_bytes(Encoding.PEM), device_id=person.device_id, protection="attested_hw", seconds=SECONDS,
            now=time.time(),
        )  # fmt: skip
        return Laptop(person.device_id, quote(issued.pem.decode("ascii"), safe="").encode("ascii"), issued.key)

    def _fill(self) -> None:
        now = int(time.time())
        store = open_store(f"sqlite:///{self.folder / 'control/zt.db'}")
        store.migrate()
        ledger = Ledger(CATALOGUE)
        with store.writing(TENANT) as tx:
            for person, laptop in zip(self.people, self.laptops, strict=True):
                device = inventoried(person, laptop, now=now)
                ledger(tx, device, before=None, actor="system", action="device.enrolled", now=now)
                record = directory_record(person)
                tx.situation.put_subject(record)
                tx.outbox.announce("subject.changed", msgspec.json.encode(record))
        store.close()

    def admit(self, names: Mapping[str, Path]) -> None:
        """Have sidecars joined while nothing runs, each with the folder of its state: what `join` comes to."""
        now = int(time.time())
        stream = StreamKey.load((self.folder / "keys/stream.pem").read_bytes(), where="keys/stream.pem")
        store = open_store(f"sqlite:///{self.folder / 'control/zt.db'}")
        with store.writing(TENANT) as tx:
            for name, folder in names.items():
                key = StreamKey.generate()
                tx.sidecars.put(SidecarRecord(id=name, public_key=key.jwk, joined_at=now))
                folder.mkdir(parents=True, mode=0o700)
                (folder / KEY).write_bytes(key.pem())
                (folder / KEY).chmod(0o600)
                membership = Membership(
                    id=name, tenant=TENANT, audience=self.url, stream_keys={stream.key_id: stream.jwk},
                    device_cas=self.device_cas.decode("ascii"),
                )  # fmt: skip
                keep_membership(Member(membership, key, folder))
        store.close()

    def token(self, number: int, *, now: float) -> str:
        """Return a person's access token, bound to the laptop's certificate."""
        person, laptop = self.people[number], self.laptops[number]
        return self.sandbox.issuer.mint(
            person.id, now=now, lifetime=3000, certificate_digest=laptop.key.x5t, acr="phr",
            amr=["hwk", "user"], auth_time=int(now) - 60,
        ).decode()  # fmt: skip

    @contextmanager
    def served(self, *, core: int, log: Path) -> Iterator[Contestant]:
        """Run the control plane."""
        command = (
            sys.executable, "-c", "from zt_engine.cli import main; main()", "control", "run", "--config",
            str(self.sandbox.config),
        )  # fmt: skip
        contestant = Contestant(
            "control plane", command, core=core, log=log, port=self.port, ready=f"{self.url}/healthz"
        )
        try:
            contestant.wait_ready()
            yield contestant
        finally:
            contestant.stop()

    def administer(self) -> httpx.Client:
        """Return a client of the owner's."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.admin_key}"}, trust_env=False, timeout=30
        )


def once() -> dict[str, str]:
    """Return the header that names a write."""
    return {"Idempotency-Key": os.urandom(16).hex()}


def inventoried(person: Person, laptop: Laptop, *, now: int) -> Device:
    """Return a person's laptop as the inventory holds it."""
    facts = {}
    for name, value in person.facts.items():
        envelope = {"method": "signed_agent", **(value if isinstance(value, dict) else {"value": value})}
        held = tuple(envelope["value"]) if isinstance(envelope["value"], list) else envelope["value"]
        facts[name] = FactEnvelope(status="observed", value=held, method=envelope["method"], received_at=now)
    return Device(
        tenant=TENANT, device_id=laptop.device_id, version=1, status="active", ownership="corp", owner=person.id,
        assigned=(person.id,), keys=(laptop.key,), boot_id="boot-1", report_received_at=now, created_at=now,
        changed_at=now, sources={MDM: SourceFacts(source=MDM, received_at=now, facts=facts)},
    )  # fmt: skip


def directory_record(person: Person) -> SubjectRecord:
    """Return what the directory says of a person."""
    return SubjectRecord(
        id=person.id, issuer=ISSUER, version=1, status="active", groups=person.groups, roles=person.roles,
        clearance=300, compartments=person.compartments, org=person.org, nationality="JPN", employment="regular",
        valid_until=None,
    )  # fmt: skip


def spread(values: Sequence[float], share: float) -> float:
    """Return the value below which so large a share of the sample lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
