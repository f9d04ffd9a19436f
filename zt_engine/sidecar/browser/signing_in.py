"""What a browser is answered at `/.zt/`: sent to sign in, taken back with a session, signed out.

The proxy shows its credential and the client's headers as its hook does, so host, certificate and cookies are proven by
the hook's own rules. What is secret about a sign-in stays at the control plane; the browser gets a ticket for the way
and a handle for its session, in cookies that no page can read and no other host is sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

import msgspec
import structlog

from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.core.request import AccessRequest
from zt_engine.core.session import COOKIE, require_same_origin, sid_of
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports import CertificateVerifier, Clock
from zt_engine.ports.sessions import SignInDesk
from zt_engine.sidecar.browser.wire import Raw
from zt_engine.sidecar.hooks.credentials import Credential
from zt_engine.sidecar.hooks.reading import HeaderHook, Sent
from zt_engine.sidecar.replica import Replica

log = structlog.get_logger()

LOGIN = b"/.zt/login"
CALLBACK = b"/.zt/callback"
LOGOUT = b"/.zt/logout"
PATHS = frozenset((LOGIN, CALLBACK, LOGOUT))
TICKET = "__Host-zt-login"
MAX_QUERY = 8192
KNOWN_SECONDS = 5.0
"""How long a browser waits until its session is known here, so that its next request finds it."""
LOOK_SECONDS = 0.02
_TICKET = re.compile(rb"(?:^|;)[ \t]*__Host-zt-login=([A-Za-z0-9_-]{1,128})(?=;|$)")
_SECRET = re.compile(r"[A-Za-z0-9_-]{0,128}")
FIXED = "Path=/; Secure; HttpOnly; SameSite=Lax"


class BrowserSignIn:
    """Answers browsers behind the proxies of one sidecar."""

    def __init__(
        self, *, hooks: Sequence[HeaderHook], desk: SignInDesk, replica: Replica, certificates: CertificateVerifier,
        clock: Clock, denied: DeniedPage, page: SignOutPage,
    ) -> None:  # fmt: skip
        self._hooks = hooks
        self._desk = desk
        self._replica = replica
        self._certificates = certificates
        self._now = clock.now
        self._denied = denied
        self._page = page

    async def __call__(self, raw: Raw) -> bytes:
        """Answer one request; whatever is wrong is a page that says what to do."""
        sent: Sent | None = None
        try:
            sent, credential, hook = self._read(raw)
            target, _, query = sent.uri.partition(b"?")
            if target not in PATHS or len(query) > MAX_QUERY:
                raise InputError("ROUTE_UNKNOWN", "there is no such page")
            request = self._proven(hook, sent, credential, target)
            if request.target.scheme != "https":
                raise InputError("SIGN_IN_PLAIN", "browsers keep no session over plain HTTP")
            values = dict(parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=32))
            if target == LOGIN and sent.method == b"GET":
                return await self._login(request, values)
            if target == CALLBACK and sent.method == b"GET":
                return await self._callback(request, sent, values)
            if target == LOGOUT:
                return await self._logout(request, sent, raw)
            raise InputError("ROUTE_UNKNOWN", "there is no such page")
        except ValueError:
            error: ZtError = InputError("SIGN_IN_STATE", "the query is no query")
        except ZtError as found:
            error = found
        if error.code == "PEP_UNKNOWN":
            return answer(401, b"", ("WWW-Authenticate", 'Zt-Pep-Key realm="zt"'))
        log.info("browser.refused", code=error.code, problem=error.message)
        return self._refusal(error, raw)

    def _read(self, raw: Raw) -> tuple[Sent, Credential, HeaderHook]:
        """Read the request by the one hook whose credential is shown."""
        refused = InputError("PEP_UNKNOWN", "no proxy credential was shown")
        for hook in self._hooks:
            try:
                sent, credential = hook.read(raw.headers, raw.names, raw.peer, method=b"GET")
            except InputError as error:
                refused = error if error.code != "PEP_UNKNOWN" else refused
            else:
                return sent, credential, hook
        raise refused

    @staticmethod
    def _proven(hook: HeaderHook, sent: Sent, credential: Credential, target: bytes) -> AccessRequest:
        """Prove everything but the query, which is read here and decides nothing elsewhere."""
        plain = msgspec.structs.replace(sent, uri=target, authorization=b"", dpop=b"", method=b"GET")
        return hook.prove(plain, credential)

    async def _login(self, request: AccessRequest, values: Mapping[str, str]) -> bytes:
        age = values.get("max_age", "")
        begun = await self._desk.begin(
            {
                **self._place(request),
                "scheme": request.target.scheme,
                "authority": request.target.origin.decode().partition("://")[2],
                "to": values.get("to", "/"),
                "acr_values": values.get("acr_values", "")[:512],
                "max_age": int(age) if age.isascii() and age.isdigit() and len(age) < 9 else None,
            }
        )
        cookie = f"{TICKET}={begun.ticket}; {FIXED}; Max-Age={begun.seconds}"
        return answer(302, b"", ("Location", begun.location), ("Set-Cookie", cookie))

    async def _callback(self, request: AccessRequest, sent: Sent, values: Mapping[str, str]) -> bytes:
        ticket = _TICKET.findall(sent.cookie)
        state = values.get("state", "")
        done = await self._desk.finish(
            {
                **self._place(request),
                "state": state if _SECRET.fullmatch(state) else "",
                "ticket": ticket[0].decode("ascii") if len(ticket) == 1 else "",
                "code": values.get("code", "")[:4096],
                "issuer": values.get("iss"),
                "error": values.get("error", "")[:128],
            }
        )
        await self._known(done.sid)
        session = f"{COOKIE.decode()}={done.handle}; {FIXED}; Max-Age={done.seconds}"
        return answer(303, b"", ("Location", done.to), ("Set-Cookie", session), ("Set-Cookie", gone(TICKET)))

    def _place(self, request: AccessRequest) -> dict[str, object]:
        """Say where and from which device; InputError CERT_* for a certificate that proves none."""
        device = ""
        if request.client_cert:
            device = self._certificates.verify(request.client_cert, now=self._now()).device_id
        return {"host": request.target.host, "device_id": device}

    async def _known(self, sid: str) -> None:
        """Wait until the stream has told of a session; a browser that is faster would be asked to sign in again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + KNOWN_SECONDS
        while sid not in self._replica.sessions and loop.time() < until:  # noqa: ASYNC110  (records ring no bell)
            await asyncio.sleep(LOOK_SECONDS)

    async def _logout(self, request: AccessRequest, sent: Sent, raw: Raw) -> bytes:
        language = _value(raw, b"accept-language")
        if sent.method == b"GET":
            return self._shown(self._page.ask(accept_language=language))
        if sent.method != b"POST":
            raise InputError("ROUTE_UNKNOWN", "there is no such page")
        # INVARIANT: the page that asks is one of this very origin, or nobody is signed out.
        require_same_origin(origin=sent.origin, fetch_site=sent.fetch_site, expected=request.target.origin)
        if request.session:
            try:
                await self._desk.end(sid_of(request.session))
            except InputError as error:
                log.info("browser.session_gone", code=error.code)
        gone_cookie = ("Set-Cookie", gone(COOKIE.decode()))
        return self._shown(self._page.done(accept_language=language), gone_cookie, ("Clear-Site-Data", '"cache"'))

    def _shown(self, page: bytes, *headers: tuple[str, str]) -> bytes:
        policy = ("Content-Security-Policy", self._page.security_policy)
        return answer(200, page, ("Content-Type", "text/html; charset=utf-8"), policy, *headers)

    def _refusal(self, error: ZtError, raw: Raw) -> bytes:
        status = 503 if isinstance(error, UnavailableError) else 403
        refusal = self._denied.render(
            code=error.code,
            decision="",
            status=status,
            accept=_value(raw, b"accept"),
            accept_language=_value(raw, b"accept-language"),
        )
        return answer(
            status,
            refusal.body,
            ("Content-Type", refusal.content_type),
            ("Content-Language", refusal.language),
            ("Content-Security-Policy", self._denied.security_policy),
        )


def _value(raw: Raw, name: bytes) -> str:
    found = next((value for key, value in raw.headers.items() if key.lower() == name), b"")
    return found[:1024].decode("latin-1")


def gone(cookie: str) -> str:
    """Return the Set-Cookie value that takes a cookie away."""
    return f"{cookie}=; {FIXED}; Max-Age=0"


STATUS = {
    200: "OK", 302: "Found", 303: "See Other", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable",
}  # fmt: skip


def answer(status: int, body: bytes, *headers: tuple[str, str]) -> bytes:
    """Return a whole answer. A value that could end its line ends the answer instead: ValueError."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    if any("\r" in value or "\n" in value for _, value in headers):
        raise ValueError("a header value with a line end")
    head = (
        f"HTTP/1.1 {status} {STATUS[status]}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
        f"Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n{lines}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body
