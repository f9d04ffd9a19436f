"""What `zt decide` stands on: a pack as it is shipped, or an installation with its records and situation.

Those are the folder's, and what its sidecar last kept of its control plane once that has joined one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from device_inventory.device import DeviceRecord
from zt_engine.adapters.approvals import read_approvers
from zt_engine.adapters.bundle_signing import BundlePublicKey, load_public_keys
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.folder_source import FolderSource
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.authoring.scenarios import FIXTURES, Entry, Question, read_question
from zt_engine.authoring.yaml_text import YamlText, read_yaml
from zt_engine.bootstrap import activation
from zt_engine.bootstrap.activation import Parts
from zt_engine.bootstrap.identity import home_issuer, issuer_configs
from zt_engine.bootstrap.joining import Member, has_joined, read_member
from zt_engine.bootstrap.kept_state import KeptState, KeptTold, kept_release, read_kept
from zt_engine.bootstrap.packs import compiled_bundle, pack_folder, pack_names
from zt_engine.bootstrap.release_opening import ReleaseTrust
from zt_engine.bootstrap.told_trust import told_document
from zt_engine.bootstrap.wiring import approvers_believed, bundle_keys_believed
from zt_engine.bootstrap.workbench import Workbench
from zt_engine.config import Policy as PolicySettings
from zt_engine.config import Settings, load
from zt_engine.core.bundle import open_bundle
from zt_engine.core.errors import BundleError, ConfigError, Problem
from zt_engine.core.identity import SubjectRecord
from zt_engine.core.instants import parse_instant
from zt_engine.core.issuer import subject_name
from zt_engine.core.lease import Lease
from zt_engine.core.situation import FOREVER, Situation
from zt_engine.ports import PolicyEngine

CURRENT = "current"
"""The name of an installation's present situation."""

BUDGET_MS = 1000
"""What policy may cost is the sidecar's to enforce; an explanation waits for it."""

SIGNED_IN_SECONDS = 60
"""How long ago somebody signed in whose record is named without saying anything of a sign-in."""


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that can be asked, and the names that a question may use."""

    title: str
    parts: Parts
    engine: PolicyEngine
    strongest: Mapping[str, str]
    home: str = ""
    fixtures: Path | None = None
    folder: Path | None = None
    """The installation's policy folder; without a control plane it has records and situation as well."""
    approvers: Mapping[str, bytes] = {}
    kept: KeptState | None = None
    """What the installation's sidecar kept of its control plane; then records and situation are these."""
    release: int = 0
    """The number of the control plane's release that decides; 0: the policy of a folder does."""

    @property
    def lease(self) -> tuple[Lease, Callable[[], float]] | None:
        """How long what was kept may be decided by, and the clock that measures it."""
        return None if self.kept is None else (self.kept.lease, self.kept.clock.elapsed)

    def told(self) -> KeptTold | None:
        """Return what people are told of the state that is decided on; None when it is the folder's, or a pack's."""
        if self.kept is None:
            return None
        membership, age = self.kept.member.membership, self.kept.age
        return KeptTold(
            control_plane=membership.audience,
            sidecar=membership.id,
            seq=self.kept.sync.position.seq,
            watermark_age=None if age is None else round(age, 1),
            release=self.release,
        )

    def question(self, text: YamlText, path: Path, *, now: float) -> Question:
        """Read a question; without a time of its own it is asked now. Raises ConfigError with every fault."""
        given = text.value.get("at") if isinstance(text.value, Mapping) else None
        at = parse_instant(str(given)) or int(now)
        asked = _instant(at)
        if self.folder is None:
            own_time = self.fixtures is not None and self.fixtures.is_file()
            return read_question(path, fixtures=self.fixtures, defaults={} if own_time else {"at": asked})
        defaults: Entry = {"at": asked, "situation": CURRENT}
        return read_question(path, named=self._names(self.folder, at), defaults=defaults)

    def _names(self, folder: Path, at: int) -> dict[str, dict[str, Entry]]:
        subjects: Iterable[SubjectRecord]
        devices: Iterable[DeviceRecord]
        if self.kept is not None:
            replica = self.kept.replica
            subjects, devices, situation = replica.subjects.values(), replica.devices.values(), replica.situation
            assert situation is not None  # `Sync` begins with an empty one
        else:
            records, problems = FolderSource(folder).records(at)
            if problems:
                raise ConfigError(problems)
            raw = read_file(folder / "situation.json")
            approvers = read_approvers(self.approvers)
            situation = decode_situation(raw, where=str(folder / "situation.json"), approvers=approvers)
            subjects, devices = records.subjects, records.devices
        return {
            "subjects": {self._name(record): self._subject(record) for record in subjects},
            "devices": {record.device_id: _device(record, at) for record in devices},
            "situations": {CURRENT: _situation(situation)},
        }

    def _name(self, record: SubjectRecord) -> str:
        return subject_name(record.issuer, record.id, home=self.home or record.issuer)

    def _subject(self, record: SubjectRecord) -> Entry:
        """A directory record, signed in just now as strongly as its issuer can."""
        entry = msgspec.to_builtins(record)
        entry.pop("version")
        acr = self.strongest.get(record.issuer, "")
        return {**entry, "id": self._name(record), "acr": acr, "auth_age": SIGNED_IN_SECONDS}


def ground_of_pack(name: str, *, opa: str | None = None) -> Ground:
    """Return a pack with the people and devices of its scenarios; raises ConfigError PACK_UNKNOWN.

    A name means the pack as it was shipped. A folder is checked and compiled with `opa` first, so that it decides what
    stands in it now; that raises ConfigError with every fault, and OPA_MISSING.
    """
    if is_shipped(name):
        folder, raw = pack_folder(name), compiled_bundle(name)
    else:
        folder = Path(name)
        raw = Workbench(opa).build(folder).raw
    bundle = open_bundle(raw, keys={}, require_signature=False, builtins=activation.OFFERED)
    parts = Parts(
        bundle=bundle,
        catalogue=activation.read_catalogue(read_file(folder / "catalogue.yaml"), where=str(folder / "catalogue.yaml")),
        catalogue_digest="",
        trust=activation.read_trust(read_file(folder / "trust.yaml"), where=str(folder / "trust.yaml")),
        trust_digest="",
    )
    engine = activation.make_engine(bundle, PolicySettings(budget_ms=BUDGET_MS))
    return Ground(title=name, parts=parts, engine=engine, strongest={}, fixtures=folder / "scenarios" / FIXTURES)


def is_shipped(name: str) -> bool:
    """Whether this names a pack that comes with the program, and no folder."""
    return "/" not in name and (name in pack_names() or not Path(name).is_dir())


def ground_of_config(path: Path) -> Ground:
    """Return an installation; raises ConfigError or BundleError for whatever the sidecar would refuse as well."""
    settings = load(path)
    if settings.control_plane.url or has_joined(settings):
        return _ground_of_member(path, settings, read_member(settings))
    return _ground_of_folder(path, settings, load_public_keys(_keys(settings.path, settings.policy.keys)))


def _ground_of_member(path: Path, settings: Settings, member: Member) -> Ground:
    """Return an installation whose sidecar has joined: what that kept of devices, people, situation and release."""
    if not settings.control_plane.url:  # `zt up` tells its sidecar the address, and settings do not
        addressed = settings.control_plane.model_copy(update={"url": (member.membership.audience,)})
        settings = settings.model_copy(update={"control_plane": addressed})
    told = told_document(settings)
    keys, approvers = bundle_keys_believed(settings, told), approvers_believed(settings, told)
    kept = read_kept(
        settings,
        member,
        read_situation=lambda raw, where: decode_situation(raw, where=where, approvers=approvers),
        clock=SystemClock(),
    )
    patient = settings.policy.model_copy(update={"budget_ms": BUDGET_MS})
    strongest = {config.issuer: config.strongest_acr for config in issuer_configs(settings)}
    opened = kept_release(kept, ReleaseTrust(keys, approvers, patient, strongest))
    if opened is None:
        return msgspec.structs.replace(_ground_of_folder(path, settings, keys), kept=kept)
    return Ground(
        title=str(path),
        parts=opened.parts,
        engine=opened.engine,
        strongest=strongest,
        home=home_issuer(settings),
        folder=settings.path(settings.policy.folder),
        kept=kept,
        release=opened.release.seq,
    )


def _ground_of_folder(path: Path, settings: Settings, keys: Mapping[str, BundlePublicKey]) -> Ground:
    folder = settings.path(settings.policy.folder)
    try:
        bundle = activation.read_bundle(read_file(folder / "bundle.tar.gz"), keys)
    except BundleError as error:
        where = f"{folder / 'bundle.tar.gz'}: {error.where}" if error.where else str(folder / "bundle.tar.gz")
        raise BundleError(error.code, error.message, where=where, hint=error.hint) from None
    parts = Parts(
        bundle=bundle,
        catalogue=activation.read_catalogue(read_file(folder / "catalogue.yaml"), where=str(folder / "catalogue.yaml")),
        catalogue_digest="",
        trust=activation.read_trust(read_file(folder / "trust.yaml"), where=str(folder / "trust.yaml")),
        trust_digest="",
    )
    issuers = issuer_configs(settings)
    return Ground(
        title=str(path),
        parts=parts,
        engine=activation.make_engine(bundle, settings.policy.model_copy(update={"budget_ms": BUDGET_MS})),
        strongest={config.issuer: config.strongest_acr for config in issuers},
        home=home_issuer(settings),
        folder=folder,
        approvers={who.person: read_file(settings.path(who.key)) for who in settings.policy.approvers},
    )


def read_text(path: Path) -> YamlText:
    """Read a YAML or JSON file a person wrote; raises ConfigError DECIDE_FILE or DECIDE_SYNTAX with file and line."""
    try:
        return read_yaml(read_file(path).decode("utf-8"), where=str(path), code="DECIDE_SYNTAX")
    except UnicodeDecodeError:
        raise ConfigError((Problem(code="DECIDE_SYNTAX", message="the file is not UTF-8", where=str(path)),)) from None


def read_file(path: Path) -> bytes:
    """Return a file's content; raises ConfigError DECIDE_FILE."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError((Problem(code="DECIDE_FILE", message=str(error.strerror), where=str(path)),)) from None


def _keys(place: Callable[[Path], Path], files: tuple[Path, ...]) -> dict[str, bytes]:
    return {path.name.removesuffix(".pem").removesuffix(".pub"): read_file(place(path)) for path in files}


def _device(record: DeviceRecord, at: int) -> Entry:
    return {
        "id": record.device_id,
        "status": record.status,
        "ownership": record.ownership,
        "ceiling": record.ceiling,
        "assigned": list(record.assigned),
        "key": "none" if not record.keys else "mtls" if record.keys[0].x5t else "dpop",
        "report_age": at - record.report_received_at,
        "facts": {
            name: {
                "status": fact.status,
                "value": list(fact.value) if isinstance(fact.value, tuple) else fact.value,
                "method": fact.method,
                "age": at - fact.received_at,
            }
            for name, fact in record.facts.items()
        },
    }


def _situation(situation: Situation) -> Entry:
    """The situation as it stands. Grants are signed again by stand-ins of those who really signed them."""
    overlays = [msgspec.to_builtins(overlay) for overlay in situation.overlays]
    grants = [msgspec.to_builtins(grant) for grant in situation.grants if grant.approvers]
    for overlay in overlays:
        overlay.pop("parsed_effect")
        overlay.pop("terms")
    revocations = [
        {"kind": kind, "key": key, "until": None if until >= FOREVER else until}
        for kind, keys in situation.revoked.items()
        for key, until in keys.items()
    ]
    entry: dict[str, object] = {
        "threat_level": situation.threat_level,
        "overlays": overlays,
        "grants": grants,
        "revocations": revocations,
    }
    if situation.continuity is not None:
        entry["continuity"] = msgspec.to_builtins(situation.continuity)
    return entry  # type: ignore[return-value]  # plain values by construction


def _instant(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
