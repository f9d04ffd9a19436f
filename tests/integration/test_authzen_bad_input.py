"""AuthZEN requests of every wrong shape: exact statuses, never a 500, never a permit, and the listener lives on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.authzen_support import (
    EVALUATION,
    EVALUATIONS,
    GATEWAY,
    KEY,
    METADATA,
    RIGHTS,
    Caller,
    Reply,
    about,
    address,
    question,
    records_office,
)
from tests.sidecar_support import Process, connect, running
from zt_engine.bootstrap.sandbox import Sandbox

SEARCHES = tuple(f"/access/v1/search/{what}" for what in ("subject", "resource", "action"))
GOOD = about("ken", "view", "offer-1")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Sandbox:
    rights = {**GATEWAY, **RIGHTS, "acr": ["phr", "mfa"], "enforces": ["no_store", "notify"]}
    callers = {"app": (KEY, rights)}
    return records_office(tmp_path_factory.mktemp("authzen") / "here", opa, callers, more="connections = 8\n")


@pytest.fixture(scope="module")
def sidecar(sandbox: Sandbox) -> Iterator[Process]:
    with running(sandbox) as process:
        yield process


@pytest.fixture
def app(sidecar: Process) -> Iterator[Caller]:
    with Caller(address(sidecar)) as client:
        yield client


def without(part: str, key: str | None = None) -> dict[str, Any]:
    body = json.loads(json.dumps(GOOD))
    if key is None:
        del body[part]
    else:
        del body[part][key]
    return body


def changed(part: str, value: Any, key: str | None = None) -> dict[str, Any]:
    body = json.loads(json.dumps(GOOD))
    if key is None:
        body[part] = value
    else:
        body[part][key] = value
    return body


WRONG: dict[str, Any] = {
    "empty": b"",
    "blank": b"  ",
    "no json": b"{",
    "two documents": b"{}{}",
    "an array": [GOOD],
    "a text": "x",
    "a number": 7,
    "null": None,
    "nothing": {},
    "a mark of byte order": b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    "utf-16": json.dumps(GOOD).encode("utf-16"),
    "no utf-8": b'{"subject": "\xff"}',
    "a name twice": json.dumps(GOOD).encode()[:-1] + b',"subject":{"type":"user","id":"rie"}}',
    "a name twice below": json.dumps(GOOD).encode().replace(b'"id": "ken"', b'"id": "ken", "id": "rie"'),
    "half a surrogate": json.dumps(GOOD).encode().replace(b'"ken"', b'"\\ud800"'),
    "not a number": json.dumps(changed("context", {"x": 0})).encode().replace(b'"x": 0', b'"x": NaN'),
    "infinity": json.dumps(changed("context", {"x": 0})).encode().replace(b'"x": 0', b'"x": -Infinity'),
    "too large a number": json.dumps(changed("context", {"x": 0})).encode().replace(b'"x": 0', b'"x": 1e999'),
    "deep": json.dumps(changed("context", {})).encode().replace(b'"context": {}', b'"context": ' + b"[" * 9000),
    "deep and closed": json.dumps(changed("context", 0)).encode()[:-2] + b'{"x":' * 2000 + b"1" + b"}" * 2001,
    "control bytes": json.dumps(GOOD).encode().replace(b'"ken"', b'"k\x01n"'),
    **{f"no {part}": without(part) for part in ("subject", "action", "resource")},
    **{f"no {part}.{key}": without(part, key) for part, key in (
        ("subject", "type"), ("subject", "id"), ("resource", "type"), ("resource", "id"), ("action", "name"),
    )},
    **{f"{part} is {value!r}": changed(part, value)
       for part in ("subject", "action", "resource", "context") for value in (None, "x", 7, True, [], [{}])},
    **{f"{part}.{key} is {value!r}": changed(part, value, key)
       for part, key in (("subject", "id"), ("resource", "type"), ("action", "name")) for value in (None, 7, {}, True)},
    **{f"{part}.properties is {value!r}": changed(part, value, "properties")
       for part in ("subject", "action", "resource") for value in (None, "x", 7, [])},
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_body_that_is_no_question_is_a_400_that_says_why(app: Caller, name: str) -> None:
    for path in (EVALUATION, EVALUATIONS):
        reply = app.post(path, WRONG[name])

        assert (reply.status, reply.headers["zt-reason"]) == (400, "AUTHZEN_BODY")
        assert reply.body.startswith(b"AUTHZEN_BODY: ")
        assert b"ken" not in reply.body
    assert app.evaluate(GOOD).decision is True


BATCH = {"subject": GOOD["subject"], "resource": GOOD["resource"], "evaluations": [{"action": {"name": "view"}}]}


@pytest.mark.parametrize(
    "more",
    [
        {"evaluations": {}},
        {"evaluations": "x"},
        {"evaluations": None},
        {"evaluations": [1]},
        {"evaluations": [{"action": {"name": "view"}}, None]},
        {"evaluations": [{}] * 513},
        {"options": []},
        {"options": None},
        {"options": {"evaluations_semantic": "all"}},
        {"options": {"evaluations_semantic": None}},
        {"options": {"evaluations_semantic": ["execute_all"]}},
        {"options": {"evaluations_semantic": {}}},
        {"subject": "ken"},
        {"context": 1},
    ],
)
def test_a_batch_that_is_none_is_a_400_as_a_whole(app: Caller, more: Any) -> None:
    assert app.batch({**BATCH, **more}).status == 400
    assert app.batch(BATCH).decisions == [True]


def test_a_batch_of_ten_thousand_is_refused_and_one_of_five_hundred_is_not(app: Caller) -> None:
    small = json.dumps({**BATCH, "action": {"name": "view"}, "evaluations": [{}] * 10_000}, separators=(",", ":"))
    assert len(small) < 65536

    assert app.batch(small.encode()).status == 400
    assert app.batch({**BATCH, "evaluations": [{"action": {"name": "view"}, "context": {}}] * 10_000}).status == 413
    assert app.batch({**BATCH, "action": {"name": "view"}, "evaluations": [{}] * 512}).decisions == [True] * 512


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS, *SEARCHES])
def test_a_body_beyond_the_limit_is_refused_before_it_is_read(app: Caller, path: str) -> None:
    assert app.post(path, b" " * 1_000_000).status == 413
    assert app.post(path, b"{" + b" " * 65_534 + b"}").status == 400
    assert app.post(path, b"{" + b" " * 65_535 + b"}").status == 413
    assert app.evaluate(GOOD).decision is True


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON;charset=UTF-8", 200),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        ("application/jsonp", 400),
        ("application/json, text/plain", 400),
        ("", 400),
        (None, 400),
    ],
)
def test_only_json_is_read(app: Caller, content: str | None, status: int) -> None:
    assert app.ask("POST", EVALUATION, json.dumps(GOOD).encode(), content=content).status == status


@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS, *SEARCHES])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_method_is_a_405(app: Caller, path: str, method: str) -> None:
    reply = app.ask(method, path, json.dumps(GOOD).encode())

    assert (reply.status, reply.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path",
    [
        "/", EVALUATION + "/", EVALUATION + "?x=1", "/access/v2/evaluation", "/" + EVALUATION,
        "/access/v1/%65valuation", METADATA + "/tenant", "http://pdp" + EVALUATION,
    ],
)  # fmt: skip
def test_another_path_is_a_404(app: Caller, path: str) -> None:
    assert app.post(path, GOOD).status == 404


@pytest.mark.parametrize(
    "number", ["x", "ü", "a b", '"', "\\", "x" * 200, "{}", "0123-abc"]
)  # fmt: skip
def test_a_request_id_comes_back_byte_for_byte_or_is_refused(app: Caller, number: str) -> None:
    for _ in range(2):
        reply = app.evaluate(GOOD, headers=[("X-Request-ID", number)])

        assert (reply.status, reply.headers.get("x-request-id")) == ((400, None) if number == "ü" else (200, number))
    assert app.evaluate(GOOD, headers=[("X-Request-ID", "x" * 201)]).status == 400


def raw(body: bytes, *lines: str, first: str = f"POST {EVALUATION} HTTP/1.1", length: int | None = None) -> bytes:
    size = [f"Content-Length: {len(body) if length is None else length}"] if length != -1 else []
    head = [first, "Host: x", f"Authorization: Bearer {KEY}", "Content-Type: application/json", *size, *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


BODY = json.dumps(GOOD).encode()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (raw(b"5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=-1), 400),
        (raw(BODY, "Transfer-Encoding: chunked"), 400),
        (raw(BODY, f"Content-Length: {len(BODY)}"), 400),
        (raw(BODY, "Content-Length: 1"), 400),
        (raw(BODY, "X-Request-ID: a", "X-Request-ID: b"), 400),
        (raw(BODY, "Authorization: Bearer x"), 400),
        (raw(BODY, "Content-Type: text/plain"), 400),
        (raw(BODY, "Upgrade: h2c", "Connection: upgrade"), 400),
        (raw(BODY, "Expect: 100-continue"), 417),
        (raw(BODY, *[f"X-Other-{number}: x" for number in range(60)]), 413),
        (raw(BODY, "X-Large: " + "x" * 90_000), 413),
        (raw(BODY, first=f"POST {EVALUATION} HTTP/2.0"), 400),
        (raw(BODY, first=f"POST {EVALUATION} HTTP/0.9"), 400),
        (raw(BODY, first="BREW / HTTP/1.1"), 400),
        (raw(BODY) + raw(BODY), 400),
        (raw(BODY, first=f"POST {EVALUATION} HTTP/1.0"), 200),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    ],
)
def test_a_request_that_breaks_a_rule_of_http_is_refused(sidecar: Process, request_: bytes, status: int) -> None:
    with Caller(address(sidecar)) as client:
        assert client.send(request_).status == status


def test_a_body_may_come_in_pieces_and_one_that_never_comes_is_given_up(sidecar: Process) -> None:
    with connect(address(sidecar)) as sock:
        whole = raw(BODY)
        for start in range(0, len(whole), 7):
            sock.sendall(whole[start : start + 7])
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK")
    with connect(address(sidecar)) as sock:
        sock.sendall(raw(b"{", length=100))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(65536) == b""


def test_strangers_keep_no_caller_out_and_may_not_stay(sidecar: Process) -> None:
    silent = [connect(address(sidecar)) for _ in range(8)]
    talking = Caller(address(sidecar), None)
    try:
        assert talking.ask("GET", METADATA).status == 200
        assert talking.evaluate(GOOD).status == 401
        with Caller(address(sidecar)) as client:
            assert client.evaluate(GOOD).decision is True
            for sock in [*silent, talking.sock]:
                try:
                    assert sock.recv(65536) == b""  # it is hung up on, sooner or later
                except ConnectionResetError:
                    pass
            assert client.evaluate(GOOD).decision is True
    finally:
        talking.close()
        for sock in silent:
            sock.close()


def test_callers_that_are_too_many_are_told_so(sidecar: Process) -> None:
    clients = [Caller(address(sidecar)) for _ in range(8)]
    try:
        assert [client.evaluate(GOOD).status for client in clients] == [200] * 8
        with Caller(address(sidecar)) as another:
            assert another.evaluate(GOOD).status == 503
    finally:
        for client in clients:
            client.close()


# -- whatever is sent

NAMES = st.sampled_from(
    ["subject", "resource", "action", "context", "evaluations", "options", "page", "type", "id", "name", "properties",
     "evaluations_semantic", "token", "limit", "x", "", "amr", "device_id", "decision"]
)  # fmt: skip
TEXTS = st.sampled_from(
    ["user", "ken", "record", "offer-1", "view", "http", "route", "execute_all", "", "\u0000", "漢"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
MANGLED = st.fixed_dictionaries(
    {}, optional={name: VALUES | st.just(GOOD.get(name, {})) for name in ("subject", "resource", "action", "context")}
    | {"evaluations": VALUES | st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=3), "options": VALUES},
)  # fmt: skip
PATHS = st.sampled_from([EVALUATION, EVALUATIONS, *SEARCHES])
BYTES = st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
ONCE = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(reply: Reply, path: str, body: Any) -> None:
    """INVARIANT: 200 or a 4xx of the map; nothing permitted but the one question that is."""
    assert reply.status in (200, 400, 413)
    if reply.status != 200 or path in SEARCHES:
        return
    known = reply.json
    for item in known.get("evaluations", [known]):
        assert isinstance(item["decision"], bool)
        if item["decision"]:
            assert isinstance(body, dict)
            assert "offer-1" in json.dumps(body)
            assert "ken" in json.dumps(body)


@given(path=PATHS, body=MANGLED | VALUES)
@ONCE
def test_no_json_brings_a_500_or_a_permit(app: Caller, path: str, body: Any) -> None:
    check(app.post(path, body), path, body)


@given(
    path=PATHS, body=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
)
@ONCE
def test_no_bytes_bring_a_500_or_a_permit(app: Caller, path: str, body: bytes) -> None:
    assert app.post(path, body).status in (400, 413)


@given(number=st.integers(0, len(BODY) - 1), byte=st.integers(0, 255))
@ONCE
def test_one_byte_of_a_body_changed_is_never_more_than_was_asked(app: Caller, number: int, byte: int) -> None:
    body = BODY[:number] + bytes((byte,)) + BODY[number + 1 :]

    reply = app.evaluate(body)

    assert reply.status in (200, 400)
    if reply.status == 200 and reply.decision:
        assert {**json.loads(body), "x": 0}["resource"]["id"] in ("offer-1", "notice-2")


@given(raw_=st.binary(min_size=1, max_size=300))
@settings(ONCE, max_examples=25)
def test_no_bytes_on_the_wire_keep_the_listener_from_the_next_caller(sidecar: Process, raw_: bytes) -> None:
    with connect(address(sidecar)) as sock:
        sock.sendall(raw_)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    assert not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 5"))


def test_after_all_of_it_questions_are_answered_as_before(app: Caller, sidecar: Process) -> None:
    assert app.evaluate(question()).decision is True
    assert sidecar.events("answer.failed") == []
    assert sidecar.events("decision.failed") == []
    assert sidecar.events("turn.failed") == []
