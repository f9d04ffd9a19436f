"""People's pages for tests: a control plane where anybody can be signed in, and browsers with cookies and forms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from fastapi import APIRouter

from tests.control_support import URL, Control, a_device
from zt_engine.adapters.admin_keys import ClaimedRoles
from zt_engine.adapters.sealing import FileSealer
from zt_engine.control_plane.api.sessions import PART
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.portal.parts import Portal
from zt_engine.control_plane.portal.rooms import portal_room
from zt_engine.control_plane.sessions import SessionRules, Sessions
from zt_engine.core.errors import InputError
from zt_engine.pages.book import PageBook
from zt_engine.ports.credentials import LoggedOut, Person
from zt_engine.ports.sessions import Tokens

ISSUER = "https://idp.example"
ROLES = {role: (role,) for role in ("viewer", "helpdesk", "approver", "security", "owner")}
SESSION = "__Host-zt-session"
HTML = {"accept": "text/html,application/xhtml+xml", "accept-language": "en"}


class FakeProvider:
    """The identity provider: whoever `people` names signs in as they do, without being asked anything."""

    issuer = ISSUER

    def __init__(self) -> None:
        self.nonces: dict[str, str] = {}
        self.refresh_token = ""
        self.asked: list[dict[str, Any]] = []

    def authorization_url(self, **query: Any) -> str:
        self.asked.append(query)
        return f"{ISSUER}/authorize?" + urlencode({name: value for name, value in query.items() if value is not None})

    def promises_issuer(self) -> bool:
        return False

    def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Tokens:
        return Tokens(id_token=code.encode(), refresh_token=self.refresh_token)

    def refresh(self, refresh_token: str) -> Tokens:
        return Tokens(id_token=b"", refresh_token=refresh_token)

    def sign_out_url(self, *, hint: str, redirect_uri: str, state: str) -> str:
        return f"{ISSUER}/sign-out?" + urlencode({"post_logout_redirect_uri": redirect_uri, "state": state})


class FakePeople:
    """The code of a sign-in is `SUBJECT|NONCE`; `known` holds what else its ID token says."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}

    def verify(self, id_token: bytes, *, now: float) -> Person:
        subject, _, nonce = id_token.decode().partition("|")
        if not subject:
            raise InputError("TOKEN_CLAIMS", "nobody")
        said = {"issuer": ISSUER, "subject": subject, "nonce": nonce, "auth_time": int(now)}
        return Person(**(said | self.known.get(subject, {})))

    def logged_out(self, token: bytes, *, now: float) -> LoggedOut:
        return LoggedOut(issuer=ISSUER, id=token.decode(), subject=token.decode(), session="")


class PortalOffice:
    """A control plane with pages: `browser(subject)` is somebody who signed in."""

    def __init__(self, *, organisation: str = "Ministry of Tests", **parts: Any) -> None:
        self.provider: FakeProvider = parts.pop("provider", None) or FakeProvider()
        self.people = FakePeople()
        self.onward: bool = parts.pop("onward", False)
        book = PageBook(parts.get("language", "en"), organisation=organisation, help_contact="03-0000-0000 (help desk)")
        portal = Portal(book=book, roles=ClaimedRoles(ISSUER, claim="roles", roles=ROLES))
        more = tuple(parts.pop("rooms", ()))
        self.control = Control(rooms=(self._signing_in, portal_room(portal), *more), home_issuer=ISSUER, **parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.__exit__()

    def _signing_in(self, plane: ControlPlane) -> APIRouter:
        self.sessions = Sessions(
            plane,
            provider=self.provider,
            people=self.people,
            sealer=FileSealer(b"k" * 32),
            rules=SessionRules(client_id="portal", onward=self.onward),
        )
        plane.extras[PART] = self.sessions
        return APIRouter()

    def browser(self, subject: str = "", *, language: str = "en", **said: Any) -> Browser:
        """A fresh browser, signed in as `subject` where that is given; `said` is what the ID token says beside.

        `roles=("helpdesk",)` makes them an administrator at the desk.
        """
        roles = said.pop("roles", ())
        if roles:
            said["claims"] = {"roles": list(roles)}
        if subject:
            self.people.known[subject] = said
        made = Browser(self.control, language=language)
        if subject:
            made.sign_in(subject)
        return made


class Browser:
    """Keeps cookies for this one origin, posts the forms it is shown, and says of each where it comes from."""

    def __init__(self, control: Control, *, language: str = "en", cookies: bool = True) -> None:
        self.control = control
        self.keeps = cookies
        self.cookies: dict[str, str] = {}
        self.language = language
        self.page = ""
        self.path = "/"

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Open a page, and follow wherever it leads at this origin."""
        answer = self.once("GET", path, **headers)
        for _ in range(5):
            to = answer.headers.get("location", "")
            if answer.status_code not in (302, 303) or not to.startswith("/"):
                break
            answer = self.once("GET", to)
        return answer

    def post(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> httpx.Response:
        """Post a form of the page that was last shown, and follow."""
        answer = self.send(path, {"csrf": self.csrf, **(form or {})}, **headers)
        to = answer.headers.get("location", "")
        return self.get(to) if answer.status_code == 303 and to.startswith("/") else answer

    def send(self, path: str, form: Mapping[str, str], **headers: str) -> httpx.Response:
        """Post exactly this, and follow nothing."""
        sent = {"origin": URL, "sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"}
        return self.once("POST", path, urlencode(form).encode(), **(sent | headers))

    def once(self, method: str, path: str, content: bytes | None = None, **headers: str) -> httpx.Response:
        """Send one request; an empty header is left out."""
        sent = {**HTML, "accept-language": self.language}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.control.raw(method, path, content, {name: value for name, value in sent.items() if value})
        for line in answer.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            if self.keeps:
                self.cookies[name] = rest.partition(";")[0]
                if "max-age=0" in line.lower():
                    del self.cookies[name]
        if answer.headers.get("content-type", "").startswith("text/html"):
            self.page, self.path = answer.text, path
        return answer

    def sign_in(self, subject: str, *, to: str = "/") -> httpx.Response:
        """Sign in as somebody and come back."""
        return self.get(self.way_back(subject, to=to))

    def way_back(self, subject: str, *, to: str = "/") -> str:
        """Begin a sign-in and return the path that the provider sends the browser back to."""
        begun = self.once("GET", f"/.zt/login?to={to}")
        assert begun.status_code == 303, begun.text
        query = {name: values[0] for name, values in parse_qs(urlsplit(begun.headers["location"]).query).items()}
        return "/.zt/callback?" + urlencode({"state": query["state"], "code": f"{subject}|{query['nonce']}"})

    @property
    def csrf(self) -> str:
        """What the forms of the last page hold."""
        found = re.search(r'name="csrf" value="([^"]*)"', self.page)
        return unescape(found[1]) if found else ""

    @property
    def text(self) -> str:
        """The words of the last page."""
        words = re.sub(r"<(style|script)>.*?</\1>", " ", self.page, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", words)).split())


@pytest.fixture
def office() -> Iterator[PortalOffice]:
    with PortalOffice() as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[PortalOffice]:
    """For tests that change nothing but sessions."""
    with PortalOffice() as made:
        made.control.put(a_device())
        yield made
