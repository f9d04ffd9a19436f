"""An installation of the made-up site: records in a folder, tokens of one kilobyte, certificates, and request bytes."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import msgspec

from benchmarks.data import CLIENT_HEADERS, Key, Person, people
from zt_engine.bootstrap.sandbox import Device, Sandbox

PACK = "jp-gov"
TOKEN_BYTES = 1024
TOKEN_SECONDS = 3600
ENFORCES = ("no_store", "no_download", "watermark", "protect_on_download")
HOOK = b"/v1/hooks/nginx"


class Site:
    """One folder with an installation, and everything its people need to ask."""

    def __init__(self, folder: Path, persons: int, *, bundle: bytes) -> None:
        self.sandbox = Sandbox(folder, pack=PACK, bundle=bundle, enforces=ENFORCES)
        self.people = people(persons)
        self._padding = 0
        self.devices: list[Device] = []
        self.blocks: list[bytes] = []
        for number, person in enumerate(self.people):
            self.write_subject(person)
            self.devices.append(self._device(person))
            self.blocks.append(self._block(person, self.devices[number], f"{number:032x}"))

    def write_subject(self, person: Person, *, version: int = 1, groups: tuple[str, ...] = ()) -> None:
        """Write a person's directory record."""
        self.sandbox.subject(
            person.id, version=version, groups=[*person.groups, *groups], roles=list(person.roles), clearance=300,
            compartments=list(person.compartments), org=person.org, nationality="JPN", employment="regular",
        )  # fmt: skip

    def _device(self, person: Person) -> Device:
        received = int(self.sandbox.now) - person.report_age
        return self.sandbox.device(
            person.device_id, assigned=[person.id], facts=person.facts, report_received_at=received
        )

    def _block(self, person: Person, device: Device, request_id: str) -> bytes:
        """Return the header lines that are the same for every request of one person."""
        headers = (
            ("X-Original-Method", "GET"), ("X-Original-Proto", "https"), ("X-Original-Port", "443"),
            ("X-Real-IP", person.address), ("Zt-Request-Id", request_id), ("Zt-Client-Verify", "SUCCESS"),
            ("Zt-Client-Cert", device.certificate.escaped.decode()), ("Zt-Pep-Key", self.sandbox.pep_key),
            *CLIENT_HEADERS, ("Authorization", f"Bearer {self.token(person, device)}"),
        )  # fmt: skip
        return "".join(f"{name}: {value}\r\n" for name, value in headers).encode() + b"\r\n"

    def token(self, person: Person, device: Device) -> str:
        """Return a person's access token of one kilobyte, as long as real ones with names and scopes are."""
        token = self._mint(person, device)
        while len(token) < TOKEN_BYTES:
            # Base64 makes four characters of three bytes. All ids are equally long, so this is found once.
            self._padding += max(1, (TOKEN_BYTES - len(token)) * 3 // 4 - 1)
            token = self._mint(person, device)
        return token

    def _mint(self, person: Person, device: Device) -> str:
        return self.sandbox.token(
            person.id, device=device, lifetime=TOKEN_SECONDS, name=f"Official {person.id}",
            email=f"{person.id}@ministry.example", scope="x" * self._padding,
        )  # fmt: skip

    def request(self, key: Key) -> bytes:
        """Return the bytes nginx would send for a key."""
        return head(key) + self.blocks[key.person]

    def clone(self, folder: Path, *, port: int, admin_port: int, cache: bool = True) -> Path:
        """Copy the installation for one contestant and return its configuration: same keys, same bytes, its own log."""
        shutil.copytree(self.sandbox.folder, folder)
        text = (folder / "zt.toml").read_text()
        lines = f'listen = ["127.0.0.1:{port}"]\nadmin_listen = "127.0.0.1:{admin_port}"\n'
        text = re.sub(r"^(admin_)?listen = .*\n", "", text, flags=re.MULTILINE)
        text = text.replace("[sidecar]\n", "[sidecar]\n" + lines + ("" if cache else "cache_entries = 0\n"), 1)
        (folder / "zt.toml").write_text(text)
        return folder / "zt.toml"


def head(key: Key) -> bytes:
    """Return the part of a hook request that differs between the targets of one person."""
    return (
        f"GET {HOOK.decode()} HTTP/1.1\r\nHost: zt-sidecar\r\nX-Original-URI: {key.target.path}\r\n"
        f"X-Original-Host: {key.target.host}\r\n"
    ).encode()


def new_report(folder: Path, person: Person, *, now: float) -> None:
    """Let a person's device report again: the record is replaced as a whole, with the age of its facts set back."""
    path = folder / "policy/devices" / f"{person.device_id}.json"
    record = msgspec.json.decode(path.read_bytes())
    record["version"] += 1
    record["report_received_at"] = int(now)
    for fact in record["facts"].values():
        fact["received_at"] = int(now)
    replace(path, record)


def new_directory_entry(folder: Path, person: Person) -> None:
    """Let the directory say something new about a person: another mailing list."""
    path = folder / "policy/subjects" / f"{person.id}.json"
    record = msgspec.json.decode(path.read_bytes())
    record["version"] += 1
    record["groups"] = [*person.groups, f"list-{record['version'] % 300:03d}"]
    replace(path, record)


def replace(path: Path, record: object) -> None:
    """Write a record in one step."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(msgspec.json.encode(record))
    temporary.chmod(0o600)
    os.replace(temporary, path)
