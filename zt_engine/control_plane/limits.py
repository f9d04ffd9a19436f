"""Rates of the public routes: a token bucket for each client address and one for all of them together.

Memory is bounded. Whoever has many addresses pushes others' buckets out and starts theirs anew, but not the bucket of
all; addresses of IPv6 are counted by their /64, which is what one customer has.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from typing import Final

import msgspec

MAX_ADDRESSES: Final = 16_384
_EVERYBODY: Final = "*"


class Rate(msgspec.Struct, frozen=True):
    """So many at once, and so many a second after that."""

    burst: int
    per_second: float


class _Bucket(msgspec.Struct):
    tokens: float
    at: float


class RateLimiter:
    """Counts requests by the client's address. `elapsed` is a clock that nobody can set."""

    def __init__(self, *, each: Rate, together: Rate, addresses: int = MAX_ADDRESSES) -> None:
        self._each = each
        self._together = together
        self._addresses = addresses
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._all = _Bucket(tokens=together.burst, at=0.0)

    def __len__(self) -> int:
        return len(self._buckets)

    def admit(self, address: str, *, elapsed: float) -> float:
        """Count a request; 0 when it may go on, else in how many seconds the next one may come."""
        with self._lock:
            bucket = self._bucket(network_of(address), elapsed)
            wait = _wait(bucket, self._each, elapsed)
            if wait <= 0:
                # One address that asks too often does not use up what there is for all.
                wait = _wait(self._all, self._together, elapsed)
            if wait <= 0:
                bucket.tokens -= 1
                self._all.tokens -= 1
            return max(0.0, wait)

    def _bucket(self, network: str, elapsed: float) -> _Bucket:
        bucket = self._buckets.get(network)
        if bucket is None:
            bucket = self._buckets[network] = _Bucket(tokens=self._each.burst, at=elapsed)
            if len(self._buckets) > self._addresses:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(network)
        return bucket


def network_of(address: str) -> str:
    """Return what an address is counted as; what is none (a Unix socket's peer) counts as one client."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return _EVERYBODY
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _wait(bucket: _Bucket, rate: Rate, elapsed: float) -> float:
    passed = max(0.0, elapsed - bucket.at)
    bucket.tokens = min(float(rate.burst), bucket.tokens + passed * rate.per_second)
    bucket.at = elapsed
    return 0.0 if bucket.tokens >= 1 else (1 - bucket.tokens) / rate.per_second
