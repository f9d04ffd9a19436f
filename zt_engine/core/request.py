"""The request as it will be authorised: canonicalise-or-reject.

What was authorised is what the backend executes. Proxies and backends disagree on how to read an unusual target, so a
target that has more than one reading is refused instead of being repaired. The canonical form is the form every
server reads alike: no dot segment, no empty segment, no encoded separator, no escape of an unreserved character
(RFC 3986, 6.2.2). Escapes may be written in either case; the canonical form has upper case.

Reading a target costs no more than its length: the patterns never go back (possessive quantifiers), and segments and
escapes are counted before anything is decoded, because anybody can send one before they have signed in.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from functools import lru_cache

import msgspec

from zt_engine.core.errors import InputError

MAX_TARGET_BYTES = 8192
MAX_PATH_SEGMENTS = 128
MAX_PATH_ESCAPES = 384
"""128 characters of Japanese. Checking normal form costs the square of a run of combining marks, so runs are short."""
MAX_HOST_BYTES = 253
MAX_REQUEST_ID = 128
MAX_AUTHORITIES = 1024
DEFAULT_PORTS = {"http": 80, "https": 443}

_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_~!$&'()*+,=:@.-/"
_DOTS = frozenset((b".", b".."))
_ESCAPED_PATH = re.compile(rb"(?:/(?:[A-Za-z0-9_~!$&'()*+,=:@.-]++|%[0-9A-Fa-f]{2})++)*+/?")
_QUERY = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x23)
"""Visible ASCII without `#`: a server may read a fragment as path."""
_HOST = re.compile(rb"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_METHOD = re.compile(rb"[A-Z]{1,32}")
_LOWER_ESCAPE = re.compile(rb"%(?:[a-f]|[0-9A-F][a-f])")
_DOUBLE = re.compile(rb"%25[0-9A-Fa-f]")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NEVER_ESCAPED = _UNRESERVED | frozenset(range(0x20)) | {0x7F} | frozenset(b"/\\;?#")
"""Bytes whose escape some server decodes before it splits the path, or that have no business in one."""
_FORBIDDEN_ESCAPE = re.compile(rb"%(?:[01]|2[3DEFdef]|3[0-9BFbf]|4[1-9A-Fa-f]|5[0-9ACFacf]|6[1-9A-Fa-f]|7[0-9AEFaef])")
"""An escape of one of them, by its digits: one step for each escape, whatever it spells."""


class RequestTarget(msgspec.Struct, frozen=True):
    """Where a request goes: `path` is canonical and percent-encoded, `raw_path` is what the client sent (for DPoP)."""

    scheme: str
    host: str
    port: int
    path: str
    raw_path: str

    @property
    def origin(self) -> bytes:
        """Scheme and authority as a browser writes them in Origin (RFC 6454, 6.1)."""
        return f"{self.scheme}://{self._authority}".encode("ascii")

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The target without query, as RFC 9449 compares it with `htu`."""
        return f"{self.scheme}://{self._authority}{self.raw_path}"


class AccessRequest(msgspec.Struct, frozen=True):
    """One request, sent by a proxy we know: one header family, each header once, method and target canonical."""

    hook: str
    pep: str
    proof: str
    """How the proxy showed who it is: `key`, `socket` or `mtls`."""
    channel: str
    enforces: tuple[str, ...]
    method: str
    target: RequestTarget
    client_ip: str
    request_id: str
    authorization: bytes = b""
    dpop: bytes = b""
    client_cert: bytes = b""
    session: bytes = b""
    """The handle of a browser's session, from its cookie; empty beside an Authorization header."""
    purpose: str | None = None
    device_proof: bytes = b""
    """The proof cookie beside a session's: what the device signed for this browser."""

    def __repr__(self) -> str:
        return f"AccessRequest({self.request_id!r}, {self.hook!r}, {self.method!r}, {self.target.host!r})"


def canonical_path(raw: bytes) -> bytes:
    """Return the canonical form of a path, or raise InputError PATH_AMBIGUOUS or TARGET_TOO_LARGE. Idempotent."""
    segments = raw.split(b"/")
    if len(segments) > MAX_PATH_SEGMENTS + 1 or raw.count(b"%") > MAX_PATH_ESCAPES:
        text = f"a path has at most {MAX_PATH_SEGMENTS} segments and {MAX_PATH_ESCAPES} escapes"
        raise InputError("TARGET_TOO_LARGE", text)
    if not raw.translate(None, _PLAIN):  # nothing else is left: three times as fast as a pattern
        canonical = raw
    elif _ESCAPED_PATH.fullmatch(raw) is not None and _DOUBLE.search(raw) is None:
        if _FORBIDDEN_ESCAPE.search(raw) is not None:
            raise InputError(
                "PATH_AMBIGUOUS", "the path escapes a byte that has to stand for itself or may not stand there"
            )
        canonical = raw if _LOWER_ESCAPE.search(raw) is None else _upper_escapes(raw)
        _require_readable(canonical)
    else:
        raise InputError("PATH_AMBIGUOUS", "the path has a byte that servers read differently")
    if segments[0] or len(segments) == 1:
        raise InputError("PATH_AMBIGUOUS", "the path does not begin with a slash")
    if segments.count(b"") > (1 if segments[-1] else 2):  # the one before the first slash, and one behind the last
        raise InputError("PATH_AMBIGUOUS", "the path has an empty segment")
    if not _DOTS.isdisjoint(segments):
        raise InputError("PATH_AMBIGUOUS", "the path has a dot segment")
    return canonical


def _upper_escapes(path: bytes) -> bytes:
    first, *pieces = path.split(b"%")
    return b"%".join([first, *(piece[:2].upper() + piece[2:] for piece in pieces)])


def unescape(path: bytes) -> bytes:
    """Decode a path's escapes, all of them valid; it may hold no backslash. One pass in C, not one step per escape."""
    return path.replace(b"%", b"\\x").decode("unicode_escape").encode("latin-1")


def _require_readable(path: bytes) -> None:
    """Require that the escapes spell UTF-8 in normal form C: another spelling names another file to some systems."""
    try:
        text = unescape(path).decode()
    except UnicodeDecodeError:
        raise InputError("PATH_AMBIGUOUS", "the path is not UTF-8") from None
    if not unicodedata.is_normalized("NFC", text):
        raise InputError("PATH_AMBIGUOUS", "the path is not in Unicode normal form C")


def canonical_host(raw: bytes) -> str:
    """Return the host in lower case without port, or raise InputError HOST_AMBIGUOUS."""
    lowered = raw.lower()
    name, colon, port = lowered.rpartition(b":") if not lowered.endswith(b"]") else (lowered, b"", b"")
    if not colon:
        name = lowered
    elif not (port.isdigit() and len(port) <= 5):
        raise InputError("HOST_AMBIGUOUS", "the host has a port that is no number")
    if name.startswith(b"[") and name.endswith(b"]") and b"%" not in name:
        try:
            return ipaddress.IPv6Address(name[1:-1].decode("ascii")).compressed
        except ValueError:
            raise InputError("HOST_AMBIGUOUS", "the host is no IPv6 address") from None
    if len(name) > MAX_HOST_BYTES or _HOST.fullmatch(name) is None:
        raise InputError("HOST_AMBIGUOUS", "the host is no host name")
    return name.decode("ascii")


def canonical_method(raw: bytes) -> str:
    """Return the method; anything but upper-case letters raises METHOD_AMBIGUOUS (RFC 9110: case matters)."""
    if _METHOD.fullmatch(raw) is None:
        raise InputError("METHOD_AMBIGUOUS", "the method is not spelled in upper-case letters")
    return raw.decode("ascii")


def is_request_id(raw: bytes) -> bool:
    """Whether this is 1 to 128 letters, digits, `-` and `_`: nothing that any reader could take in another way."""
    return (
        0 < len(raw) <= MAX_REQUEST_ID
        and (raw.isalnum() or raw.replace(b"-", b"").replace(b"_", b"").isalnum())  # of bytes: ASCII alone
    )


def request_id(raw: bytes) -> str:
    """Return the proxy's request id, or raise InputError REQUEST_ID_INVALID."""
    if not is_request_id(raw):
        raise InputError("REQUEST_ID_INVALID", "the request id is not 1 to 128 letters, digits, `-` and `_`")
    return raw.decode("ascii")


def canonical_address(raw: bytes) -> str:
    """Return a client address in compressed form, mapped IPv4 as IPv4; raises ADDRESS_INVALID, also for zone ids."""
    try:
        address = ipaddress.ip_address(raw.decode("ascii"))
    except ValueError:
        raise InputError("ADDRESS_INVALID", "the client address is no IP address") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise InputError("ADDRESS_INVALID", "the client address has a zone id")
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
    return address.compressed


def canonical_target(uri: bytes, host: bytes, *, scheme: bytes, port: bytes) -> RequestTarget:
    """Return the target of a request line, or raise InputError.

    `uri` is the request target as the client sent it (RFC 9112, 3.2), `host`, `scheme` and `port` are what the proxy
    vouches for. The absolute form is accepted only when its authority is the very host (H7).
    """
    if len(uri) > MAX_TARGET_BYTES:
        raise InputError("TARGET_TOO_LARGE", f"the target has {len(uri)} bytes, {MAX_TARGET_BYTES} are allowed")
    scheme_name, name, number = _authority(host, scheme, port)
    if not uri.startswith(b"/"):
        uri = _origin_form(uri, name, scheme)
    path, question, query = uri.partition(b"?")
    if question and query.translate(None, _QUERY):
        raise InputError("PATH_AMBIGUOUS", "the query has a byte that servers read differently")
    canonical = canonical_path(path)
    text = canonical.decode("ascii")
    return RequestTarget(scheme_name, name, number, text, text if canonical is path else path.decode("ascii"))


@lru_cache(MAX_AUTHORITIES)
def _authority(host: bytes, scheme: bytes, port: bytes) -> tuple[str, str, int]:
    """Return scheme, host and port of an authority. A proxy vouches for a few, again and again; errors are not kept."""
    if scheme not in (b"http", b"https"):
        raise InputError("SCHEME_UNKNOWN", "the scheme is neither `http` nor `https`")
    if not (port.isdigit() and 0 < int(port[:6]) < 65536):
        raise InputError("HOST_AMBIGUOUS", "the port is no port number")
    return scheme.decode("ascii"), canonical_host(host), int(port)


def _origin_form(uri: bytes, host: str, scheme: bytes) -> bytes:
    """Take the path out of an absolute-form target whose authority is `host`."""
    prefix = scheme + b"://"
    if not uri.lower().startswith(prefix):
        raise InputError("PATH_AMBIGUOUS", "the target is neither a path nor an absolute URI of this scheme")
    authority, slash, rest = uri[len(prefix) :].partition(b"/")
    if not slash or canonical_host(authority) != host:
        raise InputError("HOST_AMBIGUOUS", "the target names another host than the proxy vouches for")
    return slash + rest
