"""Around every route: who is not known is served by public routes alone, and no error tells too much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest
from fastapi import APIRouter, Depends
from fastapi.routing import iter_route_contexts
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.control_support import Control, a_device
from zt_engine.control_plane.access import administrator
from zt_engine.control_plane.app import PUBLIC
from zt_engine.control_plane.limits import Rate
from zt_engine.control_plane.shell import HEADERS, path_of

# Every route that answers somebody who says nothing of himself. Whoever adds one has to write it down here as well.
OPEN = {
    ("GET", "/healthz"),
    ("GET", "/v1/enroll/config"),
    ("GET", "/v1/enroll/notice"),
    ("POST", "/v1/enroll"),
    ("POST", "/v1/lost"),
    ("POST", "/v1/backchannel-logout"),
    ("POST", "/v1/reports"),
    ("POST", "/v1/sidecars"),
    ("GET", "/.well-known/est/cacerts"),
    ("GET", "/.well-known/est/csrattrs"),
    ("POST", "/.well-known/est/simpleenroll"),
    ("POST", "/.well-known/est/simplereenroll"),
    ("GET", "/.zt/login"),
    ("GET", "/.zt/callback"),
    ("GET", "/.zt/logout"),
    ("POST", "/.zt/logout"),
    ("GET", "/.zt/signed-out"),
    ("GET", "/enroll"),
    ("POST", "/enroll"),
    ("GET", "/step-up/{secret}"),
    ("POST", "/step-up/{secret}"),
}


@pytest.fixture
def control() -> Iterator[Control]:
    with Control() as one:
        yield one


@pytest.fixture(scope="module")
def shared() -> Iterator[Control]:
    """For tests that change nothing."""
    with Control() as one:
        yield one


def routes(control: Control) -> list[tuple[str, str]]:
    return [
        (method, str(context.path_format))
        for context in iter_route_contexts(control.app.routes)
        for method in sorted(context.methods or ())
    ]


def test_the_list_of_public_routes_is_this_one() -> None:
    assert set(PUBLIC) == OPEN


def test_invariant_11_every_other_route_refuses_whoever_brings_no_credential(control: Control) -> None:
    answered = {}
    for method, path in routes(control):
        if (method, path) not in OPEN:
            answer = control.call(method, path.replace("{", "").replace("}", ""), {}, who=None)
            answered[method, path] = answer.status_code

    assert len(answered) > 30
    assert set(answered.values()) == {401}


@pytest.mark.parametrize(
    "credential",
    [
        "Bearer",
        "Bearer ",
        "Bearer nobody",
        "Basic b3duZXI6",
        "owner",
        "ZtDevice owner",
        "ZtEnroll owner",
        "Bearer owner,",
    ],
)
def test_a_credential_that_is_none_opens_nothing(shared: Control, credential: str) -> None:
    for method, path in routes(shared):
        if (method, path) not in OPEN:
            answer = shared.call(method, path.replace("{", "").replace("}", ""), {}, authorization=credential)
            assert answer.status_code == 401, (method, path, answer.text)


def test_two_credentials_at_once_are_none(shared: Control) -> None:
    async def both() -> int:
        headers = [(b"authorization", b"Bearer owner"), (b"authorization", b"Bearer owner"), (b"host", b"x")]
        status = 0

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)

        scope = {
            "type": "http", "method": "GET", "path": "/v1/whoami", "raw_path": b"/v1/whoami", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 1), "server": ("x", 80), "scheme": "http",
            "http_version": "1.1", "root_path": "",
        }  # fmt: skip
        await shared.app(scope, receive, send)
        return status

    assert asyncio.run(both()) == 401


def test_who_asks_is_settled_before_any_of_the_body_is_read(shared: Control) -> None:
    answer = shared.call("POST", "/v1/invitations", b"{ this is no json", who=None)

    assert answer.status_code == 401


def test_a_route_that_names_no_caller_keeps_the_program_from_starting() -> None:
    def room(_plane: object) -> APIRouter:
        router = APIRouter()

        @router.get("/v1/forgotten")
        def forgotten() -> dict[str, str]:
            return {"secret": "everything"}

        return router

    with pytest.raises(RuntimeError, match="/v1/forgotten"):
        Control(rooms=(room,))


def test_a_route_that_is_added_later_does_not_exist(control: Control) -> None:
    control.app.add_api_route("/v1/late", lambda: {"secret": "everything"}, methods=["GET"])

    assert control.call("GET", "/v1/late").status_code == 404


def test_what_nobody_foresaw_is_a_problem_that_tells_nothing() -> None:
    def room(_plane: object) -> APIRouter:
        router = APIRouter()
        owner = Depends(administrator("devices.read"))

        @router.get("/v1/broken")
        def broken(who: Any = owner) -> None:
            raise KeyError("a secret of the database")

        return router

    with Control(rooms=(room,)) as control, capture_logs() as logs:
        answer = control.call("GET", "/v1/broken")

    assert answer.status_code == 500
    assert [(line["event"], line["error"], line["route"]) for line in logs] == [
        ("request.failed", "KeyError", "/v1/broken")
    ]
    assert answer.json()["code"] == "CONTROL_FAILED"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "KeyError" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/nowhere", None, 404, "REQUEST_NOT_FOUND"),
        ("PATCH", "/v1/devices", None, 405, "REQUEST_METHOD"),
        ("GET", "/v1/devices/nobody", None, 404, "DEVICE_NOT_FOUND"),
        ("GET", "/v1/devices?limit=0", None, 422, "REQUEST_INVALID"),
        ("GET", "/v1/devices?status=happy", None, 422, "REQUEST_INVALID"),
        ("GET", "/v1/subjects?after=zzz", None, 422, "PAGE_CURSOR"),
        ("GET", "/v1/devices?q=%00", None, 422, "REQUEST_INVALID"),
        ("POST", "/v1/invitations", b"[]", 400, "REQUEST_MALFORMED"),
        ("POST", "/v1/invitations", b'{"subject":"a","subject":"b"}', 400, "REQUEST_MALFORMED"),
        ("POST", "/v1/invitations", b'{"subject":"\\ud800","ownership":"corp"}', 400, "REQUEST_MALFORMED"),
        ("POST", "/v1/invitations", b'{"ceiling":NaN}', 400, "REQUEST_MALFORMED"),
        ("POST", "/v1/invitations", b'{"subject":"a","ownership":"corp","more":1}', 422, "REQUEST_INVALID"),
        ("POST", "/v1/imports/intune", b"{}", 415, "REQUEST_MEDIA_TYPE"),
    ],
)
def test_each_fault_of_a_request_has_its_code(
    shared: Control, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    headers = {"content_type": "text/plain"} if "imports" in path else {}

    answer = shared.call(method, path, body, **headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_a_problem_speaks_the_language_that_is_asked_for(shared: Control) -> None:
    japanese = shared.call("GET", "/v1/devices/x", accept_language="ja, en;q=0.5")
    english = shared.call("GET", "/v1/devices/x", accept_language="en")

    assert japanese.json()["title"] == "その端末はありません。"
    assert japanese.headers["content-language"] == "ja"
    assert english.json()["title"] == "There is no such device."
    assert japanese.json()["code"] == english.json()["code"]


def test_no_answer_repeats_what_was_sent(shared: Control) -> None:
    secret = "hunter2hunter2"

    answers = [
        shared.call("POST", "/v1/invitations", {"subject": "a", "ownership": secret}),
        shared.call("GET", "/v1/whoami", authorization=f"Bearer {secret}"),
        shared.call("GET", f"/v1/subjects?after={secret}"),
        shared.call("GET", f"/v1/{secret}"),
    ]

    assert [secret in answer.text for answer in answers] == [False] * 4


def test_every_answer_carries_the_headers_that_keep_browsers_out(shared: Control) -> None:
    for answer in (shared.call("GET", "/healthz", who=None), shared.call("GET", "/v1/devices", who=None)):
        for name, value in HEADERS:
            assert answer.headers[name.decode()] == value.decode()
        assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_cap_is_refused_however_long_it_says_it_is(control: Control, declared: bool) -> None:
    control.put(a_device())
    body = json.dumps({"reason": "x" * 70_000}).encode()
    headers = {} if declared else {"transfer_encoding": "chunked"}

    answer = control.call("POST", "/v1/devices/laptop-1/lost", body, **headers)

    assert (answer.status_code, answer.json()["code"]) == (413, "REQUEST_TOO_LARGE")
    assert control.device("laptop-1").status == "active"


def test_public_routes_are_limited_for_an_address_and_open_again_after_a_while() -> None:
    rates = {name: (Rate(3, 1), Rate(1000, 100)) for name in ("probe", "enroll", "report")}
    with Control(rates=rates) as control:
        statuses = [control.call("GET", "/healthz", who=None).status_code for _ in range(4)]
        refused = control.call("GET", "/healthz", who=None)
        control.clock.advance(1.0)
        later = control.call("GET", "/healthz", who=None)

    assert statuses == [200, 200, 200, 429]
    assert refused.json()["code"] == "REQUEST_RATE"
    assert int(refused.headers["retry-after"]) >= 1
    assert later.status_code == 200


def test_administrators_are_not_limited_with_everybody() -> None:
    rates = {name: (Rate(1, 1), Rate(1, 1)) for name in ("probe", "enroll", "report")}
    with Control(rates=rates) as control:
        statuses = {control.call("GET", "/v1/whoami").status_code for _ in range(5)}

    assert statuses == {200}


@given(st.text(min_size=1, max_size=40).filter(lambda text: "\x00" not in text))
def test_a_segment_stays_one_whatever_it_holds(segment: str) -> None:
    """Issuers are URLs: their slashes neither end a segment nor are they lost."""
    path = path_of({"raw_path": f"/v1/subjects/{quote(segment, safe='')}/x".encode(), "path": ""})

    assert path.count("/") == 4
    assert unquote(path.split("/")[3]) == segment


def test_a_page_of_devices_leads_to_the_next(control: Control) -> None:
    for number in range(5):
        control.put(a_device(f"laptop-{number}"))
    seen: list[str] = []
    after = ""
    for _ in range(3):
        answer = control.call("GET", f"/v1/devices?limit=2&after={after}").json()
        seen += [item["id"] for item in answer["items"]]
        after = answer["next"]

    assert seen == [f"laptop-{number}" for number in range(5)]
    assert after is None


def test_the_description_of_the_routes_is_for_administrators_alone(shared: Control) -> None:
    assert shared.call("GET", "/openapi.json").status_code == 404
    assert shared.call("GET", "/docs").status_code == 404
    assert shared.call("GET", "/v1/openapi.json", who=None).status_code == 401
    assert "/v1/devices" in shared.call("GET", "/v1/openapi.json").json()["paths"]
