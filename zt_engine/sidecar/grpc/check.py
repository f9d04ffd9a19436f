"""`envoy.service.auth.v3.Authorization/Check`: what Envoy asks, and what it is answered, as messages.

Field numbers are those of `external_auth.proto`, `attribute_context.proto` and `address.proto`. Of a message field that
came twice the last counts, as the format says; Envoy sends none twice.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from zt_engine.sidecar.grpc.wire import data, fields, integer, last, number, payload

METHOD = b"/envoy.service.auth.v3.Authorization/Check"
OK, PERMISSION_DENIED, UNAUTHENTICATED = 0, 7, 16
OVERWRITE = number(3, 2)
"""`append_action` OVERWRITE_IF_EXISTS_OR_ADD: never append to what a client sent."""

_ALLOWED = data(1, number(1, OK))

Header = tuple[bytes, bytes]


class Check(msgspec.Struct, gc=False):
    """One question. Nothing is proven yet; what Envoy left out is empty."""

    address: bytes = b""
    """Of the client, as Envoy sees it."""
    certificate: bytes = b""
    """The client's, verified by Envoy, as escaped PEM."""
    port: int = 0
    """Where the client came to."""
    method: bytes = b""
    path: bytes = b""
    host: bytes = b""
    headers: tuple[Header, ...] = ()
    """Each line for itself, in order, without pseudo-headers."""
    merged: bool = False
    """Whether Envoy sent headers with repeated ones joined: then a second line could not be told from a comma."""

    def __repr__(self) -> str:
        return f"Check({self.method!r}, {self.host!r})"


def read_check(message: bytes) -> Check:
    """Read a CheckRequest; raises InputError HOOK_FRAMING for what is none."""
    found = Check()
    for key, value in fields(last(message, 1)):
        if key == 1:
            _read_source(payload(value), found)
        elif key == 2:
            _, found.port = _socket_address(last(payload(value), 1))
        elif key == 4:
            _read_http(last(payload(value), 2), found)
    return found


def _read_source(peer: bytes, found: Check) -> None:
    for key, value in fields(peer):
        if key == 1:
            found.address, _ = _socket_address(payload(value))
        elif key == 5:
            found.certificate = payload(value)


def _socket_address(address: bytes) -> tuple[bytes, int]:
    host, port = b"", 0
    for key, value in fields(last(address, 1)):
        if key == 2:
            host = payload(value)
        elif key == 3:
            port = integer(value)
    return host, port


def _read_http(http: bytes, found: Check) -> None:
    for key, value in fields(http):
        if key == 2:
            found.method = payload(value)
        elif key == 3:
            found.merged = True
        elif key == 4:
            found.path = payload(value)
        elif key == 5:
            found.host = payload(value)
        elif key == 13:
            lines = [header(payload(line)) for name, line in fields(payload(value)) if name == 1]
            found.headers = tuple(line for line in lines if not line[0].startswith(b":"))


def header(line: bytes) -> Header:
    """Return name and value of a line of headers; its bytes count before its text."""
    name = text = raw = b""
    for key, value in fields(line):
        if key == 1:
            name = payload(value)
        elif key == 2:
            text = payload(value)
        elif key == 3:
            raw = payload(value)
    return name, raw or text


def option(name: bytes, value: bytes) -> bytes:
    """Write a header that replaces what is there, as field 1 of its HeaderValueOption and on."""
    return data(1, data(1, name) + data(2, value)) + OVERWRITE


def options(headers: Iterable[Header]) -> list[bytes]:
    """Write headers of which the first of a name replaces what is there, and further ones stand beside it."""
    seen: set[bytes] = set()
    written = []
    for name, value in headers:
        written.append(added(name, value) if name in seen else option(name, value))
        seen.add(name)
    return written


def added(name: bytes, value: bytes) -> bytes:
    """Write a header that stands beside what is there."""
    return data(1, data(1, name) + data(2, value))


def allowed(
    headers: Iterable[bytes], *, to_client: Iterable[bytes] = (), removed: Iterable[bytes] = (), metadata: bytes = b""
) -> bytes:
    """Write an allow: `headers` for the backend, `to_client` for the response, both as `option` writes them.

    `removed` are names that the backend does not see, `metadata` is a Struct.
    """
    parts = [*(data(2, header) for header in headers), *(data(5, name) for name in removed)]
    response = b"".join([*parts, *(data(6, header) for header in to_client)])
    return _ALLOWED + data(3, response) + (data(4, metadata) if metadata else b"")


def denied(status: int, headers: Iterable[bytes], body: bytes, *, metadata: bytes = b"") -> bytes:
    """Write a denial with its status for the client.

    INVARIANT: the code of `status` (field 1) is never 0: to Envoy that is an allow, whatever else stands there.
    """
    code = UNAUTHENTICATED if status == 401 else PERMISSION_DENIED
    response = data(1, number(1, status)) + b"".join(data(2, header) for header in headers) + data(3, body)
    return data(1, number(1, code)) + data(2, response) + (data(4, metadata) if metadata else b"")
