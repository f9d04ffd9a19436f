"""`uri.parse` and `uri.is_valid`: the reading of Go's `net/url` (RFC 3986 with its leniencies), nothing resolved."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from zt_engine.adapters.rego_builtins.operands import RefusedError, builtin, octets, text_of
from zt_engine.adapters.rego_builtins.url_escapes import Part, escape, unescape
from zt_engine.adapters.rego_values import Value

_SCHEME: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*):")
_PORT: Final = re.compile(rb"(?::[0-9]*)?")
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")
_USER: Final = re.compile(rb"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")


def _split_scheme(raw: bytes) -> tuple[bytes, bytes]:
    if raw.startswith(b":"):
        raise RefusedError("missing protocol scheme")
    match = _SCHEME.match(raw)
    return (match.group(1).lower(), raw[match.end() :]) if match else (b"", raw)


def _check_port(port: bytes) -> None:
    if not _PORT.fullmatch(port):
        raise RefusedError("invalid port after host")


def _literal(host: bytes) -> bytes:
    """An address in brackets, with an optional zone (RFC 6874) and port."""
    inside, bracket, port = host[1:].rpartition(b"]")
    if not bracket:
        raise RefusedError("missing ']' in host")
    _check_port(port)
    address, percent, zone = inside.partition(b"%25")
    name = unescape(address, Part.HOST) + (unescape(b"%25" + zone, Part.ZONE) if percent else b"")
    bare, mark, scope = name.partition(b"%")
    try:
        ipaddress.IPv6Address(bare.decode("ascii"))
    except ValueError:
        raise RefusedError("invalid host") from None
    if mark and not scope:
        raise RefusedError("invalid host")
    return b"[" + name + b"]" + port


def _host(scheme: bytes, host: bytes) -> bytes:
    bracket = host.rfind(b"[")
    if bracket > 0:
        raise RefusedError("invalid IP-literal")
    if bracket == 0:
        return _literal(host)
    colon = host.find(b":")
    if colon >= 0:
        # Only http and https insist on a single colon; other schemes may list several hosts.
        _check_port(host[colon:] if scheme in {b"http", b"https"} else host[host.rfind(b":") :])
    return unescape(host, Part.HOST)


def _authority(scheme: bytes, authority: bytes) -> bytes:
    user, mark, host = authority.rpartition(b"@")
    found = _host(scheme, host)
    if mark:
        if not _USER.fullmatch(user):
            raise RefusedError("invalid userinfo")
        for part in user.split(b":", 1):
            unescape(part, Part.USER)
    return found


def _split_host_port(host: bytes) -> tuple[bytes, bytes]:
    port = b""
    colon = host.rfind(b":")
    if colon >= 0 and _PORT.fullmatch(host[colon:]):
        host, port = host[:colon], host[colon + 1 :]
    if host.startswith(b"[") and host.endswith(b"]"):
        host = host[1:-1]
    return host, port


def _parse(raw: bytes) -> dict[str, bytes]:
    whole, _, fragment = raw.partition(b"#")
    if _CONTROL.search(whole):
        raise RefusedError("invalid control character in URL")
    found: dict[str, bytes] = {}
    if whole == b"*":
        found["path"] = found["raw_path"] = b"*"
    else:
        scheme, rest = _split_scheme(whole)
        rest, _, query = rest.partition(b"?")
        found |= {"scheme": scheme, "raw_query": query}
        if rest.startswith(b"/") or not scheme:
            found |= _hierarchical(scheme, rest)
    if fragment:
        found["fragment"] = unescape(fragment, Part.FRAGMENT)
    return found


def _hierarchical(scheme: bytes, rest: bytes) -> dict[str, bytes]:
    if not rest.startswith(b"/") and b":" in rest.split(b"/", 1)[0]:
        raise RefusedError("first path segment in URL cannot contain colon")
    found: dict[str, bytes] = {}
    if rest.startswith(b"//") and (scheme or not rest.startswith(b"///")):
        authority, slash, path = rest[2:].partition(b"/")
        found["hostname"], found["port"] = _split_host_port(_authority(scheme, authority))
        rest = slash + path
    path = unescape(rest, Part.PATH)
    found["path"] = path
    found["raw_path"] = path if escape(path, Part.PATH) == rest else rest
    return found


@builtin("uri.parse")
def parse(text: Value) -> Value:
    """The parts that are not empty."""
    return {name: text_of(part) for name, part in _parse(octets(text, 1)).items() if part}


@builtin("uri.is_valid")
def is_valid(text: Value) -> Value:
    """False for the empty string and for what is no string, too."""
    if not isinstance(text, str) or not text:
        return False
    try:
        _parse(octets(text, 1))
    except RefusedError:
        return False
    return True
