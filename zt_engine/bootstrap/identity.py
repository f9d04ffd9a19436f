"""Settings about who may ask and whom to believe, as values of the core."""

from __future__ import annotations

import stat
from pathlib import Path

from zt_engine.config import Issuer, Proxy, Settings
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.issuer import IssuerConfig, IssuerMapping, WorkloadRule, check_issuer, subject_sources
from zt_engine.sidecar.hooks.credentials import Credential, key_digest

MIN_KEY_BYTES = 16


def issuer_configs(settings: Settings) -> tuple[IssuerConfig, ...]:
    """Return the trusted issuers; raises ConfigError with everything that is wrong with any of them."""
    configs: list[IssuerConfig] = []
    problems: list[Problem] = []
    for number, issuer in enumerate(settings.issuers):
        where = f"issuers[{number}]"
        try:
            config = _issuer(issuer, settings, where)
        except ConfigError as error:
            problems += error.problems
            continue
        problems += check_issuer(config, where=where)
        configs.append(config)
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(configs)


def _issuer(issuer: Issuer, settings: Settings, where: str) -> IssuerConfig:
    keys = issuer.jwks if "://" in issuer.jwks else str(settings.path(Path(issuer.jwks)))
    return IssuerConfig(
        issuer=issuer.issuer,
        audiences=issuer.audiences,
        algorithms=issuer.algorithms,
        keys=keys,
        mapping=IssuerMapping(
            sources=subject_sources(issuer.subject, where=f"{where}.subject"),
            workload=WorkloadRule(
                claim=issuer.workload_claim,
                value=issuer.workload_value,
                client_ids=issuer.workload_client_ids,
                subject_is_client=issuer.workload_subject_is_client,
            ),
        ),
        strongest_acr=issuer.strongest_acr,
        skew=issuer.skew_seconds,
        max_lifetime=issuer.max_lifetime_seconds,
        ca_file=str(settings.path(issuer.ca_file)) if issuer.ca_file is not None else "",
    )


def proxy_credentials(settings: Settings) -> tuple[Credential, ...]:
    """Return the credentials of the proxies; raises ConfigError with everything that is wrong with any key file."""
    credentials: list[Credential] = []
    problems: list[Problem] = []
    for proxy in settings.proxies:
        try:
            credentials.append(_credential(proxy, settings))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(credentials)


def _credential(proxy: Proxy, settings: Settings) -> Credential:
    files = [path for path in (proxy.key_file, proxy.previous_key_file) if path is not None]
    return Credential(
        name=proxy.name,
        hook=proxy.hook,
        channel=proxy.channel,
        proof="key" if proxy.key_file is not None else "socket",
        hosts=frozenset(proxy.hosts),
        enforces=tuple(proxy.enforces),
        key_digests=tuple(key_digest(secret_file(settings.path(path))) for path in files),
        uids=frozenset(proxy.socket_uids),
    )


def secret_file(path: Path) -> bytes:
    """Return the content of a key file without its line end; others may neither read nor write it (CONFIG_FILE)."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes().strip()
    except OSError as error:
        raise _problem(path, str(error.strerror), "make one with `openssl rand -hex 32`") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _problem(path, "group or others may use this key", f"chmod 600 {path}")
    if len(content) < MIN_KEY_BYTES:
        raise _problem(path, f"a key has at least {MIN_KEY_BYTES} bytes", "make one with `openssl rand -hex 32`")
    return content


def _problem(path: Path, message: str, hint: str) -> ConfigError:
    return ConfigError((Problem(code="CONFIG_FILE", message=message, where=str(path), hint=hint),))
