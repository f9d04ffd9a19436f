"""The compiled trust model: what a pack's `trust.yaml` means, as one frozen value with nothing left to look up.

Every number is an integer: goodness, freshness and method multipliers 0..1000, weights 0..100, so that a factor's
`weight * goodness * confidence` is exactly its points in millionths. The reader (`adapters.trust_yaml`) has checked
that weights add up to 100, that no worse value scores higher than a better one, and that the method ladder holds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from device_inventory.facts import FactValue, FreshnessClass, FreshnessRange, Method

POINT: Final = 1_000_000
"""One point, in the units of every `exact` value."""
FULL: Final = 1000
UNLISTED: Final = "unlisted"
"""The location of an address that no listed network holds."""
ADDRESS_LIMIT: Final = 6
"""Points by which a source address alone may move the score: it is shared, roams and proves little (P13)."""

Pillars = Literal["device", "subject", "context"]


class Part(Struct, frozen=True, kw_only=True):
    """One fact's bearing on a factor: goodness by value (booleans, words) or by a ramp (numbers, lengths of lists)."""

    fact: str
    values: Mapping[bool | str, int] = {}
    ramp: tuple[tuple[int, int], ...] = ()


class DeviceFactor(Struct, frozen=True, kw_only=True):
    """A weighted factor of the device pillar: the worst of its parts, or with `any_part` the best of them."""

    name: str
    weight: int
    parts: tuple[Part, ...]
    any_part: bool = False


class SubjectFactors(Struct, frozen=True, kw_only=True):
    """Weights of the subject pillar, and the tables that the fixed five factors read."""

    authenticator: int
    workload: Mapping[str, int]
    """A program has no sign-in; how its token is bound stands in for it: binding -> goodness."""
    age: int
    age_range: FreshnessRange
    standing: int
    standing_method: Method
    standing_values: Mapping[str, int]
    binding: int
    binding_values: Mapping[str, int]
    proofing: int
    proofing_values: Mapping[str, int]
    proofing_other: int


class ContextFactors(Struct, frozen=True, kw_only=True):
    """Weights of the context pillar, and the tables that the fixed four factors read."""

    behaviour: int
    behaviour_values: Mapping[str, int]
    location: int
    location_values: Mapping[str, int]
    """Location id -> goodness, `unlisted` included."""
    path: int
    path_values: Mapping[str, int]
    hours: int
    inside: int
    outside: int


class Network(Struct, frozen=True, kw_only=True):
    """All listed networks of one address family and prefix length: network number -> location id."""

    version: int
    shift: int
    """How many low bits of an address are the host's."""
    locations: Mapping[int, str]


class Window(Struct, frozen=True, kw_only=True):
    """Working hours at a fixed offset from UTC: there is no time-zone database inside a decision."""

    offset: int
    """Seconds east of UTC."""
    days: frozenset[int]
    """0 is Monday."""
    opens: int
    """Seconds after local midnight; `closes` is later on the same day."""
    closes: int

    def holds(self, instant: int) -> bool:
        """Whether `instant` lies within the window."""
        local = instant + self.offset
        # The epoch was a Thursday.
        return (local // 86_400 + 3) % 7 in self.days and self.opens <= local % 86_400 < self.closes


class TrustModel(Struct, frozen=True, kw_only=True):
    """Everything the score depends on apart from the request itself."""

    device_weight: int
    subject_weight: int
    context_weight: int
    slack: int
    """How many points a good pillar may lift the score above the weakest of device and subject."""
    methods: Mapping[Method, int]
    freshness: Mapping[FreshnessClass, FreshnessRange]
    device: tuple[DeviceFactor, ...]
    subject: SubjectFactors
    context: ContextFactors
    authenticators: Mapping[str, int]
    """`acr` or `amr` value -> goodness."""
    assurance: Mapping[str, int]
    """`acr` or `amr` value -> level; levels are ordered, names never compared. Rego sees it as `data.zt.assurance`."""
    networks: tuple[Network, ...]
    """Longest prefix first."""
    windows: tuple[Window, ...]
    penalties: Mapping[str, Mapping[str, int]]
    """Risk family -> level -> points."""
    penalty_cap: int
    ladder: Mapping[Method, int]
    """Method -> the score that device facts of this method alone never reach."""

    @property
    def facts(self) -> tuple[str, ...]:
        """The facts that bear on the score, each once."""
        return tuple(dict.fromkeys(part.fact for factor in self.device for part in factor.parts))

    def locate(self, ip: str) -> str:
        """The location id of a client address; `unlisted` for any other text. An IPv4-mapped address is IPv4.

        Parsing an address costs microseconds; remember the answer per address if you ask often.
        """
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return UNLISTED
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        number, version = int(address), address.version
        for network in self.networks:
            if network.version == version:
                location = network.locations.get(number >> network.shift)
                if location is not None:
                    return location
        return UNLISTED

    def in_hours(self, *, tick_start: int, tick_end: int) -> bool:
        """Whether working hours cover the tick: what opens is judged by its start, what closes by its end."""
        return any(window.holds(tick_start) and window.holds(tick_end) for window in self.windows)


def goodness(part: Part, value: FactValue) -> int:
    """Goodness 0..1000 of an observed value; 0 for a value the table does not list or of another type."""
    if part.ramp:
        if isinstance(value, tuple):
            return along(part.ramp, len(value))
        if isinstance(value, int | float) and not isinstance(value, bool):
            # A fraction counts as the whole above it: days begun are days old.
            return along(part.ramp, -int(-value // 1))
        return 0
    if isinstance(value, bool | str):
        return part.values.get(value, 0)
    return 0


def along(ramp: tuple[tuple[int, int], ...], x: int) -> int:
    """The height of a piecewise-linear ramp at `x`, rounded down; level before its first and after its last point."""
    left, low = ramp[0]
    if x <= left:
        return low
    for right, high in ramp[1:]:
        if x <= right:
            return low + (high - low) * (x - left) // (right - left)
        left, low = right, high
    return low


def best_goodness(part: Part) -> int:
    """The highest goodness any value of the part's fact can have."""
    return max((height for _, height in part.ramp), default=0) if part.ramp else max(part.values.values(), default=0)
