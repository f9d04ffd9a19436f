"""A bundle is taken exactly as it was published, or refused with the code of what is wrong."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zt_engine.adapters.bundle_signing import BundleSigningKey, load_public_keys, load_signing_key
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import is_service_id, make_bundle, open_bundle, sign_bundle
from zt_engine.core.bundle_hash import Json, canonical, parse
from zt_engine.core.bundle_signature import SIGNATURES, seal, sign, sign_files
from zt_engine.core.errors import BundleError, ConfigError
from zt_engine.core.release import Release, check_release, is_expired, read_release, write_release

KEY = BundleSigningKey.generate("site-1")
OTHER = BundleSigningKey.generate("site-1")
KEYS = {"site-1": KEY.public()}
FILES = {
    "baseline/gates.rego": b"package zt.layer.baseline\n",
    "lib/zt/labels.rego": b"package zt.lib.labels\n",
    "main.rego": b"package zt.main\n",
    "policy.wasm": b"\0asm\1\0\0\0",
    "reasons.json": b'{"MFA_REQUIRED":{"en":"Sign in again","ja":"\xe5\x86\x8d","kind":"auth"}}',
    "zt/assurance/data.json": b'{"acr":{"aal2":2}}',
    "zt/layer/ministry/data.json": b'{"limits":[1,2.50]}',
}
LAYERS = {"portal": ("baseline", "ministry"), "unlisted": ("baseline",)}


def made(files: dict[str, bytes] = FILES, key: BundleSigningKey | None = KEY, **other: object) -> bytes:
    arguments: dict[str, object] = {
        "pack": "test", "version": "1", "input_version": 1, "layers": LAYERS, "reads": ("/subject/amr",),
        "builtins": ["count"],
    }  # fmt: skip
    return make_bundle(files, key=key, **{**arguments, **other})  # type: ignore[arg-type]


RAW = made()


def refusal(raw: bytes, **options: object) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(raw, keys=KEYS, **options)  # type: ignore[arg-type]
    return caught.value.code


def resealed(change: Callable[[dict[str, bytes]], object]) -> bytes:
    """The bundle with some files changed, and signed again by the right key."""
    files = {name: raw for name, raw in bundle_archive.read(RAW).items() if name != SIGNATURES}
    change(files)
    return bundle_archive.write({**files, SIGNATURES: sign_files(files, KEY)})


def tampered(change: Callable[[dict[str, bytes]], object]) -> bytes:
    """The bundle with some files changed under the old signature."""
    files = bundle_archive.read(RAW)
    change(files)
    return bundle_archive.write(files)


def with_manifest(edit: Callable[[dict[str, object]], object]) -> bytes:
    def change(files: dict[str, bytes]) -> None:
        manifest = msgspec.json.decode(files[".manifest"])
        edit(manifest["metadata"]["zt"])
        files[".manifest"] = canonical(manifest)

    return resealed(change)


def test_a_published_bundle_opens_with_everything_the_sidecar_needs() -> None:
    bundle = open_bundle(RAW, keys=KEYS)

    assert bundle.revision.startswith("test-1-")
    assert bundle.wasm == FILES["policy.wasm"]
    assert bundle.data == b'{"zt":{"assurance":{"acr":{"aal2":2}},"layer":{"ministry":{"limits":[1,2.50]}}}}'
    assert bundle.reasons["MFA_REQUIRED"].kind == "auth"
    assert bundle.entrypoints == ("zt/main/portal", "zt/main/unlisted")
    assert bundle.layers["portal"] == ("baseline", "ministry")
    assert bundle.reads == ("/subject/amr",)
    assert bundle.key_id == "site-1"


def test_the_same_sources_make_the_same_bytes_signed_or_not() -> None:
    assert made() == RAW
    assert made(dict(reversed(FILES.items()))) == RAW
    assert sign_bundle(made(key=None), KEY) == RAW
    assert (
        open_bundle(made(key=OTHER), keys={"site-1": OTHER.public()}).content_digest
        == open_bundle(RAW, keys=KEYS).content_digest
    )


def test_the_archive_is_one_any_tar_can_read() -> None:
    with tarfile.open(fileobj=io.BytesIO(RAW)) as tar:
        members = tar.getmembers()

    assert [member.name for member in members] == sorted([*FILES, ".manifest", SIGNATURES])
    assert {(member.mode, member.mtime, member.uid, member.isfile()) for member in members} == {(0o644, 0, 0, True)}


def test_an_unsigned_bundle_opens_only_where_no_signature_is_required() -> None:
    unsigned = made(key=None)

    assert refusal(unsigned) == "BUNDLE_UNSIGNED"
    assert open_bundle(unsigned, keys={}, require_signature=False).key_id is None


def test_a_signature_is_checked_even_where_none_is_required() -> None:
    with pytest.raises(BundleError, match="BUNDLE_KEY_UNKNOWN"):
        open_bundle(RAW, keys={}, require_signature=False)


def test_another_key_under_the_same_id_is_refused() -> None:
    assert refusal(made(key=OTHER)) == "BUNDLE_SIGNATURE"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda f: f.update({"main.rego": b"package zt.main\nx := 1\n"}), "BUNDLE_HASH"),
        (lambda f: f.update({"zt/assurance/data.json": b'{"acr": {"aal2":2}}'}), "BUNDLE_HASH"),
        (lambda f: f.pop("main.rego"), "BUNDLE_FILE_MISSING"),
        (lambda f: f.pop("policy.wasm"), "BUNDLE_FILE_MISSING"),
        (lambda f: f.update({"service/x/y.rego": b""}), "BUNDLE_FILE_EXTRA"),
        (lambda f: f.update({"notes.txt": b""}), "BUNDLE_FILE_EXTRA"),
        (lambda f: f.update({"data.json": b"{}"}), "BUNDLE_FILE_EXTRA"),
        (lambda f: f.update({"patch.json": b"{}"}), "BUNDLE_FILE_EXTRA"),
        (lambda f: f.update({"zt/.manifest": b"{}"}), "BUNDLE_FILE_EXTRA"),
        (lambda f: f.update({"baseline/b.rego": f.pop("baseline/gates.rego")}), "BUNDLE_FILE_MISSING"),
        (lambda f: f.pop(SIGNATURES), "BUNDLE_UNSIGNED"),
    ],
)
def test_every_change_under_the_old_signature_is_refused(
    change: Callable[[dict[str, bytes]], object], code: str
) -> None:
    assert refusal(tampered(change)) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda f: f.update({"main.rego": b"package zt.main\nx := 1\n"}), "BUNDLE_HASH"),
        (lambda f: f.pop("main.rego"), "BUNDLE_FILE_MISSING"),
        (lambda f: f.pop(".manifest"), "BUNDLE_FILE_MISSING"),
        (lambda f: f.update({"service/x/y.rego": b""}), "BUNDLE_FILE_EXTRA"),
        (lambda f: f.update({".manifest": f[".manifest"] + b"\n"}), "BUNDLE_HASH"),
        (lambda f: f.update({".manifest": b"{}"}), "BUNDLE_MALFORMED"),
    ],
)
def test_a_manifest_that_does_not_fit_its_files_is_refused_even_when_signed(
    change: Callable[[dict[str, bytes]], object], code: str
) -> None:
    assert refusal(resealed(change)) == code


@pytest.mark.parametrize(
    "edit",
    [
        lambda zt: zt.update(baseline="0" * 64),
        lambda zt: zt["wasm"].update(sha256="0" * 64),
        lambda zt: zt["layers"].update(portal=["ministry"]),
        lambda zt: zt["layers"].update({"not": ["baseline"]}),
        lambda zt: zt["layers"].pop("unlisted"),
        lambda zt: zt.update(input_version=2),
        lambda zt: zt.update(format=2),
        lambda zt: zt.update(more=1),
    ],
)
def test_a_signed_manifest_that_contradicts_itself_is_refused(edit: Callable[[dict[str, object]], object]) -> None:
    assert refusal(with_manifest(edit)) in {"BUNDLE_HASH", "BUNDLE_MALFORMED"}


def test_an_input_version_the_sidecar_does_not_speak_is_refused() -> None:
    assert refusal(made(input_version=9)) == "BUNDLE_INPUT_VERSION"


def test_a_builtin_the_engine_does_not_offer_is_refused_by_name() -> None:
    with pytest.raises(BundleError, match=r"BUNDLE_BUILTIN_UNSUPPORTED: needs http\.send"):
        open_bundle(made(builtins=["count", "http.send"]), keys=KEYS, builtins={"count"})


def test_a_baseline_that_nobody_approved_is_refused() -> None:
    approved = {open_bundle(RAW, keys=KEYS).manifest.baseline}
    changed = made({**FILES, "lib/zt/labels.rego": b"package zt.lib.labels\nopen := true\n"})

    assert open_bundle(RAW, keys=KEYS, baselines=approved).revision
    assert refusal(changed, baselines=approved) == "BUNDLE_BASELINE"
    assert open_bundle(made({**FILES, "ministry/x.rego": b""}), keys=KEYS, baselines=approved).revision


def test_a_token_of_another_type_or_algorithm_is_no_bundle_signature() -> None:
    files = {name: raw for name, raw in bundle_archive.read(RAW).items() if name != SIGNATURES}
    payload = canonical({"files": []})

    def sealed(token: str) -> bytes:
        return bundle_archive.write({**files, SIGNATURES: seal(token)})

    class Claims:
        key_id, algorithm = "site-1", "none"
        sign = staticmethod(KEY.sign)

    assert refusal(sealed(sign(payload, KEY, kind="zt-release+jwt"))) == "BUNDLE_MALFORMED"
    assert refusal(sealed(sign(payload, Claims(), kind="JWT"))) == "BUNDLE_SIGNATURE"
    assert refusal(sealed(sign(canonical({"files": [], "scope": "write"}), KEY, kind="JWT"))) == "BUNDLE_MALFORMED"
    assert refusal(sealed("a.b")) == "BUNDLE_MALFORMED"


@given(position=st.integers(0, len(RAW) - 1), flip=st.integers(1, 255))
@example(position=3, flip=1)
@example(position=len(RAW) - 1, flip=1)
def test_any_changed_byte_is_refused(position: int, flip: int) -> None:
    """Container, padding, header fields, contents, signature: no byte of a bundle is without meaning."""
    mutated = bytearray(RAW)
    mutated[position] ^= flip

    assert refusal(bytes(mutated)).startswith("BUNDLE_")


@given(position=st.integers(0, len(gzip.decompress(RAW)) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_of_the_tar_is_refused_though_the_checksum_fits(position: int, flip: int) -> None:
    tar = bytearray(gzip.decompress(RAW))
    tar[position] ^= flip

    assert refusal(gzip.compress(bytes(tar), mtime=0)).startswith("BUNDLE_")


@given(st.data())
def test_any_removed_added_or_renamed_file_is_refused(data: st.DataObject) -> None:
    files = bundle_archive.read(RAW)
    victim = data.draw(st.sampled_from(sorted(files)))
    name = data.draw(
        st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}(\.rego|/data\.json)", fullmatch=True).filter(
            lambda n: n not in files
        )
    )
    match data.draw(st.sampled_from(["remove", "add", "rename"])):
        case "remove":
            del files[victim]
        case "add":
            files[name] = b"{}"
        case "rename":
            files[name] = files.pop(victim)

    assert refusal(bundle_archive.write(files)).startswith("BUNDLE_")


@given(st.binary(max_size=300))
def test_bytes_that_are_no_bundle_are_refused(raw: bytes) -> None:
    assert refusal(raw) == "BUNDLE_MALFORMED"


def _odd(**fields: object) -> bytes:
    member = tarfile.TarInfo("policy.wasm")
    content = fields.pop("content", b"")
    assert isinstance(content, bytes)
    member.size = len(content)
    for name, value in fields.items():
        setattr(member, name, value)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize(
    "fields",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "main.rego"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.DIRTYPE},
        {"name": "../policy.wasm"},
        {"name": "/policy.wasm"},
        {"name": "./policy.wasm"},
        {"name": "a//b.rego"},
        {"name": "a\\b.rego"},
        {"name": "日本.rego"},
        {"name": "d" * 90 + "/" + "e" * 90 + ".rego"},
    ],
)
def test_links_devices_and_crooked_names_are_refused(fields: dict[str, object]) -> None:
    assert refusal(_odd(**fields)) == "BUNDLE_MALFORMED"


def test_a_name_that_appears_twice_is_refused() -> None:
    tar = gzip.decompress(bundle_archive.write({"a.rego": b"1"}))

    assert refusal(gzip.compress(tar[:1024] + tar)) == "BUNDLE_MALFORMED"


def test_a_bomb_is_cut_off_at_the_limit_and_not_expanded() -> None:
    assert refusal(gzip.compress(bytes(bundle_archive.MAX_TOTAL + 1))) == "BUNDLE_TOO_LARGE"
    assert refusal(bytes(bundle_archive.MAX_ARCHIVE + 1)) == "BUNDLE_TOO_LARGE"


def test_too_many_files_are_refused() -> None:
    assert (
        refusal(bundle_archive.write({f"{n}.rego": b"" for n in range(bundle_archive.MAX_FILES + 1)}))
        == "BUNDLE_TOO_LARGE"
    )


def test_a_second_gzip_member_or_trailing_bytes_are_refused() -> None:
    assert refusal(RAW + b"\0") == "BUNDLE_MALFORMED"
    assert refusal(RAW + RAW) == "BUNDLE_MALFORMED"


def test_a_repacked_bundle_with_equal_files_is_refused() -> None:
    assert refusal(gzip.compress(gzip.decompress(RAW))) == "BUNDLE_MALFORMED"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_json)
def test_the_canonical_form_is_json_of_the_same_value(value: Json) -> None:
    raw = canonical(value)

    assert msgspec.json.decode(raw) == value or _has_huge(value)
    assert canonical(parse(raw, where="")) == raw


def _has_huge(value: object) -> bool:
    """Integers beyond 64 bit become floats in other decoders; the text is what counts."""
    if isinstance(value, dict):
        return any(map(_has_huge, value.values()))
    if isinstance(value, list):
        return any(map(_has_huge, value))
    return isinstance(value, int) and abs(value) >= 2**63


@pytest.mark.parametrize("raw", [b'{"a":1,"a":1}', b"[NaN]", b'"\xff"', b"[" * 100_000, b"{} {}", b""])
def test_json_with_two_readings_is_refused(raw: bytes) -> None:
    with pytest.raises(BundleError, match="BUNDLE_MALFORMED"):
        parse(raw, where="data.json")


def test_a_value_nested_too_deeply_has_no_canonical_form() -> None:
    with pytest.raises(BundleError, match="BUNDLE_MALFORMED"):
        canonical(parse(b"[" * 70 + b"]" * 70, where=""))


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("portal", True), ("a_1", True), ("Portal", False), ("1a", False), ("not", False), ("if", False),
        ("data", False), ("input", False), ("unlisted", False), ("a-b", False), ("a\n", False), ("", False),
        ("é", False),
    ],
)  # fmt: skip
def test_a_service_id_becomes_a_rule_name_and_must_be_one(name: str, legal: bool) -> None:
    assert is_service_id(name) is legal


def release(**changes: object) -> Release:
    bundle = open_bundle(RAW, keys=KEYS)
    record = Release(
        tenant="default", seq=7, content_digest=bundle.content_digest, bundle_digest=bundle.bundle_digest,
        size=len(RAW), not_before=1000, not_after=2000,
    )  # fmt: skip
    return msgspec.structs.replace(record, **changes)


def release_refusal(record: Release, **changes: object) -> str:
    arguments: dict[str, object] = {"active_seq": 6, "minimum_seq": 0, "now": 1500.0, "from_folder": False}
    with pytest.raises(BundleError) as caught:
        check_release(record, open_bundle(RAW, keys=KEYS), **{**arguments, **changes})  # type: ignore[arg-type]
    return caught.value.code


def test_a_release_in_its_time_and_above_the_active_one_is_taken() -> None:
    bundle = open_bundle(RAW, keys=KEYS)

    check_release(release(), bundle, active_seq=6, minimum_seq=7, now=1000, from_folder=False)
    check_release(release(not_after=None), bundle, active_seq=0, minimum_seq=0, now=1e12, from_folder=True)


@pytest.mark.parametrize(
    ("changes", "situation", "code"),
    [
        ({}, {"active_seq": 7}, "BUNDLE_OLD_SEQ"),
        ({}, {"minimum_seq": 8}, "BUNDLE_OLD_SEQ"),
        ({}, {"now": 999.9}, "BUNDLE_NOT_YET"),
        ({}, {"now": 2000.0}, "BUNDLE_EXPIRED"),
        ({"not_after": None}, {}, "BUNDLE_RELEASE"),
        ({"content_digest": "0" * 64}, {}, "BUNDLE_RELEASE"),
        ({"bundle_digest": "0" * 64}, {}, "BUNDLE_RELEASE"),
    ],
)
def test_an_old_early_late_endless_or_foreign_release_is_refused(
    changes: dict[str, object], situation: dict[str, object], code: str
) -> None:
    assert release_refusal(release(**changes), **situation) == code


@given(active=st.integers(0, 50), offered=st.integers(0, 50), minimum=st.integers(0, 50))
def test_the_sequence_only_grows(active: int, offered: int, minimum: int) -> None:
    try:
        check_release(
            release(seq=offered),
            open_bundle(RAW, keys=KEYS),
            active_seq=active,
            minimum_seq=minimum,
            now=1500,
            from_folder=False,
        )
        taken = True
    except BundleError:
        taken = False

    assert taken == (offered > active and offered >= minimum)


def test_an_active_release_expires_at_its_end_and_not_before() -> None:
    assert not is_expired(release(), now=1999.9)
    assert is_expired(release(), now=2000)
    assert not is_expired(release(not_after=None), now=1e12)


def test_a_release_record_is_signed_and_a_bundle_signature_is_none() -> None:
    text = write_release(release(), KEY)

    assert read_release(text, KEYS) == release()
    bent = text[:-10] + ("B" if text[-10] == "A" else "A") + text[-9:]
    for forged in (write_release(release(), OTHER), sign(b"{}", KEY, kind="JWT"), bent, "x"):
        with pytest.raises(BundleError):
            read_release(forged, KEYS)


def test_keys_are_read_from_pem_and_others_are_refused_without_showing_them() -> None:
    pem = KEY.pem()

    assert load_signing_key(pem, key_id="site-1", where="key.pem").sign(b"x") == KEY.sign(b"x")
    assert load_public_keys({"a": KEY.public().pem().encode()})["a"].verify(KEY.sign(b"x"), b"x")
    with pytest.raises(ConfigError) as caught:
        load_public_keys({"a": b"junk", "b": pem})
    assert [problem.where for problem in caught.value.problems] == ["a", "b"]
    assert "PRIVATE" not in str(caught.value)
