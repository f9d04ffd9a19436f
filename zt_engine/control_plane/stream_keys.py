"""The keys of the change stream at a control plane: one signs, the others are those before and after it.

Their private halves are all here, so a sidecar that believes any of them can be told of the others. Which keys sidecars
were told of last stands in the inventory: a control plane that is started knows nothing else of those before it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from zt_engine.core.bundle_signature import SigningKey
from zt_engine.core.errors import InputError
from zt_engine.ports.inventory import InventoryStore

KIND = "stream_keys"
NEWEST = "newest"
"""Where it stands what sidecars were told last: beside the situation, as one record."""


class RingKey(SigningKey, Protocol):
    """A key that signs, with its public half."""

    @property
    def jwk(self) -> Mapping[str, str]:
        """The public half."""
        ...


class KeyIds(msgspec.Struct, frozen=True, kw_only=True):
    """Keys by their ids alone: the one that signs, and all that sidecars are told of."""

    signing: str
    believed: frozenset[str]


class KeyRing:
    """Keys that sidecars are told to believe; the first signs."""

    def __init__(self, keys: Sequence[RingKey]) -> None:
        self.signing: SigningKey = keys[0]
        self.believed: Mapping[str, Mapping[str, str]] = {key.key_id: key.jwk for key in keys}
        self._keys = {key.key_id: key for key in keys}

    def known_to(self, key_ids: Collection[str]) -> SigningKey:
        """Return what to sign with for one who believes these: another than usual only where that one is unknown."""
        if self.signing.key_id in key_ids:
            return self.signing
        return next((key for key_id, key in self._keys.items() if key_id in key_ids), self.signing)

    @property
    def ids(self) -> KeyIds:
        """What these keys are called."""
        return KeyIds(signing=self.signing.key_id, believed=frozenset(self.believed))

    def follow(self, before: KeyIds) -> None:
        """Say that this may take the place of what was before, or raise InputError STREAM_KEY_UNANNOUNCED.

        A key signs only when it was named before; the one that signed until now stays, for what is still under way.
        """
        if not {self.signing.key_id, before.signing} <= self.ids.believed & before.believed:
            raise InputError("STREAM_KEY_UNANNOUNCED", "sidecars do not know it yet, or would forget the present one")


def begin(store: InventoryStore, tenant: str, ring: KeyRing) -> None:
    """Note that sidecars are told of these, or raise InputError STREAM_KEY_UNANNOUNCED as `KeyRing.follow`.

    Where no sidecar has joined, or nothing is known of keys before, nobody can be locked out.
    """
    with store.writing(tenant) as tx:
        body = tx.situation.all(KIND).get(NEWEST)
        before = msgspec.json.decode(body, type=KeyIds) if body is not None else None
        if before == ring.ids:
            return
        if before is not None and any(one.revoked_at is None for one in tx.sidecars.all()):
            ring.follow(before)
        tx.situation.put(KIND, NEWEST, _written(ring.ids))


def note(store: InventoryStore, tenant: str, ring: KeyRing) -> None:
    """Note that sidecars are told of these from now on."""
    with store.writing(tenant) as tx:
        tx.situation.put(KIND, NEWEST, _written(ring.ids))


def forget(store: InventoryStore, tenant: str) -> None:
    """Have the next start take whatever keys it is given, as the first one does."""
    with store.writing(tenant) as tx:
        tx.situation.put(KIND, NEWEST, None)


def _written(ids: KeyIds) -> bytes:
    return msgspec.json.encode(ids, order="deterministic")
