"""Everything on one machine, for a small organisation: the control plane, and a sidecar that follows it.

The sidecar joins by itself the first time: whoever runs this holds the admin key anyway. When the operator has the
control plane go by another address afterwards, the sidecar stays who it is and speaks to it by that one.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx
import msgspec
import structlog

from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.control_http import ControlClient, read_key
from zt_engine.adapters.stream_http import trusting
from zt_engine.bootstrap.installation import ADMIN_KEY
from zt_engine.bootstrap.joining import Member, join, keep_membership, read_member
from zt_engine.bootstrap.serving_stream import read_stream_key
from zt_engine.bootstrap.supervision import Program, Supervisor
from zt_engine.config import UNIX, ControlSettings, Settings, load, load_control
from zt_engine.core.errors import ConfigError

log = structlog.get_logger()

PROBE_SECONDS = 2.0
JOIN_SECONDS = 300


def supervise(config: Path) -> Supervisor:
    """Return what runs both programs; raises ConfigError with every fault of the settings."""
    settings, control = load(config), load_control(config)
    url = control.control.public_url
    ca_file = None if control.control.ca_file is None else control.path(control.control.ca_file)
    arguments = ("run", "--config", str(config.absolute()))
    environment = {}
    if not settings.control_plane.url:
        environment["ZT_CONTROL_PLANE__URL"] = url
        if ca_file is not None:
            environment["ZT_CONTROL_PLANE__CA_FILE"] = str(ca_file)
    verify = trusting(ca_file) if url.startswith("https:") else False

    async def joined() -> None:
        await asyncio.to_thread(join_once, settings, url, ca_file)
        await asyncio.to_thread(readdress, settings, control)

    return Supervisor(
        (
            Program("control", ("control", *arguments), lambda: _silent(f"{url}/healthz", verify=verify)),
            Program("sidecar", ("sidecar", *arguments), lambda: _sidecar_silent(settings), joined, environment),
        ),
        folder=config.absolute().parent,
    )


def join_once(settings: Settings, url: str, ca_file: Path | None) -> None:
    """Have the sidecar join the control plane at `url`, unless it has; raises what `join` raises."""
    try:
        read_member(settings)
        return
    except ConfigError as error:
        if error.code != "SIDECAR_NOT_JOINED":
            raise
    client = ControlClient(url, key=read_key(settings.path(Path(ADMIN_KEY))), ca_file=ca_file)
    try:
        body = {"sidecar": settings.sidecar.id, "seconds": JOIN_SECONDS}
        token = client.post("v1", "sidecars", "tokens", body=body)["token"]
    finally:
        client.close()
    member = join(settings, str(token), authorities=ca_file, now=SystemClock().now())
    log.info("sidecar.joined", sidecar=member.membership.id, url=url)


def readdress(settings: Settings, control: ControlSettings) -> None:
    """Have the sidecar address its control plane as the settings do by now; raises ConfigError.

    Only a membership of this very control plane is touched, which its stream's key tells, and nothing of it but the
    address. Joining once more would take a new root on its word, and let in a sidecar that was revoked.
    """
    member, url, addresses = read_member(settings), control.control.public_url, settings.control_plane.url
    told = member.membership
    if told.audience in (url, *(one.rstrip("/") for one in addresses)):
        return
    own = read_stream_key(control.path(control.control.stream_key_file))
    if told.stream_keys.get(own.key_id) == own.jwk:
        keep_membership(Member(msgspec.structs.replace(told, audience=url), member.key, member.folder))
        log.info("sidecar.readdressed", sidecar=told.id, url=url, before=told.audience)
    elif not addresses:  # with addresses of its own it may well follow another one
        hint = "move that folder away, and it joins again by itself"
        log.warning("sidecar.joined_elsewhere", where=str(member.folder), at=told.audience, url=url, hint=hint)


async def _sidecar_silent(settings: Settings) -> str:
    listen = settings.sidecar.admin_listen
    if listen.startswith(UNIX):
        transport = httpx.AsyncHTTPTransport(uds=listen.removeprefix(UNIX))
        return await _silent("http://sidecar/healthz", transport=transport)
    return await _silent(f"http://{listen}/healthz")


async def _silent(
    url: str, *, verify: ssl.SSLContext | bool = False, transport: httpx.AsyncBaseTransport | None = None
) -> str:
    """Return why an address does not answer well, empty if it does; `verify` is False for what speaks no TLS."""
    try:
        async with httpx.AsyncClient(
            verify=verify, transport=transport, trust_env=False, timeout=PROBE_SECONDS
        ) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        hint = "; its CA is for `control.ca_file` to name" if "certificate verify failed" in str(error) else ""
        return f"{url}: {str(error) or type(error).__name__}{hint}"
    return "" if answer.is_success else f"{url}: it answers {answer.status_code}"
