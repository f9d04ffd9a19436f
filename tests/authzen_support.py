"""A sidecar with an AuthZEN listener, its callers, and a client that speaks for them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.peers import ROOT
from tests.sidecar_support import Process, connect, installation, laptop
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.bootstrap.authzen_bundle import build_rules
from zt_engine.bootstrap.sandbox import Sandbox

KEY, OTHER_KEY = "a" * 40, "b" * 40
EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
METADATA = "/.well-known/authzen-configuration"
CASE = "https://portal.example/cases/1"
PUBLIC = "https://portal.example/"
GATEWAY = {
    "hosts": ["portal.example"], "subject_types": ["user", "anonymous"], "amr": ["hwk", "user", "pwd"], "acr": ["phr"],
    "statements": ["auth_time", "device_id", "binding", "ip_address"], "enforces": ["no_store"],
}  # fmt: skip
"""Everything a caller may say here; tests take rights away from it."""

RECORDS = ROOT / "tests/fixtures/authzen/records"
RULES = ("records/decision", "records/allow", "records/candidates")
TYPES = """
[[authzen.types]]
type = "record"
entrypoint = "records/decision"
candidates = "records/candidates"

[[authzen.types]]
type = "plain"
entrypoint = "records/allow"
"""
RIGHTS = {
    "types": ["record", "plain"], "subject_types": ["user"], "acr": ["mfa", "pwd"], "enforces": ["notify"],
    "searches": True,
}  # fmt: skip


def toml(value: Any) -> str:
    return json.dumps(value)


def caller(name: str, key: str | None = None, **rights: Any) -> str:
    """One table of `authzen.peps`."""
    lines = [f"name = {toml(name)}"]
    if key is not None:
        lines.append(f'key_file = "keys/{name}.key"')
    return "\n[[authzen.peps]]\n" + "\n".join([*lines, *(f"{key} = {toml(value)}" for key, value in rights.items())])


def office(
    folder: Path,
    opa: str,
    callers: Mapping[str, tuple[str | None, Mapping[str, Any]]],
    more: str = "",
    tables: str = "",
) -> Sandbox:
    """An installation with Tanaka, her laptop, and these callers; `more` are further lines of the section."""
    sandbox = installation(folder, opa)
    laptop(sandbox)
    for name, (key, _) in callers.items():
        if key is not None:
            sandbox.write(f"keys/{name}.key", key.encode() + b"\n")
    section = '\n[authzen]\nlisten = ["127.0.0.1:0"]\n' + more
    peps = "\n".join(caller(name, key, **rights) for name, (key, rights) in callers.items())
    sandbox.write("zt.toml", ((sandbox.folder / "zt.toml").read_text() + section + peps + "\n" + tables).encode())
    return sandbox


def records_office(
    folder: Path, opa: str, callers: Mapping[str, tuple[str | None, Mapping[str, Any]]], more: str = ""
) -> Sandbox:
    """The same with the bundle that decides about records, for the types of `TYPES`."""
    made = office(folder, opa, callers, more=more, tables=TYPES)
    made.write("authzen.tar.gz", build_rules(RECORDS, RULES, OpaBinary(Path(opa)), key=made.bundle_key))
    return made


def address(process: Process) -> str:
    """Where a running sidecar listens for callers."""
    return str(process.said("authzen.started")["listen"][0])


def question(
    resource: Any = CASE, method: str = "GET", subject: str = "tanaka", *, now: float | None = None, **said: Any
) -> dict[str, Any]:
    """A question about Tanaka at her laptop, signed in a minute ago; `said` changes what is stated, None takes away."""
    stated: dict[str, Any] = {
        "amr": ["hwk", "user"], "acr": "phr", "auth_time": int(time.time() if now is None else now) - 60,
        "device_id": "laptop-1", "binding": "mtls", **said,
    }  # fmt: skip
    known = {"type": "http", "id": resource} if isinstance(resource, str) else resource
    return {
        "subject": {
            "type": "user",
            "id": subject,
            "properties": {name: value for name, value in stated.items() if value is not None},
        },
        "resource": known,
        "action": {"name": method},
    }


def about(subject: str, action: str, record: str, *, context: Any = None, **how: Any) -> dict[str, Any]:
    """A question; `how` are properties: `subject_`, `action_` and `resource_` say whose."""
    parts: dict[str, dict[str, Any]] = {"subject": {}, "action": {}, "resource": {}}
    for name, value in how.items():
        part, _, key = name.partition("_")
        parts[part][key] = value
    asked = {
        "subject": {"type": "user", "id": subject, "properties": parts["subject"]},
        "action": {"name": action, "properties": parts["action"]},
        "resource": {"type": "record", "id": record, "properties": parts["resource"]},
    }
    return asked if context is None else {**asked, "context": context}


class Reply(NamedTuple):
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def decision(self) -> bool:
        assert self.status == 200, self
        return self.json["decision"]

    @property
    def reason(self) -> str:
        return self.json["context"]["reason"]

    @property
    def decisions(self) -> list[bool]:
        assert self.status == 200, self
        return [item["decision"] for item in self.json["evaluations"]]


class Caller:
    """One kept-alive connection of a caller."""

    def __init__(self, where: str, key: str | None = KEY, *, sock: Any = None) -> None:
        self.where, self.key = where, key
        self.sock = sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def post(self, path: str, body: Any, *, headers: Sequence[tuple[str, str]] = (), **how: Any) -> Reply:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, raw, headers=headers, **how)

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, headers: Sequence[tuple[str, str]] = (),
        content: str | None = "application/json",
    ) -> Reply:  # fmt: skip
        lines = [f"{method} {path} HTTP/1.1", "Host: pdp"]
        lines += [f"Authorization: Bearer {self.key}"] if self.key is not None else []
        lines += [f"Content-Type: {content}"] if content is not None and body is not None else []
        lines += [f"Content-Length: {len(body)}"] if body is not None else []
        lines += [f"{name}: {value}" for name, value in headers]
        return self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))

    def send(self, raw: bytes) -> Reply:
        """Send bytes and read one answer; the connection is opened anew after one that ended."""
        if self.sock is None:
            self.sock = connect(self.where)
        try:
            self.sock.sendall(raw)
        except OSError:
            pass  # who is refused early may be cut off, and the refusal can still be read
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(rest) < int(headers["content-length"]):
            rest += self._read()
        assert len(rest) == int(headers["content-length"])
        if headers.get("connection") == "close":
            self.close()
        return Reply(int(status.split(" ")[1]), headers, rest)

    def _read(self) -> bytes:
        piece = self.sock.recv(65536)
        assert piece, "hung up"
        return piece

    def evaluate(self, body: Any, **how: Any) -> Reply:
        return self.post(EVALUATION, body, **how)

    def batch(self, body: Any, **how: Any) -> Reply:
        return self.post(EVALUATIONS, body, **how)

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None
