"""A pack folder as its authors wrote it: sources, data, tests, reasons, services; all its faults at once.

- `policies/<pack>/pack.yaml`: pack, version, layers; beside it `catalogue.yaml`, `trust.yaml`, `reasons.yaml`
- `baseline/`, `ministry/` or `organisation/`, `service/<id>/`: `*.rego`, and `data.json` or `data.yaml`, which Rego
  finds below the layer's package; `*_test.rego` is run and never published
- `scenarios/*.yaml`: decision tables
- `policies/lib/zt/*.rego` and `policies/schemas/input.json`: shared by all packs
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from zt_engine.authoring.yaml_text import Plain, YamlText, as_json, read_yaml
from zt_engine.core.bundle import CATALOGUE, RESERVED, TRUST, Reason, is_scenario_file, is_service_id
from zt_engine.core.bundle_archive import is_safe_name
from zt_engine.core.bundle_hash import Json, canonical, parse
from zt_engine.core.decision import KINDS
from zt_engine.core.errors import ConfigError, Problem, ZtError

MAX_SOURCE = 4 << 20
ORGANISATION_LAYERS = ("ministry", "organisation")
_BESIDE = "copy the folders `lib` and `schemas` beside the pack, from where the pack came from"
MISSING = {"schemas": _BESIDE, "lib": _BESIDE}
"""What to do about a file of a shared folder that is not there: a pack copied out alone lacks it."""
_PACK_KEYS = frozenset({"pack", "version", "layers", "input_version", "title", "description", "schema"})
_ROOT_FILES = frozenset({"pack.yaml", "catalogue.yaml", "trust.yaml", "reasons.yaml", "README.md"})
_ROOT_FOLDERS = frozenset({"scenarios", "lib", "schemas"})


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """A pack that could be read. Files go by the name they have in the bundle; `where` is the name a person knows."""

    name: str
    version: str
    input_version: int
    layers: tuple[str, ...]
    services: tuple[str, ...]
    sources: Mapping[str, bytes]
    tests: Mapping[str, bytes]
    data: Mapping[str, bytes]
    documents: Mapping[str, bytes]
    """Catalogue, trust model and scenarios as they are written: published with the policy, and no part of it."""
    where: Mapping[str, str]
    reasons: Mapping[str, Reason]
    reasons_at: Mapping[str, str]
    schema: bytes
    catalogue: YamlText
    trust: YamlText
    folder: Path

    def layers_of(self, service: str) -> tuple[str, ...]:
        """The layers that must answer for a service: its own only where it has a folder."""
        own = any(name.startswith(f"service/{service}/") for name in self.sources)
        return (*self.layers, "service") if own else self.layers


def read_pack(folder: Path) -> Pack:
    """Read a pack folder; ConfigError carries everything that is wrong with it, with file and line."""
    return _Reading(folder).pack()


class _Reading:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self.sources: dict[str, bytes] = {}
        self.tests: dict[str, bytes] = {}
        self.data: dict[str, bytes] = {}
        self.where: dict[str, str] = {}

    def pack(self) -> Pack:
        if not (self.folder / "pack.yaml").is_file():
            hint = "name a folder such as policies/jp-gov"
            self.fault("PACK_MALFORMED", "not a pack: there is no pack.yaml", str(self.folder), hint)
            raise ConfigError(tuple(self.problems))
        header = self.document("pack.yaml")
        name, version, input_version, layers = self.header(header)
        catalogue, trust, reasons = (self.document(f"{part}.yaml") for part in ("catalogue", "trust", "reasons"))
        services = self.services(catalogue)
        self.layer_files(layers, services)
        self.assurance(trust)
        table, at = self.reasons(reasons)
        schema = self.schema(header)
        documents = self.documents()
        if self.problems:
            raise ConfigError(tuple(self.problems))
        return Pack(
            name=name,
            version=version,
            input_version=input_version,
            layers=layers,
            services=services,
            sources=self.sources,
            tests=self.tests,
            data=self.data,
            documents=documents,
            where=self.where,
            reasons=table,
            reasons_at=at,
            schema=schema,
            catalogue=catalogue,
            trust=trust,
            folder=self.folder,
        )

    def fault(self, code: str, message: str, where: str, hint: str = "") -> None:
        self.problems.append(Problem(code=code, message=message, where=where, hint=hint))

    def shared(self, name: str) -> Path:
        """`lib` and `schemas` lie beside the pack, or in it when it was copied out alone."""
        inside = self.folder / name
        return inside if inside.is_dir() else self.folder.parent / name

    def content(self, path: Path) -> bytes:
        """The bytes of a plain file of sane size; a link could show one thing here and another when published."""
        try:
            if not os.path.lexists(path):
                self.fault("PACK_MALFORMED", "does not exist", str(path), MISSING.get(path.parent.name, ""))
            elif path.is_symlink() or not path.is_file():
                self.fault("PACK_MALFORMED", "not a plain file", str(path))
            elif path.stat().st_size > MAX_SOURCE:
                self.fault("PACK_MALFORMED", f"larger than {MAX_SOURCE} bytes", str(path))
            else:
                raw = path.read_bytes()
                raw.decode()
                return raw
        except OSError as error:
            self.fault("PACK_MALFORMED", f"cannot be read: {error.strerror}", str(path))
        except UnicodeDecodeError:
            self.fault("PACK_MALFORMED", "not UTF-8", str(path))
        return b""

    def document(self, name: str) -> YamlText:
        where = str(self.folder / name)
        try:
            document = read_yaml(self.content(self.folder / name).decode(), where=where, code="PACK_MALFORMED")
        except ConfigError as error:
            self.problems.extend(error.problems)
            return YamlText(where=where, value={}, lines={})
        if not isinstance(document.value, Mapping):
            self.fault("PACK_MALFORMED", "not a mapping", where)
            return YamlText(where=where, value={}, lines={})
        return document

    def schema(self, header: YamlText) -> bytes:
        """The JSON Schema of the input: named relative to the pack, or the shared one."""
        named = _mapping(header.value).get("schema")
        if named is not None and not isinstance(named, str):
            self.fault("PACK_MALFORMED", "`schema` is a path", header.at("schema"))
        return self.content(self.folder / named if isinstance(named, str) else self.shared("schemas") / "input.json")

    def header(self, document: YamlText) -> tuple[str, str, int, tuple[str, ...]]:
        value = _mapping(document.value)
        for key in sorted(set(value) - _PACK_KEYS):
            hint = f"known: {', '.join(sorted(_PACK_KEYS))}"
            self.fault("PACK_MALFORMED", f"unknown key `{key}`", document.at(key), hint)
        name, version = value.get("pack"), value.get("version")
        if not isinstance(name, str) or not is_safe_name(name) or "/" in name:
            self.fault("PACK_MALFORMED", "`pack` is a short name such as `jp-gov`", document.at("pack"))
        if not isinstance(version, str) or not is_safe_name(version) or "/" in version:
            self.fault("PACK_MALFORMED", '`version` is a short text such as "1"', document.at("version"))
        layers = value.get("layers")
        legal: list[Plain] = [["baseline"], *(["baseline", layer] for layer in ORGANISATION_LAYERS)]
        if layers not in legal:
            message = "`layers` is [baseline], or baseline with ministry or organisation"
            self.fault("PACK_MALFORMED", message, document.at("layers"))
            layers = ["baseline"]
        input_version = value.get("input_version", 1)
        if input_version != 1 or isinstance(input_version, bool):
            self.fault("PACK_MALFORMED", "`input_version` is 1", document.at("input_version"))
        return str(name), str(version), 1, tuple(str(layer) for layer in layers) if isinstance(layers, list) else ()

    def documents(self) -> dict[str, bytes]:
        """The files that are published beside the policy."""
        found = {name: self.content(self.folder / name) for name in (CATALOGUE, TRUST)}
        for path in sorted(self.folder.glob("scenarios/*.yaml")):
            name = f"scenarios/{path.name}"
            if is_scenario_file(name) and is_safe_name(name):
                found[name] = self.content(path)
            else:
                self.fault("PACK_FILE_UNKNOWN", "a bundle cannot hold a file of this name", str(path), "rename it")
        return found

    def services(self, catalogue: YamlText) -> tuple[str, ...]:
        services = _mapping(_mapping(catalogue.value).get("services"))
        for service in services:
            if not is_service_id(service):
                hint = "[a-z][a-z0-9_]*, and none of " + " ".join(sorted(RESERVED))
                where = catalogue.at("services", service)
                self.fault("SERVICE_ID_INVALID", f"`{service}` is no service id", where, hint)
        return tuple(sorted(services))

    def layer_files(self, layers: tuple[str, ...], services: tuple[str, ...]) -> None:
        self.root_files(layers)
        for layer in layers:
            if not self.tree(self.folder / layer, layer, f"zt/layer/{layer}"):
                self.fault("LAYER_MISSING", f"the layer `{layer}` has no Rego", str(self.folder / layer))
        for path in _entries(self.folder / "service"):
            if path.name not in services:
                self.fault("PACK_FILE_UNKNOWN", f"the catalogue has no service `{path.name}`", str(path))
            elif not self.tree(path, f"service/{path.name}", f"zt/layer/service/{path.name}"):
                self.fault("LAYER_MISSING", f"the service `{path.name}` has a folder and no Rego", str(path))
        self.tree(self.shared("lib"), "lib", "zt/lib", strip="zt")

    def root_files(self, layers: tuple[str, ...]) -> None:
        known = {*_ROOT_FILES, *_ROOT_FOLDERS, *layers, "service"}
        for path in _entries(self.folder):
            if path.name not in known:
                hint = "layers are listed in pack.yaml" if path.name in ORGANISATION_LAYERS else ""
                self.fault("PACK_FILE_UNKNOWN", "no part of a pack", str(path), hint)

    def tree(self, folder: Path, name: str, data_path: str, *, strip: str = "") -> int:
        """Take every file of a layer; return how many sources there were."""
        found = 0
        for path in _files(folder):
            relative = path.relative_to(folder).as_posix()
            bundle_name = f"{name}/{relative}"
            if path.name.startswith("."):
                continue
            if not is_safe_name(bundle_name):
                self.fault("PACK_FILE_UNKNOWN", "a name with other than A-Z a-z 0-9 _ . - or too long", str(path))
            elif path.suffix == ".rego":
                tests = path.name.endswith("_test.rego")
                (self.tests if tests else self.sources)[bundle_name] = self.content(path)
                self.where[bundle_name] = str(path)
                found += not tests
            elif path.name in ("data.json", "data.yaml"):
                below = relative.rpartition("/")[0].removeprefix(strip).strip("/")
                self.document_data(path, "/".join(part for part in (data_path, below, "data.json") if part))
            elif path.name != "README.md":
                self.fault("PACK_FILE_UNKNOWN", "a layer holds .rego, data.json and data.yaml", str(path))
        return found

    def document_data(self, path: Path, name: str) -> None:
        if name in self.data:
            self.fault("PACK_MALFORMED", "the same data stands in a second file", str(path))
            return
        raw = self.content(path)
        try:
            value: Json = (
                parse(raw, where=str(path))
                if path.suffix == ".json"
                else as_json(read_yaml(raw.decode(), where=str(path), code="PACK_MALFORMED").value)
            )
            if not isinstance(value, Mapping):
                self.fault("PACK_MALFORMED", "a data document is an object", str(path))
                return
            self.data[name] = canonical(value, where=str(path))
            self.where[name] = str(path)
        except ConfigError as error:
            self.problems.extend(error.problems)
        except ZtError as error:
            self.fault("PACK_MALFORMED", error.message, error.where or str(path))

    def assurance(self, trust: YamlText) -> None:
        """`data.zt.assurance` is the trust file's ordered table of acr and amr values."""
        table = _mapping(trust.value).get("assurance")
        if not isinstance(table, Mapping):
            self.fault("PACK_MALFORMED", "there is no mapping `assurance`", trust.at("assurance"))
            return
        self.data["zt/assurance/data.json"] = canonical(as_json(table))
        self.where["zt/assurance/data.json"] = trust.where

    def reasons(self, document: YamlText) -> tuple[dict[str, Reason], dict[str, str]]:
        found: dict[str, Reason] = {}
        at: dict[str, str] = {}
        top = _mapping(document.value)
        nested = top.get("reasons")
        path: tuple[str, ...] = ("reasons",) if isinstance(nested, Mapping) else ()
        for code, fields in (_mapping(nested) if path else top).items():
            at[code] = document.at(*path, code)
            try:
                reason = msgspec.convert(fields, Reason)
            except msgspec.ValidationError as error:
                self.fault("REASON_MALFORMED", f"`{code}`: {error}", at[code])
                continue
            if reason.kind not in KINDS:
                hint = " ".join(sorted(KINDS))
                self.fault("REASON_MALFORMED", f"`{code}` is of kind `{reason.kind}`", at[code], hint)
            for language in ("ja", "en"):
                if not getattr(reason, language).strip():
                    self.fault("REASON_TEXT_MISSING", f"`{code}` has no text `{language}`", at[code])
            found[code] = reason
        return found, at


def _mapping(value: Plain) -> Mapping[str, Plain]:
    return value if isinstance(value, Mapping) else {}


def _entries(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in order; linked folders are not followed."""
    for path in _entries(folder):
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path
