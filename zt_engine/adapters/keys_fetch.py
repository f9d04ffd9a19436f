"""Where key sets come from: a file that only its owner may write, or a URL over TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from zt_engine.adapters.keys_jwks import MAX_SET_BYTES, Fetched, KeySource
from zt_engine.adapters.owned_files import Flaw, UnownedError, look, read_owned
from zt_engine.core.errors import ConfigError, Problem, UnavailableError
from zt_engine.core.issuer import IssuerConfig

FETCH_TIMEOUT = 5.0
"""Seconds for the whole exchange, not per read: a server that drips bytes gets no longer."""

_FLAWS: Mapping[Flaw, str] = {
    "irregular": "KEYS_NOT_REGULAR",
    "owner": "KEYS_OWNER",
    "writable": "KEYS_WRITABLE",
    "large": "KEYS_TOO_LARGE",
}

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=\"?(\d{1,9})\"?(?:$|[\s,])", re.IGNORECASE)


def key_source(config: IssuerConfig, *, where: str = "") -> KeySource:
    """Return the key source an issuer's configuration names; raises ConfigError KEYS_URL or KEYS_CA."""
    if "://" not in config.keys:
        file = FileFetch(Path(config.keys))
        return KeySource(file, algorithms=config.algorithms, hard_limit=None, changed=file.changed)
    return KeySource(
        HttpFetch(config.keys, ca_file=config.ca_file, where=where),
        algorithms=config.algorithms,
        hard_limit=config.keys_hard_limit,
    )


class FileFetch:
    """Reads a key set from a file; whoever may write it may mint tokens, so only its owner may."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None

    def changed(self) -> bool:
        """Whether the file is another one than at the last attempt to read it, good or bad."""
        return self._look() != self._seen

    def _look(self) -> tuple[int, ...] | None:
        """Return what tells one content of the file from the next, None when there is no file."""
        try:
            status = look(self._path)
        except OSError:
            return None
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    async def __call__(self) -> Fetched:
        """Return the file's content.

        Raises UnavailableError: KEYS_UNREACHABLE, KEYS_NOT_REGULAR, KEYS_OWNER, KEYS_WRITABLE or KEYS_TOO_LARGE.
        """
        return await asyncio.to_thread(self._read)

    def _read(self) -> Fetched:
        where = str(self._path)
        self._seen = self._look()  # before it is opened: a change in between is seen at the next look
        try:
            body, _ = read_owned(self._path, limit=MAX_SET_BYTES)
        except OSError as error:
            raise UnavailableError("KEYS_UNREACHABLE", error.strerror or "cannot be read", where=where) from None
        except UnownedError as error:
            raise UnavailableError(_FLAWS[error.flaw], error.message, where=where, hint=error.hint) from None
        return Fetched(body)


class HttpFetch:
    """Fetches a key set by GET. No redirects, no proxy or certificates from the environment, no compression."""

    def __init__(self, url: str, *, ca_file: str = "", timeout: float = FETCH_TIMEOUT, where: str = "") -> None:
        _require_safe(url, where)
        self._url = url
        self._timeout = timeout
        self._tls = _tls_context(ca_file, where) if url.startswith("https:") else None

    async def __call__(self) -> Fetched:
        """Return the response's body.

        Raises UnavailableError: KEYS_UNREACHABLE, KEYS_TIMEOUT, KEYS_REDIRECT, KEYS_STATUS, KEYS_TOO_LARGE,
        KEYS_MALFORMED.
        """
        verify = self._tls if self._tls is not None else False
        try:
            async with (
                asyncio.timeout(self._timeout),
                httpx.AsyncClient(
                    verify=verify, follow_redirects=False, trust_env=False, timeout=self._timeout
                ) as client,
                client.stream("GET", self._url, headers={"Accept-Encoding": "identity"}) as response,
            ):
                return await self._read(response)
        except (TimeoutError, httpx.TimeoutException):
            raise self._failed("KEYS_TIMEOUT", f"no complete answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            message, hint = _cause(error)
            raise self._failed("KEYS_UNREACHABLE", message, hint) from None

    async def _read(self, response: httpx.Response) -> Fetched:
        if response.is_redirect:
            raise self._failed("KEYS_REDIRECT", "the server redirects", hint="configure the final URL")
        if response.status_code != 200:
            raise self._failed("KEYS_STATUS", f"status {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise self._failed("KEYS_MALFORMED", "the answer is compressed although that was not offered")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_SET_BYTES:
                raise self._failed("KEYS_TOO_LARGE", f"larger than {MAX_SET_BYTES} bytes")
        return Fetched(bytes(body), _max_age(response.headers.get("cache-control", "")))

    def _failed(self, code: str, message: str, hint: str = "") -> UnavailableError:
        return UnavailableError(code, message, where=_shown(self._url), hint=hint)


def _behind(error: BaseException) -> BaseException | None:
    return error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__


def _cause(error: BaseException) -> tuple[str, str]:
    """Return why nobody was reached, as the machine says it, and what an operator may do; never what a server sent."""
    first = error
    while inner := _behind(first):
        first = inner
    if isinstance(first, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {first.verify_message}", "`ca_file` of the issuer names its CA"
    if isinstance(first, ssl.SSLError):  # an OSError whose number is none of the system's
        return f"it does not speak TLS with us: {first.reason or type(first).__name__}", ""
    if isinstance(first, OSError) and first.errno:
        return os.strerror(first.errno) if first.errno > 0 else first.strerror or "", ""
    return type(first).__name__, ""


def _max_age(cache_control: str) -> int | None:
    if re.search(r"\bno-(?:store|cache)\b", cache_control, re.IGNORECASE):
        return 0
    found = _MAX_AGE.search(cache_control)
    return int(found[1]) if found else None


def _require_safe(url: str, where: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.username is not None or parts.password is not None:
        problem = "the URL carries a password"
    elif (parts.scheme == "https" and host) or (parts.scheme == "http" and _is_loopback(host)):
        return
    else:
        problem = "the URL is neither https nor http to a loopback address"
    raise ConfigError((Problem(code="KEYS_URL", message=problem, where=where, hint="https://issuer.example/jwks"),))


def _is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address. A name, even `localhost`, is what a resolver says it is."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_context(ca_file: str, where: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            (Problem(code="KEYS_CA", message=f"`{ca_file}` is no readable PEM bundle", where=where),)
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _shown(url: str) -> str:
    """Return the URL without its query, which may hold a secret."""
    return url.partition("?")[0]
