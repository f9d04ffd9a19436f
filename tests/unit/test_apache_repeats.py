"""Questions of Apache that were asked before: not read again, decided each time, and never taken for another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from tests.bundles import TINY, compiled
from tests.fakes.decision_log import FakeDecisionLog
from tests.world import World, subject
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar.app import DecisionApp
from zt_engine.sidecar.hooks.apache import ApacheHook
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, key_digest
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.hooks.pages import DeniedPages
from zt_engine.sidecar.hooks.reading import Sent
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.recorder import Numbers, Origin

KEY = b"0123456789abcdef"


class Site:
    """A sidecar that an httpd asks, and how many questions it has read."""

    def __init__(self, opa: str) -> None:
        self.world = World(compiled(opa, TINY))
        laptop = self.world.enroll()
        self.world.subjects["tanaka"] = subject()
        self.world.publish()
        self.log = FakeDecisionLog()
        self.shown = Credentials(
            [Credential("front", hook="apache", channel="open", proof="key", key_digests=(key_digest(KEY),))]
        )
        page, meters = DeniedPage(registry(), default_language="en"), Meters()
        self.denials = Denials(page)
        self.app = DecisionApp(
            hooks=[], pages=DeniedPages(page, self.shown), denials=self.denials, authorizer=self.world.authorizer(),
            decision_log=self.log, clock=self.world.clock, numbers=Numbers("s-1"), meters=meters,
            origin=Origin("sidecar-1", "default").members(),
        )  # fmt: skip
        self.read = 0
        site = self

        class Counting(ApacheHook):
            def read(self, params: Mapping[bytes, bytes]) -> Sent:
                site.read += 1
                return super().read(params)

        self.hook = Counting(self.app, self.shown, self.denials, meters)
        self.params = {
            b"REQUEST_URI": b"/cases/1", b"REQUEST_METHOD": b"GET", b"ZT_HOST": b"portal.example",
            b"ZT_SCHEME": b"https", b"SERVER_PORT": b"443", b"REMOTE_ADDR": b"203.0.113.7", b"ZT_PEP_KEY": KEY,
            b"HTTP_AUTHORIZATION": b"Bearer " + self.world.token(bound_to=laptop),
            b"ZT_CLIENT_VERIFY": b"SUCCESS", b"ZT_CLIENT_CERT": laptop.pem, b"HTTP_ACCEPT": b"text/html",
        }  # fmt: skip

    def ask(self, number: bytes, port: bytes = b"50000", **changes: bytes) -> bytes:
        params = {**self.params, b"UNIQUE_ID": number, b"REMOTE_PORT": port}
        params |= {name.encode(): value for name, value in changes.items()}
        pending: Any = self.hook.ask(params)
        (answer,) = self.app.seal([pending])
        return answer


@pytest.fixture
def site(opa: str) -> Site:
    return Site(opa)


def test_the_same_question_is_read_once_and_each_answer_and_record_has_its_own_id(site: Site) -> None:
    first, second = site.ask(b"aw@q-1", b"50001"), site.ask(b"aw@q-2", b"50002")

    assert site.read == 1
    assert [answer.partition(b"\r\n")[0] for answer in (first, second)] == [b"Status: 200 OK"] * 2
    assert b"Variable-ZT_REQUEST_ID: aw_q-1\r\n" in first and b"Variable-ZT_REQUEST_ID: aw_q-2\r\n" in second
    assert [msgspec.json.decode(line)["request_id"] for line in site.log.lines] == ["aw_q-1", "aw_q-2"]


def test_nothing_follows_about_the_decision(site: Site) -> None:
    assert site.ask(b"before").startswith(b"Status: 200")
    known = site.world.devices["laptop-1"]
    site.world.devices["laptop-1"] = msgspec.structs.replace(known, status="revoked", version=known.version + 1)
    site.world.publish()

    assert site.ask(b"after").startswith(b"Status: 403")
    assert site.read == 1


@pytest.mark.parametrize(
    "change",
    [
        {"REQUEST_URI": b"/cases/2"}, {"REQUEST_METHOD": b"POST"}, {"ZT_HOST": b"other.example"},
        {"ZT_SCHEME": b"http"}, {"SERVER_PORT": b"80"}, {"REMOTE_ADDR": b"203.0.113.8"}, {"ZT_CLIENT_VERIFY": b"NONE"},
        {"ZT_CLIENT_CERT": b""}, {"HTTP_AUTHORIZATION": b"Bearer a"}, {"HTTP_COOKIE": b"a=b"}, {"HTTP_DPOP": b"a"},
        {"HTTP_ACCEPT": b"application/json"}, {"ZT_FORGED": b"1"}, {"HTTP_X_HTTP_METHOD_OVERRIDE": b"DELETE"},
    ],
)  # fmt: skip
def test_a_question_that_says_anything_else_is_read(site: Site, change: dict[str, bytes]) -> None:
    site.ask(b"one")
    site.ask(b"two", **change)

    assert site.read == 2


def test_an_id_that_is_none_is_read_and_refused(site: Site) -> None:
    site.ask(b"one")

    assert b"Zt-Reason: REQUEST_ID" in site.ask(b"a b")
    assert site.read == 2


def test_who_may_ask_is_looked_at_each_time(site: Site) -> None:
    site.ask(b"one")
    site.hook.rewire(Credentials([]), site.denials)

    assert b"PEP_UNKNOWN" in site.hook.ask({**site.params, b"UNIQUE_ID": b"two"})  # type: ignore[operator]
