"""`/.zt/` behind every proxy: it reaches the sidecar's listener for browsers, and nothing behind the proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.browser_fronts import DEVICE, KINDS, SID, Front
from tests.e2e.lab import HOST
from tests.hook_support import header

SAME = b"Sec-Fetch-Site: same-origin"
HTML = b"Accept: text/html"


@pytest.fixture(scope="module", params=KINDS)
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    running = Front(request.param, tmp_path_factory.mktemp(request.param))
    yield running
    assert running.backend.received == []  # in no test
    running.close()


def test_a_browser_is_sent_to_the_provider_from_where_it_is_and_with_the_device_it_has(front: Front) -> None:
    plain = front.get(b"/.zt/login?to=%2Fcases%2F1%3Fpage%3D2&acr_values=mfa&max_age=60")
    device = front.get(b"/.zt/login?to=/", device=True)

    assert (plain.status, device.status) == (302, 302), plain
    assert plain.values("location") == [b"https://idp.example/authorize?state=x"]
    assert plain.values("set-cookie")[0].startswith(b"__Host-zt-login=ticket; Path=/; Secure; HttpOnly; SameSite=Lax")
    without, with_one = front.desk.begun[-2:]
    assert (without["host"], without["scheme"], without["to"]) == (HOST.decode(), "https", "/cases/1?page=2")
    assert (without["acr_values"], without["max_age"], without["device_id"]) == ("mfa", 60, "")
    assert with_one["device_id"] == DEVICE


def test_it_comes_back_with_its_cookie_and_gets_its_session(front: Front) -> None:
    target = b"/.zt/callback?state=abc&code=x%2Fy&iss=https%3A%2F%2Fidp.example"

    stranger = front.get(target, HTML)
    back = front.get(target, b"Cookie: a=b; __Host-zt-login=ticket")

    assert (stranger.status, stranger.values("set-cookie")) == (403, [])
    assert (back.status, back.values("location")) == (303, [b"/cases/1?page=2"])
    assert back.values("set-cookie")[0].startswith(b"__Host-zt-session=" + b"h" * 43)
    told = front.desk.finished[-1]
    assert (told["state"], told["code"], told["issuer"]) == ("abc", "x/y", "https://idp.example")


def test_it_signs_out_by_a_page_of_this_very_host(front: Front) -> None:
    cookie = b"Cookie: __Host-zt-session=" + b"h" * 43
    ended = len(front.desk.ended)

    page = front.get(b"/.zt/logout", HTML, b"Accept-Language: ja")
    foreign = front.get(b"/.zt/logout", cookie, b"Content-Length: 0", b"Sec-Fetch-Site: cross-site", method=b"POST")
    own = front.get(b"/.zt/logout", cookie, b"Content-Length: 0", SAME, method=b"POST")

    assert page.status == 200 and '<html lang="ja">' in page.body.decode()
    assert (foreign.status, own.status) == (403, 200)
    assert len(front.desk.ended) == ended + 1
    assert any(value.startswith(b"__Host-zt-session=;") for value in own.values("set-cookie"))
    assert page.values("content-security-policy") and page.values("cache-control") == [b"no-store"]


def test_a_form_of_a_page_of_ours_comes_through_and_a_flood_does_not(front: Front) -> None:
    body = b"answer=" + b"x" * 5000
    lines = (SAME, b"Content-Type: application/x-www-form-urlencoded")

    sent = front.get(b"/.zt/form", *lines, b"Content-Length: %d" % len(body), method=b"POST", body=body)
    before = len(front.posted)
    flood = b"x" * 200_000
    refused = front.get(
        b"/.zt/form", *lines, b"Content-Length: %d" % len(flood), b"Connection: close", method=b"POST", body=flood
    )

    assert (sent.status, front.posted[-1]) == (303, body)
    # Whom a proxy hangs up on while there is more to send may not hear the answer.
    assert refused.head.strip() == b"" or refused.status not in (200, 303)
    assert len(front.posted) == before


LINES = (
        b"X-Original-URI: /.zt/login?to=/forged", b"X-Forwarded-Uri: /.zt/login?to=/forged", b"X-Original-Method: POST",
        b"X-Forwarded-Method: POST", b"X-Original-Host: forged.example", b"X-Forwarded-Host: forged.example",
        b"X-Original-Proto: http", b"X-Forwarded-Proto: http", b"X-Forwarded-Port: 1", b"X-Original-Port: 1",
        b"X-Real-IP: 192.0.2.1", b"X-Forwarded-For: 192.0.2.1", b"Zt-Pep-Key: forged", b"Zt-Client-Verify: SUCCESS",
        b"Zt-Client-Cert: -----BEGIN%20CERTIFICATE-----%0Aforged", b"Client-Cert: :Zm9yZ2Vk:", b"Client-Cert: Zm9yZ2Vk",
        b"X-Forwarded-Tls-Client-Cert: Zm9yZ2Vk", b"Zt-Subject: minister", b"Zt_Pep_Key: forged", b"Zt.Subject: x",
        b'X-Forwarded-Client-Cert: Hash=%b;Cert="-----BEGIN%%20CERTIFICATE-----%%0Aforged"' % (b"0" * 64),
        b"Connection: close, X-Original-Host", b"Connection: close, Zt-Pep-Key", b"Connection: close, X-Forwarded-For",
)  # fmt: skip


def test_what_the_proxy_says_of_a_browser_is_never_what_the_browser_wrote(front: Front) -> None:
    before = len(front.desk.begun)

    seen = {line: front.get(b"/.zt/login?to=/own", line).status for line in LINES}

    assert set(seen.values()) <= {302, 400, 401, 403}, seen
    for asked in front.desk.begun[before:]:
        assert (asked["host"], asked["scheme"], asked["to"]) == (HOST.decode(), "https", "/own")
        assert (asked["device_id"], asked["authority"]) == ("", f"{HOST.decode()}:{front.address[1]}")


TARGETS = (
        b"/.zt/../cases/1", b"/.zt/login/../../cases/1", b"/.zt/..%2fcases/1", b"/.zt/%2e%2e/cases/1", b"/%2ezt/login",
        b"/.zt/./../cases/1", b"//.zt/login", b"/.zt//../../cases/1", b"/.zt/..;/cases/1", b"/.ZT/login", b"/.zt",
        b"/.zt%2flogin", b"/x/../.zt/login", b"/.zt/login%00", b"/.zt/login/", b"/.zt/login#x", b"/.zt\\login",
        b"https://portal.example/.zt/login", b"https://evil.example/.zt/login", b"/cases/1", b"/cases/.zt/login",
        b"/.zt/login%3fx", b"/.zt/%6cogin", b"*",
)  # fmt: skip


def test_no_spelling_leads_past_the_question(front: Front) -> None:
    answers = {target: front.get(target) for target in TARGETS}

    # Whatever is asked about is refused, and a sign-in is no pass.
    assert not [target for target, answer in answers.items() if answer.status == 200]
    assert front.backend.received == []


def test_another_host_is_not_answered(front: Front) -> None:
    before = len(front.desk.begun)

    for host in (b"evil.example", b"portal.example.evil", b""):
        assert front.get(b"/.zt/login", host=host).status in (0, 400, 403, 404, 421)
    assert len(front.desk.begun) == before


def test_a_session_cookie_that_is_none_keeps_nobody_from_a_new_one(front: Front) -> None:
    for cookie in (b"x" * 43 + b"!", b"x", b"", b"h" * 43 + b"; __Host-zt-session=" + b"i" * 43):
        assert front.get(b"/.zt/login?to=/", b"Cookie: __Host-zt-session=" + cookie).status == 302


def test_a_listener_that_is_not_there_opens_nothing(front: Front) -> None:
    """The last one: it takes the listener away."""
    front.thread.run(front.listener.close(grace=0.1))

    answer = front.get(b"/.zt/login", HTML)

    assert answer.status in (500, 502, 503, 504) and not header(answer.head, "location")
    assert SID not in answer.body.decode("latin-1")
