"""A policy bundle: what one may hold, what its manifest promises, and when it is refused.

An OPA bundle with the original Rego, its data, the compiled `policy.wasm` and `reasons.json`, beside them catalogue,
trust model and scenarios of the pack, which OPA hashes and does not read. `.manifest` has no `wasm` key, because an OPA
without a Wasm runtime refuses such a bundle; what the sidecar needs stands in `metadata.zt`. All of it is reproducible
from the sources; sequence and expiry stand beside it in a release record (`core.release`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping

import msgspec

from zt_engine.core import bundle_archive
from zt_engine.core.bundle_hash import Json, canonical, parse
from zt_engine.core.bundle_signature import SIGNATURES, PublicKey, SigningKey, check_digests, sign_files, verify_files
from zt_engine.core.errors import BundleError

MANIFEST = ".manifest"
WASM = "policy.wasm"
REASONS = "reasons.json"
CATALOGUE = "catalogue.yaml"
TRUST = "trust.yaml"
ROOT = "zt"
FORMAT = 1
"""The version of `metadata.zt`; another one is refused, so a field may only be added together with a new number."""

UNLISTED = "unlisted"
"""The entrypoint that answers for services a bundle does not know; no service may be called so."""

_KEYWORDS = "as contains data default else every false if import in input not null package some true with"
RESERVED = frozenset({*_KEYWORDS.split(), UNLISTED})
_SCENARIOS = re.compile(r"scenarios/(?!data\.yaml$)[A-Za-z0-9_.-]+\.yaml", re.ASCII)
"""`data.yaml` would be data to OPA, wherever it lies."""
_SERVICE = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
_BASELINE = ("baseline/", "lib/", "zt/layer/baseline/", "zt/lib/", "zt/assurance/")
"""What decides how the baseline answers: its rules and data, the shared library, the assurance table."""


class WasmModule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The compiled module: SHA-256 of its bytes, and the entrypoints it was compiled for."""

    sha256: str
    entrypoints: tuple[str, ...]


class PolicyManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`metadata.zt` of the manifest. `reads` are JSON Pointers into the input; None means it is not known."""

    format: int
    pack: str
    version: str
    input_version: int
    wasm: WasmModule
    layers: Mapping[str, tuple[str, ...]]
    reads: tuple[str, ...] | None
    builtins: tuple[str, ...]
    sources: Mapping[str, str]
    baseline: str


class _Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    zt: PolicyManifest


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole `.manifest`, in OPA's field names."""

    revision: str
    roots: tuple[str, ...]
    rego_version: int
    metadata: _Metadata


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a code means to the person who is denied, and what would turn it into an allow."""

    kind: str
    ja: str
    en: str
    hint_ja: str = ""
    hint_en: str = ""
    command: str = ""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that was checked: every file is listed with its digest, and nothing else is there."""

    revision: str
    manifest: PolicyManifest
    wasm: bytes
    data: bytes
    """The JSON document that Rego sees as `data`, for an engine that is given data apart from its module."""
    reasons: Mapping[str, Reason]
    reads: tuple[str, ...] | None
    entrypoints: tuple[str, ...]
    layers: Mapping[str, tuple[str, ...]]
    builtins: tuple[str, ...]
    content_digest: str
    """SHA-256 of `.manifest`, which lists every other file: what an approval binds."""
    bundle_digest: str
    """SHA-256 of the archive as it was read."""
    key_id: str | None
    """The key that signed, None for an unsigned bundle."""
    catalogue: bytes | None = None
    """The catalogue as the pack has it; a release must hold one."""
    trust: bytes | None = None
    scenarios: Mapping[str, bytes] = {}
    """The decision tables by their names, such as `scenarios/must_deny.yaml`."""


def is_service_id(name: str) -> bool:
    """Whether a service may be called so: it becomes the name of a Rego rule and part of a path."""
    return _SERVICE.fullmatch(name) is not None and name not in RESERVED


def entrypoint(service: str) -> str:
    """Return the path of a service's entrypoint."""
    return f"{ROOT}/main/{service}"


def make_bundle(
    files: Mapping[str, bytes],
    *,
    pack: str,
    version: str,
    input_version: int,
    layers: Mapping[str, tuple[str, ...]],
    reads: tuple[str, ...] | None,
    builtins: Collection[str],
    key: SigningKey | None = None,
) -> bytes:
    """Return the archive of these files with a manifest, signed if a key is given. Same arguments, same bytes."""
    zt: dict[str, Json] = {
        "format": FORMAT,
        "pack": pack,
        "version": version,
        "input_version": input_version,
        "wasm": {
            "sha256": _sha256(files[WASM]),
            "entrypoints": [entrypoint(service) for service in sorted(layers)],
        },
        "layers": {service: list(names) for service, names in layers.items()},
        "reads": None if reads is None else sorted(reads),
        "builtins": sorted(builtins),
        "sources": {name: _sha256(content) for name, content in files.items()},
        "baseline": baseline_digest(files),
    }
    manifest: dict[str, Json] = {"roots": [ROOT], "rego_version": 1, "metadata": {"zt": zt}}
    manifest["revision"] = _revision(manifest, pack=pack, version=version)
    whole = {**files, MANIFEST: canonical(manifest)}
    return bundle_archive.write({**whole, SIGNATURES: sign_files(whole, key)} if key else whole)


def sign_bundle(raw: bytes, key: SigningKey) -> bytes:
    """Return the same bundle with this key's signature in place of any it had."""
    files = {name: content for name, content in bundle_archive.read(raw).items() if name != SIGNATURES}
    return bundle_archive.write({**files, SIGNATURES: sign_files(files, key)})


def open_bundle(
    raw: bytes,
    *,
    keys: Mapping[str, PublicKey],
    require_signature: bool = True,
    input_versions: Collection[int] = (1,),
    builtins: Collection[str] | None = None,
    baselines: Collection[str] | None = None,
) -> Bundle:
    """Read and check a bundle, or raise BundleError with the code of the first thing that is wrong.

    A signature is checked whenever there is one; only where it is not required may it be absent. `builtins` are those
    the engine offers, `baselines` the digests of baselines that somebody else had to approve; None skips these two.
    Costs about as much as hashing the archive, and parses JSON: not for the event loop.
    """
    files = bundle_archive.read(raw)
    for name in files:
        if not _belongs(name):
            raise BundleError("BUNDLE_FILE_EXTRA", "no bundle holds such a file", where=name)
    key_id = None
    if SIGNATURES in files:
        key_id = verify_files(files, keys)
    elif require_signature:
        raise BundleError("BUNDLE_UNSIGNED", f"there is no `{SIGNATURES}`", hint="build it with `--key`")
    for name in (MANIFEST, WASM, REASONS):
        if name not in files:
            raise BundleError("BUNDLE_FILE_MISSING", "every bundle holds it", where=name)
    manifest, zt = _read_manifest(files[MANIFEST])
    check_digests(files, zt.sources, beside=(MANIFEST,))
    _check_promises(files, zt)
    if not bundle_archive.is_canonical(raw, files):
        raise BundleError("BUNDLE_MALFORMED", "not the canonical archive of its files", hint="use `zt policy build`")
    if zt.input_version not in input_versions:
        raise BundleError("BUNDLE_INPUT_VERSION", f"written for input version {zt.input_version}", where=MANIFEST)
    if builtins is not None and not set(zt.builtins) <= set(builtins):
        missing = ", ".join(sorted(set(zt.builtins) - set(builtins)))
        raise BundleError("BUNDLE_BUILTIN_UNSUPPORTED", f"needs {missing}", where=MANIFEST)
    if baselines is not None and zt.baseline not in baselines:
        raise BundleError("BUNDLE_BASELINE", "its baseline is not one that was approved", where=MANIFEST)
    return Bundle(
        revision=manifest.revision,
        manifest=zt,
        wasm=files[WASM],
        data=_merge(files),
        reasons=_read_reasons(files[REASONS]),
        reads=zt.reads,
        entrypoints=zt.wasm.entrypoints,
        layers=zt.layers,
        builtins=zt.builtins,
        content_digest=_sha256(files[MANIFEST]),
        bundle_digest=_sha256(raw),
        key_id=key_id,
        catalogue=files.get(CATALOGUE),
        trust=files.get(TRUST),
        scenarios={name: content for name, content in files.items() if is_scenario_file(name)},
    )


def is_scenario_file(name: str) -> bool:
    """Whether a bundle may hold a decision table under this name."""
    return _SCENARIOS.fullmatch(name) is not None


def baseline_digest(files: Mapping[str, bytes]) -> str:
    """One digest over the names and contents of everything that decides how the baseline answers."""
    listed: dict[str, Json] = {name: _sha256(raw) for name, raw in files.items() if name.startswith(_BASELINE)}
    return _sha256(canonical(listed))


def _belongs(name: str) -> bool:
    return (
        name in (MANIFEST, SIGNATURES, WASM, REASONS, CATALOGUE, TRUST)
        or is_scenario_file(name)
        or name.endswith(".rego")
        or (name.startswith(f"{ROOT}/") and name.endswith("/data.json"))
    )


def _read_manifest(raw: bytes) -> tuple[Manifest, PolicyManifest]:
    document = parse(raw, where=MANIFEST)
    if not isinstance(document, dict) or canonical(document, where=MANIFEST) != raw:
        raise BundleError("BUNDLE_MALFORMED", "not in canonical form", where=MANIFEST)
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError("BUNDLE_MALFORMED", str(error), where=MANIFEST) from None
    zt = manifest.metadata.zt
    if zt.format != FORMAT or manifest.roots != (ROOT,) or manifest.rego_version != 1:
        raise BundleError("BUNDLE_MALFORMED", f"not format {FORMAT}, root `{ROOT}`, Rego 1", where=MANIFEST)
    if manifest.revision != _revision(document, pack=zt.pack, version=zt.version):
        raise BundleError("BUNDLE_HASH", "the revision does not belong to this content", where=MANIFEST)
    return manifest, zt


def _check_promises(files: Mapping[str, bytes], zt: PolicyManifest) -> None:
    """The manifest must agree with itself: module, entrypoints, layers, baseline."""
    if _sha256(files[WASM]) != zt.wasm.sha256:
        raise BundleError("BUNDLE_HASH", "not the module the manifest names", where=WASM)
    if baseline_digest(files) != zt.baseline:
        raise BundleError("BUNDLE_HASH", "not the baseline the manifest pins", where=MANIFEST)
    if zt.wasm.entrypoints != tuple(entrypoint(service) for service in sorted(zt.layers)) or UNLISTED not in zt.layers:
        raise BundleError("BUNDLE_MALFORMED", "entrypoints and layers do not match", where=MANIFEST)
    for service, layers in zt.layers.items():
        if not (is_service_id(service) or service == UNLISTED):
            raise BundleError("BUNDLE_MALFORMED", f"`{service}` is no service id", where=MANIFEST)
        if layers[:1] != ("baseline",) or len(set(layers)) != len(layers):
            raise BundleError("BUNDLE_MALFORMED", f"`{service}` does not begin with the baseline", where=MANIFEST)


def _revision(manifest: Mapping[str, Json], *, pack: str, version: str) -> str:
    content = {name: value for name, value in manifest.items() if name != "revision"}
    return f"{pack}-{version}-{_sha256(canonical(content))[:16]}"


def _merge(files: Mapping[str, bytes]) -> bytes:
    """The data documents, each at the path of its folder, as one."""
    root: dict[str, Json] = {}
    for name in sorted(files):
        if name.endswith("/data.json"):
            _insert(root, name.split("/")[:-1], parse(files[name], where=name), where=name)
    return canonical(root)


def _insert(root: dict[str, Json], path: list[str], value: Json, *, where: str) -> None:
    node = root
    for segment in path:
        below = node.setdefault(segment, {})
        if not isinstance(below, dict):
            raise BundleError("BUNDLE_MALFORMED", "lies below a value that is no object", where=where)
        node = below
    if not isinstance(value, dict):
        raise BundleError("BUNDLE_MALFORMED", "a data document is an object", where=where)
    if set(node) & set(value):
        raise BundleError("BUNDLE_MALFORMED", f"`{min(set(node) & set(value))}` is defined twice", where=where)
    node.update(value)


def _read_reasons(raw: bytes) -> Mapping[str, Reason]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Reason])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError("BUNDLE_MALFORMED", str(error), where=REASONS) from None


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
