"""`/my` and `/my/devices/{id}`: everything that is held of somebody's devices, to the person they are registered to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from device_inventory.facts import CATALOGUE
from device_inventory.inventory import Device
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.enrollment import EnrollmentRoom, room
from zt_engine.control_plane.portal.answers import html, page_router
from zt_engine.control_plane.portal.parts import portal_of
from zt_engine.control_plane.portal.visitor import Visitor, visitor
from zt_engine.control_plane.reads import readers
from zt_engine.control_plane.remedies import Item, items
from zt_engine.control_plane.routes import PathText
from zt_engine.pages.book import Language
from zt_engine.pages.desk import Words
from zt_engine.pages.my import ENDED, MyWords

EVENTS = 50
Caller = Annotated[Visitor, Depends(visitor)]


class MyDevices:
    """What the pages about somebody's own devices have in common."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.ground: EnrollmentRoom = room(plane)

    def device(self, who: Visitor, device_id: str) -> Device:
        """Return a device of theirs; LOST_UNKNOWN for any other."""
        return self.ground.losing.held(who.issuer, who.subject, device_id)

    def devices(self, who: Visitor) -> tuple[Device, ...]:
        """Return every device of theirs, the newest first."""
        found = self.ground.losing.all_held(who.issuer, who.subject)
        return tuple(sorted(found, key=lambda device: (-device.created_at, device.device_id)))

    def words(self, who: Visitor) -> MyWords:
        """Return what tells them of it."""
        levels = self.ground.levels()
        words = Words(who.language, now=self.plane.now(), levels=tuple(levels.values()))
        return MyWords(words, names=who.names, levels=levels)

    def page(self, template: str, who: Visitor, words: MyWords, **values: Any) -> Response:
        """Return a page."""
        book = portal_of(self.plane).book
        page = book.render(template, language=who.language, visitor=who, t=words.texts, w=words, **values)
        return html(page)

    def reach(self, device: Device, words: MyWords) -> str:
        """Return what a device is good for now; nothing of one that is out of service."""
        if device.status != "active":
            return ""
        return words.reach(self.ground.reporting.good_for(device, now=self.plane.now()))

    def missing(self, device: Device, language: Language) -> Sequence[Item]:
        """Return what a device lacks, from the lowest label up."""
        unmet = self.ground.reporting.unmet(device, now=self.plane.now())
        return items(unmet, codes=self.ground.codes, language=language)


def path_of(device: Device) -> str:
    """Return where the page of a device is."""
    return f"/my/devices/{Words.segment(device.device_id)}"


def router(plane: ControlPlane) -> APIRouter:
    """Return the routes."""
    routes = page_router(plane)
    my = MyDevices(plane)

    @routes.get("/my")
    def devices(who: Caller) -> Response:
        """List somebody's devices."""
        words = my.words(who)
        found = my.devices(who)
        shown = [
            {
                "device": device,
                "path": path_of(device),
                "badge": words.words.status_badge(device.status),
                "reach": my.reach(device, words),
            }
            for device in found
        ]
        return my.page(
            "my_devices.html",
            who,
            words,
            working=[one for one, device in zip(shown, found, strict=True) if device.status not in ENDED],
            ended=[one for one, device in zip(shown, found, strict=True) if device.status in ENDED],
        )

    @routes.get("/my/devices/{device_id}")
    def device(device_id: PathText, who: Caller) -> Response:
        """Show everything that is held of a device of theirs, and who looked at it."""
        words, now = my.words(who), plane.now()
        found = my.device(who, device_id)
        with plane.store.reading(plane.settings.tenant) as tx:
            events = tx.audit.of(f"device:{found.device_id}", limit=EVENTS)
            looks = readers(tx, found.device_id, limit=EVENTS)
        missing = [] if found.status in {*ENDED, "lost"} else my.missing(found, who.language)
        labels = list(dict.fromkeys(item.label for item in missing if item.label))
        decide = plane.settings.facts
        return my.page(
            "my_device.html",
            who,
            words,
            device=found,
            path=path_of(found),
            ended=found.status in ENDED,
            badge=words.words.status_badge(found.status),
            reach=my.reach(found, words),
            general=[item for item in missing if not item.label],
            steps=[(label, [item for item in missing if item.label == label]) for label in labels],
            keys=words.keys(found, now=now),
            groups=words.groups(found, decide=decide),
            others=words.others(found, decide=decide),
            marked=not decide.issuperset(CATALOGUE),
            decided=len(decide),
            looks=words.events(looks),
            events=words.events(events),
            changes=words.changes(found),
        )

    return routes
