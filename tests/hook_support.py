"""A decision listener in a thread of its own, and an application that allows whatever the hook's gate accepts."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import structlog
import uvloop

from zt_engine.core.decision import Decision
from zt_engine.core.errors import InputError
from zt_engine.core.request import AccessRequest
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar.app import NO_PEP, NOT_FOUND, DecisionApp
from zt_engine.sidecar.hooks.answers import Identity, allow_head, deny_head
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, Peer, key_digest
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.hooks.pages import DeniedPages
from zt_engine.sidecar.hooks.reading import HeaderHook
from zt_engine.sidecar.listener import DecisionServer, Limits

# By default structlog draws exceptions with all their variables, which takes longer than a proxy waits.
structlog.configure(
    processors=[structlog.processors.KeyValueRenderer()], logger_factory=structlog.ReturnLoggerFactory()
)

T = TypeVar("T")
KEY = b"0123456789abcdef0123456789abcdef"
END = b"\r\n\r\n"


def credential(
    *,
    hosts: Iterable[str] = (),
    uids: Iterable[int] = (),
    key: bytes = KEY,
    hook: str = "nginx",
    names: Iterable[str] = (),
) -> Credential:
    return Credential(
        name="front",
        hook=hook,
        channel="open",
        proof="socket" if uids else "mtls" if names else "key",
        hosts=frozenset(hosts),
        key_digests=() if uids or names else (key_digest(key),),
        uids=frozenset(uids),
        names=frozenset(names),
    )


class GateApp:
    """Allows what `read` and `prove` accept, and remembers it; the decision itself is not the subject here."""

    strangers = DecisionApp.strangers

    def __init__(
        self,
        *credentials: Credential,
        identity: dict[str, Any] | None = None,
        hook: type[HeaderHook] = NginxHook,
    ) -> None:
        shown = Credentials(credentials or (credential(hook=hook.name),))
        self.hook: HeaderHook = hook(shown)
        page = DeniedPage(registry(), default_language="en")
        self.pages = DeniedPages(page, shown)
        self.denials = Denials(page)
        self.authorised: list[AccessRequest] = []
        self.refused: list[str] = []
        self.asked: list[dict[bytes, bytes]] = []
        self.calls = 0
        self.deny: Decision | None = None
        self.identity = {
            "subject": "tanaka",
            "device": "laptop-1",
            "groups": ("staff", "情報課"),
            "label": "C2",
            "trust": 77,
            "obligations": "",
            "assertion": "",
        } | (identity or {})

    def repeat(self, head: bytes, uid: Peer) -> Any:
        """Every request is read."""

    def answer(
        self,
        path: bytes,
        method: bytes,
        headers: dict[bytes, bytes],
        names: tuple[bytes, ...],
        uid: Peer,
        head: bytes = b"",
    ) -> bytes:
        rest = path[len(self.hook.path) :] if path.startswith(self.hook.path) else None
        if rest is None or (rest and (rest[:1] not in (b"/", b"?") or not self.hook.appends)):
            page = self.pages(path, headers, names, uid)
            return NOT_FOUND if page is None else page
        self.calls += 1
        try:
            sent, who = self.hook.read(headers, names, uid, method=method, rest=rest)
            if method != b"GET" and not self.hook.any_method:
                raise InputError("HOOK_FRAMING", "a hook is asked with GET")
            request = self.hook.prove(sent, who)
        except InputError as error:
            self.refused.append(error.code)
            if error.code == "PEP_UNKNOWN":
                return NO_PEP
            return self._denied(
                deny_head(Decision.deny(error.code), scheme="", has_credential=False), b"", method, headers
            )
        self.asked.append(dict(headers))
        if self.deny is not None:
            return self._denied(deny_head(self.deny, scheme="bearer", has_credential=False), b"d-7", method, headers)
        self.authorised.append(request)
        shown = dict(self.identity)
        identity = Identity.of(**{name: shown.pop(name) for name in ("subject", "device", "groups")})
        more = b"\r\n" + self.hook.allow_lines + b"\r\n" if self.hook.allow_lines else END
        return allow_head(identity, **shown) + b"d-7" + more

    def _denied(self, head: bytes, number: bytes, method: bytes, headers: dict[bytes, bytes]) -> bytes:
        if not self.hook.carries or method == b"HEAD":
            return head + number + END
        return self.denials.write(head, number, headers)

    def seal(self, answers: list[bytes]) -> list[bytes]:
        return answers


class LoopThread:
    """The production event loop in a thread; `faults` has every exception nobody handled."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _loop, context: self.faults.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 20.0) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def call(self, function: Callable[[], T]) -> T:
        async def once() -> T:
            return function()

        return self.run(once())

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class Served:
    """A listener that serves an application on a socket."""

    def __init__(
        self, app: Any, sock: socket.socket, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.thread = LoopThread()
        self.app = app
        self.family = sock.family
        self.address = sock.getsockname()
        sock.setblocking(False)
        self.server = self.thread.call(lambda: DecisionServer(app, limits or Limits(), self.thread.loop))
        self.thread.run(self.server.listen(sock, tls=tls))

    @property
    def faults(self) -> list[dict[str, Any]]:
        return self.thread.faults

    def connect(self, *, seconds: float = 10.0) -> socket.socket:
        client = socket.socket(self.family, socket.SOCK_STREAM)
        client.settimeout(seconds)
        client.connect(self.address)
        return client

    def close(self) -> None:
        self.thread.run(self.server.close(grace=1.0))
        self.thread.close()


def listening(host: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind((host, 0))
    sock.listen(128)
    return sock


def listening_at(path: Path) -> socket.socket:
    """The same at a Unix socket."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(128)
    return sock


def until_closed(client: socket.socket) -> bytes:
    """Everything the peer says before it hangs up; a reset counts as hanging up, and so does the end of TLS."""
    received = []
    try:
        while piece := client.recv(65536):
            received.append(piece)
    except (ConnectionResetError, ssl.SSLError):
        pass
    return b"".join(received)


def one_answer(client: socket.socket, *, bodiless: bool = False) -> tuple[bytes, bytes]:
    """Head and body of the next answer on a connection that stays open; both empty when the peer hangs up.

    `bodiless`: the request was a HEAD, so a length announces no body. Interim answers (1xx) are skipped.
    """
    head = b""
    while not head.endswith(END):
        byte = client.recv(1)
        if not byte:
            return head, b""
        head += byte
    if head.startswith(b"HTTP/1.1 1"):
        return one_answer(client, bodiless=bodiless)
    if bodiless:
        return head, b""
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    body = bytearray()
    while len(body) < length:
        body += client.recv(min(65536, length - len(body)))
    return head, bytes(body)


def status(answer: bytes) -> int:
    """The status of an answer, 0 when there is none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.") else 0


def header(answer: bytes, name: str) -> list[bytes]:
    """All values of a header of an answer."""
    lines = answer.partition(END)[0].split(b"\r\n")[1:]
    return [
        value.strip()
        for key, _, value in (line.partition(b":") for line in lines)
        if key.lower() == name.lower().encode()
    ]


def hook_request(
    *,
    line: bytes = b"GET /v1/hooks/nginx HTTP/1.1",
    extra: Iterable[bytes] = (),
    drop: Iterable[bytes] = (),
    **values: bytes,
) -> bytes:
    """A hook request as the printed block sends it; `values` replace (underscores for hyphens), `drop` removes."""
    fields = {
        b"Host": b"zt-sidecar",
        b"X-Original-URI": b"/cases/123?x=1",
        b"X-Original-Method": b"GET",
        b"X-Original-Host": b"portal.example",
        b"X-Original-Proto": b"https",
        b"X-Original-Port": b"443",
        b"X-Real-IP": b"203.0.113.7",
        b"Zt-Request-Id": b"00112233445566778899aabbccddeeff",
        b"Zt-Pep-Key": KEY,
        b"User-Agent": b"curl/8",
        b"Accept": b"*/*",
        b"Authorization": b"Bearer a.b.c",
    }
    for name, value in values.items():
        key = next(k for k in fields if k.lower() == name.replace("_", "-").encode().lower())
        fields[key] = value
    lines = [b"%b: %b" % item for item in fields.items() if item[0] not in set(drop)]
    return b"\r\n".join([line, *lines, *extra]) + END
