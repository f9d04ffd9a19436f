"""The program behind the AuthZEN listener: who asks, what for, and that every decision is recorded before it is told.

INVARIANT: the answers of a turn leave after their records were appended; if the append fails they leave as denials.
"""

from __future__ import annotations

import re
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.authzen import replies
from zt_engine.sidecar.authzen.answering import Answering
from zt_engine.sidecar.authzen.evaluation import Evaluator
from zt_engine.sidecar.authzen.metadata import EVALUATION, EVALUATIONS, SEARCHES, WELL_KNOWN
from zt_engine.sidecar.authzen.pending import Asked, Journal, Pending, Warm
from zt_engine.sidecar.authzen.peps import Pep, Peps
from zt_engine.sidecar.authzen.repeats import Repeats
from zt_engine.sidecar.authzen.searches import Searches
from zt_engine.sidecar.authzen.wire import Question, read_batch, read_body, read_question
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.outcomes import Outcome

log = structlog.get_logger()

_JSON_TYPE = re.compile(rb"application/json[ \t]*(;.*)?", re.IGNORECASE)
_NUMBER = re.compile(rb"[!-~](?:[ -~]{0,198}[!-~])?")
"""A request id as it is logged and given back: what is no visible ASCII has no business in a header."""
_GIVEN_BACK = ("X-Request-ID", "1 to 200 visible characters")


class AuthzenApp:
    """Answers callers on the event loop of the decisions: an evaluation is one call."""

    def __init__(
        self,
        *,
        peps: Peps,
        answering: Answering,
        searches: Searches,
        authorizer: Authorizer,
        journal: Journal,
        meters: Meters,
        metadata: bytes,
    ) -> None:
        self._peps = peps
        self._answering = answering
        self._searches = searches
        self._authorizer = authorizer
        self._log = journal
        self._meters = meters
        self.metadata = replies.success(metadata)
        """Told to anybody: the only success that shows no credential."""
        self._generation = journal.generation
        self._repeats = Repeats()

    def rewire(self, peps: Peps, evaluator: Evaluator) -> None:
        """Replace who may ask and what for, between two requests."""
        self._peps, self._answering.evaluator = peps, evaluator
        self._repeats.clear()

    # -- one request

    def repeat(self, raw: bytes, names: tuple[str, ...]) -> Pending | None:
        """Decide a request whose very bytes were read before; None for all others."""
        started = time.perf_counter_ns()
        found = self._repeats.find(raw, names)
        if found is None:
            return None
        return self._answering.repeat(found[0], found[1], started)

    def answer(self, asked: Asked) -> Pending | Coroutine[Any, Any, Pending]:
        """Answer one request; what takes longer than a turn may is given as a coroutine."""
        path, search = asked.path, SEARCHES.get(asked.path)
        if path not in (EVALUATION, EVALUATIONS, WELL_KNOWN) and search is None:
            return Pending(replies.NOT_FOUND)
        sent = asked.headers.get(b"x-request-id", b"")
        number = sent if _NUMBER.fullmatch(sent) is not None else b""
        wanted = b"GET" if path == WELL_KNOWN else b"POST"
        if asked.method != wanted:
            message, more = f"only {wanted.decode()} is served here", b"Allow: %b\r\n" % wanted
            return Pending(replies.refusal(405, "AUTHZEN_METHOD", message, number=number, more=more))
        if path == WELL_KNOWN:
            return Pending(self.metadata)
        pep = self._pep(asked)
        if pep is None:
            self._meters.stranger()
            return Pending(replies.NO_PEP)
        if number != sent:
            return Pending(replies.refusal(400, "AUTHZEN_FRAMING", "`{}` is {}".format(*_GIVEN_BACK)))
        try:
            if _JSON_TYPE.fullmatch(asked.headers.get(b"content-type", b"")) is None:
                raise InputError("AUTHZEN_BODY", "the content type is not `application/json`")
            body = read_body(asked.body)
            if search is not None:
                return self._searches.answer(self._answering, pep, search, path, body, number)
            if path == EVALUATION:
                return self._evaluate(pep, read_question(body), number, asked)
            questions = read_batch(body)
        except InputError as error:
            return Pending(replies.refusal(400, error.code, error.message, number=number))
        if isinstance(questions, Question):
            return self._evaluate(pep, questions, number, asked)
        return self._answering.batch(pep, questions, number)

    def _pep(self, asked: Asked) -> Pep | None:
        """Return who asks. A right certificate never forgives a wrong key."""
        key, other = asked.headers.get(b"authorization", b""), asked.headers.get(b"zt-pep-key", b"")
        if key and other:
            return None
        if key or other:
            scheme, _, rest = key.partition(b" ")
            return self._peps.of_key(other or (rest.strip() if scheme.lower() == b"bearer" else b""))
        return self._peps.of_certificate(asked.names) if asked.names else None

    def _evaluate(self, pep: Pep, question: Question, number: bytes, asked: Asked) -> Pending:
        pending, done = self._answering.single(pep, question, number)
        if done.memory is not None and asked.raw:
            self._repeats.keep(asked.raw, asked.names, Warm(done.memory, pep))
        return pending

    # -- the end of a turn

    def seal(self, answers: list[Pending]) -> list[bytes]:
        """Append the records of a turn to the log, then give the answers; without the records, denials."""
        if self._log.generation != self._generation:
            # The file was changed since these were decided: what they rest on has to stand in the new one as well.
            self._renew()
            answers = list(map(self._answering.redone, answers))
        fresh: list[Outcome] = []
        try:
            for pending in answers:
                if pending.outcome is not None:
                    self._append(pending.outcome, pending.line, fresh)
                for outcome, line in pending.records:
                    self._append(outcome, line, fresh)
            self._log.flush()
        except UnavailableError as error:
            log.error("log.unavailable", error=str(error))
            return list(map(self._answering.unlogged, answers))
        except Exception as error:
            self._log.discard()
            log.exception("log.failed", error=type(error).__name__)
            return list(map(self._answering.unlogged, answers))
        for outcome in fresh:
            outcome.document = b""
        if self._log.generation != self._generation:
            self._renew()
        return [pending.response for pending in answers]

    def _append(self, outcome: Outcome, line: bytes, fresh: list[Outcome]) -> None:
        self._log.append(line, sync=outcome.sync)
        if outcome.document:
            self._log.store_input(outcome.digest, outcome.document)
            fresh.append(outcome)

    def _renew(self) -> None:
        self._generation = self._log.generation
        self._authorizer.forget()
