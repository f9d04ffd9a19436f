"""The operational log: structlog as JSON lines, and the processor that keeps secrets out of it."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
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
        "client_cert",
        "certificate",
        "pep_key",
        "proof",
    }
)
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}")
_PEM = re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what is named like a secret, and what looks like a token or a key anywhere in a text."""
    for name, value in event.items():
        if name.lower() in SECRET_NAMES:
            event[name] = "[redacted]"
        elif isinstance(value, str):
            event[name] = _PEM.sub("[redacted]", _TOKEN.sub("[redacted]", value))
    return event


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
