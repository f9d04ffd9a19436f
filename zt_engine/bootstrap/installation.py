"""A new installation in one folder: keys, a signed policy, a configuration that works as it stands."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zt_engine.adapters.admin_keys import AdminKey, digest_of, make_key, written
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.adapters.ca_keys import create_authority, read_passphrase
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap.packs import compiled_bundle, pack_folder
from zt_engine.core.bundle import sign_bundle
from zt_engine.core.errors import ConfigError, Problem

PRIVATE, PUBLIC = 0o600, 0o644
CA_DAYS = 3650
ADMIN_KEY = "keys/admin.key"
CA_UNLOCKED_BY = "keys/device-ca.passphrase"
DEVICE_CA = "control/device-ca"


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What `zt init` asks for; everything else has a default that is safe."""

    pack: str
    language: str = "ja"
    listen: str = "127.0.0.1:9191"
    admin_listen: str = "127.0.0.1:9192"
    control_listen: str = "127.0.0.1:9443"
    hosts: tuple[str, ...] = ()
    """What the front proxy serves: `HOST`, or `SERVICE=HOST`, which the catalogue then says of that service too."""
    channel: str = "open"
    issuer: str = ""
    audience: str = ""
    jwks: str = ""


def install(folder: Path, choices: Choices, *, now: float, bundle: bytes | None = None) -> None:
    """Write an installation into an empty or new folder; raises ConfigError INIT_NOT_EMPTY, PACK_UNKNOWN.

    `bundle` replaces the pack's compiled one; unsigned, it is signed here.
    """
    if folder.exists() and any(folder.iterdir()):
        hint = "give a folder that does not exist yet"
        problem = Problem(code="INIT_NOT_EMPTY", message="the folder is not empty", where=str(folder), hint=hint)
        raise ConfigError((problem,))
    sources = pack_folder(choices.pack)
    catalogue = catalogue_for(choices)
    load_catalogue(catalogue, where="policy/catalogue.yaml")  # a host that is none leaves nothing behind
    bundle_key = BundleSigningKey.generate(f"bundle-{secrets.token_hex(4)}")
    files = {
        **_files(choices, sources, bundle_key, bundle or compiled_bundle(choices.pack), now),
        "policy/catalogue.yaml": (catalogue, PUBLIC),
        **_control_files(),
    }
    for relative, (content, mode) in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    for empty in ("policy/devices", "policy/subjects", "log", "checkpoints"):
        (folder / empty).mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = create_authority(
        folder / DEVICE_CA,
        name="Device CA of this installation's control plane",
        passphrase=read_passphrase(folder / CA_UNLOCKED_BY),
        now=now,
    )
    with (folder / "policy/device-cas.pem").open("ab") as file:
        file.write(authority.pem)


def catalogue_for(choices: Choices) -> bytes:
    """Return the pack's catalogue with the hosts that were chosen for its services; ConfigError INIT_SERVICE."""
    text = _read(pack_folder(choices.pack) / "catalogue.yaml").decode()
    chosen: dict[str, list[str]] = {}
    for name, host in (one.split("=", 1) for one in choices.hosts if "=" in one):
        chosen.setdefault(name, []).append(host)
    for name, hosts in chosen.items():
        line = re.search(rf"^  {re.escape(name)}:\n(?:    .*\n)*?    hosts: (\[.*\])$", text, re.MULTILINE)
        if line is None:
            hint = "services of the pack: " + ", ".join(re.findall(r"^  ([a-z_-]+):$", text, re.MULTILINE))
            raise ConfigError((Problem(code="INIT_SERVICE", message=f"`{name}` is no service", hint=hint),))
        text = f"{text[: line.start(1)]}[{', '.join(map(_toml, hosts))}]{text[line.end(1) :]}"
    return text.encode()


def unlisted(choices: Choices) -> tuple[str, ...]:
    """Return the hosts that no service of the catalogue has: what comes for them is refused."""
    lists = re.findall(r"^    hosts: \[(.*)\]$", catalogue_for(choices).decode(), re.MULTILINE)
    listed = {host.strip(' "') for one in lists for host in one.split(",")}
    return tuple(host for host in choices.hosts if "=" not in host and host not in listed)


def _files(
    choices: Choices, sources: Path, bundle_key: BundleSigningKey, bundle: bytes, now: float
) -> Mapping[str, tuple[bytes, int]]:
    log_key = Ed25519PrivateKey.generate()
    authority = DevDeviceCa(now=now, name="Device CA of this installation", days=CA_DAYS)
    situation = {"threat_level": 0, "overlays": [], "grants": [], "revocations": []}
    return {
        "zt.toml": (configuration(choices, bundle_key.key_id).encode(), PUBLIC),
        "keys/pep.key": (secrets.token_hex(32).encode() + b"\n", PRIVATE),
        "keys/path-hmac.key": (secrets.token_hex(32).encode() + b"\n", PRIVATE),
        "keys/log-signing.pem": (_private(log_key), PRIVATE),
        "keys/log-signing.pub.pem": (_public(log_key), PUBLIC),
        f"keys/{bundle_key.key_id}.pem": (bundle_key.pem(), PRIVATE),
        f"keys/{bundle_key.key_id}.pub.pem": (bundle_key.public().pem().encode(), PUBLIC),
        "keys/device-ca.pem": (authority.key_pem, PRIVATE),
        "policy/device-cas.pem": (authority.pem, PUBLIC),
        "policy/bundle.tar.gz": (sign_bundle(bundle, bundle_key), PUBLIC),
        "policy/trust.yaml": (_read(sources / "trust.yaml"), PUBLIC),
        "policy/devices/EXAMPLE.json.txt": (DEVICE_EXAMPLE.encode(), PUBLIC),
        "policy/subjects/EXAMPLE.json.txt": (SUBJECT_EXAMPLE.encode(), PUBLIC),
        ".gitignore": (b"keys/\nlog/\ncheckpoints/\nstate/\ncontrol/\n", PUBLIC),
        "policy/situation.json": (msgspec.json.format(msgspec.json.encode(situation), indent=2) + b"\n", PUBLIC),
    }


def _control_files() -> Mapping[str, tuple[bytes, int]]:
    """What the control plane begins with: one administrator, the key of its stream, the passphrase of its device CA."""
    key = make_key()
    owner = AdminKey(name="owner", role="owner", sha256=digest_of(key))
    return {
        ADMIN_KEY: (key + b"\n", PRIVATE),
        "control/admins.json": (written((owner,)), PRIVATE),
        "keys/stream.pem": (StreamKey.generate().pem(), PRIVATE),
        CA_UNLOCKED_BY: (secrets.token_urlsafe(32).encode() + b"\n", PRIVATE),
        "keys/tpm-challenge.key": (secrets.token_hex(32).encode() + b"\n", PRIVATE),
    }


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def configuration(choices: Choices, bundle_key: str) -> str:
    """Return the text of `zt.toml`."""
    issuer = ISSUER if choices.issuer else ISSUER_EXAMPLE
    people = _toml(choices.issuer or "https://idp.example")
    return CONFIGURATION.format(
        language=choices.language,
        listen=_toml(choices.listen),
        admin=_toml(choices.admin_listen),
        control=_toml(choices.control_listen),
        hosts=", ".join(_toml(host.rpartition("=")[2]) for host in choices.hosts),
        channel=choices.channel,
        bundle_key=bundle_key,
        people=people,
        issuer=issuer.format(
            issuer=people,
            audience=_toml(choices.audience or "https://portal.example"),
            jwks=_toml(choices.jwks or "https://idp.example/jwks.json"),
        ),
    )


DEVICE_EXAMPLE = """\
{
  "tenant": "default", "device_id": "laptop-17", "version": 1, "status": "active", "ownership": "corp",
  "assigned": ["tanaka"],
  "keys": [{"x5t": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "not_after": "2027-04-01T00:00:00Z"}],
  "boot_id": "5f0c1a52", "report_received_at": "2026-11-20T00:00:00Z",
  "facts": {
    "disk.encrypted": {
      "status": "observed", "value": true, "method": "mdm_server", "received_at": "2026-11-20T00:00:00Z"
    }
  }
}
"""
"""A record to copy to a file that ends in `.json`; every member is explained in docs/records.md."""

SUBJECT_EXAMPLE = """\
{
  "id": "tanaka", "issuer": "https://idp.example", "version": 1, "status": "active", "groups": ["staff"],
  "compartments": [], "clearance": 200, "org": "", "valid_until": null, "employment": "regular"
}
"""

CONFIGURATION = """\
# zt sidecar run --config zt.toml        Every setting: docs/configuration.md

[sidecar]
listen = [{listen}]
admin_listen = {admin}
language = "{language}"
# browser_listen = ["unix:/run/zt/browser.sock"]   # browsers that sign in, from the proxy; goes with [sign_in]

[[proxies]]
name = "front"
hook = "nginx"
key_file = "keys/pep.key"
hosts = [{hosts}]                 # empty: every host of the catalogue
channel = "{channel}"
enforces = ["no_store"]           # what the proxy in front carries out; see docs/obligations.md

{issuer}
[policy]
folder = "policy"
keys = ["keys/{bundle_key}.pub.pem"]
# approvers = [                     # whose signatures approve what loosens; see docs/publishing.md for their keys
#   {{ person = "yamada", key = "keys/approver-yamada.pem" }},
#   {{ person = "suzuki", key = "keys/approver-suzuki.pem" }},
# ]

[log]
dir = "log"
checkpoints = "checkpoints"       # better another disk or machine: checkpoints prove that nothing was cut off

[control]                         # zt control run: the device inventory; see docs/control-plane.md
listen = {control}
database = "sqlite:///control/zt.db"

# [publishing]                    # zt policy publish, zt policy watch; see docs/publishing.md
# key_file = "keys/{bundle_key}.pem"    # better on the publisher's machine alone
# author = "tanaka"
# folder = "policies/acme"          # zt policy new policies/acme

# [sign_in]                       # people with a browser; docs/browser-sign-in.md says how its keys are made
# issuer = {people}
# client_id = "portal-browser"
# key_file = "keys/sign-in-client.pem"
# scopes = ["openid", "offline_access"]

# [administrators]                # who of them administers, at the API and on the pages of /desk; see docs/desk.md
# issuer = {people}
# audience = "https://control.example"  # `aud` of access tokens at the API
# roles_claim = "roles"
# helpdesk = ["zt-helpdesk"]
# approver = ["zt-approvers"]

# [enrollment]                    # who may enroll devices; see docs/enrollment.md
# issuer = {people}
# client_id = "zt-agent"          # the agent, a public client there
"""

ISSUER = """\
[[issuers]]
issuer = {issuer}
audiences = [{audience}]
algorithms = ["EdDSA", "ES256", "RS256"]
jwks = {jwks}
strongest_acr = "phrh"
"""

ISSUER_EXAMPLE = "".join(f"# {line}\n" for line in ISSUER.splitlines())


def _toml(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
