"""The rule of a proxy's `rego` setting: asked after the engine's own decision, recorded as a decision of its own.

It can refuse what the engine allows. It can allow on its own only what the catalogue does not know.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import structlog

from zt_engine.core.decision import Decision, Effect
from zt_engine.core.decision_event import quoted
from zt_engine.core.errors import UnavailableError, ZtError
from zt_engine.core.request import AccessRequest
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.authorize import SPACE_OK, Space
from zt_engine.sidecar.hooks.answers import Identity, allow_head, deny_head
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.recorder import UNREACHED, decided_members, policy_members, situation_members, who_members
from zt_engine.sidecar.rego.question import question
from zt_engine.sidecar.rego.verdict import NOTHING, Verdict, read_verdict
from zt_engine.sidecar.targets import KeyedHash, log_members

log = structlog.get_logger()

SOURCE = "rego"
_NOBODY = allow_head(
    Identity.of(subject="", device="", groups=()), label="", trust=0, obligations="", assertion=""
)  # fmt: skip


class _Who(msgspec.Struct):
    subject: str = ""
    device: str = ""
    label: str = ""
    threat_level: int = 0


_who = msgspec.json.Decoder(_Who).decode


class RegoOutcome(Outcome):
    """An outcome with everything the rule wants done about it."""

    __slots__ = ("verdict",)

    def __init__(self, decision: Decision, verdict: Verdict, *, head: bytes, members: bytes, digest: str) -> None:
        super().__init__(decision, head=head, members=members, digest=digest)
        self.verdict = verdict


class Active(NamedTuple):
    """The engine that answers, and what its policy is called in the log."""

    engine: PolicyEngine
    bundle: str


class RegoRules:
    """The active policy. Never raises: what breaks is a refusal with a code."""

    def __init__(self, space: Space, path_key: bytes) -> None:
        self.active: Active | None = None
        self._space = space
        self.hashed = KeyedHash(path_key)

    @property
    def engine(self) -> PolicyEngine | None:
        """The engine in use."""
        return self.active.engine if self.active is not None else None

    def activate(self, engine: PolicyEngine, bundle: str) -> PolicyEngine | None:
        """Replace the policy between two requests; returns the engine it replaces, which the caller closes."""
        old, self.active = self.active, Active(engine, bundle)
        return old.engine if old is not None else None

    def decide(
        self, rule: str, attributes: dict[str, Any], request: AccessRequest, before: Outcome | None
    ) -> RegoOutcome:
        """Return what the rule says; `before` is the engine's own allow, None where the catalogue has no such host."""
        verdict, code, digest, active = NOTHING, "", b"", self.active
        try:
            if active is None:
                raise UnavailableError("NOT_READY", "there is no bundle for `rego`")
            if self._space.state != SPACE_OK:
                raise UnavailableError("LOG_UNAVAILABLE", "the log has no room but for what is public")
            document = question(attributes, request)
            digest = self.hashed(document)
            verdict = read_verdict(active.engine.evaluate(rule, document))
            code = "" if verdict.allowed else "REGO_DENIED"
        except ZtError as error:
            verdict, code = NOTHING, "REGO_DENIED" if error.code == "ENGINE_UNDEFINED" else error.code
        except Exception as error:  # INVARIANT: whatever breaks denies.
            log.exception("rego.failed", request_id=request.request_id, error=type(error).__name__)
            verdict, code = NOTHING, "INTERNAL_ERROR"
        decision = Decision.deny(code) if code else Decision(effect=Effect.ALLOW)
        return RegoOutcome(
            decision,
            verdict,
            head=deny_head(decision, scheme="", has_credential=False) if code else _NOBODY,
            members=self._members(request, before, decision, active, digest),
            digest=digest.decode("ascii"),
        )

    @staticmethod
    def _members(
        request: AccessRequest, before: Outcome | None, decision: Decision, active: Active | None, digest: bytes
    ) -> bytes:
        known = _who(b"{%b}" % before.members) if before is not None else _Who()
        revision = active.engine.revision if active is not None else ""
        versions = {"bundle": active.bundle} if active is not None and active.bundle else {}
        return b",".join(
            (
                who_members(known.subject, known.device),
                b'"hook":%b,"label":%b' % (quoted(request.hook), quoted(known.label)),
                decided_members(decision),
                UNREACHED,
                situation_members(known.threat_level),
                policy_members(revision, SOURCE, versions),
                b'"input_digest":"%b"' % digest if digest else b'"input_digest":null',
            )
        )


class AskedRule:
    """The rule about one request."""

    __slots__ = ("_attributes", "_request", "_rule", "_rules", "verdict")

    def __init__(self, rules: RegoRules, rule: str, attributes: dict[str, Any], request: AccessRequest) -> None:
        self._rules = rules
        self._rule = rule
        self._attributes = attributes
        self._request = request
        self.verdict: Verdict | None = None
        """What it said, once it was asked."""

    def decide(self, before: Outcome | None) -> Outcome:
        """Ask it; see `RegoRules.decide`."""
        found = self._rules.decide(self._rule, self._attributes, self._request, before)
        self.verdict = found.verdict
        return found

    def place(self) -> bytes:
        """Return the members of the log line for a request whose host the catalogue does not know."""
        return log_members(self._request.target, self._request.method, self._rule, self._rules.hashed)
