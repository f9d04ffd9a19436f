"""Enrolling this machine: invitation, sign-in, notice, key, certificate, first report.

The server says what comes next and the folder says what was done, so whatever breaks off, a kill at any point as well,
is resumed by starting again. INVARIANT: nothing is collected before the person agreed to the notice, and a key is
remembered before it is made.
"""

from __future__ import annotations

from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.agent.collecting import Source
from device_inventory.agent.control_plane import ControlPlane, Notice, Progress, Terms
from device_inventory.agent.csr import NAME, csr_digest
from device_inventory.agent.device import Clock, Device, Outcome, hold
from device_inventory.agent.errors import AgentError, RefusedError, Secret
from device_inventory.agent.jose import compact
from device_inventory.agent.keys import Attester, Choice, DeviceKey, KeyWish, choose, make_key, new_ref
from device_inventory.agent.state import CERTIFICATE, SPOOL, Agreed, Held, Home, Session, State
from device_inventory.agent.wire import plain

MOST_STEPS: Final = 12
_SESSION_OVER: Final = frozenset({401, 403, 404, 410})
_NOTICE_CHANGED: Final = "NOTICE_CHANGED"


class Talk(Protocol):
    """The person at the machine."""

    def sign_in(self, terms: Terms) -> Secret:
        """Return an ID token of the issuer that the terms name."""
        ...

    def agree(self, notice: Notice, ownership: str) -> bool:
        """Show what is collected; whether the person agrees."""
        ...

    def chose(self, choice: Choice) -> None:
        """Tell what kind of key is made, and why no better one."""
        ...

    def step(self, name: str) -> None:
        """Tell what happens now: `terms`, `sign_in`, `resume`, `key`, `certificate`, `report`."""
        ...


class Enrolled(Struct, frozen=True, kw_only=True):
    """A device that is enrolled and has reported."""

    held: Held
    outcome: Outcome


class Enroller:
    """Takes the steps that are left. `attester` proves where the key is, where there is something that can."""

    def __init__(
        self,
        home: Home,
        server: ControlPlane,
        source: Source,
        clock: Clock,
        talk: Talk,
        *,
        wish: KeyWish,
        proxy: str = "",
        attester: Attester | None = None,
    ) -> None:
        self._home = home
        self._server = server
        self._source = source
        self._clock = clock
        self._talk = talk
        self._wish = wish
        self._proxy = proxy
        self._attester = attester

    def enroll(self, code: str, *, again: bool = False) -> Enrolled:
        """Take every step that is left.

        `code` may be empty to resume. `again` forgets a device that was enrolled here: its key never comes back.
        """
        with self._home.locked():
            self._talk.step("terms")
            terms = self._server.terms()
            state = self._begin(terms, again=again)
            if state.session is not None:
                self._talk.step("resume")
            if state.held is None:
                state = self._certified(state, terms, code)
            assert state.held is not None
            self._talk.step("report")
            outcome = Device(self._home, self._server, self._source, self._clock).report()
            state = self._home.load() or state
            self._home.save(replace(state, session=None))
            assert state.held is not None
            return Enrolled(held=state.held, outcome=outcome)

    def _begin(self, terms: Terms, *, again: bool) -> State:
        held = self._home.load()
        if held is not None and not again:
            if held.url != self._server.url:
                raise AgentError("AGENT_SERVER_OTHER", f"this folder belongs to `{held.url}`", where=self._server.url)
            refuse_enrolled(self._home)
            state = replace(
                held, issuer=terms.issuer, client_id=terms.client_id, portal=terms.portal, proxy=self._proxy
            )
        else:
            state = State(
                url=self._server.url,
                proxy=self._proxy,
                issuer=terms.issuer,
                client_id=terms.client_id,
                portal=terms.portal,
            )
        self._home.save(state)
        if again and held is not None:
            # The state that named them is gone first: a key without a state is of no use, a state without its key is.
            for name in (SPOOL, CERTIFICATE, held.key.name if held.key and held.key.kind != "pkcs11" else SPOOL):
                self._home.remove(name)
        return state

    def _certified(self, state: State, terms: Terms, code: str) -> State:
        for _ in range(MOST_STEPS):
            progress = self._progress(state)
            if progress is None:
                state = self._start(state, terms, code)
                continue
            if progress.ownership and progress.ownership != state.ownership:
                state = replace(state, ownership=progress.ownership, agreed=None)
            match progress.next:
                case "consent":
                    state = self._consent(state)
                case "key" | "report" | "remedy" | "wait":
                    # Beyond `key` the certificate was issued and its way here broke off: it is asked for again.
                    return self._certify(self._agreed(state), _session(state), terms)
                case _:
                    raise self._ended(state, progress)
        raise AgentError("AGENT_SERVER_ANSWER", "the enrollment does not come to an end", where=self._server.url)

    def _progress(self, state: State) -> Progress | None:
        """How far the server says it is; None when there is no session, or none that still counts."""
        if state.session is None:
            return None
        try:
            return self._server.progress(state.session)
        except RefusedError as refused:
            if refused.status in _SESSION_OVER:
                return None
            raise

    def _start(self, state: State, terms: Terms, code: str) -> State:
        if not code:
            raise AgentError("AGENT_INVITATION_MALFORMED", "nothing is under way here; give the invitation's code")
        self._talk.step("sign_in")
        started = self._server.start(code, self._talk.sign_in(terms))
        same = state.session is not None and state.session.id == started.enrollment
        state = replace(
            state,
            session=Session(id=started.enrollment, secret=started.secret),
            ownership=started.ownership or state.ownership,
            agreed=state.agreed if same else None,
        )
        self._home.save(state)
        return state

    def _consent(self, state: State) -> State:
        state = self._agreed(state)
        assert state.agreed is not None
        try:
            self._server.consent(_session(state), state.agreed.version)
        except RefusedError as refused:
            if refused.code != _NOTICE_CHANGED:
                raise
            state = replace(state, agreed=None)
            self._home.save(state)
        return state

    def _agreed(self, state: State) -> State:
        """Have the person agree, unless that was done before; AGENT_CONSENT_REFUSED ends it, and nothing was sent."""
        if state.agreed is not None:
            return state
        ownership = state.ownership or "corp"
        notice = self._server.notice(ownership)
        if not self._talk.agree(notice, ownership):
            raise AgentError("AGENT_CONSENT_REFUSED", "the notice was not agreed to")
        agreed = Agreed(version=notice.version, facts=tuple(fact.name for fact in notice.facts))
        state = replace(state, agreed=agreed)
        self._home.save(state)
        return state

    def _certify(self, state: State, session: Session, terms: Terms) -> State:
        if terms.attestation == "required" and self._attester is None:
            raise AgentError("AGENT_ATTESTATION_REQUIRED", "this agent cannot prove where its key is")
        key, state = self._key(state)
        self._talk.step("certificate")
        csr = key.csr(NAME)
        digest, nonce = csr_digest(csr), self._server.key_nonce(session)
        claims = {
            "nonce": nonce,
            "aud": self._server.url,
            "iat": int(self._clock.now()),
            "enrollment": session.id,
            "csr": digest,
        }
        attestation = None
        if self._attester is not None and key.protection == "hw":
            attestation = self._attester.attest(nonce=nonce, csr_digest=digest)
        protection = "attested_hw" if attestation is not None else key.protection
        issued = self._server.certify(
            session,
            {
                "csr": csr,
                "proof": compact(key, claims, typ="zt-enroll+jwt", jwk=dict(key.public_jwk)),
                "key_protection": protection,
                "attestation": attestation,
                "helper_key": None if state.ownership == "byod" else self._source.helper_key(),
            },
        )
        blank = Held(
            device_id=issued.device_id,
            certificate="",
            chain="",
            x5t="",
            not_before=0,
            not_after=0,
            protection=protection,
        )
        held = hold(issued, blank, key, now=self._clock.now())
        state = replace(state, held=held)
        self._home.save(state)
        return state

    def _key(self, state: State) -> tuple[DeviceKey, State]:
        """The key of this enrollment, made now unless that was done before."""
        if state.key is None or self._wish.wanted not in ("auto", state.key.kind):
            choice = choose(self._wish)
            self._talk.chose(choice)
            state = replace(state, key=new_ref(choice.kind, self._wish))
            self._home.save(state)
        assert state.key is not None
        self._talk.step("key")
        return make_key(self._home, state.key), state

    def _ended(self, state: State, progress: Progress) -> AgentError:
        self._home.save(replace(state, session=None, agreed=None))
        code = "AGENT_ENROLLMENT_EXPIRED" if progress.state == "expired" else "AGENT_ENROLLMENT_REFUSED"
        return AgentError(code, f"the server says `{plain(progress.state, 40)}`", where=self._server.url)


def refuse_enrolled(home: Home) -> None:
    """Refuse a folder whose device is enrolled and has reported: AGENT_ENROLLED."""
    state = home.load()
    if state is not None and state.held is not None and state.session is None:
        raise AgentError("AGENT_ENROLLED", f"as `{state.held.device_id}`", where=str(home.path))


def _session(state: State) -> Session:
    assert state.session is not None
    return state.session
