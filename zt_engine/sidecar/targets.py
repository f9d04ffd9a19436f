"""What a request goes to: a canonical target becomes a `Place`, with everything about it that no request changes."""

from __future__ import annotations

import hashlib
from binascii import hexlify

import msgspec

from zt_engine.core.catalogue import Catalogue, Resource
from zt_engine.core.classification import Label, effective_label
from zt_engine.core.decision_cache import Projection
from zt_engine.core.decision_event import quoted
from zt_engine.core.generations import Generations
from zt_engine.core.judgement import RECORD_SESSION
from zt_engine.core.policy_input import LabelInput, ResourceInput, fragment
from zt_engine.core.request import RequestTarget

MAX_BYTES = 32 << 20
ENTRY_BYTES = 800
"""How much of places is remembered, and what each takes beside its texts. A request needs no sign-in to become a place,
so neither their number nor their length may cost memory."""
MAX_WAYS = 8
"""Of asking about one place that are remembered with it: proxies and their channels are few."""
BLOCK = 64
"""Of SHA-256."""
CLASS_BYTES = 24
"""Of the hash that names a class: nobody finds two classes of one name (192 bits)."""

ENGINE_ENFORCES = ("notify_owner", "read_only", RECORD_SESSION)
"""Obligations the engine carries out itself: a write is refused, and every decision stands in the log."""

NO_PLACE = b'"method":"","host":"","route":"","path_hmac":""'
"""The log members of a request whose target was refused."""


class KeyedHash:
    """HMAC-SHA-256 (RFC 2104) with the key already mixed in: `hmac` looks the algorithm up in every call, for 20 us."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (hashlib.sha256(key).digest() if len(key) > BLOCK else key).ljust(BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def __call__(self, text: bytes) -> bytes:
        """Return the keyed hash in hexadecimal."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return hexlify(outer.digest())


class Enforced(msgspec.Struct, frozen=True):
    """The obligations that somebody enforces, in order, as a set, and as the policy input shows them."""

    names: tuple[str, ...]
    ids: frozenset[str]
    fragment: bytes


class Place:
    """A target and method with its resource, its parts of the policy input and of the log line, and its cache class.

    Two places of one class cannot be told apart by the policy, so they share decisions: `kind` names the class.
    """

    __slots__ = (
        "_asked", "_enforced", "kind", "log", "path", "rank", "request_head", "request_tail", "resource",
        "resource_json", "timed",
    )  # fmt: skip

    def __init__(
        self, resource: Resource, target: RequestTarget, method: str, *, log: bytes, read: frozenset[str]
    ) -> None:
        """`read` are the projected members that the policy reads; the others are blank in its input."""
        self.resource = resource
        self.log = log
        self.request_head = b'"host":%b,"method":%b,"params":%b,"path":%b' % (
            quoted(target.host),
            quoted(method),
            fragment(resource.params) if "params" in read else b"{}",
            quoted(target.path) if "path" in read else b'""',
        )
        self.request_tail = b'"route":%b,"write":%b' % (quoted(resource.route), b"true" if resource.write else b"false")
        self.timed = resource.label.declassify is not None
        self.rank = resource.label.rank
        self.path = target.path
        self.resource_json = b"" if self.timed else resource_fragment(resource, resource.label, self.path)
        self.kind = self._class()
        self._enforced: dict[tuple[str, ...], Enforced] = {}
        self._asked: dict[tuple[str, str, str | None], bytes] = {}

    def asked(self, channel: str, hook: str, purpose: str | None, client_ip: str) -> bytes:
        """Return the request part of the policy input.

        An address that the policy does not read is blank: the decision log names the request, the proxy's log the
        address. Without it there is one part for each way to ask, and those are few.
        """
        key = (channel, hook, purpose)
        found = self._asked.get(key) if not client_ip else None
        if found is None:
            found = b'{"channel":%b,"client_ip":"%b","hook":%b,%b,"purpose":%b,%b}' % (
                quoted(channel),
                client_ip.encode(),
                quoted(hook),
                self.request_head,
                fragment(purpose),
                self.request_tail,
            )
            if not client_ip and len(self._asked) < MAX_WAYS:
                self._asked[key] = found
        return found

    def enforced(self, by_proxy: tuple[str, ...]) -> Enforced:
        """Return what is enforced behind a proxy: by it, by the service, by the engine. Proxies are few."""
        found = self._enforced.get(by_proxy)
        if found is None:
            names = tuple(sorted({*by_proxy, *self.resource.enforces, *ENGINE_ENFORCES}))
            found = Enforced(names, frozenset(names), fragment(names))
            if len(self._enforced) < MAX_WAYS:
                self._enforced[by_proxy] = found
        return found

    def _class(self) -> bytes:
        """Name everything a decision may depend on: two places of one name are the same to every policy.

        A name and no number, so that it means the same for as long as the process lives, whatever was forgotten.
        """
        resource = self.resource
        about = self.resource_json or resource_fragment(resource, resource.label, self.path)
        rest = (resource.label.declassify, resource.channels, resource.enforces, resource.observe, resource.assertion)
        # JSON without line feeds, so the parts cannot be taken for each other.
        parts = (self.request_head, self.request_tail, about, repr(rest).encode())
        return hashlib.blake2b(b"\n".join(parts), digest_size=CLASS_BYTES).digest()

    @property
    def size(self) -> int:
        """Bytes of memory, about."""
        texts = (self.log, self.request_head, self.request_tail, self.resource_json, self.path, self.path, self.path)
        return ENTRY_BYTES + sum(map(len, texts))

    def settled(self, tick_start: int) -> bool:
        """Whether the label is the same for the whole tick, whatever becomes of the host's clock in it."""
        change = self.resource.label.declassify
        return change is None or tick_start < change.at


def resource_fragment(resource: Resource, label: Label, path: str) -> bytes:
    """Encode the resource part of the policy input. An empty list means that nothing is restricted.

    A route with an action shows it together with its object, the path: an approval names both. Policies read the path
    there and not in `request`, so that for all other routes the path does not set one request apart from another.
    """
    attributes = dict(resource.attributes)
    if resource.action:
        attributes |= {"action": resource.action, "object": path}
    return fragment(
        ResourceInput(
            service=resource.service,
            service_ceiling=resource.ceiling,
            state=resource.state,
            attributes=attributes,
            label=LabelInput(
                code=label.code,
                rank=label.rank,
                integrity=label.integrity,
                caveats=list(label.caveats),
                compartments=list(label.compartments),
                rel_to=list(label.rel_to or ()),
                audience=list(label.audience or ()),
                purpose=list(label.purpose),
            ),
        )
    )


class Places:
    """Matches targets against one catalogue, and remembers a bounded number of them."""

    def __init__(self, catalogue: Catalogue, wanted: Projection, path_key: bytes) -> None:
        self.catalogue = catalogue
        self._wanted = wanted
        self._path_key = KeyedHash(path_key)
        self._known: Generations[tuple[RequestTarget, str], Place] = Generations(MAX_BYTES, lambda _, place: place.size)

    def of(self, target: RequestTarget, method: str) -> Place:
        """Return the place.

        Raises InputError HOST_UNKNOWN, ROUTE_UNKNOWN, METHOD_UNKNOWN, PATH_UNREADABLE or PATH_ALIASED.
        """
        key = (target, method)
        place = self._known.get(key)
        if place is None:
            resource = self.catalogue.match(target.host, method, target.path)
            log = log_members(target, method, resource.route, self._path_key)
            place = Place(resource, target, method, log=log, read=self._wanted.members)
            self._known.put(key, place)
        return place


def log_members(target: RequestTarget, method: str, route: str, path_key: KeyedHash) -> bytes:
    """Return a target's members of the decision event: the path itself is never logged, only its keyed hash."""
    mac = path_key(target.path.encode())
    return b'"method":%b,"host":%b,"route":%b,"path_hmac":"%b"' % (
        quoted(method),
        quoted(target.host),
        quoted(route),
        mac,
    )


def label_at(place: Place, *, tick_start: int, clock_synchronised: bool) -> tuple[Label, bytes]:
    """Return the label in force during the tick, and the resource part of the input for it."""
    if not place.timed:
        return place.resource.label, place.resource_json
    label = effective_label(place.resource.label, tick_start=tick_start, clock_synchronised=clock_synchronised)
    return label, resource_fragment(place.resource, label, place.path)
