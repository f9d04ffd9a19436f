"""A request that is refused says what to send instead, in words of ours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control_support import NOW, Control

ONE = {"id": "s1", "kind": "user_risk", "at": NOW, "principal": "subject:tanaka", "level": "high"}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (
            {"principal": "tanaka"},
            "body.signals.0.principal: write `subject:ID`, `device:ID`, `service:ID`",
        ),
        ({"kind": "User-Risk"}, "body.signals.0.kind: write small letters"),
        ({"id": "a b"}, "body.signals.0.id: write 1 to 128 visible"),
        ({"at": NOW * 1000}, "body.signals.0.at: write seconds since the epoch; this is so large"),
        ({"value": 3}, "body.signals.0: a signal has either `level` or `value`"),
    ],
)
def test_a_signal_that_does_not_read_is_told_what_to_write(members: dict[str, Any], said: str) -> None:
    with Control() as control:
        answer = control.call("POST", "/v1/signals", {"signals": [ONE | members]}, who="security")

    assert (answer.status_code, answer.json()["code"]) == (422, "REQUEST_INVALID")
    assert answer.json()["detail"].startswith(said)


def test_a_write_without_an_idempotency_key_is_told_to_send_one() -> None:
    headers = {"authorization": "Bearer security", "content-type": "application/json"}
    with Control() as control:
        answer = control.raw("POST", "/v1/signals", b'{"signals":[]}', headers)

    assert answer.status_code == 422
    assert "Idempotency-Key: send this header: 16 to 128" in answer.json()["detail"]
