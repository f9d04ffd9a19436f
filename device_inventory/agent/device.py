"""An enrolled device at work: it reports, renews its certificate, and says that it is lost.

INVARIANT: every sequence number is on disk before it is sent, and a report of which nobody knows whether it arrived is
followed by a full one; so what the server holds never differs from what the next difference starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from device_inventory.agent import evidence
from device_inventory.agent.browser_proof import keep_hosts
from device_inventory.agent.collecting import SLOW_EVERY, Seen, Source, agreed_only
from device_inventory.agent.control_plane import Accepted, ControlPlane, Credential, Issued, Standing
from device_inventory.agent.csr import NAME, csr_digest, read_certificate
from device_inventory.agent.errors import AgentError, RefusedError, UnreachableError
from device_inventory.agent.evidence import Words
from device_inventory.agent.jose import compact, payload
from device_inventory.agent.keys import Attester, Challenge, DeviceKey, attester_of, open_key
from device_inventory.agent.schedule import renewal_due
from device_inventory.agent.spool import Spool, read_spool, write_spool
from device_inventory.agent.state import Agreed, Held, Home, KeyRef, Reporting, State, Told
from device_inventory.facts import DAY

FULL_EVERY: Final = DAY
"""A full report a day mends whatever a difference could have missed."""
QUOTE_EVERY: Final = DAY // 2
"""What was booted stays what was booted; this only keeps it from growing old."""
_INSTALLED: Final = ("patch.last_success_at", "patch.reboot_required", "kernel.running_is_latest")
_SAY_ALL: Final = "REPORT_FACT_MISSING"
_SHOW_AGAIN: Final = "REPORT_UNCONFIRMED"
_NOT_TAKEN: Final = "ATTESTATION_REFUSED"
_QUOTED: Final = frozenset({"tpm.present", "tpm.version", "boot.measured"})
"""What a quote tells of the machine, whatever else there is in it."""


Attesters = Callable[[Home, KeyRef, Challenge], Attester | None]
"""What can prove where a key is, for the kinds that can."""


class Clock(Protocol):
    """What time it is, and how much has passed, sleep included."""

    def now(self) -> float:
        """Return epoch seconds."""
        ...

    def elapsed(self) -> float:
        """Return seconds of a clock that nobody sets."""
        ...


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a report. `troubles`: the root helper or the TPM is there, and its word could not be sent."""

    answer: Accepted
    full: bool
    told: int
    troubles: tuple[AgentError, ...] = ()


class Device:
    """The device in `home`. Every method that changes something there must be called with the folder locked."""

    def __init__(
        self,
        home: Home,
        server: ControlPlane,
        source: Source,
        clock: Clock,
        *,
        attesters: Attesters = attester_of,
    ) -> None:
        self._home = home
        self._server = server
        self._source = source
        self._clock = clock
        self._attesters = attesters

    def report(self, *, full: bool = False, slow: bool = False) -> Outcome:
        """Look at the machine and tell the server; what cannot be told now is kept for the next time.

        `slow` takes the slow look as well, which is due once a day and after something was installed.
        """
        state, held, agreed = self._enrolled()
        key = open_key(self._home, _ref(state))
        now = int(self._clock.now())
        seen, spool = self._look(agreed, now, slow=slow)
        who = _credential(key, held)
        nonce = self._server.nonce(who)
        before = state.reporting
        full = full or before.uncertain or before.boot_id != seen.boot_id or now - before.full_at >= FULL_EVERY
        words = evidence.everything(spool.facts) if full else evidence.difference(before.told, spool.facts, now=now)
        # The server believes a device that showed itself twice: the second time needs a quote as the first one did.
        again = any(item.code == _SHOW_AGAIN for item in before.items)
        quoted = full or again or now - before.quoted_at >= QUOTE_EVERY
        attester = self._attester(state, held, who) if quoted and set(agreed.facts) >= _QUOTED else None
        proofs, troubles = self._proofs(state, held, agreed, attester, nonce)
        under_way = replace(before, seq=before.seq + 1, boot_id=seen.boot_id, uncertain=True)
        if "quote" in proofs:
            under_way = replace(under_way, quoted_at=now)
        self._home.save(replace(state, reporting=under_way))
        claims = self._claims(held, under_way.seq, seen, words, nonce, full=full) | proofs
        with forgetting(attester):
            answer = self._server.report(compact(key, claims, typ="zt-posture+jwt", kid=held.x5t))
        self._home.save(replace(state, reporting=_accepted(under_way, answer, words, full=full, now=now)))
        write_spool(self._home, replace(spool, missed=0))
        keep_hosts(self._home, answer.proof_hosts)
        return Outcome(answer=answer, full=full, told=len(words.facts), troubles=troubles)

    def changed(self) -> tuple[str, ...]:
        """Return what differs from what the server was told, without telling anybody."""
        state, _, agreed = self._enrolled()
        seen = self._source.look(now=int(self._clock.now()), slow=False)
        return evidence.telling(state.reporting.told, agreed_only(seen.facts, agreed.facts))

    def renewal_due(self) -> bool:
        """Whether it is time for the next certificate, or past it."""
        _, held, _ = self._enrolled()
        return renewal_due(held.not_before, held.not_after, self._clock.now())

    def renew(self) -> Held:
        """Get the next certificate for the same key. Whether one that is over still may, the server decides."""
        state, held, _ = self._enrolled()
        key = open_key(self._home, _ref(state))
        who = _credential(key, held)
        csr = key.csr(NAME)
        nonce = self._renewal_nonce(who, held)
        claims = {
            **nonce,
            "aud": self._server.url,
            "iat": int(self._clock.now()),
            "device": held.device_id,
            "csr": csr_digest(csr),
        }
        proof = compact(key, claims, typ="zt-enroll+jwt", jwk=dict(key.public_jwk))
        body: dict[str, object] = {"csr": csr, "proof": proof, "key_protection": held.protection}
        attester = self._attester(state, held, who) if nonce else None
        if attester is not None:
            try:
                body["attestation"] = attester.attest(nonce=nonce["nonce"], csr_digest=csr_digest(csr))
            except UnreachableError:
                raise
            except AgentError:
                pass  # the key is the same and called no better: whether it goes without, the server decides
        with forgetting(attester):
            issued = self._server.renew(who, body)
        renewed = hold(issued, held, key, now=self._clock.now())
        self._home.save(replace(state, held=renewed))
        return renewed

    def standing(self) -> Standing:
        """Ask the server what it holds."""
        state, held, _ = self._enrolled()
        return self._server.standing(_credential(open_key(self._home, _ref(state)), held))

    def lost(self) -> None:
        """Tell the server that this device is lost: nothing is opened by it any more."""
        state, held, _ = self._enrolled()
        self._server.lost(_credential(open_key(self._home, _ref(state)), held))

    # -- parts of a renewal and of a report

    def _renewal_nonce(self, who: Credential, held: Held) -> dict[str, str]:
        try:
            return {"nonce": self._server.nonce(who)}
        except RefusedError:
            if held.not_after > self._clock.now():
                raise
            # A server that hands nothing to a certificate that is over may still renew it.
            return {}

    def _look(self, agreed: Agreed, now: int, *, slow: bool) -> tuple[Seen, Spool]:
        """Look, and keep what was seen: the network may be hours away."""
        seen = self._source.look(now=now, slow=False)
        spool = read_spool(self._home, boot_id=seen.boot_id)
        if slow or not 0 <= now - spool.slow_at < SLOW_EVERY or _installed(spool, seen):
            seen = self._source.look(now=now, slow=True)
            # What was looked at before now is due a day after it was looked at, and not after it was told again.
            spool = replace(spool, slow_at=seen.slow_at(now))
        facts = evidence.merged(spool.facts, agreed_only(seen.facts, agreed.facts), now=now)
        spool = replace(spool, facts=agreed_only(facts, agreed.facts), missed=spool.missed + 1)
        write_spool(self._home, spool)
        return seen, spool

    def _attester(self, state: State, held: Held, who: Credential) -> Attester | None:
        if held.protection != "attested_hw":
            return None
        return self._attesters(self._home, _ref(state), partial(self._server.challenge_again, who))

    def _proofs(
        self, state: State, held: Held, agreed: Agreed, attester: Attester | None, nonce: str
    ) -> tuple[dict[str, object], tuple[AgentError, ...]]:
        """Return what others say beside the agent, and why some of them do not."""
        proofs: dict[str, object] = {}
        troubles: list[AgentError] = []
        helper, trouble = self._helper(state, agreed, nonce, held.device_id)
        if helper is not None:
            proofs["helper"] = helper
        if trouble is not None:
            troubles.append(trouble)
        if attester is not None:
            try:
                proofs["quote"] = attester.quote(nonce=nonce, device_id=held.device_id)
            except UnreachableError:
                raise
            except AgentError as error:
                troubles.append(error)
        return proofs, tuple(troubles)

    def _helper(self, state: State, agreed: Agreed, nonce: str, device_id: str) -> tuple[str | None, AgentError | None]:
        """Return the helper's word. Its facts are signed as a whole, so one the notice does not list keeps it back."""
        if state.ownership == "byod":
            return None, None
        try:
            word = self._source.ask_helper(nonce=nonce, device=device_id)
            if word is None:
                return None, None
            facts = payload(word).get("facts")
        except AgentError as trouble:
            return None, trouble
        except ValueError:
            return None, AgentError("AGENT_HELPER", "its word cannot be read")
        if not isinstance(facts, Mapping) or not set(facts) <= set(agreed.facts):
            return None, AgentError("AGENT_HELPER", "it says more than the notice lists")
        return word, None

    def _claims(self, held: Held, seq: int, seen: Seen, words: Words, nonce: str, *, full: bool) -> dict[str, object]:
        claims: dict[str, object] = {
            "nonce": nonce,
            "aud": self._server.url,
            "iat": int(self._clock.now()),
            "device": held.device_id,
            "x5t": held.x5t,
            "seq": seq,
            "boot_id": seen.boot_id,
            "delta": not full,
            "collector": {"version": seen.version, "scope": seen.scope},
            "facts": {name: _claim(fact) for name, fact in words.facts.items()},
        }
        if words.confirmed:
            claims["confirmed"] = list(words.confirmed)
        return claims

    def _enrolled(self) -> tuple[State, Held, Agreed]:
        state = self._home.load()
        if state is None or state.held is None or state.agreed is None:
            raise AgentError("AGENT_NOT_ENROLLED", "no device is enrolled here", where=str(self._home.path))
        return state, state.held, state.agreed


def _installed(spool: Spool, seen: Seen) -> bool:
    """Whether something was installed since the last look, so that the updates that wait are other ones."""
    return any(
        name in spool.facts and name in seen.facts and spool.facts[name].value != seen.facts[name].value
        for name in _INSTALLED
    )


def hold(issued: Issued, about: Held, key: DeviceKey, *, now: float) -> Held:
    """Return what is held with a certificate that was just issued; AGENT_CERTIFICATE_UNFIT."""
    read = read_certificate(issued.certificate, device_id=about.device_id, jwk=key.public_jwk, now=now)
    return replace(
        about,
        certificate=issued.certificate,
        chain=issued.chain,
        protection=issued.key_protection or about.protection,
        x5t=read.x5t,
        not_before=read.not_before,
        not_after=read.not_after,
    )


@contextmanager
def forgetting(attester: Attester | None) -> Iterator[None]:
    """Have the TPM shown once more the next time, where the server does not take what it says."""
    try:
        yield
    except RefusedError as refused:
        if attester is not None and refused.code == _NOT_TAKEN:
            attester.forget()
        raise


def _accepted(under_way: Reporting, answer: Accepted, words: Words, *, full: bool, now: int) -> Reporting:
    return replace(
        under_way,
        told=evidence.after(under_way.told, words, full=full, now=now),
        uncertain=answer.full or any(item.code == _SAY_ALL for item in answer.items),
        full_at=now if full else under_way.full_at,
        at=now,
        status=answer.status,
        items=answer.items,
        next_in=answer.next_report_in,
    )


def _claim(fact: Told) -> dict[str, object]:
    return {"status": fact.status, "value": fact.value, "collected_at": fact.collected_at}


def _credential(key: DeviceKey, held: Held) -> Credential:
    return Credential(signer=key, device_id=held.device_id, x5t=held.x5t)


def _ref(state: State) -> KeyRef:
    if state.key is None:
        raise AgentError("AGENT_NOT_ENROLLED", "no key is remembered")
    return state.key
