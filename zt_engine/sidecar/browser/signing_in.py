"""What a browser is answered at `/.zt/`: sent to sign in, taken back with a session, signed out.

The proxy shows its credential and the client's headers as its hook does, so host, certificate and cookies are proven by
the hook's own rules. What is secret about a sign-in stays at the control plane; the browser gets a ticket for the way
and a handle for its session, in cookies that no page can read and no other host is sent.

Pages are a table by method and path (`visit.Pages`). Another module brings pages of its own as a `Pages`, which the
wiring hands over as `more`; everything that holds for these pages holds for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl

import msgspec
import structlog

from zt_engine.core.cookies import SIGN_IN, issued
from zt_engine.core.errors import InputError, UnavailableError, ZtError
from zt_engine.core.identity import AssuranceTable
from zt_engine.core.request import AccessRequest
from zt_engine.core.session import COOKIE, language_of_person, require_same_origin, session_handle, sid_of
from zt_engine.core.wish import Wish, unmet
from zt_engine.pages.denied import DeniedPage, spoken_by
from zt_engine.pages.signed_out import SignOutPage
from zt_engine.ports import CertificateVerifier, Clock
from zt_engine.ports.sessions import Finished, SignInDesk
from zt_engine.sidecar.browser.answers import answer, page
from zt_engine.sidecar.browser.signing_out import SigningOut
from zt_engine.sidecar.browser.visit import Page, Pages, RetoldError, Visit, value_of
from zt_engine.sidecar.browser.wire import Raw
from zt_engine.sidecar.hooks.credentials import Credential
from zt_engine.sidecar.hooks.reading import HeaderHook, Sent, said_of_page
from zt_engine.sidecar.hooks.signing import wished_link
from zt_engine.sidecar.replica import Replica

log = structlog.get_logger()

LOGIN = b"/.zt/login"
CALLBACK = b"/.zt/callback"
MAX_QUERY = 8192
KNOWN_SECONDS = 5.0
"""How long a browser waits until its session is known here, so that its next request finds it."""
LOOK_SECONDS = 0.02
UNMET_HINT = "`assurance` of trust.yaml has to know what the provider says, and the provider has to say it"
_SECRET = re.compile(r"[A-Za-z0-9_-]{0,128}")


class BrowserSignIn:
    """Answers browsers behind the proxies of one sidecar."""

    def __init__(
        self, *, hooks: Sequence[HeaderHook], desk: SignInDesk, replica: Replica, certificates: CertificateVerifier,
        clock: Clock, denied: DeniedPage, page: SignOutPage, more: Pages | None = None,
        assurance: Callable[[], AssuranceTable] = dict,
    ) -> None:  # fmt: skip
        """`assurance` tells how strong the policy in force takes each sign-in to be; before one, nothing is judged."""
        self._hooks = hooks
        self._desk = desk
        self._replica = replica
        self._certificates = certificates
        self._now = clock.now
        self._denied = denied
        self._page = page
        self._assurance = assurance
        own: dict[tuple[bytes, bytes], Page] = {
            (b"GET", LOGIN): self._login,
            (b"GET", CALLBACK): self._callback,
            **SigningOut(desk, page).pages(),
        }
        self._pages: Pages = {**(more or {}), **own}

    async def __call__(self, raw: Raw) -> bytes:
        """Answer one request; whatever is wrong is a page that says what to do."""
        try:
            visit, found = self._visit(raw)
            return await found(visit)
        except ValueError:
            error: ZtError = InputError("SIGN_IN_STATE", "the query is no query")
        except ZtError as caught:
            error = caught
        if error.code == "PEP_UNKNOWN":
            return answer(401, b"", ("WWW-Authenticate", 'Zt-Pep-Key realm="zt"'))
        return self._refused(error, raw)

    def _visit(self, raw: Raw) -> tuple[Visit, Page]:
        """Prove who asks for which page, and return both."""
        sent, credential, hook = self._read(raw)
        target, _, query = sent.uri.partition(b"?")
        found = self._pages.get((sent.method, target))
        if found is None or len(query) > MAX_QUERY:
            raise InputError("ROUTE_UNKNOWN", "there is no such page")
        sent.origin, sent.fetch_site = said_of_page(raw.headers)
        request = self._proven(hook, sent, credential, target)
        if request.target.scheme != "https":
            raise InputError("SIGN_IN_PLAIN", "browsers keep no session over plain HTTP")
        if sent.method != b"GET":
            # INVARIANT: what changes something was asked by a page of this very origin.
            require_same_origin(origin=sent.origin, fetch_site=sent.fetch_site, expected=request.target.origin)
        pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=32)
        values = dict(pairs)
        if len(values) != len(pairs):
            # RFC 6749, 3.1: of two, another reader may take the other.
            raise InputError("SIGN_IN_STATE", "a parameter occurs twice")
        return Visit(request, sent, values, raw, self._spoken(_sid(request.session))), found

    def _spoken(self, sid: str) -> str:
        """Return the language of whoever's session this is, empty where nobody says it."""
        known = self._replica.sessions.get(sid)
        return "" if known is None else language_of_person(known.claims)

    def _read(self, raw: Raw) -> tuple[Sent, Credential, HeaderHook]:
        """Read the request by the one hook whose credential is shown."""
        refused = InputError("PEP_UNKNOWN", "no proxy credential was shown")
        for hook in self._hooks:
            try:
                sent, credential = hook.read(raw.headers, raw.names, raw.peer, method=raw.method, rest=raw.target)
            except InputError as error:
                refused = error if error.code != "PEP_UNKNOWN" else refused
            else:
                return sent, credential, hook
        raise refused

    @staticmethod
    def _proven(hook: HeaderHook, sent: Sent, credential: Credential, target: bytes) -> AccessRequest:
        """Prove everything but the query, which is read here and decides nothing elsewhere.

        A session cookie that is none keeps nobody from a new one: it counts as not sent.
        """
        plain = msgspec.structs.replace(sent, uri=target, authorization=b"", dpop=b"", cookie=b"", method=b"GET")
        request = hook.prove(plain, credential)
        with contextlib.suppress(InputError):
            return msgspec.structs.replace(request, session=session_handle(sent.cookie))
        return request

    async def _login(self, visit: Visit) -> bytes:
        if value_of(visit.raw, b"sec-fetch-mode") not in ("", "navigate"):
            # A script could do nothing with a sign-in but begin it: forty of them would.
            raise InputError("AUTH_REQUIRED", "a page's script cannot sign anybody in")
        request, values = visit.request, visit.query
        age, to = values.get("max_age", ""), values.get("to", "/")
        wish = Wish(
            acr_values=values.get("acr_values", "")[:512],
            max_age=int(age) if age.isascii() and age.isdigit() and len(age) < 9 else None,
        )
        try:
            begun = await self._desk.begin(
                {
                    **self._place(request),
                    "scheme": request.target.scheme,
                    "authority": request.target.origin.decode().partition("://")[2],
                    "to": to,
                    "ticket": SIGN_IN.read(visit.sent.cookie),
                    "address": request.client_ip,
                    "acr_values": wish.acr_values,
                    "max_age": wish.max_age,
                }
            )
        except UnavailableError as error:
            return self._refused(error, visit.raw, way=wished_link(to, wish))
        cookie = issued(SIGN_IN.name, begun.ticket, seconds=begun.seconds)
        return answer(302, b"", ("Location", begun.location), ("Set-Cookie", cookie))

    async def _callback(self, visit: Visit) -> bytes:
        values = visit.query
        state, before = values.get("state", ""), visit.request.session
        try:
            done = await self._desk.finish(
                {
                    **self._place(visit.request),
                    "state": state if _SECRET.fullmatch(state) else "",
                    "ticket": SIGN_IN.read(visit.sent.cookie),
                    "code": values.get("code", "")[:4096],
                    "issuer": values.get("iss"),
                    "error": values.get("error", "")[:128],
                    "replaces": sid_of(before) if before else "",
                }
            )
        except InputError as error:
            if error.code == "SIGN_IN_STATE" and self._signed_in(visit.request):
                # The back button, or a form that was sent twice: no reason to begin again, and no error.
                return page(self._page.already(accept_language=visit.language), self._page.security_policy)
            raise
        await self._known(done.sid)
        session = ("Set-Cookie", issued(COOKIE.decode(), done.handle, seconds=done.seconds))
        missing = self._missing(done)
        if missing:
            # The page asked for would only ask again: a person who is signed in is told what did not come back.
            without = InputError("SIGN_IN_UNMET", f"the identity provider did not say {', '.join(missing)}")
            return self._refused(without, visit.raw, session, way=wished_link(done.to, done.wish), sid=done.sid)
        # The ticket stays until its time: another tab may be on its way.
        return answer(303, b"", ("Location", done.to), session)

    def _missing(self, done: Finished) -> tuple[str, ...]:
        """Return what the sign-in was begun for and did not bring, for the operator's log as well."""
        record = self._replica.sessions.get(done.sid)
        missing = () if record is None else unmet(done.wish, record, self._assurance(), now=self._now())
        if missing and record is not None:
            log.warning(
                "sign_in.step_up_unmet", code="SIGN_IN_UNMET", missing=missing, acr=record.acr, amr=record.amr,
                auth_time=record.auth_time, issuer=record.issuer, session=record.sid[:12], hint=UNMET_HINT,
            )  # fmt: skip
        return missing

    def _signed_in(self, request: AccessRequest) -> bool:
        record = self._replica.sessions.get(sid_of(request.session)) if request.session else None
        return record is not None and record.host == request.target.host and record.until > self._now()

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

    def _refused(
        self, error: ZtError, raw: Raw, *more: tuple[str, str], way: str = "/.zt/login?to=/", sid: str = ""
    ) -> bytes:
        """Return the page of a refusal, in the language of session `sid` or the one that was shown."""
        event = "browser.refusal_shown" if isinstance(error, RetoldError) else "browser.refused"
        log.info(event, code=error.code, problem=error.message)
        status = 503 if isinstance(error, UnavailableError) else 401 if error.code == "AUTH_REQUIRED" else 403
        refusal = self._denied.render(
            code=error.code,
            decision="",
            status=status,
            accept=value_of(raw, b"accept"),
            accept_language=spoken_by(value_of(raw, b"accept-language"), self._spoken(sid or _shown(raw))),
            sign_in=way,
        )
        challenge = (("WWW-Authenticate", "Bearer"),) if status == 401 else ()
        return answer(
            status,
            refusal.body,
            *challenge,
            *more,
            ("Content-Type", refusal.content_type),
            ("Content-Language", refusal.language),
            ("Content-Security-Policy", self._denied.security_policy),
        )


def _sid(session: bytes) -> str:
    return sid_of(session) if session else ""


def _shown(raw: Raw) -> str:
    """Return the digest of the session in a request, of which nothing else is proven: it tells a language, no more."""
    cookies = next((value for name, value in raw.headers.items() if name.lower() == b"cookie"), b"")
    try:
        return _sid(session_handle(cookies))
    except InputError:
        return ""
