"""Sessions by the settings: the provider, who verifies what it says, what seals, and how long sessions live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from zt_engine.adapters.keys_jwks import KeySource
from zt_engine.adapters.person_oidc import OidcPersons
from zt_engine.adapters.provider_oidc import ClientProof, OidcProvider
from zt_engine.adapters.sealing import FileSealer
from zt_engine.adapters.stream_http import trusting
from zt_engine.adapters.tokens_jwt import TrustedIssuer
from zt_engine.bootstrap.identity import MIN_KEY_BYTES, secret_file
from zt_engine.config import Settings
from zt_engine.control_plane.session_changes import Ground
from zt_engine.control_plane.sessions import SessionRules, Sessions
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.issuer import IssuerConfig

HOUR = 3600
MINUTE = 60


def sign_in_sessions(
    ground: Ground,
    settings: Settings,
    configs: Mapping[str, IssuerConfig],
    sources: Mapping[str, KeySource],
    *,
    now: Callable[[], float],
    also: Sequence[str] = (),
) -> Sessions | None:
    """Return the sessions that the settings want, None where nobody signs in; ConfigError with what is wrong.

    `also` are claims that are kept beside those that subject fields come from.
    """
    wanted = settings.sign_in
    if not wanted.issuer:
        return None
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
        now=now,
        verify=trusting(Path(config.ca_file) if config.ca_file else None) if encrypted else True,
    )
    own = replace(config, audiences=(wanted.client_id,))
    return Sessions(
        ground,
        provider=provider,
        people=OidcPersons(TrustedIssuer(own, sources[wanted.issuer]), also=tuple(also)),
        sealer=FileSealer(*_seal_keys(settings.path(wanted.seal_file))),
        rules=SessionRules(
            client_id=wanted.client_id,
            whole=wanted.hours * HOUR,
            renewed=wanted.refresh_minutes * MINUTE,
            onward=wanted.sign_out_at_provider,
        ),
    )


def _seal_keys(path: Path) -> tuple[bytes, ...]:
    """Return the secrets of a file, one a line: the first seals, the others are on their way out."""
    keys = tuple(line.strip() for line in secret_file(path).splitlines() if line.strip())
    if any(len(key) < MIN_KEY_BYTES for key in keys):
        hint = "`openssl rand -hex 32` makes one"
        message = f"each line is a key of at least {MIN_KEY_BYTES} bytes"
        raise ConfigError((Problem(code="CONFIG_FILE", message=message, where=str(path), hint=hint),))
    return keys
