"""What every hook over HTTP does alike: one header family, a proxy that shows who it is, values that are proven.

A hook names its family and says how its proxy spells things (`HeaderHook.sent`). Everything behind that, and so every
rule about targets, hosts, methods, credentials and certificates, is the same for all proxies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import ClassVar

import msgspec

from zt_engine.core.device_proof import proof_of
from zt_engine.core.errors import InputError
from zt_engine.core.generations import Generations
from zt_engine.core.request import (
    AccessRequest,
    RequestTarget,
    canonical_address,
    canonical_method,
    canonical_target,
    request_id,
)
from zt_engine.core.session import COOKIE, SAFE_METHODS, require_same_origin, session_handle
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, Peer
from zt_engine.sidecar.hooks.headers import Family, Layouts

ID_LINE = b"\r\nZt-Request-Id: "
DOUBTFUL = b"?"
"""Stands for a key that was sent in a doubtful way: wrong for everybody, and it rules the connection's peer out."""
MAX_CREDENTIAL_BYTES = 16384
MAX_TARGET_BYTES = 16 << 20
MAX_ADDRESSES = 16_384
MAX_ADDRESS = 256
_SAFE = frozenset(name.encode() for name in SAFE_METHODS)
"""Targets and addresses that were proven once. They are bounded, so that inventing more, for which nobody has to sign
in, costs time and not memory."""


class Paths(Enum):
    """What a proxy does to the path of a request before it asks. The backend gets what was asked about either way."""

    VERBATIM = "verbatim"
    """Nothing: what has two readings comes as it was sent, and is refused."""
    TIDIED = "tidied"
    """Dot segments are resolved, `//` is one slash and needless escapes are undone, for sidecar and backend alike."""


class Sent(msgspec.Struct, gc=False):
    """The values of one hook request, as bytes; nothing is proven yet but that each header came once."""

    uri: bytes
    method: bytes
    host: bytes
    scheme: bytes
    port: bytes
    address: bytes
    request_id: bytes
    """Empty where the proxy names none: the sidecar then numbers the request itself."""
    pep_key: bytes
    verify: bytes
    """The proxy's verdict on the client certificate: `SUCCESS`, or `NONE` or empty where there was none."""
    cert: bytes
    """The client certificate as URL-encoded PEM."""
    authorization: bytes
    dpop: bytes
    cookie: bytes
    origin: bytes = b""
    fetch_site: bytes = b""
    """What the browser says of the page that asks; read only where a cookie is to change something."""

    def __repr__(self) -> str:
        return f"Sent({self.request_id!r})"


class Prover:
    """Turns what was sent into what is proven; remembers a bounded number of targets and addresses."""

    __slots__ = ("_addresses", "_targets")

    def __init__(self) -> None:
        self._targets: Generations[tuple[bytes, bytes, bytes, bytes], RequestTarget] = Generations(
            MAX_TARGET_BYTES, _target_size
        )
        self._addresses: Generations[bytes, str] = Generations(MAX_ADDRESSES)

    def prove(self, hook: str, sent: Sent, credential: Credential) -> AccessRequest:
        """Prove the values: canonical target, method and address, and a proxy that may speak for this host.

        Raises InputError with the code of the first rule that refuses.
        """
        target = self._target(sent)
        session = session_handle(sent.cookie) if sent.cookie and not sent.authorization else b""
        if session and sent.method not in _SAFE:
            require_same_origin(origin=sent.origin, fetch_site=sent.fetch_site, expected=target.origin)
        if credential.hosts and target.host not in credential.hosts:
            raise InputError("HOST_FOREIGN", "this proxy may not speak for this host")
        return AccessRequest(
            hook,
            credential.name,
            credential.proof,
            credential.channel,
            credential.enforces,
            canonical_method(sent.method),
            target,
            self._address(sent.address),
            request_id(sent.request_id),
            single(sent.authorization, "authorization"),
            single(sent.dpop, "dpop") if sent.dpop else b"",
            certificate(sent.verify, sent.cert),
            session,
            device_proof=proof_of(sent.cookie) if session else b"",
        )

    def _target(self, sent: Sent) -> RequestTarget:
        key = (sent.uri, sent.host, sent.scheme, sent.port)
        target = self._targets.get(key)
        if target is None:
            target = canonical_target(sent.uri, sent.host, scheme=sent.scheme, port=sent.port)
            self._targets.put(key, target)
        return target

    def _address(self, raw: bytes) -> str:
        address = self._addresses.get(raw)
        if address is None:
            address = canonical_address(raw)
            if len(raw) <= MAX_ADDRESS:
                self._addresses.put(raw, address)
        return address


class HeaderHook:
    """A hook that a proxy asks over HTTP/1.1, with one header family."""

    name: ClassVar[str]
    path: ClassVar[bytes]
    """Where the proxy asks. A hook whose proxy appends something to it (`appends`) is handed the rest."""
    appends: ClassVar[bool] = False
    family: ClassVar[Family]
    paths: ClassVar[Paths] = Paths.VERBATIM
    id_line: ClassVar[bytes] = ID_LINE
    """How the line begins that differs in every request; empty where the proxy sends none."""
    any_method: ClassVar[bool] = False
    """Whether the proxy asks with the client's own method instead of GET."""
    carries: ClassVar[bool] = True
    """Whether the proxy hands the body of a denial to the client."""
    allow_lines: ClassVar[bytes] = b""
    """Header lines that an allow has in addition, each with its CRLF."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._layouts = Layouts(self.family)
        self._prover = Prover()

    def sent(self, values: tuple[bytes, ...], *, method: bytes, rest: bytes) -> Sent:
        """Say what the values of the family mean, which come in its reading order; absent ones are empty.

        `method` is that of the hook request, `rest` what follows the hook's path. Raises InputError.
        """
        raise NotImplementedError

    def read(
        self,
        headers: dict[bytes, bytes],
        names: tuple[bytes, ...],
        peer: Peer,
        *,
        method: bytes = b"GET",
        rest: bytes = b"",
    ) -> tuple[Sent, Credential]:
        """Return what was sent and by which proxy.

        `headers` maps names as sent to values, plus the empty name to the empty value; `names` has every name in order,
        repeats included. Raises InputError HOOK_ or HEADER_; PEP_UNKNOWN when no credential of a proxy was shown.
        """
        try:
            layout = self._layouts.of(names)
            assert layout.pick is not None  # Layouts.of raised otherwise
            sent = self.sent(layout.pick(headers), method=method, rest=rest)
        except InputError:
            # A stranger learns nothing of the rules, and does not fill the log.
            self._credentials.of(sole_key(headers, names), hook=self.name, peer=peer)
            raise
        credential = self._credentials.of(sent.pep_key, hook=self.name, peer=peer)
        if sent.method not in _SAFE and COOKIE in sent.cookie:
            sent.origin, sent.fetch_site = said_of_page(headers)
        if headers[layout.has_body] not in (b"", b"0"):
            raise InputError("HOOK_FRAMING", "a hook request has no body")
        return sent, credential

    def prove(self, sent: Sent, credential: Credential) -> AccessRequest:
        """Prove the values; raises InputError with the code of the first rule that refuses."""
        return self._prover.prove(self.name, sent, credential)


def said_of_page(headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return Origin and Sec-Fetch-Site; a name that came in two spellings says nothing."""
    found = {b"origin": b"", b"sec-fetch-site": b""}
    for name, value in headers.items():
        lowered = name.lower()
        if lowered in found:
            found[lowered] = b"?" if found[lowered] else value
    return found[b"origin"], found[b"sec-fetch-site"]


def _target_size(key: tuple[bytes, bytes, bytes, bytes], _: RequestTarget) -> int:
    """Return how many bytes a target takes: what was sent, its three readings, and the objects that hold them."""
    return 600 + 3 * sum(map(len, key))


def sole_key(headers: Mapping[bytes, bytes], names: Iterable[bytes]) -> bytes:
    """Return the proxy key of a request whose headers are refused; two keys are none."""
    keys = [headers.get(name, b"") for name in names if name.lower() == b"zt-pep-key"]
    return keys[0] if len(keys) == 1 else DOUBTFUL if keys else b""


def single(raw: bytes, name: str) -> bytes:
    """Return a credential header's value; a comma means two lines that a proxy joined, and who knows which counts."""
    if not raw:
        return raw
    if b"," in raw or len(raw) > MAX_CREDENTIAL_BYTES + 16:
        raise InputError("HEADER_DOUBLED" if b"," in raw else "TOKEN_TOO_LARGE", f"header `{name}`")
    if not raw.isascii() or b"\t" in raw or raw.strip() != raw or raw.find(b" ", raw.find(b" ") + 1) != -1:
        # One blank parts scheme and token. More would give a credential as many spellings as somebody cares to send.
        raise InputError("HEADER_INVALID", f"header `{name}` is not visible ASCII in one spelling")
    return raw


def certificate(verify: bytes, escaped_pem: bytes) -> bytes:
    """Return the forwarded certificate; the proxy's SUCCESS is necessary, and by no means sufficient."""
    if verify in (b"", b"NONE"):
        if escaped_pem:
            raise InputError("CERT_UNVERIFIED", "a certificate came without the proxy's verdict")
        return b""
    if verify != b"SUCCESS" or not escaped_pem:
        raise InputError("CERT_UNVERIFIED", "the proxy could not verify the client certificate")
    return escaped_pem
