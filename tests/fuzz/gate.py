"""What is true of the gate for any bytes at all: shared by the properties and by the fuzzer."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote_to_bytes

from zt_engine.core.errors import InputError
from zt_engine.core.request import (
    RequestTarget,
    canonical_address,
    canonical_host,
    canonical_method,
    canonical_path,
    canonical_target,
)
from zt_engine.corpus.stacks.php_emulated import read_head
from zt_engine.corpus.stacks.wsgi import read_environ
from zt_engine.sidecar.hooks.headers import METHOD_OVERRIDES, RESERVED_NAMES, RESERVED_PREFIXES, Family, judge

FAMILY = Family(required=("x-forwarded-uri", "zt-request-id"), optional=("zt-pep-key", "authorization"))
CONTROL = bytes(range(0x20)) + b"\x7f"


def check_path(raw: bytes) -> bytes | None:
    """A path is refused, or its canonical form is the one reading that decoders, resolvers and stacks have of it."""
    try:
        path = canonical_path(raw)
    except InputError:
        return None
    decoded = unquote_to_bytes(path)
    assert canonical_path(path) == path
    assert unquote_to_bytes(raw) == decoded
    assert unquote_to_bytes(decoded) == decoded  # who decodes twice reads the same
    assert not set(decoded) & set(CONTROL) and b"\\" not in decoded and b"//" not in decoded and b";" not in decoded
    bare = decoded.rstrip(b"/") or b"/"
    assert posixpath.normpath(decoded) == bare
    text = decoded.decode("utf-8")
    for resource in readings(path):
        assert resource == text, (raw, resource, text)
    return path


def readings(path: bytes) -> list[str]:
    """How WSGI and PHP read a path."""
    target = path.decode("latin-1")
    environ = {"PATH_INFO": unquote_to_bytes(path).decode("latin-1")}
    php = read_head(b"GET %b HTTP/1.1" % path, ()).resources
    return [*read_environ(environ, stack="wsgi", target=target, names=()).resources, *php]


def check_target(uri: bytes, host: bytes, scheme: bytes = b"https", port: bytes = b"443") -> RequestTarget | None:
    """A target is refused, or asking again about what came out changes nothing."""
    try:
        target = canonical_target(uri, host, scheme=scheme, port=port)
    except InputError:
        return None
    shown = f"[{target.host}]" if ":" in target.host else target.host
    again = canonical_target(target.path.encode(), shown.encode(), scheme=scheme, port=port)
    absolute = canonical_target(target.url.encode(), shown.encode(), scheme=scheme, port=port)
    assert (again.path, again.host, again.port) == (target.path, target.host, target.port)
    assert (absolute.path, absolute.host) == (target.path, target.host)
    assert check_path(target.raw_path.encode()) == target.path.encode()
    return target


def check_words(raw: bytes) -> None:
    """Hosts, methods and addresses are refused, or stay what they became."""
    for canonical in (canonical_method, canonical_address):
        try:
            text = canonical(raw)
        except InputError:
            continue
        assert canonical(text.encode()) == text
    try:
        host = canonical_host(raw)
    except InputError:
        return
    shown = f"[{host}]" if ":" in host else host
    assert canonical_host(shown.encode()) == host == host.lower()
    assert not set(host) & set(", @/\\?#%_\t\0")


def check_names(names: list[bytes]) -> None:
    """A list of names is refused, or no spelling in it folds onto a name that the engine owns."""
    layout = judge(names, FAMILY)
    if layout.pick is None:
        assert layout.refusal
        return
    for name in names:
        lowered = name.decode("ascii").lower()
        folded = lowered.replace("_", "-").replace(".", "-")
        if lowered not in FAMILY.known:
            assert folded not in FAMILY.known
            assert folded not in RESERVED_NAMES and folded not in METHOD_OVERRIDES
            assert not folded.startswith(RESERVED_PREFIXES)
    lowered_names = [name.lower() for name in names]
    assert all(lowered_names.count(name.encode()) <= 1 for name in FAMILY.known)


def check(data: bytes) -> None:
    """Everything above, of one text: lines are target, host, and names of headers."""
    uri, _, rest = data.partition(b"\n")
    host, _, names = rest.partition(b"\n")
    check_path(uri.partition(b"?")[0])
    check_target(uri, host)
    check_target(uri, b"portal.example")
    check_words(host)
    check_words(uri)
    check_names(names.split(b"\n"))
    check_names([b"Host", b"X-Forwarded-Uri", b"Zt-Request-Id", *names.split(b"\n")])
