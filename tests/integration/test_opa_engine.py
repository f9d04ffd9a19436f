"""The engine that asks a running OPA: one attempt, one deadline, the right revision, and nothing odd gets through."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.opa_server import opa_server, opa_serving
from tests.integration.opa_support import tool, write_pack
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.adapters.engine_opa import OpaEngine
from zt_engine.authoring.build import build
from zt_engine.authoring.check import check
from zt_engine.core.bundle import open_bundle
from zt_engine.core.errors import ConfigError, UnavailableError

POLICY = {"p.rego": b"package t\n\nx := input.x\n\nbig := [input.x | some _ in numbers.range(1, 2000)]\n"}
GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 63\r\n\r\n{"provenance":{"bundles":{"b":{"revision":"r1"}}},"result":42}\n'


@contextlib.contextmanager
def scripted(*answers: bytes | Callable[[socket.socket], None], keep: bool = True) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads requests and answers each with the next of these, on as many connections as come."""
    listener = socket.create_server(("127.0.0.1", 0))
    requests: list[bytes] = []
    pending = list(answers)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    while pending and (request := connection.recv(65536)):
                        requests.append(request)
                        answer = pending.pop(0)
                        if callable(answer):
                            answer(connection)
                        else:
                            connection.sendall(answer)
                        if not keep:
                            break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@contextlib.contextmanager
def asking(address: str, *, revision: str = "r1", deadline_ms: int = 2000) -> Iterator[OpaEngine]:
    engine = OpaEngine(address, revision=revision, deadline_ms=deadline_ms)
    try:
        yield engine
    finally:
        engine.close()


def refusal(engine: OpaEngine, entrypoint: str = "t/x", document: bytes = b"{}") -> str:
    with pytest.raises(UnavailableError) as caught:
        engine.evaluate(entrypoint, document)
    return caught.value.code


def test_a_signed_bundle_is_served_by_a_stock_opa_and_answers_every_entrypoint(opa: str, tmp_path: Path) -> None:
    key = BundleSigningKey.generate("site-1")
    checked = check(write_pack(tmp_path / "pack"), tool(opa))
    assert checked.pack is not None
    raw = build(checked.pack, tool(opa), key=key)
    (tmp_path / "bundle.tar.gz").write_bytes(raw)
    (tmp_path / "key.pem").write_text(key.public().pem())
    options = ("--verification-key", "key.pem", "--verification-key-id", "site-1", "--signing-alg", "ES256")
    bundle = open_bundle(raw, keys={"site-1": key.public()})

    with (
        opa_serving(opa, tmp_path / "bundle.tar.gz", socket_path=f"{tmp_path}/s", options=options) as address,
        asking(address, revision=bundle.revision) as engine,
    ):
        for entrypoint in bundle.entrypoints:
            answer = engine.evaluate(entrypoint, b'{"subject":{"acr":"aal2"}}')
            assert answer.startswith(b'{"baseline":{"allow":true')
        assert refusal(engine, "zt/main/nothing") == "ENGINE_UNDEFINED"


def test_a_bundle_of_another_revision_than_expected_is_refused(opa: str) -> None:
    with opa_server(opa, POLICY, revision="r2") as address, asking(address) as engine:
        assert refusal(engine, document=b'{"x":1}') == "ENGINE_REVISION"


def test_a_chunked_answer_is_read_whole(opa: str) -> None:
    """Go sends whatever is longer than two kilobytes in chunks."""
    with opa_server(opa, POLICY, revision="r1") as address, asking(address) as engine:
        assert engine.evaluate("t/big", b'{"x":1}') == b"[" + b",".join([b"1"] * 2000) + b"]"
        assert engine.evaluate("t/x", b'{"x":1}') == b"1"


def test_one_connection_carries_many_evaluations() -> None:
    with scripted(GOOD, GOOD, GOOD) as (address, requests), asking(address) as engine:
        for _ in range(3):
            assert engine.evaluate("t/x", b'{"x":1}') == b"42"

    assert len(requests) == 3
    assert requests[0].startswith(b"POST /v1/data/t/x?strict-builtin-errors&provenance HTTP/1.1\r\n")
    assert requests[0].endswith(b'\r\n\r\n{"input":{"x":1}}')


def test_a_connection_that_was_closed_while_idle_is_replaced_before_anything_is_sent() -> None:
    with scripted(GOOD, GOOD, keep=False) as (address, requests), asking(address) as engine:
        engine.evaluate("t/x", b"{}")
        connection = engine._idle[0]._socket
        assert connection.recv(1) == b""  # the server has closed it

        assert engine.evaluate("t/x", b"{}") == b"42"
    assert len(requests) == 2


def test_a_broken_answer_is_not_asked_for_again() -> None:
    with scripted(b"HTTP/1.1 200 OK\r\n", GOOD, keep=False) as (address, requests), asking(address) as engine:
        assert refusal(engine) == "ENGINE_DOWN"
        assert len(requests) == 1


def drip(connection: socket.socket) -> None:
    """A byte at a time, each soon enough for a timeout that is set anew every time."""
    blocked = threading.Event()
    with contextlib.suppress(OSError):
        for byte in GOOD * 100:
            connection.sendall(bytes((byte,)))
            blocked.wait(0.02)


def silent(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize("server", [drip, silent])
def test_one_deadline_covers_the_whole_exchange(server: Callable[[socket.socket], None]) -> None:
    with scripted(server) as (address, _), asking(address, deadline_ms=100) as engine:
        assert refusal(engine) == "ENGINE_TIMEOUT"


def _answer(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (_answer(b'{"result":1}'), "ENGINE_REVISION"),
        (_answer(b'{"provenance":{"bundles":{}},"result":1}'), "ENGINE_REVISION"),
        (_answer(b'{"provenance":{"bundles":{"b":{"revision":"r1"}}}}'), "ENGINE_UNDEFINED"),
        (_answer(b"[]"), "ENGINE_MALFORMED"),
        (_answer(b"not json"), "ENGINE_MALFORMED"),
        (_answer(b""), "ENGINE_MALFORMED"),
        (_answer(b'{"code":"internal_error"}', "500 Internal Server Error"), "ENGINE_DOWN"),
        (_answer(b'{"code":"internal_error","errors":[{"code":"eval_cancel_error"}]}', "500 X"), "ENGINE_TIMEOUT"),
        (_answer(b"<html>", "502 Bad Gateway"), "ENGINE_DOWN"),
        (_answer(b"", "302 Found"), "ENGINE_DOWN"),
        (_answer(b'{"code":"invalid_parameter"}', "400 Bad Request"), "ENGINE_INPUT"),
        (GOOD + b"HTTP/1.1 200 OK\r\n", "ENGINE_DOWN"),
        (GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), "ENGINE_DOWN"),
        (GOOD.replace(b"Content-Length: 63", b"X: 1"), "ENGINE_DOWN"),
        (GOOD.replace(b"Content-Length: 63", b"Content-Length: 63\r\nContent-Length: 63"), "ENGINE_DOWN"),
        (GOOD.replace(b"Content-Length: 63", b"Content-Length: 63\r\nTransfer-Encoding: chunked"), "ENGINE_DOWN"),
        (GOOD.replace(b"63", b"99999999"), "ENGINE_DOWN"),
        (GOOD.replace(b"63", b"-1"), "ENGINE_DOWN"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "ENGINE_DOWN"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz", "ENGINE_DOWN"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "ENGINE_DOWN"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000, "ENGINE_DOWN"),
        (b"garbage\r\n\r\n", "ENGINE_DOWN"),
    ],
)
def test_an_odd_answer_is_a_refusal_with_its_own_code(answer: bytes, code: str) -> None:
    with scripted(answer, keep=False) as (address, _), asking(address) as engine:
        assert refusal(engine) == code


def test_an_opa_that_is_not_there_is_down() -> None:
    with asking("unix:///nowhere/opa.sock") as engine:
        assert refusal(engine) == "ENGINE_DOWN"


@pytest.mark.parametrize(
    "entrypoint", ["", "x", "t/x?explain=full", "t/../x", "t/0", "t//x", "/t/x", "t/X", "t/x\r\n", "t%2fx"]
)
def test_nothing_but_an_entrypoint_can_become_part_of_the_path(entrypoint: str) -> None:
    with asking("unix:///nowhere/opa.sock") as engine:
        assert refusal(engine, entrypoint) == "ENGINE_UNDEFINED"


@pytest.mark.parametrize(
    "address",
    [
        *("", "opa", "http://opa.example:8181", "http://10.0.0.1", "ftp://127.0.0.1", "unix://opa.sock", "https://"),
        *("http://127.0.0.1/v1", "http://127.0.0.1:x", "http://u:secret@127.0.0.1", "http://127.0.0.1?x"),
    ],
)
def test_an_address_that_could_leave_the_machine_in_the_clear_or_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OpaEngine(address, revision="r1")

    assert caught.value.code == "ENGINE_ADDRESS_INVALID"
    assert "secret" not in str(caught.value)


def test_ipv6_loopback_and_tls_are_accepted() -> None:
    for address in ("http://[::1]:8181", "https://opa.example"):
        OpaEngine(address, revision="r1").close()


def test_threads_do_not_share_a_connection(opa: str) -> None:
    wrong: list[bytes] = []

    with opa_server(opa, POLICY, revision="r1") as address, asking(address, deadline_ms=10_000) as engine:

        def ask(number: int) -> None:
            wrong.extend(
                answer for _ in range(30) if (answer := engine.evaluate("t/x", b'{"x":%d}' % number)) != b"%d" % number
            )

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []
