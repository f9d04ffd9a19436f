"""The header names of a hook request, judged once per distinct list of names.

A proxy sends the same names in the same order with almost every request, so the rules about names (H1, H9, H10 of the
hook: reserved names, aliases, doubles, missing ones) are applied to the tuple of names and remembered in a `Layout`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Protocol

import msgspec

from zt_engine.core.errors import InputError

ABSENT = b""
"""The key under which the listener stores the value of a header that was not sent: the empty value."""

MAX_LAYOUTS = 1024

RESERVED_PREFIXES = ("zt-", "x-zt-", "x-forwarded-", "x-original-", "x-envoy-")
RESERVED_NAMES = frozenset(
    {
        "forwarded",
        "x-real-ip",
        "client-cert",
        "client-cert-chain",
        "x-rewrite-url",
        "x-script-name",  # WSGI middleware takes a prefix of the path from it
        "script-name",  # gunicorn believes a neighbour's `SCRIPT_NAME`, and the application sees another path
        "x-http-host-override",
        "x-client-cert",
        "x-forwarded",
        "ssl-client-cert",
    }
)
METHOD_OVERRIDES = frozenset({"x-http-method-override", "x-method-override", "x-http-method"})
FRAMING = frozenset({"transfer-encoding", "trailer", "upgrade", "expect", "te", "content-encoding"})


class Pick(Protocol):
    """Take the values of a layout's headers out of the mapping of headers."""

    def __call__(self, headers: dict[bytes, bytes], /) -> tuple[bytes, ...]: ...


class Family(msgspec.Struct, frozen=True):
    """The one header family of a proxy: what must be there, what may be there, in the order the hook reads it."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    tolerated: frozenset[str] = frozenset()
    """Of `FRAMING`: what this proxy itself hands on or adds, and which says nothing about the hook request."""
    ignored: frozenset[str] = frozenset()
    """Reserved names that this proxy writes itself, whatever the client sent; nobody reads them."""

    @property
    def known(self) -> tuple[str, ...]:
        """All names in reading order."""
        return self.required + self.optional


class Layout(msgspec.Struct, frozen=True):
    """What is true of one list of names: how to pick the values, or the code of the refusal."""

    pick: Pick | None
    refusal: str = ""
    detail: str = ""
    has_body: bytes = ABSENT
    """The spelling of Content-Length, if it was sent."""


def judge(names: Sequence[bytes], family: Family) -> Layout:
    """Apply the rules about names; any other reserved name, alias or double is a refusal."""
    seen: dict[str, bytes] = {}
    known = frozenset(family.known)
    single = known | {"host", "connection", "content-length"}
    for raw in names:
        try:
            name = raw.decode("ascii").lower()
        except UnicodeDecodeError:
            return Layout(pick=None, refusal="HEADER_INVALID", detail="a header name is not ASCII")
        alike = folded(name)
        if name in seen and name in single:
            return Layout(pick=None, refusal="HEADER_DOUBLED", detail=name)
        if name not in known and name not in family.ignored and _is_reserved(alike, known):
            return Layout(pick=None, refusal="HEADER_RESERVED", detail=name)
        if alike in METHOD_OVERRIDES:
            return Layout(pick=None, refusal="METHOD_OVERRIDE", detail=name)
        if name in FRAMING and name not in family.tolerated:
            return Layout(pick=None, refusal="HOOK_FRAMING", detail=name)
        seen[name] = raw
    if "host" not in seen:
        return Layout(pick=None, refusal="HOOK_FRAMING", detail="host")
    missing = [name for name in family.required if name not in seen]
    if missing:
        return Layout(pick=None, refusal="HOOK_HEADER_MISSING", detail=missing[0])
    return Layout(
        pick=itemgetter(*(seen.get(name, ABSENT) for name in family.known)),
        has_body=seen.get("content-length", ABSENT),
    )


def folded(name: str) -> str:
    """Return the name by which some backends read a header that is written like this."""
    return name.replace("_", "-").replace(".", "-")


def _is_reserved(alike: str, known: Iterable[str]) -> bool:
    return alike in RESERVED_NAMES or alike.startswith(RESERVED_PREFIXES) or alike in known


class Layouts:
    """The layouts seen so far, bounded: a client that invents names costs time, never memory."""

    __slots__ = ("_family", "_known", "_last", "_last_names")

    def __init__(self, family: Family) -> None:
        self._family = family
        self._known: dict[tuple[bytes, ...], Layout] = {}
        self._last_names: tuple[bytes, ...] = ()
        self._last: Layout | None = None

    def of(self, names: tuple[bytes, ...]) -> Layout:
        """Return the layout of a list of names; raises InputError with the code of the rule that refuses it."""
        if names == self._last_names and self._last is not None:  # cheaper than hashing fifteen names
            return self._last
        layout = self._known.get(names)
        if layout is None:
            layout = judge(names, self._family)
            if len(self._known) >= MAX_LAYOUTS:
                self._known.clear()
            self._known[names] = layout
        if layout.pick is None:
            raise InputError(layout.refusal, f"header `{layout.detail}`")
        self._last_names, self._last = names, layout
        return layout
