"""A WSGI application on wsgiref: `-` and `_` in names are one, repeated headers are joined, PATH_INFO is decoded."""

from __future__ import annotations

import posixpath
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import msgspec

from zt_engine.corpus.execution import MARK, RECORD, Execution

OVERRIDES = ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method")
PATHS = ("X-Original-URL", "X-Rewrite-URL")
PREFIXES = ("X-Script-Name", "X-Forwarded-Prefix")


def read_environ(environ: Mapping[str, Any], *, stack: str, target: str, names: Sequence[str]) -> Execution:
    """Return what applications make of a CGI-like environment, middleware for proxies included."""

    def said(name: str) -> str:
        return str(environ.get(name, ""))

    def header(name: str) -> str:
        return said(_variable(name))

    path = said("PATH_INFO").encode("latin-1", "replace").decode("utf-8", "replace")
    others = [header(name).partition("?")[0] for name in PATHS if header(name)]
    others += [header(name).rstrip("/") + path for name in PREFIXES if header(name)]
    resources = [path, posixpath.normpath("/" + path.lstrip("/")), *others]
    hosts = [header("Host"), header("X-Forwarded-Host")]
    return Execution(
        stack=stack,
        probe=header(MARK),
        target=target,
        methods=tuple(dict.fromkeys([said("REQUEST_METHOD"), *(header(n).upper() for n in OVERRIDES if header(n))])),
        hosts=tuple(dict.fromkeys(host_name(host) for host in hosts if host)),
        resources=tuple(dict.fromkeys(_kept_slash(path, item) for item in resources)),
        identity={name: header(name) for name in names if _variable(name) in environ},
    )


def host_name(host: str) -> str:
    """Return a host without port, in lower case."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _kept_slash(path: str, reading: str) -> str:
    return reading + "/" if path.endswith("/") and not reading.endswith("/") else reading


def _variable(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


def application(environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the record of what was executed."""
    record = read_environ(environ, stack="wsgi", target=environ["corpus.target"], names=environ["corpus.names"])
    body = RECORD + msgspec.json.encode(record) + b"\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


class _Handler(WSGIRequestHandler):
    timeout = 5

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        names = self.server.names  # type: ignore[attr-defined]  # it is the one below
        return {**environ, "corpus.target": self.path, "corpus.names": names}

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Say nothing."""

    def log_error(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Say nothing."""

    def address_string(self) -> str:
        return "127.0.0.1"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    names: Sequence[str] = ()

    def server_bind(self) -> None:
        """Bind without asking the resolver for this machine's name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class WsgiStack:
    """The application on a free loopback port, in a thread."""

    name = "wsgi"

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are the identity headers that are recorded."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.names = names
        self._server.set_app(application)
        self.address: tuple[str, int] = ("127.0.0.1", self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
