"""`zt policy watch`: what changed in the sources is published by itself, and what is in force never just ends.

A tree that fails is told once and waits for the next change. What fails for want of a control plane is tried again.
At a start, a release that did not come from here is newer than what lies here: it stays until the sources change.
"""

from __future__ import annotations

import structlog

from zt_engine.adapters.releases_http import Active
from zt_engine.bootstrap.publishing import CONFLICT, DAY, Published, Publisher
from zt_engine.bootstrap.publishing_sources import Gate, Source
from zt_engine.core.errors import BundleError, UnavailableError, ZtError

log = structlog.get_logger()


class Watch:
    """Looks at the sources whenever it is told to; keeps in mind what it has judged."""

    def __init__(self, source: Source, publisher: Publisher, gate: Gate, *, days: int, adopt: bool = False) -> None:
        """`adopt`: what lies in the sources at the start goes over whatever is in force."""
        self.at = source.name()
        """What was looked at last, as people call it."""
        self._source = source
        self._publisher = publisher
        self._gate = gate
        self._within = days * DAY / 3
        self._judged = ""
        self._started = adopt

    def look(self) -> Published | ZtError | None:
        """Publish what changed, renew what ends; return what came of it, None when there was nothing to do."""
        state = ""
        try:
            state = self._source.state()
            self.at = self._source.name(state)
            active = self._publisher.plane.next().active
            if not self._started and state == self._source.lineage().state:
                self._judged, self._started = state, True  # published before the start
                self._ours(active)
            if state == self._judged:
                return self._renewed(state, active)
            return self._published(state, active)
        except OSError as error:
            return self._told(UnavailableError("SOURCES_UNREADABLE", str(error)))
        except UnavailableError as error:
            return self._told(error)  # may be gone at the next look
        except ZtError as error:
            if state and error.code != CONFLICT and not error.code.startswith("AUTH_"):
                self._judged, self._started = state, True
            return self._told(error)

    def _published(self, state: str, active: Active | None) -> Published:
        built = self._source.build(self._gate, state)
        if not self._started and (active is None or active.content_digest != built.bundle.content_digest):
            self._ours(active)
        published = self._publisher.publish(built.raw)
        self._judged, self._started = state, True
        self._source.published(state, published)
        told = {"seq": published.seq, "state": published.state, "revision": published.revision}
        log.info("release.published", source=self.at, **told)
        return published

    def _renewed(self, state: str, active: Active | None) -> Published | None:
        renewed = self._publisher.renewal(within=self._within)
        if renewed is not None:
            log.info("release.renewed", seq=renewed.seq, source=self.at)
            if active is not None and self._source.lineage().holds(active.seq, active.content_digest):
                self._source.published(state, renewed)
        return renewed

    def _ours(self, active: Active | None) -> None:
        """BundleError SOURCES_NOT_IN_FORCE for a release that did not come from here."""
        if active is not None and not self._source.lineage().holds(active.seq, active.content_digest):
            message = f"release {active.seq} is in force and did not come from here"
            raise BundleError("SOURCES_NOT_IN_FORCE", message, where=self.at)

    def _told(self, error: ZtError) -> ZtError:
        log.warning("release.failed", source=self.at, code=error.code, where=error.where, problem=error.message)
        return error
