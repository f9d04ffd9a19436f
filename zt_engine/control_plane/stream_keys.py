"""The keys of the change stream at a control plane: one signs, the others are those before and after it.

Their private halves are all here, so a sidecar that believes any of them can be told of the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from zt_engine.core.bundle_signature import SigningKey
from zt_engine.core.errors import InputError


class RingKey(SigningKey, Protocol):
    """A key that signs, with its public half."""

    @property
    def jwk(self) -> Mapping[str, str]:
        """The public half."""
        ...


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

    def follow(self, before: KeyRing) -> None:
        """Say that this may take the place of what was before, or raise InputError STREAM_KEY_UNANNOUNCED.

        A key signs only when it was named before; the one that signed until now stays, for what is still under way.
        """
        if not {self.signing.key_id, before.signing.key_id} <= self.believed.keys() & before.believed.keys():
            raise InputError("STREAM_KEY_UNANNOUNCED", "sidecars do not know it yet, or would forget the present one")
