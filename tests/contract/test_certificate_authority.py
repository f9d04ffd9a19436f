"""What every `CertificateAuthority` does: the fake, the one that signs here, and the one elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.csr import make_csr, new_key
from tests.est_support import authority_in_memory
from tests.fakes.certificate_authority import FakeAuthority, fake_csr
from tests.fakes.est_ca import FakeEstCa
from tests.issuer import NOW
from zt_engine.adapters.ca_est_client import EstCertificateAuthority, EstSettings
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.csr_x509 import public_jwk
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.jose import is_digest, thumbprint
from zt_engine.ports.credentials import CertificateAuthority


class Scene(msgspec.Struct):
    """An authority, requests for a key by its number (another `turn` is another request), and how it goes down."""

    authority: CertificateAuthority
    csr: Callable[[int, str], bytes]
    stop: Callable[[], None]


def local() -> Scene:
    ca = X509CertificateAuthority([authority_in_memory()])
    return Scene(ca, _requests(), lambda: ca.replace([]))


def elsewhere() -> Scene:
    far = FakeEstCa(X509CertificateAuthority([authority_in_memory()]), now=NOW)
    near = EstCertificateAuthority(
        EstSettings(url="https://ca.example/.well-known/est/{device}", trusted=Path("unused")),
        transport=far.transport(),
    )
    near.refresh()

    def stop() -> None:
        far.break_ = lambda _csr, _device: (503, b"")

    return Scene(near, _requests(), stop)


def fake() -> Scene:
    authority = FakeAuthority()
    keys = [public_jwk(new_key().public_key()) for _ in range(3)]
    return Scene(
        authority, lambda number, turn: fake_csr(keys[number], nonce=turn), lambda: setattr(authority, "down", True)
    )


def _requests() -> Callable[[int, str], bytes]:
    keys = [new_key() for _ in range(3)]
    return lambda number, turn: make_csr(keys[number], name=f"laptop{turn}")


@pytest.fixture(params=[local, elsewhere, fake])
def scene(request: pytest.FixtureRequest) -> Scene:
    return request.param()


def test_a_request_names_its_key_by_digests(scene: Scene) -> None:
    read = scene.authority.read(scene.csr(0, ""))

    assert is_digest(read.spki)
    assert is_digest(read.der_digest)
    assert read.jkt == thumbprint(read.jwk)
    assert "d" not in read.jwk


def test_two_requests_of_one_key_are_one_key(scene: Scene) -> None:
    one, two = (scene.authority.read(scene.csr(0, turn)) for turn in ("1", "2"))

    assert (one.spki, one.jkt, one.jwk) == (two.spki, two.jkt, two.jwk)
    assert one.der_digest != two.der_digest
    assert scene.authority.read(scene.csr(1, "1")).spki != one.spki


def test_what_is_issued_is_what_was_read(scene: Scene) -> None:
    csr = scene.csr(0, "")
    read = scene.authority.read(csr)

    issued = scene.authority.issue(csr, device_id="d-1", protection="os_keystore", seconds=3600, now=NOW)

    assert (issued.key.spki, issued.key.jkt, issued.key.jwk) == (read.spki, read.jkt, read.jwk)
    assert issued.key.protection == "os_keystore"
    assert issued.key.revoked_at is None
    assert (issued.key.not_before, issued.key.not_after) == (NOW - 300, NOW + 3600)
    assert is_digest(issued.key.x5t)


def test_no_two_certificates_are_the_same(scene: Scene) -> None:
    issued = [
        scene.authority.issue(scene.csr(0, ""), device_id="d-1", protection="file", seconds=3600, now=NOW).key
        for _ in range(3)
    ]

    assert len({key.serial for key in issued}) == len({key.x5t for key in issued}) == 3


def test_the_chain_is_one_of_the_authorities(scene: Scene) -> None:
    issued = scene.authority.issue(scene.csr(0, ""), device_id="d-1", protection="file", seconds=3600, now=NOW)

    assert issued.chain in scene.authority.authorities()


@pytest.mark.parametrize(("raw", "code"), [(b"", "CSR_MALFORMED"), (b"\x30" * 16_385, "CSR_TOO_LARGE")])
def test_what_is_no_request_is_refused_by_its_code(scene: Scene, raw: bytes, code: str) -> None:
    for call in (
        lambda: scene.authority.read(raw),
        lambda: scene.authority.issue(raw, device_id="d-1", protection="file", seconds=3600, now=NOW),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert caught.value.code == code


def test_one_that_is_down_says_so_and_still_reads(scene: Scene) -> None:
    scene.stop()

    with pytest.raises(UnavailableError) as caught:
        scene.authority.issue(scene.csr(0, ""), device_id="d-1", protection="file", seconds=3600, now=NOW)

    assert caught.value.code == "CA_DOWN"
    assert is_digest(scene.authority.read(scene.csr(0, "")).spki)
