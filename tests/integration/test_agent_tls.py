"""Over real TLS the agent talks to the control plane it was told to trust, and to nobody else with a certificate."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_inventory.agent.link import Ticket, read_ticket
from device_inventory.agent.opening import connect, pin, which_server
from device_inventory.agent.state import Home, State, ca_name
from device_inventory.agent.tls import fetch_ca
from tests.fakes.agent_world import code_of, who
from tests.fakes.control_plane_http import FakeControlPlane
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.bootstrap.demo_tls import write_server_certificate

CLOCK = SystemClock()


class Secured:
    """A control plane behind TLS, whose chain has the CA in it, and the CA's file."""

    def __init__(self, folder: Path, *, host: str = "localhost", with_ca: bool = True) -> None:
        self.ca, certificate, key = write_server_certificate(folder, [host], now=CLOCK.now())
        chain = folder / "chain.pem"
        chain.write_bytes(certificate.read_bytes() + (self.ca.read_bytes() if with_ca else b""))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self.plane = FakeControlPlane(CLOCK, issuer="https://idp.example", who=who, tls=context)
        self.plane.url = self.plane.url.replace("127.0.0.1", "localhost")

    @property
    def sha256(self) -> str:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.ca.read_text())).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    made = Secured(tmp_path / "server")
    with made.plane:
        yield made


def tenant(home: Home, url: str) -> str:
    wire, plane = connect(home, url, CLOCK, language="en")
    with wire:
        return plane.terms().tenant


def test_a_server_is_known_by_the_ca_in_a_file(home: Home, secured: Secured) -> None:
    pin(home, secured.plane.url, ca_file=secured.ca, ca_sha256="")

    assert tenant(home, secured.plane.url) == "acme"


def test_a_server_is_known_by_the_digest_in_a_link(home: Home, secured: Secured) -> None:
    ticket = read_ticket(f"{secured.plane.url}/enroll#code=abcdef-123&ca={secured.sha256.upper()}")
    pin(home, ticket.url, ca_file=None, ca_sha256=ticket.ca_sha256)

    assert tenant(home, ticket.url) == "acme"


def test_a_server_with_a_certificate_of_another_ca_is_told_nothing(
    home: Home, secured: Secured, tmp_path: Path
) -> None:
    other = Secured(tmp_path / "other")
    pin(home, secured.plane.url, ca_file=other.ca, ca_sha256="")

    assert code_of(lambda: tenant(home, secured.plane.url)) == "AGENT_SERVER_FOREIGN"
    assert secured.plane.requests == []
    other.plane._server.server_close()


def test_a_certificate_of_the_right_ca_for_another_name_is_refused(home: Home, tmp_path: Path) -> None:
    named = Secured(tmp_path / "named", host="other.example")
    with named.plane:
        pin(home, named.plane.url, ca_file=named.ca, ca_sha256="")

        assert code_of(lambda: tenant(home, named.plane.url)) == "AGENT_SERVER_FOREIGN"


def test_without_a_pin_no_server_is_asked_anything(home: Home, secured: Secured) -> None:
    assert code_of(lambda: pin(home, secured.plane.url, ca_file=None, ca_sha256="")) == "AGENT_SERVER_UNPINNED"
    assert code_of(lambda: tenant(home, secured.plane.url)) == "AGENT_SERVER_UNPINNED"
    assert secured.plane.requests == []


def test_a_digest_that_the_server_does_not_present_pins_nothing(home: Home, secured: Secured) -> None:
    assert code_of(lambda: pin(home, secured.plane.url, ca_file=None, ca_sha256="0" * 64)) == "AGENT_CA_NOT_SENT"
    assert home.read(ca_name(secured.plane.url)) is None


def test_a_server_that_does_not_send_its_ca_needs_the_file(home: Home, tmp_path: Path) -> None:
    bare = Secured(tmp_path / "bare", with_ca=False)
    with bare.plane:
        assert code_of(lambda: fetch_ca(bare.plane.url, bare.sha256)) == "AGENT_CA_NOT_SENT"
        pin(home, bare.plane.url, ca_file=bare.ca, ca_sha256=bare.sha256)

        assert tenant(home, bare.plane.url) == "acme"


def test_a_link_and_a_file_that_do_not_agree_pin_nothing(home: Home, secured: Secured) -> None:
    assert code_of(lambda: pin(home, secured.plane.url, ca_file=secured.ca, ca_sha256="0" * 64)) == "AGENT_CA_OTHER"
    assert home.read(ca_name(secured.plane.url)) is None


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END"])
def test_a_file_that_holds_no_ca_is_named_as_such(home: Home, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)

    assert code_of(lambda: pin(home, "https://cp.example", ca_file=path, ca_sha256="")) == "AGENT_CA_UNREADABLE"
    assert code_of(lambda: pin(home, "https://cp.example", ca_file=tmp_path / "no", ca_sha256="")) == (
        "AGENT_CA_UNREADABLE"
    )


def test_a_link_never_replaces_what_was_pinned_but_a_file_does(home: Home, secured: Secured, tmp_path: Path) -> None:
    other = Secured(tmp_path / "other")
    url = secured.plane.url
    pin(home, url, ca_file=other.ca, ca_sha256="")

    assert code_of(lambda: pin(home, url, ca_file=None, ca_sha256=secured.sha256)) == "AGENT_CA_OTHER"
    assert code_of(lambda: tenant(home, url)) == "AGENT_SERVER_FOREIGN"
    pin(home, url, ca_file=secured.ca, ca_sha256="")
    assert tenant(home, url) == "acme"
    other.plane._server.server_close()


def test_what_is_pinned_for_one_server_says_nothing_about_another(home: Home, secured: Secured) -> None:
    pin(home, secured.plane.url, ca_file=secured.ca, ca_sha256="")

    assert code_of(lambda: pin(home, "https://b.example", ca_file=None, ca_sha256="")) == "AGENT_SERVER_UNPINNED"


def test_what_was_pinned_holds_for_later_commands(home: Home, secured: Secured) -> None:
    pin(home, secured.plane.url, ca_file=secured.ca, ca_sha256="")
    pin(home, secured.plane.url, ca_file=None, ca_sha256="")

    assert tenant(home, secured.plane.url) == "acme"


def test_option_link_and_folder_have_to_agree_where_the_server_is(home: Home) -> None:
    ticket = Ticket(code="abcdef", url="https://a.example")

    assert which_server(home, "", ticket) == "https://a.example"
    assert which_server(home, "https://a.example/", ticket) == "https://a.example"
    assert code_of(lambda: which_server(home, "https://b.example", ticket)) == "AGENT_LINK_SERVER"
    assert code_of(lambda: which_server(home, "", None)) == "AGENT_SERVER_URL"
    home.save(State(url="https://c.example"))
    assert which_server(home, "", None) == "https://c.example"
    assert code_of(lambda: which_server(home, "", ticket)) == "AGENT_SERVER_OTHER"
    assert which_server(home, "", ticket, again=True) == "https://a.example"


def test_a_wire_ignores_proxies_of_the_environment(
    home: Home, secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    pin(home, secured.plane.url, ca_file=secured.ca, ca_sha256="")

    assert tenant(home, secured.plane.url) == "acme"
