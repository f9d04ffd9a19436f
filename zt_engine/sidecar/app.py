"""The programs behind the two listeners: decisions for proxies, health and metrics for operators.

INVARIANT: the answers of a turn leave after their records were appended; if the append fails they leave as denials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec
import structlog

from zt_engine.core.decision import Decision
from zt_engine.core.decision_event import Timestamps
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.request import AccessRequest, request_id
from zt_engine.ports import Clock, DecisionLog
from zt_engine.sidecar.authorize import Authorizer, Memory
from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.hooks.pages import NO_PAGE
from zt_engine.sidecar.hooks.reading import HeaderHook, Sent
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.outcomes import Outcome, refusal
from zt_engine.sidecar.recorder import Numbers
from zt_engine.sidecar.repeats import Repeats
from zt_engine.sidecar.targets import NO_PLACE

log = structlog.get_logger()

Pages = Callable[[bytes, dict[bytes, bytes], tuple[bytes, ...], Peer], bytes | None]
Encode = Callable[[Outcome, bytes], bytes]
"""Writes a decision, with its id, as one proxy understands it."""

HOOKS = b"/v1/hooks/"
CRLF = b"\r\n"
END = b"\r\n\r\n"
UNLOGGED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nCache-Control: no-store\r\nZt-Reason: LOG_UNAVAILABLE\r\n"
    b"Zt-Decision: \r\n\r\n"
)
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nZt-Reason: HOOK_UNKNOWN\r\n\r\n"
NO_PEP = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nCache-Control: no-store\r\n"
    b'WWW-Authenticate: Zt-Pep-Key realm="zt"\r\nZt-Reason: PEP_UNKNOWN\r\n\r\n'
)


class Rule(Protocol):
    """A rule that is asked about one request after the engine's own decision."""

    def decide(self, before: Outcome | None) -> Outcome:
        """Decide; `before` is the engine's allow, None where its catalogue does not know the host."""
        ...

    def place(self) -> bytes:
        """Return the target's members of the log line where the catalogue has none."""
        ...


class Pending(msgspec.Struct, gc=False):
    """One decided request, waiting for the end of its turn."""

    outcome: Outcome | None
    number: bytes
    body: bytes
    raw: bytes = b""
    """A complete answer that is no decision: a page, or a refusal to talk."""
    whole: bytes = b""
    """The answer of a decision, where it is more than the outcome's head and the number."""
    unlogged: bytes = UNLOGGED
    """What is answered instead when the record cannot be written."""
    beside: bytes = b""
    """The record of another decision that this answer rests on."""


class Mount(msgspec.Struct, frozen=True, gc=False):
    """One hook with the heads that were read for it."""

    hook: HeaderHook
    repeats: Repeats
    plain: bool
    """Whether its answers are their heads and nothing else."""


class DecisionApp:
    """Answers proxies. One event loop, no awaiting: a decision is one call."""

    strangers = frozenset((NO_PEP, NOT_FOUND, NO_PAGE))
    """What whoever shows no credential is answered: nothing that would let a connection stay."""

    def __init__(
        self,
        *,
        hooks: Iterable[HeaderHook],
        pages: Pages,
        denials: Denials,
        authorizer: Authorizer,
        decision_log: DecisionLog,
        clock: Clock,
        numbers: Numbers,
        meters: Meters,
        origin: bytes,
    ) -> None:
        self.rewire(hooks, pages, denials)
        self._authorizer = authorizer
        self._log = decision_log
        self._now = clock.now
        self._number = numbers.next
        self._stamp = Timestamps().format
        self._meters = meters
        self._origin = origin
        self._generation = decision_log.generation

    def rewire(self, hooks: Iterable[HeaderHook], pages: Pages, denials: Denials) -> None:
        """Replace who may ask and what people are told, between two requests."""
        self._mounts = {
            hook.path: Mount(hook, Repeats(hook.id_line), not hook.allow_lines and not hook.carries) for hook in hooks
        }
        self._lines = tuple((b" %b" % path, mount) for path, mount in self._mounts.items())
        self._pages = pages
        self._denials = denials

    def repeat(self, head: bytes, peer: Peer) -> Pending | None:
        """Decide a request whose very bytes were read before, without reading them again; None for all others."""
        started = time.perf_counter_ns()
        for line, mount in self._lines:  # noqa: B007  (a handful, in the order in which they are likely)
            if head.startswith(line, 3):
                break
        else:
            return None
        found = mount.repeats.find(head, peer)
        if found is None:
            return None
        memory, number = found
        now = self._now()
        if self._authorizer.stands(memory, now):
            pending = self._pending(memory.outcome, memory.place_log, b"hit", number, now, started)
        else:
            request = msgspec.structs.replace(memory.request, request_id=number.decode("ascii"))
            pending = self._decide(request, mount, head, peer, number, now, started)
        return pending if mount.plain else self._complete(pending, mount.hook, None, head)

    def answer(
        self,
        path: bytes,
        method: bytes,
        headers: dict[bytes, bytes],
        names: tuple[bytes, ...],
        peer: Peer,
        head: bytes = b"",
    ) -> Pending:
        """Decide one request; the answer leaves with `seal`. `head` are the request's bytes, if they came as one."""
        started = time.perf_counter_ns()
        rest = b""
        mount = self._mounts.get(path)
        if mount is None:
            mount, rest = self._mounted(path)
        if mount is None:
            page = self._pages(path, headers, names, peer)
            return Pending(None, b"", b"", NOT_FOUND if page is None else page)
        hook = mount.hook
        now = self._now()
        sent: Sent | None = None
        try:
            sent, credential = hook.read(headers, names, peer, method=method, rest=rest)
            if method != b"GET" and not hook.any_method:
                raise InputError("HOOK_FRAMING", "a hook is asked with GET")
            request = hook.prove(sent, credential)
        except InputError as error:
            if error.code == "PEP_UNKNOWN":
                self._meters.stranger()
                return Pending(None, b"", b"", NO_PEP)
            refused = refusal(Decision.deny(error.code), hook=hook.name)
            pending = self._pending(refused, NO_PLACE, b"miss", sent_id(sent), now, started)
        else:
            pending = self._decide(request, mount, head, peer, sent.request_id, now, started)
        return self._complete(pending, hook, headers, head, bodiless=method == b"HEAD")

    def _mounted(self, path: bytes) -> tuple[Mount | None, bytes]:
        """Return the hook that has this path, and what its proxy appended to it."""
        start = path.find(b"/", len(HOOKS)) if path.startswith(HOOKS) else -1
        query = path.find(b"?", len(HOOKS))
        if query >= 0 and not 0 <= start < query:
            start = query
        mount = self._mounts.get(path[:start]) if start > 0 else None
        return (mount, path[start:]) if mount is not None and mount.hook.appends else (None, b"")

    def submit(
        self,
        request: AccessRequest,
        number: bytes,
        encode: Encode,
        unlogged: bytes,
        rule: Rule | None = None,
        keep: Callable[[Memory], None] | None = None,
    ) -> Pending:
        """Decide a request of a hook that has a listener of its own, and that writes its answers itself.

        With a `rule` both have to allow; what the catalogue does not know the rule decides alone. `keep` is handed what
        may be given to `again` for the same request.
        """
        started = time.perf_counter_ns()
        now = self._now()
        answer = self._authorizer.decide(request, now)
        cache = b"hit" if answer.remembered else b"miss"
        if keep is not None and rule is None and answer.memory is not None:
            keep(answer.memory)
        outcome, place_log, beside = answer.outcome, answer.place_log, b""
        opens = outcome.decision.opens
        if rule is not None and (opens or self._unlisted(request, outcome)):
            ruled, cache = rule.decide(outcome if opens else None), b"miss"
            place_log = place_log if opens else rule.place()
            if opens and ruled.decision.opens:
                beside = self._pending(ruled, place_log, cache, number, now, started, counts=False).body
            else:
                outcome = ruled
        pending = self._pending(outcome, place_log, cache, number, now, started)
        pending.beside = beside
        return self._written(pending, encode, unlogged)

    def again(
        self, memory: Memory, number: bytes, encode: Encode, unlogged: bytes, keep: Callable[[Memory], None]
    ) -> Pending:
        """Decide a request of such a hook that says what an earlier one said, without proving it again."""
        pending = self.recall(memory, number)
        if pending is None:
            return self.anew(memory, number, encode, unlogged, keep)
        return self._written(pending, encode, unlogged)

    def recall(self, memory: Memory, number: bytes) -> Pending | None:
        """Give such a request the decision that is remembered; None if it does not stand, and `anew` decides.

        It is for the caller to write the answer: `whole` and `unlogged`.
        """
        started = time.perf_counter_ns()
        now = self._now()
        if not self._authorizer.stands(memory, now):
            return None
        return self._pending(memory.outcome, memory.place_log, b"hit", number, now, started)

    def anew(
        self, memory: Memory, number: bytes, encode: Encode, unlogged: bytes, keep: Callable[[Memory], None]
    ) -> Pending:
        """Decide what a memory was about once more."""
        request = msgspec.structs.replace(memory.request, request_id=number.decode("ascii"))
        return self.submit(request, number, encode, unlogged, keep=keep)

    def _unlisted(self, request: AccessRequest, outcome: Outcome) -> bool:
        """Whether nothing but the catalogue's not knowing the host keeps a request from being decided."""
        policy = self._authorizer.policy
        return (
            policy is not None
            and outcome.decision.reasons == ("HOST_UNKNOWN",)
            and request.target.host not in policy.places.catalogue.hosts
        )

    def refuse(
        self, code: str, *, hook: str, number: bytes, encode: Encode, unlogged: bytes, subject: str = "",
        device: str = "", label: str = "",
    ) -> Pending:  # fmt: skip
        """Refuse a request of such a hook without asking the policy, with a record of it."""
        started = time.perf_counter_ns()
        refused = refusal(Decision.deny(code), hook=hook, subject=subject, device=device, label=label)
        return self._written(self._pending(refused, NO_PLACE, b"miss", number, self._now(), started), encode, unlogged)

    @staticmethod
    def _written(pending: Pending, encode: Encode, unlogged: bytes) -> Pending:
        assert pending.outcome is not None  # it is a decision
        pending.whole, pending.unlogged = encode(pending.outcome, pending.number), unlogged
        return pending

    def _decide(  # noqa: PLR0917  (positional: this is the path)
        self, request: AccessRequest, mount: Mount, head: bytes, peer: Peer, number: bytes, now: float, started: int
    ) -> Pending:  # fmt: skip
        answer = self._authorizer.decide(request, now)
        if answer.memory is not None and head:
            mount.repeats.keep(head, peer, answer.memory)
        cache = b"hit" if answer.remembered else b"miss"
        return self._pending(answer.outcome, answer.place_log, cache, number, now, started)

    def _complete(
        self,
        pending: Pending,
        hook: HeaderHook,
        headers: Mapping[bytes, bytes] | None,
        head: bytes,
        *,
        bodiless: bool = False,
    ) -> Pending:
        """Add what this proxy hands on beside the head: header lines of an allow, the page of a denial.

        `bodiless`: it asked with HEAD, and what follows the head of an answer to that would be the next answer.
        """
        outcome = pending.outcome
        assert outcome is not None  # it is a decision
        if outcome.decision.opens:
            if hook.allow_lines:
                pending.whole = b"".join((outcome.head, pending.number, CRLF, hook.allow_lines, CRLF))
        elif hook.carries and not bodiless:
            # Envoy asks with the client's own target behind ours; others say it in a header.
            line = head.partition(CRLF)[0].split(b" ") if hook.any_method else []
            target = line[1].removeprefix(hook.path) if len(line) > 1 else b""
            told = spoken(head) if headers is None else headers
            pending.whole = self._denials.write(outcome.head, pending.number, told, target=target)
        return pending

    def _pending(
        self, outcome: Outcome, place_log: bytes, cache: bytes, number: bytes, now: float, started: int, *,
        counts: bool = True,
    ) -> Pending:  # fmt: skip
        """Count a decision and write its line; `started` is when its request came, in nanoseconds."""
        spent = time.perf_counter_ns() - started
        if counts:
            self._meters.decided(outcome, spent, hit=cache == b"hit")
        decision_id = self._number()
        body = b'"ts":"%b","decision_id":"%b","request_id":"%b",%b,%b,%b,"cache":"%b","latency_us":%d' % (
            self._stamp(now),
            decision_id,
            number,
            self._origin,
            place_log,
            outcome.members,
            cache,
            spent // 1000,
        )
        return Pending(outcome, decision_id, body)

    def seal(self, answers: list[Pending]) -> list[bytes]:
        """Append the records of a turn to the log, then give the answers; without the records, denials."""
        try:
            fresh = []
            append = self._log.append
            for pending in answers:
                outcome = pending.outcome
                if outcome is not None:
                    if pending.beside:
                        append(pending.beside)
                    append(pending.body, sync=outcome.sync)
                    if outcome.document:
                        self._log.store_input(outcome.digest, outcome.document)
                        fresh.append(outcome)
            self._log.flush()
        except UnavailableError as error:
            log.error("log.unavailable", error=str(error))
            return [pending.raw or pending.unlogged for pending in answers]
        except Exception as error:
            self._log.discard()
            log.exception("log.failed", error=type(error).__name__)
            return [pending.raw or pending.unlogged for pending in answers]
        for outcome in fresh:
            # The input is in the companion segment now; a remembered decision need not hold it any longer.
            outcome.document = b""
        if self._log.generation != self._generation:
            # The companion of a new segment holds no inputs yet, so nothing may rest on one that was stored before.
            self._generation = self._log.generation
            self._authorizer.forget()
        return [p.raw if p.outcome is None else p.whole or p.outcome.head + p.number + END for p in answers]


def sent_id(sent: Sent | None) -> bytes:
    """Return the request id of a refused request, empty if even that is not readable."""
    if sent is None:
        return b""
    try:
        return request_id(sent.request_id).encode()
    except InputError:
        return b""


def spoken(head: bytes) -> dict[bytes, bytes]:
    """Return the headers of a whole head that was read before; of a repeated name the last."""
    lines = (line.partition(b":") for line in head.split(CRLF)[1:-2])
    return {name: value.strip() for name, _, value in lines}
