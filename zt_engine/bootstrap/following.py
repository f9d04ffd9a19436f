"""Follow a folder: read what changed in a thread, switch on the event loop, keep the last good state of everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import msgspec
import structlog
from watchfiles import awatch

from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.adapters.folder_source import FolderSource, Records
from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.config import Settings
from zt_engine.core.bundle import Bundle
from zt_engine.core.catalogue import Catalogue
from zt_engine.core.errors import ConfigError, InputError, Problem, ZtError
from zt_engine.core.identity import VerifiedCertificate
from zt_engine.core.situation import Situation
from zt_engine.core.trust_model import TrustModel
from zt_engine.ports import Clock, PolicyEngine
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.replica import Replica

log = structlog.get_logger()

RECHECK_SECONDS = 2.0
"""How often a folder with faults is read again, so that a fault that time cures (or worsens) is noticed."""


class DeviceCertificates:
    """The `CertificateVerifier` of the sidecar: trusts nobody until the first set of device CAs has been read."""

    def __init__(self) -> None:
        self._verifier: X509CertificateVerifier | None = None

    def verify(self, escaped_pem: bytes, *, now: float) -> VerifiedCertificate:
        """Return the verified certificate, or raise InputError with a CERT_ code."""
        if self._verifier is None:
            raise InputError("CERT_UNTRUSTED", "no device CA has been loaded")
        return self._verifier.verify(escaped_pem, now=now)

    def replace(self, authorities: bytes, *, where: str) -> None:
        """Take up another set of CAs; raises ConfigError and keeps the old one."""
        if self._verifier is None:
            self._verifier = X509CertificateVerifier(authorities, where=where)
        else:
            self._verifier.replace(authorities, where=where)


class Change(msgspec.Struct):
    """What one reading of the folder brought: only what changed and was good."""

    bundle: Bundle | None = None
    engine: PolicyEngine | None = None
    catalogue: Catalogue | None = None
    catalogue_digest: str = ""
    trust: TrustModel | None = None
    trust_digest: str = ""
    situation: Situation | None = None
    authorities: bytes | None = None
    records: Records | None = None
    problems: tuple[Problem, ...] = ()
    archive: tuple[tuple[str, str, bytes], ...] = ()


class FolderFollower:
    """Keeps replica and active policy equal to a folder."""

    def __init__(
        self,
        settings: Settings,
        *,
        keys: Mapping[str, BundlePublicKey],
        read_situation: Callable[[bytes, str], Situation],
        authorizer: Authorizer,
        replica: Replica,
        certificates: DeviceCertificates,
        texts: CodeTexts,
        decision_log: DecisionLog,
        clock: Clock,
        strongest: Mapping[str, str],
        path_key: bytes,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._read_situation = read_situation
        self._authorizer = authorizer
        self._replica = replica
        self._certificates = certificates
        self._texts = texts
        self._log = decision_log
        self._clock = clock
        self._strongest = strongest
        self._path_key = path_key
        self._folder = settings.path(settings.policy.folder)
        self._source = FolderSource(self._folder)
        self._good = Change()
        self._faults: dict[str, tuple[Problem, ...]] = {}
        self._busy = asyncio.Lock()
        self.activated_at = 0.0
        self.problems: tuple[Problem, ...] = ()

    async def refresh(self) -> None:
        """Read the folder once and take up what is good."""
        async with self._busy:
            change = await asyncio.to_thread(self._read)
            self._apply(change)
            if change.problems != self.problems:
                self.problems = change.problems
                for problem in change.problems:
                    log.error("folder.refused", code=problem.code, where=problem.where, problem=problem.message)
                if not change.problems:
                    log.info("folder.good")

    async def follow(self) -> None:
        """Refresh whenever something in the folder changes, until cancelled."""
        async for _ in awatch(
            self._folder,
            debounce=100,
            step=20,
            rust_timeout=int(RECHECK_SECONDS * 1000),
            yield_on_timeout=True,
            ignore_permission_denied=True,
        ):
            with contextlib.suppress(FileNotFoundError):
                await self.refresh()

    # -- in a thread

    def _read(self) -> Change:
        change = Change()
        texts, problems = self._source.singles()
        self._faults["folder"] = problems
        archive = []
        for name, read in (
            ("bundle.tar.gz", self._read_bundle),
            ("catalogue.yaml", self._read_catalogue),
            ("trust.yaml", self._read_trust),
            ("situation.json", self._read_situation_file),
            ("device-cas.pem", self._read_authorities),
        ):
            if name not in texts:
                continue
            try:
                kind = read(change, texts[name], str(self._folder / name))
                self._faults.pop(name, None)
                if kind:
                    archive.append((kind, activation.digest(texts[name]), texts[name]))
            except ConfigError as error:
                self._faults[name] = error.problems
            except ZtError as error:
                where = f"{self._folder / name}: {error.where}" if error.where else str(self._folder / name)
                self._faults[name] = (
                    Problem(code=error.code, message=error.message, where=where, hint=error.hint),
                )
        change.records, self._faults["records"] = self._source.records(self._clock.now())
        change.problems = tuple(problem for faults in self._faults.values() for problem in faults)
        change.archive = tuple(archive)
        return change

    def _read_bundle(self, change: Change, raw: bytes, _where: str) -> str:
        bundle = activation.read_bundle(raw, self._keys)
        engine = activation.make_engine(bundle, self._settings.policy)
        try:
            activation.smoke(bundle, engine)
        except BaseException:
            engine.close()
            raise
        change.bundle, change.engine = bundle, engine
        return "bundle"

    def _read_catalogue(self, change: Change, raw: bytes, where: str) -> str:
        change.catalogue = activation.read_catalogue(raw, where=where)
        change.catalogue_digest = activation.digest(raw)
        return "catalogue"

    def _read_trust(self, change: Change, raw: bytes, where: str) -> str:
        change.trust = activation.read_trust(raw, where=where)
        change.trust_digest = activation.digest(raw)
        return "trust"

    def _read_situation_file(self, change: Change, raw: bytes, where: str) -> str:
        change.situation = self._read_situation(raw, where)
        self._faults["grants"] = change.situation.problems
        return ""

    def _read_authorities(self, change: Change, raw: bytes, where: str) -> str:
        X509CertificateVerifier(raw, where=where)
        change.authorities = raw
        return ""

    # -- on the event loop

    def _apply(self, change: Change) -> None:
        good, now = self._good, self._clock.now()
        if change.authorities is not None:
            self._certificates.replace(change.authorities, where="device-cas.pem")
        if change.situation is not None:
            good.situation = change.situation
        if good.situation is not None and change.records is not None:
            self._replica.replace(change.records.devices, change.records.subjects, good.situation, now=now)
        if change.bundle is None and change.catalogue is None and change.trust is None:
            return
        good.bundle, good.engine = change.bundle or good.bundle, change.engine or good.engine
        if change.catalogue is not None:
            good.catalogue, good.catalogue_digest = change.catalogue, change.catalogue_digest
        if change.trust is not None:
            good.trust, good.trust_digest = change.trust, change.trust_digest
        for kind, digest, raw in change.archive:
            self._log.archive(kind, digest, raw)
            self._log.note(kind, digest)
        if good.bundle is None or good.catalogue is None or good.trust is None or good.engine is None:
            return
        parts = activation.Parts(
            bundle=good.bundle,
            catalogue=good.catalogue,
            catalogue_digest=good.catalogue_digest,
            trust=good.trust,
            trust_digest=good.trust_digest,
        )
        policy = activation.make_policy(
            parts,
            good.engine,
            source="folder",
            strongest=self._strongest,
            path_key=self._path_key,
            tick_seconds=self._settings.sidecar.tick_seconds,
        )
        old = self._authorizer.activate(policy)
        self._texts.replace(good.bundle.reasons)
        self.activated_at = now
        log.info("policy.activated", revision=policy.revision, **policy.versions)
        if old is not None and old.engine is not good.engine:
            old.engine.close()


