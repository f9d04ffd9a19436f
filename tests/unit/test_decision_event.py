"""The decision event: its fixed names, its bytes, and the prepared form for warm decisions."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from zt_engine.core.decision_event import (
    EVENT_NAMES,
    DecisionEvent,
    EventTemplate,
    LoggedObligation,
    Observed,
    Timestamps,
    encode_event,
    quoted,
    timestamp,
)

_text = st.text(max_size=20)


@st.composite
def events(draw: st.DrawFn) -> DecisionEvent:
    return DecisionEvent(
        ts="2026-11-22T07:10:00.123Z",
        decision_id="d1",
        request_id=draw(_text),
        sidecar=draw(_text),
        tenant=draw(_text),
        subject=draw(_text),
        route=draw(st.sampled_from(["/a%20b/{id}", "/%d/%s", "", "/cases/*"])),
        path_hmac="ab12",
        effect="allow",
        observed=draw(st.none() | st.just(Observed(effect="deny", reasons=("TRUST_LOW",)))),
        obligations=draw(st.just(()) | st.just((LoggedObligation(id="max_rows", value=10), LoggedObligation(id="x")))),
        trust=draw(st.none() | st.integers(0, 100)),
        pillars=draw(st.none() | st.just({"device": 1})),
        versions={"device": 3, "catalogue": "ab"},
        cache="hit",
        latency_us=draw(st.integers(0, 10**6)),
        input_digest=draw(st.none() | st.just("0" * 64)),
    )


def test_an_event_has_exactly_the_fixed_names_beside_those_the_chain_adds() -> None:
    fields = DecisionEvent.__struct_fields__

    assert tuple(name for name in EVENT_NAMES if name not in {"seq", "prev_hash"}) == fields


@given(events())
def test_an_encoded_event_is_the_inside_of_one_json_object_on_one_line(event: DecisionEvent) -> None:
    body = encode_event(event)

    assert list(json.loads(b"{" + body + b"}")) == list(DecisionEvent.__struct_fields__)
    assert b"\n" not in body


@given(events(), _text)
def test_a_prepared_event_has_the_same_bytes_as_one_encoded_whole(event: DecisionEvent, request_id: str) -> None:
    template = EventTemplate(event)

    body = template.fill(b"T", b"d2", quoted(request_id), b"cd", b"miss", 77)

    whole = DecisionEvent(
        **{name: getattr(event, name) for name in event.__struct_fields__}
        | {
            "ts": "T",
            "decision_id": "d2",
            "request_id": request_id,
            "path_hmac": "cd",
            "cache": "miss",
            "latency_us": 77,
        }
    )
    assert body == encode_event(whole)


@given(st.integers(0, 4_000_000_000_000))
def test_time_is_written_in_utc_with_milliseconds(milliseconds: int) -> None:
    now = milliseconds / 1000

    text = timestamp(now)

    assert abs(datetime.fromisoformat(text).timestamp() - now) < 0.0011
    assert text.endswith("Z")


def test_a_kept_second_is_not_used_for_the_next_one() -> None:
    stamps = Timestamps()

    texts = [stamps.format(now) for now in (1790000000.5, 1790000000.75, 1790000001.25)]

    assert texts == [b"2026-09-21T14:13:20.500Z", b"2026-09-21T14:13:20.750Z", b"2026-09-21T14:13:21.250Z"]
    assert datetime.fromtimestamp(1790000000, UTC).second == 20
