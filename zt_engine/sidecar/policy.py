"""What is active, and one case that is decided under it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from zt_engine.core.decision_cache import Projection
from zt_engine.core.identity import AssuranceTable
from zt_engine.core.request import AccessRequest
from zt_engine.core.situation import Situation
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.moments import Moment, Moments
from zt_engine.sidecar.principals import Principal
from zt_engine.sidecar.targets import Place, Places


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What is active: one bundle with its catalogue and trust model, replaced as a whole between two requests."""

    engine: PolicyEngine
    revision: str
    source: str
    layers: Mapping[str, tuple[str, ...]]
    kinds: Mapping[str, str]
    """Every code a layer may name, and what would turn it into an allow."""
    places: Places
    moments: Moments
    wanted: Projection
    assurance: AssuranceTable
    ranks: Mapping[str, int]
    """Label code -> rank, of the catalogue's scheme."""
    strongest: Mapping[str, str]
    """Issuer -> the best `acr` it can give."""
    versions: Mapping[str, str | int]
    not_after: int | None = None


class Case(msgspec.Struct, frozen=True):
    """Everything one decision depends on, gathered and proven."""

    policy: Policy
    request: AccessRequest
    principal: Principal
    place: Place
    moment: Moment
    location: str
    situation: Situation
