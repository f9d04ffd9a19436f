"""`zt doctor probe`: a safe proxy lets nothing through, and each way past it is found."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.e2e.lab import HOST, Backend, Lab
from tests.hook_support import KEY, GateApp, Served, listening
from tests.peers import find_peer
from zt_engine.cli.main import app
from zt_engine.core.decision import Decision
from zt_engine.doctor.probe import requests
from zt_engine.doctor.probe.run import probe
from zt_engine.doctor.probe.target import target
from zt_engine.doctor.probe.wire import Answer, ask, parsed

DENIED = b"HTTP/1.1 401 Unauthorized\r\nZt-Reason: AUTH_REQUIRED\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
STRANGER = DENIED.replace(b"AUTH_REQUIRED", b"PEP_UNKNOWN")
SERVED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret"
BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TARGET = target("http://127.0.0.1:1/admin", host="portal.example")


class Toy:
    """A proxy in a few lines: a function of the request's bytes."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}/admin"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            with client:
                raw = b""
                while not raw.endswith(b"\r\n\r\n") and (piece := client.recv(65536)):
                    raw += piece
                client.sendall(self._answer(raw))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


def careful(raw: bytes) -> bytes:
    """Refuses everything, and two hosts as well."""
    return BAD if raw.count(b"\r\nHost:") != 1 else DENIED


def codes_of(answer: Callable[[bytes], bytes]) -> set[str]:
    report = probe(TARGET, lambda item: parsed(answer(item.raw)))
    return {finding.code for finding in report.findings} | {problem.code for problem in report.unreadable}


def test_who_refuses_everything_lets_nothing_through() -> None:
    with Toy(careful) as toy:
        result = CliRunner().invoke(app, ["doctor", "probe", toy.url, "--host", "portal.example"])

    assert (result.exit_code, result.stdout) == (0, f"Nothing passed ({toy.url}).\n")


WAYS = [
    ("PROBE_OPEN", lambda raw: SERVED),
    ("PROBE_STATUS_CHANGED", lambda raw: DENIED.replace(b"401 Unauthorized", b"200 OK")),
    ("PROBE_STATUS_CHANGED", lambda raw: b"HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\n\r\n"),
    (
        "PROBE_HOOK_REACHABLE",
        lambda raw: STRANGER if b"/v1/hooks" in raw else None,
    ),
    ("PROBE_HOOK_REACHABLE", lambda raw: SERVED if b" /metrics " in raw else None),
    ("PROBE_PATH_PASSED", lambda raw: SERVED if b"/..%2fadmin" in raw else None),
    ("PROBE_PATH_PASSED", lambda raw: SERVED if b"GET //admin " in raw else None),
    ("PROBE_HEADER_PASSED", lambda raw: SERVED if b"X_Forwarded_Uri: /" in raw else None),
    ("PROBE_HEADER_PASSED", lambda raw: SERVED if b"kube-probe" in raw else None),
    ("PROBE_HOST_PASSED", lambda raw: SERVED if raw.count(b"\r\nHost:") == 2 else None),
    ("PROBE_HOST_PASSED", lambda raw: DENIED),
    ("PROBE_HOST_PASSED", lambda raw: SERVED if b"\r\nHost: zt-doctor.invalid\r\nUser" in raw else None),
    ("PROBE_METHOD_PASSED", lambda raw: SERVED if raw.startswith(b"get ") else None),
    ("PROBE_METHOD_PASSED", lambda raw: SERVED if raw.startswith(b"OPTIONS") else None),
    ("PROBE_INCONCLUSIVE", lambda raw: BAD.replace(b"400", b"502")),
    ("PROBE_INCONCLUSIVE", lambda raw: b""),
]


@pytest.mark.parametrize(("code", "way"), WAYS, ids=[f"{code}-{at}" for at, (code, _) in enumerate(WAYS)])
def test_a_way_past_is_found_and_nothing_else(code: str, way: Callable[[bytes], bytes | None]) -> None:
    def answer(raw: bytes) -> bytes:
        found = way(raw)
        return careful(raw) if found is None else found

    assert codes_of(answer) == {code}


def test_a_redirect_to_the_tidy_path_lets_nobody_through() -> None:
    def tidy(raw: bytes) -> bytes:
        plain = raw.startswith((b"GET /admin ", b"HEAD", b"get", b"OPTIONS", b"TRACE")) or b" http://" in raw
        return careful(raw) if plain else b"HTTP/1.1 308 P\r\nLocation: /admin\r\n\r\n"

    assert codes_of(tidy) <= {"PROBE_HOOK_REACHABLE"}


def test_an_application_that_serves_its_page_for_every_public_name_is_no_finding() -> None:
    assert codes_of(lambda raw: SERVED if b" /zt-doctor" in raw else careful(raw)) <= {"PROBE_HOOK_REACHABLE"}


def test_nobody_there_is_an_exit_status_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    result = CliRunner().invoke(app, ["doctor", "probe", f"http://127.0.0.1:{port}/", "--format", "json"])

    assert result.exit_code == 2
    assert [item["code"] for item in json.loads(result.stdout)["unreadable"]] == ["PROBE_UNREACHABLE"]


@pytest.mark.parametrize(
    "url", ["ftp://a/", "portal.example", "http://", "http://a:b/", "https://u:p@a/", "http://a/ü"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    result = CliRunner().invoke(app, ["doctor", "probe", url])

    assert result.exit_code != 0
    assert "PROBE_URL" in repr(result.exception)


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda body: b"HTTP/1.1 200 OK\r\n" + body))
def test_any_bytes_are_an_answer_or_none(raw: bytes) -> None:
    answer = parsed(raw)

    assert answer == Answer() or 100 <= answer.status <= 999


@given(st.binary(max_size=80).map(lambda tail: b"HTTP/1.1 401 x\r\n" + tail + b"\r\n\r\n"))
def test_any_answers_are_a_report(raw: bytes) -> None:
    assert probe(TARGET, lambda item: parsed(raw)).status in {0, 1, 2}


def test_no_request_can_change_anything_or_carries_a_credential_that_works() -> None:
    sent = [item.raw for item in (requests.baseline(TARGET), *requests.hooks(TARGET), *requests.attempts(TARGET))]

    assert {raw.split(b" ", 1)[0] for raw in sent} == {b"GET", b"get", b"HEAD", b"OPTIONS", b"TRACE"}
    assert all(raw.endswith(b"\r\n\r\n") and b"Content-Length" not in raw for raw in sent)


@pytest.fixture(scope="module")
def nginx() -> Path:
    found = find_peer("nginx (wheel)")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("nginx is missing")
        pytest.skip(reason="no nginx on this machine")
    return found


OTHERS = [("caddy", "caddy.CaddyLab", "caddy.CaddyHook"), ("haproxy", "haproxy.HaproxyLab", "haproxy.HaproxyHook")]
"""Peer, laboratory, hook: another proxy is a line."""


@pytest.mark.parametrize(("peer", "laboratory", "hook"), OTHERS, ids=[peer for peer, _, _ in OTHERS])
def test_a_real_proxy_with_what_is_printed_for_it_lets_nothing_through(
    peer: str, laboratory: str, hook: str, tmp_path: Path
) -> None:
    executable = find_peer(peer)
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail(f"{peer} is missing")
        pytest.skip(reason=f"no {peer} on this machine")
    kind = named("zt_engine.sidecar.hooks", hook)
    gate, sock, backend = GateApp(hook=kind), listening("127.0.0.1"), Backend()
    gate.deny = Decision.deny("POLICY_DENIED")
    served = Served(gate, sock)
    sidecar = "{}:{}".format(*sock.getsockname())
    lab = named("tests.proxies", laboratory)(
        executable, tmp_path, sidecar_address=sidecar, backend_address=backend.address, host=HOST.decode(), key=KEY
    )
    with lab:
        asked = target("http://{}:{}/cases/1".format(*lab.address), host=HOST.decode())
        report = probe(asked, lambda item: ask(asked, item.raw))
    served.close()
    backend.close()

    assert (report.findings, report.unreadable, backend.received) == ((), (), [])


def named(package: str, name: str) -> Any:
    module, _, attribute = name.partition(".")
    return getattr(import_module(f"{package}.{module}"), attribute)


def probed(nginx: Path, folder: Path, edit: Callable[[str], str] = str) -> tuple[set[str], list[bytes]]:
    with Lab(nginx, folder, edit=edit) as lab:
        lab.app.deny = Decision.deny("POLICY_DENIED")
        host, port = lab.address
        words = ["doctor", "probe", f"http://{host}:{port}/cases/1", "--host", HOST.decode(), "--format", "json"]
        document = json.loads(CliRunner().invoke(app, words).stdout)
        assert document["unreadable"] == []
        return {item["code"] for item in document["findings"]}, [item.line[1] for item in lab.backend.received]


def test_a_real_nginx_with_the_printed_block_lets_nothing_through(nginx: Path, tmp_path: Path) -> None:
    assert probed(nginx, tmp_path) == (set(), [])


@pytest.mark.parametrize(
    ("code", "old", "new"),
    [
        ("PROBE_STATUS_CHANGED", "error_page 401 403 /_zt/denied;", "error_page 401 403 =200 /_zt/denied;"),
        (
            "PROBE_PATH_PASSED",
            "location / {",
            "location //cases { auth_request off; PASS_BACK }\nlocation / {",
        ),
        (
            "PROBE_HOOK_REACHABLE",
            "location / {",
            "location /v1/ { auth_request off; PASS_HOOK }\nlocation / {",
        ),
        ("PROBE_METHOD_PASSED", "location / {", "if ($request_method = OPTIONS) { return 200 ok; }\nlocation / {"),
    ],
)
def test_a_real_nginx_with_a_line_of_somebody_elses_is_found_out(
    nginx: Path, tmp_path: Path, code: str, old: str, new: str
) -> None:
    def edit(text: str) -> str:
        back = re.search(r"upstream (\S+_backend) ", text)[1]
        hook = back.removesuffix("_backend")
        assert old in text
        line = new.replace("PASS_BACK", f"proxy_pass http://{back};").replace("PASS_HOOK", f"proxy_pass http://{hook};")
        return text.replace(
            old,
            line,
            1,
        )

    assert code in probed(nginx, tmp_path, edit)[0]
