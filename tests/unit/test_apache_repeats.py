"""Questions of Apache that were asked before: not read again, decided each time, and never taken for another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.bundles import TINY, compiled
from tests.fakes.decision_log import FakeDecisionLog
from tests.fastcgi_support import encoded
from tests.world import World, subject
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar.app import DecisionApp
from zt_engine.sidecar.hooks.apache import STRANGER, ApacheHook
from zt_engine.sidecar.hooks.apache_repeats import ID, PORT, key_of
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
        pending: Any = self.hook.ask(encoded(params))
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
    assert site.ask(b"id-1").startswith(b"Status: 200")
    known = site.world.devices["laptop-1"]
    site.world.devices["laptop-1"] = msgspec.structs.replace(known, status="revoked", version=known.version + 1)
    site.world.publish()

    assert site.ask(b"id-2").startswith(b"Status: 403")
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

    with capture_logs() as logged:
        for _ in range(2):
            assert site.hook.ask(encoded({**site.params, b"UNIQUE_ID": b"two", b"REMOTE_PORT": b"50000"})) == STRANGER

    assert [(line["event"], line["host"], line["origin"]) for line in logged] == [
        ("proxy.stranger", "portal.example", "FastCGI")
    ]  # fmt: skip
    assert KEY.decode() not in str(logged)


def test_a_question_that_speaks_of_the_id_or_the_port_is_read(site: Site) -> None:
    for number in range(2):
        for said in (b"UNIQUE_ID", b"\x09\x03UNIQUE_IDone", b"\x0b\x05REMOTE_PORT50000"):
            assert site.ask(b"%d" % number, HTTP_X_SAID=said).startswith(b"Status: 200")

    assert site.read == 6


def test_without_a_port_no_part_of_a_header_is_taken_for_one(site: Site) -> None:
    """As a part that is not looked at, it would be whatever somebody else says."""
    for number, said in enumerate((b"tanaka", b"suzuki")):
        params = {**site.params, b"UNIQUE_ID": b"%d" % number, b"HTTP_COOKIE": b"\x0b\x06REMOTE_PORT" + said}
        site.app.seal([site.hook.ask(encoded(params))])

    assert site.read == 2


NAMES = st.sampled_from([ID, PORT, b"REQUEST_URI", b"HTTP_A", b"HTTP_UNIQUE_ID", b"", b"\x09\x01"])
VALUES = st.one_of(st.sampled_from([b"", b"a", b"ab", b"50000", ID, PORT]), st.binary(max_size=3))
PARAMS = st.dictionaries(NAMES, VALUES, max_size=6)


@given(PARAMS, PARAMS)
def test_what_has_one_key_says_the_same(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    kept, found = (key_of(encoded(params)) for params in (one, other))
    if kept is not None and found is not None and kept[0] == found[0] and {ID, PORT} <= one.keys():
        assert [said for said in one.items() if said[0] not in (ID, PORT)] == [
            said for said in other.items() if said[0] not in (ID, PORT)
        ]
        assert (kept[1], found[1]) == (one[ID], other[ID])


@given(PARAMS, st.integers(1, 20))
def test_half_a_question_is_none_that_was_asked_before(params: dict[bytes, bytes], left_out: int) -> None:
    whole = encoded({**params, ID: b"abc", PORT: b"50000"})
    kept, found = key_of(whole), key_of(whole[:-left_out])

    assert kept is None or found is None or kept[0] != found[0]


@given(PARAMS, st.text("ab-_", min_size=1, max_size=30), st.integers(1, 65535))
def test_another_id_and_port_of_the_same_lengths_have_the_same_key(
    params: dict[bytes, bytes], number: str, port: int
) -> None:
    one = {**params, ID: number.encode(), PORT: b"%05d" % port}
    other = {**one, ID: number.encode()[::-1], PORT: b"00001"}

    kept, found = key_of(encoded(one)), key_of(encoded(other))

    assert (kept is None) == (found is None)
    assert kept is None or found is None or (kept[0] == found[0] and found[1] == other[ID])
