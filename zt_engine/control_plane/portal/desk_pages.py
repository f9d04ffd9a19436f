"""The desk's pages as answers: each template with its texts, its visitor, and the words values are told in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from device_inventory.device import DeviceRecordError
from zt_engine.control_plane.access import PERMISSIONS
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrollment import PARTS, EnrollmentParts
from zt_engine.control_plane.portal.answers import html
from zt_engine.control_plane.portal.desk_forms import new_once
from zt_engine.control_plane.portal.desk_reading import GRAVE
from zt_engine.control_plane.portal.parts import portal_of
from zt_engine.control_plane.portal.refused import page_status
from zt_engine.control_plane.portal.visitor import Visitor
from zt_engine.core.audit import AuditEvent
from zt_engine.core.classification import Level
from zt_engine.core.errors import ZtError
from zt_engine.pages.desk import NOT_HERE, Words
from zt_engine.pages.registry import registry

TABS: Final = (
    ("devices", "/desk", "devices.read"),
    ("waiting", "/desk/waiting", "devices.read"),
    ("enrollments", "/desk/enrollments", "invitations.read"),
    ("invitations", "/desk/invitations", "invitations.read"),
    ("invite", "/desk/invite", "invitations.write"),
)
RANKS: Final = (100, 200, 300)
"""What is offered where no label is known by name."""


class DeskPages:
    """Renders the pages of the desk."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def show(self, template: str, who: Visitor, *, tab: str = "", status: int = 200, **values: Any) -> Response:
        """Return a page."""
        words = self.words(who)
        may = PERMISSIONS[who.role] if who.role is not None else frozenset()
        page = portal_of(self._plane).book.render(
            f"desk_{template}.html",
            language=who.language,
            visitor=who,
            t=words.texts,
            w=words,
            may=may,
            tabs=[(name, path) for name, path, permission in TABS if permission in may],
            tab=tab,
            once=new_once(),
            grave=GRAVE,
            **values,
        )
        return html(page, status)

    def refused(self, who: Visitor, error: ZtError | DeviceRecordError, *, back: str, tab: str) -> Response:
        """Return the page that says why something was not done, and leads back to what it was about."""
        entry = registry().get(error.code)
        return self.show(
            "message",
            who,
            tab=tab,
            status=page_status(error),
            text=error.code if entry is None else entry.text(who.language),
            hint="" if entry is None else entry.hint(who.language),
            code=error.code,
            back=back,
        )

    def changed(
        self, who: Visitor, happened: Sequence[AuditEvent], *, thing: str, code: str, back: str, tab: str
    ) -> Response:
        """Return the page that says what happened since somebody looked, and that their own wish was not done."""
        own = all(event.actor == who.actor for event in happened)
        return self.show(
            "changed", who, tab=tab, status=409, thing=thing, happened=happened, own=own, back=back, code=code
        )

    def words(self, who: Visitor) -> Words:
        """Return how values are told to somebody now."""
        return Words(who.language, now=self._plane.now(), levels=self.levels())

    def levels(self) -> list[Level]:
        """Return the labels a device may be good for, from the lowest."""
        parts = self._plane.extras.get(PARTS)
        known = parts.levels().values() if isinstance(parts, EnrollmentParts) else ()
        return sorted((level for level in known if level.rank < NOT_HERE), key=lambda level: level.rank)

    def ceilings(self, who: Visitor) -> list[tuple[int, str]]:
        """Return what may be chosen as the ceiling of a device, with its name."""
        words = self.words(who)
        ranks = [level.rank for level in self.levels() if level.rank > 0] or RANKS
        return [(rank, words.label(rank)) for rank in ranks]
