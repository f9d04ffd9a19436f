"""The policy engine for fleets that already run OPA: decisions over one kept-alive connection, HTTP or Unix socket.

Own transport, because the public client retries, follows proxies from the environment and pastes names into paths
(its place is administration). Here: a constant path, one attempt, one deadline over everything, strict built-in errors,
and the revision of every answer taken from OPA's provenance. Whatever is odd is an UnavailableError, which denies.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from zt_engine.adapters.http_answer import Answer, AnswerReader
from zt_engine.adapters.wasm_documents import check_document
from zt_engine.core.errors import ConfigError, Problem, UnavailableError

DEADLINE_MS: Final = 100
MAX_IDLE: Final = 8
"""Connections kept for the next evaluation; more exist only while more threads ask at once."""

_ENTRYPOINT: Final = re.compile(r"[a-z_][a-z0-9_]*(?:/[a-z_][a-z0-9_]*)+", re.ASCII)
"""No digit may start a segment: OPA would read it as a number."""

_FAULTS: Final = {
    "eval_builtin_error": "ENGINE_BUILTIN",
    "eval_cancel_error": "ENGINE_TIMEOUT",
    "eval_conflict_error": "ENGINE_TRAP",
}


class _Revision(msgspec.Struct):
    revision: str = ""


class _Provenance(msgspec.Struct):
    bundles: dict[str, _Revision] = {}


class _Document(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw()
    provenance: _Provenance = msgspec.field(default_factory=_Provenance)


class _Fault(msgspec.Struct):
    code: str = ""


class _Faults(msgspec.Struct):
    code: str = ""
    errors: list[_Fault] = []


_read_document = msgspec.json.Decoder(_Document).decode
_read_faults = msgspec.json.Decoder(_Faults).decode


class OpaEngine:
    """A `PolicyEngine` that asks a running OPA; safe to share between threads, each with a connection of its own.

    `address` is `unix:///path`, `http://` with a loopback address, or `https://`. An answer of another revision than
    `revision` is refused (ENGINE_REVISION): OPA may have activated a bundle this process does not know.
    """

    def __init__(
        self,
        address: str,
        *,
        revision: str,
        deadline_ms: int = DEADLINE_MS,
        tls: ssl.SSLContext | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect, host = _dialer(address, tls)
        self._head = (
            f"?strict-builtin-errors&provenance HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            "Content-Length: "
        ).encode()
        self._revision = revision
        self._deadline = deadline_ms / 1000
        self._monotonic = monotonic
        self._idle: list[AnswerReader] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def revision(self) -> str:
        """The revision every answer must come from."""
        return self._revision

    def evaluate(self, entrypoint: str, document: bytes) -> bytes:
        """Return the JSON of the entrypoint's value. No answer is ever asked for twice."""
        if self._closed:
            raise UnavailableError("ENGINE_DOWN", "the engine is closed")
        if _ENTRYPOINT.fullmatch(entrypoint) is None:
            raise UnavailableError("ENGINE_UNDEFINED", f"`{entrypoint}` is no entrypoint")
        check_document(document)
        body = b'{"input":%b}' % document
        request = b"POST /v1/data/%b%b%d\r\n\r\n%b" % (entrypoint.encode(), self._head, len(body), body)
        return self._interpret(self._ask(request))

    def close(self) -> None:
        """Close every connection; later evaluations raise ENGINE_DOWN."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _ask(self, request: bytes) -> Answer:
        until = self._monotonic() + self._deadline
        try:
            connection = self._take(until)
        except TimeoutError:
            raise UnavailableError("ENGINE_TIMEOUT", "OPA does not accept a connection in time") from None
        except OSError as error:
            raise UnavailableError("ENGINE_DOWN", f"OPA cannot be reached: {error.strerror or error}") from None
        try:
            answer = connection.exchange(request, until=until)
        except TimeoutError:
            connection.close()  # also tells OPA to stop evaluating
            raise UnavailableError("ENGINE_TIMEOUT", f"no answer within {self._deadline * 1000:g} ms") from None
        except (OSError, ValueError) as error:
            connection.close()
            raise UnavailableError("ENGINE_DOWN", f"the connection to OPA broke: {error}") from None
        except BaseException:
            connection.close()
            raise
        self._give_back(connection, reusable=answer.keep_alive)
        return answer

    def _take(self, until: float) -> AnswerReader:
        """A connection nobody uses. One that OPA closed, or wrote to unasked, while it lay idle is thrown away."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return AnswerReader(self._connect(max(0.001, until - self._monotonic())), monotonic=self._monotonic)
            if connection.is_quiet():
                return connection
            connection.close()

    def _give_back(self, connection: AnswerReader, *, reusable: bool) -> None:
        with self._lock:
            if reusable and not self._closed and len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def _interpret(self, answer: Answer) -> bytes:
        if answer.status != 200:
            raise _fault(answer)
        try:
            document = _read_document(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnavailableError("ENGINE_MALFORMED", f"OPA's answer: {error}") from None
        found = [bundle.revision for bundle in document.provenance.bundles.values()]
        if self._revision not in found:
            raise UnavailableError("ENGINE_REVISION", f"OPA answers from {found}, expected `{self._revision}`")
        value = bytes(document.result)
        if not value:
            raise UnavailableError("ENGINE_UNDEFINED", "OPA's answer has no result")
        return value


def _fault(answer: Answer) -> UnavailableError:
    try:
        faults = _read_faults(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return UnavailableError("ENGINE_DOWN", f"OPA answers {answer.status}")
    if answer.status == 400:
        return UnavailableError("ENGINE_INPUT", "OPA refuses the document")
    for fault in faults.errors:
        if fault.code in _FAULTS:
            return UnavailableError(_FAULTS[fault.code], f"OPA reports {fault.code}")
    return UnavailableError("ENGINE_DOWN", f"OPA answers {answer.status} {faults.code}")


def _dialer(address: str, tls: ssl.SSLContext | None) -> tuple[Callable[[float], socket.socket], str]:
    """How to connect, and what to call the host. Plain HTTP leaves this machine only by mistake, so it may not."""
    try:
        url = urlsplit(address)
        port = url.port
    except ValueError:
        raise _bad_address(address, "not a URL") from None
    if url.query or url.fragment or url.username or url.password:
        raise _bad_address("", "an address without credentials, query and fragment")
    if url.scheme == "unix" and not url.netloc and url.path.startswith("/"):
        return lambda timeout: _unix(url.path, timeout), "localhost"
    if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/"):
        raise _bad_address(address, "unix:///path, http://127.0.0.1:port or https://host:port")
    host = url.hostname
    if url.scheme == "https":
        context = ssl.create_default_context() if tls is None else tls
        return lambda timeout: _tls(host, port or 443, timeout, context), url.netloc
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise _bad_address(address, "plain http is for a loopback address such as 127.0.0.1; use https")
    return lambda timeout: _tcp(host, port or 8181, timeout), url.netloc


def _tcp(host: str, port: int, timeout: float) -> socket.socket:
    connection = socket.create_connection((host, port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _tls(host: str, port: int, timeout: float, context: ssl.SSLContext) -> socket.socket:
    plain = _tcp(host, port, timeout)
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _unix(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)
        connection.settimeout(timeout)
        connection.connect(path)
        undo.pop_all()
    return connection


def _bad_address(address: str, wanted: str) -> ConfigError:
    problem = Problem(code="ENGINE_ADDRESS_INVALID", message=f"`{address}` is no address of an OPA", hint=wanted)
    return ConfigError((problem,))
