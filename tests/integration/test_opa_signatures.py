"""A stock OPA verifies what we sign, and we verify what a stock OPA signs: the same digests, the same JWS."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.unit.test_bundle import LAYERS, made
from zt_engine.adapters.bundle_signing import BundleSigningKey, load_signing_key
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import open_bundle, sign_bundle
from zt_engine.core.bundle_hash import Json, Number, canonical, file_digest
from zt_engine.core.bundle_signature import SIGNATURES, seal
from zt_engine.core.errors import BundleError

_PUBLISHED_SEED = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g"
"""The Ed25519 private key of RFC 8032 7.1, test 1: printed in the standard, secret to nobody."""

P256 = BundleSigningKey.generate("site-1")
ED25519 = load_signing_key(
    f"-----BEGIN PRIVATE KEY-----\n{_PUBLISHED_SEED}\n-----END PRIVATE KEY-----\n".encode(), key_id="site-1", where=""
)
ODD: Json = {
    "数": Number("1.50"), "big": Number("123456789012345678901234567890"), "e": Number("1E2"), "neg": Number("-0"),
    "s": 'é\u2028\u2029<>&\x07\b\f\n\r\t\x7f\U0001f600\0"\\/', "\ufffd\U0001f600": [None, True, False, {}, []],
}  # fmt: skip
FILES = {
    "baseline/b.rego": b"package zt.layer.baseline\n\nresult := data.zt.odd\n",
    "policy.wasm": b"\0asm\1\0\0\0",
    "reasons.json": b"{}",
    "zt/odd/data.json": canonical(ODD),
}


def run(opa: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([opa, *arguments], cwd=cwd, env={}, capture_output=True, text=True, timeout=60, check=False)


def loaded_by_opa(opa: str, raw: bytes, key: BundleSigningKey, folder: Path) -> str:
    """What an OPA that is configured by file, as sites do, answers from a bundle, or its complaint."""
    (folder / "bundle.tar.gz").write_bytes(raw)
    config = {
        "keys": {key.key_id: {"algorithm": key.algorithm, "key": key.public().pem()}},
        "bundles": {"zt": {"resource": f"file://{folder}/bundle.tar.gz", "signing": {"keyid": key.key_id}}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "input.json").write_text("{}")
    done = run(
        opa,
        "exec",
        "-c",
        "config.json",
        "--decision",
        "/zt/layer/baseline/result",
        "--timeout",
        "20s",
        "input.json",
        cwd=folder,
    )
    return done.stdout + done.stderr


def signed_by_opa(opa: str, raw: bytes, key: BundleSigningKey, folder: Path) -> bytes:
    """The same files under a signature that `opa sign` made."""
    files = {name: content for name, content in bundle_archive.read(raw).items() if name != SIGNATURES}
    for name, content in files.items():
        (folder / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "b" / name).write_bytes(content)
    (folder / "key.pem").write_bytes(key.pem())
    (folder / "claims.json").write_text(json.dumps({"keyid": key.key_id}))
    options = (
        "--signing-key",
        "../key.pem",
        "--signing-alg",
        key.algorithm,
        "--claims-file",
        "../claims.json",
        "-o",
        "..",
    )
    done = run(opa, "sign", "--bundle", ".", *options, cwd=folder / "b")
    assert done.returncode == 0, done.stderr
    token = json.loads((folder / SIGNATURES).read_text())["signatures"][0]
    return bundle_archive.write({**files, SIGNATURES: seal(token)})


def test_a_stock_opa_takes_our_bundle_and_sees_its_data(opa: str, tmp_path: Path) -> None:
    answer = loaded_by_opa(opa, made(FILES, P256), P256, tmp_path)

    assert json.loads(answer)["result"][0]["result"]["big"] == 123456789012345678901234567890


def test_a_stock_opa_refuses_our_bundle_under_another_key_or_changed(opa: str, tmp_path: Path) -> None:
    raw = made(FILES, P256)
    files = bundle_archive.read(raw)
    changed = bundle_archive.write({**files, "baseline/b.rego": b"package zt.layer.baseline\n\nresult := 1\n"})

    assert "signature" in loaded_by_opa(opa, raw, BundleSigningKey.generate("site-1"), tmp_path)
    assert "digest mismatch" in loaded_by_opa(opa, changed, P256, tmp_path)


def test_both_sides_refuse_a_file_that_no_signature_names(opa: str, tmp_path: Path) -> None:
    files = bundle_archive.read(made(FILES, P256))
    for name, content in {"baseline/more.rego": b"package zt.layer.baseline\n", "zt/data.json": b"{}"}.items():
        raw = bundle_archive.write({**files, name: content})
        with pytest.raises(BundleError, match="BUNDLE_FILE_EXTRA"):
            open_bundle(raw, keys={P256.key_id: P256.public()})

        assert "not included" in loaded_by_opa(opa, raw, P256, tmp_path)


def test_a_stock_opa_configured_by_file_knows_no_eddsa_so_keys_are_p256_by_default(opa: str, tmp_path: Path) -> None:
    """Why bundles are signed with ES256: the day this fails, EdDSA may be the default."""
    assert "unsupported algorithm 'EdDSA'" in loaded_by_opa(opa, made(FILES, ED25519), ED25519, tmp_path)


def test_the_command_line_of_opa_verifies_either_kind_of_key(opa: str, tmp_path: Path) -> None:
    for key in (P256, ED25519):
        (tmp_path / "bundle.tar.gz").write_bytes(made(FILES, key))
        (tmp_path / "public.pem").write_text(key.public().pem())
        (tmp_path / "private.pem").write_bytes(key.pem())
        options = (
            "--verification-key",
            "public.pem",
            "--verification-key-id",
            key.key_id,
            "--signing-key",
            "private.pem",
        )
        done = run(opa, "build", "-b", "bundle.tar.gz", "--signing-alg", key.algorithm, *options, cwd=tmp_path)

        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("key", [P256, ED25519], ids=["ES256", "EdDSA"])
def test_we_verify_what_a_stock_opa_signs(opa: str, tmp_path: Path, key: BundleSigningKey) -> None:
    raw = signed_by_opa(opa, made(FILES, None), key, tmp_path)

    bundle = open_bundle(raw, keys={"site-1": key.public()})
    assert bundle.key_id == "site-1"
    assert bundle.data == b'{"zt":{"odd":' + canonical(ODD) + b"}}"
    assert tuple(LAYERS) == tuple(bundle.layers)


def test_we_refuse_what_a_stock_opa_signed_with_another_key(opa: str, tmp_path: Path) -> None:
    raw = signed_by_opa(opa, made(FILES, None), P256, tmp_path)

    with pytest.raises(BundleError, match="BUNDLE_SIGNATURE"):
        open_bundle(raw, keys={"site-1": BundleSigningKey.generate("site-1").public()})
    assert open_bundle(sign_bundle(raw, ED25519), keys={"site-1": ED25519.public()}).revision


_numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True).map(Number)
_json = st.recursive(
    st.none() | st.booleans() | _numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(
    max_examples=25,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large, HealthCheck.too_slow],
)
@given(documents=st.lists(st.dictionaries(st.text(), _json, max_size=5), min_size=5, max_size=12))
def test_opa_computes_the_same_digests_for_unusual_strings_and_numbers(
    opa: str, tmp_path_factory: pytest.TempPathFactory, documents: list[dict[str, Json]]
) -> None:
    """Hundreds of documents, written with blanks that the walk must not see, hashed by the real OPA."""
    folder = tmp_path_factory.mktemp("walk")
    ours = {}
    for index, document in enumerate(documents):
        raw = canonical(document).replace(b'":', b'" :\n')
        try:
            ours[f"d{index}/data.json"] = file_digest(f"d{index}/data.json", raw)
        except BundleError:
            continue  # the blanks landed within a string that holds a quote
        (folder / f"d{index}").mkdir()
        (folder / f"d{index}/data.json").write_bytes(raw)
    (folder.parent / "key.pem").write_bytes(P256.pem())
    done = run(opa, "sign", "-b", ".", "--signing-key", "../key.pem", "--signing-alg", "ES256", "-o", "..", cwd=folder)
    assert done.returncode == 0, done.stderr
    payload = json.loads((folder.parent / SIGNATURES).read_text())["signatures"][0].split(".")[1]
    listed = json.loads(base64.urlsafe_b64decode(payload + "=="))["files"]

    assert {entry["name"]: entry["hash"] for entry in listed} == ours
