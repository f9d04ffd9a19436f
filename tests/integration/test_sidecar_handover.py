"""A second process takes over from the first: no request is refused or reset, and the log says who followed whom."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.lab import Backend
from tests.peers import find_peer
from tests.sidecar_support import (
    CASE,
    Client,
    Load,
    Process,
    ask,
    edit,
    in_process,
    installation,
    laptop,
    logged,
    question,
    raw_request,
    running,
    verified,
    wait_for,
)
from zt_engine.adapters.dev_issuer import DevProver
from zt_engine.adapters.log_reader import read_log
from zt_engine.adapters.nginx_process import NginxProcess, reserve
from zt_engine.bootstrap.sandbox import Sandbox

NGINX = """
upstream sidecar {{ server {sidecar}; keepalive 8; keepalive_timeout 60s; }}
upstream backend {{ server {backend}; keepalive 8; }}
server {{
    listen {front};
    location / {{
        auth_request /zt;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass http://backend;
    }}
    location = /zt {{
        internal;
        proxy_http_version 1.1;
        proxy_pass_request_body off;
        proxy_pass_request_headers off;
        proxy_set_header Connection "";
{headers}
        proxy_pass http://sidecar/v1/hooks/nginx;
    }}
}}
"""


def chains(sandbox: Sandbox) -> list[dict]:
    """The first line of every chain."""
    return [
        json.loads(line)
        for segment in read_log([sandbox.folder / "log"])
        for line in segment.lines()
        if line.startswith(b'{"record":"chain.opened"')
    ]


def test_a_successor_takes_over_without_a_refused_or_reset_request(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    device = laptop(sandbox)
    asked = question(sandbox, token=sandbox.token("tanaka", device=device), device=device)

    with running(sandbox, name="first") as first:
        load = Load(first.address, asked, clients=4)
        load.more()
        with running(sandbox, name="second") as second:
            assert second.address == first.address
            load.more()
            assert first.ended() == 0
            load.more()
            with running(sandbox, name="third") as third:
                load.more()
                assert second.ended() == 0
                load.more()
                replies = load.stop()
                third.signal(signal.SIGTERM)
                assert third.ended() == 0

    assert load.faults == []
    assert {reply.decision for reply in replies} <= {event["decision_id"] for event in logged(sandbox)}
    opened = chains(sandbox)
    assert [chain["predecessor"] and chain["predecessor"]["live"] for chain in opened] == [None, True, True]
    assert [chain["predecessor"]["chain"] for chain in opened[1:]] == [chain["chain"] for chain in opened[:-1]]
    assert verified(sandbox).faults == ()


@pytest.mark.parametrize("peer", ["nginx (wheel)"])
def test_nobody_behind_a_real_nginx_notices(tmp_path: Path, opa: str, peer: str) -> None:
    nginx = find_peer(peer)
    if nginx is None:
        if os.environ.get("CI"):
            pytest.fail(f"the peer {peer} is missing")
        pytest.skip(reason=f"no {peer} on this machine")
    sandbox = installation(tmp_path / "zt", opa)
    device = laptop(sandbox)
    headers = question(sandbox, CASE, token=sandbox.token("tanaka", device=device), device=device).decode()
    lines = [line.split(": ", 1) for line in headers.split("\r\n")[2:-2]]
    backend, prefix = Backend(), tmp_path / "nginx"
    prefix.mkdir()
    with running(sandbox, name="first") as first:
        front = reserve()
        address = "{}:{}".format(*front.getsockname())
        text = NGINX.format(
            sidecar=first.address,
            backend=backend.address,
            front=address,
            headers="".join(f'        proxy_set_header {name} "{value}";\n' for name, value in lines),
        )
        with NginxProcess.start(nginx, http=text, folder=prefix, sockets=[front]) as proxy:
            load = Load(address, raw_request("/", ()), clients=4)
            load.more()
            with running(sandbox, name="second"):
                assert first.ended() == 0
                load.more()
                load.stop()
            errors = proxy.errors()
    backend.close()

    assert load.faults == []
    assert "upstream" not in errors


def test_a_predecessor_answers_kept_alive_connections_and_says_that_they_end(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    asked = question(sandbox, "https://portal.example/")
    with running(sandbox, name="first") as first:
        client = Client(first.address)
        assert client.send(asked).header("Connection") is None
        with running(sandbox, name="second") as second:
            last = client.send(asked)

            assert (last.status, last.header("Connection")) == (200, "close")
            assert first.ended() == 0
            assert client.send(asked).status == 200
            assert client.connections == 2
            assert second.process.poll() is None
            client.close()


def test_two_starts_at_once_end_in_one_process_that_serves(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    both = [Process(sandbox, name=name) for name in ("one", "two")]
    try:
        ended = wait_for(lambda: [one for one in both if one.process.poll() is not None], "one of them to give way")
        (serving,) = [one for one in both if one is not ended[0]]

        assert ended[0].process.returncode == 0
        assert ask(sandbox, serving.started().address, "https://portal.example/").status == 200
        assert serving.said("sidecar.took_over")["pid"] == ended[0].process.pid
    finally:
        for process in both:
            process.close()


def test_a_proof_that_was_used_at_the_predecessor_is_not_good_at_the_successor(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    prover = DevProver()
    token = sandbox.issuer.mint("tanaka", now=sandbox.now, jkt=prover.jkt)

    def asked(proof: bytes, request_id: str) -> bytes:
        more = [("Authorization", f"DPoP {token.decode()}"), ("DPoP", proof.decode())]
        return question(sandbox, "https://portal.example/", more=more, request_id=request_id)

    def proof() -> bytes:
        return prover.prove(token=token, method="GET", url="https://portal.example/", now=time.time())

    with running(sandbox, name="first") as first:
        used = wait_for(lambda: _accepted(first.address, asked, proof), "a proof younger than the process")
        with running(sandbox, name="second") as second:
            assert first.ended() == 0  # until then it may be the predecessor that answers, and it knows the proof
            client = Client(second.address)
            replayed = client.send(asked(used, "another"))
            assert (replayed.status, replayed.reason) == (401, "DPOP_BEFORE_START")
            assert wait_for(lambda: _accepted(second.address, asked, proof), "a new proof to be good")
            client.close()


def _accepted(address: str, asked: Callable[[bytes, str], bytes], proof: Callable[[], bytes]) -> bytes | None:
    """Return a new proof after it was used, or None while proofs of this second are too old."""
    client = Client(address)
    try:
        made = proof()
        return made if client.send(asked(made, "r1")).status == 200 else None
    finally:
        client.close()


def test_an_idle_connection_does_not_keep_the_predecessor(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with running(sandbox, name="first") as first:
        idle = Client(first.address)
        assert idle.send(question(sandbox, "https://portal.example/")).status == 200
        with running(sandbox, name="second"):
            assert first.ended(15) == 0
            idle.close()


def test_a_successor_that_cannot_decide_leaves_the_predecessor_in_place(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with running(sandbox, name="first") as first:
        (sandbox.folder / "policy/trust.yaml").rename(sandbox.folder / "policy/trust.yaml.away")
        second = Process(sandbox, name="second")
        try:
            assert second.ended() == 2
        finally:
            second.close()

        assert "HANDOVER_NOT_READY" in second.errors.read_text()
        assert ask(sandbox, first.address, "https://portal.example/").status == 200
        assert first.process.poll() is None


def test_a_successor_that_dies_before_it_serves_leaves_everything_as_it_was(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with running(sandbox, name="first") as first:
        edit(sandbox, "zt.toml", ('admin_listen = "127.0.0.1:0"', 'admin_listen = "unix:/nowhere/admin.sock"'))
        second = Process(sandbox, name="second")
        try:
            assert second.ended() == 2
        finally:
            second.close()

        assert "CONFIG_LISTEN" in second.errors.read_text()
        assert ask(sandbox, first.address, "https://portal.example/").status == 200
        assert first.events("sidecar.stopped") == []


def test_after_a_crash_the_next_start_needs_nothing_from_anybody(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with running(sandbox, name="first") as first:
        first.signal(signal.SIGKILL)
        first.ended()

    assert (sandbox.folder / "state/sidecar-1.handover").exists()
    with running(sandbox, name="second") as second:
        assert ask(sandbox, second.address, "https://portal.example/").status == 200
        assert second.events("sidecar.took_over") == []


def test_a_unix_socket_is_handed_over_as_well(tmp_path: Path, opa: str) -> None:
    path = f"/tmp/zt-test-{os.getpid()}.sock"
    sandbox = installation(tmp_path / "zt", opa, listen=f"unix:{path}")
    try:
        with running(sandbox, name="first") as first:
            load = Load(first.address, question(sandbox, "https://portal.example/"))
            load.more()
            with running(sandbox, name="second"):
                assert first.ended() == 0
                load.more()
                load.stop()
                assert Path(path).exists()
    finally:
        Path(path).unlink(missing_ok=True)

    assert load.faults == []


def test_a_state_folder_that_others_may_write_to_is_refused(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    (sandbox.folder / "state").mkdir(mode=0o700)
    (sandbox.folder / "state").chmod(0o770)
    process = Process(sandbox)
    try:
        assert process.ended() == 2
    finally:
        process.close()

    assert "STATE_FOLDER" in process.errors.read_text()


def test_whoever_waits_at_the_meeting_point_and_talks_nonsense_gets_no_socket(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with in_process(sandbox) as program:
        place = str(sandbox.folder / "state/sidecar-1.handover")
        folder = os.open(sandbox.folder / "state", os.O_RDONLY)
        address = f"/proc/self/fd/{folder}/sidecar-1.handover"
        assert Path(place).exists()
        for said in (b"nonsense", b'{"type":"take"}', b"\xff", b'{"type":"given","listen":[],"ready":true,"pid":1}'):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
                stranger.settimeout(5)
                stranger.connect(address)
                stranger.send(said)
                data, descriptors, _, _ = socket.recv_fds(stranger, 65536, 8)

                assert (data, descriptors) == (b"", [])
        os.close(folder)

        assert program.ask("https://portal.example/").status == 200
        assert not program.program.handed_over.is_set()
