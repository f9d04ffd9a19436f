"""Browser sessions for tests: a control plane that signs browsers in, and who vouches for people there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.control_support import NOW, TENANT, Control
from zt_engine.adapters.sealing import FileSealer
from zt_engine.control_plane.api.sessions import PART
from zt_engine.control_plane.sessions import Begun, SessionRules, Sessions
from zt_engine.core.errors import InputError
from zt_engine.ports.credentials import LoggedOut, Person
from zt_engine.ports.sessions import Tokens

ISSUER = "https://idp.example"
PLACE = {"host": "portal.example", "device_id": ""}
DUE = NOW + 600
OLD = b"k" * 32


class FakeProvider:
    """Lets in whoever a test says; counts what it is asked."""

    issuer = ISSUER

    def __init__(self) -> None:
        self.refresh_token = "r1"
        self.promise = False
        self.ends = True
        self.exchanged: list[tuple[str, str]] = []
        self.refreshed = 0
        self.failure: Exception | None = None
        self.asked = threading.Event()
        self.pause = threading.Event()
        self.pause.set()

    def authorization_url(self, **query: Any) -> str:
        told = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
        return f"{ISSUER}/authorize?{told}"

    def promises_issuer(self) -> bool:
        return self.promise

    def sign_out_url(self, *, hint: str, redirect_uri: str, state: str) -> str:
        return f"{ISSUER}/end?hint={hint}&back={redirect_uri}&state={state}" if self.ends else ""

    def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Tokens:
        self.exchanged.append((code, redirect_uri))
        self.verifier = verifier
        return Tokens(id_token=code.encode(), refresh_token=self.refresh_token)

    def refresh(self, refresh_token: str) -> Tokens:
        self.refreshed += 1
        self.asked.set()
        self.pause.wait(10)
        if self.failure is not None:
            raise self.failure
        return Tokens(id_token=b"", refresh_token=f"{refresh_token}+")


class FakePeople:
    """An ID token is the nonce it was asked for with."""

    def verify(self, id_token: bytes, *, now: float) -> Person:
        return Person(issuer=ISSUER, subject="tanaka", acr="phr", nonce=id_token.decode(), session="idp-7")

    def logged_out(self, token: bytes, *, now: float) -> LoggedOut:
        subject, _, session = token.decode().partition("|")
        return LoggedOut(issuer=ISSUER, id=token.decode(), subject=subject, session=session)


class Office:
    """A control plane that signs browsers in."""

    def __init__(self) -> None:
        self.control = Control()
        self.provider = FakeProvider()
        self.sessions = Sessions(
            self.control.plane,
            provider=self.provider,
            people=FakePeople(),
            sealer=FileSealer(b"k" * 32),
            rules=SessionRules(client_id="portal"),
        )
        self.control.plane.extras[PART] = self.sessions

    def begin(self, to: str = "/cases/1", **fields: Any) -> tuple[Begun, dict[str, str]]:
        asked: dict[str, Any] = {
            "scheme": "https", "host": "portal.example", "authority": "portal.example", "to": to, "acr_values": "",
            "max_age": None, "device_id": "", "now": NOW,
        }  # fmt: skip
        begun = self.sessions.begin(**(asked | fields))
        return begun, {name: values[0] for name, values in parse_qs(urlsplit(begun.location).query).items()}

    def finish(self, begun: Begun, query: dict[str, str], **fields: Any) -> Any:
        told: dict[str, Any] = {
            "state": query["state"], "ticket": begun.ticket, **PLACE, "code": query["nonce"], "issuer": None,
            "error": "", "now": NOW,
        }  # fmt: skip
        return self.sessions.finish(**(told | fields))

    def signed_in(self) -> Any:
        return self.finish(*self.begin())

    def kept(self, sid: str) -> Any:
        with self.control.store.reading(TENANT) as tx:
            return tx.sessions.get(sid)


class People:
    """An ID token is the nonce it was asked for with, or `subject/what the directory says`."""

    def __init__(self, *, unknown: int = 0) -> None:
        self.unknown = unknown

    def verify(self, id_token: bytes, *, now: float) -> Person:
        if self.unknown:
            self.unknown -= 1
            raise InputError("TOKEN_KEY_UNKNOWN", "a new key")
        text = id_token.decode()
        if text == "forged":
            raise InputError("TOKEN_SIGNATURE", "forged")
        if "/" not in text:
            return Person(issuer=ISSUER, subject="tanaka", acr="phr", nonce=text, claims={"dept": "a"})
        subject, _, dept = text.partition("/")
        return Person(issuer=ISSUER, subject=subject, acr="", nonce="", claims={"dept": dept})

    def logged_out(self, token: bytes, *, now: float) -> Any:
        raise AssertionError(token)


def sessions(office: Office, **parts: Any) -> Sessions:
    made: dict[str, Any] = {
        "provider": office.provider, "people": People(), "sealer": FileSealer(OLD),
        "rules": SessionRules(client_id="portal"),
    }  # fmt: skip
    return Sessions(office.control.plane, **(made | parts))


@pytest.fixture(scope="module")
def only() -> Iterator[Office]:
    made = Office()
    with made.control:
        yield made


@pytest.fixture
def office(only: Office) -> Office:
    only.provider = FakeProvider()
    only.sessions = sessions(only)
    only.control.announced()
    return only
