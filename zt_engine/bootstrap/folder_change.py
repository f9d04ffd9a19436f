"""What one reading of a policy folder brought."""

from __future__ import annotations

import msgspec

from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.core.bundle import Bundle
from zt_engine.core.catalogue import Catalogue
from zt_engine.core.situation import Situation
from zt_engine.core.trust_model import TrustModel
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.replica import Records


class Change(msgspec.Struct):
    """What one reading of the folder brought: only what changed and was good."""

    bundle: Bundle | None = None
    bundle_key: BundlePublicKey | None = None
    """The key that verified the bundle."""
    engine: PolicyEngine | None = None
    catalogue: Catalogue | None = None
    catalogue_digest: str = ""
    trust: TrustModel | None = None
    trust_digest: str = ""
    situation: Situation | None = None
    situation_text: tuple[bytes, str] = (b"", "")
    """What the situation was read from, and where that was."""
    authorities: bytes | None = None
    records: Records | None = None
    decides: tuple[tuple[str, str], ...] = ()
    """(kind, digest) of every changed file that decisions can be replayed from."""
