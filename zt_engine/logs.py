"""The operational log: structlog as JSON lines, and the processor that keeps secrets out of it."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

SECRET_NAMES = frozenset(
    {
        "authorization",
        "cookie",
        "dpop",
        "token",
        "key",
        "secret",
        "password",
        "passphrase",
        "client_cert",
        "certificate",
        "pep_key",
        "proof",
    }
)
SECRET_ENDINGS = ("token", "secret", "password", "passphrase", "cookie", "privatekey", "apikey")
"""Of a name without the signs and capitals that its words are told apart by: `access_token`, `accessToken`."""
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""What is private in a JWK (RFC 7518, 6.2.2, 6.3.2 and 6.4.1; RFC 8037, 2), which is known by its `kty`."""
REDACTED = "[redacted]"
DEPTH = 8
"""How deep members are looked at one by one; containers that lie deeper are not shown."""
# Every run of these letters is the end of a search, with dots behind it or not: a text costs what it is long.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}")
_OPAQUE = re.compile(r"\b(Bearer|DPoP|Basic) +[A-Za-z0-9._~+/-]{16,}=*", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL)
# The same in a text, as JSON, as JSON in a string of JSON, or as Python shows it. `r` and `t` are in `oth`.
_JWK = re.compile(r"""(["'](?:d|p|q|dp|dq|qi|r|t|k)\\{0,3}["']\s{0,4}:\s{0,4}\\{0,3}["'])[A-Za-z0-9_-]{16,}""")
_USERINFO = re.compile(r"(://[^\s/?#@:]*:)[^\s/?#]*@")
"""The password of a URL (RFC 3986, 3.2.1), up to the last `@` before its host."""
_SAID = re.compile(
    r"""\b(\w{0,20}(?:password|passwd|passphrase|secret|token)\s{0,4}=\s{0,4})(?:'(?:[^'\\]|\\.)*(?:'|\Z)|[^\s&#'"]+)""",
    re.IGNORECASE,
)
"""What is said to be one in the query of a URL, or in a connection string of libpq."""


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what is named like a secret, and what looks like a token or a key anywhere in a text, however deep."""
    private = _private(event)
    for name, value in event.items():
        event[name] = REDACTED if name in private or _is_secret(name) else _without_secrets(value, DEPTH)
    return event


def _private(members: Mapping[Any, Any]) -> frozenset[str]:
    return PRIVATE_MEMBERS if "kty" in members else frozenset()


def _is_secret(name: str) -> bool:
    plain = name.lower().replace("-", "_")
    return plain in SECRET_NAMES or plain.replace("_", "").endswith(SECRET_ENDINGS)


def _without_secrets(value: Any, depth: int) -> Any:
    """Return a value as it may be shown: numbers as they are, containers member by member, all else as text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth and isinstance(value, Mapping):
        private = _private(value)
        return {
            _shown(str(key)): REDACTED if key in private or _is_secret(str(key)) else _without_secrets(inner, depth - 1)
            for key, inner in value.items()
        }
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_without_secrets(inner, depth - 1) for inner in value]
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return REDACTED
    return _shown(
        value
        if isinstance(value, str)
        else value.decode("utf-8", "replace")
        if isinstance(value, bytes)
        else str(value)
    )


def _shown(text: str) -> str:
    if "@" in text:
        text = _USERINFO.sub(rf"\1{REDACTED}@", text)
    if "=" in text:
        text = _SAID.sub(rf"\1{REDACTED}", text)
    if '"' in text or "'" in text:
        text = _JWK.sub(rf"\1{REDACTED}", text)
    return _OPAQUE.sub(rf"\1 {REDACTED}", _PEM.sub(REDACTED, _TOKEN.sub(REDACTED, text)))


class _StandardError:
    """Whatever standard error is at the moment: loggers outlive a stream that was put in its place."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure(*, verbose: bool = False) -> None:
    """Set structlog up for a program: one JSON object a line on standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
