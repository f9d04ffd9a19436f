"""Whole answers for a browser."""

from __future__ import annotations

STATUS = {
    200: "OK", 302: "Found", 303: "See Other", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 503: "Service Unavailable",
}  # fmt: skip


def answer(status: int, body: bytes, *headers: tuple[str, str]) -> bytes:
    """Return a whole answer. A value that could end its line ends the answer instead: ValueError."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    if any("\r" in value or "\n" in value for _, value in headers):
        raise ValueError("a header value with a line end")
    head = (
        f"HTTP/1.1 {status} {STATUS[status]}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
        f"Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n{lines}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body


def page(body: bytes, security_policy: str, *headers: tuple[str, str]) -> bytes:
    """Return a page of our own."""
    return answer(
        200, body, ("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", security_policy), *headers
    )
