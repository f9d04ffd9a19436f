"""What the process that decides and the one that searches tell each other: messages with their length before them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from device_inventory.device import DeviceRecord
from device_inventory.fleet import Freeze
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.issuer import IssuerMapping
from zt_engine.core.situation import Continuity, Grant, Overlay, Situation
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.authzen.rules import ResourceType
from zt_engine.sidecar.authzen.wire import Json, Search

LENGTH = 4


class Ground(msgspec.Struct, frozen=True, kw_only=True, tag="ground"):
    """What does not change while the process lives."""

    archive: str
    """The folder beside the log in which whatever decides is kept by its digest."""
    path_key: bytes
    home: str
    mappings: Mapping[str, IssuerMapping]
    types: Mapping[str, ResourceType]
    tick_seconds: int
    budget_ms: int
    memory_mib: int

    def __repr__(self) -> str:
        return f"Ground({self.archive!r})"


class PolicyNews(msgspec.Struct, frozen=True, kw_only=True, tag="policy"):
    """Which files decide now, by digest; all empty: none."""

    bundle: str = ""
    catalogue: str = ""
    trust: str = ""
    source: str = ""
    strongest: Mapping[str, str] = {}
    not_after: int | None = None


class RulesNews(msgspec.Struct, frozen=True, tag="rules"):
    """Which bundle of rules decides now."""

    digest: str


class SubjectsNews(msgspec.Struct, frozen=True, tag="subjects"):
    """Records that are others than before, and whose are gone."""

    changed: list[SubjectRecord]
    gone: list[tuple[str, str]]


class SituationNews(msgspec.Struct, frozen=True, kw_only=True, tag="situation"):
    """The parts that a situation is made of."""

    version: str
    threat_level: int
    overlays: tuple[Overlay, ...]
    grants: tuple[Grant, ...]
    continuity: Continuity | None
    revoked: Mapping[str, Mapping[str, int]]
    freeze: Freeze | None

    @classmethod
    def of(cls, situation: Situation) -> SituationNews:
        """Return the parts of a situation."""
        return cls(
            version=situation.version,
            threat_level=situation.threat_level,
            overlays=situation.overlays,
            grants=situation.grants,
            continuity=situation.continuity,
            revoked=situation.revoked,
            freeze=situation.freeze,
        )


class Job(msgspec.Struct, frozen=True, kw_only=True, tag="job"):
    """One page of one search."""

    number: int
    pep: Pep
    search: Search
    device: DeviceRecord | None
    """The record of the device that is stated."""
    after: str | None
    limit: int
    now: float
    seconds: float


class Hit(msgspec.Struct, frozen=True):
    """Something that was found."""

    id: str
    properties: Json


class Found(msgspec.Struct, frozen=True):
    """A page: what was found, and how far was looked."""

    number: int
    hits: list[Hit]
    after: str | None = None
    more: bool = False
    code: str = ""
    """Why nothing could be found."""


Message = Ground | PolicyNews | RulesNews | SubjectsNews | SituationNews | Job


def _plain(value: object) -> object:
    """Facts of a device are kept in mappings that nobody can change."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a message holds no {type(value).__name__}")


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
read_message = msgspec.msgpack.Decoder(Message).decode
read_found = msgspec.msgpack.Decoder(Found).decode


def packed(message: Message | Found) -> bytes:
    """Return a message with its length before it."""
    raw = _encode(message)
    return len(raw).to_bytes(LENGTH) + raw
