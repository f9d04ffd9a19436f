"""`opa` runs on policy sources, which are input: nothing of our environment, a folder of its own, and limits."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from zt_engine.adapters.opa_binary import OpaBinary, find_opa
from zt_engine.adapters.opa_process import serve_bundle
from zt_engine.core.errors import ConfigError, UnavailableError


@pytest.fixture
def script(tmp_path: Path):
    """Make an executable out of shell lines; it stands in for opa where the point is how it is run."""

    def make(lines: str, name: str = "opa") -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def test_a_run_sees_an_empty_environment_and_only_its_files(script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    opa = OpaBinary(script("/usr/bin/env; /usr/bin/find . -type f | /usr/bin/sort; /bin/pwd"), capabilities=b"{}")

    done = opa.run(files={"b/a.rego": b"package a"})

    lines = done.stdout.decode().split("\n")
    assert not any("planted" in line for line in lines)
    assert {"./b/a.rego", "./capabilities.json"} <= set(lines)
    folder = Path(next(line for line in lines if line.startswith("/") and "zt-opa-" in line))
    assert not folder.exists()


def test_the_folder_of_a_run_is_private(script) -> None:
    opa = OpaBinary(
        script("/usr/bin/stat -c %a ../../* | /usr/bin/sort -u; /usr/bin/stat -c %a .."), capabilities=b"{}"
    )

    assert opa.run(files={}).stdout.split()[-1] == b"700"


def test_what_a_run_made_is_returned_if_it_exists(script) -> None:
    opa = OpaBinary(script("echo made > out; exit 3"), capabilities=b"{}")

    done = opa.run(files={}, collect=("out", "missing"))

    assert (done.status, done.made) == (3, {"out": b"made\n"})


def test_a_run_that_takes_too_long_is_killed_with_everything_it_started(script, tmp_path: Path) -> None:
    """The run's child holds the writing end of a pipe: the pipe ends when nobody is left to hold it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    opa = OpaBinary(script(f"sleep 1000 > {pipe} & wait"), capabilities=b"{}", wall_seconds=2)
    ended = threading.Event()

    def watch() -> None:
        with pipe.open("rb") as reading:
            reading.read()
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    with pytest.raises(UnavailableError) as caught:
        opa.run("test", files={})

    assert caught.value.code == "OPA_TIMEOUT"
    assert ended.wait(20)


def test_a_run_that_floods_its_output_is_cut_off(script) -> None:
    opa = OpaBinary(script("exec /usr/bin/yes"), capabilities=b"{}", file_bytes=1 << 20, wall_seconds=30)

    with pytest.raises(UnavailableError) as caught:
        opa.run(files={})
    assert caught.value.code == "OPA_KILLED"


def test_a_policy_that_hoards_memory_is_cut_off(opa: str) -> None:
    """A text doubled until it has 8 GiB; Go gives up at the limit instead of taking the machine with it."""
    tool = OpaBinary(Path(opa), data_bytes=256 << 20, wall_seconds=60)
    doubled = "".join(f't{n} := concat("", [t{n - 1}, t{n - 1}])\n' for n in range(1, 30))
    source = f'package t\n\nt0 := "0123456789abcdef"\n{doubled}\ntest_x if count(t29) == 0\n'.encode()

    with pytest.raises(UnavailableError) as caught:
        tool.run("test", "--timeout", "50s", "b", files={"b/x_test.rego": source})
    assert caught.value.code == "OPA_KILLED"


def test_a_run_may_use_nothing_that_reaches_outside(opa: str) -> None:
    tool = OpaBinary(Path(opa))

    for call in (
        'http.send({"url": "http://127.0.0.1", "method": "GET"})',
        "time.now_ns()",
        "opa.runtime()",
        'rand.intn("x", 9)',
    ):
        done = tool.run(
            "check",
            "--capabilities",
            "capabilities.json",
            "b",
            files={"b/x.rego": f"package x\n\ny := {call}\n".encode()},
        )
        assert done.status != 0
        assert b"undefined function" in done.stderr


def test_the_setting_wins_over_the_path_and_is_not_replaced_by_it(script, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = script("exit 0"), script("exit 0", name="other")

    assert find_opa(str(other), path=str(one.parent)) == other
    assert find_opa(None, path=str(one.parent)) == one
    with pytest.raises(ConfigError) as caught:
        find_opa(str(one.parent / "missing"), path=str(one.parent))
    assert caught.value.code == "OPA_MISSING"


def test_where_there_is_no_opa_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"OPA_MISSING.*openpolicyagent\.org"):
        find_opa(None, path=str(tmp_path))


def test_a_file_name_that_leaves_the_folder_is_a_fault_of_ours(script) -> None:
    for name in ("../x", "/etc/x"):
        with pytest.raises(ValueError, match="leaves the folder"):
            OpaBinary(script("exit 0"), capabilities=b"{}").run(files={name: b""})


def test_a_server_that_does_not_start_says_why(opa: str) -> None:
    with pytest.raises(UnavailableError, match="OPA_FAILED"), serve_bundle(Path(opa), b"no bundle"):
        pass


def test_no_process_is_left_behind(script) -> None:
    before = set(os.listdir("/proc"))
    OpaBinary(script("exit 0"), capabilities=b"{}").run(files={})

    mine = [pid for pid in set(os.listdir("/proc")) - before if pid.isdigit() and _parent(pid) == os.getpid()]
    assert mine == []


def _parent(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
