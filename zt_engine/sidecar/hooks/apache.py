"""Apache httpd with `mod_authnz_fcgi`: the parameters of a question, and answers as its authorizer protocol has them.

Parameters that begin with `HTTP_` are a client's headers; a client can set no other. Those of the printed configuration
begin with `ZT_`, the rest are httpd's own. httpd joins header lines of one name, so a comma in a credential is a second
one; and it leaves out names with a `_` or a dot, so the configuration looks for those itself and says `ZT_FORGED`.

Allow is status 200 with a `Variable-` line for each variable that the configuration turns into a header.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote_from_bytes

from zt_engine.core.errors import InputError
from zt_engine.core.generations import Generations
from zt_engine.sidecar.app import DecisionApp, Encode, Pending
from zt_engine.sidecar.authorize import Memory
from zt_engine.sidecar.fastcgi import pairs
from zt_engine.sidecar.hooks.apache_repeats import PORT, Key, key_of
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.denials import MAX_HEADER_BYTES, Denials
from zt_engine.sidecar.hooks.headers import METHOD_OVERRIDES, RESERVED_NAMES, RESERVED_PREFIXES
from zt_engine.sidecar.hooks.reading import Paths, Prover, Sent
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.strangers import Strangers

NAME = "apache"
USER = b"Variable-ZT_USER: zt\r\n"
"""httpd wants a user where it was told that somebody has to be known; it is never shown to anybody."""
MAX_CERTIFICATE_BYTES = 12 * 1024
HEAD_BYTES = 8 << 20
CERTIFICATE_BYTES = 8 << 20
KNOWN_BYTES = 48 << 20
ENTRY_BYTES = 800
"""What an entry takes beside its bytes: the memory, the table."""
REFUSED = b"Status: 403 Forbidden\r\nCache-Control: no-store\r\nContent-Length: 0\r\nZt-Reason: %b\r\n\r\n"
STRANGER, UNLOGGED = REFUSED % b"PEP_UNKNOWN", REFUSED % b"LOG_UNAVAILABLE"
TYPE_HEADER = b"Zt-Type"
"""Beside `Content-Type`, in whose place httpd puts its own for a refusal; the configuration puts this one back."""
_REQUIRED = (b"REQUEST_URI", b"REQUEST_METHOD", b"ZT_HOST", b"ZT_SCHEME", b"SERVER_PORT", b"REMOTE_ADDR", b"UNIQUE_ID")
_RESERVED = tuple(b"HTTP_" + prefix.upper().replace("-", "_").encode() for prefix in RESERVED_PREFIXES)
_HONEST = frozenset(
    b"HTTP_" + name
    for name in (
        b"FORWARDED", b"X_FORWARDED_BY", b"X_FORWARDED_FOR", b"X_FORWARDED_HOST", b"X_FORWARDED_PORT",
        b"X_FORWARDED_PREFIX", b"X_FORWARDED_PROTO", b"X_FORWARDED_SCHEME", b"X_FORWARDED_SERVER", b"X_FORWARDED_SSL",
        b"X_REAL_IP",
    )
)  # fmt: skip
_NAMES = frozenset(b"HTTP_" + name.upper().replace("-", "_").encode() for name in RESERVED_NAMES)
_OVERRIDES = frozenset(b"HTTP_" + name.upper().replace("-", "_").encode() for name in METHOD_OVERRIDES)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n?")


class ApacheHook:
    """Answers questions. One event loop, no awaiting: a decision is one call."""

    paths: ClassVar[Paths] = Paths.VERBATIM

    def __init__(self, app: DecisionApp, credentials: Credentials, denials: Denials, meters: Meters) -> None:
        self._app = app
        self._meters = meters
        self._noticed = Strangers(time.monotonic)
        self._prover = Prover()
        self._heads: Generations[bytes, bytes] = Generations(HEAD_BYTES, lambda key, value: len(key) + len(value) + 200)
        self._certificates: Generations[bytes, bytes] = Generations(
            CERTIFICATE_BYTES, lambda key, value: len(key) + len(value) + 200
        )
        self._known: Generations[Key, Memory] = Generations(
            KNOWN_BYTES, lambda key, _: ENTRY_BYTES + sum(map(len, key))
        )
        self.rewire(credentials, denials)

    def rewire(self, credentials: Credentials, denials: Denials) -> None:
        """Replace who may ask and what people are told, between two requests."""
        self._credentials = credentials
        self._denials = denials
        self._known.clear()

    def ask(self, raw: bytes) -> Pending | bytes:
        """Decide one question by its parameters; what a stranger is told comes at once, the rest waits for its turn.

        Raises InputError HOOK_FRAMING, HEADER_DOUBLED for what are no parameters.
        """
        known = key_of(raw)
        memory = self._known.get(known[0]) if known is not None else None
        if known is not None and memory is not None:
            key, number = known
            return self._app.again(
                memory, number, self._encoder(raw, number), UNLOGGED, lambda memory: self._known.put(key, memory)
            )  # fmt: skip
        params = pairs(raw)
        if PORT not in params:
            known = None  # those bytes are somebody's, within a value
        try:
            credential = self._credentials.of(params.get(b"ZT_PEP_KEY", b""), hook=NAME, peer=None)
        except InputError:
            self._meters.stranger()
            self._noticed.note(
                asked=b"/v1/hooks/apache", headers={b"host": params.get(b"ZT_HOST", b"")}, origin="FastCGI"
            )
            return STRANGER
        number = params.get(b"UNIQUE_ID", b"").replace(b"@", b"_")
        encode = self._encoder(raw, number)
        try:
            request = self._prover.prove(NAME, self.read(params), credential)
        except InputError as error:
            return self._app.refuse(error.code, hook=NAME, number=_id(number), encode=encode, unlogged=UNLOGGED)

        def keep(memory: Memory) -> None:
            if known is not None:
                self._known.put(known[0], memory)

        return self._app.submit(request, number, encode, UNLOGGED, keep=keep)

    def _encoder(self, raw: bytes, number: bytes) -> Encode:
        return lambda outcome, decision: self._encode(outcome, decision, number, raw)

    def read(self, params: Mapping[bytes, bytes]) -> Sent:
        """Say what the parameters mean; raises InputError HOOK_HEADER_MISSING, HEADER_, METHOD_OVERRIDE or CERT_."""
        for name in params:
            if name.startswith(b"HTTP_"):
                reserved = name.startswith(_RESERVED) or name in _NAMES
                if (reserved and name not in _HONEST) or name == b"HTTP_ZT":
                    raise InputError("HEADER_RESERVED", "a header that only a proxy of ours may send")
                if name in _OVERRIDES:
                    raise InputError("METHOD_OVERRIDE", "a header that names another method")
        if b"ZT_FORGED" in params:
            raise InputError("HEADER_RESERVED", "a header whose name would be read as one of ours")
        try:
            uri, method, host, scheme, port, address, number = (params[name] for name in _REQUIRED)
        except KeyError as missing:
            raise InputError("HOOK_HEADER_MISSING", f"parameter {missing}") from None
        return Sent(
            uri=uri,
            method=method,
            host=host,
            scheme=scheme,
            port=port,
            address=address,
            request_id=number.replace(b"@", b"_"),
            pep_key=b"",
            verify=params.get(b"ZT_CLIENT_VERIFY", b""),
            cert=self._escaped(params.get(b"ZT_CLIENT_CERT", b"")),
            authorization=params.get(b"HTTP_AUTHORIZATION", b""),
            dpop=params.get(b"HTTP_DPOP", b""),
            cookie=params.get(b"HTTP_COOKIE", b""),
            origin=params.get(b"HTTP_ORIGIN", b""),
            fetch_site=params.get(b"HTTP_SEC_FETCH_SITE", b""),
        )

    def _escaped(self, pem: bytes) -> bytes:
        if not pem:
            return pem
        escaped = self._certificates.get(pem)
        if escaped is None:
            if len(pem) > MAX_CERTIFICATE_BYTES:
                raise InputError("CERT_TOO_LARGE", f"{len(pem)} bytes, {MAX_CERTIFICATE_BYTES} are allowed")
            if _PEM.fullmatch(pem) is None:
                raise InputError("CERT_MALFORMED", "not exactly one PEM certificate")
            escaped = quote_from_bytes(pem if pem.endswith(b"\n") else pem + b"\n", safe="").encode("ascii")
            self._certificates.put(pem, escaped)
        return escaped

    def _encode(self, outcome: Outcome, decision: bytes, number: bytes, raw: bytes) -> bytes:
        head = outcome.head
        written = self._heads.get(head)
        if written is None:
            written = _allowed(head) if outcome.decision.opens else _denied(head)
            self._heads.put(head, written)
        if outcome.decision.opens:
            return b"%b%b\r\nVariable-ZT_REQUEST_ID: %b\r\n\r\n" % (written, decision, number)
        get = pairs(raw).get
        accept, languages = (get(name, b"")[:MAX_HEADER_BYTES] for name in (b"HTTP_ACCEPT", b"HTTP_ACCEPT_LANGUAGE"))
        target = get(b"REQUEST_URI", b"")
        lines, body = self._denials.whole(head, accept, languages, number=decision, target=target)
        kind = lines[: lines.index(b"\r\n") + 2].replace(b"Content-Type", TYPE_HEADER, 1)
        return b"%b%b\r\n%b%bContent-Length: %d\r\n\r\n%b" % (written, decision, kind, lines, len(body), body)


def _allowed(head: bytes) -> bytes:
    """Return an allow up to the value of the decision's id, each identity header as a variable."""
    _, *lines, last = head.split(b"\r\n")
    kept = [_variable(line) for line in lines if line.startswith(b"Zt-")]
    return b"Status: 200 OK\r\n" + USER + b"".join(line + b"\r\n" for line in kept) + _variable(last)


def _variable(line: bytes) -> bytes:
    name, _, value = line.partition(b":")
    return b"Variable-" + name.upper().replace(b"-", b"_") + b":" + value


def _denied(head: bytes) -> bytes:
    """Return a denial up to the value of the decision's id."""
    return head.replace(b"HTTP/1.1", b"Status:", 1).replace(b"Content-Length: 0\r\n", b"", 1)


def _id(number: bytes) -> bytes:
    return number if number.isascii() and number.replace(b"-", b"").replace(b"_", b"").isalnum() else b""
