"""What a person was given to enroll with: a bare code, or a link that also says where and how to know the server.

`https://control.example/enroll#code=...&ca=<hex SHA-256 of a CA certificate>`. After the `#`, so that a browser that
follows the link sends neither.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from device_inventory.agent.errors import AgentError
from device_inventory.agent.tls import server_url

_CODE: Final = re.compile(r"[A-Za-z0-9_-]{6,200}")
_PIN: Final = re.compile(r"[0-9a-f]{64}")


class Ticket(Struct, frozen=True, kw_only=True):
    """An invitation's code, and what else a link said."""

    code: str
    url: str = ""
    ca_sha256: str = ""

    def __repr__(self) -> str:
        return f"Ticket(code=..., url={self.url!r})"


def read_ticket(text: str) -> Ticket:
    """Return what a code or link says; AGENT_INVITATION_MALFORMED for anything else."""
    text = text.strip()
    if "://" not in text:
        return Ticket(code=_code(text))
    try:
        parts = urlsplit(text)
        told = parse_qs(parts.query) | parse_qs(parts.fragment)
        url = server_url(f"{parts.scheme}://{parts.netloc}")
    except (ValueError, AgentError):
        raise _malformed("the link cannot be read") from None
    pin = next(iter(told.get("ca") or told.get("ca_sha256") or [""])).replace(":", "").lower()
    if pin and not _PIN.fullmatch(pin):
        raise _malformed("`ca` is no SHA-256 in hexadecimal digits")
    return Ticket(code=_code(next(iter(told.get("code", [""])))), url=url, ca_sha256=pin)


def _code(text: str) -> str:
    if not _CODE.fullmatch(text):
        raise _malformed("it holds no code of letters, digits, `-` and `_`")
    return text


def _malformed(why: str) -> AgentError:
    return AgentError("AGENT_INVITATION_MALFORMED", why)
