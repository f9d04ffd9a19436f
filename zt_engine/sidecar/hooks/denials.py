"""Denials with their body, for proxies that hand it on: the page or the problem, in the language that was asked for.

The status and the challenge stay what the decision says. The body is chosen by `Accept` and `Accept-Language`, which
decide nothing else, so they are read here and nowhere before.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping

from zt_engine.core.generations import Generations
from zt_engine.pages.denied import DeniedPage, language_of, spoken_by
from zt_engine.sidecar.hooks.signing import device_link, sign_in_link

MAX_PAGES = 1024
MAX_HEADER_BYTES = 1024
_STATUS = slice(9, 12)
_REASON = re.compile(rb"\r\nZt-Reason: ([A-Z][A-Z0-9_]{0,63})\r\n")
_LANGUAGE = re.compile(rb"\r\nZt-Language: ([A-Za-z0-9-]{2,48})\r\n")
MARK = "0-decision-0"
"""Stands for the decision's id while a page is kept."""
SIGN_IN, DEVICE = "0-sign-in-0", "0-device-0"
"""Stand for links that come back to what was asked for. Nothing else of a page differs from one request to the next."""
_CHALLENGE = re.compile(rb"\r\nWWW-Authenticate: ([ -~]*)\r\n")
_TARGETS = (b"x-original-uri", b"x-forwarded-uri")
"""Where proxies say what the client asked for."""


class Denials:
    """Writes denials as complete answers. Pages are kept, since rendering one takes longer than deciding."""

    def __init__(self, page: DeniedPage) -> None:
        self._page = page
        self._kept: Generations[tuple[object, ...], tuple[bytes, bytes]] = Generations(MAX_PAGES)

    def write(self, head: bytes, number: bytes, headers: Mapping[bytes, bytes], *, target: bytes = b"") -> bytes:
        """Return a denial whose head, up to the value of Zt-Decision, is `head`; `headers` are those of the request.

        `target` is what the client asked for, where no header says it.
        """
        accept, languages, named = wished(headers.items())
        lines, body = self.whole(head, accept, languages, number=number, target=target or named)
        head = head.replace(b"\r\nContent-Length: 0\r\n", b"\r\nContent-Length: %d\r\n" % len(body), 1)
        return b"".join((head, number, b"\r\n", lines, b"\r\n", body))

    def whole(
        self, head: bytes, accept: bytes, languages: bytes, *, number: bytes, target: bytes
    ) -> tuple[bytes, bytes]:
        """Return the header lines of a body, each with its CRLF, and the body, with the ways that help."""
        lines, body = self.parts(head, accept, languages, ways=True)
        to = target.decode("ascii") if target.isascii() and target.decode("ascii").isprintable() else ""
        found = _CHALLENGE.search(head)
        challenge = found[1].decode("ascii") if found is not None else ""
        in_json = b"json" in lines[: lines.index(b"\r\n")]
        for mark, link in ((SIGN_IN, sign_in_link(to, challenge)), (DEVICE, device_link(to))):
            body = body.replace(mark.encode(), (link if in_json else html.escape(link)).encode("ascii"))
        return lines, body.replace(MARK.encode(), number)

    def parts(self, head: bytes, accept: bytes, languages: bytes, *, ways: bool = False) -> tuple[bytes, bytes]:
        """Return the header lines of a body, each with its CRLF, and the body, with `MARK` for the decision's id.

        `ways`: marks stand in it for the links that help; a proxy that tells of no session has none.
        """
        found, own = _REASON.search(head), _LANGUAGE.search(head)
        code = found[1] if found is not None else b""
        if own is not None and not language_of(languages.decode("latin-1"), default=""):
            languages = spoken_by(languages.decode("latin-1"), own[1].decode("ascii")).encode("latin-1")
        # The text is part of the key: a new bundle may say something else of the same code.
        key = (head[_STATUS], code, accept, languages, ways, self._page.entry(code.decode("ascii")))
        kept = self._kept.get(key)
        if kept is None:
            refusal = self._page.render(
                code=code.decode("ascii"),
                decision=MARK,
                status=int(head[_STATUS]),
                accept=accept.decode("latin-1"),
                accept_language=languages.decode("latin-1"),
                sign_in=SIGN_IN if ways else "",
                confirm=DEVICE if ways else "",
            )
            lines = (
                f"Content-Type: {refusal.content_type}\r\nContent-Language: {refusal.language}\r\n"
                f"Content-Security-Policy: {self._page.security_policy}\r\nReferrer-Policy: no-referrer\r\n"
                "X-Content-Type-Options: nosniff\r\nVary: Accept, Accept-Language\r\n"
            )
            kept = lines.encode("ascii"), refusal.body
            self._kept.put(key, kept)
        return kept


def wished(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes, bytes]:
    """Return `Accept`, `Accept-Language` and the target that a header says, each empty where nobody says it."""
    accept = languages = target = b""
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"accept":
            accept = value[:MAX_HEADER_BYTES]
        elif lowered == b"accept-language":
            languages = value[:MAX_HEADER_BYTES]
        elif lowered in _TARGETS:
            target = value
    return accept, languages, target
