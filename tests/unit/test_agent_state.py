"""What the agent remembers: whole or not at all, its owner's alone, and never made anew when it is damaged."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.agent import state as state_module
from device_inventory.agent.errors import AgentError, Secret
from device_inventory.agent.state import CERTIFICATE, STATE, Held, Home, Session, State, default_home
from tests.fakes.agent_world import code_of

REMEMBERED = State(url="https://cp.example", session=Session(id="e1", secret="s3cret-s3cret"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


def test_what_was_saved_is_what_is_loaded(home: Home) -> None:
    home.save(REMEMBERED)

    assert home.load() == REMEMBERED
    assert Home(home.path.parent / "none").load() is None


def test_files_are_their_owners_alone_whatever_the_umask_says(home: Home) -> None:
    before = os.umask(0)
    try:
        home.save(REMEMBERED)
    finally:
        os.umask(before)

    assert (home.path / STATE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_folder_that_others_can_look_into_is_refused(home: Home, mode: int) -> None:
    home.path.chmod(mode)

    assert code_of(home.prepare) == "AGENT_HOME_OPEN"


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert code_of(Home(tmp_path / "file").prepare) == "AGENT_HOME_UNUSABLE"
    assert code_of(Home(tmp_path / "file" / "below").prepare) == "AGENT_HOME_UNUSABLE"


@given(st.binary(max_size=60))
def test_a_damaged_state_is_an_error_and_stays_as_it_is(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    home = Home(tmp_path_factory.mktemp("home") / "h")
    home.prepare()
    home.write(STATE, raw)

    assert code_of(home.load) == "AGENT_STATE_CORRUPT"
    assert (home.path / STATE).read_bytes() == raw


@pytest.mark.parametrize("cut", range(1, 200, 13))
def test_half_a_state_is_no_state(home: Home, cut: int) -> None:
    home.save(REMEMBERED)
    raw = home.read(STATE)
    home.write(STATE, raw[:-cut])

    assert code_of(home.load) == "AGENT_STATE_CORRUPT"


def test_the_error_of_a_damaged_state_does_not_quote_it(home: Home) -> None:
    home.save(REMEMBERED)
    home.write(STATE, home.read(STATE).replace(b'"url"', b'"odd"'))
    with pytest.raises(AgentError) as caught:
        home.load()

    assert "s3cret" not in repr(caught.value) + str(caught.value)
    assert caught.value.__suppress_context__


def test_a_state_of_a_newer_agent_is_left_alone(home: Home) -> None:
    home.write(STATE, b'{"version": 99, "what": "ever"}')

    assert code_of(home.load) == "AGENT_STATE_VERSION"


def test_a_file_that_is_far_too_large_is_not_read(home: Home) -> None:
    home.write(STATE, b" " * (state_module.MOST_BYTES + 1))

    assert code_of(home.load) == "AGENT_STATE_CORRUPT"


def test_a_write_that_breaks_off_leaves_the_old_file_and_no_litter(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write("file", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    assert code_of(lambda: home.write("file", b"new")) == "AGENT_HOME_UNUSABLE"
    assert sorted(path.name for path in home.path.iterdir()) == ["file"]
    assert home.read("file") == b"old"


def test_the_certificate_lies_beside_the_state_for_other_programs(home: Home) -> None:
    held = Held(
        device_id="d", certificate="CERT\n", chain="CHAIN\n", x5t="", not_before=0, not_after=1, protection="file"
    )
    home.save(State(url="https://cp.example", held=held))

    assert home.read(CERTIFICATE) == b"CERT\nCHAIN\n"


def test_no_secret_is_in_any_repr() -> None:
    shown = repr(REMEMBERED) + repr(Secret("s3cret-s3cret")) + str(Secret("s3cret-s3cret"))

    assert "s3cret" not in shown


def test_a_second_agent_waits_and_then_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "LOCK_TRIES", 2)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with home.locked():
        assert code_of(lambda: home.locked().__enter__()) == "AGENT_BUSY"
    with home.locked():
        pass


def test_a_lock_goes_with_its_process(home: Home) -> None:
    program = (
        "import sys; from pathlib import Path; from device_inventory.agent.state import Home\n"
        "Home(Path(sys.argv[1])).locked().__enter__(); import os; os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(home.path)], check=False, cwd=Path(__file__).parents[2])

    with home.locked():
        pass


def test_the_folder_is_where_the_desktop_keeps_state() -> None:
    person = Path("/home/tanaka")

    assert default_home({}, person) == person / ".local/state/zt-agent"
    assert default_home({"XDG_STATE_HOME": "/srv/state"}, person) == Path("/srv/state/zt-agent")
    assert default_home({"XDG_STATE_HOME": "relative"}, person) == person / ".local/state/zt-agent"
