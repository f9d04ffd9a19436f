"""Our own emulation of PHP's server, for machines without PHP; it goes by the name `php-emulated`.

Names are folded as `php_register_variable` does (`-`, `.`, blank and `_` are one), the last repeated header counts, and
SCRIPT_NAME is the decoded path with double slashes and dot segments resolved, as `sapi/cli` does.
"""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Sequence
from urllib.parse import unquote

import msgspec

from zt_engine.corpus.execution import RECORD, Execution
from zt_engine.corpus.stacks.wsgi import read_environ

_NAME = re.compile(r"[ .-]")
NAME = "php-emulated"


def read_head(head: bytes, names: Sequence[str]) -> Execution:
    """Return what PHP makes of a request head."""
    line, _, rest = head.decode("latin-1").partition("\r\n")
    method, target, *_ = [*line.split(" "), "", ""]
    environ = {"REQUEST_METHOD": method}
    for field in rest.split("\r\n"):
        name, colon, value = field.partition(":")
        if colon:
            environ["HTTP_" + _NAME.sub("_", name.upper())] = value.strip()
    path = unquote(re.sub(r"(?i)^https?://[^/]*", "", target).partition("?")[0], encoding="latin-1")
    environ["PATH_INFO"] = path
    return read_environ(environ, stack=NAME, target=target, names=names)


class _Handler(socketserver.StreamRequestHandler):
    timeout = 5
    server: _Server

    def handle(self) -> None:
        """Answer one request and close."""
        head = b""
        try:
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline(65536)
                if not line:
                    return
                head += line
            body = RECORD + msgspec.json.encode(read_head(head[:-4], self.server.names)) + b"\n"
            answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            self.wfile.write(answer)
        except OSError:
            return


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128
    names: Sequence[str] = ()


class EmulatedPhpStack:
    """The emulation on a free loopback port, in a thread."""

    name = NAME

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are the identity headers that are recorded."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.names = names
        self.address: tuple[str, int] = ("127.0.0.1", int(self._server.server_address[1]))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
