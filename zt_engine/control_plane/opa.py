"""OPA clients: any stock OPA that fetches the released bundle, says how it stands, and hands over its decision log.

An OPA has no lease, no revocations of ours and no watermark: what it has it keeps. It verifies the bundle's signature
itself, with the key its own configuration names. It is given what everybody is to have, never what is staged.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from typing import Any, Final

import msgspec

from zt_engine.control_plane.bundle_shelf import BundleShelf
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.releases import notice_of
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import ROOT
from zt_engine.core.bundle_hash import canonical
from zt_engine.core.errors import InputError
from zt_engine.core.gzip_member import MemberError, MemberTooLargeError, expand
from zt_engine.core.jose import MAX_TOKEN_BYTES, split_compact
from zt_engine.ports.opa import OpaClientVerifier, OpaLogs
from zt_engine.ports.releases import KeptRelease, OpaClient

BUNDLE: Final = ROOT
"""What OPAs call the bundle."""
MOST_WAIT: Final = 300.0
POLL_SECONDS: Final = 1.0
"""The floor: a release may be put in force by another process."""
MOST_WAITING: Final = 2_000
MAX_LOG_BYTES: Final = 1 << 20
"""Of a chunk as it is sent."""
MAX_EXPANDED: Final = 16 << 20
MAX_EVENTS: Final = 20_000
REMEMBERED: Final = 20_000
"""So many decisions of a client are known when they are sent again."""


class BundleFeed:
    """The release that OPAs are given, and those who wait for the next one."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._lock = threading.Lock()
        self._known: KeptRelease | None = None
        self._fresh_until = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()
        self._closed = False

    def current(self) -> KeptRelease | None:
        """Return the newest release that everybody is to have; at most a second old."""
        with self._lock:
            if self._plane.clock.elapsed() >= self._fresh_until:
                with self._plane.store.reading(self._plane.settings.tenant) as tx:
                    self._known = tx.releases.last("released", settled=True)
                self._fresh_until = self._plane.clock.elapsed() + POLL_SECONDS
            return self._known

    async def after(self, digest: str, *, wait: float) -> KeptRelease | None:
        """Return the release in force, after up to `wait` seconds as long as it is the one of this bundle."""
        loop = self._loop = asyncio.get_running_loop()
        end = loop.time() + min(wait, MOST_WAIT)
        while True:
            found = await asyncio.to_thread(self.current)
            left = end - loop.time()
            same = found is None or found.bundle_digest == digest
            if not same or left <= 0 or self._closed or len(self._waiting) >= MOST_WAITING:
                return found
            woken = asyncio.Event()
            self._waiting.add(woken)
            try:
                await asyncio.wait_for(woken.wait(), min(left, POLL_SECONDS))
            except TimeoutError:
                pass
            finally:
                self._waiting.discard(woken)

    def wake(self) -> None:
        """Say that something was put in force. From any thread."""
        with self._lock:
            self._fresh_until = float("-inf")
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Let nobody wait any more. From any thread."""
        self._closed = True
        self.wake()

    def _wake(self) -> None:
        for woken in self._waiting:
            woken.set()


class _BundleStatus(msgspec.Struct):
    active_revision: str = ""
    code: str = ""
    message: str = ""


class _Status(msgspec.Struct):
    labels: dict[str, Any] = {}
    bundles: dict[str, _BundleStatus] = {}


class _LogEvent(msgspec.Struct):
    decision_id: str


class OpaService:
    """What OPA clients are served. For use by many threads."""

    def __init__(self, plane: ControlPlane, clients: OpaClientVerifier, logs: OpaLogs) -> None:
        self.clients = clients
        self.feed = BundleFeed(plane)
        self.shelf = BundleShelf(plane.store, plane.settings.tenant)
        self._plane = plane
        self._logs = logs
        self._lock = threading.Lock()
        self._logged: dict[str, OrderedDict[str, None]] = {}

    def discovery(self) -> bytes:
        """Return a discovery bundle: the bundle, its key's id, and that status and decisions are reported here.

        It is not signed, so the keys themselves stand in each OPA's own configuration. InputError RELEASE_NONE.
        """
        current = self.feed.current()
        if current is None:
            raise InputError("RELEASE_NONE", "nothing has been released yet")
        record = split_compact(
            notice_of(current).record.encode(),
            max_bytes=MAX_TOKEN_BYTES,
            malformed="BUNDLE_MALFORMED",
            too_large="BUNDLE_TOO_LARGE",
        )
        service = "control"
        found: dict[str, Any] = {
            "bundles": {
                BUNDLE: {
                    "service": service,
                    "resource": f"bundles/{BUNDLE}",
                    "signing": {"keyid": str(record.header.get("kid", ""))},
                    "polling": {"long_polling_timeout_seconds": 60},
                }
            },
            "status": {"service": service},
            "decision_logs": {"service": service},
        }
        return bundle_archive.write({"data.json": canonical(found)})

    def status(self, client: str, raw: bytes, *, now: int) -> None:
        """Keep what an OPA says of itself; InputError REQUEST_MALFORMED."""
        try:
            said = msgspec.json.decode(raw, type=_Status)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError("REQUEST_MALFORMED", str(error)[:200]) from None
        bundle = said.bundles.get(BUNDLE, _BundleStatus())
        labels = {name[:64]: str(value)[:128] for name, value in list(said.labels.items())[:16]}
        told = OpaClient(
            name=client,
            revision=bundle.active_revision[:128],
            seen_at=now,
            code=bundle.code[:64],
            message=bundle.message[:500],
            labels=labels,
        )
        with self._plane.store.writing(self._plane.settings.tenant) as tx:
            tx.releases.put_opa_client(told)

    def log(self, client: str, raw: bytes, *, gzipped: bool, now: int) -> int:
        """Keep a chunk of a decision log, each decision once; how many were new. InputError OPA_LOG_MALFORMED."""
        with self._lock:  # one at a time: what is sent may expand to a thousand times as much
            named = _named(_expanded(raw) if gzipped else raw)
            known = self._logged.setdefault(client, OrderedDict())
            new = {id_: event for id_, event in named if id_ not in known}
            if new:
                self._logs.append(client, [_line(event, now) for event in new.values()], now=now)
            # Only what was kept is known: a chunk that was refused comes again.
            known.update(dict.fromkeys(new))
            while len(known) > REMEMBERED:
                known.popitem(last=False)
        return len(new)


def _named(text: bytes) -> list[tuple[str, bytes]]:
    """Return each event of a chunk by its id."""
    try:
        ids = [event.decision_id[:128] for event in msgspec.json.decode(text, type=list[_LogEvent])]
        if len(ids) > MAX_EVENTS:  # counted before each takes memory of its own
            raise InputError("OPA_LOG_MALFORMED", f"more than {MAX_EVENTS} events in a chunk")
        return list(zip(ids, map(bytes, msgspec.json.decode(text, type=list[msgspec.Raw])), strict=True))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("OPA_LOG_MALFORMED", str(error)[:200]) from None


def _line(event: bytes, now: int) -> bytes:
    # Within a string a line break is escaped, so one that is not stands between tokens.
    return b'{"received_at":%d,"event":%b}' % (now, event.translate(_BREAKS))


_BREAKS: Final = bytes.maketrans(b"\r\n", b"  ")


def _expanded(raw: bytes) -> bytes:
    """Expand one gzip member that fills the whole body, never beyond the limit whatever it claims."""
    try:
        return expand(raw, most=MAX_EXPANDED)
    except MemberTooLargeError as error:
        raise InputError("REQUEST_TOO_LARGE", str(error)) from None
    except MemberError as error:
        raise InputError("OPA_LOG_MALFORMED", str(error)) from None


def preferred_wait(prefer: str) -> float:
    """Return how long a `Prefer` header of OPA (`modes=snapshot,delta;wait=60`) asks to wait; 0 when it does not."""
    for part in prefer.split(";"):
        name, _, value = part.strip().partition("=")
        if name == "wait" and value.isascii() and value.isdigit() and len(value) <= 6:
            return float(value)
    return 0.0


def held_digest(if_none_match: str) -> str:
    """Return the digest of the bundle that an OPA has by its ETag; empty when it has none of ours."""
    tag = if_none_match.strip()
    start, end = '"sha256:', '"'
    return tag[len(start) : -1] if tag.startswith(start) and tag.endswith(end) else ""
