"""`zt up`: one command runs a control plane and a sidecar that follows it; a base install says what it lacks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ZT = (sys.executable, "-c", "import sys; from zt_engine.cli import main; sys.argv[0] = 'zt'; main()")
PATIENCE = 90.0


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ZT, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, int, subprocess.Popen[bytes]]]:
    folder = tmp_path / "site"
    assert run("init", str(folder), "--pack", "corp").returncode == 0
    config = folder / "zt.toml"
    asked, admin, control = free_ports(3)
    text = config.read_text()
    for old, new in ((9191, asked), (9192, admin), (9443, control)):
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    config.write_text(text)
    process = subprocess.Popen([*ZT, "up", "--config", str(config)], stdin=subprocess.DEVNULL)
    try:
        yield config, admin, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def ready(port: int, process: subprocess.Popen[bytes]) -> dict[str, object]:
    until = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)
            if answer.status_code == 200:
                return answer.json()
        time.sleep(0.05)
    raise AssertionError("not ready")


def test_one_command_runs_everything_and_stops_it(site: tuple[Path, int, subprocess.Popen[bytes]]) -> None:
    config, admin, process = site
    ready(admin, process)

    listed = run("device", "--config", str(config), "list", "--json")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    process.send_signal(signal.SIGTERM)
    status = process.wait(PATIENCE)

    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout) in ([], {"items": []})
    assert status == 0
    assert len(children.split()) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in children.split())


def test_after_it_the_sidecar_does_not_start_by_its_folder_alone_and_a_decision_says_what_it_is_made_on(
    site: tuple[Path, int, subprocess.Popen[bytes]],
) -> None:
    config, admin, process = site
    ready(admin, process)
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    question = config.parent / "question.yaml"
    question.write_text('request: {url: "https://www.corp.example/"}\n')

    started = run("sidecar", "run", "--config", str(config), "--lang", "en")
    decided = run("decide", str(question), "--config", str(config), "--json")

    assert started.returncode == 2
    assert "SIDECAR_JOINED" in started.stderr
    assert json.loads(decided.stdout)["kept"]["control_plane"].startswith("http://127.0.0.1:"), decided.stderr


def test_a_base_install_says_which_extra_a_command_needs() -> None:
    hidden = (
        "import sys; sys.modules['fastapi'] = None; from zt_engine.cli import main; "
        "sys.argv = ['zt', 'control', 'run']; main()"
    )

    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False, env=os.environ)

    assert done.returncode == 2
    assert "EXTRA_MISSING" in done.stderr
    assert "zt-engine[control]" in done.stderr


def test_a_sidecar_s_command_imports_nothing_of_the_control_plane() -> None:
    looked = (
        "import sys; from zt_engine.cli import main; import zt_engine.cli.sidecar; "
        "print([name for name in ('fastapi', 'sqlalchemy', 'uvicorn', 'alembic', 'authlib') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_control_plane_s_command_imports_nothing_that_only_some_installations_need() -> None:
    looked = (
        "import gc, sys; from zt_engine.cli.main import Commands; Commands(name='zt').get_command(None, 'control'); "
        "print([name for name in ('psycopg', 'webauthn', 'pyasn1') if name in sys.modules], gc.isenabled())"
    )

    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[] True"
