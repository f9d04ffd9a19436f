"""Follow a folder: read what changed in a thread, switch on the event loop, keep the last good state of everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec
import structlog
from watchfiles import awatch

from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.adapters.folder_source import FolderSource
from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.code_texts import CodeTexts
from zt_engine.bootstrap.device_certificates import DeviceCertificates
from zt_engine.bootstrap.folder_change import Change
from zt_engine.config import Policy as PolicySettings
from zt_engine.core.bundle import Bundle
from zt_engine.core.errors import ConfigError, Problem, UnavailableError, ZtError
from zt_engine.core.situation import Situation
from zt_engine.ports import Clock, PolicyEngine
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.replica import Changes, Records, Replica

log = structlog.get_logger()

RECHECK_SECONDS = 2.0
"""How often a folder with faults is read again, so that a fault that time cures (or worsens) is noticed."""
SCAN_SECONDS = 60.0
"""How often every file is looked at although nobody said that it changed."""
WAKE_MS = 250
GATHER_RECORDS = 100_000
"""Among so many records changes are taken up at most once a second, among a tenth of them ten times as often."""
RECORD_FOLDERS = ("devices", "subjects")
POLICY_FILES = ("bundle.tar.gz", "catalogue.yaml", "trust.yaml")
"""All that a folder supplies beside a control plane."""


class Believed(msgspec.Struct, frozen=True):
    """What the settings say about the folder: replaced as a whole when they are read again."""

    settings: PolicySettings
    keys: Mapping[str, BundlePublicKey]
    read_situation: Callable[[bytes, str], Situation]
    strongest: Mapping[str, str]
    """Issuer -> the best `acr` it can give."""

    def vouch_for(self, bundle: Bundle, key: BundlePublicKey | None) -> bool:
        """Whether the key that signed this bundle is still one of ours: the same key, not only the same name."""
        known = self.keys.get(bundle.key_id) if bundle.key_id is not None else None
        return known is not None and key is not None and known.pem() == key.pem()


class FolderFollower:
    """Keeps replica and active policy equal to a folder; of one beside a control plane only the policy."""

    def __init__(
        self,
        folder: Path,
        believed: Believed,
        *,
        authorizer: Authorizer,
        replica: Replica,
        certificates: DeviceCertificates,
        texts: CodeTexts,
        decision_log: DecisionLog,
        clock: Clock,
        path_key: bytes,
        tick_seconds: int,
        records: bool = True,
    ) -> None:
        """Without `records` devices, subjects, situation and CAs come from elsewhere, and nothing of them is read."""
        self._folder = folder
        self._records = records
        self._believed = believed
        self._authorizer = authorizer
        self._replica = replica
        self._certificates = certificates
        self._texts = texts
        self._log = decision_log
        self._clock = clock
        self._path_key = path_key
        self._tick_seconds = tick_seconds
        self._source = FolderSource(folder) if records else FolderSource(folder, names=POLICY_FILES)
        self._good = Change()
        self._situation_believed: Believed | None = None
        """Under whose approvers the situation in force was read."""
        self._faults: dict[str, tuple[Problem, ...]] = {}
        self._busy = asyncio.Lock()
        self._failed = False
        """Whether the last reading broke off: then everything is read again soon, whoever says that it changed."""
        self.activated_at = 0.0
        self.superseded = False
        """Whether a release decides, or did: then nothing of the folder does any more."""
        self.problems: tuple[Problem, ...] = ()

    def supersede(self) -> None:
        """Have the folder decide nothing from now on: releases of a control plane do."""
        self.superseded, self.problems = True, ()

    async def refresh(self, named: Collection[str] | None = None) -> None:
        """Read the folder once and take up what is good: all records, or of the records only the `named` ones."""
        async with self._busy:
            if self.superseded:
                await self._retire()
                return
            unused: list[PolicyEngine] = []
            try:
                change = await asyncio.to_thread(self._read, named)
                unused += self._apply(change)
            finally:
                # INVARIANT: what is no longer vouched for goes, whatever became of the reading.
                unused += await self._withdraw()
                self._tell()
                for engine in unused:
                    await asyncio.to_thread(engine.close)

    async def _retire(self) -> None:
        """Free what the folder brought."""
        engine, self._good.engine = self._good.engine, None
        if engine is not None:
            await asyncio.to_thread(engine.close)

    def _tell(self) -> None:
        if self.superseded:
            return
        problems = tuple(dict.fromkeys(problem for faults in self._faults.values() for problem in faults))
        if problems == self.problems:
            return
        self.problems = problems
        for problem in problems:
            log.error(
                "folder.refused", code=problem.code, where=problem.where, problem=problem.message, hint=problem.hint
            )
        if not problems:
            log.info("folder.good")

    async def believe(self, believed: Believed) -> None:
        """Read everything again under other keys and approvers; what they do not vouch for is refused and withdrawn.

        That holds for what is in force as well, also when the folder cannot be read: a bundle whose key is not named
        any more decides nothing, and a grant whose approver is not is no grant.
        """
        async with self._busy:
            self._believed = believed
            self._source.forget()
        await self.refresh()

    async def follow(self) -> None:
        """Refresh whenever something in the folder changes, until cancelled. Nothing that goes wrong ends this."""
        while True:
            with contextlib.suppress(OSError):  # there may be no folder yet, or no longer
                await self._watch()
            await asyncio.sleep(RECHECK_SECONDS)
            await self._try(None)

    async def _watch(self) -> None:
        """Read what is named when it changes, everything once in a while, and what was refused more often.

        Changes of records are gathered for up to a second in a large folder: each time the tables are copied, which
        takes processor time that decisions need. Everything else, revocations before all, is taken up at once.
        """
        time = asyncio.get_running_loop().time
        scanned = read = gathered = time()
        pending: set[str] = set()
        async for changes in awatch(
            self._folder,
            debounce=100,
            step=20,
            rust_timeout=WAKE_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        ):
            named, others = self._named({path for _, path in changes})
            pending |= named
            now = time()
            again = (self._failed or self.problems) and now - read >= RECHECK_SECONDS
            if others is None or again or now - scanned >= SCAN_SECONDS:
                await self._try(None)
                pending.clear()
                scanned = time()
            elif pending and now >= gathered:
                await self._try(frozenset(pending))
                pending.clear()
                gathered = time() + min(1.0, self._source.known / GATHER_RECORDS)
            elif others:
                await self._try(())
            else:
                continue
            read = time()

    def _named(self, paths: set[str]) -> tuple[set[str], bool | None]:
        """Split what changed into record files and whether anything else did; None when only a scan can tell."""
        records, others = set(), False
        for path in paths:
            parts = path.removeprefix(f"{self._folder}/").split("/")
            if len(parts) == 1 and parts[0] not in RECORD_FOLDERS and not path.endswith("/"):
                others = True
            elif len(parts) == 2 and parts[0] in RECORD_FOLDERS:
                if parts[1].endswith(".json"):
                    records.add("/".join(parts))
            else:
                return records, None
        return records, others

    async def _try(self, named: Collection[str] | None) -> None:
        try:
            await self.refresh(named)
            self._failed = False
        except Exception as error:  # INVARIANT: a revocation that comes later must not find nobody listening.
            self._source.forget()
            self._failed = True
            log.exception("folder.failed", error=type(error).__name__)

    # -- in a thread

    def _read(self, named: Collection[str] | None) -> Change:
        change = Change()
        texts, self._faults["folder"] = self._source.singles()
        decides = []
        for name, read in (
            ("bundle.tar.gz", self._read_bundle),
            ("catalogue.yaml", self._read_catalogue),
            ("trust.yaml", self._read_trust),
            ("situation.json", self._read_situation_file),
            ("device-cas.pem", self._read_authorities),
        ):
            if name not in texts:
                continue
            raw, where = texts[name], str(self._folder / name)
            try:
                kind = read(change, raw, where)
                self._faults.pop(name, None)
                if kind:
                    decides.append((kind, activation.digest(raw)))
            except ConfigError as error:
                self._faults[name] = error.problems
            except UnavailableError as error:  # nothing is wrong with the file: try again
                self._source.forget(name)
                self._faults[name] = (_problem(error, where),)
            except ZtError as error:
                self._faults[name] = (_problem(error, f"{where}: {error.where}" if error.where else where),)
        if self._records and (named is None or named or self._faults.get("records")):
            found, self._faults["records"] = self._source.changes(self._clock.now(), named)
            before = self._good.records or Records()
            change.records = before.changed(Changes(found.devices, found.subjects))
        change.decides = tuple(decides)
        return change

    def _read_bundle(self, change: Change, raw: bytes, _where: str) -> str:
        bundle = activation.read_bundle(raw, self._believed.keys, baselines=self._believed.settings.baselines)
        engine = activation.make_engine(bundle, self._believed.settings)
        try:
            activation.smoke(bundle, engine)
            self._keep("bundle", raw)
        except BaseException:
            engine.close()
            raise
        change.bundle, change.engine = bundle, engine
        change.bundle_key = self._believed.keys.get(bundle.key_id) if bundle.key_id is not None else None
        return "bundle"

    def _read_catalogue(self, change: Change, raw: bytes, where: str) -> str:
        catalogue = activation.read_catalogue(raw, where=where)
        self._keep("catalogue", raw)
        change.catalogue, change.catalogue_digest = catalogue, activation.digest(raw)
        return "catalogue"

    def _read_trust(self, change: Change, raw: bytes, where: str) -> str:
        trust = activation.read_trust(raw, where=where)
        self._keep("trust", raw)
        change.trust, change.trust_digest = trust, activation.digest(raw)
        return "trust"

    def _keep(self, kind: str, raw: bytes) -> None:
        """Archive what is about to decide: without it, its decisions could not be replayed."""
        self._log.archive(kind, activation.digest(raw), raw)

    def _read_situation_file(self, change: Change, raw: bytes, where: str) -> str:
        change.situation, change.situation_text = self._believed.read_situation(raw, where), (raw, where)
        self._faults["grants"] = change.situation.problems
        return ""

    def _read_authorities(self, change: Change, raw: bytes, where: str) -> str:
        X509CertificateVerifier(raw, where=where)
        change.authorities = raw
        return ""

    # -- on the event loop

    def _apply(self, change: Change) -> list[PolicyEngine]:
        """Switch to what is good; returns the engine that is not needed any more."""
        good, now = self._good, self._clock.now()
        if change.authorities is not None:
            self._certificates.replace(change.authorities, where="device-cas.pem")
            self._authorizer.forget_principals()
        if change.situation is not None:
            good.situation, good.situation_text = change.situation, change.situation_text
            self._situation_believed = self._believed
        if change.records is not None:
            good.records = change.records
            self._source.taken()
        if good.situation is not None and good.records is not None and (change.records or change.situation) is not None:
            # Sessions come from elsewhere, and stay.
            records = msgspec.structs.replace(good.records, sessions=self._replica.sessions)
            self._replica.adopt(records, good.situation, now=now)
        if change.bundle is None and change.catalogue is None and change.trust is None:
            return []
        unused = [good.engine] if change.engine is not None and good.engine is not None else []
        if change.bundle is not None:
            good.bundle, good.bundle_key, good.engine = change.bundle, change.bundle_key, change.engine
        if change.catalogue is not None:
            good.catalogue, good.catalogue_digest = change.catalogue, change.catalogue_digest
        if change.trust is not None:
            good.trust, good.trust_digest = change.trust, change.trust_digest
        for kind, digest in change.decides:
            self._log.note(kind, digest)
        self._activate(good, now)
        return unused

    async def _withdraw(self) -> list[PolicyEngine]:
        """Take out of force what the present keys and approvers do not vouch for; returns the engine that went."""
        good, believed = self._good, self._believed
        if good.situation is not None and self._situation_believed is not believed:
            good.situation = await asyncio.to_thread(self._read_again, good.situation)
            self._situation_believed = believed
            self._replica.situation = good.situation
        if good.bundle is None or self.superseded:
            return []
        if believed.vouch_for(good.bundle, good.bundle_key):
            self._faults.pop("withdrawn", None)
            return []
        code, message = "BUNDLE_KEY_WITHDRAWN", f"`policy.keys` holds the key `{good.bundle.key_id}` no more"
        self._faults["withdrawn"] = (Problem(code=code, message=message, where=str(self._folder / "bundle.tar.gz")),)
        self._authorizer.withdraw(code, message)
        unused = [good.engine] if good.engine is not None else []
        good.bundle = good.bundle_key = good.engine = None
        return unused

    def _read_again(self, situation: Situation) -> Situation:
        """Read the last good situation under the present approvers; if that fails, nothing of it loosens any more."""
        raw, where = self._good.situation_text
        try:
            situation = self._believed.read_situation(raw, where)
        except Exception as error:  # INVARIANT: a removed approver's grants go, whatever fails.
            log.exception("situation.failed", error=type(error).__name__)
            return msgspec.structs.replace(situation, grants=(), continuity=None)
        self._faults["grants"] = situation.problems
        return situation

    def _activate(self, good: Change, now: float) -> None:
        if (
            self.superseded
            or good.bundle is None
            or good.catalogue is None
            or good.trust is None
            or good.engine is None
        ):
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
            strongest=self._believed.strongest,
            path_key=self._path_key,
            tick_seconds=self._tick_seconds,
        )
        self._authorizer.activate(policy)
        self._texts.replace(good.bundle.reasons)
        self.activated_at = now
        log.info("policy.activated", revision=policy.revision, **policy.versions)


def _problem(error: ZtError, where: str) -> Problem:
    return Problem(code=error.code, message=error.message, where=where, hint=error.hint)
