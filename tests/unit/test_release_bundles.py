"""A bundle that is not what it should be never decides, and the code says what is wrong with it."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.bundles import compiled
from tests.release_support import notice_of, published, record_of
from tests.release_world import KEY, OTHER, SETTINGS, TRUST, World
from tests.unit.wasm_modules import module
from zt_engine.adapters.wasm_instance import WasmInstance
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import CATALOGUE, MANIFEST, WASM, Manifest, make_bundle, sign_bundle
from zt_engine.core.bundle_signature import SIGNATURES
from zt_engine.core.errors import BundleError


@pytest.fixture
def real(tmp_path: Path) -> World:
    return World(tmp_path, trust=msgspec.structs.replace(TRUST, settings=SETTINGS))


def rebuilt(raw: bytes, change: Callable[[dict[str, bytes]], object], **members: Any) -> bytes:
    """A bundle whose manifest fits the changed files."""
    files = bundle_archive.read(raw)
    zt = msgspec.json.decode(files[MANIFEST], type=Manifest).metadata.zt
    for name in (MANIFEST, SIGNATURES):
        files.pop(name, None)
    change(files)
    said: dict[str, Any] = {
        "pack": zt.pack, "version": zt.version, "input_version": zt.input_version, "layers": zt.layers,
        "reads": zt.reads, "builtins": zt.builtins,
    }  # fmt: skip
    return make_bundle(files, **{**said, **members})


def bad(change: Callable[[dict[str, bytes]], object], **members: Any) -> Callable[[bytes], bytes]:
    return lambda raw: sign_bundle(rebuilt(raw, change, **members), KEY)


def spoilt(change: Callable[[dict[str, bytes]], object]) -> Callable[[bytes], bytes]:
    """The files changed under the old signature."""

    def spoil(raw: bytes) -> bytes:
        files = bundle_archive.read(sign_bundle(raw, KEY))
        change(files)
        return bundle_archive.write(files)

    return spoil


def renamed(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """The archive with one name in its headers replaced, and its checksum left wrong or right alike."""

    def rename(raw: bytes) -> bytes:
        tar = gzip.decompress(sign_bundle(raw, KEY))
        return gzip.compress(tar.replace(old.ljust(100, b"\0"), new.ljust(100, b"\0")), mtime=0)

    return rename


def linked(raw: bytes) -> bytes:
    tar = bytearray(gzip.decompress(sign_bundle(raw, KEY)))
    tar[156] = ord("2")
    return gzip.compress(bytes(tar), mtime=0)


BAD: Mapping[str, tuple[Callable[[bytes], bytes], str]] = {
    "unsigned": (lambda raw: raw, "BUNDLE_UNSIGNED"),
    "another key": (lambda raw: sign_bundle(raw, OTHER), "BUNDLE_SIGNATURE"),
    "a missing file": (spoilt(lambda files: files.pop("main/main.rego")), "BUNDLE_FILE_MISSING"),
    "an extra file": (spoilt(lambda files: files.update({"x.rego": b""})), "BUNDLE_FILE_EXTRA"),
    "a path above": (renamed(b"main/main.rego", b"../main.rego"), "BUNDLE_MALFORMED"),
    "a link": (linked, "BUNDLE_MALFORMED"),
    "zeros without end": (lambda _: gzip.compress(bytes(64 << 20), mtime=0), "BUNDLE_TOO_LARGE"),
    "no catalogue": (bad(lambda files: files.pop(CATALOGUE)), "BUNDLE_FILE_MISSING"),
    "a catalogue that does not read": (bad(lambda files: files.update({CATALOGUE: b"{}"})), "CATALOGUE_"),
    "an unknown builtin": (bad(lambda files: None, builtins=("http.send",)), "BUNDLE_BUILTIN_UNSUPPORTED"),
    "another input": (bad(lambda files: None, input_version=9), "BUNDLE_INPUT_VERSION"),
    "no module": (bad(lambda files: files.update({WASM: b"\0asm"})), "WASM_INVALID"),
    "a module that traps": (
        bad(lambda files: files.update({WASM: module(start="(func $boom unreachable) (start $boom)")})),
        "WASM_INVALID",
    ),
    "a module that never ends": (
        bad(lambda files: files.update({WASM: module(start="(start $spin)")})),
        "WASM_INVALID",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", BAD)
def test_a_bundle_that_is_not_what_it_should_be_leaves_the_one_in_force(
    real: World, opa: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = real.clock.now()
    real.tell(*published(compiled(opa), KEY, seq=1, now=now))
    make, code = BAD[wrong]
    raw = make(compiled(opa))
    try:
        release = record_of(raw, seq=2, now=now)
    except (BundleError, KeyError):
        release = msgspec.structs.replace(record_of(compiled(opa), seq=2, now=now), **_named(raw))

    monkeypatch.setitem(WasmInstance.__init__.__kwdefaults__ or {}, "setup_ms", 500)  # instead of five seconds
    real.tell(notice_of(release, KEY), raw)

    assert (real.active, real.switched) == (1, [1])
    assert len(real.codes) == 1
    assert real.codes.pop().startswith(code)


def _named(raw: bytes) -> dict[str, Any]:
    return {"bundle_digest": hashlib.sha256(raw).hexdigest(), "size": len(raw)}


def test_a_rule_that_never_ends_is_found_by_trying_it(real: World, opa: str) -> None:
    endless = '"threshold": count([1 | numbers.range(1, 100000000)[_]])'

    raw = compiled(opa, edits=(('"threshold": 0', endless),))
    real.tell(*published(raw, KEY, seq=1, now=real.clock.now()))

    assert (real.active, real.codes) == (0, {"BUNDLE_SMOKE"})


def test_the_record_of_another_bundle_is_refused(real: World, opa: str) -> None:
    raw = sign_bundle(compiled(opa), KEY)
    foreign = msgspec.structs.replace(record_of(raw, seq=1, now=real.clock.now()), content_digest="0" * 64)

    real.tell(notice_of(foreign, KEY), raw)

    assert (real.active, real.codes) == (0, {"BUNDLE_RELEASE"})


def test_a_baseline_that_is_not_one_of_those_named_is_refused(real: World, opa: str) -> None:
    raw = compiled(opa)
    named = msgspec.json.decode(bundle_archive.read(raw)[MANIFEST], type=Manifest).metadata.zt.baseline
    for seq, baselines in ((1, (named,)), (2, ("0" * 64,))):
        settings = SETTINGS.model_copy(update={"baselines": baselines})
        real.trust = msgspec.structs.replace(TRUST, settings=settings)
        real.tell(*published(raw, KEY, seq=seq, now=real.clock.now()))

    assert (real.active, real.codes) == (1, {"BUNDLE_BASELINE"})
