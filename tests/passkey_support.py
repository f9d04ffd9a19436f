"""Keys for tests of the control plane's pages: an office where people have keys, and sessions that prove themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.control_support import NOW, TENANT
from tests.fakes.authenticator import FakeAuthenticator, FakeVerifier
from tests.portal_support import ISSUER, Browser, PortalOffice
from tests.store_support import reset_store
from zt_engine.control_plane.app import RATES
from zt_engine.control_plane.limits import Rate
from zt_engine.control_plane.passkeys import PASSKEYS, Passkeys
from zt_engine.control_plane.passkeys_proving import Begun, Proving, Raised
from zt_engine.core.webauthn import Passkey
from zt_engine.ports.sessions import HeldSession
from zt_engine.ports.webauthn import KeyVerifier

HOST = "portal.example"
BEFORE = {"acr": "pwd", "amr": ("pwd",)}
"""What a session says that no key was used for."""
OFTEN = {name: (Rate(100_000, 1000), Rate(100_000, 1000)) for name in RATES}
DATA = re.compile(r'data-options="([^"]*)"')


class KeyOffice(PortalOffice):
    """A control plane whose people have keys. `signed_in` begins a session at another host."""

    def __init__(
        self, *, verifier: KeyVerifier | None = None, sign_in: frozenset[str] = frozenset(), **parts: Any
    ) -> None:
        super().__init__(rates=OFTEN, **parts)
        self.plane = self.control.plane
        self.keys = Passkeys(self.plane, verifier or FakeVerifier(), sign_in=sign_in)
        self.plane.extras[PASSKEYS] = self.keys
        self.proving = Proving(self.plane)

    def forget(self) -> None:
        """Be as new: a store that nobody has written to, and the clock where it began."""
        reset_store(self.control.store)
        self.control.clock.advance(NOW - self.control.clock.now())
        self.people.known.clear()

    @property
    def now(self) -> int:
        return self.plane.now()

    def __enter__(self) -> Self:
        return self

    def signed_in(self, subject: str = "tanaka", *, host: str = HOST, device_id: str = "", **said: Any) -> str:
        """A session at a host of the proxies; returns its sid."""
        self.people.known[subject] = said
        begun = self.sessions.begin(
            scheme="https", host=host, authority=host, to="/", acr_values="", max_age=None, device_id=device_id,
            now=self.now,
        )  # fmt: skip
        query = {name: values[0] for name, values in parse_qs(urlsplit(begun.location).query).items()}
        done = self.sessions.finish(
            state=query["state"], ticket=begun.ticket, host=host, device_id=device_id,
            code=f"{subject}|{query['nonce']}", issuer=None, error="", now=self.now,
        )  # fmt: skip
        return done.sid

    def register(self, browser: Browser, key: Any = None, *, name: str = "First key", **wrong: Any) -> httpx.Response:
        """Register a key with the page; `wrong` is what is wrong with the answer."""
        browser.get("/my/keys/new")
        form = {"ceremony": field(browser.page, "ceremony"), "name": name}
        form["answer"] = (key or FakeAuthenticator()).create(options(browser.page), **wrong).decode()
        return browser.post("/my/keys/new", form)

    def with_key(self, subject: str = "tanaka", **kind: Any) -> tuple[FakeAuthenticator, Passkey]:
        """Somebody who has a key, and the key."""
        key = FakeAuthenticator(**kind)
        assert self.register(self.browser(subject), key, name=f"Key {len(self.held(subject)) + 1}").status_code == 200
        found = {one.credential: one for one in self.held(subject)}
        return key, found[json.loads(key.get(b'{"challenge": ""}'))["id"]]

    def held(self, subject: str = "tanaka") -> list[Passkey]:
        """Somebody's keys."""
        return list(self.keys.of(ISSUER, subject))

    def session(self, sid: str) -> HeldSession | None:
        """A session as it is kept."""
        with self.plane.store.reading(TENANT) as tx:
            return tx.sessions.get(sid)

    def begin(self, sid: str, **fields: Any) -> Begun:
        """Begin a ceremony for a session."""
        asked: dict[str, Any] = {
            "sid": sid, "scheme": "https", "host": HOST, "authority": HOST, "to": "/cases/1?page=2", "device_id": "",
            "wanted": ("phr", "phrh"), "now": self.now,
        }  # fmt: skip
        return self.proving.begin(**(asked | fields))

    def prove(self, begun: Begun, key: Any, **wrong: Any) -> str:
        """Use a key; returns the code."""
        secret = secret_of(begun)
        asked = self.proving.asked(secret, now=self.now)
        location = self.proving.prove(secret, key.get(asked.options, **wrong), now=self.now)
        assert location.startswith(f"https://{HOST}/.zt/proven?code=")
        return location.partition("code=")[2]

    def finish(self, begun: Begun, sid: str, code: str, **fields: Any) -> Raised:
        """Come back with a code."""
        told: dict[str, Any] = {"code": code, "ticket": begun.ticket, "sid": sid, "host": HOST, "device_id": ""}
        return self.proving.finish(**(told | {"now": self.now} | fields))


@pytest.fixture(scope="module")
def one_office() -> Iterator[KeyOffice]:
    with KeyOffice() as made:
        yield made


@pytest.fixture
def office(one_office: KeyOffice) -> KeyOffice:
    """The module's office, as new for each test."""
    one_office.forget()
    return one_office


def secret_of(begun: Begun) -> str:
    """The secret in the address of a ceremony's page."""
    return begun.location.rpartition("/")[2]


def options(page: str) -> bytes:
    """The options that a page hands to its script."""
    found = DATA.search(page)
    assert found is not None, page
    return unescape(found[1]).encode()


def field(page: str, name: str) -> str:
    """A hidden field of a page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, page
    return unescape(found[1])
