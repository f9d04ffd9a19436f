"""From a pack to a bundle: the generated entrypoints, the compiled module, the manifest. Same sources, same bytes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence

import msgspec

from zt_engine.authoring.layers import RESULT
from zt_engine.authoring.pack import Pack
from zt_engine.authoring.reads import input_reads
from zt_engine.authoring.rego_ast import Module, decoded, parse_modules, problems_of
from zt_engine.core.bundle import REASONS, UNLISTED, WASM, entrypoint, make_bundle
from zt_engine.core.bundle_hash import canonical
from zt_engine.core.bundle_signature import SigningKey
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.ports import OpaOutput, OpaTool

MAIN = "main/main.rego"
FOLDER = "b"
"""Where the files of a run lie, so that OPA takes nothing else for policy."""


def layer_table(pack: Pack) -> dict[str, tuple[str, ...]]:
    """Which layers must answer for each service, and for one the bundle does not know."""
    return {**{service: pack.layers_of(service) for service in pack.services}, UNLISTED: pack.layers}


def main_module(pack: Pack) -> bytes:
    """Return the Rego of the entrypoints: for each service one object of exactly the layers that must answer.

    A layer without an answer leaves the object undefined, which denies; nothing here has a default.
    """
    lines = [f"# Generated from the catalogue of the pack {pack.name}. Do not edit.", "package zt.main", ""]
    for service, layers in layer_table(pack).items():
        fields = ", ".join(f'"{layer}": {_answer(layer, service)}' for layer in layers)
        lines.append(f"{service} := {{{fields}}}")
        lines.append("")
    return "\n".join(lines).encode()


def bundle_files(pack: Pack) -> dict[str, bytes]:
    """Everything a bundle holds beside the module and the manifest."""
    reasons = {code: msgspec.to_builtins(reason) for code, reason in pack.reasons.items()}
    return {**pack.sources, **pack.data, **pack.documents, MAIN: main_module(pack), REASONS: canonical(reasons)}


def build(pack: Pack, opa: OpaTool, *, key: SigningKey | None = None, modules: Sequence[Module] | None = None) -> bytes:
    """Compile a pack and return its bundle, signed if a key is given.

    `check` must have found nothing: building compiles what is there and judges nothing but Rego itself. Raises
    ConfigError REGO_ERROR with file and line.
    """
    files = bundle_files(pack)
    if modules is None:
        modules = parse_modules(pack.sources, opa, where=pack.where)
    wasm = _compile(pack, opa, files)
    return make_bundle(
        {**files, WASM: wasm},
        pack=pack.name,
        version=pack.version,
        input_version=pack.input_version,
        layers=layer_table(pack),
        reads=input_reads(modules),
        builtins=_builtins(pack, opa, files),
        key=key,
    )


def _answer(layer: str, service: str) -> str:
    return f"data.zt.layer.service.{service}.{RESULT}" if layer == "service" else f"data.zt.layer.{layer}.{RESULT}"


def _compile(pack: Pack, opa: OpaTool, files: Mapping[str, bytes]) -> bytes:
    """Run `opa build -t wasm` and take the module out of what it made; the rest of that bundle is not used."""
    entrypoints = [option for service in layer_table(pack) for option in ("-e", entrypoint(service))]
    options = ("-t", "wasm", "--capabilities", "capabilities.json", "-o", "out.tar.gz")
    done = opa.run("build", *options, *entrypoints, "-b", FOLDER, files=in_folder(files), collect=("out.tar.gz",))
    if done.status != 0 or "out.tar.gz" not in done.made:
        raise ConfigError(tuple(errors_of(pack, done)))
    with tarfile.open(fileobj=io.BytesIO(done.made["out.tar.gz"])) as archive:
        member = archive.extractfile("/policy.wasm")
        if member is None:
            raise ConfigError((Problem(code="REGO_ERROR", message="opa made no module", where=str(pack.folder)),))
        return member.read()


def _builtins(pack: Pack, opa: OpaTool, files: Mapping[str, bytes]) -> list[str]:
    """The built-ins a pack needs, as OPA's own analysis names them; assignment is no call once compiled."""
    done = opa.run("inspect", "--format", "json", FOLDER, files=in_folder(files))
    report = decoded(done)
    if done.status != 0 or not isinstance(report, dict):
        raise ConfigError(tuple(errors_of(pack, done)))
    named = (report.get("capabilities") or {}).get("builtins") or []
    return sorted({str(builtin["name"]) for builtin in named} - {"assign"})


def in_folder(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files that OPA reads, below the folder a run is pointed at."""
    return {f"{FOLDER}/{name}": raw for name, raw in files.items() if name.endswith((".rego", "/data.json"))}


def errors_of(pack: Pack, done: OpaOutput) -> list[Problem]:
    """What a run complained about, at the places a person knows."""
    where = {f"{FOLDER}/{name}": place for name, place in pack.where.items()}
    return problems_of(decoded(done), done.stderr + done.stdout, where=where, fallback=str(pack.folder))
