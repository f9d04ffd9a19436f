"""schemathesis over the OpenAPI document: whatever is sent, no answer is a surprise, and nobody unknown is served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from tests.control_support import Control, a_device
from tests.publishing_support import APPROVERS, KEY, by_version
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap.releasing import open_releases
from zt_engine.bootstrap.serving_stream import open_stream
from zt_engine.control_plane.app import PUBLIC
from zt_engine.control_plane.limits import Rate

EXAMPLES = {GenerationMode.POSITIVE: 6, GenerationMode.NEGATIVE: 4}
FREE = {name: (Rate(10**9, 10**9), Rate(10**9, 10**9)) for name in ("probe", "enroll", "report")}
REAL = {"device_id": "laptop-1", "source": "intune"}
"""What a path names half of the time: of most random names there is nothing."""
# A body can be read before it is known to fit: what these mean is the same for every route.
ALWAYS = {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}


class NoCertificates:
    """A certificate authority that has issued nothing."""

    def authorities(self) -> bytes:
        return b""


@pytest.fixture(scope="module")
def control() -> Iterator[Control]:
    with Control(rates=FREE, home_issuer="https://idp.example", authority=NoCertificates()) as one:
        one.put(a_device())
        open_releases(one.plane, {KEY.key_id: KEY.public()}, APPROVERS, weakenings=by_version)
        open_stream(one.plane, StreamKey.generate(), shared=False)
        yield one


@pytest.fixture(scope="module")
def operations(control: Control) -> list[Any]:
    schema = schemathesis.openapi.from_dict(control.app.openapi())
    found = [result.ok() for result in schema.get_all_operations()]
    assert len(found) > 40
    return found


def sent(control: Control, case: Any, *, who: str | None) -> httpx.Response:
    """Send a case as it was generated, without sockets."""
    prepared = requests.Request(**case.as_transport_kwargs(base_url="http://control.example")).prepare()
    headers = {name: value for name, value in prepared.headers.items() if name.lower() != "authorization"}
    body = prepared.body if prepared.body is None or isinstance(prepared.body, bytes) else prepared.body.encode()
    if who is not None:
        headers["authorization"] = f"Bearer {who}"
    return control.raw(prepared.method or "GET", prepared.path_url, body, headers)


def swept(control: Control, operation: Any, mode: GenerationMode) -> list[str]:
    """Return what was surprising about the answers to one operation, given to nobody known and to an owner."""
    documented = {HTTPStatus(int(status)) for status in operation.definition.raw["responses"]}
    public = (operation.method.upper(), operation.path) in PUBLIC
    surprises: list[str] = []
    turn = 0

    @settings(
        max_examples=EXAMPLES[mode],
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal turn
        turn += 1
        if turn % 2:
            case.path_parameters.update({name: REAL[name] for name in case.path_parameters if name in REAL})
        # Making a case takes longer than answering it.
        for who in (None, "owner"):
            look(case, who)

    def look(case: Any, who: str | None) -> None:
        answer = sent(control, case, who=who)
        status = HTTPStatus(answer.status_code)
        where = f"{operation.method.upper()} {operation.path} as {who}: {status.value} {answer.text[:300]}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.SERVICE_UNAVAILABLE:
            surprises.append(where)
        elif status not in documented | ALWAYS:
            surprises.append(f"undocumented: {where}")
        elif who is None and not public and answer.is_success:
            surprises.append(f"served without a credential: {where}")
        elif not answer.is_success and answer.headers.get("content-type") != "application/problem+json":
            surprises.append(f"no problem: {where}")

    ask()
    return surprises


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "unfitting"])
def test_no_answer_is_a_surprise(control: Control, operations: list[Any], mode: GenerationMode) -> None:
    surprises = []
    for operation in operations:
        # Where nothing can be sent nothing can be unfitting.
        with suppress(Unsatisfiable):
            surprises += swept(control, operation, mode)

    assert surprises == []
