"""`/.zt/step-up` and `/.zt/proven`: a session proves itself with its person's key, and comes back to the page.

The key is used at the control plane's own page, since keys belong to that site. What comes back counts only together
with the session's cookie and the ticket of this very browser.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlencode

from zt_engine.core.cookies import Ticket, gone, issued
from zt_engine.core.errors import InputError
from zt_engine.core.identity import AssuranceTable
from zt_engine.core.request import AccessRequest
from zt_engine.core.session import SessionRecord, require_same_origin, sid_of
from zt_engine.core.webauthn import PHR, PHRH
from zt_engine.core.wish import UNKNOWN, Wish
from zt_engine.ports import CertificateVerifier, Clock
from zt_engine.ports.webauthn import StepUpDesk
from zt_engine.sidecar.browser.answers import answer
from zt_engine.sidecar.browser.visit import Pages, Visit
from zt_engine.sidecar.replica import Replica

STEP_UP: Final = b"/.zt/step-up"
PROVEN: Final = b"/.zt/proven"
LOGIN: Final = "/.zt/login"
TICKET: Final = Ticket("__Host-zt-step-up", r"[A-Za-z0-9_-]{1,128}")
KNOWN_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.02
GIVEN_UP: Final = frozenset({"PASSKEY_NONE", "PASSKEY_OFF", "SESSION_NOT_FOUND"})
"""What a sign-in at the provider helps against."""
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ASKED: Final = ("to", "acr_values", "max_age")


class StepUp:
    """The two pages of one sidecar. `table` is how strong the policy in force takes each `acr` and `amr` to be.

    Without a desk nobody has keys, and whoever asks for one is sent to the identity provider.
    """

    def __init__(
        self,
        *,
        desk: StepUpDesk | None,
        replica: Replica,
        certificates: CertificateVerifier,
        clock: Clock,
        table: Callable[[], AssuranceTable],
    ) -> None:
        self._desk = desk
        self._replica = replica
        self._certificates = certificates
        self._now = clock.now
        self._table = table

    @property
    def pages(self) -> Pages:
        """By method and path."""
        return {(b"GET", STEP_UP): self._begin, (b"GET", PROVEN): self._finish}

    async def _begin(self, visit: Visit) -> bytes:
        """Send the browser to the page with the key, or to the provider where no key would be enough."""
        request = visit.request
        # INVARIANT: only a page of this very origin, or whoever types the address, begins.
        require_same_origin(origin=visit.sent.origin, fetch_site=visit.sent.fetch_site, expected=request.target.origin)
        record = self._replica.sessions.get(sid_of(request.session)) if request.session else None
        if record is None:
            return _to_provider(visit.query)
        wanted = enough(visit.query.get("acr_values", ""), record, self._table())
        if not wanted or self._desk is None:
            return _to_provider(visit.query)
        age = visit.query.get("max_age", "")
        try:
            begun = await self._desk.begin(
                {
                    **self._place(request),
                    "sid": record.sid,
                    "scheme": request.target.scheme,
                    "authority": request.target.origin.decode().partition("://")[2],
                    "to": visit.query.get("to", "/"),
                    "wanted": list(wanted),
                    "acr_values": visit.query.get("acr_values", "")[:512],
                    "max_age": int(age) if age.isascii() and age.isdigit() and len(age) < 9 else None,
                }
            )
        except InputError as error:
            if error.code in GIVEN_UP:
                return _to_provider(visit.query)
            raise
        cookie = issued(TICKET.name, begun.ticket, seconds=begun.seconds)
        return answer(302, b"", ("Location", begun.location), ("Set-Cookie", cookie))

    async def _finish(self, visit: Visit) -> bytes:
        request = visit.request
        ticket = TICKET.read(visit.sent.cookie)
        code = visit.query.get("code", "")
        if self._desk is None or not request.session or not ticket:
            raise InputError("PASSKEY_SESSION", "the session or the ticket of the browser is missing")
        if not _SECRET.fullmatch(code):
            raise InputError("PASSKEY_CHALLENGE", "the code is none")
        sid = sid_of(request.session)
        raised = await self._desk.finish({**self._place(request), "sid": sid, "code": code, "ticket": ticket})
        await self._known(sid, raised.version)
        return answer(303, b"", ("Location", raised.to), ("Set-Cookie", gone(TICKET.name)))

    def _place(self, request: AccessRequest) -> dict[str, object]:
        device = ""
        if request.client_cert:
            device = self._certificates.verify(request.client_cert, now=self._now()).device_id
        return {"host": request.target.host, "device_id": device}

    async def _known(self, sid: str, version: int) -> None:
        """Wait until the stream has told what was proven; a browser that is faster would be asked once more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + KNOWN_SECONDS
        while loop.time() < until:
            record = self._replica.sessions.get(sid)
            if record is None or record.version >= version:
                return
            await asyncio.sleep(LOOK_SECONDS)


def enough(acr_values: str, record: SessionRecord, table: AssuranceTable) -> tuple[str, ...]:
    """Return which sign-ins with a key are as strong as everything that is asked for, and no weaker than the session's.

    A session says what was proven last: one that signed in more strongly is not made to say less.
    """
    asked = Wish(acr_values=acr_values).levels
    said = max(table.get(name, 0) for name in (record.acr, *record.amr, ""))

    def is_enough(name: str) -> bool:
        level = table.get(name, 0)
        return level >= said and all(one == name or level >= table.get(one, UNKNOWN) for one in asked)

    return tuple(name for name in (PHR, PHRH) if is_enough(name))


def _to_provider(query: Mapping[str, str]) -> bytes:
    kept = {name: query[name] for name in _ASKED if name in query}
    return answer(302, b"", ("Location", f"{LOGIN}?{urlencode(kept)}"))
