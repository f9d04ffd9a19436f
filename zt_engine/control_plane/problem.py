"""Errors as RFC 9457 problem details: a stable code, what it means and what to do, in Japanese or English.

What an error says exactly (`detail`) is English in every language, as everywhere in the engine; it never holds a
secret. What was not foreseen is CONTROL_FAILED and says nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response

from device_inventory.device import DeviceRecordError
from zt_engine.core.errors import ConfigError, Problem, UnavailableError, ZtError
from zt_engine.pages.denied import language_of
from zt_engine.pages.registry import registry

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
MAX_ERRORS: Final = 50

_STATUS: Final[Mapping[str, int]] = {
    "AUTH_FORBIDDEN": 403,
    "AUTH_DEVICE_STATUS": 403,
    "OWNER_FOREIGN": 403,
    "OWNER_CEILING": 403,
    "REQUEST_NOT_FOUND": 404,
    "DEVICE_NOT_FOUND": 404,
    "INVITE_NOT_FOUND": 404,
    "ENROLLMENT_NOT_FOUND": 404,
    "SUBJECT_NOT_FOUND": 404,
    "RECORD_NOT_FOUND": 404,
    "SIDECAR_NOT_FOUND": 404,
    "ROLLOUT_NOT_FOUND": 404,
    "RELEASE_NOT_FOUND": 404,
    "BUNDLE_NOT_FOUND": 404,
    "RELEASE_NONE": 404,
    "REQUEST_RANGE": 416,
    "REQUEST_METHOD": 405,
    "REQUEST_TOO_LARGE": 413,
    "CSR_TOO_LARGE": 413,
    "REQUEST_MEDIA_TYPE": 415,
    "REQUEST_RATE": 429,
    "REQUEST_MALFORMED": 400,
    "STORE_CONFLICT": 409,
    "APPROVER_IS_GIVER": 403,
    "APPROVER_IS_HOLDER": 403,
    "APPROVER_IS_INVITER": 403,
    "CONTROL_FAILED": 500,
    "ADMINS_FILE": 503,
    "SIGN_IN_WEAK": 401,
    "SIGN_IN_OLD": 401,
    "SIGN_IN_FOREIGN": 401,
    "SIGN_IN_UNBOUND": 401,
    "EVIDENCE_KEY": 401,
    "KEY_ENDED": 401,
    "PROOF_SIGNATURE": 401,
    "PROOF_TIME": 401,
    "INVITE_FOREIGN": 403,
    # Not 429: what may be tried again in a moment is answered so, and this may not.
    "INVITE_GUESSES": 403,
    "PERSON_INACTIVE": 403,
    "REPORT_STATUS": 403,
    "LOST_UNKNOWN": 404,
    "PASSKEY_OFF": 404,
    "PASSKEY_NOT_FOUND": 404,
}
# What would be right in another state of the thing it is about.
_CONFLICTS: Final = frozenset(
    {
        "DEVICE_EVENT_REFUSED",
        "APPROVAL_PENDING",
        "APPROVAL_NOT_PENDING",
        "DEVICE_NOT_REPORTED",
        "DEVICE_WITHOUT_KEY",
        "TRANSFER_REFUSED",
        "KEY_REVOKED",
        "KEY_IN_USE",
        "RENEWAL_REFUSED",
        "RENEWAL_TOO_OFTEN",
        "INVITE_USED",
        "INVITE_WITHDRAWN",
        "INVITE_EXPIRED",
        "ENROLLMENT_STEP_REFUSED",
        "ENROLLMENT_EXPIRED",
        "NOTICE_CHANGED",
        "REPORT_SEQ",
        "DEVICE_CLONED",
        "DEVICE_ENDED",
        "RECORD_CHANGED",
        "ROLLOUT_OVER",
        "ROLLOUT_WAITING",
        "ROLLOUT_RUNNING",
        "ROLLOUT_REPORT_ONLY",
        "ROLLOUT_FULL",
        "RELEASE_CONFLICT",
        "RELEASE_NOT_WAITING",
    }
)


def status_of(error: ZtError | DeviceRecordError) -> int:
    """Return the HTTP status of an error of ours: whose fault it was, and which kind."""
    code = error.code
    if code in _STATUS:
        return _STATUS[code]
    if isinstance(error, UnavailableError):
        return 503
    if code in _CONFLICTS:
        return 409
    return 401 if code.startswith(("AUTH_", "TOKEN_")) else 422


def problem(
    code: str,
    *,
    status: int,
    detail: str = "",
    accept_language: str = "",
    default_language: str = "ja",
    errors: Sequence[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer that says what is wrong; `errors` are further faults of the same request."""
    language = language_of(accept_language, default=default_language)
    entry = registry().get(code)
    body: dict[str, Any] = {
        "type": f"urn:zt:code:{code}",
        "title": entry.text(language) if entry is not None else code,
        "status": status,
        "detail": detail,
        "code": code,
        "remedy": entry.hint(language) if entry is not None else "",
    }
    if entry is not None and entry.command:
        body["command"] = entry.command
    if errors:
        body["errors"] = [
            {"code": one.code, "detail": one.message, "where": one.where, "remedy": one.hint}
            for one in errors[:MAX_ERRORS]
        ]
    sent = {"Content-Language": language, **(headers or {})}
    if status in (429, 503):
        sent.setdefault("Retry-After", str(RETRY_SECONDS))
    if status == 401:
        sent.setdefault("WWW-Authenticate", 'Bearer realm="zt"')
    return Response(msgspec.json.encode(body), status, sent, MEDIA_TYPE)


def problem_of(
    error: ZtError | DeviceRecordError,
    *,
    status: int | None = None,
    accept_language: str = "",
    default_language: str = "ja",
) -> Response:
    """Return the answer for an error of ours, with every fault it carries; `status` where its code's own is not it."""
    where = error.field if isinstance(error, DeviceRecordError) else error.where
    return problem(
        error.code,
        status=status or status_of(error),
        detail=f"{where}: {error.message}" if where else error.message,
        accept_language=accept_language,
        default_language=default_language,
        errors=error.problems if isinstance(error, ConfigError) else (),
    )


class ProblemBody(msgspec.Struct):
    """How a problem reads, for the OpenAPI document."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str
    command: str = ""
    errors: list[dict[str, str]] = []


SCHEMA: Final[dict[str, Any]] = msgspec.json.schema_components((ProblemBody,))[1]["ProblemBody"]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the problems a route may answer with, beside those every route has."""
    return {
        status: {"description": _MEANS[status], "content": {MEDIA_TYPE: {"schema": SCHEMA}}}
        for status in sorted({*statuses, *_EVERYWHERE})
    }


_EVERYWHERE: Final = (400, 401, 403, 413, 422, 429, 503)
_MEANS: Final = {
    400: "The request cannot be read.",
    401: "Nobody proved who asks.",
    403: "Who asks may not do this.",
    404: "There is no such thing.",
    405: "The route has no such method.",
    409: "Not in its present state.",
    413: "The body is too large.",
    415: "The body is of another kind.",
    416: "There is no such part of it.",
    422: "Something in the request is refused.",
    429: "Too many requests.",
    503: "Something this depends on does not answer.",
}
