"""What is no compact JWS of one signature in one encoding is no access token (RFC 8725)."""

from __future__ import annotations

import json

import pytest

from tests.issuer import NOW, b64
from tests.unit.token_support import IDP, header, refusal, resigned

# J12: compression, encryption, nesting.


@pytest.mark.parametrize(
    "members",
    [
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"cty": "JWT"},
        {"alg": "PBES2-HS256+A128KW", "p2c": 2_000_000_000, "p2s": "AA"},
    ],
)
def test_j12_compression_encryption_and_nesting_are_refused(members: dict[str, object]) -> None:
    assert refusal(resigned(header(**members))) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("parts", [1, 2, 4, 5, 6])
def test_j12_anything_but_three_parts_is_refused(parts: int) -> None:
    assert refusal(b".".join([b64(json.dumps(header()).encode())] * parts)) == "TOKEN_MALFORMED"


def test_j12_a_token_inside_a_token_is_refused() -> None:
    inner = IDP.mint("tanaka", now=NOW)

    assert refusal(resigned(header(), inner)) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("depth", [17, 500, 3000])
def test_j12_deep_json_is_refused(depth: int) -> None:
    body = json.dumps(IDP.claims("tanaka", now=NOW)).encode()[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"

    assert refusal(resigned(header(), body)) == "TOKEN_MALFORMED"


# J13: size.


def test_j13_a_token_over_16_kib_is_refused_before_it_is_decoded() -> None:
    assert refusal(b"!" * (16 * 1024 + 1)) == "TOKEN_TOO_LARGE"
    assert refusal(IDP.mint("tanaka", now=NOW, x="y" * 20_000)) == "TOKEN_TOO_LARGE"


def test_j13_a_token_of_16_kib_is_read() -> None:
    assert refusal(b"!" * (16 * 1024)) == "TOKEN_MALFORMED"


# J14: strict base64url.


@pytest.mark.parametrize("spoil", [b"=", b"==", b"\n", b" ", b"\t", b"+", b"/", b"\0", b"\xe3\x81\x82", b"%3D"])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_j14_padding_white_space_and_foreign_bytes_are_refused(spoil: bytes, part: int) -> None:
    parts = IDP.mint("tanaka", now=NOW).split(b".")
    parts[part] += spoil

    assert refusal(b".".join(parts)) == "TOKEN_MALFORMED"


def test_j14_trailing_bits_are_refused() -> None:
    token = IDP.mint("tanaka", now=NOW)
    assert len(token.rpartition(b".")[2]) == 86  # 64 bytes leave four bits that must be zero

    respelled = token[:-1] + bytes([token[-1] + 1])

    assert refusal(respelled) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("token", [b"", b".", b"..", b"...", b"a.b", b" a.b.c", b"\xff\xfe\xfd", "トークン".encode()])
def test_j14_what_is_no_token_at_all_is_refused(token: bytes) -> None:
    assert refusal(token) == "TOKEN_MALFORMED"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"sub":"\xff"}',
        b"{}x",
    ],
)
def test_j14_claims_that_are_no_utf8_object_are_refused(body: bytes) -> None:
    assert refusal(resigned(header(), body)) == "TOKEN_MALFORMED"


def test_j14_half_a_surrogate_pair_is_refused() -> None:
    body = json.dumps(IDP.claims("tanaka", now=NOW)).encode()[:-1] + b',"name":"\\ud800"}'

    assert refusal(resigned(header(), body)) == "TOKEN_MALFORMED"


# J15: the JSON serialisations.


def test_j15_the_json_serialisations_are_refused() -> None:
    head, body, signature = IDP.mint("tanaka", now=NOW).decode().split(".")
    flat = {"protected": head, "payload": body, "signature": signature}
    general = {"payload": body, "signatures": [{"protected": head, "signature": signature}]}

    assert refusal(json.dumps(flat).encode()) == "TOKEN_MALFORMED"
    assert refusal(json.dumps(general).encode()) == "TOKEN_MALFORMED"
