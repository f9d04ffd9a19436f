"""A CA elsewhere, asked through EST: what it answers is believed no further than a sidecar would believe it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.csr import make_csr
from tests.est_support import authority_in_memory
from tests.fakes.est_ca import FakeEstCa, bag
from tests.issuer import NOW
from zt_engine.adapters.ca_est_client import EstCertificateAuthority, EstSettings
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.core.errors import InputError, UnavailableError

DEVICE = "0b9fd1c4-7f0e-4a3e-8a5f-3f1c6f6b2f11"
URL = "https://ca.example/.well-known/est/{device}"


def external() -> FakeEstCa:
    return FakeEstCa(X509CertificateAuthority([authority_in_memory()]), now=NOW)


def client(ca: FakeEstCa, **settings: object) -> EstCertificateAuthority:
    made = EstCertificateAuthority(
        EstSettings(url=URL, trusted=Path("unused"), **settings),  # type: ignore[arg-type]
        transport=ca.transport(),
    )
    made.refresh()
    return made


def refusal(ca: EstCertificateAuthority, csr: bytes | None = None) -> tuple[str, str]:
    with pytest.raises(UnavailableError) as caught:
        ca.issue(csr or make_csr(), device_id=DEVICE, protection="file", seconds=3600, now=NOW)
    return caught.value.code, caught.value.message


def test_the_path_says_which_device_it_is() -> None:
    far = external()

    issued = client(far).issue(make_csr(), device_id=DEVICE, protection="hw", seconds=3600, now=NOW)

    assert far.seen == [
        ("GET", "/.well-known/est/cacerts"),
        ("POST", f"/.well-known/est/{DEVICE}/simpleenroll"),
    ]
    assert issued.key.protection == "hw"
    assert issued.chain == far.ca.authorities()


def test_we_authenticate_by_a_password_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p:w\n")
    far = external()
    near = client(far, user="ra", password_file=tmp_path / "password")

    near.issue(make_csr(), device_id=DEVICE, protection="file", seconds=3600, now=NOW)

    assert far.authorization[-1] == "Basic " + base64.b64encode(b"ra:p:w").decode()
    assert "p:w" not in repr(near)


def test_cas_are_taken_up_when_they_are_fetched_anew() -> None:
    far = external()
    near = client(far)
    old = near.authorities()

    far.ca.replace([*far.ca._authorities, authority_in_memory(NOW)])
    near.refresh()

    assert old in near.authorities()
    assert near.authorities().count(b"BEGIN") == 2


def test_nothing_is_issued_before_the_cas_are_known() -> None:
    near = EstCertificateAuthority(EstSettings(url=URL, trusted=Path("unused")), transport=external().transport())

    assert refusal(near)[0] == "CA_DOWN"
    with pytest.raises(UnavailableError):
        near.authorities()


def test_a_request_is_refused_here_before_it_goes_anywhere() -> None:
    far = external()
    near = client(far)

    with pytest.raises(InputError):
        near.issue(b"\x30", device_id=DEVICE, protection="file", seconds=3600, now=NOW)

    assert len(far.seen) == 1


Break = Callable[[FakeEstCa, bytes, str], tuple[int, bytes]]


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (lambda far, csr, device: (401, b""), "CA_REFUSED", "401"),
        (lambda far, csr, device: (202, b""), "CA_DOWN", "approval"),
        (lambda far, csr, device: (503, b""), "CA_DOWN", "503"),
        (lambda far, csr, device: (302, b""), "CA_DOWN", "302"),
        (lambda far, csr, device: (200, b""), "CA_ANSWER", "PKCS"),
        (lambda far, csr, device: (200, b"%%%"), "CA_ANSWER", "PKCS"),
        (lambda far, csr, device: (200, b"A" * 300_000), "CA_ANSWER", "bytes"),
        (lambda far, csr, device: (200, far.issue(csr, "another-device")), "CA_ANSWER", "another device"),
        (lambda far, csr, device: (200, far.issue(make_csr(), device)), "CA_ANSWER", "another key"),
        (lambda far, csr, device: (200, far.issue(csr, device, seconds=86_400)), "CA_ANSWER", "longer"),
        (lambda far, csr, device: far.answer("GET", "/cacerts", "", b""), "CA_ANSWER", "CERT_AUTHORITY"),
        (lambda far, csr, device: (200, external().issue(csr, device)), "CA_ANSWER", "CERT_UNTRUSTED"),
    ],
    ids=[
        "unauthorised", "pending", "overloaded", "moved", "empty", "no base64", "endless", "another device",
        "another key", "too long", "a CA", "another CA",
    ],
)  # fmt: skip
def test_an_answer_that_is_not_what_was_asked_for_is_not_handed_on(answer: Break, code: str, says: str) -> None:
    far = external()
    near = client(far)
    far.break_ = lambda csr, device: answer(far, csr, device)

    found, message = refusal(near)

    assert found == code
    assert says in message


def test_a_server_certificate_from_it_is_not_handed_on() -> None:
    far = external()
    near = client(far)
    rogue = DevDeviceCa(now=NOW)
    authority = far.ca._authorities[0]
    rogue._key, rogue._name = authority.key, authority.certificate.subject  # type: ignore[assignment]

    def answer(csr: bytes, device: str) -> tuple[int, bytes]:
        return 200, bag(rogue.issue(device, now=NOW, usages=None).certificate)

    far.break_ = answer

    assert refusal(near)[1].endswith("CERT_EKU")


def test_a_network_that_fails_is_a_ca_that_is_down() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("secret detail")

    near = EstCertificateAuthority(EstSettings(url=URL, trusted=Path("unused")), transport=httpx.MockTransport(handle))

    with pytest.raises(UnavailableError) as caught:
        near.refresh()
    assert (caught.value.code, caught.value.message) == ("CA_DOWN", "ConnectError")


def test_a_bad_list_of_cas_keeps_the_good_one() -> None:
    far = external()
    near = client(far)
    good = near.authorities()
    leaf = near.issue(make_csr(), device_id=DEVICE, protection="file", seconds=3600, now=NOW)
    authority = far.ca._authorities[0]

    far.ca.authorities = lambda: leaf.pem  # type: ignore[method-assign]
    with pytest.raises(UnavailableError) as caught:
        near.refresh()

    assert caught.value.code == "CA_ANSWER"
    assert near.authorities() == good == authority.pem


@given(st.binary(max_size=400))
def test_no_answer_breaks_it(raw: bytes) -> None:
    far = external()
    near = client(far)
    far.break_ = lambda csr, device: (200, base64.b64encode(raw))

    assert refusal(near)[0] == "CA_ANSWER"
