"""Searches: found in a process of their own, decided once more here, and told a page at a time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Protocol

from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.sidecar.authzen import replies
from zt_engine.sidecar.authzen.answering import Answering
from zt_engine.sidecar.authzen.finding import told
from zt_engine.sidecar.authzen.jobs import Found, Job
from zt_engine.sidecar.authzen.pages import Page, Pages
from zt_engine.sidecar.authzen.pending import NONE, Denied, Pending, Record
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.authzen.wire import Json, Search, What, encoded, read_search
from zt_engine.sidecar.replica import Replica

TOGETHER = 4
"""Results that are confirmed before others have their turn."""


class Seeker(Protocol):
    """Finds, somewhere else."""

    async def find(self, job: Job) -> Found:
        """Return a page; raises UnavailableError AUTHZEN_SEARCH_DOWN."""
        ...


class Searches:
    """Answers searches of callers that may search."""

    def __init__(self, seeker: Seeker, pages: Pages, replica: Replica, *, seconds: float) -> None:
        self._seeker = seeker
        self._pages = pages
        self._replica = replica
        self._seconds = seconds
        self._number = itertools.count(1).__next__

    async def answer(
        self, answering: Answering, pep: Pep, what: What, path: bytes, body: Json, number: bytes
    ) -> Pending:  # fmt: skip
        """Answer a search; a fault of it is a 400 that says which."""
        try:
            search = read_search(body, what)
            now = answering.now()
            page = self._pages.read(pep, path, body, now=now)
        except InputError as error:
            return Pending(replies.refusal(400, error.code, error.message, number=number))
        if not pep.searches:
            return Pending(replies.refusal(403, "AUTHZEN_SEARCH", "this caller may not search", number=number))
        try:
            found = await self._seeker.find(self._job(pep, search, page, now))
        except UnavailableError as error:
            return Pending(replies.refusal(503, error.code, error.message, number=number))
        results: list[dict[str, object]] = []
        records: list[Record] = []
        for count, hit in enumerate(found.hits, 1):
            opens, _, record = answering.one(pep, search.about(hit.id), number)
            records.append(record)
            if opens:
                results.append(told(search, hit))
            if count % TOGETHER == 0:
                await asyncio.sleep(0)
        token = self._pages.write(pep, path, body, after=found.after, now=now) if found.more else ""
        why = {"context": {"reason_admin": {"403": found.code}}} if found.code else {}
        told_results = replies.success(_listed(results, token, why), number)
        return Pending(told_results, records=tuple(records), denied=Denied(pep.context, number, NONE))

    def _job(self, pep: Pep, search: Search, page: Page, now: float) -> Job:
        device = search.subject.properties.get("device_id")
        return Job(
            number=self._number(),
            pep=pep,
            search=search,
            device=self._replica.devices.get(device) if isinstance(device, str) else None,
            after=page.after,
            limit=page.limit,
            now=now,
            seconds=self._seconds,
        )


def _listed(results: list[dict[str, object]], token: str, more: Json) -> bytes:
    """Return an answer whose first member is its page."""
    rest = encoded({"results": results, **more})
    return b'{"page":%b,%b' % (encoded({"next_token": token, "count": len(results)}), rest[1:])
