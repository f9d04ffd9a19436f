"""An installation whose people, devices, identity provider and device CA are made up: for demo, tests and benchmarks.

Everything in it is real (keys, tokens, certificates, a signed bundle, a running sidecar reads it like any other); only
nobody exists. Never use one for anything else: its identity provider's key lies beside it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from zt_engine.adapters.bundle_signing import BundleSigningKey, load_signing_key
from zt_engine.adapters.dev_issuer import DevCertificate, DevDeviceCa, DevIssuer
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.core.bundle import sign_bundle

ISSUER = "https://idp.example"
AUDIENCE = "https://portal.example"


class Device(msgspec.Struct):
    """A made-up device with its certificate."""

    device_id: str
    certificate: DevCertificate


class Sandbox:
    """One folder with an installation, and the keys to play every part in it."""

    def __init__(
        self,
        folder: Path,
        *,
        pack: str = "jp-gov",
        listen: str = "127.0.0.1:0",
        admin_listen: str = "127.0.0.1:0",
        bundle: bytes | None = None,
        catalogue: bytes | None = None,
        hosts: tuple[str, ...] = (),
        channel: str = "open",
        enforces: Sequence[str] = ("no_store",),
        subject_sources: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.now = time.time()
        self.issuer = DevIssuer(ISSUER, audience=AUDIENCE)
        self.authority = DevDeviceCa(now=self.now)
        choices = Choices(
            pack=pack, listen=listen, admin_listen=admin_listen, hosts=hosts, channel=channel, issuer=ISSUER,
            audience=AUDIENCE, jwks="keys/jwks.json",
        )  # fmt: skip
        install(folder, choices, now=self.now, bundle=bundle)
        self.write("keys/jwks.json", self.issuer.jwks())
        self.write("policy/device-cas.pem", self.authority.pem)
        if catalogue is not None:
            self.write("policy/catalogue.yaml", catalogue)
        text = (folder / "zt.toml").read_text()
        duties = ", ".join(f'"{duty}"' for duty in enforces)
        text = text.replace('enforces = ["no_store"] ', f"enforces = [{duties}] ")
        if subject_sources:
            lines = "".join(f'{name} = "{source}"\n' for name, source in subject_sources.items())
            text = text.replace("\n[policy]\n", f"\n[issuers.subject]\n{lines}\n[policy]\n", 1)
        self.write("zt.toml", text.encode())

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "zt.toml"

    @property
    def pep_key(self) -> str:
        """The key the proxy shows."""
        return (self.folder / "keys/pep.key").read_text().strip()

    @property
    def bundle_key(self) -> BundleSigningKey:
        """The key bundles are signed with."""
        path = next(iter((self.folder / "keys").glob("bundle-????????.pem")))
        return load_signing_key(path.read_bytes(), key_id=path.stem, where=str(path))

    def write(self, relative: str, content: bytes) -> Path:
        """Write a file in one step, as whoever feeds a folder should: whole or not at all."""
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(content)
        temporary.chmod(0o600)
        os.replace(temporary, path)
        return path

    def write_json(self, relative: str, value: object) -> Path:
        """Write a JSON file in one step."""
        return self.write(relative, msgspec.json.format(msgspec.json.encode(value), indent=1))

    def publish(self, unsigned: bytes) -> None:
        """Sign a bundle and put it in force."""
        self.write("policy/bundle.tar.gz", sign_bundle(unsigned, self.bundle_key))

    def subject(self, subject_id: str, **fields: object) -> None:
        """Write the directory record of a made-up person or program."""
        record = {
            "id": subject_id, "issuer": ISSUER, "version": 1, "status": "active", "groups": [], "compartments": [],
            "clearance": 200, "org": "", "valid_until": None, **fields,
        }  # fmt: skip
        self.write_json(f"policy/subjects/{subject_id}.json", record)

    def device(
        self, device_id: str, *, assigned: Sequence[str], facts: Mapping[str, object],
        certificate: DevCertificate | None = None,
        **fields: object,
    ) -> Device:  # fmt: skip
        """Write the record of a made-up device and return it with its certificate.

        `facts` maps names to values, or to envelopes `{"value": ..., "method": ...}`.
        """
        certificate = certificate or self.authority.issue(device_id, now=self.now)
        received = int(fields.pop("report_received_at", self.now))  # type: ignore[call-overload]
        record = {
            "tenant": "default", "device_id": device_id, "version": 1, "status": "active", "ownership": "corp",
            "assigned": list(assigned), "keys": [{"x5t": certificate.x5t, "not_after": int(self.now) + 86_400}],
            "boot_id": "boot-1", "report_received_at": received,
            "facts": {name: _envelope(value, received) for name, value in facts.items()}, **fields,
        }  # fmt: skip
        self.write_json(f"policy/devices/{device_id}.json", record)
        return Device(device_id, certificate)

    def situation(self, **fields: object) -> None:
        """Write the situation."""
        self.write_json(
            "policy/situation.json", {"threat_level": 0, "overlays": [], "grants": [], "revocations": [], **fields}
        )

    def token(self, subject_id: str, *, device: Device | None = None, lifetime: int = 900, **claims: object) -> str:
        """Return an access token, bound to a device's certificate if one is given."""
        now = time.time()
        digest = device.certificate.x5t if device is not None else ""
        claims = {"auth_time": int(now) - 60, "acr": "phr", "amr": ["hwk", "user"], **claims}
        return self.issuer.mint(
            subject_id,
            now=now,
            lifetime=lifetime,
            certificate_digest=digest,
            **claims,  # type: ignore[arg-type]
        ).decode()


def _envelope(value: object, received: int) -> dict[str, object]:
    envelope = {"status": "observed", "method": "signed_agent", "received_at": received}
    return {**envelope, **value} if isinstance(value, dict) else {**envelope, "value": value}


def hook_headers(
    sandbox: Sandbox, url: str, *, method: str = "GET", token: str = "", device: Device | None = None,
    address: str = "203.0.113.7", request_id: str = "r1",
) -> list[tuple[str, str]]:  # fmt: skip
    """Return the headers nginx would send for a request to `https://host/path`."""
    rest = url.removeprefix("https://")
    host, slash, path = rest.partition("/")
    headers = [
        ("X-Original-URI", slash + path), ("X-Original-Method", method), ("X-Original-Host", host),
        ("X-Original-Proto", "https"), ("X-Original-Port", "443"), ("X-Real-IP", address),
        ("Zt-Request-Id", request_id), ("Zt-Pep-Key", sandbox.pep_key),
        ("Zt-Client-Verify", "SUCCESS" if device is not None else "NONE"),
    ]  # fmt: skip
    if device is not None:
        headers.append(("Zt-Client-Cert", device.certificate.escaped.decode()))
    if token:
        headers.append(("Authorization", f"Bearer {token}"))
    return headers
