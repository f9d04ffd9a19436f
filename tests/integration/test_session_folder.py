"""A sidecar without a control plane signs browsers in: sessions are in a file of the machine that sidecars share."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import oidc_provider_mock
import pytest

from tests.sidecar_support import (
    NOTE,
    Client,
    InProcess,
    Reply,
    installation,
    laptop,
    question,
    raw_request,
    wait_for,
)
from zt_engine.adapters.sessions_host import HostStore
from zt_engine.bootstrap.folder_sessions import FILE
from zt_engine.bootstrap.sandbox import Device, Sandbox, hook_headers
from zt_engine.core.session import sid_of

pytestmark = pytest.mark.filterwarnings("ignore")
SESSION = "__Host-zt-session"


class Machine:
    """One installation with sidecars that follow its folder, and a browser with a device."""

    def __init__(self, folder: Path, opa: str, provider: str) -> None:
        self.provider = provider
        self.sandbox: Sandbox = installation(folder, opa)
        self.sandbox.subject("tanaka", issuer=provider)
        self.laptop: Device = laptop(self.sandbox)
        text = (folder / "zt.toml").read_text()
        text = re.sub(r'(\[\[issuers\]\]\nissuer = )"[^"]*"', rf'\1"{provider}"', text)
        text = re.sub(r"\nalgorithms = [^\n]*", "", text)
        text = re.sub(r"\njwks = [^\n]*", f'\njwks = "{provider}/jwks"\nalgorithms = ["RS256"]', text)
        text = text.replace("[sidecar]\n", '[sidecar]\nbrowser_listen = ["127.0.0.1:0"]\n', 1)
        text += f'\n[sign_in]\nissuer = "{provider}"\nclient_id = "portal"\nsecret_file = "keys/client"\n'
        self.sandbox.write("zt.toml", text.encode())
        self.sandbox.write("keys/client", b"a secret of the client")
        self.sandbox.write("keys/session.key", secrets.token_hex(32).encode())

    def sidecar(self) -> InProcess:
        return InProcess(self.sandbox)

    def visit(self, one: InProcess, url: str, *, method: str = "GET", cookies: str = "", **more: str) -> Reply:
        """Open a page at `/.zt/`."""
        headers = hook_headers(self.sandbox, url, method=method, device=self.laptop)
        headers += [("Cookie", cookies)] if cookies else []
        headers += [(name.replace("_", "-"), value) for name, value in more.items()]
        raw = raw_request(urlsplit(url).path, headers).replace(b"GET", method.encode(), 1)
        client = Client(one.program.browser.addresses[0])
        try:
            return client.send(raw)
        finally:
            client.close()

    def ask(self, one: InProcess, cookies: str) -> Reply:
        """Ask the hook about a page, with cookies."""
        client = Client(one.address)
        try:
            return client.send(question(self.sandbox, NOTE, device=self.laptop, more=[("Cookie", cookies)]))
        finally:
            client.close()

    def come_back(self, one: InProcess, wish: str = "") -> Reply:
        """Go to the provider, sign in there, and return what one comes back to."""
        away = self.visit(one, f"https://portal.example/.zt/login?to=/cases/1{wish}")
        assert away.status == 302, away
        ticket = set_cookie(away, "__Host-zt-login")
        back = httpx.post(away.header("Location") or "", data={"sub": "tanaka"}, trust_env=False).headers["location"]
        return self.visit(one, back, cookies=ticket)

    def signed_in(self, one: InProcess) -> str:
        """Sign in and return the cookie."""
        home = self.come_back(one)
        assert (home.status, home.header("Location")) == (303, "/cases/1"), home
        return set_cookie(home, SESSION)


def set_cookie(reply: Reply, name: str) -> str:
    found = re.search(rf"\r\nSet-Cookie: ({name}=[^;]+)", reply.head)
    assert found is not None, reply
    return found[1]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Machine]:
    with oidc_provider_mock.run_server_in_thread(require_nonce=True) as server:
        yield Machine(tmp_path_factory.mktemp("machine"), opa, f"http://127.0.0.1:{server.server_port}")


@pytest.fixture
def started(machine: Machine) -> Iterator[Any]:
    """Starts sidecars, and ends them."""
    made: list[InProcess] = []

    def start() -> InProcess:
        made.append(machine.sidecar())
        return made[-1]

    start.made = made  # type: ignore[attr-defined]
    yield start
    for one in made:
        one.close()


def test_a_browser_signs_in_is_known_after_a_restart_and_signs_out(machine: Machine, started: Any) -> None:
    first = started()
    cookie = machine.signed_in(first)
    assert machine.ask(first, cookie).status == 200
    without = machine.come_back(first, "&acr_values=phr")  # which this provider never says
    assert (without.status, b"SIGN_IN_UNMET" in without.body) == (403, True)
    first.refresh()  # the folder says nothing of sessions, and ends none
    assert machine.ask(first, cookie).status == 200
    started.made.pop().close()

    second = started()
    wait_for(lambda: machine.ask(second, cookie).status == 200, "the session after a restart")
    left = machine.visit(
        second, "https://portal.example/.zt/logout", method="POST", cookies=cookie, Sec_Fetch_Site="same-origin"
    )
    assert left.status == 200
    assert machine.ask(second, cookie).status == 401


def test_what_another_process_of_the_machine_writes_is_known_soon_and_nothing_is_kept_for_a_stream(
    machine: Machine, started: Any
) -> None:
    one = started()
    cookie = machine.signed_in(one)
    path = machine.sandbox.folder / "state" / FILE
    assert path.stat().st_mode & 0o077 == 0
    other = HostStore(path)
    sid = sid_of(cookie.partition("=")[2].encode())
    before = other.version()

    assert sid in [record.sid for record in other.sessions("default")]
    assert other.session("default", sid) is not None
    assert (other.sessions("other"), other.session("other", sid)) == ([], None)
    with other.writing("default") as tx:
        tx.sessions.remove(sid)
        tx.outbox.announce("session.changed", b"{}")
    wait_for(lambda: machine.ask(one, cookie).status == 401, "the end of the session")
    assert other.version() != before

    fence = other._store.elect()
    assert fence is not None
    assert other._store.sequence("default", fence=fence, limit=10) == ()
    other.close()


def test_a_request_waits_for_no_file(machine: Machine, started: Any) -> None:
    one = started()
    cookie = machine.signed_in(one)
    other = HostStore(machine.sandbox.folder / "state" / FILE)
    with other.writing("default"):  # SQLite has one writer: whoever else writes waits now
        assert [machine.ask(one, cookie).status for _ in range(5)] == [200] * 5
    other.close()


def test_a_sidecar_that_reads_its_settings_again_goes_on_signing_in(machine: Machine, started: Any) -> None:
    one = started()
    cookie = machine.signed_in(one)

    assert one.thread.run(one.program.reload(machine.sandbox.config))

    assert machine.ask(one, cookie).status == 200
    assert machine.ask(one, machine.signed_in(one)).status == 200


def test_a_file_that_cannot_be_opened_signs_nobody_in_and_the_sidecar_decides_on(
    tmp_path: Path, opa: str, machine: Machine
) -> None:
    other = Machine(tmp_path / "other", opa, machine.provider)
    other.sandbox.write(f"state/{FILE}", b"this is no database" * 100)
    one = other.sidecar()
    try:
        assert one.program.browser.addresses == []
        assert other.ask(one, "a=b").status == 401
    finally:
        one.close()
