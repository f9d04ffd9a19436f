"""Browser sign-in by the settings: the provider, who verifies what it says, and how long sessions live."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from zt_engine.adapters.keys_jwks import KeySource
from zt_engine.bootstrap.sign_in_parts import sign_in_sessions
from zt_engine.config import ControlSettings
from zt_engine.control_plane.api.reports import DEVICE_HOSTS
from zt_engine.control_plane.api.sessions import PART
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.passkeys import PASSKEYS, Passkeys
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.issuer import IssuerConfig
from zt_engine.core.session import LOCALE


def open_sign_in(
    plane: ControlPlane,
    settings: ControlSettings,
    configs: Mapping[str, IssuerConfig],
    sources: Mapping[str, KeySource],
) -> None:
    """Let people sign in with a browser, where the settings say at which issuer; ConfigError with what is wrong."""
    wanted, desk = settings.sign_in, settings.administrators
    # What gives somebody a role at the desk; it says nothing at sidecars.
    also = (LOCALE, *((desk.roles_claim,) if desk.issuer == wanted.issuer else ()))
    made = sign_in_sessions(plane, settings, configs, sources, now=plane.clock.now, also=also)
    if made is None:
        return
    plane.extras[DEVICE_HOSTS] = wanted.device_hosts
    plane.extras[PART] = made
    open_passkeys(plane, settings)


def open_passkeys(plane: ControlPlane, settings: ControlSettings) -> None:
    """Let people prove themselves with keys, where they sign in; ConfigError for another site's `rp_id`."""
    wanted, url = settings.sign_in, urlsplit(settings.control.public_url)
    host = url.hostname or ""
    if not wanted.issuer or url.scheme != "https" or (not wanted.rp_id and _is_address(host)):
        return  # browsers give no key to an address, and none over plain HTTP
    rp_id = wanted.rp_id or host
    if host != rp_id and not host.endswith(f".{rp_id}"):
        hint = f"`{host}`, or a domain that it ends with"
        problem = Problem(code="CONFIG_VALUE", message="keys of another site", where="sign_in.rp_id", hint=hint)
        raise ConfigError((problem,))
    # What reads keys takes long to load, and most control planes that start have none.
    from zt_engine.adapters.webauthn_ceremony import WebAuthnKeys, read_roots  # noqa: PLC0415

    port = "" if url.port in (None, 443) else f":{url.port}"
    verifier = WebAuthnKeys(
        rp_id=rp_id,
        origin=f"https://{host}{port}",
        name=settings.control.organisation or rp_id,
        roots=() if wanted.key_roots is None else read_roots(settings.path(wanted.key_roots)),
    )
    plane.extras[PASSKEYS] = Passkeys(plane, verifier, sign_in=frozenset(wanted.key_acr))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
