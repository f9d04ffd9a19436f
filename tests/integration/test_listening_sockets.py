"""Where nothing can listen, an operator is told which of the reasons it was."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from zt_engine.bootstrap.sockets import bind
from zt_engine.core.errors import ConfigError


def hint(listen: str) -> str:
    with pytest.raises(ConfigError) as refused:
        bind(listen, key="serve.listen")
    (problem,) = refused.value.problems
    assert (problem.code, problem.where) == ("CONFIG_LISTEN", "serve.listen")
    assert listen in problem.message
    return problem.hint


def test_a_folder_that_is_missing_is_to_be_made(tmp_path: Path) -> None:
    assert hint(f"unix:{tmp_path}/none/zt.sock") == "The folder does not exist: make it, with the group of the proxy"


def test_a_file_in_the_way_is_no_process_that_listens(tmp_path: Path) -> None:
    (tmp_path / "zt.sock").write_text("mine")

    assert hint(f"unix:{tmp_path}/zt.sock") == "A file that is no socket stands there: move it away"


def test_a_port_that_is_taken_has_another_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert hint(f"127.0.0.1:{taken.getsockname()[1]}").startswith("Another process listens there: ")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_lack_of_permission_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("zt_engine.bootstrap.sockets.os.chmod", refuse)

    assert hint(f"unix:{tmp_path}/zt.sock").startswith("No permission to listen there: ")


def test_whoever_shares_an_address_says_so_and_whoever_has_it_alone_does_not() -> None:
    with capture_logs() as logs, bind("127.0.0.1:0", key="sidecar.listen") as first:
        address = f"127.0.0.1:{first.getsockname()[1]}"
        assert not logs
        with bind(address, key="sidecar.listen"):
            assert [(line["event"], line["address"]) for line in logs] == [("listening.shared", address)]
        logs.clear()
    with capture_logs() as logs, bind(address, key="sidecar.listen"):
        assert not logs
