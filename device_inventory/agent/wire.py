"""One HTTP exchange with limits: no redirect, no compression, a bound on size and on the whole time.

Proxies, certificates and passwords of the environment are not looked at; a proxy is named, or there is none.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Self, TypeVar

import httpx
import msgspec
from msgspec import Struct

from device_inventory.agent.errors import AgentError, RefusedError, UnreachableError
from device_inventory.agent.tls import safe_url

MOST_BYTES: Final = 1 << 20
MOST_SECONDS: Final = 30.0
MOST_RETRY: Final = 3600.0
SKEW: Final = 60.0
IDLE: Final = 2.0
"""Seconds after which a connection is not used again: servers close an idle one after five, and it may be under way."""

_CODE: Final = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_TIMELY: Final = frozenset({"AUTH_EXPIRED", "PROOF_TIME"})
_SHOWN: Final = 500

T = TypeVar("T")


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"


class Wire:
    """Sends requests. `elapsed` is a clock that nobody sets; the errors name a URL without its query."""

    def __init__(
        self, *, tls: ssl.SSLContext | None, elapsed: Callable[[], float], proxy: str = "", language: str = "en"
    ) -> None:
        self._elapsed = elapsed
        self.language = language
        try:
            self._client = httpx.Client(
                verify=tls if tls is not None else False,
                proxy=proxy or None,
                follow_redirects=False,
                trust_env=False,
                timeout=httpx.Timeout(10.0, read=20.0),
                limits=httpx.Limits(keepalive_expiry=IDLE),
                headers={"Accept-Encoding": "identity", "Accept-Language": language, "User-Agent": "zt-agent"},
            )
        except (ValueError, httpx.InvalidURL):
            raise AgentError("AGENT_PROXY_URL", "the proxy's URL cannot be read") from None

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Answer:
        """Return the answer, whatever its status; UnreachableError, or AGENT_SERVER_ for what cannot be an answer."""
        where = url.partition("?")[0]
        if not safe_url(url):
            raise AgentError("AGENT_SERVER_URL", "neither https nor http to a loopback address", where=where[:200])
        until = self._elapsed() + MOST_SECONDS
        try:
            with self._client.stream(method, url, headers=dict(headers or {}), content=content) as response:
                return self._read(response, where, until)
        except httpx.HTTPError as error:
            if _untrusted(error):
                raise AgentError("AGENT_SERVER_FOREIGN", "its certificate is not trusted here", where=where) from None
            raise UnreachableError("AGENT_SERVER_UNREACHABLE", type(error).__name__, where=where) from None
        except (httpx.InvalidURL, UnicodeError):
            raise AgentError("AGENT_SERVER_URL", "the URL cannot be read", where=where[:200]) from None

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, response: httpx.Response, where: str, until: float) -> Answer:
        if 300 <= response.status_code < 400:
            raise AgentError("AGENT_SERVER_REDIRECT", f"status {response.status_code}", where=where)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise nonsense("it is compressed although that was not offered", where)
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MOST_BYTES:
                raise nonsense(f"more than {MOST_BYTES} bytes", where)
            if self._elapsed() > until:
                raise UnreachableError("AGENT_SERVER_UNREACHABLE", "the answer does not come to an end", where=where)
        return Answer(response.status_code, dict(response.headers), bytes(body))


class _Problem(Struct):
    """RFC 9457, with our own members."""

    code: str = ""
    title: str = ""
    detail: str = ""
    remedy: str = ""


def read_answer(answer: Answer, type_: type[T], *, where: str, now: float) -> T:
    """Return what an answer says, or raise what it refuses."""
    if 200 <= answer.status < 300:
        try:
            return msgspec.json.decode(answer.body, type=type_)
        except msgspec.DecodeError:
            raise nonsense("it is not what was asked for", where) from None
    problem = _problem(answer)
    if answer.status in (408, 425, 429) or answer.status >= 500:
        message = f"status {answer.status}" + (f", {problem.code}" if problem.code else "")
        raise UnreachableError("AGENT_SERVER_BUSY", message, where=where, retry_after=_retry_after(answer, now))
    detail = problem.detail or problem.title or f"status {answer.status}"
    skew = _skew(answer, now)
    if (answer.status == 401 or problem.code in _TIMELY) and skew is not None and abs(skew) > SKEW:
        raise AgentError("AGENT_CLOCK", f"it differs from the server's by {skew:.0f} s", where=where)
    raise RefusedError(problem.code or "AGENT_REFUSED", detail, status=answer.status, hint=problem.remedy)


def plain(text: object, most: int = _SHOWN) -> str:
    """Return a text of a server as a terminal may show it: printable, on one line, and short."""
    if not isinstance(text, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in text[:most]).strip()


def nonsense(why: str, where: str) -> AgentError:
    """Return the error for an answer that cannot be one."""
    return AgentError("AGENT_SERVER_ANSWER", why, where=where)


def _problem(answer: Answer) -> _Problem:
    try:
        held = msgspec.json.decode(answer.body, type=_Problem)
    except msgspec.DecodeError:
        return _Problem()
    return _Problem(
        code=held.code if len(held.code) <= 64 and _CODE.fullmatch(held.code) else "",
        title=plain(held.title),
        detail=plain(held.detail),
        remedy=plain(held.remedy),
    )


def _retry_after(answer: Answer, now: float) -> float | None:
    held = answer.headers.get("retry-after", "")
    if re.fullmatch(r"[0-9]{1,9}", held):
        return min(float(held), MOST_RETRY)
    instant = _instant(held)
    return None if instant is None else min(max(instant - now, 0.0), MOST_RETRY)


def _skew(answer: Answer, now: float) -> float | None:
    instant = _instant(answer.headers.get("date", ""))
    return None if instant is None else now - instant


def _instant(text: str) -> float | None:
    try:
        held: datetime = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return held.replace(tzinfo=held.tzinfo or UTC).timestamp()


def _untrusted(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        # httpx keeps only the text of what OpenSSL said.
        if isinstance(cause, ssl.SSLCertVerificationError) or "certificate verify failed" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
