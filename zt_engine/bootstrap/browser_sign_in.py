"""Browser sign-in by the settings: the provider, who verifies what it says, and how long sessions live."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from msgspec.structs import replace

from zt_engine.adapters.keys_jwks import KeySource
from zt_engine.adapters.person_oidc import OidcPersons
from zt_engine.adapters.provider_oidc import ClientProof, OidcProvider
from zt_engine.adapters.sealing import FileSealer
from zt_engine.adapters.stream_http import trusting
from zt_engine.adapters.tokens_jwt import TrustedIssuer
from zt_engine.adapters.webauthn_ceremony import WebAuthnKeys, read_roots
from zt_engine.bootstrap.identity import MIN_KEY_BYTES, secret_file
from zt_engine.config import ControlSettings
from zt_engine.control_plane.api.reports import DEVICE_HOSTS
from zt_engine.control_plane.api.sessions import PART
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.passkeys import PASSKEYS, Passkeys
from zt_engine.control_plane.sessions import SessionRules, Sessions
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.issuer import IssuerConfig

HOUR = 3600
MINUTE = 60


def open_sign_in(
    plane: ControlPlane,
    settings: ControlSettings,
    configs: Mapping[str, IssuerConfig],
    sources: Mapping[str, KeySource],
) -> None:
    """Let people sign in with a browser, where the settings say at which issuer; ConfigError with what is wrong."""
    wanted = settings.sign_in
    if not wanted.issuer:
        return
    config = configs.get(wanted.issuer)
    if config is None:
        hint = f'a table of `[[issuers]]` with `issuer = "{wanted.issuer}"`'
        problem = Problem(code="CONFIG_VALUE", message="no such issuer", where="sign_in.issuer", hint=hint)
        raise ConfigError((problem,))
    key = settings.path(wanted.key_file) if wanted.key_file is not None else None
    secret = settings.path(wanted.secret_file) if wanted.secret_file is not None else None
    for held in (key, secret):
        if held is not None:
            secret_file(held)
    encrypted = wanted.issuer.startswith("https:")
    provider = OidcProvider(
        wanted.issuer,
        proof=ClientProof(wanted.client_id, key_file=key, secret_file=secret),
        scopes=wanted.scopes,
        now=plane.clock.now,
        verify=trusting(Path(config.ca_file) if config.ca_file else None) if encrypted else True,
    )
    plane.extras[DEVICE_HOSTS] = wanted.device_hosts
    plane.extras[PART] = Sessions(
        plane,
        provider=provider,
        people=OidcPersons(
            TrustedIssuer(replace(config, audiences=(wanted.client_id,)), sources[wanted.issuer]),
            # What gives somebody a role at the desk; it says nothing at sidecars.
            also=(settings.administrators.roles_claim,) if settings.administrators.issuer == wanted.issuer else (),
        ),
        sealer=FileSealer(*_seal_keys(settings.path(wanted.seal_file))),
        rules=SessionRules(
            client_id=wanted.client_id,
            whole=wanted.hours * HOUR,
            renewed=wanted.refresh_minutes * MINUTE,
            onward=wanted.sign_out_at_provider,
        ),
    )
    open_passkeys(plane, settings)


def _seal_keys(path: Path) -> tuple[bytes, ...]:
    """Return the secrets of a file, one a line: the first seals, the others are on their way out."""
    keys = tuple(line.strip() for line in secret_file(path).splitlines() if line.strip())
    if any(len(key) < MIN_KEY_BYTES for key in keys):
        hint = "`openssl rand -hex 32` makes one"
        message = f"each line is a key of at least {MIN_KEY_BYTES} bytes"
        raise ConfigError((Problem(code="CONFIG_FILE", message=message, where=str(path), hint=hint),))
    return keys


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
