"""The bundle of rules for resources that are not the catalogue's: built from plain Rego, signed, checked when opened.

An archive as policy bundles are (`core.bundle_archive`), with the original Rego, `data.json`, the compiled module and a
manifest that names the rules that may be asked. Same sources, same bytes.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from zt_engine.adapters.bundle_signing import BundlePublicKey, BundleSigningKey
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.authoring.rego_ast import decoded, problems_of
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import MANIFEST, WASM
from zt_engine.core.bundle_hash import Json, canonical, parse
from zt_engine.core.bundle_signature import SIGNATURES, sign_files, verify_files
from zt_engine.core.errors import BundleError, ConfigError, Problem

DATA = "data.json"
FOLDER = "b"
FORMAT = 1


class RuleBundle(msgspec.Struct, frozen=True):
    """A bundle that was checked."""

    revision: str
    digest: str
    """SHA-256 of the archive."""
    wasm: bytes
    data: bytes
    entrypoints: frozenset[str]


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    revision: str
    entrypoints: tuple[str, ...]
    sources: Mapping[str, str]


def build_rules(
    folder: Path,
    entrypoints: Collection[str],
    opa: OpaBinary,
    *,
    key: BundleSigningKey | None = None,
    v0: bool = False,
) -> bytes:
    """Compile a folder of Rego and data; raises ConfigError REGO_ERROR with file and line.

    `v0`: files that do not import `rego.v1` are in the language before OPA 1.0.
    """
    sources, where = _sources(folder)
    options = [option for name in sorted(entrypoints) for option in ("-e", name)]
    options += ["--v0-compatible"] if v0 else []
    done = opa.run(
        "build", "-t", "wasm", "--capabilities", "capabilities.json", "-o", "out.tar.gz", *options, "-b", FOLDER,
        files={f"{FOLDER}/{name}": raw for name, raw in sources.items()}, collect=("out.tar.gz",),
    )  # fmt: skip
    if done.status != 0 or "out.tar.gz" not in done.made:
        known = {f"{FOLDER}/{name}": place for name, place in where.items()}
        problems = problems_of(decoded(done), done.stderr + done.stdout, where=known, fallback=str(folder))
        raise ConfigError(tuple(problems))
    made = _made(done.made["out.tar.gz"])
    files = {name: raw for name, raw in sources.items() if name.endswith(".rego")}
    files |= {WASM: made["/policy.wasm"], DATA: canonical(parse(made["/data.json"], where=DATA))}
    listed: dict[str, Json] = {name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()}
    named: list[Json] = [*sorted(entrypoints)]
    content: dict[str, Json] = {"format": FORMAT, "entrypoints": named, "sources": listed}
    revision = f"rules-{hashlib.sha256(canonical(content)).hexdigest()[:16]}"
    files[MANIFEST] = canonical({**content, "revision": revision})
    return bundle_archive.write({**files, SIGNATURES: sign_files(files, key)} if key is not None else files)


def _sources(folder: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    found = {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (path.suffix == ".rego" or path.name == DATA) and not path.name.endswith("_test.rego")
    }
    if not any(name.endswith(".rego") for name in found):
        hint = "name a folder of Rego"
        raise ConfigError((Problem(code="REGO_ERROR", message="there is no Rego", where=str(folder), hint=hint),))
    return {name: path.read_bytes() for name, path in found.items()}, {n: str(path) for n, path in found.items()}


def _made(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        members = [(member, archive.extractfile(member)) for member in archive if member.isfile()]
        return {member.name: content.read() for member, content in members if content is not None}


def open_rules(raw: bytes, keys: Mapping[str, BundlePublicKey]) -> RuleBundle:
    """Read and check a signed bundle, or raise BundleError. Hashes all of it: not for the event loop."""
    files = bundle_archive.read(raw)
    if SIGNATURES not in files:
        raise BundleError("BUNDLE_UNSIGNED", f"there is no `{SIGNATURES}`", hint="build it with `--key`")
    verify_files(files, keys)
    return _open(raw, files)


def open_unsigned(raw: bytes) -> RuleBundle:
    """Read a bundle from the archive beside the log: its signature was checked before it got there."""
    return _open(raw, bundle_archive.read(raw))


def _open(raw: bytes, files: Mapping[str, bytes]) -> RuleBundle:
    for name in (MANIFEST, WASM, DATA):
        if name not in files:
            raise BundleError("BUNDLE_FILE_MISSING", "every bundle holds it", where=name)
    if not bundle_archive.is_canonical(raw, files):
        raise BundleError("BUNDLE_MALFORMED", "not the canonical archive of its files", hint="use `zt authzen build`")
    try:
        manifest = msgspec.json.decode(files[MANIFEST], type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError("BUNDLE_MALFORMED", str(error), where=MANIFEST) from None
    if manifest.format != FORMAT:
        raise BundleError("BUNDLE_MALFORMED", f"format {manifest.format} is unknown", where=MANIFEST)
    return RuleBundle(
        manifest.revision,
        hashlib.sha256(raw).hexdigest(),
        files[WASM],
        files[DATA],
        frozenset(manifest.entrypoints),
    )


def missing(bundle: RuleBundle, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the rules that the settings name and the bundle was not compiled for."""
    return tuple(name for name in wanted if name not in bundle.entrypoints)
