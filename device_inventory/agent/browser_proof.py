"""What a browser's device proof says, and to whom it is given: hosts that the control plane named, and nobody else.

INVARIANT: nothing is signed, and nothing about this device is said, for a host that is not on the list, or any site a
person visits could ask the agent which machine this is.
"""

from __future__ import annotations

import re
import secrets
import ssl
from base64 import b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
from msgspec import Struct

from device_inventory.agent.errors import AgentError
from device_inventory.agent.jose import Signer, compact
from device_inventory.agent.state import Home

PATH: Final = "/zt-proof"
WAY_BACK: Final = "/.zt/device"
TYPE: Final = "zt-browser-proof+jwt"
HOSTS: Final = "browser-hosts.json"
MOST_HOSTS: Final = 500
MOST_TARGET: Final = 6144

_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_DIGEST: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_STATE: Final = re.compile(r"[\x21-\x7e]{1,3000}")
_MEMBERS: Final = frozenset({"host", "port", "sid", "nonce", "state"})


class Asked(Struct, frozen=True, kw_only=True):
    """What a browser brought: for which session of which host, and what only the asker can turn into a proof."""

    host: str
    port: str
    sid: str
    nonce: str
    state: str


def read_asked(target: str) -> Asked:
    """Return what a request target asks for; AGENT_PROOF_REQUEST for anything but exactly that."""
    plain = target.isascii() and target.isprintable() and len(target) <= MOST_TARGET
    if not plain or not target.startswith(f"{PATH}?"):
        raise _odd("there is nothing else here")
    try:
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    except ValueError:
        raise _odd("the query is no query") from None
    if parts.path != PATH or parts.fragment:
        raise _odd("there is nothing else here")
    if query.keys() != _MEMBERS or any(len(values) != 1 for values in query.values()):
        raise _odd("a parameter is missing, strange or there twice")
    asked = Asked(**{name: values[0] for name, values in query.items()})
    if _HOST.fullmatch(asked.host) is None or _PORT.fullmatch(asked.port) is None or int(asked.port) > 65_535:
        raise _odd("`host` or `port` is none")
    if _DIGEST.fullmatch(asked.sid) is None or _DIGEST.fullmatch(asked.nonce) is None:
        raise _odd("`sid` or `nonce` is no digest")
    if _STATE.fullmatch(asked.state) is None:
        raise _odd("`state` is not short visible ASCII")
    return asked


def covers(hosts: Sequence[str], host: str) -> bool:
    """Whether a host is on the list: by its name, or under `*.` by all but its first label."""
    rest = host.partition(".")[2]
    return host in hosts or (bool(rest) and f"*.{rest}" in hosts)


def statement(signer: Signer, certificate: str, asked: Asked, *, now: float) -> str:
    """Return what the device signs: that this very browser is on it, now, with this session of this host."""
    claims = {
        "aud": asked.host,
        "sid": asked.sid,
        "nonce": asked.nonce,
        "iat": int(now),
        "jti": secrets.token_urlsafe(16),
    }
    der = ssl.PEM_cert_to_DER_cert(certificate.strip())
    return compact(signer, claims, typ=TYPE, x5c=[b64encode(der).decode("ascii")])


def way_back(asked: Asked, proof: str) -> str:
    """Return where the browser goes with a proof: to the host that was signed for, at one path, encrypted."""
    place = asked.host if asked.port == "443" else f"{asked.host}:{asked.port}"
    return f"https://{place}{WAY_BACK}?" + urlencode({"proof": proof, "state": asked.state})


def keep_hosts(home: Home, hosts: Sequence[str]) -> None:
    """Remember the hosts the control plane named, if they are others than before."""
    content = msgspec.json.encode(sorted(set(hosts))[:MOST_HOSTS])
    if home.read(HOSTS) != content and (hosts or home.read(HOSTS) is not None):
        home.write(HOSTS, content)


def known_hosts(home: Home) -> tuple[str, ...]:
    """Return the hosts that may be told of this device; none where nothing can be read."""
    try:
        return msgspec.json.decode(home.read(HOSTS) or b"[]", type=tuple[str, ...])
    except msgspec.DecodeError:
        return ()


def _odd(why: str) -> AgentError:
    return AgentError("AGENT_PROOF_REQUEST", why)
