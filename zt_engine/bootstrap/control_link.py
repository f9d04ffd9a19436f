"""How a sidecar speaks with its control plane, by its settings and by what it was told when it joined."""

from __future__ import annotations

from collections.abc import Callable

from zt_engine.adapters.stream_http import StreamClient, trusting
from zt_engine.bootstrap.joining import Member, Membership
from zt_engine.config import Settings
from zt_engine.core.rollout import Place
from zt_engine.core.stream import KeySet


def client_of(settings: Settings, statement: Callable[[], str]) -> StreamClient:
    """Return the client of the control plane that the settings name."""
    urls, held = settings.control_plane.url, settings.control_plane.ca_file
    encrypted = any(url.startswith("https:") for url in urls)
    verify = trusting(settings.path(held) if held is not None else None) if encrypted else True
    return StreamClient(urls, statement=statement, verify=verify)


def known_keys(member: Member) -> KeySet:
    """Return the key set that a sidecar believes."""
    membership = member.membership
    return KeySet(
        tenant=membership.tenant,
        version=0,
        stream_keys={kid: dict(jwk) for kid, jwk in membership.stream_keys.items()},
        device_cas=membership.device_cas,
        sidecar=membership.id,
        site=membership.site,
        labels=membership.labels,
        staleness=membership.staleness,
        trust=membership.offered,
    )


def place_of(membership: Membership) -> Place:
    """Return where a sidecar stands, as it was told: which rings of a rollout it is in."""
    return Place(sidecar=membership.id, site=membership.site, labels=membership.labels)
