"""Envoy `ext_authz` over gRPC: a `CheckRequest` read, the decision written as a `CheckResponse`.

Envoy tells of the connection beside the headers: address, port and certificate are its own words and no header's. The
headers come line by line (`encode_raw_headers`), so a second one is seen as a second. Who asks is known by the
connection: a user id or a certificate.
"""

from __future__ import annotations

from typing import ClassVar

from zt_engine.core.decision import Decision, Effect
from zt_engine.core.errors import InputError
from zt_engine.core.generations import Generations
from zt_engine.core.request import AccessRequest
from zt_engine.sidecar.app import DecisionApp, Pending, sent_id
from zt_engine.sidecar.authorize import Memory
from zt_engine.sidecar.grpc.attributes import read_attributes, write_struct
from zt_engine.sidecar.grpc.check import OVERWRITE, Check, added, allowed, denied, option, options, read_check
from zt_engine.sidecar.hooks.answers import deny_head
from zt_engine.sidecar.hooks.credentials import Credentials, Peer
from zt_engine.sidecar.hooks.denials import MARK, Denials, wished
from zt_engine.sidecar.hooks.envoy_repeats import GrpcRepeats, Kept, Key, key_of, says_id
from zt_engine.sidecar.hooks.headers import Family, Layouts
from zt_engine.sidecar.hooks.reading import Paths, Prover, Sent
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.rego.rules import AskedRule, RegoOutcome, RegoRules
from zt_engine.sidecar.rego.verdict import NOTHING

NAME = "envoy_grpc"
FAMILY = Family(
    required=("x-forwarded-proto", "x-request-id"),
    optional=("authorization", "dpop"),
    # What the connection manager writes over a client's, and the agreed length of the body behind it.
    tolerated=frozenset({"transfer-encoding", "te", "trailer", "upgrade", "expect", "content-encoding"}),
    ignored=frozenset(
        {
            "x-forwarded-for",
            "x-envoy-external-address",
            "x-envoy-internal",
            "x-envoy-expected-rq-timeout-ms",
            "x-envoy-auth-partial-body",
        }
    ),
)
MAX_HEADS = 4096
HEAD_BYTES = 8 << 20
_NOT_CARRIED = (b"Content-Length", b"Cache-Control")
_NO_STORE = option(b"cache-control", b"no-store")
_NUMBER = b"zt-decision"


class Parts:
    """A decision's headers as Envoy is told them; they are the same for all requests that share the decision."""

    __slots__ = ("_allows", "headers", "status")

    def __init__(self, head: bytes) -> None:
        line, *lines = head.split(b"\r\n")
        named = [(name, value.strip()) for name, _, value in (text.partition(b":") for text in lines)]
        self.status = int(line[9:12])
        carried = [item for item in named[:-1] if item[0] not in _NOT_CARRIED]  # the last one awaits its value
        self.headers = [option(name.lower(), value) for name, value in carried]
        if self.status != 200:
            self.headers.append(_NO_STORE)
        self._allows: dict[int, tuple[bytes, bytes]] = {}

    def allow(self, number: bytes) -> bytes:
        """Return the allow with these headers and a decision id."""
        around = self._allows.get(len(number))
        if around is None:
            # What differs between two of them is the id alone, and the lengths before it by the length of that.
            whole = allowed([*self.headers, option(_NUMBER, number)])
            end = len(whole) - len(OVERWRITE)
            before, after = whole[: end - len(number)], whole[end:]
            around = self._allows[len(number)] = before, after
        return b"%b%b%b" % (around[0], number, around[1])


class EnvoyGrpcHook:
    """Answers messages. One event loop, no awaiting: a decision is one call."""

    paths: ClassVar[Paths] = Paths.TIDIED

    def __init__(self, app: DecisionApp, credentials: Credentials, denials: Denials, rules: RegoRules) -> None:
        self._app = app
        self._rules = rules
        self._repeats = GrpcRepeats()
        self._layouts = Layouts(FAMILY)
        self._prover = Prover()
        self._parts: Generations[bytes, Parts] = Generations(HEAD_BYTES, lambda head, _: 2 * len(head) + 600)
        unlogged = deny_head(Decision.deny("LOG_UNAVAILABLE"), scheme="", has_credential=False)
        self._unlogged = denied(403, Parts(unlogged).headers, b"")
        self.rewire(credentials, denials)

    def rewire(self, credentials: Credentials, denials: Denials) -> None:
        """Replace who may ask and what people are told, between two requests."""
        self._credentials = credentials
        self._denials = denials
        self._repeats.clear()

    def known(self, peer: Peer) -> bool:
        """Whether somebody may ask at all."""
        try:
            self._credentials.of(b"", hook=NAME, peer=peer)
        except InputError:
            return False
        return True

    def answer(self, message: bytes, peer: Peer) -> Pending:
        """Decide one question; the answer leaves when its turn is sealed. Raises InputError PEP_UNKNOWN."""
        credential = self._credentials.of(b"", hook=NAME, peer=peer)
        no_store = "no_store" in credential.enforces
        known = key_of(message) if not credential.rego else None
        if known is not None:
            kept = self._repeats.find(known[0], peer)
            if kept is not None:
                return self._again(known[0], peer, kept, known[1], no_store=no_store)
        number = accept = languages = b""
        rule: AskedRule | None = None
        try:
            check = read_check(message)
            accept, languages, _ = wished(check.headers)
            sent = self._sent(check)
            number = sent_id(sent)
            request: AccessRequest = self._prover.prove(NAME, sent, credential)
            if credential.rego:
                rule = AskedRule(self._rules, credential.rego, read_attributes(message), request)
        except InputError as error:
            return self._app.refuse(
                error.code,
                hook=NAME,
                number=number,
                encode=lambda outcome, decision: self._encode(outcome, decision, accept, languages, no_store=False),
                unlogged=self._unlogged,
            )

        def keep(memory: Memory) -> None:
            if known is not None and says_id(message, known[1]):
                plain = _plain(memory.outcome, no_store=no_store)
                self._repeats.keep(known[0], peer, Kept(memory, accept, languages, plain))

        return self._app.submit(
            request,
            number,
            lambda outcome, decision: self._encode(outcome, decision, accept, languages, no_store=no_store, rule=rule),
            self._unlogged,
            rule,
            keep,
        )

    def _again(self, key: Key, peer: Peer, kept: Kept, number: bytes, *, no_store: bool) -> Pending:
        outcome = kept.memory.outcome
        pending = self._app.recall(kept.memory, number)
        if pending is None:
            return self._anew(key, peer, kept, number, no_store=no_store)
        if kept.plain:
            pending.whole = self._told(outcome.head).allow(pending.number)
        else:
            pending.whole = self._encode(outcome, pending.number, kept.accept, kept.languages, no_store=no_store)
        pending.unlogged = self._unlogged
        return pending

    def _anew(self, key: Key, peer: Peer, kept: Kept, number: bytes, *, no_store: bool) -> Pending:
        accept, languages = kept.accept, kept.languages

        def keep(memory: Memory) -> None:
            self._repeats.keep(key, peer, Kept(memory, accept, languages, _plain(memory.outcome, no_store=no_store)))

        return self._app.anew(
            kept.memory,
            number,
            lambda outcome, decision: self._encode(outcome, decision, accept, languages, no_store=no_store),
            self._unlogged,
            keep,
        )

    def _sent(self, check: Check) -> Sent:
        """Say what a question means; raises InputError HEADER_, HOOK_."""
        if check.merged:
            raise InputError("HOOK_FRAMING", "headers came joined: `encode_raw_headers` is not set")
        headers = dict(check.headers)
        # The rules about names are those of HTTP/1, where the host is a header.
        names = (b"host", *(name for name, _ in check.headers if name != b"host"))
        headers[b""] = b""
        layout = self._layouts.of(names)
        assert layout.pick is not None  # Layouts.of raised otherwise
        scheme, request_id, authorization, dpop = layout.pick(headers)
        verify = b"SUCCESS" if check.certificate else b"NONE"
        port = b"%d" % check.port
        return Sent(
            check.path, check.method, check.host, scheme, port, check.address, request_id, b"", verify,
            check.certificate, authorization, dpop, b"",
        )  # fmt: skip

    def _told(self, head: bytes) -> Parts:
        parts = self._parts.get(head)
        if parts is None:
            parts = Parts(head)
            self._parts.put(head, parts)
        return parts

    def _encode(
        self, outcome: Outcome, number: bytes, accept: bytes, languages: bytes, *, no_store: bool,
        rule: AskedRule | None = None,
    ) -> bytes:  # fmt: skip
        head = outcome.head
        parts = self._told(head)
        if rule is None and _plain(outcome, no_store=no_store):
            return parts.allow(number)
        decision = option(_NUMBER, number)
        verdict = NOTHING if rule is None or rule.verdict is None else rule.verdict
        metadata = write_struct(verdict.metadata) if verdict.metadata else b""
        if _allows(outcome):
            kept = no_store and _not_stored(outcome)
            return allowed(
                [*options(verdict.headers), *parts.headers, decision],
                to_client=[*(added(*header) for header in verdict.to_client), *([_NO_STORE] if kept else ())],
                removed=verdict.removed,
                metadata=metadata,
            )
        if verdict.body is not None:
            return denied(
                verdict.status, [*parts.headers, *options(verdict.headers), decision], verdict.body, metadata=metadata
            )
        lines, body = self._denials.parts(head, accept, languages)
        page = [option(name.lower(), value.strip()) for name, _, value in _split(lines)]
        status = verdict.status if isinstance(outcome, RegoOutcome) else parts.status
        return denied(
            status, [*parts.headers, *page, *options(verdict.headers), decision],
            body.replace(MARK.encode(), number), metadata=metadata,
        )  # fmt: skip


def _split(lines: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [line.partition(b":") for line in lines.split(b"\r\n") if line]


def _allows(outcome: Outcome) -> bool:
    return outcome.decision.opens and outcome.decision.effect is not Effect.DENY


def _not_stored(outcome: Outcome) -> bool:
    return any(obligation.id == "no_store" for obligation in outcome.decision.obligations)


def _plain(outcome: Outcome, *, no_store: bool) -> bool:
    """Whether it is an allow that hands on its headers and nothing else, of a proxy that may have to forbid storing."""
    return _allows(outcome) and not (no_store and _not_stored(outcome))
