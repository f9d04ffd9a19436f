"""Keys sign what a control plane accepts wherever they live, say truthfully where that is, and are never replaced."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.agent.csr import NAME, csr_digest, public_of, raw_signature
from device_inventory.agent.jose import compact, from_base64url, to_base64url
from device_inventory.agent.keys import DeviceKey, KeyWish, choose, make_key, new_ref, open_key
from device_inventory.agent.keys_file import FileKey
from device_inventory.agent.keys_pkcs11 import TokenKey
from device_inventory.agent.state import Home
from tests.fakes.agent_world import code_of
from tests.peers import find_peer
from zt_engine.adapters.csr_x509 import read_csr
from zt_engine.core.jose import split_compact

FILE = KeyWish(wanted="file")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyWish:
    """A SoftHSM token."""
    found, program = find_peer("softhsm2"), shutil.which("softhsm2-util")
    if found is None or program is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `softhsm2` is missing")
        pytest.skip(reason="no softhsm2 on this machine")
    module = str(found)
    (tmp_path / "tokens").mkdir()
    settings = tmp_path / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(settings))
    command = [program, "--module", module, "--init-token", "--free", "--label", "zt", "--pin", "4711", "--so-pin", "1"]
    subprocess.run([*command[:-1], "471147"], check=True, capture_output=True)
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    pin.write_text("4711\n")
    return KeyWish(wanted="pkcs11", module=module, token="zt", pin_file=str(pin))


def verified(key: DeviceKey) -> None:
    """Fail unless a control plane would accept what the key signs."""
    public = public_of(key.public_jwk)
    signature = key.sign(b"content")
    der = utils.encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    public.verify(der, b"content", ec.ECDSA(hashes.SHA256()))
    read = read_csr(key.csr(NAME).encode())
    assert read.request.jwk == dict(key.public_jwk)
    assert read.request.der_digest == csr_digest(key.csr(NAME)) or len(signature) == 64  # ECDSA signs anew each time


def test_a_key_in_a_file_signs_and_says_that_it_is_in_a_file(home: Home) -> None:
    ref = new_ref("file", FILE)
    key = make_key(home, ref)

    verified(key)
    assert key.protection == "file"
    assert (home.path / ref.name).stat().st_mode & 0o777 == 0o600


def test_a_request_asks_for_nothing_but_a_certificate(home: Home) -> None:
    request = x509.load_pem_x509_csr(make_key(home, new_ref("file", FILE)).csr(NAME).encode())

    assert [name.value for name in request.subject] == ["device"]
    assert list(request.extensions) == []


def test_a_key_that_was_made_is_found_again_and_not_made_anew(home: Home) -> None:
    ref = new_ref("file", FILE)
    first = make_key(home, ref).public_jwk

    assert make_key(home, ref).public_jwk == open_key(home, ref).public_jwk == first
    assert make_key(home, new_ref("file", FILE)).public_jwk != first


def test_a_key_that_is_gone_is_an_error(home: Home) -> None:
    assert code_of(lambda: open_key(home, new_ref("file", FILE))) == "AGENT_KEY_MISSING"
    assert code_of(lambda: open_key(home, new_ref("tpm", FILE))) == "AGENT_KEY_MISSING"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_not_used(home: Home, mode: int) -> None:
    ref = new_ref("file", FILE)
    make_key(home, ref)
    (home.path / ref.name).chmod(mode)

    assert code_of(lambda: open_key(home, ref)) == "AGENT_KEY_OPEN"


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(65537, 2048)),
    ],
    ids=["empty", "damaged", "P-384", "RSA"],
)
def test_what_is_no_key_of_ours_is_an_error(home: Home, content: bytes) -> None:
    ref = new_ref("file", FILE)
    home.write(ref.name, content)

    assert code_of(lambda: open_key(home, ref)) == "AGENT_KEY_CORRUPT"


@pytest.mark.parametrize("content", [b"{}", b'{"public": "!", "private": ""}', b'{"public": "AAAA", "private": ""}'])
def test_what_no_tpm_wrapped_is_an_error(home: Home, content: bytes) -> None:
    ref = new_ref("tpm", FILE)
    home.write(ref.name, content)

    assert code_of(lambda: open_key(home, ref)) == "AGENT_KEY_CORRUPT"


def test_a_module_that_cannot_be_loaded_is_an_error() -> None:
    wish = KeyWish(wanted="pkcs11", module="/nowhere.so")

    assert code_of(lambda: choose(wish)) == "AGENT_PKCS11_MODULE"
    assert code_of(lambda: choose(KeyWish(wanted="pkcs11"))) == "AGENT_PKCS11_MODULE"


def test_no_key_shows_itself(home: Home) -> None:
    key = make_key(home, new_ref("file", FILE))

    assert repr(key) == "FileKey(...)"


# -- a token


@pytest.fixture
def kept(home: Home, token: KeyWish) -> Iterator[tuple[Home, KeyWish]]:
    yield home, token


def test_a_key_in_a_token_signs_and_never_leaves_it(kept: tuple[Home, KeyWish]) -> None:
    home, wish = kept
    assert choose(wish).kind == "pkcs11"
    ref = new_ref("pkcs11", wish)
    key = make_key(home, ref)

    verified(key)
    assert make_key(home, ref).public_jwk == open_key(home, ref).public_jwk == key.public_jwk
    assert not any(ref.name in path.name for path in home.path.iterdir())


def test_a_token_of_software_is_not_called_hardware(kept: tuple[Home, KeyWish]) -> None:
    home, wish = kept

    assert make_key(home, new_ref("pkcs11", wish)).protection == "os_keystore"


def test_a_wrong_pin_is_named_as_such(kept: tuple[Home, KeyWish]) -> None:
    home, wish = kept
    Path(wish.pin_file).write_text("0000")

    assert code_of(lambda: choose(wish)) == "AGENT_PKCS11_PIN"


def test_a_pin_that_others_can_read_is_not_used(kept: tuple[Home, KeyWish]) -> None:
    home, wish = kept
    Path(wish.pin_file).chmod(0o644)

    assert code_of(lambda: choose(wish)) == "AGENT_KEY_OPEN"


def test_a_key_that_is_not_in_the_token_is_an_error(kept: tuple[Home, KeyWish]) -> None:
    home, wish = kept

    assert code_of(lambda: TokenKey.open(home, new_ref("pkcs11", wish))) == "AGENT_KEY_MISSING"


def test_a_token_that_is_not_there_is_an_error_and_auto_says_so(kept: tuple[Home, KeyWish]) -> None:
    home, wish = kept
    absent = KeyWish(wanted="auto", module=wish.module, token="another", pin_file=wish.pin_file)

    choice = choose(absent)
    assert choice.kind == "file"
    assert choice.passed_over[-1].reason.code == "AGENT_PKCS11_TOKEN"


# -- signatures


@given(st.integers(1, 2**256 - 1), st.integers(1, 2**256 - 1))
def test_a_signature_has_64_bytes_however_small_its_halves(r: int, s: int) -> None:
    raw = raw_signature(utils.encode_dss_signature(r, s))

    assert len(raw) == 64
    assert (int.from_bytes(raw[:32]), int.from_bytes(raw[32:])) == (r, s)


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=8)), max_size=5))
def test_what_is_signed_reads_back_strictly(claims: dict) -> None:
    token = compact(KEY, claims, typ="zt-device+jwt", kid="k")
    read = split_compact(token.encode(), max_bytes=1 << 16, malformed="PROOF_MALFORMED", too_large="PROOF_MALFORMED")

    assert read.claims == claims
    assert read.header == {"typ": "zt-device+jwt", "alg": "ES256", "kid": "k"}


@given(st.binary(max_size=40))
def test_base64url_goes_there_and_back(raw: bytes) -> None:
    assert from_base64url(to_base64url(raw)) == raw


KEY = FileKey(ec.generate_private_key(ec.SECP256R1()))
