"""Denials with their body, for proxies that hand it on: the page or the problem, in the language that was asked for.

The status and the challenge stay what the decision says. The body is chosen by `Accept` and `Accept-Language`, which
decide nothing else, so they are read here and nowhere before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from zt_engine.core.generations import Generations
from zt_engine.pages.denied import DeniedPage

MAX_PAGES = 1024
MAX_HEADER_BYTES = 1024
_STATUS = slice(9, 12)
_REASON = re.compile(rb"\r\nZt-Reason: ([A-Z][A-Z0-9_]{0,63})\r\n")
MARK = "0-decision-0"
"""Stands for the decision's id while a page is kept: it is the only thing that differs."""


class Denials:
    """Writes denials as complete answers. Pages are kept, since rendering one takes longer than deciding."""

    def __init__(self, page: DeniedPage) -> None:
        self._page = page
        self._kept: Generations[tuple[object, ...], tuple[bytes, bytes]] = Generations(MAX_PAGES)

    def write(self, head: bytes, number: bytes, headers: Mapping[bytes, bytes]) -> bytes:
        """Return a denial whose head, up to the value of Zt-Decision, is `head`; `headers` are those of the request."""
        accept, languages = _wished(headers)
        lines, body = self.parts(head, accept, languages)
        body = body.replace(MARK.encode(), number)
        head = head.replace(b"\r\nContent-Length: 0\r\n", b"\r\nContent-Length: %d\r\n" % len(body), 1)
        return b"".join((head, number, b"\r\n", lines, b"\r\n", body))

    def parts(self, head: bytes, accept: bytes, languages: bytes) -> tuple[bytes, bytes]:
        """Return the header lines of a body, each with its CRLF, and the body, with `MARK` for the decision's id."""
        found = _REASON.search(head)
        code = found[1] if found is not None else b""
        # The text is part of the key: a new bundle may say something else of the same code.
        key = (head[_STATUS], code, accept, languages, self._page.entry(code.decode("ascii")))
        kept = self._kept.get(key)
        if kept is None:
            refusal = self._page.render(
                code=code.decode("ascii"),
                decision=MARK,
                status=int(head[_STATUS]),
                accept=accept.decode("latin-1"),
                accept_language=languages.decode("latin-1"),
            )
            lines = (
                f"Content-Type: {refusal.content_type}\r\nContent-Language: {refusal.language}\r\n"
                f"Content-Security-Policy: {self._page.security_policy}\r\nReferrer-Policy: no-referrer\r\n"
                "X-Content-Type-Options: nosniff\r\nVary: Accept, Accept-Language\r\n"
            )
            kept = lines.encode("ascii"), refusal.body
            self._kept.put(key, kept)
        return kept


def _wished(headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    accept = languages = b""
    for name, value in headers.items():
        lowered = name.lower()
        if lowered == b"accept":
            accept = value[:MAX_HEADER_BYTES]
        elif lowered == b"accept-language":
            languages = value[:MAX_HEADER_BYTES]
    return accept, languages
