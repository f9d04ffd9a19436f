"""An invitation is a code or a link; whatever else somebody pastes is an error that says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.agent.errors import AgentError
from device_inventory.agent.link import Ticket, read_ticket
from device_inventory.agent.tls import safe_url, server_url
from device_inventory.agent.unit import systemd_unit
from device_inventory.agent.wire import plain
from tests.fakes.agent_world import code_of

PIN = "ab" * 32


@pytest.mark.parametrize(
    ("text", "ticket"),
    [
        (" abc-DEF_123\n", Ticket(code="abc-DEF_123")),
        (
            f"https://cp.example/enroll#code=abcdef&ca={PIN}",
            Ticket(code="abcdef", url="https://cp.example", ca_sha256=PIN),
        ),
        ("https://cp.example:8443/x?code=abcdef", Ticket(code="abcdef", url="https://cp.example:8443")),
        (
            f"https://cp.example/#code=abcdef&ca_sha256={':'.join(['AB'] * 32)}",
            Ticket(code="abcdef", url="https://cp.example", ca_sha256=PIN),
        ),
        ("http://127.0.0.1:9/#code=abcdef", Ticket(code="abcdef", url="http://127.0.0.1:9")),
    ],
)
def test_a_code_or_link_is_read(text: str, ticket: Ticket) -> None:
    assert read_ticket(text) == ticket


@pytest.mark.parametrize(
    "text",
    [
        "",
        "short",
        "two words",
        "code\x00null",
        "x" * 300,
        "http://cp.example/#code=abcdef",
        "https://user:pass@cp.example/#code=abcdef",
        "https://cp.example/#ca=" + PIN,
        "https://cp.example/#code=abcdef&ca=1234",
        "https:///#code=abcdef",
        "https://[::1/#code=abcdef",
        "https://cp.example:port/#code=abcdef",
        "javascript://cp.example/#code=abcdef",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    assert code_of(lambda: read_ticket(text)) == "AGENT_INVITATION_MALFORMED"


@given(st.text(max_size=120))
def test_whatever_is_pasted_is_read_or_refused(text: str) -> None:
    try:
        ticket = read_ticket(text)
    except AgentError as error:
        assert error.code == "AGENT_INVITATION_MALFORMED"
    else:
        assert ticket.code.isascii()


def test_a_ticket_does_not_show_its_code() -> None:
    assert "abcdef" not in repr(Ticket(code="abcdef", url="https://cp.example"))


@pytest.mark.parametrize(
    "url", ["http://cp.example", "http://localhost:1", "ftp://cp.example", "cp.example", "https://", "https://a b"]
)
def test_a_server_is_reached_by_https_or_on_loopback_only(url: str) -> None:
    assert code_of(lambda: server_url(url)) == "AGENT_SERVER_URL"


@given(st.text(max_size=40))
def test_no_text_is_taken_for_an_address_that_is_none(text: str) -> None:
    assert not safe_url(text) or text.lower().startswith(("https://", "http://"))


@given(st.one_of(st.text(max_size=200), st.integers(), st.none()))
def test_what_is_shown_of_a_servers_words_is_printable(text: object) -> None:
    assert plain(text, 80).isprintable()
    assert len(plain(text, 80)) <= 80


def test_a_unit_names_the_program_so_that_systemd_reads_it_as_it_is() -> None:
    unit = systemd_unit(["/opt/zt tools/zt", "agent", "run", "--home", "/srv/100%/$HOME"])

    assert 'ExecStart="/opt/zt tools/zt" agent run --home "/srv/100%%/$$HOME"\n' in unit
