"""The decision event: what one line of the decision log says, and how it becomes bytes.

The names are fixed (they are a contract with whoever reads the log). An event takes only these named fields, so that a
token, a certificate, a query string or a body has no place to stand in. `seq` and `prev_hash` are added by the chain
(`core.decision_log.Chain`), which is why they are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

EVENT_NAMES = (
    *("ts", "seq", "decision_id", "request_id", "sidecar", "tenant", "subject", "device", "hook", "method", "host"),
    *("route", "path_hmac", "label", "effect", "observed", "reasons", "obligations", "trust", "pillars", "threshold"),
    *("threat_level", "overlays", "grants", "revision", "source", "versions", "cache", "latency_us", "input_digest"),
    "prev_hash",
)

RULE_SOURCES = frozenset({"authzen", "rego"})
"""The `source` of decisions by a plain rule: their `input_digest` is keyed, and their input is not kept."""

_encode = msgspec.json.Encoder().encode


class LoggedObligation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An obligation as it was sent: its id, and its value when it has one."""

    id: str
    value: str | int | bool | None = None


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What would have been decided had the service not been under observation."""

    effect: str
    reasons: tuple[str, ...] = ()


class DecisionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. `None` means "was not reached": a refusal before policy has no `input_digest` and no threshold."""

    ts: str
    decision_id: str
    request_id: str
    sidecar: str
    tenant: str
    subject: str = ""
    device: str = ""
    hook: str = ""
    method: str = ""
    host: str = ""
    route: str = ""
    path_hmac: str = ""
    label: str = ""
    effect: str
    observed: Observed | None = None
    reasons: tuple[str, ...] = ()
    obligations: tuple[LoggedObligation, ...] = ()
    trust: int | None = None
    pillars: Mapping[str, int] | None = None
    threshold: int | None = None
    threat_level: int = 0
    overlays: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    revision: str = ""
    source: str = ""
    versions: Mapping[str, str | int] | None = None
    cache: str = "off"
    latency_us: int = 0
    input_digest: str | None = None


def encode_event(event: DecisionEvent) -> bytes:
    """The event as the body of a log line: JSON members without the braces, for `Chain.append`."""
    return _encode(event)[1:-1]


def quoted(text: str) -> bytes:
    """Text as a JSON string; for values that are not known to be plain ASCII without quotes."""
    return _encode(text)


class EventTemplate:
    """The constant part of repeated decisions, so that a warm decision costs one formatting call.

    What differs from one request to the next under the same decision is filled in: time, ids, path, cache state and
    latency. Everything else is encoded once. The bytes equal `encode_event` of the completed event.
    """

    __slots__ = ("_format",)

    _HOLES = ("ts", "decision_id", "request_id", "path_hmac", "cache", "latency_us")

    def __init__(self, event: DecisionEvent) -> None:
        pieces: list[bytes] = []
        for name in event.__struct_fields__:
            value = b"%b" if name in self._HOLES else _encode(getattr(event, name)).replace(b"%", b"%%")
            if name == "latency_us":
                value = b"%d"
            elif name in {"ts", "decision_id", "path_hmac", "cache"}:
                value = b'"%b"'
            pieces.append(b'"%b":%b' % (name.encode(), value))
        self._format = b",".join(pieces)

    def fill(  # positional: a keyword costs as much as the formatting
        self, ts: bytes, decision_id: bytes, request_id: bytes, path_hmac: bytes, cache: bytes, latency_us: int
    ) -> bytes:
        """The body of one event. `request_id` comes `quoted` (it is the proxy's); the others are plain ASCII, ours."""
        return self._format % (ts, decision_id, request_id, path_hmac, cache, latency_us)


class Timestamps:
    """RFC 3339 UTC with milliseconds; the last text is kept, since formatting it costs a microsecond."""

    __slots__ = ("_last", "_millisecond", "_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._millisecond = -1
        self._prefix = b""
        self._last = b""

    def format(self, now: float) -> bytes:
        """`now` (epoch seconds) as `2026-11-22T07:10:00.123Z`."""
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
                self._second = second
            self._millisecond, self._last = millisecond, b"%b.%03dZ" % (self._prefix, rest)
        return self._last


def timestamp(now: float) -> str:
    """`now` as the log writes time; for the cold path."""
    return Timestamps().format(now).decode()
