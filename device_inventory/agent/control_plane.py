"""The control plane as the agent sees it: one method a call of its HTTP contract, with what the answer must look like.

What the server says is shown to a person, so every text of it is made printable first. Answers may have more members
than are known here; those that are known must have the right type.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from device_inventory.agent.errors import AgentError
from device_inventory.agent.jose import Signer, compact
from device_inventory.agent.oidc import SignedIn
from device_inventory.agent.state import Item, KeyProtection, Session
from device_inventory.agent.wire import Wire, nonsense, plain, read_answer

MOST_ITEMS: Final = 200
ASSERTION_SECONDS: Final = 60

T = TypeVar("T")


class Terms(Struct, frozen=True, kw_only=True):
    """What the control plane says of itself before anybody signed in."""

    tenant: str
    issuer: str
    client_id: str
    url: str
    notice_version: str
    scopes: str | list[str] = "openid"
    attestation: str = "none"
    portal: str = ""

    @property
    def scope(self) -> str:
        """The scopes as OAuth spells them, with `openid` among them."""
        names = self.scopes.split() if isinstance(self.scopes, str) else self.scopes
        return " ".join(dict.fromkeys(("openid", *names)))


class NoticeFact(Struct, frozen=True, kw_only=True):
    """One fact that is collected, in the person's language."""

    name: str
    text: str
    purpose: str
    retention: str


class Notice(Struct, frozen=True, kw_only=True):
    """What a person agrees to."""

    version: str
    facts: tuple[NoticeFact, ...]
    preamble: str = ""


class Started(Struct, frozen=True, kw_only=True):
    """An enrollment that was started or resumed."""

    enrollment: str
    secret: str
    state: str
    next: str
    ownership: str = ""

    def __repr__(self) -> str:
        return f"Started(enrollment={self.enrollment!r}, secret=..., state={self.state!r})"


class Progress(Struct, frozen=True, kw_only=True):
    """How far an enrollment is."""

    state: str
    next: str
    device_id: str | None = None
    ownership: str = ""
    items: tuple[Item, ...] = ()


class Issued(Struct, frozen=True, kw_only=True):
    """A certificate. A renewal need not repeat the device's id; how the key is kept may be less than was said."""

    certificate: str
    chain: str = ""
    device_id: str = ""
    key_protection: KeyProtection | None = None


class Accepted(Struct, frozen=True, kw_only=True):
    """The answer to a report. `full`: the next one has to say everything."""

    accepted: bool
    seq: int
    status: str
    items: tuple[Item, ...] = ()
    next_report_in: int = 0
    full: bool = False
    proof_hosts: tuple[str, ...] = ()
    """Hosts that may be told of this device through a browser."""


class Standing(Struct, frozen=True, kw_only=True):
    """What is held about this device, as far as the agent needs it."""

    status: str
    items: tuple[Item, ...] | None = None
    """None when the server does not say here what is missing."""
    good_for: str | None = None
    """The highest label that is open to the device now, empty for none; None when the server does not know."""


class Mine(Struct, frozen=True, kw_only=True):
    """A device of the person who signed in, as that person may recognise it."""

    device_id: str
    status: str
    name: str = ""
    model: str = ""


class _MyDevices(Struct):
    devices: tuple[Mine, ...]


class _Nonce(Struct):
    nonce: str


class Credential(Struct, frozen=True, kw_only=True):
    """What a device proves itself with: its key, and the certificate that names it."""

    signer: Signer
    device_id: str
    x5t: str


class ControlPlane:
    """Talks to one control plane at `url`."""

    def __init__(self, wire: Wire, url: str, now: Callable[[], float]) -> None:
        self.url = url
        self._wire = wire
        self._now = now

    # -- enrolling

    def terms(self) -> Terms:
        """Step 1; AGENT_SERVER_NAME when the server goes by another URL, which what is signed would not fit."""
        terms = self._ask(Terms, "GET", "/v1/enroll/config")
        if terms.url.rstrip("/") != self.url:
            raise AgentError(
                "AGENT_SERVER_NAME", f"it calls itself `{plain(terms.url)}`", where=self.url, hint="use that URL"
            )
        return terms

    def notice(self, ownership: str) -> Notice:
        """Step 2: what is collected, in the language of the person."""
        query = urlencode({"ownership": ownership, "lang": self._wire.language})
        notice = self._ask(Notice, "GET", "/v1/enroll/notice", query=query)
        facts = tuple(
            NoticeFact(
                name=plain(fact.name),
                text=plain(fact.text),
                purpose=plain(fact.purpose),
                retention=plain(fact.retention),
            )
            for fact in notice.facts
        )
        return replace(notice, facts=facts, preamble=plain(notice.preamble))

    def start(self, code: str, sign_in: SignedIn) -> Started:
        """Step 3; the same person with the same open invitation resumes."""
        return self._ask(Started, "POST", "/v1/enroll", body={"code": code, **sign_in.body()})

    def progress(self, session: Session) -> Progress:
        """Step 4."""
        return _tidy(self._ask(Progress, "GET", _path(session), headers=_enroll(session)))

    def consent(self, session: Session, notice_version: str) -> None:
        """Step 5; the notice that was shown, by its version."""
        body = {"notice_version": notice_version}
        self._ask(msgspec.Raw, "POST", _path(session, "/consent"), headers=_enroll(session), body=body)

    def key_nonce(self, session: Session) -> str:
        """Step 6."""
        return self._ask(_Nonce, "POST", _path(session, "/nonce"), headers=_enroll(session)).nonce

    def challenge(self, session: Session, statement: Mapping[str, object]) -> Mapping[str, str]:
        """Between 6 and 7, where a TPM proves where the key is: return what only that TPM can read."""
        path, headers = _path(session, "/attestation"), _enroll(session)
        return self._ask(dict[str, str], "POST", path, headers=headers, body=statement)

    def certify(self, session: Session, body: Mapping[str, object]) -> Issued:
        """Step 7."""
        return self._ask(Issued, "POST", _path(session, "/key"), headers=_enroll(session), body=body)

    # -- as a device

    def nonce(self, who: Credential) -> str:
        """Return a nonce bound to this device, for one report or one renewal."""
        return self._as_device(_Nonce, who, "POST", "/v1/devices/nonce").nonce

    def challenge_again(self, who: Credential, statement: Mapping[str, object]) -> Mapping[str, str]:
        """Return the same to a device that is enrolled."""
        return self._as_device(dict[str, str], who, "POST", "/v1/devices/self/attestation", body=statement)

    def report(self, evidence: str) -> Accepted:
        """Send signed evidence."""
        headers = {"Content-Type": "application/jwt"}
        return _tidy(self._ask(Accepted, "POST", "/v1/reports", headers=headers, content=evidence.encode()))

    def renew(self, who: Credential, body: Mapping[str, object]) -> Issued:
        """Ask for the next certificate."""
        return self._as_device(Issued, who, "POST", "/v1/devices/self/renew", body=body)

    def standing(self, who: Credential) -> Standing:
        """Return what is held about this device."""
        held = _tidy(self._as_device(Standing, who, "GET", "/v1/devices/self"))
        return held if held.good_for is None else replace(held, good_for=plain(held.good_for))

    def lost(self, who: Credential) -> None:
        """Report this very device lost."""
        self._as_device(msgspec.Raw, who, "POST", "/v1/devices/self/lost", body={})

    def mine(self, sign_in: SignedIn) -> tuple[Mine, ...]:
        """Return the working devices of the person who signed in."""
        held = self._ask(_MyDevices, "POST", "/v1/lost", body=sign_in.body()).devices
        return tuple(Mine(**{name: plain(getattr(one, name)) for name in Mine.__struct_fields__}) for one in held)

    def lost_by_owner(self, sign_in: SignedIn, device_id: str) -> None:
        """Report another device lost, as the person who holds it."""
        body = {**sign_in.body(), "device_id": device_id}
        self._ask(msgspec.Raw, "POST", "/v1/lost", body=body)

    # -- one exchange

    def _as_device(
        self, type_: type[T], who: Credential, method: str, path: str, *, body: Mapping[str, object] | None = None
    ) -> T:
        now = int(self._now())
        claims = {
            "iss": who.device_id,
            "aud": self.url,
            "htm": method,
            "htu": self.url + path,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
            "jti": secrets.token_urlsafe(16),
        }
        assertion = compact(who.signer, claims, typ="zt-device+jwt", kid=who.x5t)
        return self._ask(type_, method, path, headers={"Authorization": f"ZtDevice {assertion}"}, body=body)

    def _ask(
        self,
        type_: type[T],
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        content: bytes | None = None,
    ) -> T:
        sent = dict(headers or {})
        if body is not None:
            content = msgspec.json.encode(body)
            sent["Content-Type"] = "application/json"
        where = self.url + path
        answer = self._wire.send(method, where + (f"?{query}" if query else ""), headers=sent, content=content)
        if type_ is msgspec.Raw and not answer.body and answer.status < 300:
            return type_()
        return read_answer(answer, type_, where=where, now=self._now())


_Listed = TypeVar("_Listed", Progress, Accepted, Standing)


def _tidy(answer: _Listed) -> _Listed:
    if answer.items is None:
        return answer
    if len(answer.items) > MOST_ITEMS:
        raise nonsense(f"more than {MOST_ITEMS} items", "items")
    items = tuple(
        Item(**{name: plain(getattr(item, name)) for name in Item.__struct_fields__}) for item in answer.items
    )
    return replace(answer, items=items)


def _path(session: Session, rest: str = "") -> str:
    return f"/v1/enroll/{quote(session.id, safe='')}{rest}"


def _enroll(session: Session) -> dict[str, str]:
    return {"Authorization": f"ZtEnroll {session.secret}"}
