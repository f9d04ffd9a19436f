from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.collectors.unseen import NotObserved
from zt_engine.adapters import clock_system
from zt_engine.adapters.clock_system import SystemClock, kernel_is_synchronised
from zt_engine.logs import DEPTH, redact


def test_a_kernel_that_does_not_say_leaves_the_clock_undisciplined(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent() -> None:
        raise NotObserved("error", "nothing")

    monkeypatch.setattr(clock_system, "kernel_clock", silent)

    assert kernel_is_synchronised() is False


def test_the_clock_says_the_same_until_it_is_asked_again_much_later() -> None:
    clock = SystemClock()

    assert clock.synchronised() == kernel_is_synchronised()
    assert clock.now() > 1_790_000_000


def test_a_token_a_key_and_a_named_secret_never_reach_the_operational_log() -> None:
    event = {
        "event": "x eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln y",
        "Authorization": "Bearer abc",
        "error": "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
        "count": 3,
    }

    clean = redact(None, "info", event)

    assert clean == {"event": "x [redacted] y", "Authorization": "[redacted]", "error": "[redacted]", "count": 3}


TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----"
SECRET_TEXTS = st.sampled_from([TOKEN, f"Bearer {TOKEN}", PEM, f"{PEM[:40]} and no end"])
HOLDERS = st.recursive(
    SECRET_TEXTS | SECRET_TEXTS.map(str.encode) | SECRET_TEXTS.map(ValueError) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["access_token", "client-secret", "Cookie"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), HOLDERS, max_size=4))
def test_invariant_10_no_token_and_no_key_reaches_the_operational_log_however_deep_it_lies(
    event: dict[str, Any],
) -> None:
    shown = json.dumps(redact(None, "info", event))

    assert "eyJhbGciOi" not in shown
    assert "MC4CAQ" not in shown


@pytest.mark.parametrize(
    "name",
    [
        "cookie",
        "X-Client-Secret",
        "access_token",
        "accessToken",
        "clientSecret",
        "DPoP",
        "refresh-token",
        "db_password",
    ],
)
def test_what_is_named_like_a_secret_is_none_of_the_log_s_business(name: str) -> None:
    assert redact(None, "info", {name: "4711", "said": {name: "4711"}}) == {
        name: "[redacted]", "said": {name: "[redacted]"},
    }  # fmt: skip


def test_a_member_s_name_and_a_value_below_the_depth_that_is_looked_into_are_no_way_around() -> None:
    deep: Any = {"password": "4711"}
    for _ in range(DEPTH):
        deep = [deep]

    shown = json.dumps(redact(None, "info", {"said": {TOKEN: 1}, "deep": deep}))

    assert "eyJhbGciOi" not in shown
    assert "4711" not in shown


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "DPoP", "Basic"])
def test_a_token_that_looks_like_nothing_is_known_by_its_scheme(scheme: str) -> None:
    event = {"event": f"sent {scheme} bWFyaWE6NDcxMTQ3MTE= to it"}

    assert redact(None, "info", event) == {"event": f"sent {scheme} [redacted] to it"}


JWK = {
    "kty": "RSA", "kid": "k1", "n": "cHVibGlj" * 8, "e": "AQAB",
    **dict.fromkeys(("d", "p", "q", "dp", "dq", "qi", "k"), "cHJpdmF0ZQ" * 4), "oth": [{"r": "cHJpdmF0ZQ" * 4}],
}  # fmt: skip


@pytest.mark.parametrize(
    "event",
    [
        dict(JWK), {"jwk": JWK}, {"keys": [{"of": JWK}]}, {"text": json.dumps(JWK)}, {"text": json.dumps(JWK).encode()},
        {"text": json.dumps(JWK, indent=1)}, {"text": json.dumps({"inner": json.dumps(JWK)})},
        {"error": ValueError(f"not a key: {JWK}")}, {"keys": {"a": (JWK,)}},
    ],
)  # fmt: skip
def test_of_a_private_jwk_only_what_is_public_is_shown(event: dict[str, Any]) -> None:
    shown = json.dumps(redact(None, "info", dict(event)))

    assert "cHJpdmF0ZQ" not in shown
    assert "cHVibGljcHVi" in shown and "k1" in shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:hidden@host/path?a=b", "https://user:[redacted]@host/path?a=b"),
        ("postgresql+psycopg://zt:hid%40den@db:5432/zt", "postgresql+psycopg://zt:[redacted]@db:5432/zt"),
        ("redis://:hidden@host", "redis://:[redacted]@host"),
        ("cannot reach 'https://u:hid:den@h/': refused", "cannot reach 'https://u:[redacted]@h/': refused"),
        ("https://u:hidden@hidden@h/", "https://u:[redacted]@h/"),
        ("postgresql://db/zt?user=zt&password=hidden&x=1", "postgresql://db/zt?user=zt&password=[redacted]&x=1"),
        ("https://h/?access_token=hidden#part", "https://h/?access_token=[redacted]#part"),
        ("host=db password=hidden dbname=zt", "host=db password=[redacted] dbname=zt"),
        ("password='hidden and cut", "password=[redacted]"),
        (r"host=db sslpassword = 'hid\'d en' port=1", "host=db sslpassword = [redacted] port=1"),
    ],
)
def test_the_password_in_a_url_is_not_shown(url: str, expected: str) -> None:
    assert redact(None, "info", {"where": url, "of": [ValueError(url)]}) == {"where": expected, "of": [expected]}


def test_a_text_of_beginnings_of_tokens_is_gone_through_once() -> None:
    event = {"event": "eyJ" * 100_000}  # for minutes, if each beginning were followed to the end

    assert redact(None, "info", event) == {"event": "[redacted]"}


@pytest.mark.parametrize("beginning", ["://", "://a:", "tokentoken", "token  ", '"d":"', '"d' + "\\", '"d"  '])
def test_a_text_of_beginnings_of_urls_and_members_is_gone_through_once(beginning: str) -> None:
    event = {"event": beginning * 100_000}

    assert redact(None, "info", dict(event)) == event


def test_what_is_no_secret_is_shown_as_it_is() -> None:
    event = {"event": "config.reloaded", "seq": 3, "ok": True, "age": 1.5, "hint": None, "listen": ["127.0.0.1:9191"]}

    assert redact(None, "info", dict(event)) == event
