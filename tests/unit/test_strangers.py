"""The line about whoever asks without a credential: how often it is written, and what of a stranger's words it has."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from zt_engine.sidecar.strangers import QUIET_SECONDS, Strangers

HOOK = b"/v1/hooks/haproxy"


def lines(asked: bytes = HOOK, **headers: bytes) -> list[tuple[str, str]]:
    with capture_logs() as logs:
        sent = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        Strangers(lambda: 5.0).note(asked=asked, headers=sent, origin="192.0.2.7")
    return [(line["asked"], line["host"]) for line in logs]


def test_a_line_comes_once_a_minute_and_counts_what_came_in_between() -> None:
    times = (1.0, 2.0, 1.0 + QUIET_SECONDS - 0.1, 1.0 + QUIET_SECONDS, 2.0 + QUIET_SECONDS)
    strangers = Strangers(iter(times).__next__)
    with capture_logs() as logs:
        for _ in times:
            strangers.note(asked=HOOK, headers={}, origin="user id 33")

    assert [(line["event"], line["requests"], line["origin"]) for line in logs] == [
        ("proxy.stranger", 1, "user id 33"),
        ("proxy.stranger", 3, "user id 33"),
    ]


@pytest.mark.parametrize("asked", [b"/", b"/favicon.ico", b"/v1/hooks/", b"/v1/HOOKS/nginx", b"/.git/v1/hooks/nginx"])
def test_what_asks_for_no_path_of_ours_is_no_proxy(asked: bytes) -> None:
    assert lines(asked) == []


def test_of_what_a_stranger_says_the_log_has_a_host_and_the_path_of_the_hook() -> None:
    assert lines(b"/v1/hooks/envoy/secret?x", X_Original_Host=b"www.corp.example", host=b"zt-sidecar") == [
        ("/v1/hooks/envoy", "www.corp.example")
    ]
    assert lines(X_Forwarded_Host=b"a.example:8443", Zt_Pep_Key=b"guess") == [("/v1/hooks/haproxy", "a.example:8443")]
    assert lines(X_Original_Host=b"a b\x1b[2J") == [("/v1/hooks/haproxy", "")]
