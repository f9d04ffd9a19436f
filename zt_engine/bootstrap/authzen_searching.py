"""The search seen from the process that decides: started when it is first wanted, told only what is new to it.

Telling is cut into slices, so that decisions are never kept waiting by a directory of ten thousand people.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice

import msgspec
import structlog

from zt_engine.bootstrap.authzen_rules import RulesFollower
from zt_engine.bootstrap.authzen_search import COMMAND
from zt_engine.core.errors import UnavailableError
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.situation import Situation
from zt_engine.sidecar.authorize import Authorizer
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
    read_found,
)
from zt_engine.sidecar.policy import Policy
from zt_engine.sidecar.replica import Records, Replica

log = structlog.get_logger()

SLICE = 200
MOST_WAITING = 16
GRACE_SECONDS = 20.0
"""Beside the time of a search itself: a machine that is busy lets the search wait."""


class SearchProcess:
    """One child at most; after anything odd it is ended, and the next search starts another."""

    def __init__(
        self, ground: Callable[[], Ground], *, authorizer: Authorizer, replica: Replica, rules: RulesFollower
    ) -> None:
        self._ground = ground
        self._authorizer = authorizer
        self._replica = replica
        self._rules = rules
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._child: asyncio.subprocess.Process | None = None
        self._forget()

    def _forget(self) -> None:
        self._subjects: dict[tuple[str, str], SubjectRecord] = {}
        self._records: Records | None = None
        self._situation: Situation | None = None
        self._policy: Policy | None = None
        self._digest = ""

    async def find(self, job: Job) -> Found:
        """Return a page; raises UnavailableError AUTHZEN_SEARCH_DOWN."""
        if self._waiting >= MOST_WAITING:
            raise UnavailableError("AUTHZEN_SEARCH_DOWN", "too many searches wait")
        self._waiting += 1
        try:
            async with self._lock:
                return await asyncio.wait_for(self._find(job), job.seconds + GRACE_SECONDS)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, TypeError, msgspec.MsgspecError) as error:
            log.error("search.failed", error=type(error).__name__, problem=str(error))
            await self.close()
            raise UnavailableError("AUTHZEN_SEARCH_DOWN", "the search did not answer") from None
        except asyncio.CancelledError:
            # Its answer would be taken for the next one's.
            if self._child is not None:
                self._child.kill()
            raise
        finally:
            self._waiting -= 1

    async def _find(self, job: Job) -> Found:
        child = self._child
        if child is None or child.returncode is not None:
            self._forget()
            child = self._child = await asyncio.create_subprocess_exec(
                *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            await self._tell(child, self._ground())
        await self._tell_news(child)
        await self._tell(child, job)
        assert child.stdout is not None
        length = int.from_bytes(await child.stdout.readexactly(LENGTH))
        found = read_found(await child.stdout.readexactly(length))
        if found.number != job.number:
            raise OSError("an answer to another search")
        return found

    async def _tell_news(self, child: asyncio.subprocess.Process) -> None:
        policy, state = self._authorizer.policy, self._replica.state
        if policy is not self._policy:
            await self._tell(child, _news(policy))
            self._policy = policy
        if self._rules.digest and self._rules.digest != self._digest:
            digest = self._rules.digest
            await self._tell(child, RulesNews(digest))
            self._digest = digest
        if state.situation is not None and state.situation is not self._situation:
            await self._tell(child, SituationNews.of(state.situation))
            self._situation = state.situation
        if state.records is not self._records:
            await self._tell_subjects(child, state.records)
            self._records = state.records

    async def _tell_subjects(self, child: asyncio.subprocess.Process, records: Records) -> None:
        known, sent = records.subjects, self._subjects
        every = iter(known.items())
        while part := list(islice(every, SLICE)):
            changed = [record for key, record in part if sent.get(key) is not record]
            if changed:
                sent |= {(record.issuer, record.id): record for record in changed}
                await self._tell(child, SubjectsNews(changed, []))
            await asyncio.sleep(0)
        if len(sent) > len(known):
            gone = [key for key in sent if key not in known]
            for key in gone:
                del sent[key]
            await self._tell(child, SubjectsNews([], gone))

    async def _tell(self, child: asyncio.subprocess.Process, message: Message) -> None:
        assert child.stdin is not None
        child.stdin.write(packed(message))
        await child.stdin.drain()

    async def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            if child.returncode is None:
                child.kill()
            await child.wait()
            if child.stdin is not None:
                child.stdin.close()


def _news(policy: Policy | None) -> PolicyNews:
    if policy is None:
        return PolicyNews()
    versions = policy.versions
    return PolicyNews(
        bundle=str(versions["bundle"]),
        catalogue=str(versions["catalogue"]),
        trust=str(versions["trust"]),
        source=policy.source,
        strongest=policy.strongest,
        not_after=policy.not_after,
    )
