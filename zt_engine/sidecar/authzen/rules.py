"""Resources that are not the catalogue's: a rule of the AuthZEN bundle decides them, with the question as its input.

A rule answers true or false, or `{"decision": ..., "context": {...}}`; without a value it says no, and whatever else it
says denies. It cannot read a clock or draw lots, so its answer stands for as long as the bundle does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import structlog

from zt_engine.core.decision import Decision, Effect, Obligation
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.generations import Generations
from zt_engine.core.revocable import person_names
from zt_engine.core.situation import Situation
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.authzen.wire import Question, encoded
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.recorder import UNREACHED, decided_members, policy_members, situation_members, who_members
from zt_engine.sidecar.targets import KeyedHash

log = structlog.get_logger()

HOOK = "authzen"
MAX_KNOWN = 50_000
MAX_LOGGED = 256
SOURCE = "authzen"


class ResourceType(msgspec.Struct, frozen=True):
    """The rules of one resource type: which one decides, and which one names what a search tries."""

    entrypoint: str
    candidates: str = ""


class RuleOutcome(Outcome):
    """An outcome with what the rule wants its caller to be told."""

    __slots__ = ("said",)

    def __init__(self, decision: Decision, *, members: bytes, said: Mapping[str, Any], digest: str) -> None:
        super().__init__(decision, head=b"", members=members, digest=digest)
        self.said = said


class Standing(NamedTuple):
    """What the answers of rules rest on: one bundle in one situation."""

    engine: PolicyEngine
    digest: str
    situation: Situation


class Rules:
    """The active bundle and what its rules have answered."""

    def __init__(self, types: Mapping[str, ResourceType]) -> None:
        self.types = types
        self._engine: PolicyEngine | None = None
        self._digest = ""
        self._known: Generations[tuple[str, bytes], RuleOutcome] = Generations(MAX_KNOWN)
        self._standing: Standing | None = None

    @property
    def engine(self) -> PolicyEngine | None:
        """The engine of the active bundle."""
        return self._engine

    def activate(self, engine: PolicyEngine, digest: str) -> PolicyEngine | None:
        """Replace the bundle between two requests; returns the engine it replaces, which the caller closes."""
        old, self._engine = self._engine, engine
        self._digest, self._standing = digest, None
        self._known.clear()
        return old

    def stand_on(self, situation: Situation) -> Standing:
        """Return what answers rest on now; raises UnavailableError NOT_READY without a bundle."""
        if self._engine is None:
            raise UnavailableError("NOT_READY", "there is no bundle of rules")
        standing = self._standing
        if standing is None or standing.situation is not situation:
            standing = self._standing = Standing(self._engine, self._digest, situation)
            self._known.clear()
        return standing

    def decide(self, pep: Pep, question: Question, situation: Situation, hashed: KeyedHash) -> tuple[RuleOutcome, bool]:
        """Return what a rule says, and whether it was remembered; raises ZtError when it says nothing legal.

        The log names the input by `hashed`: under a plain hash whoever reads it could find out ids by trying.
        """
        standing = self.stand_on(situation)
        document = encoded(question.document())
        key = (pep.name, document)
        found = self._known.get(key)
        if found is not None:
            return found, True
        decision, said = self._ask(pep, self.types[question.resource.type].entrypoint, document, standing)
        digest = hashed(document)
        members = b",".join(
            (
                who_members(question.subject.id[:MAX_LOGGED], ""),
                b'"hook":"%b","label":""' % HOOK.encode(),
                decided_members(decision),
                UNREACHED,
                situation_members(situation.threat_level),
                policy_members(standing.engine.revision, SOURCE, {"bundle": standing.digest}),
                b'"input_digest":"%b"' % digest,
            )
        )
        outcome = RuleOutcome(decision, members=members, said=said, digest=digest.decode("ascii"))
        self._known.put(key, outcome)
        return outcome, False

    def _ask(
        self, pep: Pep, entrypoint: str, document: bytes, standing: Standing
    ) -> tuple[Decision, Mapping[str, Any]]:
        try:
            opens, said = _read(standing.engine.evaluate(entrypoint, document))
        except UnavailableError as error:
            if error.code != "ENGINE_UNDEFINED":
                raise
            opens, said = False, {}
        if not opens:
            return Decision.deny("AUTHZEN_DENIED"), said
        duties = _duties(said)
        if not set(duties) <= set(pep.enforces):
            return Decision.deny("OBLIGATION_UNENFORCEABLE"), {}
        return Decision(effect=Effect.ALLOW, obligations=tuple(map(Obligation, duties))), said

    def candidates(self, resource_type: str, document: bytes) -> object:
        """Return what a search tries, as the bundle's rule says; raises UnavailableError."""
        known = self.types.get(resource_type)
        if self._engine is None or known is None or not known.candidates:
            return []
        return msgspec.json.decode(self._engine.evaluate(known.candidates, document))


def _read(raw: bytes) -> tuple[bool, Mapping[str, Any]]:
    value = msgspec.json.decode(raw)
    if isinstance(value, bool):
        return value, {}
    if isinstance(value, dict) and isinstance(value.get("decision"), bool) and value.keys() <= {"decision", "context"}:
        context = value.get("context", {})
        if isinstance(context, dict):
            return value["decision"], context
    raise UnavailableError("AUTHZEN_RULE", "a rule answers true, false, or an object of decision and context")


def _duties(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the obligations of an allow by their types; what cannot be read raises AUTHZEN_RULE."""
    listed = said.get("obligations", [])
    found = []
    for item in listed if isinstance(listed, list) else [None]:
        kind = item.get("type", item.get("id")) if isinstance(item, dict) else item
        if not isinstance(kind, str):
            raise UnavailableError("AUTHZEN_RULE", "`obligations` is a list of objects with a type, or of texts")
        found.append(kind)
    return tuple(found)


def check_revoked(situation: Situation, question: Question, *, home: str, now: float) -> None:
    """Raise InputError SUBJECT_REVOKED for somebody whose rights were taken back, whatever the rule would say."""
    subject = question.subject
    if subject.type in ("user", "workload") and any(
        situation.is_revoked(kind, name, now=now) for kind, name in person_names(home, subject.id)
    ):
        raise InputError("SUBJECT_REVOKED", "this subject was revoked")
