"""WSGI middleware (PEP 3333): the same decisions for an application behind a synchronous server.

WSGI folds `_` and `-` of header names and decodes the path, so two things are never taken from where WSGI puts them:
identity is in `environ["zt_engine.ruling"]` and in no `HTTP_` name, and the target is the raw one of the server
(`RAW_URI` of gunicorn, `REQUEST_URI` of mod_wsgi and uWSGI). A server that offers neither is refused, and so is a
request whose `SCRIPT_NAME` and `PATH_INFO` do not spell that target: gunicorn takes both from a client's headers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from zt_engine.embed.responses import carried_out, labels_of
from zt_engine.embed.ruling import Asked, Decides, Ruling

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

KEY = "zt_engine.ruling"
RAW_TARGETS = ("RAW_URI", "REQUEST_URI")
OUTSIDE = ("CONTENT_TYPE", "CONTENT_LENGTH")
"""Headers that WSGI keeps without its prefix."""


class ZeroTrustWSGI:
    """Wraps an application."""

    def __init__(self, app: App, engine: Decides) -> None:
        self._app = app
        self._engine = engine

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Decide and hand on."""
        asked = asked_of(environ)
        ruling = self._engine.submit(asked).result()
        if not ruling.allowed:
            return _refuse(start_response, ruling)
        return _Guarded(self._engine, asked, ruling, start_response).run(self._app, {**environ, KEY: ruling})


class _Guarded:
    """The way back: the application's `start_response` is held until its label was judged."""

    def __init__(self, engine: Decides, asked: Asked, ruling: Ruling, start: StartResponse) -> None:
        self._engine = engine
        self._asked = asked
        self._ruling = ruling
        self._start = start
        self._denial: Ruling | None = None

    def run(self, app: App, environ: Environ) -> Iterable[bytes]:
        answer = app(environ, self._begin)
        return _Body(answer, self)

    @property
    def denial(self) -> Ruling | None:
        return self._denial

    def _begin(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        if self._denial is not None:  # an error page after a denial would say more than the denial
            return lambda _piece: None
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        labels = labels_of(raw)
        denial = self._engine.late(self._asked, self._ruling, labels).result() if labels else None
        if denial is not None:
            self._denial = denial
            write = _begin_refusal(self._start, denial)
            write(denial.body)
            return lambda _piece: None
        kept = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in carried_out(raw, self._ruling)]
        return self._start(status, kept, exc_info) if exc_info else self._start(status, kept)


class _Body:
    """The application's body, swallowed once its response was denied; closed as PEP 3333 wants it."""

    def __init__(self, answer: Iterable[bytes], guarded: _Guarded) -> None:
        self._answer = answer
        self._guarded = guarded

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._answer:
            if self._guarded.denial is None:
                yield piece

    def close(self) -> None:
        close = getattr(self._answer, "close", None)
        if close is not None:
            close()


def asked_of(environ: Environ) -> Asked:
    """Return the request of an environ. Without a raw target it is empty, which is refused as ambiguous."""
    target = str(next((environ[name] for name in RAW_TARGETS if environ.get(name)), ""))
    done = str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", ""))
    if unquote_to_bytes(target.partition("?")[0]) != done.encode("latin-1", "replace"):
        target = ""  # what was asked for is not what the application is about to do
    headers = [
        (name[5:].replace("_", "-").lower().encode("latin-1"), str(value).encode("latin-1", "replace"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    headers += [
        (name.replace("_", "-").lower().encode(), str(environ[name]).encode("latin-1", "replace"))
        for name in OUTSIDE
        if environ.get(name)
    ]
    verified = environ.get("SSL_CLIENT_VERIFY") == "SUCCESS"
    return Asked(
        method=str(environ.get("REQUEST_METHOD", "")),
        target=target.encode("latin-1", "replace"),
        headers=tuple(headers),
        scheme=str(environ.get("wsgi.url_scheme", "")),
        address=str(environ.get("REMOTE_ADDR", "")),
        certificate=str(environ.get("SSL_CLIENT_CERT", "")).encode("ascii", "replace") if verified else b"",
    )


def _begin_refusal(start_response: StartResponse, ruling: Ruling) -> Callable[[bytes], object]:
    return start_response(f"{ruling.status} {HTTPStatus(ruling.status).phrase}", list(ruling.headers))


def _refuse(start_response: StartResponse, ruling: Ruling) -> Iterable[bytes]:
    _begin_refusal(start_response, ruling)
    return [ruling.body]
