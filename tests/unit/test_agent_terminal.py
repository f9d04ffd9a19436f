"""What a person at a terminal is told before anybody is asked to sign in."""

from __future__ import annotations

import pytest

from device_inventory.agent.control_plane import Terms
from device_inventory.agent.errors import AgentError
from tests.fakes.clock import FakeClock
from zt_engine.cli.agent_report import as_zt_error
from zt_engine.cli.agent_terminal import Terminal
from zt_engine.cli.output import Language, print_error
from zt_engine.pages.registry import registry


@pytest.mark.parametrize("language", ["ja", "en"])
def test_a_control_plane_that_names_no_issuer_takes_no_registrations_and_nobody_is_sent_to_sign_in(
    language: Language, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(language, FakeClock(), device_code=False, browser=True, yes=False, proxy="")
    terms = Terms(tenant="acme", issuer="", client_id="", url="https://control.example", notice_version="1")

    with pytest.raises(AgentError) as refused:
        terminal.sign_in(terms)
    print_error(as_zt_error(refused.value), language)

    told = "".join(capsys.readouterr().err.split())
    closed = registry()["ENROLL_CLOSED"]
    assert refused.value.code == "ENROLL_CLOSED"
    assert "".join(closed.text(language).split()) in told
    assert "".join(closed.hint(language).split()) in told
