"""What all printed configurations have in common: the names they set and take away, and what may stand in one.

A value is checked before it is printed: what a proxy would read as syntax is refused, so nothing can be injected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zt_engine.core.errors import ConfigError, Problem

FORWARDED = (
    "Forwarded", "X-Forwarded-By", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix",
    "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Ssl",
)  # fmt: skip
"""What honest proxies between client and us add: removed, not refused. Any other reserved name is an attack."""

ENGINE_OWNED = ("Zt-Challenge", "Zt-Label", "Zt-Reason")
"""Names of answers that no request may carry to a backend, beside those of the header family."""

SET_FOR_BACKEND = frozenset(
    {"zt-request-id", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port"}
)
"""Reserved names to which every configuration gives a value of its own on the way to the backend."""

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]")
KEY = re.compile(rb"[A-Za-z0-9_.~+/=-]{16,512}")

Check = tuple[str, re.Pattern[str], Iterable[str]]
"""The setting, what it may be, and its values."""


def titles(names: Iterable[str]) -> tuple[str, ...]:
    """Return header names as people write them, in order."""
    return tuple(sorted({"-".join(part.capitalize() for part in name.split("-")) for name in names}))


def check_values(checks: Iterable[Check], *, what: str, required: Iterable[str] = ()) -> None:
    """Require that every value can stand in `what`, and that `required` settings have one; ConfigError CONFIG_VALUE."""
    needed = set(required)
    for key, pattern, values in checks:
        given = tuple(values)
        if not given and key in needed:
            raise fault(key, "at least one is required")
        for value in given:
            if pattern.fullmatch(value) is None:
                raise fault(key, f"`{value}` cannot stand in {what}")


def check_pair(certificate: str, key: str) -> None:
    """Require that a certificate and its key come together; ConfigError CONFIG_VALUE."""
    if bool(certificate) != bool(key):
        raise fault("certificate", "a certificate needs its key, and a key its certificate")


def fault(where: str, message: str, hint: str = "") -> ConfigError:
    """Return the error of a value that cannot be printed."""
    return ConfigError((Problem(code="CONFIG_VALUE", message=message, where=where, hint=hint),))
