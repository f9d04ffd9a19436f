"""The parts of a control plane, read from the settings and the files they name; every fault at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from device_inventory.facts import CATALOGUE, suggestion
from zt_engine.adapters.admin_keys import Administrators, AdminKeys, ClaimedRoles, OidcAdministrators
from zt_engine.adapters.approvals import Approvers, read_approvers
from zt_engine.adapters.bundle_signing import BundlePublicKey, load_public_keys
from zt_engine.adapters.control_records import StrictRecords
from zt_engine.adapters.est_certificates import X509EstCertificates
from zt_engine.adapters.jws_device import DeviceJws
from zt_engine.adapters.keys_fetch import key_source
from zt_engine.adapters.keys_jwks import KeySource
from zt_engine.adapters.opa_clients import FILE
from zt_engine.adapters.person_oidc import OidcPersons
from zt_engine.adapters.signals_yaml import load_signals
from zt_engine.adapters.store_sql import SqlStore, open_store
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.bootstrap.activation import read_trust
from zt_engine.bootstrap.browser_sign_in import open_sign_in
from zt_engine.bootstrap.control_trust import ControlTrust
from zt_engine.bootstrap.device_authority import Authority, open_authority
from zt_engine.bootstrap.identity import home_issuer, issuer_configs, secret_file
from zt_engine.bootstrap.listener_chain import sole_certificate
from zt_engine.bootstrap.policy_before import folder_policy, since
from zt_engine.bootstrap.readiness_following import FolderReadiness
from zt_engine.bootstrap.releasing import Judge, open_opa, open_releases
from zt_engine.bootstrap.serving_stream import read_stream_keys
from zt_engine.bootstrap.weakening import weakenings
from zt_engine.bootstrap.wiring import Faults, approver_pems
from zt_engine.config import ControlSettings
from zt_engine.control_plane.api.attestation import attestation_room
from zt_engine.control_plane.api.est import est_routes
from zt_engine.control_plane.context import ControlPlane, Enrolling, PlaneSettings
from zt_engine.control_plane.enrollment import PARTS, EnrollmentParts
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.est import EstService
from zt_engine.control_plane.ledger import Ledger
from zt_engine.control_plane.portal.enroll import PACKAGE
from zt_engine.control_plane.portal.parts import Portal
from zt_engine.control_plane.portal.rooms import portal_room
from zt_engine.control_plane.released_names import NAMES, ReleasedNames
from zt_engine.control_plane.remedies import ModelReadiness, NoReadiness, Readiness
from zt_engine.control_plane.signals import RULES
from zt_engine.control_plane.stream_keys import forget
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.issuer import IssuerConfig
from zt_engine.core.signals import Rules
from zt_engine.pages.book import PageBook
from zt_engine.pages.enroll import Package
from zt_engine.ports import Clock
from zt_engine.ports.credentials import PersonVerifier

if TYPE_CHECKING:
    from zt_engine.adapters.attestation_tpm import TpmAttestation

log = structlog.get_logger()

HOUR = 3600


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """A control plane with what its program looks after beside serving it."""

    plane: ControlPlane
    store: SqlStore
    authority: Authority
    stream_keys: tuple[StreamKey, ...]
    """The one that signs, and behind it those that sidecars believe as well."""
    tls_ca: bytes
    sources: tuple[KeySource, ...]
    trust: ControlTrust


def read_parts(settings: ControlSettings, clock: Clock) -> Parts:
    """Read everything the settings name; raises ConfigError with every fault. The database is made or brought up."""
    faults = Faults()
    control = settings.control
    configs = {config.issuer: config for config in faults.of(lambda: issuer_configs(settings)) or ()}
    sources = {issuer: faults.of(partial(key_source, config, where=issuer)) for issuer, config in configs.items()}
    facts = faults.of(lambda: _facts(control.facts))
    authority = faults.of(lambda: open_authority(settings))
    keys = faults.of(lambda: AdminKeys(settings.path(control.admins)))
    signers = faults.of(lambda: own_signers(settings))
    stream_keys = faults.of(lambda: read_stream_keys(settings))
    tls_ca = faults.of(lambda: _authority(settings, control.ca_file))
    attestation = faults.of(lambda: _attestation(settings))
    trust = faults.of(lambda: ControlTrust(settings, *(signers or ({}, {}))))
    readiness = faults.of(lambda: _readiness(settings, trust))
    store = faults.of(lambda: opened_store(settings))
    faults.check()
    record = Ledger(facts)
    rules = _rules(settings)
    parts = EnrollmentParts(
        rules=rules,
        attestation=attestation,
        challenger=attestation,
        readiness=readiness,
        codes=readiness.codes if isinstance(readiness, FolderReadiness) else None,
        levels=readiness.levels if isinstance(readiness, FolderReadiness) else dict,
    )
    package = Package(url=settings.enrollment.package_url, sha256=settings.enrollment.package_sha256)
    extras: dict[str, Any] = {
        PARTS: parts,
        PACKAGE: package,
        "ca_sha256": pin(tls_ca),
        "trust": trust.handout,
    }
    records = StrictRecords(trust.approvers)
    est = EstService(
        tenant=settings.sidecar.tenant,
        store=store,
        authority=authority,
        certificates=X509EstCertificates(authority),
        record=record,
        lifetime=settings.enrollment.certificate_hours * HOUR,
        attested_only=settings.enrollment.attestation == "required",
    )
    plane = ControlPlane(
        settings=_plane_settings(settings, facts),
        store=store,
        changes=store,
        clock=clock,
        administrators=Administrators(keys, _administrators(settings, configs, sources)),
        records=records,
        authority=authority,
        jws=DeviceJws(),
        people=_people(settings, configs, sources),
        rooms=(
            lambda _plane: est_routes(est, clock),
            # Where the secret that tokens are made with is another one, each TPM has to be asked once more.
            *([] if attestation is None else [attestation_room(attestation)]),
            *([portal_room(_portal(settings))] if settings.sign_in.issuer else []),
        ),
        extras=extras,
    )
    open_sign_in(plane, settings, configs, sources)
    before = since(lambda: folder_policy(settings.path(settings.policy.folder), trust.bundle_keys), weakenings)
    releases = open_releases(plane, trust.bundle_keys, trust.approvers, weakenings=before)

    try:
        extras[RULES] = read_signals(settings, plane, starts=True)
    except ConfigError:
        store.close()
        raise

    def believe() -> None:
        records.believe(trust.approvers)
        if releases is not None and isinstance(releases.judge, Judge):
            releases.judge.believe(trust.bundle_keys, trust.approvers)
        if isinstance(readiness, FolderReadiness):
            readiness.believe(trust.bundle_keys)

    trust.changed = believe
    folder = settings.path(control.admins).parent
    open_opa(plane, clients=folder / FILE, logs=folder / "opa-logs")
    return Parts(
        plane=plane,
        store=store,
        authority=authority,
        stream_keys=stream_keys,
        tls_ca=tls_ca,
        sources=tuple(sources.values()),
        trust=trust,
    )


def forget_stream_keys(settings: ControlSettings) -> None:
    """Have the next start sign with whatever key the settings name; raises what `opened_store` does."""
    store = opened_store(settings)
    try:
        forget(store, settings.sidecar.tenant)
    finally:
        store.close()


def opened_store(settings: ControlSettings) -> SqlStore:
    """Open the database and bring its tables to this version; ConfigError or UnavailableError with a STORE_ code."""
    url = settings.database_url
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = open_store(url)
    try:
        store.migrate()
    except Exception:
        store.close()
        raise
    return store


def _plane_settings(settings: ControlSettings, facts: frozenset[str]) -> PlaneSettings:
    control, enrollment = settings.control, settings.enrollment
    return PlaneSettings(
        tenant=settings.sidecar.tenant,
        url=control.public_url,
        home_issuer=home_issuer(settings),
        language=settings.sidecar.language,
        facts=facts,
        approval_above=control.approval_above,
        invitation_seconds=control.invitation_hours * HOUR,
        enrolling=Enrolling(
            issuer=enrollment.issuer,
            client_id=enrollment.client_id,
            scopes=enrollment.scopes,
            attestation=enrollment.attestation,
            certificate_seconds=enrollment.certificate_hours * HOUR,
        ),
    )


def _rules(settings: ControlSettings) -> EnrollmentRules:
    enrollment = settings.enrollment
    return EnrollmentRules(
        sign_in=frozenset(enrollment.sign_in_acr),
        sign_in_age=enrollment.sign_in_seconds,
        attestation=enrollment.attestation,
        hardware=_chips(settings),
        enrollment_seconds=enrollment.enrollment_hours * HOUR,
    )


def _administrators(
    settings: ControlSettings, configs: dict[str, IssuerConfig], sources: dict[str, KeySource]
) -> OidcAdministrators | None:
    held = settings.administrators
    if not held.issuer:
        return None
    config = msgspec.structs.replace(configs[held.issuer], audiences=(held.audience,))
    return OidcAdministrators(
        JwtVerifier([TrustedIssuer(config, sources[held.issuer])]),
        roles=_roles(settings),
        home_issuer=home_issuer(settings),
    )


def _roles(settings: ControlSettings) -> ClaimedRoles:
    held = settings.administrators
    return ClaimedRoles(
        held.issuer,
        claim=held.roles_claim,
        roles={
            "viewer": held.viewer,
            "helpdesk": held.helpdesk,
            "approver": held.approver,
            "security": held.security,
            "owner": held.owner,
        },
    )


def _portal(settings: ControlSettings) -> Portal:
    """The pages for people, where they sign in with a browser."""
    control, sidecar = settings.control, settings.sidecar
    book = PageBook(
        sidecar.language,
        organisation=control.organisation,
        help_contact=control.help_contact,
        help_url=sidecar.help_url,
    )
    return Portal(book=book, roles=_roles(settings))


def _people(
    settings: ControlSettings, configs: dict[str, IssuerConfig], sources: dict[str, KeySource]
) -> PersonVerifier | None:
    issuer = settings.enrollment.issuer
    if not issuer:
        return None
    config = msgspec.structs.replace(configs[issuer], audiences=(settings.enrollment.client_id,))
    return OidcPersons(TrustedIssuer(config, sources[issuer]))


def _attestation(settings: ControlSettings) -> TpmAttestation | None:
    enrollment = settings.enrollment
    if enrollment.attestation == "none":
        return None
    # What reads the certificates of chips takes long to load, and most installations ask for none.
    from zt_engine.adapters.attestation_tpm import TpmAttestation  # noqa: PLC0415
    from zt_engine.adapters.tpm_endorsement import read_makers  # noqa: PLC0415

    roots = read_makers(_bytes(settings, enrollment.tpm_roots)) if enrollment.tpm_roots is not None else ()
    secret = secret_file(settings.path(enrollment.tpm_secret_file))
    return TpmAttestation(roots=roots, registered=_chips(settings) or frozenset(), secret=secret)


def _chips(settings: ControlSettings) -> frozenset[str] | None:
    path = settings.enrollment.tpm_chips
    if path is None:
        return None
    return frozenset(_bytes(settings, path).decode("ascii", "replace").split())


def _readiness(settings: ControlSettings, trusted: ControlTrust | None) -> Readiness:
    """The policy in the folder; without keys to verify one with, what its trust file knows of good and bad facts."""
    folder = settings.path(settings.policy.folder)
    trust = folder / "trust.yaml"
    known = ModelReadiness(read_trust(trust.read_bytes(), where=str(trust))) if trust.exists() else NoReadiness()
    if trusted is None or not trusted.bundle_keys:
        return known
    home = home_issuer(settings)
    strongest = {config.issuer: config.strongest_acr for config in issuer_configs(settings)}
    return FolderReadiness(folder, trusted.bundle_keys, otherwise=known, strongest=strongest.get(home, ""))


def own_signers(settings: ControlSettings) -> tuple[Mapping[str, BundlePublicKey], Approvers]:
    """Return whose signatures count by the settings, on releases and on approvals; ConfigError with every fault."""
    faults = Faults()
    keys = faults.of(lambda: load_public_keys(_bundle_pems(settings)))
    approvers = faults.of(lambda: read_approvers(approver_pems(settings)))
    faults.check()
    return keys or {}, approvers or {}


def _bundle_pems(settings: ControlSettings) -> dict[str, bytes]:
    """Return the public keys that may have signed a bundle, by their ids."""
    return {
        path.name.removesuffix(".pem").removesuffix(".pub"): _bytes(settings, path) for path in settings.policy.keys
    }


def _facts(names: tuple[str, ...]) -> frozenset[str]:
    problems = []
    for name in names:
        if name not in CATALOGUE:
            close = suggestion(name)
            hint = f"did you mean `{close}`?" if close else ""
            text = f"`control.facts`: `{name}` is no fact"
            problems.append(Problem(code="CONFIG_VALUE", message=text, hint=hint))
    if problems:
        raise ConfigError(tuple(problems))
    return frozenset(names or CATALOGUE)


def read_signals(settings: ControlSettings, plane: ControlPlane, *, starts: bool = False) -> Rules:
    """Return the rules about signals, none where no file is named; ConfigError SIGNALS_* and CONFIG_FILE.

    Their names are those of the policies that `plane` has released. One that `starts` only says which are not, in the
    log: a release that took a name away keeps no control plane down, and the rule that names it keeps people out.
    """
    path = settings.control.signals
    if path is None:
        return Rules()
    try:
        raw = settings.path(path).read_bytes()
    except OSError as error:
        text = f"`control.signals`: {error.strerror}"
        raise ConfigError((Problem(code="CONFIG_FILE", message=text, where=str(settings.path(path))),)) from None
    with plane.store.reading(plane.settings.tenant) as tx:
        released = plane.extras.get(NAMES)
        names = released.known(tx) if isinstance(released, ReleasedNames) else None
    where = str(settings.path(path))
    try:
        return load_signals(raw, where=where, names=names)
    except ConfigError as error:
        if not starts or any(problem.code != "SIGNALS_NAME" for problem in error.problems):
            raise
        for problem in error.problems:
            log.error("signals.unknown_name", code=problem.code, where=problem.where, problem=problem.message)
        return load_signals(raw, where=where)


def _bytes(settings: ControlSettings, path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        return settings.path(path).read_bytes()
    except OSError as error:
        problem = Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(settings.path(path)))
        raise ConfigError((problem,)) from None


def _authority(settings: ControlSettings, path: Path | None) -> bytes:
    raw = _bytes(settings, path)
    return sole_certificate(raw, where=str(path)) if path is not None else raw


def pin(tls_ca: bytes) -> str:
    """Return the digest by which an invitation names the CA of the listener; empty where everybody believes it."""
    return hashlib.sha256(PEM_cert_to_DER_cert(tls_ca.decode("ascii"))).hexdigest() if tls_ca else ""
