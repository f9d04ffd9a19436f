"""Who asks without a credential that is known: said in the log once a minute at most, for the proxy that is meant well.

A key that was changed on one side, or a block that another site's settings printed, shows nowhere else: what is not
decided is in no decision log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import structlog

log = structlog.get_logger()

QUIET_SECONDS: Final = 60.0
HINT: Final = (
    "no proxy of the settings has this credential: compare `[[proxies]]` (`hook`, `key_file`, `socket_uids`, "
    "`certificate_names`), and print with `zt hook` anew what was printed from another folder"
)
_HOSTS: Final = (b"x-original-host", b"x-forwarded-host", b"host")
_HOST: Final = re.compile(rb"[A-Za-z0-9.:\[\]-]{1,253}")
_PATH: Final = re.compile(rb"/v1/[a-z]{1,32}/[a-z_]{1,32}")


class Strangers:
    """Those who asked since the last line. Nobody vouches for what they say: of it the log has a path and a host."""

    __slots__ = ("_now", "_quiet_until", "_unsaid")

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` are seconds of a clock that nobody sets."""
        self._now = now
        self._quiet_until = 0.0
        self._unsaid = 0

    def note(self, *, asked: bytes, headers: Mapping[bytes, bytes], origin: str) -> None:
        """Say that somebody asked, or count it for the next line; `origin` is where the connection comes from.

        What asks for no path of ours is no proxy: whoever looks for open ports writes no lines.
        """
        path = _PATH.match(asked)
        if path is None:
            return
        self._unsaid += 1
        now = self._now()
        if self._quiet_until > now:
            return
        log.warning(
            "proxy.stranger",
            asked=path[0].decode("ascii"),
            host=_host(headers),
            origin=origin,
            requests=self._unsaid,
            hint=HINT,
        )
        self._quiet_until = now + QUIET_SECONDS
        self._unsaid = 0


def _host(headers: Mapping[bytes, bytes]) -> str:
    """Return the host that it asked about, by the first header that has one in letters of a host."""
    values = {name.lower(): value for name, value in headers.items()}
    found = next((values[name] for name in _HOSTS if _HOST.fullmatch(values.get(name, b""))), b"")
    return found.decode("ascii")
