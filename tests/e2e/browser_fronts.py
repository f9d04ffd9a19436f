"""Browsers at `/.zt/` behind a real proxy: what the proxy hands on is asked of a real listener with a desk of the test.

Whoever is asked about is refused. So whoever gets anything from the backend went around the question.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.forwarding import Impostor
from tests.e2e.lab import HOST, Answer, Backend, request
from tests.hook_support import KEY, LoopThread, credential, listening, one_answer, until_closed
from tests.peers import find_peer
from tests.proxies.apache import ApacheLab
from tests.proxies.asking import NAME, Inside
from tests.proxies.authority import Authority
from tests.proxies.caddy import CaddyLab
from tests.proxies.envoy import EnvoyLab, Tls
from tests.proxies.haproxy import HaproxyLab
from tests.proxies.traefik import Shown, TraefikLab
from zt_engine.adapters.nginx_process import NginxProcess, listen_text, reserve
from zt_engine.core.errors import InputError
from zt_engine.core.identity import VerifiedCertificate
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports.sessions import Begun, Finished
from zt_engine.sidecar.browser.answers import answer
from zt_engine.sidecar.browser.proxied import browser_hooks
from zt_engine.sidecar.browser.signing_in import BrowserSignIn
from zt_engine.sidecar.browser.visit import Visit
from zt_engine.sidecar.browser.wire import BrowserListener
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.snippet import NginxBlock, key_line, render
from zt_engine.sidecar.replica import Replica

KINDS = ("nginx", "caddy", "traefik", "envoy", "haproxy", "apache")
REFUSED = b"".join(
    line + b"\r\n"
    for line in (b"HTTP/1.1 403 Forbidden", b"Content-Length: 0", b"Zt-Reason: TRUST_LOW", b"Zt-Decision: d-1",
                 b"Connection: close", b"")
)  # fmt: skip
"""What the sidecar says to every question that it can hear: Traefik wants TLS for that, and httpd FastCGI."""
DEVICE, SID = "laptop-1", "s" * 43
"""What a certificate of the test's device CA proves, and a session that the replica of the test never hears of."""


class Desk:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.begun: list[Mapping[str, object]] = []
        self.finished: list[Mapping[str, object]] = []
        self.ended: list[str] = []

    async def begin(self, asked: Mapping[str, object]) -> Begun:
        self.begun.append(asked)
        return Begun("https://idp.example/authorize?state=x", "ticket", 600)

    async def finish(self, told: Mapping[str, object]) -> Finished:
        self.finished.append(told)
        if told["ticket"] != "ticket":
            raise InputError("SIGN_IN_BROWSER", "another browser")
        return Finished("h" * 43, SID, "/cases/1?page=2", 3600)

    async def refresh(self, sid: str) -> None:
        raise AssertionError(sid)

    async def end(self, sid: str, *, back: str = "", state: str = "") -> str:
        self.ended.append(sid)
        return ""


class Certificates:
    """Says which device a certificate is of, as long as it is one."""

    def verify(self, escaped_pem: bytes, *, now: float) -> VerifiedCertificate:
        if not escaped_pem.startswith(b"-----BEGIN%20CERTIFICATE-----%0A"):
            raise InputError("CERT_MALFORMED", "no certificate")
        uri = f"urn:zt:device:{DEVICE}"
        return VerifiedCertificate(x5t="x", device_uri=uri, issuer="", serial="1", not_before=0, not_after=1)


class Clock:
    """Stands still."""

    def now(self) -> float:
        return 0.0


class Front:
    """A browser, a real proxy with TLS, the listener for browsers, and a backend that nobody may reach."""

    def __init__(self, kind: str, folder: Path) -> None:
        found = find_peer("nginx (wheel)") or find_peer("nginx (Debian)") if kind == "nginx" else find_peer(kind)
        if found is None:
            if os.environ.get("CI"):
                pytest.fail(f"the peer `{kind}` is missing")
            pytest.skip(reason=f"no {kind} on this machine")
        self.kind = kind
        self.authority = Authority(folder, "devices")
        self.server = self.authority.issue("server", hosts=[HOST.decode()])
        self.device = self.authority.issue("device", hosts=[DEVICE])
        self.backend, self.desk, self.posted = Backend(), Desk(), list[bytes]()
        self.refuser = Impostor(REFUSED)
        self.thread = LoopThread()
        self._inside = Inside(folder / "inside") if kind == "traefik" else None
        names = (NAME,) if self._inside is not None else ()
        shown = Credentials([credential(hook=kind, names=names)])
        replica = Replica()
        sign_in = BrowserSignIn(
            hooks=browser_hooks(shown, [kind]), desk=self.desk, replica=replica, certificates=Certificates(),
            clock=Clock(), denied=DeniedPage(registry(), default_language="en", signs_in=True),
            page=SignOutPage(default_language="en"), more={(b"POST", b"/.zt/form"): self._form},
        )  # fmt: skip
        sign_in._known = self._known  # type: ignore[method-assign]
        self.listener = self.thread.call(lambda: BrowserListener(sign_in))
        self.sock = listening()
        self.sock.setblocking(False)
        self.thread.run(self.listener.listen(self.sock, tls=self._tls()))
        try:
            self.proxy: Any = getattr(self, f"_{kind}")(found, folder / kind)
        except BaseException:
            self._close_rest()
            raise

    async def _form(self, visit: Visit) -> bytes:
        self.posted.append(visit.raw.body)
        return answer(303, b"", ("Location", "/"))

    async def _known(self, sid: str) -> None:
        """There is no stream to wait for."""

    def _tls(self) -> ssl.SSLContext | None:
        if self._inside is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(*self._inside.sidecar)
        context.load_verify_locations(self._inside.authority.path)
        return context

    @property
    def browser(self) -> str:
        return listen_text(self.sock)

    def _common(self) -> dict[str, Any]:
        return {"sidecar_address": self.refuser.address, "backend_address": self.backend.address,
                "host": HOST.decode(), "browser": (self.browser,)}  # fmt: skip

    def _files(self) -> tuple[Path, Path, Path]:
        return (*self.server, self.authority.path)

    def _nginx(self, executable: Path, folder: Path) -> NginxProcess:
        folder.mkdir()
        include = folder / "pep-key.conf"
        include.write_text(key_line(KEY), encoding="ascii")
        front = reserve("127.0.0.1")
        self.address = front.getsockname()[:2]
        certificate, key, devices = map(str, self._files())
        block = NginxBlock(
            proxy="front", server_names=(HOST.decode(),), listen=(listen_text(front),), browser=(self.browser,),
            sidecar=(self.refuser.address,), backend=self.backend.address, key_include=str(include),
            certificate=certificate, certificate_key=key, device_cas=devices,
        )  # fmt: skip
        return NginxProcess.start(executable, http=render(block), folder=folder, sockets=[front])

    def _caddy(self, executable: Path, folder: Path) -> CaddyLab:
        return self._placed(CaddyLab(executable, folder, key=KEY, tls=self._files(), **self._common()))

    def _traefik(self, executable: Path, folder: Path) -> TraefikLab:
        assert self._inside is not None
        shown = Shown(*self._inside.front, self._inside.authority.path)
        return self._placed(TraefikLab(executable, folder, key=shown, tls=self._files(), **self._common()))

    def _envoy(self, executable: Path, folder: Path) -> EnvoyLab:
        folder.mkdir()
        tls = Tls(*self._files())
        return self._placed(EnvoyLab(executable, folder, key=KEY.decode(), tls=tls, **self._common()).start())

    def _haproxy(self, executable: Path, folder: Path) -> HaproxyLab:
        return self._placed(HaproxyLab(executable, folder, key=KEY, tls=self._files(), **self._common()))

    def _apache(self, executable: Path, folder: Path) -> ApacheLab:
        common = {**self._common(), "browser": self.browser}
        return self._placed(ApacheLab(executable, folder, key=KEY, tls=self._files(), **common))

    def _placed(self, lab: Any) -> Any:
        self.address = lab.address
        return lab

    def raw(self, sent: bytes, *, device: bool = False) -> Answer:
        """Send bytes, and take what comes until the proxy hangs up or has answered."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        context.check_hostname = False
        if device:
            context.load_cert_chain(*self.device)
        with (
            socket.create_connection(self.address, timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=HOST.decode()) as client,
        ):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                client.sendall(sent)  # a proxy may have said no before it has everything
            if b"Connection: close" in sent:
                head, _, body = until_closed(client).partition(b"\r\n\r\n")
                return Answer(head + b"\r\n\r\n", body)
            return Answer(*one_answer(client))

    def get(self, target: bytes, *headers: bytes, device: bool = False, **how: Any) -> Answer:
        return self.raw(request(target, *headers, **how), device=device)

    def close(self) -> None:
        self.proxy.stop()
        self._close_rest()

    def _close_rest(self) -> None:
        self.refuser.close()
        self.backend.close()
        self.thread.run(self.listener.close(grace=1.0))
        self.thread.close()
