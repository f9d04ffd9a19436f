"""The agent signs a person in at real OpenID providers on loopback: with a browser here, or with one elsewhere."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx
import oidc_provider_mock
import pytest

from device_inventory.agent import oidc_browser, oidc_device
from device_inventory.agent.errors import AgentError, Secret
from device_inventory.agent.jose import payload
from device_inventory.agent.oidc import Client, discover
from device_inventory.agent.wire import Wire
from tests.fakes.agent_world import code_of
from tests.fakes.clock import FakeClock
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.bootstrap.demo_provider import CLIENT, DemoProvider
from zt_engine.pages.registry import registry

CLOCK = SystemClock()
NONCE = secrets.token_urlsafe(24)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire(tls=None, elapsed=CLOCK.elapsed) as made:
        yield made


def browser_of(subject: str, meanwhile: Callable[[str], None] = lambda url: None) -> Callable[[str], None]:
    """A browser whose person is who they are: it posts the provider's form and goes where it is sent."""

    def show(url: str) -> None:
        def visit() -> None:
            with httpx.Client(trust_env=False) as client:
                meanwhile(url)
                answer = client.post(url, data={"sub": subject}) if subject else client.get(url)
                client.get(answer.headers["Location"])

        threading.Thread(target=visit, daemon=True).start()

    return show


def sign_in(wire: Wire, issuer: str, show: Callable[[str], None], *, client_id: str = "zt-agent") -> Secret:
    provider = discover(wire, issuer, now=CLOCK.now())
    client = Client(issuer=issuer, client_id=client_id, scope="openid")
    return oidc_browser.sign_in(
        wire, provider, client, nonce=secrets.token_urlsafe(24), show=show, now=CLOCK.now, elapsed=CLOCK.elapsed
    )


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # Out of the box it knows only clients with a secret; an agent is a public client, which has none (RFC 8252, 8.4).
    methods = ["none", "client_secret_basic", "client_secret_post"]
    monkeypatch.setattr("oidc_provider_mock._app.AuthorizationCodeGrant.TOKEN_ENDPOINT_AUTH_METHODS", methods)
    with oidc_provider_mock.run_server_in_thread(require_nonce=True) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def demo() -> Iterator[DemoProvider]:
    with DemoProvider(CLOCK, person="tanaka") as made:
        yield made


# -- a browser on this machine


@pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")  # the provider's own
def test_a_person_signs_in_at_a_provider_somebody_else_wrote(wire: Wire, provider: str) -> None:
    token = sign_in(wire, provider, browser_of("tanaka"))

    claims = payload(token.reveal())
    assert (claims["iss"], claims["sub"]) == (provider, "tanaka")


def test_a_person_signs_in_where_pkce_is_demanded_and_the_issuer_named(wire: Wire, demo: DemoProvider) -> None:
    token = sign_in(wire, demo.issuer, browser_of(""), client_id=CLIENT)

    assert payload(token.reveal())["sub"] == "tanaka"


def test_what_is_asked_is_a_code_with_pkce_state_and_nonce_for_a_free_loopback_port(
    wire: Wire, demo: DemoProvider
) -> None:
    asked: list[dict[str, list[str]]] = []
    for _ in range(2):
        sign_in(
            wire, demo.issuer, browser_of("", lambda url: asked.append(parse_qs(urlsplit(url).query))), client_id=CLIENT
        )

    assert asked[0]["response_type"] == ["code"]
    assert asked[0]["code_challenge_method"] == ["S256"]
    assert asked[0]["redirect_uri"][0].startswith("http://127.0.0.1:")
    assert all(asked[0][name] != asked[1][name] for name in ("state", "nonce", "code_challenge"))


def test_a_stranger_who_knocks_at_the_port_changes_nothing(wire: Wire, demo: DemoProvider) -> None:
    answers: list[int] = []

    def knock(url: str) -> None:
        back = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        with httpx.Client(trust_env=False) as client:
            for query in ("", "?code=x", "?code=x&state=wrong", "?code=x&state=a&state=b", "?state=%ff"):
                answers.append(client.get(back + query).status_code)
            answers.append(client.get(back.replace("/callback", "/other")).status_code)
            answers.append(client.get(back, headers={"Host": "evil.example"}).status_code)

    token = sign_in(wire, demo.issuer, browser_of("", knock), client_id=CLIENT)

    assert set(answers) == {404}
    assert payload(token.reveal())["sub"] == "tanaka"


def forged(**changes: str | None) -> Callable[[str], None]:
    """A browser that is led back by somebody else, with the right state."""

    def show(url: str) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        back = {"code": "stolen", "state": query["state"]} | changes
        held = {name: value for name, value in back.items() if value is not None}

        def visit() -> None:
            with httpx.Client(trust_env=False) as client:
                client.get(query["redirect_uri"], params=held)

        threading.Thread(target=visit, daemon=True).start()

    return show


@pytest.mark.parametrize("issuer", [None, "", "https://evil.example"], ids=["absent", "empty", "another"])
def test_an_answer_that_does_not_name_the_provider_is_refused(
    wire: Wire, demo: DemoProvider, issuer: str | None
) -> None:
    assert code_of(lambda: sign_in(wire, demo.issuer, forged(iss=issuer), client_id=CLIENT)) == "AGENT_SIGN_IN_MIXED"


def test_a_code_the_provider_did_not_give_is_refused(wire: Wire, demo: DemoProvider) -> None:
    with pytest.raises(AgentError) as caught:
        sign_in(wire, demo.issuer, forged(iss=demo.issuer), client_id=CLIENT)

    assert caught.value.code == "AGENT_SIGN_IN_GRANT"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("unauthorized_client", "AGENT_SIGN_IN_CLIENT"),
        ("invalid_scope", "AGENT_SIGN_IN_SCOPE"),
        ("invalid_request", "AGENT_SIGN_IN_REQUEST"),
        ("server_error", "AGENT_SIGN_IN_PROVIDER"),
        ("something_new", "AGENT_SIGN_IN_REFUSED"),
    ],
)
def test_an_error_of_the_provider_says_which_setting_is_wrong(
    wire: Wire, demo: DemoProvider, error: str, code: str
) -> None:
    show = forged(iss=demo.issuer, code=None, error=error)

    assert code_of(lambda: sign_in(wire, demo.issuer, show, client_id=CLIENT)) == code
    assert registry()[code].hint_ja != registry()[code].hint_en != ""


def test_a_person_who_says_no_is_believed(wire: Wire, demo: DemoProvider) -> None:
    said_no = forged(iss=demo.issuer, code=None, error="access_denied", error_description="no \x1b[31mthanks")

    with pytest.raises(AgentError) as caught:
        sign_in(wire, demo.issuer, said_no, client_id=CLIENT)

    assert caught.value.code == "AGENT_SIGN_IN_REFUSED"
    assert caught.value.message.isprintable()


def test_when_nobody_signs_in_it_ends(wire: Wire, demo: DemoProvider) -> None:
    provider = discover(wire, demo.issuer, now=CLOCK.now())
    client = Client(issuer=demo.issuer, client_id=CLIENT, scope="openid")
    with pytest.raises(AgentError) as caught:
        oidc_browser.sign_in(
            wire, provider, client, nonce=NONCE, show=[].append, now=CLOCK.now, elapsed=CLOCK.elapsed, patience=0.0
        )

    assert caught.value.code == "AGENT_SIGN_IN_TIMEOUT"


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["another"]},
        {"exp": 1},
        {"exp": True},
        {"exp": None},
    ],
    ids=str,
)
def test_an_id_token_that_does_not_answer_this_request_is_refused(
    wire: Wire, demo: DemoProvider, change: dict[str, Any]
) -> None:
    real = demo.keys.claims

    def changed(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return _Overriding(real(*args, **kwargs), change)

    demo.keys.claims = changed

    assert code_of(lambda: sign_in(wire, demo.issuer, browser_of(""), client_id=CLIENT)) == "AGENT_SIGN_IN_TOKEN"


class _Overriding(dict[str, Any]):
    """Claims that some member of is another one in the end."""

    def __init__(self, claims: dict[str, Any], change: dict[str, Any]) -> None:
        super().__init__(claims)
        self._change = change

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update(*args, **kwargs)
        super().update(self._change)


def test_a_provider_that_calls_itself_otherwise_is_not_asked(wire: Wire, demo: DemoProvider) -> None:
    assert code_of(lambda: discover(wire, f"{demo.issuer}/", now=CLOCK.now())) == "AGENT_ISSUER"


def test_a_provider_whose_endpoints_anybody_could_read_is_not_asked(wire: Wire, demo: DemoProvider) -> None:
    real = demo.metadata()
    demo.metadata = lambda: {**real, "token_endpoint": "http://idp.example/token"}

    assert code_of(lambda: discover(wire, demo.issuer, now=CLOCK.now())) == "AGENT_ISSUER"


# -- a browser on another machine


class DeviceCodeProvider:
    """The part of RFC 8628 that a client sees; `answers` are the errors before the token."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.clock = FakeClock(CLOCK.now())
        self.pauses: list[float] = []
        self.asked: list[dict[str, str]] = []
        self.expires_in = 600
        self.keep_nonce = True
        self.nonce = ""
        self.begun: dict[str, Any] = {}
        self._code = secrets.token_urlsafe(16)
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, provider.metadata())

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(raw).items()}
                self._send(*(provider.begin(form) if self.path == "/device" else provider.token(form)))

            def _send(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.keys = DevIssuer(self.issuer, audience="zt-agent")

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "device_authorization_endpoint": f"{self.issuer}/device",
        }

    def begin(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.nonce = form.get("nonce", "")
        return 200, {
            "device_code": self._code,
            "user_code": "WDJB-MJHT",
            "verification_uri": f"{self.issuer}/go",
            "expires_in": self.expires_in,
            "interval": 5,
            **self.begun,
        }

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.asked.append(form)
        if form.get("device_code") != self._code:
            return 400, {"error": "invalid_grant"}
        if self.answers:
            return 400, {"error": self.answers.pop(0)}
        more = {"nonce": self.nonce} if self.keep_nonce else {}
        return 200, {"id_token": self.keys.mint("tanaka", now=self.clock.now(), **more).decode()}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)

    def sign_in(self, wire: Wire, prompts: list[oidc_device.DevicePrompt] | None = None) -> Secret:
        return oidc_device.sign_in(
            wire,
            discover(wire, self.issuer, now=self.clock.now()),
            Client(issuer=self.issuer, client_id="zt-agent", scope="openid"),
            nonce=NONCE,
            show=(prompts if prompts is not None else []).append,
            pause=self.pause,
            now=self.clock.now,
            elapsed=self.clock.elapsed,
        )


def test_a_person_signs_in_with_a_code_typed_elsewhere(wire: Wire) -> None:
    prompts: list[oidc_device.DevicePrompt] = []
    with DeviceCodeProvider("authorization_pending", "authorization_pending") as provider:
        token = provider.sign_in(wire, prompts)

    assert payload(token.reveal())["sub"] == "tanaka"
    assert (prompts[0].uri, prompts[0].code) == (f"{provider.issuer}/go", "WDJB-MJHT")
    assert provider.pauses == [5.0, 5.0, 5.0]


def test_a_provider_that_wants_fewer_questions_gets_fewer_from_then_on(wire: Wire) -> None:
    with DeviceCodeProvider("slow_down", "authorization_pending", "slow_down") as provider:
        provider.sign_in(wire)

    assert provider.pauses == [5.0, 10.0, 10.0, 15.0]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("access_denied", "AGENT_SIGN_IN_REFUSED"),
        ("expired_token", "AGENT_SIGN_IN_TIMEOUT"),
        ("invalid_client", "AGENT_SIGN_IN_CLIENT"),
    ],
)
def test_a_no_ends_the_questions(wire: Wire, answer: str, code: str) -> None:
    with DeviceCodeProvider("authorization_pending", answer) as provider:
        assert code_of(lambda: provider.sign_in(wire)) == code
        assert len(provider.asked) == 2


def test_a_code_nobody_types_is_over_in_time(wire: Wire) -> None:
    with DeviceCodeProvider(*["authorization_pending"] * 500) as provider:
        provider.expires_in = 60

        assert code_of(lambda: provider.sign_in(wire)) == "AGENT_SIGN_IN_TIMEOUT"
        assert sum(provider.pauses) <= 65


def test_a_nonce_that_is_carried_is_this_requests(wire: Wire) -> None:
    with DeviceCodeProvider() as provider:
        real = provider.begin
        provider.begin = lambda form: (200, {**real(form)[1]} | _spoil(provider))

        assert code_of(lambda: provider.sign_in(wire)) == "AGENT_SIGN_IN_TOKEN"


def _spoil(provider: DeviceCodeProvider) -> dict[str, Any]:
    provider.nonce = "another"
    return {}


def test_a_provider_that_drops_the_nonce_is_accepted(wire: Wire) -> None:
    with DeviceCodeProvider() as provider:
        provider.keep_nonce = False

        assert payload(provider.sign_in(wire).reveal())["sub"] == "tanaka"


@pytest.mark.parametrize("member", ["verification_uri", "verification_uri_complete"])
def test_nobody_is_sent_to_an_address_that_can_be_read_on_the_way(wire: Wire, member: str) -> None:
    with DeviceCodeProvider() as provider:
        provider.begun = {member: "http://phish.example/"}

        assert code_of(lambda: provider.sign_in(wire)) == "AGENT_SERVER_ANSWER"


def test_a_provider_without_device_codes_is_named_as_such(wire: Wire, demo: DemoProvider) -> None:
    provider = discover(wire, demo.issuer, now=CLOCK.now())
    client = Client(issuer=demo.issuer, client_id=CLIENT, scope="openid")
    with pytest.raises(AgentError) as caught:
        oidc_device.sign_in(
            wire, provider, client, nonce=NONCE, show=[].append, pause=[].append, now=CLOCK.now, elapsed=CLOCK.elapsed
        )

    assert caught.value.code == "AGENT_DEVICE_CODE_UNSUPPORTED"
