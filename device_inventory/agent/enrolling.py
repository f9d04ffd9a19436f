"""Enrolling this machine: invitation, sign-in, notice, key, certificate, first report.

The server says what comes next and the folder says what was done, so whatever breaks off, a kill at any point as well,
is resumed by starting again. INVARIANT: nothing is collected before the person agreed to the notice, and a key is
remembered before it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.agent.collecting import Source
from device_inventory.agent.control_plane import ControlPlane, Notice, Progress, Terms
from device_inventory.agent.csr import NAME, csr_digest
from device_inventory.agent.device import Attesters, Clock, Device, Outcome, forgetting, hold
from device_inventory.agent.errors import AgentError, RefusedError, UnreachableError
from device_inventory.agent.jose import compact
from device_inventory.agent.keys import (
    KEY_PREFIX,
    Attester,
    Choice,
    DeviceKey,
    KeyWish,
    attester_of,
    choose,
    make_key,
    new_ref,
)
from device_inventory.agent.oidc import SignedIn
from device_inventory.agent.state import Agreed, Held, Home, KeyRef, Session, State
from device_inventory.agent.wire import plain

MOST_STEPS: Final = 12
_SESSION_OVER: Final = frozenset({401, 403, 404, 410})
_NOTICE_CHANGED: Final = "NOTICE_CHANGED"


class Talk(Protocol):
    """The person at the machine."""

    def sign_in(self, terms: Terms) -> SignedIn:
        """Return a sign-in at the issuer that the terms name, bound to the URL of the terms."""
        ...

    def agree(self, notice: Notice, ownership: str) -> bool:
        """Show what is collected; whether the person agrees."""
        ...

    def chose(self, choice: Choice) -> None:
        """Tell what kind of key is made, and why no better one."""
        ...

    def unattested(self, error: AgentError) -> None:
        """Tell that nothing proves where the key is, although it is in the TPM, and why."""
        ...

    def step(self, name: str) -> None:
        """Tell what happens now: `terms`, `sign_in`, `resume`, `key`, `certificate`, `report`."""
        ...


class Enrolled(Struct, frozen=True, kw_only=True):
    """A device that is enrolled and has reported."""

    held: Held
    outcome: Outcome


class Enroller:
    """Takes the steps that are left."""

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
        attesters: Attesters = attester_of,
    ) -> None:
        self._home = home
        self._server = server
        self._source = source
        self._clock = clock
        self._talk = talk
        self._wish = wish
        self._proxy = proxy
        self._attesters = attesters

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
            device = Device(self._home, self._server, self._source, self._clock, attesters=self._attesters)
            outcome = device.report()
            state = self._home.load() or state
            self._home.save(replace(state, session=None))
            self._forget_keys(_key_of(state))
            assert state.held is not None
            return Enrolled(held=state.held, outcome=outcome)

    def _begin(self, terms: Terms, *, again: bool) -> State:
        """What to go on from. With `again` what is remembered stays so until the new invitation has been accepted."""
        url = self._server.url
        told = State(url=url, proxy=self._proxy, issuer=terms.issuer, client_id=terms.client_id, portal=terms.portal)
        if again:
            return told
        held = self._home.load()
        if held is not None:
            if held.url != url:
                raise AgentError("AGENT_SERVER_OTHER", f"this folder belongs to `{held.url}`", where=url)
            refuse_enrolled(self._home)
            told = replace(held, proxy=told.proxy, issuer=told.issuer, client_id=told.client_id, portal=told.portal)
        self._home.save(told)
        return told

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
        key, state = self._key(state, required=terms.attestation == "required")
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
        attester = None
        if terms.attestation != "none":
            attester = self._attesters(self._home, _key_of(state), partial(self._server.challenge, session))
        attestation = self._attestation(attester, terms, nonce=nonce, digest=digest)
        protection = "attested_hw" if attestation is not None else key.protection
        body = {
            "csr": csr,
            "proof": compact(key, claims, typ="zt-enroll+jwt", jwk=dict(key.public_jwk)),
            "key_protection": protection,
            "attestation": attestation,
            "helper_key": None if state.ownership == "byod" else self._source.helper_key(),
        }
        with forgetting(attester):
            issued = self._server.certify(session, body)
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

    def _attestation(
        self, attester: Attester | None, terms: Terms, *, nonce: str, digest: str
    ) -> Mapping[str, object] | None:
        """Prove where the key is, if anybody asks. Where that is optional a failure is said and not hidden."""
        try:
            return None if attester is None else attester.attest(nonce=nonce, csr_digest=digest)
        except UnreachableError:
            raise
        except AgentError as error:
            if terms.attestation == "required":
                raise
            self._talk.unattested(error)
            return None

    def _key(self, state: State, *, required: bool) -> tuple[DeviceKey, State]:
        """The key of this enrollment, made now unless that was done before. `required`: in what can prove it."""
        unfit = state.key is None or (required and state.key.kind != "tpm")
        if unfit or self._wish.wanted not in ("auto", _key_of(state).kind):
            choice = choose(self._wish)
            self._talk.chose(choice)
            if required and choice.kind != "tpm":
                raise AgentError("AGENT_ATTESTATION_REQUIRED", f"nothing proves where a `{choice.kind}` key is")
            state = replace(state, key=new_ref(choice.kind, self._wish))
            self._home.save(state)
        assert state.key is not None
        self._talk.step("key")
        return make_key(self._home, state.key), state

    def _forget_keys(self, kept: KeyRef) -> None:
        """Remove the keys of earlier enrollments, which are certified for nobody any more."""
        for path in self._home.path.glob(f"{KEY_PREFIX}*"):
            if path.name != kept.name:
                self._home.remove(path.name)

    def _ended(self, state: State, progress: Progress) -> AgentError:
        self._home.save(replace(state, session=None, agreed=None))
        code = "AGENT_ENROLLMENT_EXPIRED" if progress.state == "expired" else "AGENT_ENROLLMENT_REFUSED"
        return AgentError(code, f"the server says `{plain(progress.state, 40)}`", where=self._server.url)


def _key_of(state: State) -> KeyRef:
    assert state.key is not None
    return state.key


def refuse_enrolled(home: Home) -> None:
    """Refuse a folder whose device is enrolled and has reported: AGENT_ENROLLED."""
    state = home.load()
    if state is not None and state.held is not None and state.session is None:
        raise AgentError("AGENT_ENROLLED", f"as `{state.held.device_id}`", where=str(home.path))


def _session(state: State) -> Session:
    assert state.session is not None
    return state.session
