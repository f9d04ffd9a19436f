"""What of the stream is believed: exactly what a stream key signed for this tenant, in order, and nothing else."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream_support import (
    KEY,
    KEYS,
    OTHER_KEY,
    TENANT,
    batch,
    changed,
    level,
    revoked,
    snapshot,
    urgent,
    watermark,
)
from tests.world import NOW
from zt_engine.adapters.stream_keys import StreamKey, public_keys
from zt_engine.core.bundle_signature import sign
from zt_engine.core.errors import InputError
from zt_engine.core.stream import BATCH_TYPE, MAX_MESSAGE_BYTES, Batch, SnapshotPart, Urgent, Watermark
from zt_engine.core.stream_signing import Position, unseal

SIGNED = batch(1, changed(), revoked("device", "laptop-1"), level(2))
KINDS = {"batch": Batch, "watermark": Watermark, "urgent": Urgent, "snapshot": SnapshotPart}
MESSAGES = {
    "batch": SIGNED,
    "watermark": watermark(3),
    "urgent": urgent(2, revoked("device", "laptop-1")),
    "snapshot": snapshot(3, [level(0)])[0],
}


def refusal(raw: bytes, kind: type = Batch, tenant: str = TENANT) -> str:
    with pytest.raises(InputError) as caught:
        unseal(raw, kind, KEYS, tenant=tenant)
    return caught.value.code


def headed(header: dict[str, object], raw: bytes = SIGNED) -> bytes:
    head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=")
    return b".".join([head, *raw.split(b".")[1:]])


def test_what_was_signed_is_read_as_it_was() -> None:
    read = unseal(SIGNED, Batch, KEYS, tenant=TENANT)

    assert (read.first, read.last, [event.type for event in read.events]) == (
        1, 3, ["device.changed", "revocation.added", "threat_level.changed"],
    )  # fmt: skip


@given(at=st.integers(0, len(SIGNED) - 1), byte=st.integers(0, 255))
def test_any_other_byte_anywhere_is_refused(at: int, byte: int) -> None:
    mutated = SIGNED[:at] + bytes([byte]) + SIGNED[at + 1 :]
    if mutated != SIGNED:
        assert refusal(mutated).startswith("STREAM_")


@given(cut=st.integers(1, len(SIGNED) - 1), insert=st.binary(min_size=1, max_size=4))
def test_whatever_is_cut_off_or_put_in_is_refused(cut: int, insert: bytes) -> None:
    assert refusal(SIGNED[:cut]).startswith("STREAM_")
    assert refusal(SIGNED[:cut] + insert + SIGNED[cut:]).startswith("STREAM_")


@pytest.mark.parametrize("sent", MESSAGES)
@pytest.mark.parametrize("read", KINDS)
def test_no_message_can_be_read_as_another_kind(sent: str, read: str) -> None:
    if sent == read:
        unseal(MESSAGES[sent], KINDS[read], KEYS, tenant=TENANT)
    else:
        assert refusal(MESSAGES[sent], KINDS[read]) == "STREAM_TYPE"


def test_an_unknown_key_is_refused_also_under_a_known_name() -> None:
    assert refusal(batch(1, level(0), key=OTHER_KEY)) == "STREAM_KEY_UNKNOWN"

    forged = StreamKey.generate()
    forged.key_id = KEY.key_id
    assert refusal(batch(1, level(0), key=forged)) == "STREAM_SIGNATURE"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"alg": "none", "kid": KEY.key_id, "typ": BATCH_TYPE}, "STREAM_SIGNATURE"),
        ({"alg": "HS256", "kid": KEY.key_id, "typ": BATCH_TYPE}, "STREAM_SIGNATURE"),
        ({"alg": "EdDSA", "kid": 7, "typ": BATCH_TYPE}, "STREAM_KEY_UNKNOWN"),
        ({"alg": "EdDSA", "typ": BATCH_TYPE}, "STREAM_MALFORMED"),
        ({"alg": "EdDSA", "kid": KEY.key_id, "typ": BATCH_TYPE, "crit": ["x"]}, "STREAM_MALFORMED"),
        ({"alg": "EdDSA", "kid": KEY.key_id, "typ": BATCH_TYPE, "jwk": {}}, "STREAM_MALFORMED"),
    ],
)
def test_a_header_that_asks_for_anything_else_is_refused(header: dict[str, object], code: str) -> None:
    assert refusal(headed(header)) == code


def test_the_other_tenant_s_message_is_refused() -> None:
    assert refusal(batch(1, level(0), tenant="other")) == "STREAM_TENANT"
    assert refusal(SIGNED, tenant="other") == "STREAM_TENANT"


def test_a_message_past_the_cap_is_refused_before_it_is_read() -> None:
    assert refusal(b"A" * (MAX_MESSAGE_BYTES + 1)) == "STREAM_TOO_LARGE"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"tenant":"default","fence":1,"first":1,"last":2,"events":[{"seq":1,"type":"x","data":{}}]}',
        b'{"tenant":"default","fence":1,"first":1,"last":1,"events":[{"seq":2,"type":"x","data":{}}]}',
        b'{"tenant":"default","fence":1,"first":0,"last":0,"events":[{"seq":0,"type":"x","data":{}}]}',
        b'{"tenant":"default","fence":1,"first":2,"last":1,"events":[]}',
        b'{"tenant":"default","fence":"1","first":1,"last":1,"events":[]}',
        b"[]",
        b"{",
    ],
)
def test_a_batch_that_is_not_what_it_says_is_refused_though_it_is_signed(payload: bytes) -> None:
    assert refusal(sign(payload, KEY, kind=BATCH_TYPE).encode()) == "STREAM_MALFORMED"


def test_a_key_whose_name_is_not_its_thumbprint_is_not_taken() -> None:
    assert public_keys({"other": KEY.jwk}) == {}
    assert set(public_keys({KEY.key_id: KEY.jwk})) == {KEY.key_id}


# -- positions


def placed(first: int, last: int, fence: int = 1) -> Batch:
    return Batch(tenant=TENANT, fence=fence, first=first, last=last, events=())


def code_of(call: object) -> str:
    with pytest.raises(InputError) as caught:
        call()  # type: ignore[operator]
    return caught.value.code


def test_a_position_moves_over_what_follows_and_over_nothing_else() -> None:
    at = Position(seq=10, fence=3)

    assert at.after(placed(11, 12, 3)).seq == 12
    assert at.after(placed(8, 12, 4)) == Position(seq=12, fence=4)
    assert code_of(lambda: at.after(placed(12, 13, 3))) == "STREAM_GAP"
    assert code_of(lambda: at.after(placed(9, 10, 3))) == "STREAM_REPEATED"
    assert code_of(lambda: at.after(placed(11, 12, 2))) == "STREAM_FENCE"


def marked(seq: int, at: float, fence: int = 1) -> Watermark:
    return unseal(watermark(seq, at=at, fence=fence), Watermark, KEYS, tenant=TENANT)


def test_yesterday_s_watermark_and_a_deposed_sequencer_s_are_refused() -> None:
    at = Position(seq=10).at(marked(10, NOW, fence=2))

    assert code_of(lambda: at.at(marked(10, NOW - 86_400, fence=2))) == "STREAM_REPLAYED"
    assert code_of(lambda: at.at(marked(10, NOW, fence=2))) == "STREAM_REPLAYED"
    assert code_of(lambda: at.at(marked(9, NOW + 1, fence=2))) == "STREAM_REPLAYED"
    assert code_of(lambda: at.at(marked(99, NOW + 1, fence=1))) == "STREAM_FENCE"
    assert at.at(marked(10, NOW + 1, fence=3)).fence == 3


def test_a_snapshot_goes_back_only_under_a_later_sequencer() -> None:
    at = Position(seq=10, fence=2)
    part = SnapshotPart(tenant=TENANT, fence=2, seq=9, part=1, of=1, events=())

    assert code_of(lambda: at.behind(part)) == "STREAM_REPLAYED"
    assert at.behind(SnapshotPart(tenant=TENANT, fence=3, seq=9, part=1, of=1, events=())).seq == 9
