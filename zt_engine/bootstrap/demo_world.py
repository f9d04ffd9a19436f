"""The demo's people, devices and papers: an installation of the jp-gov pack where everything but the people is real."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from zt_engine.adapters.approvals import approve
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.dev_issuer import DevProver
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.packs import compiled_bundle, policies_folder
from zt_engine.bootstrap.sandbox import Device, Sandbox
from zt_engine.bootstrap.workbench import Workbench
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST, make_bundle, open_bundle
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.errors import ConfigError, Problem

PACK = "jp-gov"
DAY = 86_400
TIMETABLE = "zt/layer/ministry/data.json"
ROBOTS = frozenset({"rpa-leave", "rpa-night"})
JST = 9 * 3600
ENFORCED = ("no_store", "no_download", "watermark")
APPROVERS = ("kimura", "mori")
RULE_FILE = "ministry/ministry.rego"
RULE = """
# METADATA
# title: The portal is for enrolled devices / ポータルは登録端末のみ
# custom:
#   control: SP 800-53 IA-3
#   owner: ministry-ciso
#   remedy_ja: 端末を登録してください。
#   remedy_en: Enroll the device.
_passed contains "DEVICE_NOT_ENROLLED" if input.device.status == "active"

_required contains "DEVICE_NOT_ENROLLED" if input.resource.service == "portal"
"""
PROXIES = ("front", "inner")
"""One nginx, two of its server blocks: `front` stands in the open network, `inner` in the closed one."""

BUDGET_MS = 250
"""A machine that shows a demo may be busy; the default of 25 ms is for one that serves."""

LONGEST_FOLDER = 90
"""In bytes: the path of a Unix socket has at most 107."""

HEALTHY: Mapping[str, object] = {
    "device.key_protection": {"value": "attested_hw", "method": "attested"},
    "disk.encrypted": True,
    "os.supported": True,
    "patch.oldest_pending_days": 0,
    "vuln.kev_open": [],
    "vuln.kev_overdue": [],
    "edr.running": True,
    "av.realtime": True,
    "mdm.enrolled": True,
    "firewall.enabled": True,
    "boot.secure_boot": True,
    "screenlock.enabled": True,
    "user.is_admin": False,
    "integrity.rooted": False,
}

STAFF: Mapping[str, object] = {
    "groups": ["staff"], "org": "ministry/na1", "nationality": "JPN", "employment": "regular", "clearance": 300,
}  # fmt: skip


class DemoWorld:
    """The installation's folder, and the keys to play every part in it."""

    def __init__(self, folder: Path, *, pack: str = PACK, opa: str | None = None) -> None:
        if pack != PACK:
            raise ConfigError((Problem(code="DEMO_PACK", message=f"no story for the pack `{pack}`"),))
        if len(os.fsencode(folder)) > LONGEST_FOLDER:
            raise ConfigError((Problem(code="DEMO_FOLDER", message="too long for Unix sockets", where=str(folder)),))
        self.folder = folder
        self._opa = opa
        self.clock = SystemClock()
        self.now = self.clock.now()
        self.sidecar_socket = folder / "zt.sock"
        self.admin_socket = folder / "admin.sock"
        bundle = with_timetable(compiled_bundle(pack), self.now)
        self._first_bundle = bundle
        self.reasons = open_bundle(bundle, keys={}, require_signature=False).reasons
        self.sandbox = Sandbox(
            folder,
            pack=pack,
            listen=f"unix:{self.sidecar_socket}",
            admin_listen=f"unix:{self.admin_socket}",
            bundle=bundle,
        )
        self.approvers = {person: Ed25519PrivateKey.generate() for person in APPROVERS}
        self.prover = DevProver()
        self.devices: dict[str, Device] = {}
        self._configure()
        self._people()
        self._machines()
        self._first_catalogue = self.catalogue.encode()
        self.hosts = sorted(load_catalogue(self.catalogue.encode(), where="catalogue.yaml").hosts)
        self.server_ca, self.server_certificate, self.server_key = write_server_certificate(
            folder / "tls", self.hosts, now=self.now
        )
        os.mkdir(folder / "clients", mode=0o700)
        for name, device in self.devices.items():
            self.sandbox.write(f"clients/{name}.pem", device.certificate.pem + device.certificate.key_pem)

    @property
    def catalogue(self) -> str:
        """The text of the catalogue as it is now."""
        return (self.folder / "policy/catalogue.yaml").read_text(encoding="utf-8")

    def bearer(self, person: str, device: str = "", *, signed_in: int = 60, actor: str = "", lifetime: int = 900,
               amr: str = "hwk") -> str:  # fmt: skip
        """Return a new token: bound to the device's certificate if one is named, signed in so many seconds ago."""
        x5t, now = self.devices[device].certificate.x5t if device else "", self.clock.now()
        return self._mint(person, now, x5t=x5t, signed_in=signed_in, actor=actor, lifetime=lifetime, amr=amr)

    def expired(self, person: str, device: str) -> str:
        """Return a token that was good an hour ago."""
        return self._mint(person, self.clock.now() - 3600, x5t=self.devices[device].certificate.x5t)

    def dpop(self, person: str, *, lifetime: int = 900) -> str:
        """Return a token bound to the DPoP key of the private laptop."""
        return self._mint(person, self.clock.now(), jkt=self.prover.jkt, lifetime=lifetime)

    def proof(self, token: str, *, method: str, url: str) -> str:
        """Return a DPoP proof for one request."""
        return self.prover.prove(token=token.encode(), method=method, url=url, now=self.clock.now()).decode()

    def _mint(
        self, person: str, now: float, *, x5t: str = "", jkt: str = "", signed_in: int = 60, actor: str = "",
        lifetime: int = 900, amr: str = "hwk",
    ) -> str:  # fmt: skip
        issuer = self.sandbox.issuer
        claims = issuer.claims(person, now=now, lifetime=lifetime, certificate_digest=x5t, jkt=jkt, actor=actor)
        if person in ROBOTS:  # RFC 9068: without a person, the subject is the client itself
            claims["client_id"] = person
        else:
            claims.update(acr="phr", amr=[amr], auth_time=int(now) - signed_in)
        return issuer.sign(claims).decode()

    # -- what changes while the story runs

    def approve_salary(self) -> None:
        """Two people sign that one salary may be changed."""
        now = int(self.clock.now())
        record: dict[str, object] = {
            "id": "salary-17", "kind": "approval", "subjects": ["ogawa"], "services": ["payroll"],
            "action": "payroll.change", "object": "/employees/17/salary",
            "not_before": now - 60, "not_after": now + 3600,
        }  # fmt: skip
        approvals = [approve(key, "grant", record) for key in self.approvers.values()]
        self.sandbox.situation(grants=[{**record, "approvals": approvals}])

    def classify_article(self) -> None:
        """Somebody edits the catalogue: one article of the portal is 機密性2 from now on."""
        added = "\nobjects:\n  - {service: portal, path: /news/reorganisation, label: C2}\n"
        self.sandbox.write("policy/catalogue.yaml", (self.catalogue + added).encode())

    def edit_rule(self) -> None:
        """Somebody edits a Rego rule of the ministry and builds the pack: its portal is for enrolled devices only."""
        sources = self.folder / "policies"
        if not sources.exists():
            for name in (PACK, "lib", "schemas"):
                shutil.copytree(policies_folder() / name, sources / name)
            with (sources / PACK / RULE_FILE).open("a", encoding="utf-8") as file:
                file.write(RULE)
        built = Workbench(self._opa).build(sources / PACK).raw
        self.sandbox.publish(with_timetable(built, self.now))

    def undo_rule(self) -> None:
        """The bundle that was in force before is in force again."""
        self.sandbox.publish(self._first_bundle)

    def raise_threat_level(self) -> None:
        """The situation becomes `alert`."""
        self.sandbox.situation(threat_level=2)

    def calm_down(self) -> None:
        """The situation is normal again."""
        self.sandbox.situation(threat_level=0)

    def revoke_laptop(self) -> None:
        """The laptop was left on a train."""
        self.sandbox.situation(revocations=[{"kind": "device", "key": "laptop-1", "until": None}])

    def restore(self) -> None:
        """Everything is as it was before the story."""
        self.sandbox.write("policy/catalogue.yaml", self._first_catalogue)
        self.undo_rule()
        self.calm_down()

    # -- made once

    def _configure(self) -> None:
        sandbox = self.sandbox
        sandbox.write("keys/pep-inner.key", os.urandom(32).hex().encode())
        for person, key in self.approvers.items():
            public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            sandbox.write(f"keys/approver-{person}.pem", public)
        text = sandbox.config.read_text(encoding="utf-8")
        approvers = ", ".join(f'{{person = "{who}", key = "keys/approver-{who}.pem"}}' for who in self.approvers)
        text = text.replace("[policy]\n", f"[policy]\napprovers = [{approvers}]\nbudget_ms = {BUDGET_MS}\n", 1)
        strongest = 'strongest_acr = "phrh"\n'
        text = text.replace(strongest, f"{strongest}workload_subject_is_client = true\n", 1)
        text = text.replace("[log]\n", "[log]\nreserve_mib = 1\nsegment_mib = 16\nquota_mib = 64\n", 1)
        sandbox.write("zt.toml", (text + INNER_PROXY).encode())

    def _people(self) -> None:
        subject = self.sandbox.subject
        subject("tanaka", **{**STAFF, "compartments": ["case:123", "paper:7"]})
        subject("sato", **{**STAFF, "compartments": ["section:na1"]})
        subject("ogawa", **{**STAFF, "org": "ministry/hr", "roles": ["payroll.clerk"]})
        subject("hanako", employment="applicant", clearance=100)
        subject("chatbot", **{**STAFF, "type": "workload", "clearance": 100})
        for robot in ROBOTS:
            subject(robot, type="workload", clearance=100)

    def _machines(self) -> None:
        managed = {name: {"value": value, "method": "mdm_server"} for name, value in HEALTHY.items()}
        attested = {"boot.secure_boot": {"value": True, "method": "attested"}}
        key = {"device.key_protection": HEALTHY["device.key_protection"]}
        self._machine("laptop-1", "tanaka")
        self._machine("laptop-2", "tanaka", reported=self.now - 3 * DAY)
        self._machine("laptop-3", "sato")
        self._machine("laptop-4", "ogawa")
        self._machine("terminal-1", "tanaka", facts={**managed, **attested, **key})
        self._machine("rpa-host-1", *ROBOTS)
        self._machine("bot-host-1", ownership="shared")
        jkt = [{"jkt": self.prover.jkt, "not_after": int(self.now) + DAY}]
        unmanaged = {**HEALTHY, "mdm.enrolled": False}
        self.sandbox.device("own-laptop-1", assigned=["tanaka"], facts=unmanaged, ownership="byod", keys=jkt)

    def _machine(
        self,
        name: str,
        *assigned: str,
        facts: Mapping[str, object] = HEALTHY,
        ownership: str = "corp",
        reported: float = 0,
    ) -> None:
        self.devices[name] = self.sandbox.device(
            name, assigned=assigned, facts=facts, ownership=ownership, report_received_at=reported or self.now
        )


INNER_PROXY = """
[[proxies]]                       # the same nginx, listening in the closed network
name = "inner"
hook = "nginx"
key_file = "keys/pep-inner.key"
channel = "closed"
enforces = ["no_store"]
"""


def can_build(opa: str | None) -> bool:
    """Whether there is a program `opa`, without which no Rego is compiled."""
    try:
        Workbench(opa)
    except ConfigError:
        return False
    return True


def with_timetable(raw: bytes, now: float) -> bytes:
    """Return a pack's bundle with two robots whose hours suit the demo: one works now, the other on another weekday.

    The module is untouched: timetables are data. Otherwise the demo would be a different one on a Sunday.
    """
    bundle = open_bundle(raw, keys={}, require_signature=False)
    files = {name: text for name, text in bundle_archive.read(raw).items() if name not in (MANIFEST, SIGNATURES)}
    data = msgspec.json.decode(files[TIMETABLE])
    today = (int(now + JST) // DAY + 4) % 7  # 1970-01-01 was a Thursday; 0 is Sunday
    work = {"services": ["attendance"], "hosts": ["rpa-host-1"], "opens": 0, "closes": DAY + 60}
    data["robots"]["rpa-leave"] = {**work, "weekdays": list(range(7))}
    data["robots"]["rpa-night"] = {**work, "weekdays": [(today + 3) % 7]}
    files[TIMETABLE] = msgspec.json.encode(data, order="sorted")
    zt = bundle.manifest
    return make_bundle(
        files,
        pack=zt.pack,
        version=zt.version,
        input_version=zt.input_version,
        layers=bundle.layers,
        reads=bundle.reads,
        builtins=bundle.builtins,
    )
