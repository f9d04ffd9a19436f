"""A browser's session: what the cookie proves, at which host, with which key, and when it proves nothing any more."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bundles import compiled
from tests.world import ISSUER, NOW, World, facts, reasons, situation, subject
from zt_engine.core.decision import Effect
from zt_engine.core.errors import InputError, Problem
from zt_engine.core.revocable import REVOKED, session_names
from zt_engine.core.session import COOKIE, SessionRecord, require_same_origin, session_handle, sid_of
from zt_engine.core.situation import Situation
from zt_engine.sidecar.browser_sessions import token_of
from zt_engine.sidecar.events import EventReader, Readers
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.principals import Principal, revocable
from zt_engine.sidecar.replica import Changes
from zt_engine.sidecar.session_events import SessionTold

HANDLE = b"wrJuR00HyEYr7T8dRMjm3VocgEBRQlPdvzpxcp6iHsM"
ORIGIN = b"https://portal.example"


def record(**fields: object) -> SessionRecord:
    told: dict[str, object] = {
        "sid": sid_of(HANDLE), "version": 1, "host": "portal.example", "issuer": ISSUER, "subject": "tanaka",
        "client_id": "portal", "claims": {}, "acr": "phr", "amr": ("hwk", "user"), "auth_time": NOW - 60,
        "until": NOW + 900,
    }  # fmt: skip
    return msgspec.convert(told | fields, SessionRecord)


class Browser:
    """A world in which Tanaka is signed in with a browser, from her laptop or from nowhere."""

    def __init__(self, bundle: bytes) -> None:
        self.world = World(bundle)
        self.laptop = self.world.enroll()
        self.world.subjects["tanaka"] = subject()
        self.world.publish()
        self.authorizer = self.world.authorizer()
        self.put(record())

    def put(self, *records: SessionRecord) -> None:
        replica = self.world.replica
        told = {one.sid: one for one in records}
        changes = Changes(sessions=dict.fromkeys(replica.sessions) | told)
        known = replica.situation
        assert known is not None
        replica.adopt(replica.state.records.changed(changes), known, now=NOW)

    def ask(
        self, url: str = "https://portal.example/cases/1", *, laptop: bool = True, session: bytes = HANDLE
    ) -> Outcome:
        certificate = self.laptop if laptop else None
        return self.world.decide(self.authorizer, self.world.request(url, certificate=certificate, session=session))


@pytest.fixture
def browser(opa: str) -> Browser:
    return Browser(compiled(opa))


# -- the cookie


def test_the_handle_is_taken_out_of_whatever_else_the_browser_keeps() -> None:
    cookies = b"theme=dark; " + COOKIE + b"=" + HANDLE + b"; other=" + COOKIE

    assert session_handle(cookies) == HANDLE
    assert session_handle(b"theme=dark") == b""
    assert session_handle(b"x" + COOKIE + b"=" + HANDLE) == b""


@pytest.mark.parametrize(
    ("cookies", "code"),
    [
        (COOKIE + b"=" + HANDLE + b"; " + COOKIE + b"=" + HANDLE, "SESSION_DOUBLED"),
        (COOKIE + b"=" + HANDLE[:-1], "SESSION_MALFORMED"),
        (COOKIE + b"=" + HANDLE + b"x", "SESSION_MALFORMED"),
        (COOKIE + b"=", "SESSION_MALFORMED"),
        (COOKIE + b'="' + HANDLE + b'"', "SESSION_MALFORMED"),
        (COOKIE + b"=" + HANDLE + b"; a=" + b"x" * 20_000, "SESSION_MALFORMED"),
    ],
)
def test_a_cookie_that_is_no_handle_or_two_is_refused(cookies: bytes, code: str) -> None:
    with pytest.raises(InputError) as error:
        session_handle(cookies)
    assert error.value.code == code


@given(st.binary(max_size=300))
def test_no_bytes_make_more_of_a_cookie_than_a_handle_or_an_error(raw: bytes) -> None:
    try:
        found = session_handle(COOKIE + b"=" + raw)
    except InputError as error:
        assert error.code in ("SESSION_MALFORMED", "SESSION_DOUBLED")
    else:
        assert len(found) == 43


@pytest.mark.parametrize(
    ("origin", "fetch_site", "good"),
    [
        (ORIGIN, b"same-origin", True),
        (b"", b"same-origin", True),
        (b"", b"none", True),
        (ORIGIN, b"", True),
        (b"", b"", False),
        (b"null", b"", False),
        (b"null", b"same-origin", True),  # a page with `Referrer-Policy: no-referrer`
        (b"null", b"none", False),
        (b"null", b"same-site", False),
        (b"null", b"cross-site", False),  # a page in a sandbox
        (b"https://evil.example", b"", False),
        (b"https://evil.example", b"same-origin", False),
        (ORIGIN, b"cross-site", False),
        (ORIGIN, b"same-site", False),
        (b"?", b"", False),
        (b"http://portal.example", b"", False),
        (b"https://portal.example:8443", b"", False),
    ],
)
def test_what_changes_something_comes_from_a_page_of_this_origin(origin: bytes, fetch_site: bytes, good: bool) -> None:
    try:
        require_same_origin(origin=origin, fetch_site=fetch_site, expected=ORIGIN)
    except InputError as error:
        assert (error.code, good) == ("SESSION_CROSS_SITE", False)
    else:
        assert good


# -- what a session opens


def test_a_session_on_her_own_laptop_is_as_good_as_its_device(browser: Browser) -> None:
    outcome = browser.ask()

    assert outcome.decision.effect is Effect.ALLOW
    assert b'"subject":"tanaka"' in outcome.members


def test_a_session_without_a_device_reaches_nothing_confidential(browser: Browser) -> None:
    assert browser.ask(laptop=False).decision.effect is not Effect.ALLOW


def test_a_session_that_began_on_a_device_opens_nothing_from_another_and_nothing_without_it(browser: Browser) -> None:
    browser.put(record(device_id="laptop-1"))
    assert browser.ask().decision.effect is Effect.ALLOW

    thief = browser.world.enroll("laptop-2", facts=facts({}, NOW))
    browser.world.publish()
    browser.put(record(device_id="laptop-1"))
    stolen = browser.world.decide(browser.authorizer, browser.world.request(certificate=thief, session=HANDLE))

    assert reasons(browser.ask(laptop=False)) == ("SESSION_DEVICE",)
    assert reasons(browser.ask("https://portal.example/notes/a", laptop=False)) == ("SESSION_DEVICE",)
    assert reasons(stolen) == ("SESSION_DEVICE",)


def test_a_session_outlives_the_renewal_of_its_device_s_certificate(browser: Browser) -> None:
    browser.put(record(device_id="laptop-1"))
    assert browser.ask().decision.effect is Effect.ALLOW

    browser.laptop = browser.world.enroll("laptop-1")
    browser.world.publish()
    browser.put(record(device_id="laptop-1"))

    assert browser.ask().decision.effect is Effect.ALLOW


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"host": "pilot.example"}, "SESSION_FOREIGN"),
        ({"until": NOW}, "SESSION_EXPIRED"),
        ({"issuer": "https://other.example"}, "TOKEN_ISSUER_UNKNOWN"),
    ],
)
def test_a_session_that_does_not_count_here_or_now_is_refused(
    browser: Browser, change: dict[str, object], code: str
) -> None:
    browser.put(record(**change))

    assert reasons(browser.ask()) == (code,)


def test_a_session_that_was_just_good_at_its_own_host_opens_no_other(browser: Browser) -> None:
    at_home = browser.ask()

    elsewhere = browser.ask("https://pilot.example/pages/1")

    assert at_home.decision.effect is Effect.ALLOW
    assert reasons(elsewhere) == ("SESSION_FOREIGN",)
    assert browser.ask().decision.effect is Effect.ALLOW


def test_an_unknown_cookie_is_asked_to_sign_in_again(browser: Browser) -> None:
    outcome = browser.ask(session=b"q" * 43)

    assert reasons(outcome) == ("SESSION_UNKNOWN",)
    assert outcome.head.startswith(b"HTTP/1.1 401 ")


def test_a_session_that_ended_opens_nothing_at_the_very_next_request(browser: Browser) -> None:
    assert browser.ask().decision.effect is Effect.ALLOW
    browser.put()

    assert reasons(browser.ask()) == ("SESSION_UNKNOWN",)


def test_a_session_that_expires_while_it_is_remembered_is_refused_on_time(browser: Browser) -> None:
    browser.put(record(until=NOW + 2))
    assert browser.ask().decision.effect is Effect.ALLOW
    browser.world.clock.advance(2)

    assert reasons(browser.ask()) == ("SESSION_EXPIRED",)


@pytest.mark.parametrize("key", ["sid", "provider", "person"])
def test_a_revoked_session_or_person_is_refused(browser: Browser, key: str) -> None:
    browser.put(record(provider_session="idp-7"))
    kind, name = {
        "sid": ("session", sid_of(HANDLE)), "provider": ("session", "idp-7"), "person": ("subject", "tanaka"),
    }[key]  # fmt: skip
    revoked = situation(revocations=[{"kind": kind, "key": name, "until": NOW + 60}])
    browser.world.replica.situation = revoked

    assert reasons(browser.ask())[0] in ("SESSION_REVOKED", "SUBJECT_REVOKED")


@pytest.mark.parametrize("index", range(6))
def test_whatever_revokes_a_session_on_pages_revokes_it_at_every_sidecar(browser: Browser, index: int) -> None:
    mine = record(provider_session="idp-7", device_id="laptop-1")
    browser.put(mine)
    assert browser.ask().decision.effect is Effect.ALLOW
    names = session_names(mine)
    assert len(names) == 6

    kind, key = names[index]
    browser.world.replica.situation = situation(revocations=[{"kind": kind, "key": key, "until": NOW + 60}])

    assert reasons(browser.ask()) == (REVOKED[kind],)


def test_a_sidecar_knows_no_name_of_a_session_that_pages_do_not_know(browser: Browser) -> None:
    mine = record(provider_session="idp-7", device_id="laptop-1")
    principal = Principal(1, since=NOW, until=NOW + 1, situation=situation())
    principal.session = mine

    assert revocable(principal, token_of(mine), None) == session_names(mine)


def test_a_token_counts_before_a_cookie(browser: Browser) -> None:
    token = browser.world.token(bound_to=browser.laptop)
    request = browser.world.request(token=token, certificate=browser.laptop, session=b"q" * 43)

    assert browser.world.decide(browser.authorizer, request).decision.effect is Effect.ALLOW


# -- the stream


def read(data: bytes) -> tuple[SessionTold, list[Problem]]:
    def never(raw: bytes, where: str) -> Situation:
        raise AssertionError((raw, where))

    problems: list[Problem] = []
    reader = EventReader("default", Readers(never, never, never))  # type: ignore[arg-type]
    told = reader.read("session.changed", data, "seq 7", problems)
    assert isinstance(told, SessionTold)
    return told, problems


def test_the_stream_tells_of_sessions_and_of_their_end() -> None:
    assert read(msgspec.json.encode(record())) == (SessionTold(sid_of(HANDLE), record()), [])
    assert read(b'{"sid":"%b","ended":true}' % sid_of(HANDLE).encode()) == (SessionTold(sid_of(HANDLE), None), [])


def test_a_session_that_does_not_read_is_none_and_is_told() -> None:
    told, problems = read(b'{"sid":"%b","version":0}' % sid_of(HANDLE).encode())

    assert told.record is None
    assert [problem.code for problem in problems] == ["SESSION_RECORD"]
