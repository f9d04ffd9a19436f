"""The agent and the browsers that come to it: to whom a device is made known, and to whom nothing is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.agent.browser_proof import Asked, covers, keep_hosts, known_hosts, read_asked, way_back
from device_inventory.agent.browser_proof_listener import A_MINUTE, Answer, Answerer, Head
from device_inventory.agent.browser_proof_peer import owner_of, port_of
from device_inventory.agent.errors import AgentError
from device_inventory.agent.state import Held, Home, KeyRef, State
from tests.fakes.clock import FakeClock
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.adapters.device_proof_jws import JwsDeviceProofs
from zt_engine.core.device_proof import AGENT_PATH, PORT, PORTS, TYPE
from zt_engine.pages.registry import registry
from zt_engine.sidecar.browser.device_proof import DEVICE

NOW = 1_790_000_000
ME, OTHER = 1000, 1001
PEER = 40_000
DIGEST = "d" * 42 + "A"
AUTHORITY = DevDeviceCa(now=NOW)
LAPTOP = AUTHORITY.issue("laptop-1", now=NOW)


def row(near: str, far: str, state: str, uid: int, inode: int = 7) -> str:
    return f"  0: {near} {far} {state} 00000000:00000000 00:00000000 00000000 {uid:5d}        0 {inode} 1 ffff 20 4 30"


def place(port: int, address: str = "0100007F") -> str:
    return f"{address}:{port:04X}"


def connection(uid: int, *, peer: int = PEER, to: int = PORT, state: str = "01", inode: int = 7) -> list[str]:
    """A browser's connection as the kernel tells of it: its own end, and the agent's."""
    return [row(place(peer), place(to), state, uid, inode), row(place(to), place(peer), "01", ME)]


def listens(uid: int, port: int, address: str = "0100007F") -> str:
    return row(place(port, address), "00000000:0000", "0A", uid)


def query(**changes: str) -> str:
    told = {"host": "portal.example", "port": "443", "sid": DIGEST, "nonce": DIGEST, "state": "/cases/1", **changes}
    return f"{AGENT_PATH}?{urlencode(told)}"


def head(target: str = "", **changes: Any) -> Head:
    told: dict[str, Any] = {
        "target": target or query(), "hosts": (f"127.0.0.1:{PORT}",), "mode": ("navigate",),
        "destination": ("document",), **changes,
    }  # fmt: skip
    return Head(**told)


def home_of(folder: Path, hosts: Sequence[str] = ("portal.example", "*.corp.example")) -> Home:
    home = Home(folder / "agent")
    home.prepare()
    home.write("zt-device-1.pem", LAPTOP.key_pem)
    held = Held(
        device_id="laptop-1", certificate=LAPTOP.pem.decode(), chain="", x5t=LAPTOP.x5t, not_before=NOW - 300,
        not_after=NOW + 86_400, protection="file",
    )  # fmt: skip
    home.save(
        State(url="https://control.example", key=KeyRef(kind="file", name="zt-device-1.pem"), held=held)
    )  # fmt: skip
    keep_hosts(home, hosts)
    return home


class Agent:
    """An agent of one person, and the kernel's tables as a test writes them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.clock = FakeClock(float(NOW))
        self.events: list[tuple[str, dict[str, object]]] = []
        self.tables = connection(ME)
        self.answerer = Answerer(
            home, self.clock, lambda event, /, **facts: self.events.append((event, facts)),
            ports=range(PORT, PORT + PORTS), uid=ME, tables=lambda: self.tables,
        )  # fmt: skip

    def answer(self, asked: Head | None = None, *, port: int = PORT) -> Answer:
        return self.answerer.answer(asked or head(), peer=PEER, port=port)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(home_of(tmp_path))


def test_its_own_person_s_browser_is_sent_back_with_what_the_device_signed(agent: Agent) -> None:
    back = urlsplit(agent.answer().location)
    told = parse_qs(back.query)

    assert (back.scheme, back.netloc, back.path) == ("https", "portal.example", DEVICE.decode())
    assert told["state"] == ["/cases/1"]
    proven = JwsDeviceProofs(X509CertificateVerifier(AUTHORITY.pem)).verify(told["proof"][0].encode(), now=NOW)
    assert (proven.certificate.device_id, proven.statement.host, proven.statement.issued_at) == (
        "laptop-1", "portal.example", NOW,
    )  # fmt: skip
    assert [event for event, _ in agent.events] == ["agent.browser_answered"]
    assert agent.events[0][1] == {"host": "portal.example", "port": "443", "session": DIGEST[:12]}


def test_another_port_of_a_host_is_that_host(agent: Agent) -> None:
    assert urlsplit(agent.answer(head(query(port="8443"))).location).netloc == "portal.example:8443"


# -- sites


@pytest.mark.parametrize(
    "host", ["evil.example", "portal.example.evil.example", "xportal.example", "corp.example", "a.b.corp.example"]
)
def test_a_host_the_control_plane_did_not_name_learns_nothing(agent: Agent, host: str) -> None:
    assert agent.answer(head(query(host=host))) == Answer(code="AGENT_PROOF_HOST")
    assert agent.events == [
        ("agent.browser_refused", {"code": "AGENT_PROOF_HOST", "message": agent.events[0][1]["message"], "host": host})
    ]


def test_before_any_host_was_named_nobody_is_answered_and_what_was_withdrawn_ends(tmp_path: Path) -> None:
    agent = Agent(home_of(tmp_path, ()))
    assert agent.answer().code == "AGENT_PROOF_HOST"

    keep_hosts(agent.home, ["portal.example"])
    assert agent.answer().location
    keep_hosts(agent.home, [])
    assert agent.answer().code == "AGENT_PROOF_HOST"


def test_a_damaged_list_of_hosts_names_none(agent: Agent) -> None:
    agent.home.write("browser-hosts.json", b'{"*": 1}')

    assert known_hosts(agent.home) == ()
    assert agent.answer().code == "AGENT_PROOF_HOST"


@pytest.mark.parametrize(
    "changes",
    [
        {"hosts": ("rebound.evil.example:29170",)}, {"hosts": (f"localhost:{PORT}",)}, {"hosts": ("127.0.0.1",)},
        {"hosts": ()}, {"hosts": (f"127.0.0.1:{PORT}", "evil.example")}, {"hosts": (f"127.0.0.1:{PORT + 1}",)},
        {"mode": ("cors",)}, {"mode": ("no-cors",)}, {"mode": ()}, {"mode": ("navigate", "cors")},
        {"destination": ("iframe",)}, {"destination": ("image",)}, {"destination": ("empty",)}, {"destination": ()},
        {"body": True},
    ],
)  # fmt: skip
def test_what_a_page_fetches_embeds_or_rebinds_is_not_answered(agent: Agent, changes: dict[str, Any]) -> None:
    assert agent.answer(head(**changes)) == Answer(code="AGENT_PROOF_REQUEST")


@pytest.mark.parametrize(
    "target",
    [
        "/", AGENT_PATH, f"{AGENT_PATH}?", f"//evil.example{query()}", f"http://127.0.0.1{query()}", f"{query()}&sid=x",
        query(host="PORTAL.example"), query(host="portal.example/"), query(host="a@portal.example"),
        query(host="portal.example:443"), query(port="0"), query(port="65536"), query(port="https"), query(sid="x"),
        query(nonce=""), query(state=""), query(state="/a\r\nSet-Cookie: x"), query(state="/" + "x" * 4000),
        query(more="x"), f"/other?{query().partition('?')[2]}", f"{query()}#x", query().replace("/zt", "/./zt"),
        f"{query()}\u00e9",
    ],
)  # fmt: skip
def test_anything_but_a_challenge_is_not_answered(agent: Agent, target: str) -> None:
    assert agent.answer(head(target)) == Answer(code="AGENT_PROOF_REQUEST")


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_challenge_leads_anywhere_but_to_the_host_that_is_signed_for(host: str, state: str) -> None:
    try:
        asked = read_asked(query(host=host, state=state))
    except AgentError as error:
        assert error.code == "AGENT_PROOF_REQUEST"
    else:
        back = urlsplit(way_back(asked, "proof"))
        assert (back.scheme, back.hostname, back.path, back.username) == ("https", host, "/.zt/device", None)
        assert parse_qs(back.query) == {"proof": ["proof"], "state": [state]}


@given(st.lists(st.sampled_from(["portal.example", "*.corp.example"])), st.text("abc.*", max_size=6), st.booleans())
def test_a_list_covers_what_it_names_and_one_label_under_a_star(hosts: list[str], label: str, under: bool) -> None:
    host = f"{label}.corp.example" if under else label

    assert covers(hosts, host) == (under and "*.corp.example" in hosts and "." not in label)
    assert covers(hosts, "portal.example") == ("portal.example" in hosts)


# -- people of the same machine


@pytest.mark.parametrize(
    "tables",
    [
        [], ["nonsense"], connection(OTHER), connection(0), connection(ME, peer=PEER + 1), connection(ME, to=PORT + 1),
        connection(ME, state="06"), connection(ME, inode=0), connection(ME) + connection(OTHER),
        [row(place(PEER, "0101A8C0"), place(PORT), "01", ME)], [row(place(PEER), place(PORT), "01", ME)[:40]],
    ],
)  # fmt: skip
def test_a_browser_that_is_not_certainly_this_person_s_is_not_answered(agent: Agent, tables: list[str]) -> None:
    agent.tables = tables

    assert agent.answer() == Answer(code="AGENT_PROOF_USER")


def test_a_browser_whose_socket_speaks_both_versions_is_known_by_its_uid(agent: Agent) -> None:
    mapped = "0000000000000000FFFF00000100007F"
    agent.tables = [row(place(PEER, mapped), place(PORT, mapped), "01", ME)]

    assert agent.answer().location


def test_another_person_s_browser_is_sent_to_that_person_s_own_agent_and_told_nothing(agent: Agent) -> None:
    agent.tables = [*connection(OTHER), listens(ME, PORT), listens(OTHER, PORT + 3), listens(OTHER, 8080)]

    assert agent.answer() == Answer(location=f"http://127.0.0.1:{PORT + 3}{query()}")
    assert agent.events == [("agent.browser_handed_on", {"port": PORT + 3})]


def test_nobody_is_sent_round_in_circles(agent: Agent) -> None:
    agent.tables = [*connection(OTHER), listens(OTHER, PORT)]

    assert agent.answer() == Answer(code="AGENT_PROOF_USER")


def test_the_kernel_s_tables_say_whose_a_port_is() -> None:
    tables = [*connection(ME), listens(ME, PORT), listens(OTHER, PORT + 1, "00000000"), listens(OTHER, 99)]
    ports = range(PORT, PORT + PORTS)

    assert owner_of(PEER, to=PORT, tables=lambda: tables) == ME
    assert port_of(OTHER, ports, tables=lambda: tables) == PORT + 1
    assert port_of(7, ports, tables=lambda: tables) is None


@given(st.lists(st.text(max_size=120), max_size=5))
def test_no_line_of_the_tables_is_more_than_no_answer(lines: list[str]) -> None:
    assert owner_of(PEER, to=PORT, tables=lambda: lines) is None
    assert port_of(ME, range(PORT, PORT + PORTS), tables=lambda: lines) is None


# -- without end, and without a device


def test_no_more_proofs_are_given_in_a_minute_than_a_person_needs(agent: Agent) -> None:
    assert all(agent.answer().location for _ in range(A_MINUTE))
    assert agent.answer() == Answer(code="AGENT_PROOF_BUSY")

    agent.clock.advance(60)

    assert agent.answer().location


def test_without_a_device_or_its_key_the_code_says_so(agent: Agent) -> None:
    agent.home.remove("zt-device-1.pem")
    assert agent.answer() == Answer(code="AGENT_KEY_MISSING")

    agent.home.remove("state.json")
    assert agent.answer() == Answer(code="AGENT_NOT_ENROLLED")


def test_the_agent_and_the_sidecar_agree_on_every_name() -> None:
    from device_inventory.agent import browser_proof, browser_proof_listener

    assert (AGENT_PATH, DEVICE.decode(), TYPE) == (browser_proof.PATH, browser_proof.WAY_BACK, browser_proof.TYPE)
    assert (browser_proof_listener.PORT, browser_proof_listener.PORTS) == (PORT, PORTS)
    assert Asked.__struct_fields__ == ("host", "port", "sid", "nonce", "state")
    codes = {"AGENT_PROOF_REQUEST", "AGENT_PROOF_HOST", "AGENT_PROOF_USER", "AGENT_PROOF_BUSY", "AGENT_PROOF_PORT"}
    assert codes <= registry().keys()
