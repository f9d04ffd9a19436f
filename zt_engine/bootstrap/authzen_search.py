"""The process that searches: it is told what decides and who there is, and answers one page at a time.

It gives way to whoever decides, keeps no log, and ends with the process that started it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec
import structlog

from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.log_archive import Archive
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.authzen_bundle import open_unsigned
from zt_engine.bootstrap.replaying import open_archived
from zt_engine.config import Policy as PolicySettings
from zt_engine.core.errors import InputError, ZtError
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.situation import Situation, situate
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.authzen.evaluation import Evaluator
from zt_engine.sidecar.authzen.finding import Finder
from zt_engine.sidecar.authzen.jobs import (
    LENGTH,
    Found,
    Ground,
    Job,
    Message,
    PolicyNews,
    RulesNews,
    SituationNews,
    SubjectsNews,
    packed,
    read_message,
)
from zt_engine.sidecar.authzen.principals import StatedPrincipals
from zt_engine.sidecar.authzen.rules import Rules
from zt_engine.sidecar.principals import Principal, Principals
from zt_engine.sidecar.replica import Records, Replica

log = structlog.get_logger()

NICENESS = 10
"""A tenth of what a process that decides gets where both want the processor; not less: somebody waits for it."""
COMMAND = (sys.executable, "-c", "from zt_engine.bootstrap.authzen_search import main; main()")


class _Space:
    """Nothing is logged here, so that nothing can run out."""

    state = "ok"


class _None:
    """No credential is ever verified here: whoever asks is vouched for."""

    def verify(self, *_: object, **__: object) -> NoReturn:
        raise InputError("TOKEN_SCHEME", "nobody shows credentials to a search")


class Searching:
    """One state of everything, and what is found in it."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._archive = Archive(Path(ground.archive))
        self._replica = Replica()
        self._subjects: dict[tuple[str, str], SubjectRecord] = {}
        self._situation: Situation | None = None
        self._rules = Rules(ground.types)
        believed = StatedPrincipals(
            mappings=ground.mappings, home=ground.home, replica=self._replica, holds=self._holds,
            tick_seconds=ground.tick_seconds,
        )  # fmt: skip
        self._authorizer = Authorizer(
            principals=Principals(
                tokens=_None(), certificates=_None(), proofs=_None(), mappings={}, replica=self._replica, keys={},
                tick_seconds=ground.tick_seconds,
            ),
            replica=self._replica,
            clock=SystemClock(),
            space=_Space(),
            cache_entries=0,
            assert_for=lambda _case, _label, _trust: "",
        )  # fmt: skip
        evaluator = Evaluator(
            self._authorizer, believed, self._rules, replica=self._replica, space=_Space(), home=ground.home,
            path_key=ground.path_key,
        )  # fmt: skip
        self._finder = Finder(
            evaluator, self._authorizer, self._replica, home=ground.home, elapsed=time.monotonic
        )  # fmt: skip

    def _holds(self, principal: Principal) -> bool:
        return principal.situation is self._replica.situation and all(
            self._replica.subjects.get(key) is record for key, record in principal.records
        )

    def take(self, message: Message) -> Found | None:
        """Take up what is new, or find."""
        try:
            if isinstance(message, Job):
                return self._find(message)
            if isinstance(message, PolicyNews):
                self._decide_by(message)
            elif isinstance(message, RulesNews):
                self._rule_by(message.digest)
            elif isinstance(message, SubjectsNews):
                self._subjects |= {(record.issuer, record.id): record for record in message.changed}
                for key in message.gone:
                    self._subjects.pop(key, None)
            elif isinstance(message, SituationNews):
                self._situation = situate(**msgspec.structs.asdict(message))
        except ZtError as error:
            log.error("search.refused", code=error.code, problem=error.message)
        return None

    def _find(self, job: Job) -> Found:
        if self._situation is None:
            return Found(job.number, [], code="NOT_READY")
        devices = {job.device.device_id: job.device} if job.device is not None else {}
        self._replica.adopt(Records(devices, dict(self._subjects)), self._situation, now=job.now)
        return self._finder.find(job)

    def _decide_by(self, news: PolicyNews) -> None:
        old = self._authorizer.policy
        self._authorizer.withdraw("NOT_READY", "no policy is known to the search")
        if old is not None:
            old.engine.close()
        if not news.bundle:
            return
        read = self._archive.read
        parts = activation.Parts(
            bundle=open_archived(read("bundle", news.bundle)),
            catalogue=activation.read_catalogue(read("catalogue", news.catalogue), where="catalogue"),
            catalogue_digest=news.catalogue,
            trust=activation.read_trust(read("trust", news.trust), where="trust"),
            trust_digest=news.trust,
        )
        ground = self._ground
        settings = PolicySettings(budget_ms=ground.budget_ms, memory_mib=ground.memory_mib)
        policy = activation.make_policy(
            parts, activation.make_engine(parts.bundle, settings), source=news.source, strongest=news.strongest,
            path_key=ground.path_key, tick_seconds=ground.tick_seconds,
        )  # fmt: skip
        self._authorizer.activate(msgspec.structs.replace(policy, not_after=news.not_after))

    def _rule_by(self, digest: str) -> None:
        bundle = open_unsigned(self._archive.read("rules", digest))
        ground = self._ground
        engine = WasmEngine(
            bundle.wasm, bundle.data, revision=bundle.revision, budget_ms=ground.budget_ms,
            memory_mib=ground.memory_mib,
        )  # fmt: skip
        old = self._rules.activate(engine, digest)
        if old is not None:
            old.close()


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the other end hangs up; the first message is the ground."""
    searching: Searching | None = None
    while True:
        length = source.read(LENGTH)
        if len(length) < LENGTH:
            return
        raw = source.read(int.from_bytes(length))
        message = read_message(raw)
        if isinstance(message, Ground):
            searching = Searching(message)
        elif searching is not None:
            found = searching.take(message)
            if found is not None:
                sink.write(packed(found))
                sink.flush()


def main() -> None:
    """Run as the search of the process at the other end of the standard streams; what is logged goes to its errors."""
    os.nice(NICENESS)
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(source, sink)
