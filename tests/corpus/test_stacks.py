"""The stacks of the backend: real ones, each with its own way to fold names and paths."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import find_peer
from zt_engine.adapters.nginx_process import NginxProcess, listen_text, reserve
from zt_engine.corpus.backend import Backend, fetch_records
from zt_engine.corpus.execution import Execution
from zt_engine.corpus.probe import packaged
from zt_engine.corpus.runner import Place, run
from zt_engine.corpus.stacks.php_emulated import read_head
from zt_engine.corpus.verdict import Outcome, Scope
from zt_engine.corpus.wire import Address

NAMES = ("zt-subject", "zt-device")
FORGED = (
    b"Host: a.example\r\nZt-Subject: tanaka\r\nZt_Subject: minister\r\nZt.Device: laptop\r\nCorpus-Probe: p1\r\n\r\n"
)


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as running:
        yield running


def send(backend: Backend, raw: bytes) -> dict[str, list[Execution]]:
    backend.take()
    with socket.create_connection((backend.host, backend.port), timeout=10) as client:
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    found: dict[str, list[Execution]] = {}
    for record in backend.take():
        found.setdefault(record.stack, []).append(record)
    return found


def test_names_are_folded_as_each_stack_does(backend: Backend) -> None:
    found = send(backend, b"GET /a HTTP/1.1\r\n" + FORGED)

    assert {record.probe for records in found.values() for record in records} == {"p1"}
    assert found["wsgi"][0].identity == {"zt-subject": "tanaka,minister"}
    if "node" in found:
        assert found["node"][0].identity == {"zt-subject": "tanaka"}
    php = found.get("php", found.get("php-emulated"))
    assert php is not None and php[0].identity["zt-device"] == "laptop"


def test_every_stack_decodes_and_some_of_its_readings_resolve(backend: Backend) -> None:
    for records in send(backend, b"GET /pub/%2e%2e/v%61ult?x HTTP/1.1\r\n" + FORGED).values():
        assert {"/pub/../vault", "/vault"} == set(records[0].resources)
        assert records[0].target == "/pub/%2e%2e/v%61ult?x"


def test_overrides_and_prefixes_are_readings(backend: Backend) -> None:
    more = b"X-HTTP-Method-Override: delete\r\nX-Forwarded-Host: b.example\r\nX-Original-URL: /vault\r\n"
    for records in send(backend, b"GET /pub HTTP/1.1\r\n" + more + FORGED).values():
        assert set(records[0].methods) == {"GET", "DELETE"}
        assert set(records[0].hosts) == {"a.example", "b.example"}
        assert "/vault" in records[0].resources


def test_a_head_is_recorded_as_well_and_so_is_what_follows_a_request(backend: Backend) -> None:
    head = send(backend, b"HEAD /a HTTP/1.1\r\n" + FORGED)
    two = send(backend, b"GET /a HTTP/1.1\r\n" + FORGED + b"GET /b HTTP/1.1\r\n" + FORGED)

    assert all(records[0].methods == ("HEAD",) for records in head.values())
    assert all([record.target for record in records] == ["/a", "/b"] for records in two.values())
    assert head.keys() == two.keys() and len(head) >= 2


def test_what_no_stack_understands_is_not_executed(backend: Backend) -> None:
    assert "node" not in send(backend, b"GET /a b HTTP/1.1\r\n" + FORGED)
    assert "php" not in send(backend, b"?? /a HTTP/1.1\r\n" + FORGED)


def test_records_can_be_fetched_past_the_proxy(backend: Backend) -> None:
    backend.take()
    with socket.create_connection((backend.host, backend.port), timeout=10) as client:
        client.sendall(b"GET /a HTTP/1.1\r\n" + FORGED)
        client.recv(1)

    assert {record.target for record in fetch_records((backend.host, backend.port))} == {"/a"}


@pytest.mark.parametrize(
    "head",
    [
        b"GET /pub/%2e%2e/v%61ult/%e7%a7%98?x HTTP/1.1\r\n",
        b"GET //a//b/./c HTTP/1.1\r\n",
        b"POST /a%20b;c=1 HTTP/1.1\r\n",
        b"GET /a HTTP/1.1\r\nX-HTTP-Method-Override: PUT\r\nX-Forwarded-Prefix: /vault\r\n",
        b"GET /a HTTP/1.1\r\nX.Original.URL: /vault\r\n",
    ],
)
def test_the_emulation_of_php_reads_what_php_reads(backend: Backend, head: bytes) -> None:
    if "php" not in {stack.name for stack in backend.stacks}:
        if os.environ.get("CI"):
            pytest.fail("the peer `php` is missing")
        pytest.skip(reason="no php on this machine")
    (real,) = send(backend, head + FORGED)["php"]

    emulated = read_head((head + FORGED)[:-4], NAMES)

    assert set(real.resources) <= set(emulated.resources)
    assert (set(real.methods), set(real.hosts)) == (set(emulated.methods), set(emulated.hosts))
    assert real.identity.get("zt-device") == emulated.identity.get("zt-device")


UNFILTERED = """
server {{
    listen {listen};
    location / {{
        proxy_pass http://{backend};
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }}
    location /vault {{ return 403; }}
}}
"""


@pytest.mark.parametrize("filtered", [False, True])
def test_a_tunnel_through_a_proxy_that_hands_any_upgrade_on_is_seen(
    filtered: bool, backend: Backend, tmp_path: Path
) -> None:
    executable = find_peer("nginx (Debian)") or find_peer("nginx (wheel)")
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail("the peer nginx is missing")
        pytest.skip(reason="no nginx on this machine")
    chosen = [probe for probe in packaged() if probe.id.startswith(("h2c-from", "h2c-then-plain", "upgrade-to-any"))]
    front = reserve()
    http = UNFILTERED.format(listen=listen_text(front), backend=backend.address)
    if filtered:
        http = http.replace("Upgrade $http_upgrade", 'Upgrade ""')
    where = Address(*front.getsockname()[:2])
    nginx = NginxProcess.start(executable, http=http, folder=tmp_path, sockets=[front])
    place = Place(
        addresses={"front": where},
        values={"host": "a.example", "protected": "/vault", "public": "/pub"},
        scope=Scope(protected=("/vault",), public="/pub"),
    )

    try:
        reports = run(chosen, place, records=backend.take)
    finally:
        nginx.stop()

    assert [report.outcome for report in reports] == [Outcome.EXACT if filtered else Outcome.VIOLATED] * len(chosen)
    assert {report.probe.id for report in reports} == {probe.id for probe in chosen} and len(chosen) == 3
