"""A device proves itself with a statement for one request: any other device, place, moment or use is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, Depends
from msgspec.structs import replace

from device_inventory.operations import RENEWAL_GRACE, key_revoked, report_lost
from tests.control_support import NOW, TENANT, URL, Control, a_device, held_key
from tests.enrollment_support import DeviceKey
from zt_engine.control_plane.access import DeviceCaller
from zt_engine.control_plane.device_auth import device_caller, renewing_device

KEY = DeviceKey()
OTHER = DeviceKey()
HELD = replace(held_key("mine"), jwk=KEY.jwk)


def room(_plane: object) -> APIRouter:
    router = APIRouter()
    now, late = Depends(device_caller), Depends(renewing_device)

    @router.get("/v1/mine")
    def mine(who: DeviceCaller = now) -> dict[str, str]:
        return {"device": who.device.device_id, "actor": who.actor}

    @router.post("/v1/mine")
    def change(who: DeviceCaller = now) -> dict[str, str]:
        return {"device": who.device.device_id}

    @router.get("/v1/renewing")
    def renewing(who: DeviceCaller = late) -> dict[str, str]:
        return {"device": who.device.device_id}

    return router


@pytest.fixture
def control() -> Iterator[Control]:
    with Control(rooms=(room,)) as one:
        one.put(a_device(keys=(HELD,)))
        one.put(a_device("laptop-2", keys=(replace(held_key("other"), jwk=OTHER.jwk),)))
        yield one


def statement(key: DeviceKey = KEY, *, kid: str = HELD.x5t, typ: str = "zt-device+jwt", **claims: Any) -> str:
    said = {
        "iss": "laptop-1", "aud": URL, "htm": "GET", "htu": f"{URL}/v1/mine", "iat": NOW, "exp": NOW + 60,
        "jti": "0123456789abcdef",
    } | claims  # fmt: skip
    signed = key.sign({name: value for name, value in said.items() if value is not None}, typ=typ, kid=kid)
    return f"ZtDevice {signed.decode()}"


def ask(control: Control, authorization: str, *, path: str = "/v1/mine", method: str = "GET") -> tuple[int, str]:
    answer = control.call(method, path, authorization=authorization)
    return answer.status_code, answer.json().get("code", "")


def test_a_statement_of_this_moment_opens_its_route_once(control: Control) -> None:
    said = statement()

    first = control.call("GET", "/v1/mine", authorization=said)

    assert (first.status_code, first.json()) == (200, {"device": "laptop-1", "actor": "device:laptop-1"})
    assert ask(control, said) == (401, "AUTH_REPLAYED")


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "laptop-2"},
        {"iss": None},
        {"aud": "https://other.example"},
        {"aud": [URL]},
        {"htm": "POST"},
        {"htu": f"{URL}/v1/other"},
        {"htu": "/v1/mine"},
        {"exp": NOW + 61},
        {"exp": NOW},
        {"exp": None},
        {"iat": None},
        {"iat": float(NOW)},
        {"iat": True},
        {"jti": None},
        {"jti": "short"},
        {"jti": "x" * 129},
    ],
    ids=str,
)
def test_a_statement_for_anything_else_is_refused(control: Control, claims: dict[str, Any]) -> None:
    assert ask(control, statement(**claims)) == (401, "AUTH_REFUSED")


@pytest.mark.parametrize(("offset", "status"), [(-31, 401), (-30, 200), (0, 200), (89, 200), (90, 401), (3600, 401)])
def test_a_statement_is_good_for_its_minute_and_a_little_for_clocks_that_differ(
    control: Control, offset: int, status: int
) -> None:
    control.clock.advance(offset)

    answered = ask(control, statement())

    assert answered == (status, "" if status == 200 else "AUTH_EXPIRED")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (statement(OTHER), "PROOF_SIGNATURE"),
        (statement(typ="zt-posture+jwt"), "PROOF_TYPE"),
        (statement(kid=held_key("nobody").x5t), "AUTH_REFUSED"),
        (statement(kid=held_key("other").x5t), "PROOF_SIGNATURE"),
        (statement(OTHER, kid=held_key("other").x5t), "AUTH_REFUSED"),
        ("ZtDevice e30.e30.e30", "PROOF_MALFORMED"),
        ("Bearer owner", "AUTH_REQUIRED"),
    ],
)
def test_no_other_key_speaks_for_the_device(control: Control, said: str, code: str) -> None:
    assert ask(control, said) == (401, code)


def test_a_key_that_was_revoked_opens_nothing(control: Control) -> None:
    with control.store.writing(TENANT) as tx:
        held = tx.devices.get("laptop-1")
        assert held is not None
        tx.devices.put(key_revoked(held, x5t=HELD.x5t, now=NOW, reason="copied"))

    assert ask(control, statement()) == (401, "AUTH_REFUSED")


def test_a_device_that_is_lost_is_not_served(control: Control) -> None:
    with control.store.writing(TENANT) as tx:
        held = tx.devices.get("laptop-1")
        assert held is not None
        tx.devices.put(report_lost(held, now=NOW))

    assert ask(control, statement()) == (403, "AUTH_DEVICE_STATUS")


def test_a_certificate_that_has_ended_may_ask_for_the_next_one_and_for_nothing_else(control: Control) -> None:
    def at(now: int, path: str) -> tuple[int, str]:
        control.clock.advance(now - control.clock.now())
        said = statement(iat=now, exp=now + 60, htu=URL + path, jti=f"{path}-{now}".rjust(20, "0"))
        return ask(control, said, path=path)

    end = HELD.not_after

    assert at(end - 1, "/v1/mine") == (200, "")
    assert at(end, "/v1/mine") == (401, "AUTH_CERTIFICATE_ENDED")
    assert at(end, "/v1/renewing") == (200, "")
    assert at(end + RENEWAL_GRACE, "/v1/renewing") == (401, "AUTH_CERTIFICATE_ENDED")


def test_an_administrators_key_is_no_devices(control: Control) -> None:
    assert ask(control, "Bearer owner")[0] == 401
    assert control.call("GET", "/v1/devices", authorization=statement()).status_code == 401
