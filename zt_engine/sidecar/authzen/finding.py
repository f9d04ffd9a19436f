"""What a search finds: candidates in the order of their ids, each decided as a question of its own.

This runs in a process beside the decisions (`jobs` says how they talk). What it finds is decided once more, and
recorded, before it is told: a process that knows something a moment later tells nothing that is no longer so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import structlog

from zt_engine.core.errors import UnavailableError, ZtError
from zt_engine.core.issuer import subject_name
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.authzen.evaluation import Evaluator
from zt_engine.sidecar.authzen.jobs import Found, Hit, Job
from zt_engine.sidecar.authzen.places import HTTP, ROUTE, is_open
from zt_engine.sidecar.authzen.wire import NOTHING, Entity, Json, Search, encoded
from zt_engine.sidecar.replica import Replica

log = structlog.get_logger()

MAX_CANDIDATES = 200_000
NUMBER = "search"


class Finder:
    """Finds against one state of everything."""

    def __init__(
        self,
        evaluator: Evaluator,
        authorizer: Authorizer,
        replica: Replica,
        *,
        home: str,
        elapsed: Callable[[], float],
    ) -> None:
        self._evaluator = evaluator
        self._authorizer = authorizer
        self._replica = replica
        self._home = home
        self._elapsed = elapsed

    def find(self, job: Job) -> Found:
        """Return the next page; `until` it has looked when its time is over before the page is full."""
        end = self._elapsed() + job.seconds
        try:
            candidates = self._candidates(job)
        except ZtError as error:
            return Found(job.number, [], code=error.code)
        except Exception as error:
            log.exception("search.failed", error=type(error).__name__)
            return Found(job.number, [], code="INTERNAL_ERROR")
        hits: list[Hit] = []
        last = job.after
        for name in sorted(candidates):
            if job.after is not None and name <= job.after:
                continue
            if len(hits) >= job.limit or self._elapsed() > end:
                return Found(job.number, hits, after=last, more=True)
            last = name
            done = self._evaluator.decide(job.pep, job.search.about(name), job.now, NUMBER)
            if done.outcome.decision.opens:
                hits.append(Hit(name, candidates[name]))
        return Found(job.number, hits, after=last)

    def _candidates(self, job: Job) -> Mapping[str, Json]:
        """Return ids with the properties that are told of them."""
        search = job.search
        if search.resource.type not in (HTTP, ROUTE):
            return self._named(job)
        if search.what == "subject":
            return {
                subject_name(issuer, subject, home=self._home): NOTHING
                for (issuer, subject), record in self._replica.subjects.items()
                if record.type == search.subject.type
            }
        if search.what == "resource":
            return dict.fromkeys(self._routes(search), NOTHING)
        return dict.fromkeys(self._methods(), NOTHING)

    def _routes(self, search: Search) -> Iterator[str]:
        policy = self._authorizer.policy
        catalogue = policy.places.catalogue if policy is not None else None
        for rule in catalogue.rules if catalogue is not None else ():
            if search.action.id not in rule.methods or (search.resource.type == HTTP and is_open(rule.template.text)):
                continue
            if catalogue is not None:
                yield from (f"https://{host}{rule.template.text}" for host in catalogue.services[rule.service].hosts)

    def _methods(self) -> Iterator[str]:
        policy = self._authorizer.policy
        for rule in policy.places.catalogue.rules if policy is not None else ():
            yield from rule.methods

    def _named(self, job: Job) -> Mapping[str, Json]:
        """Return what the rule for candidates names: texts, or objects with `id` (an action: `name`), `properties`."""
        search = job.search
        if search.resource.type not in job.pep.types:
            return {}
        asked = {**search.about("").document(), "search": search.what}
        part = cast("dict[str, object]", asked[search.what])
        part.pop("name" if search.what == "action" else "id")
        listed = self._evaluator.rules.candidates(search.resource.type, encoded(asked))
        if not isinstance(listed, list) or len(listed) > MAX_CANDIDATES:
            raise UnavailableError("AUTHZEN_RULE", "candidates are a list")
        return dict(_candidate(item, "name" if search.what == "action" else "id") for item in listed)


def _candidate(item: object, key: str) -> tuple[str, Json]:
    if isinstance(item, str):
        return item, NOTHING
    if isinstance(item, dict) and isinstance(item.get(key), str) and isinstance(item.get("properties", {}), dict):
        return item[key], item.get("properties", NOTHING)
    raise UnavailableError("AUTHZEN_RULE", f"a candidate is a text, or an object with `{key}`")


def told(search: Search, hit: Hit) -> dict[str, object]:
    """Return a result as it is told."""
    properties = {"properties": hit.properties} if hit.properties else {}
    if search.what == "action":
        return {"name": hit.id, **properties}
    kind: Entity = search.subject if search.what == "subject" else search.resource
    return {"type": kind.type, "id": hit.id, **properties}
