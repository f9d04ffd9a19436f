"""What was authorised is what the backend sees: every row of odd targets, methods and headers through a real nginx.

For each row the request is refused, by nginx or by the hook, or the backend receives exactly what was authorised.
"""

from __future__ import annotations

import pytest

from tests.e2e.lab import HOST, Answer, Lab, Received, request
from tests.hook_support import KEY
from zt_engine.core.request import canonical_host, canonical_path
from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.headers import METHOD_OVERRIDES, RESERVED_NAMES

PASSES, NGINX, BROKEN = "passes", "refused by nginx", "refused by the hook's parser"

TARGETS = {
    "plain": (b"/cases/123?x=1&y=%2F", PASSES),
    "root": (b"/", PASSES),
    "escapes of UTF-8": (b"/%E7%A7%98/%e7%a7%98.pdf", PASSES),
    "dots that are names": (b"/a...b/..c/.hidden", PASSES),
    "a blank, escaped": (b"/a%20b", PASSES),
    "a colon and an at": (b"/a:b@c", PASSES),
    "a query of odd characters": (b"/a?x={b}|c[]&d=%00%2e%2e/", PASSES),
    "a long path": (b"/" + b"a" * 4000, PASSES),
    "dot segments and empty ones": (b"/a//b/../c/./d?x=1&y=%2F", "PATH_AMBIGUOUS"),
    "a dot segment": (b"/pub/../admin", "PATH_AMBIGUOUS"),
    "a dot segment at the end": (b"/pub/..", "PATH_AMBIGUOUS"),
    "above the root": (b"/../admin", NGINX),
    "escaped dots": (b"/pub/%2e%2e/admin", "PATH_AMBIGUOUS"),
    "half escaped dots": (b"/pub/.%2e/admin", "PATH_AMBIGUOUS"),
    "an escaped slash": (b"/pub/..%2fadmin", "PATH_AMBIGUOUS"),
    "an escaped slash in a name": (b"/pub/a%2Fb", "PATH_AMBIGUOUS"),
    "doubly escaped dots": (b"/pub/%252e%252e/admin", "PATH_AMBIGUOUS"),
    "an escaped letter": (b"/%61dmin", "PATH_AMBIGUOUS"),
    "two slashes": (b"//admin", "PATH_AMBIGUOUS"),
    "two slashes inside": (b"/pub//admin", "PATH_AMBIGUOUS"),
    "a parameter": (b"/admin;x=1", "PATH_AMBIGUOUS"),
    "dots with a parameter": (b"/pub/..;/admin", "PATH_AMBIGUOUS"),
    "an escaped semicolon": (b"/pub/..%3b/admin", "PATH_AMBIGUOUS"),
    "a backslash": (b"/pub/..\\admin", "PATH_AMBIGUOUS"),
    "an escaped backslash": (b"/pub/..%5cadmin", "PATH_AMBIGUOUS"),
    "an escaped NUL": (b"/adm%00in", NGINX),
    "a NUL": (b"/adm\x00in", NGINX),
    "an invalid escape": (b"/a%zz", NGINX),
    "half an escape": (b"/a%2", NGINX),
    "an escaped line end": (b"/a%0d%0aX:1", "PATH_AMBIGUOUS"),
    "raw UTF-8": (b"/\xc3\xa9", "PATH_AMBIGUOUS"),
    "overlong UTF-8": (b"/%c0%ae%c0%ae/admin", "PATH_AMBIGUOUS"),
    "decomposed letters": (b"/e%CC%81", "PATH_AMBIGUOUS"),
    "a fragment": (b"/a#frag", "PATH_AMBIGUOUS"),
    "a fragment in the query": (b"/a?x#frag", "PATH_AMBIGUOUS"),
    "raw UTF-8 in the query": (b"/a?\xc3\xa9", "PATH_AMBIGUOUS"),
    "a control byte": (b"/a\x01b", NGINX),
    "a TAB": (b"/a\tb", NGINX),
    "no slash": (b"admin", NGINX),
    "an asterisk": (b"*", NGINX),
    "a very long target": (b"/" + b"a" * 9000, "TARGET_TOO_LARGE"),
    "too long for nginx": (b"/" + b"a" * 70_000, NGINX),
    "absolute, of this host": (b"http://portal.example/cases/1?q=1", PASSES),
    "absolute, without a path": (b"http://portal.example", PASSES),
    "absolute, with dots": (b"http://portal.example/pub/../admin", "PATH_AMBIGUOUS"),
    "absolute, with a user": (b"http://u@portal.example/admin", NGINX),
    "another scheme": (b"ftp://portal.example/admin", PASSES),
    "the question itself": (b"/_zt/auth", NGINX),
    "the question, escaped": (b"/_zt/%61uth", NGINX),
    "the question, with dots": (b"/x/../_zt/auth", NGINX),
    "the question, with a query": (b"/_zt/auth?x", NGINX),
    "the page": (b"/_zt/denied", NGINX),
    "beside the question": (b"/_zt/auth/", PASSES),
}


class Seen:
    """What happened to one request."""

    def __init__(self, lab: Lab, raw: bytes) -> None:
        authorised, refused, received = len(lab.app.authorised), len(lab.app.refused), len(lab.backend.received)
        self.answer: Answer = lab.send(raw)
        self.authorised = lab.app.authorised[authorised:]
        self.asked = lab.app.asked[authorised:]
        self.refused = lab.app.refused[refused:]
        self.received: list[Received] = lab.backend.received[received:]

    def require(self, expected: str | tuple[str, ...]) -> None:
        """Require the expected end, and in every case that the backend saw what was authorised, or nothing."""
        if isinstance(expected, tuple):  # The two versions of nginx differ.
            expected = next((code for code in expected if code in self.refused), expected[0])
        if expected == PASSES:
            assert (self.answer.status, self.refused) == (200, [])
            assert len(self.authorised) == len(self.received) == 1
        elif expected in (NGINX, BROKEN):
            assert self.answer.status in ((400, 404, 405, 414, 421) if expected == NGINX else (500,))
            assert self.authorised == self.refused == self.received == []
        else:
            assert (self.answer.status, self.refused) == (403, [expected])
            assert self.authorised == self.received == []
        for request_, asked, received in zip(self.authorised, self.asked, self.received, strict=True):
            method, target, version = received.line
            assert method == request_.method.encode()
            assert target == asked[b"X-Original-URI"]
            assert canonical_path(target.partition(b"?")[0]).decode() == request_.target.path
            (host,) = received.values("host")
            assert canonical_host(host) == request_.target.host
            assert version == b"HTTP/1.1"


@pytest.mark.parametrize(("target", "expected"), TARGETS.values(), ids=TARGETS)
def test_the_backend_receives_exactly_the_target_that_was_authorised(lab: Lab, target: bytes, expected: str) -> None:
    Seen(lab, request(target)).require(expected)


METHODS = {
    "HEAD": (b"HEAD", PASSES),
    "OPTIONS": (b"OPTIONS", PASSES),
    "DELETE": (b"DELETE", PASSES),
    "PROPFIND": (b"PROPFIND", PASSES),
    "PURGE": (b"PURGE", PASSES),
    "small letters": (b"get", NGINX),
    "mixed letters": (b"Get", NGINX),
    "a hyphen": (b"M-SEARCH", "METHOD_AMBIGUOUS"),
    "an underscore": (b"A_B", "METHOD_AMBIGUOUS"),
    "TRACE": (b"TRACE", NGINX),
    "CONNECT": (b"CONNECT", NGINX),
    "a very long one": (b"A" * 33, "METHOD_AMBIGUOUS"),
}


@pytest.mark.parametrize(("method", "expected"), METHODS.values(), ids=METHODS)
def test_the_method_that_was_authorised_is_the_method_that_is_executed(lab: Lab, method: bytes, expected: str) -> None:
    Seen(lab, request(method=method)).require(expected)


HOSTS = {
    "capitals": (request(host=b"Portal.EXAMPLE"), PASSES),
    "a port": (request(host=b"portal.example:8443"), PASSES),
    "a dot at the end": (request(host=b"portal.example."), PASSES),
    "another host": (request(host=b"evil.example"), NGINX),
    "an address": (request(host=b"127.0.0.1"), NGINX),
    "an IPv6 address": (request(host=b"[::1]:80"), NGINX),
    "a broken IPv6 address": (request(host=b"[::1"), NGINX),
    "none": (request(host=None), NGINX),
    "empty": (request(host=b""), NGINX),
    "two": (request(b"/cases/1", b"Host: evil.example"), NGINX),
    "the same twice": (request(b"/cases/1", b"Host: " + HOST), NGINX),
    "two in one": (request(host=b"portal.example,evil.example"), NGINX),
    "a user": (request(host=b"u@portal.example"), NGINX),
    "an underscore": (request(host=b"por_tal.example"), NGINX),
    "two dots": (request(host=b"portal..example"), NGINX),
    "a slash": (request(host=b"portal.example/x"), NGINX),
    "absolute form, another host": (request(b"http://evil.example/admin?q=1"), NGINX),
    "HTTP/1.0 without a host": (request(host=None, version=b"1.0"), NGINX),
    "HTTP/1.0 with another host": (request(host=b"evil.example", version=b"1.0"), NGINX),
    "the name of the block that refuses": (request(host=b"zt-refused.invalid"), NGINX),
    "beneath the host": (request(host=b"x.portal.example"), NGINX),
    "HTTP/1.0 with a host": (request(version=b"1.0"), PASSES),
}


@pytest.mark.parametrize(("raw", "expected"), HOSTS.values(), ids=HOSTS)
def test_the_host_that_was_authorised_is_the_host_that_is_reached(
    lab: Lab, raw: bytes, expected: str | tuple[str, ...]
) -> None:
    Seen(lab, raw).require(expected)


def test_a_question_about_the_server_itself_is_nobody_s_to_answer(lab: Lab) -> None:
    Seen(lab, request(b"*", method=b"OPTIONS")).require(NGINX)


def test_http_0_9_is_authorised_for_what_the_backend_gets(lab: Lab) -> None:
    authorised, received = len(lab.app.authorised), len(lab.backend.received)

    lab.send_until_closed(b"GET /cases/1\r\n\r\n")

    assert [r.target.path for r in lab.app.authorised[authorised:]] == [
        r.line[1].decode() for r in lab.backend.received[received:]
    ]


HEADERS = {
    "X-Forwarded-Uri": (b"X-Forwarded-Uri: /public", "HEADER_RESERVED"),
    "X-Forwarded-Method": (b"X-Forwarded-Method: HEAD", "HEADER_RESERVED"),
    "X-Forwarded-User": (b"X-Forwarded-User: root", "HEADER_RESERVED"),
    "X-Forwarded-Client-Cert": (b"X-Forwarded-Client-Cert: Cert=x", "HEADER_RESERVED"),
    "X-Original-URL": (b"X-Original-URL: /admin", "HEADER_RESERVED"),
    "X-Rewrite-Url": (b"X-Rewrite-Url: /admin", "HEADER_RESERVED"),
    "X-Envoy-Original-Path": (b"X-Envoy-Original-Path: /admin", "HEADER_RESERVED"),
    "Client-Cert": (b"Client-Cert: :AAAA:", "HEADER_RESERVED"),
    "X-Zt-Subject": (b"X-Zt-Subject: root", "HEADER_RESERVED"),
    "a Zt name of the future": (b"Zt-Whatever: root", "HEADER_RESERVED"),
    "a method override": (b"X-HTTP-Method-Override: DELETE", "METHOD_OVERRIDE"),
    "two Authorizations": (b"Authorization: Bearer a\r\nAuthorization: Bearer b", NGINX),
    "a comma in Authorization": (b"Authorization: Bearer a,Bearer b", "HEADER_DOUBLED"),
    "two DPoPs": (b"DPoP: a\r\nDPoP: b", "HEADER_DOUBLED"),
    "two DPoPs in other letters": (b"DPoP: a\r\ndpop: b", "HEADER_DOUBLED"),
    "a comma in DPoP": (b"DPoP: a, b", "HEADER_DOUBLED"),
    "two Cookies": (b"Cookie: a=1\r\nCookie: b=2", "HEADER_DOUBLED"),
    "not ASCII in Authorization": (b"Authorization: Bearer \xff", "HEADER_INVALID"),
    "too large a token": (b"Authorization: Bearer " + b"a" * 15_000, PASSES),
    "far too large a header": (b"Authorization: Bearer " + b"a" * 20_000, NGINX),
    "Expect": (b"Expect: 100-continue", PASSES),
    "Trailer": (b"Trailer: Zt-Subject", PASSES),
    "TE": (b"TE: trailers", PASSES),
    "Content-Encoding": (b"Content-Encoding: gzip", PASSES),
    "a range and conditions": (b"Range: bytes=0-1\r\nIf-None-Match: x", PASSES),
    "a folded header": (b"X-A: a\r\n b", NGINX),
    "a header folded to forge": (b"X-A: a\r\n Zt-Subject: root", NGINX),
    "a blank before the colon": (b"Zt-Subject : root", NGINX),
    "a control byte": (b"X-A: a\x01b", BROKEN),
    "NUL in a value": (b"X-A: a\x00b", NGINX),
    "a language header": (b"Accept-Language: ja", PASSES),
    "length and chunks": (b"Content-Length: 0\r\nTransfer-Encoding: chunked", NGINX),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: 1", NGINX),
}


@pytest.mark.parametrize(("line", "expected"), HEADERS.values(), ids=HEADERS)
def test_a_header_is_refused_or_without_effect(lab: Lab, line: bytes, expected: str) -> None:
    Seen(lab, request(b"/cases/1", line)).require(expected)


@pytest.mark.parametrize(
    "name", [*IDENTITY_HEADERS, "Zt-Decision", "Zt-Reason", "Zt-Label", "zt-subject", "ZT-SUBJECT"]
)
def test_a_forged_identity_header_is_seen_and_refused(lab: Lab, name: str) -> None:
    Seen(lab, request(b"/cases/1", name.encode() + b": root")).require("HEADER_RESERVED")


@pytest.mark.parametrize("name", ["Zt_Subject", "Zt.Subject", "X_Original_URI", "X.Forwarded.Uri", "zt_pep_key"])
def test_an_alias_of_a_header_the_engine_owns_is_dropped_everywhere(lab: Lab, name: str) -> None:
    seen = Seen(lab, request(b"/cases/1", name.encode() + b": root"))

    seen.require(PASSES)
    assert seen.received[0].head.count(b"root") == 0
    assert b"root" not in seen.asked[0].values()


@pytest.mark.parametrize(
    "name",
    [
        "X-Original-URI",
        "X-Original-Method",
        "X-Original-Host",
        "X-Original-Proto",
        "X-Original-Port",
        "X-Real-IP",
        "Zt-Request-Id",
        "Zt-Pep-Key",
        "Zt-Client-Verify",
        "Zt-Client-Cert",
    ],
)
def test_what_nginx_sets_itself_a_client_cannot_set(lab: Lab, name: str) -> None:
    seen = Seen(lab, request(b"/cases/1", name.encode() + b": forged", name.upper().encode() + b": forged"))

    seen.require(PASSES)
    assert b"forged" not in seen.received[0].head
    assert b"forged" not in seen.asked[0].values()


HONEST = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
)


@pytest.mark.parametrize("name", HONEST)
def test_what_an_honest_proxy_in_between_adds_reaches_neither_hook_nor_backend(lab: Lab, name: str) -> None:
    seen = Seen(lab, request(b"/cases/1", name.encode() + b": 192.0.2.66"))

    seen.require(PASSES)
    assert b"192.0.2.66" not in seen.received[0].head
    assert b"192.0.2.66" not in seen.asked[0].values()


@pytest.mark.parametrize(
    "name", sorted(RESERVED_NAMES | METHOD_OVERRIDES | {"proxy", *map(str.lower, IDENTITY_HEADERS)})
)
def test_no_reserved_header_of_a_client_ever_reaches_the_backend(lab: Lab, name: str) -> None:
    seen = Seen(lab, request(b"/cases/1", name.encode() + b": forged"))

    assert all(b"forged" not in received.head for received in seen.received)


@pytest.mark.parametrize("nominated", ["Zt-Subject", "Authorization", "Zt-Pep-Key, X-Original-URI", "Host"])
def test_a_header_that_the_client_nominates_for_removal_stays(lab: Lab, nominated: str) -> None:
    line = b"Connection: close, " + nominated.encode()

    seen = Seen(lab, request(b"/cases/1", line, b"Authorization: Bearer a"))

    seen.require(PASSES)
    assert seen.received[0].values("zt-subject") == [b"tanaka"]
    assert seen.received[0].values("authorization") == [b"Bearer a"]
    assert seen.received[0].values("connection") == []


def test_the_hook_gets_exactly_the_documented_headers_each_once(lab: Lab) -> None:
    seen = Seen(lab, request(b"/cases/1?x=1", b"Authorization: Bearer a", b"DPoP: b", b"Cookie: c=1"))

    seen.require(PASSES)
    asked = {name: value for name, value in seen.asked[0].items() if name}
    assert asked.pop(b"X-Real-IP") == b"127.0.0.1"
    assert len(asked.pop(b"Zt-Request-Id")) == 32
    assert asked.pop(b"X-Original-Port").isdigit()
    assert asked == {
        b"Host": b"zt-sidecar",
        b"X-Original-URI": b"/cases/1?x=1",
        b"X-Original-Method": b"GET",
        b"X-Original-Host": HOST,
        b"X-Original-Proto": b"http",
        b"Zt-Pep-Key": KEY,
        b"Authorization": b"Bearer a",
        b"DPoP": b"b",
        b"Cookie": b"c=1",
    }


def test_the_backend_gets_every_identity_header_once_and_no_empty_one(lab: Lab) -> None:
    seen = Seen(lab, request(b"/cases/1", b"Authorization: Bearer a"))

    received = seen.received[0]
    assert received.values("zt-subject") == [b"tanaka"]
    assert received.values("zt-device") == [b"laptop-1"]
    assert received.values("zt-groups") == [b"staff,%E6%83%85%E5%A0%B1%E8%AA%B2"]
    assert received.values("zt-max-label") == [b"C2"]
    assert received.values("zt-trust") == [b"77"]
    assert received.values("zt-decision") == [b"d-7"]
    assert received.values("zt-request-id") == [seen.authorised[0].request_id.encode()]
    assert received.values("zt-assertion") == received.values("zt-obligations") == []
    assert received.values("x-forwarded-for") == received.values("x-real-ip") == [b"127.0.0.1"]
    assert received.values("zt-pep-key") == []
    assert len({name.lower() for name in received.names}) == len(received.names)
