"""Settings about who may ask and whom to believe, as values of the core."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec

from zt_engine.config import Issuer, Proxy, Settings
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.issuer import (
    IssuerConfig,
    IssuerMapping,
    WorkloadRule,
    check_issuer,
    is_foreign_issuer,
    subject_sources,
)
from zt_engine.sidecar.hooks.credentials import Credential, key_digest, shared_proofs

MIN_KEY_BYTES = 16


def issuer_configs(settings: Settings) -> tuple[IssuerConfig, ...]:
    """Return the trusted issuers; raises ConfigError with everything that is wrong with any of them."""
    configs: list[IssuerConfig] = []
    problems = _check_names(settings.issuers)
    home = home_issuer(settings)
    for number, issuer in enumerate(settings.issuers):
        where = f"issuers[{number}]"
        try:
            config = _issuer(issuer, settings, where, home)
        except ConfigError as error:
            problems += error.problems
            continue
        problems += check_issuer(config, where=where)
        configs.append(config)
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(configs)


def home_issuer(settings: Settings) -> str:
    """Return the issuer whose subjects go by `sub` alone: the only one, or the one that says so; empty without any."""
    homes = [issuer.issuer for issuer in settings.issuers if issuer.home or len(settings.issuers) == 1]
    return homes[0] if homes else ""


def _check_names(issuers: tuple[Issuer, ...]) -> list[Problem]:
    """Say what would let two people have one name; a `sub` is unique at its issuer only (RFC 9068 section 2.2)."""
    problems: list[Problem] = []

    def wrong(code: str, message: str, number: int, hint: str) -> None:
        problems.append(Problem(code=code, message=message, where=f"issuers[{number}]", hint=hint))

    homes = [number for number, issuer in enumerate(issuers) if issuer.home]
    if len(issuers) > 1 and len(homes) != 1:
        text = f"{len(homes)} of {len(issuers)} issuers are the home issuer"
        wrong("ISSUER_HOME", text, homes[1] if homes else 0, "`home = true` in the one your own people sign in at")
    for number, issuer in enumerate(issuers):
        if issuer.issuer in [other.issuer for other in issuers[:number]]:
            wrong("ISSUER_TWICE", f"`{issuer.issuer}` is configured twice", number, "one table for each issuer")
        elif len(issuers) > 1 and not issuer.home and not is_foreign_issuer(issuer.issuer):
            text = f"`{issuer.issuer}` cannot stand in the names of its subjects"
            wrong("ISSUER_FOREIGN", text, number, "an issuer that is not home is a URL without `|`")
    return problems


def _issuer(issuer: Issuer, settings: Settings, where: str, home: str) -> IssuerConfig:
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
            home=home,
        ),
        strongest_acr=issuer.strongest_acr,
        skew=issuer.skew_seconds,
        max_lifetime=issuer.max_lifetime_seconds,
        ca_file=str(settings.path(issuer.ca_file)) if issuer.ca_file is not None else "",
    )


def proxy_credentials(settings: Settings) -> tuple[Credential, ...]:
    """Return the credentials of the proxies; raises ConfigError for faulty key files, and for keys or users of two."""
    credentials: list[Credential] = []
    problems: list[Problem] = []
    for proxy in settings.proxies:
        try:
            credentials.append(_credential(proxy, settings))
        except ConfigError as error:
            problems += error.problems
    problems += shared_proofs(credentials)
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(credentials)


def _credential(proxy: Proxy, settings: Settings) -> Credential:
    files = [path for path in (proxy.key_file, proxy.previous_key_file) if path is not None]
    return Credential(
        name=proxy.name,
        hook=proxy.hook,
        channel=proxy.channel,
        proof="key" if proxy.key_file is not None else "socket" if proxy.socket_uids else "mtls",
        hosts=frozenset(proxy.hosts),
        enforces=tuple(proxy.enforces),
        key_digests=tuple(key_digest(secret_file(settings.path(path))) for path in files),
        uids=frozenset(proxy.socket_uids),
        names=frozenset(proxy.certificate_names),
        rego=proxy.rego,
    )


def embedded_credential(settings: Settings, name: str | None) -> Credential:
    """Return what a process that decides for itself may say: the table with `hook = "embedded"`, by name or alone.

    Raises ConfigError EMBEDDED_UNKNOWN.
    """
    known = {proxy.name: proxy for proxy in settings.proxies if proxy.hook == "embedded"}
    if name is None and len(known) == 1:
        name = next(iter(known))
    if name not in known:
        message = "no table of `[[proxies]]`" if not known else f"one of {', '.join(known)} has to be named: it"
        hint = 'a table of `[[proxies]]` with `name = "app"` and `hook = "embedded"`'
        problem = Problem(code="EMBEDDED_UNKNOWN", message=f"{message} is this process", where="proxies", hint=hint)
        raise ConfigError((problem,))
    return msgspec.structs.replace(_credential(known[name], settings), proof="process")


def secret_file(path: Path) -> bytes:
    """Return the content of a key file without its line end; others may neither read nor write it (CONFIG_FILE)."""
    try:
        mode = path.stat().st_mode
        content = path.read_bytes().strip()
    except OSError as error:
        raise _problem(path, str(error.strerror), _how_to_make(path)) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _problem(path, "group or others may use this key", f"chmod 600 {path}")
    if len(content) < MIN_KEY_BYTES:
        raise _problem(path, f"a key has at least {MIN_KEY_BYTES} bytes", _how_to_make(path))
    return content


def _how_to_make(path: Path) -> str:
    """A signing key is a PEM file; every other secret is a line of text."""
    pem = path.suffix == ".pem"
    command = f"openssl genpkey -algorithm ed25519 -out {path}" if pem else f"openssl rand -hex 32 > {path}"
    return f"restore it from backup, or make a new one with `{command}`"


def _problem(path: Path, message: str, hint: str) -> ConfigError:
    return ConfigError((Problem(code="CONFIG_FILE", message=message, where=str(path), hint=hint),))
