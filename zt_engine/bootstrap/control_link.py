"""How a sidecar speaks with its control plane, by its settings and by what it was told when it joined."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import structlog

from zt_engine.adapters.stream_http import UNPROVEN, StreamClient, trusting
from zt_engine.bootstrap.joining import Member, Membership
from zt_engine.config import Settings
from zt_engine.core.errors import InputError, Problem, ZtError
from zt_engine.core.rollout import Place
from zt_engine.core.stream import KeySet

log = structlog.get_logger()

HARMLESS = frozenset({"STREAM_REPEATED", "STREAM_REPLAYED"})
"""What is refused and changes nothing else: the stream goes on behind it."""


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


def interrupted(error: ZtError, member: Member, *, before: Problem | None) -> Problem:
    """Return what keeps the stream from going on; the log has it when it is another thing than before."""
    where, hint = error.where, ""
    if error.hint == UNPROVEN:
        where, told = str(member.folder), member.membership
        hint = (
            f"by this folder it is `{told.id}` and speaks to `{told.audience}`: if the control plane goes by another "
            "`url` by now, or has revoked it, join again (zt sidecar join TOKEN) and restart it"
        )
    problem = Problem(code=error.code, message=error.message, where=where, hint=hint)
    if before is None or before.code != error.code:
        beside = {name: text for name, text in (("where", where), ("hint", hint)) if text}
        log.warning("stream.interrupted", code=error.code, problem=error.message, **beside)
    return problem


@contextlib.contextmanager
def harmless() -> Iterator[None]:
    """Pass over what is refused without anything being wrong with what comes behind it."""
    try:
        yield
    except InputError as error:
        if error.code not in HARMLESS:
            raise
        log.debug("stream.refused", code=error.code, problem=error.message)
