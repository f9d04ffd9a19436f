"""Answers of the AuthZEN listener as bytes: the exact statuses of the specification, and what each refusal says."""

from __future__ import annotations

CRLF = b"\r\n"
_HEAD = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nCache-Control: no-store\r\n%b\r\n%b"
_WARM = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"
NUMBERED = _WARM + b"X-Request-ID: %b\r\n\r\n%b%b%b"
PLAIN = _WARM + b"%b\r\n%b%b%b"
"""A 200 by length, request id (empty: without its line) and the three parts of its body."""
JSON, TEXT = b"application/json", b"text/plain; charset=utf-8"
CLOSE = b"Connection: close\r\n"

STATUS = {
    400: b"400 Bad Request",
    401: b"401 Unauthorized",
    403: b"403 Forbidden",
    404: b"404 Not Found",
    405: b"405 Method Not Allowed",
    408: b"408 Request Timeout",
    413: b"413 Content Too Large",
    417: b"417 Expectation Failed",
    503: b"503 Service Unavailable",
}


def request_id_line(number: bytes) -> bytes:
    """Return the line that gives a caller its request id back, byte for byte."""
    return b"X-Request-ID: %b\r\n" % number if number else b""


def success(body: bytes, number: bytes = b"") -> bytes:
    """Return a 200 with JSON."""
    return _HEAD % (b"200 OK", JSON, len(body), request_id_line(number), body)


def refusal(status: int, code: str, message: str, *, number: bytes = b"", more: bytes = b"") -> bytes:
    """Return a refusal whose body says what is wrong; `more` are further header lines."""
    text = f"{code}: {message}\n".encode()
    lines = b"Zt-Reason: %b\r\n%b%b" % (code.encode(), more, request_id_line(number))
    return _HEAD % (STATUS[status], TEXT, len(text), lines, text)


NO_PEP = refusal(
    401, "PEP_UNKNOWN", "no credential of a caller was shown", more=b'WWW-Authenticate: Bearer realm="zt-authzen"\r\n'
)
NOT_FOUND = refusal(404, "AUTHZEN_PATH", "nothing is served here")
FRAMING = refusal(400, "AUTHZEN_FRAMING", "no request that is served here", more=CLOSE)
TOO_LARGE = refusal(413, "AUTHZEN_TOO_LARGE", "the request is too large", more=CLOSE)
EXPECTATION = refusal(417, "AUTHZEN_FRAMING", "send the body at once, without `Expect`", more=CLOSE)
BUSY = refusal(503, "HOOK_BUSY", "too many connections", more=CLOSE)
SLOW = refusal(408, "HOOK_SLOW", "the request took too long", more=CLOSE)
BROKEN = refusal(403, "INTERNAL_ERROR", "the request could not be decided", more=CLOSE)
