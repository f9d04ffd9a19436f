"""What sidecars ask about keys, over HTTP: as the client sends it, as the routes read it, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from tests.control_support import URL
from tests.passkey_support import HOST, KeyOffice
from tests.unit.test_stream_sidecars import STREAM, Authorities
from zt_engine.adapters.stream_http import refused
from zt_engine.adapters.stream_keys import StreamKey, statement
from zt_engine.adapters.webauthn_desk import StepUpClient
from zt_engine.bootstrap.browser_sign_in import open_passkeys
from zt_engine.bootstrap.serving_stream import open_stream
from zt_engine.control_plane.passkeys import PASSKEYS, Passkeys
from zt_engine.control_plane.passkeys_proving import Begun
from zt_engine.core.errors import ConfigError, InputError, UnavailableError


class Wire:
    """A `StreamClient` as far as `call` goes: to the routes, with the statement of a sidecar that joined."""

    def __init__(self, office: KeyOffice) -> None:
        self._control = office.control
        open_stream(office.plane, STREAM, shared=False).turn()
        token = self._control.call("POST", "/v1/sidecars/tokens", {"sidecar": "edge-1"}).json()["token"]
        self._key = StreamKey.generate()
        body = {"token": token, "public_key": dict(self._key.jwk)}
        assert self._control.call("POST", "/v1/sidecars", body, who=None).status_code == 201

    async def call(self, path: str, body: Mapping[str, object]) -> bytes:
        proof = statement(self._key, sidecar="edge-1", audience=URL, now=self._control.clock.now())
        answer = await asyncio.to_thread(
            self._control.call, "POST", path, body, who=None, authorization=f"Bearer {proof}"
        )
        if answer.status_code in (200, 201):
            return answer.content
        raise refused(answer.status_code, answer.content)


@pytest.fixture(scope="module")
def office() -> Iterator[KeyOffice]:
    with KeyOffice(authority=Authorities(), extras={}) as made:
        yield made


@pytest.fixture(scope="module")
def desk(office: KeyOffice) -> StepUpClient:
    return StepUpClient(Wire(office))


def asked(sid: str, **changed: Any) -> dict[str, Any]:
    return {
        "sid": sid, "host": HOST, "device_id": "", "scheme": "https", "authority": f"{HOST}:8443", "to": "/cases/1",
        "wanted": ["phr", "phrh"], "acr_values": "phr", "max_age": 300,
    } | changed  # fmt: skip


def test_a_sidecar_begins_and_finishes_for_a_session(office: KeyOffice, desk: StepUpClient) -> None:
    key, _ = office.with_key("tanaka")
    sid = office.signed_in("tanaka", acr="pwd")

    begun = asyncio.run(desk.begin(asked(sid)))
    secret = begun.location.removeprefix(f"{URL}/step-up/")
    page = office.proving.asked(secret, now=office.now)
    back = office.proving.prove(secret, key.get(page.options), now=office.now)
    told = {"code": back.partition("code=")[2], "ticket": begun.ticket, "sid": sid, "host": HOST, "device_id": ""}
    raised = asyncio.run(desk.finish(told))

    assert back.startswith(f"https://{HOST}:8443/.zt/proven?code=")
    assert page.ceremony.asked == "acr_values=phr&max_age=300"
    assert (begun.seconds, raised.to, raised.version) == (300, "/cases/1", 2)
    with pytest.raises(InputError) as error:
        asyncio.run(desk.finish(told))
    assert error.value.code == "PASSKEY_CHALLENGE"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, "PASSKEY_NONE"),
        ({"sid": "a" * 43}, "SESSION_NOT_FOUND"),
        ({"to": "//evil.example"}, "SIGN_IN_RETURN"),
        ({"host": "other.example"}, "PASSKEY_SESSION"),
        ({"scheme": "http"}, "SIGN_IN_PLAIN"),
        ({"wanted": []}, "REQUEST_INVALID"),
        ({"wanted": ["phr phrh"]}, "REQUEST_INVALID"),
        ({"authority": "evil.example/\r\n"}, "REQUEST_INVALID"),
        ({"authority": "a b"}, "REQUEST_INVALID"),
        ({"sid": "short"}, "REQUEST_INVALID"),
        ({"more": 1}, "REQUEST_INVALID"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_code_of_a_refusal_reaches_the_sidecar(
    office: KeyOffice, desk: StepUpClient, changed: dict[str, Any], code: str
) -> None:
    sid = office.signed_in("suzuki", acr="pwd")

    with pytest.raises(InputError) as error:
        asyncio.run(desk.begin(asked(sid) | changed))
    assert error.value.code == code


def test_where_there_are_no_keys_a_sidecar_is_told_so(office: KeyOffice, desk: StepUpClient) -> None:
    sid = office.signed_in("suzuki")
    held = office.plane.extras.pop(PASSKEYS)
    try:
        with pytest.raises(InputError) as error:
            asyncio.run(desk.begin(asked(sid)))
    finally:
        office.plane.extras[PASSKEYS] = held
    assert error.value.code == "PASSKEY_OFF"


@pytest.mark.parametrize("who", [None, "owner"])
def test_nobody_but_sidecars_asks(office: KeyOffice, who: str | None) -> None:
    for path in ("/v1/step-ups", "/v1/step-ups/finish"):
        assert office.control.call("POST", path, {}, who=who).status_code == 401


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"location": 1}'])
def test_an_answer_that_is_none_opens_nothing(raw: bytes) -> None:
    class Odd:
        async def call(self, path: str, body: Mapping[str, object]) -> bytes:
            return raw

    for asking in (StepUpClient(Odd()).begin, StepUpClient(Odd()).finish):
        with pytest.raises(UnavailableError):
            asyncio.run(asking({}))


def test_what_is_secret_is_in_no_representation(office: KeyOffice) -> None:
    office.with_key("sato")
    begun: Begun = office.begin(office.signed_in("sato"))
    ceremony = office.proving.asked(begun.location.rpartition("/")[2], now=office.now).ceremony

    assert ceremony.challenge not in repr(ceremony)
    assert begun.ticket not in repr(begun)


# -- by the settings


def opened(url: str, **sign_in: Any) -> dict[str, Any]:
    told = {"issuer": "https://idp.example", "rp_id": "", "key_acr": (), "key_roots": None} | sign_in
    settings = SimpleNamespace(
        sign_in=SimpleNamespace(**told), control=SimpleNamespace(public_url=url, organisation="○○省")
    )
    plane = SimpleNamespace(extras={})
    open_passkeys(plane, settings)
    extras: dict[str, Any] = plane.extras
    return extras


@pytest.mark.parametrize(
    ("url", "sign_in"),
    [
        ("http://control.example", {}),
        ("https://192.0.2.1:8443", {}),
        ("https://[2001:db8::1]", {}),
        ("https://control.example", {"issuer": ""}),
    ],
)
def test_where_no_browser_would_use_a_key_there_are_none(url: str, sign_in: dict[str, Any]) -> None:
    assert opened(url, **sign_in) == {}


@pytest.mark.parametrize("rp_id", ["", "control.ministry.example", "ministry.example"])
def test_keys_belong_to_the_host_or_a_domain_above_it(rp_id: str) -> None:
    found = opened("https://control.ministry.example:8443", rp_id=rp_id)[PASSKEYS]

    assert isinstance(found, Passkeys)


@pytest.mark.parametrize("rp_id", ["other.example", "istry.example", "a.control.ministry.example", ".example"])
def test_keys_of_another_site_are_a_fault_of_the_settings(rp_id: str) -> None:
    with pytest.raises(ConfigError) as error:
        opened("https://control.ministry.example", rp_id=rp_id)
    assert error.value.problems[0].where == "sign_in.rp_id"
