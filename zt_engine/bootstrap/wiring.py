"""Who may ask, whom to believe, and what people are told: everything that a reload of the settings replaces.

Reading (`read_trusted`) touches files and finds every fault; connecting (`Wiring`) cannot fail. A reload therefore
either happens as a whole, between two requests, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import structlog

from zt_engine.adapters.approvals import Approvers, read_approvers
from zt_engine.adapters.assertion_jws import Asserter, load_asserter
from zt_engine.adapters.bundle_signing import BundlePublicKey, load_public_keys
from zt_engine.adapters.device_proof_jws import JwsDeviceProofs
from zt_engine.adapters.dpop_jwt import JwtDpopVerifier
from zt_engine.adapters.keys_fetch import key_source
from zt_engine.adapters.keys_jwks import KeySource
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.adapters.trust_document import approvers_of, bundle_keys_of
from zt_engine.bootstrap.authzen_callers import authzen_callers
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.bootstrap.following import Believed
from zt_engine.bootstrap.identity import issuer_configs, proxy_credentials, secret_file
from zt_engine.bootstrap.release_opening import ReleaseTrust
from zt_engine.bootstrap.told_trust import told_document
from zt_engine.config import Settings
from zt_engine.core.errors import ConfigError, Problem, ZtError
from zt_engine.core.issuer import IssuerConfig
from zt_engine.core.trust_root import TrustDocument
from zt_engine.pages.denied import DeniedPage
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.hooks.caddy import CaddyHook
from zt_engine.sidecar.hooks.credentials import Credential, Credentials
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.hooks.envoy import EnvoyHook
from zt_engine.sidecar.hooks.haproxy import HaproxyHook
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.hooks.pages import DeniedPages
from zt_engine.sidecar.hooks.reading import HeaderHook
from zt_engine.sidecar.hooks.traefik import TraefikHook
from zt_engine.sidecar.listener import Limits
from zt_engine.sidecar.principals import Principals
from zt_engine.sidecar.replica import Replica

log = structlog.get_logger()

T = TypeVar("T")

HOOKS: tuple[type[HeaderHook], ...] = (NginxHook, CaddyHook, EnvoyHook, TraefikHook, HaproxyHook)
"""The hooks over HTTP/1.1; those that no proxy of the settings uses are not served."""

RELOADABLE = {
    "sidecar": frozenset({"language", "help_url"}),
    "policy": frozenset({"keys", "approvers"}),
    "log": frozenset[str](),
    "control_plane": frozenset[str](),
    "authzen": frozenset({"peps", "types"}),
}
"""Settings of these sections that a reload takes up; of every other section it takes up all."""


class Trusted(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings and the files they name say, read and checked."""

    credentials: tuple[Credential, ...]
    issuers: tuple[IssuerConfig, ...]
    sources: Mapping[str, KeySource]
    bundle_keys: Mapping[str, BundlePublicKey]
    approvers: Approvers
    asserter: Asserter | None
    path_key: bytes
    callers: tuple[Pep, ...] = ()
    """Who may ask at the AuthZEN listener."""

    def __repr__(self) -> str:
        return f"Trusted({len(self.credentials)} proxies, {len(self.issuers)} issuers)"


class Faults:
    """Collects the faults of several readings, so that all are reported at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def of(self, read: Callable[[], T]) -> T:
        """Return what was read. After a fault the value is none, and `check` will raise before anybody uses it."""
        try:
            return read()
        except ZtError as error:
            self.problems += problems_of(error)
            return cast("T", None)

    def check(self) -> None:
        """Raise ConfigError with every fault, if there was one."""
        if self.problems:
            raise ConfigError(tuple(self.problems))


def problems_of(error: ZtError) -> tuple[Problem, ...]:
    """Return what an error says as problems."""
    if isinstance(error, ConfigError):
        return error.problems
    return (Problem(code=error.code, message=error.message, where=error.where, hint=error.hint),)


def log_refused(event: str, error: ZtError) -> None:
    """Say in the log what is not taken up, one line for each fault."""
    for problem in problems_of(error):
        log.error(event, code=problem.code, where=problem.where, problem=problem.message, hint=problem.hint)


def read_trusted(settings: Settings) -> Trusted:
    """Read everything the settings name; raises ConfigError with every fault. Reads files: not for the event loop."""
    faults = Faults()
    issuers = faults.of(lambda: issuer_configs(settings)) or ()
    told = faults.of(lambda: told_document(settings))
    trusted = Trusted(
        credentials=faults.of(lambda: proxy_credentials(settings)),
        issuers=issuers,
        sources={config.issuer: faults.of(partial(key_source, config, where=config.issuer)) for config in issuers},
        bundle_keys=faults.of(lambda: bundle_keys_believed(settings, told)),
        approvers=faults.of(lambda: approvers_believed(settings, told)),
        asserter=faults.of(lambda: _asserter(settings)),
        path_key=faults.of(lambda: secret_file(settings.path(settings.log.path_key_file))),
        callers=faults.of(lambda: authzen_callers(settings)),
    )
    faults.check()
    return trusted


def bundle_keys_believed(settings: Settings, told: TrustDocument | None) -> Mapping[str, BundlePublicKey]:
    """The keys that sign policy: those the root names, else those of the settings."""
    own = load_public_keys(bundle_key_pems(settings))
    return bundle_keys_of(told) if told is not None and told.bundle_keys else own


def approvers_believed(settings: Settings, told: TrustDocument | None) -> Approvers:
    """The people who approve: those the root names, else those of the settings."""
    own = read_approvers(approver_pems(settings))
    return approvers_of(told) if told is not None and told.approvers else own


class Shared(msgspec.Struct, frozen=True):
    """What stays when the settings change: records, CAs, used proofs, texts."""

    replica: Replica
    certificates: DeviceCertificates
    proofs: JwtDpopVerifier
    texts: CodeTexts


class Wiring:
    """One reading of the settings, connected."""

    def __init__(self, settings: Settings, trusted: Trusted, sources: Mapping[str, KeySource], shared: Shared) -> None:
        """`sources` replace those of `trusted`: a key set that was fetched before is better than none."""
        self.settings = settings
        self.trusted = trusted
        self.sources = sources
        self.strongest = {config.issuer: config.strongest_acr for config in trusted.issuers}
        credentials = Credentials(trusted.credentials)
        browsers = bool(settings.sidecar.browser_listen or settings.sidecar.browser_tls_listen)
        page = DeniedPage(
            shared.texts,
            default_language=settings.sidecar.language,
            help_url=settings.sidecar.help_url,
            signs_in=browsers,
            confirms=browsers and settings.sidecar.device_proof_port > 0,
        )
        used = {proxy.hook for proxy in settings.proxies}
        self.credentials = credentials
        self.hooks = tuple(hook(credentials) for hook in HOOKS if hook.name in used)
        self.denied = page
        self.certificates = shared.certificates
        self.device_proofs = JwsDeviceProofs(shared.certificates) if settings.sidecar.device_proof_port else None
        self.denials = Denials(page)
        self.pages = DeniedPages(page, credentials)
        self.principals = Principals(
            tokens=JwtVerifier([TrustedIssuer(config, sources[config.issuer]) for config in trusted.issuers]),
            certificates=shared.certificates,
            proofs=shared.proofs,
            mappings={config.issuer: config.mapping for config in trusted.issuers},
            replica=shared.replica,
            keys=sources,
            tick_seconds=settings.sidecar.tick_seconds,
            device_proofs=self.device_proofs,
        )
        self.limits = Limits(
            head_bytes=settings.limits.head_kib * 1024,
            headers=settings.limits.headers,
            connections=settings.limits.connections,
            request_seconds=settings.limits.request_seconds,
            idle_seconds=settings.limits.idle_seconds,
        )
        approvers = trusted.approvers
        self.believed = Believed(
            settings=settings.policy,
            keys=trusted.bundle_keys,
            read_situation=lambda raw, where: decode_situation(raw, where=where, approvers=approvers),
            strongest=self.strongest,
        )
        self.release_trust = ReleaseTrust(trusted.bundle_keys, approvers, settings.policy, self.strongest)


def best_sources(new: Trusted, old: Wiring) -> dict[str, KeySource]:
    """Return the source of each issuer: the old one where the new could not be fetched and asks at the same place."""
    before = {config.issuer: config for config in old.trusted.issuers}
    chosen = dict(new.sources)
    for config in new.issuers:
        known = before.get(config.issuer)
        same = known is not None and (known.keys, known.algorithms) == (config.keys, config.algorithms)
        if same and new.sources[config.issuer].problem:
            chosen[config.issuer] = old.sources[config.issuer]
    return chosen


def keep_fixed(old: Settings, new: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Return the new settings with what a reload cannot change as it was, and the names of what waits for a restart."""
    kept = {}
    waiting: list[str] = []
    for section, reloadable in RELOADABLE.items():
        before, after = getattr(old, section), getattr(new, section)
        fixed = [name for name in type(before).model_fields if name not in reloadable]
        waiting += [f"{section}.{name}" for name in fixed if getattr(before, name) != getattr(after, name)]
        kept[section] = after.model_copy(update={name: getattr(before, name) for name in fixed})
    return new.model_copy(update=kept), tuple(waiting)


def _asserter(settings: Settings) -> Asserter | None:
    if settings.assertion.key_file is None:
        return None
    path = settings.path(settings.assertion.key_file)
    secret_file(path)
    return load_asserter(path, sidecar=settings.sidecar.id, seconds=settings.assertion.seconds)


def approver_pems(settings: Settings) -> dict[str, bytes]:
    """Return the public key of each approver by the name of the person."""
    return _pems(settings, [(approver.person, approver.key) for approver in settings.policy.approvers])


def _pems(settings: Settings, files: Iterable[tuple[str, Path]]) -> dict[str, bytes]:
    """Read public keys by the id of each, or by the person who has it."""
    found: dict[str, bytes] = {}
    problems: list[Problem] = []
    for name, relative in files:
        path = settings.path(relative)
        if name in found:
            problems.append(Problem(code="CONFIG_VALUE", message=f"two keys are called `{name}`", where=str(path)))
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            hint = f"restore it from backup, or make it again with `openssl pkey -in PRIVATE.pem -pubout -out {path}`"
            problems.append(Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path), hint=hint))
    if problems:
        raise ConfigError(tuple(problems))
    return found


def bundle_key_pems(settings: Settings) -> dict[str, bytes]:
    """Return the public keys that sign policy; the name of a file, without its endings, is the id of its key."""
    if not settings.policy.keys:
        hint = "the public key that `zt init` wrote, for example `keys/bundle.pub.pem`"
        raise ConfigError((Problem(code="CONFIG_MISSING_KEY", message="`policy.keys` is required", hint=hint),))
    files = settings.policy.keys
    return _pems(settings, [(path.name.removesuffix(".pem").removesuffix(".pub"), path) for path in files])
