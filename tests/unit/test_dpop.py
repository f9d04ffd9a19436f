"""Proofs of possession (RFC 9449): every check present, absent and malformed, and one use for each proof."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from tests.issuer import NOW, b64, jws
from zt_engine.adapters.dev_issuer import DevIssuer, DevProver, public_jwk, token_digest
from zt_engine.adapters.dpop_jwt import REPLAY_ENTRIES, SHARES, JwtDpopVerifier, ReplayMemory
from zt_engine.core.dpop import Proof, normal_target
from zt_engine.core.errors import InputError
from zt_engine.core.jose import thumbprint

PROVER = DevProver()
TOKEN = DevIssuer().mint("tanaka", now=NOW, jkt=PROVER.jkt)
URL = "https://portal.example/cases/123"
GET = {"token": TOKEN, "method": "GET", "url": URL}


def verify(proof: bytes, verifier: JwtDpopVerifier | None = None, **changes: object) -> str:
    request: dict[str, object] = {**GET, "request_id": "r1", "now": NOW, **changes}
    return (verifier or JwtDpopVerifier(not_before=0)).verify(proof, **request)  # type: ignore[arg-type]


def refusal(proof: bytes, verifier: JwtDpopVerifier | None = None, **changes: object) -> str:
    with pytest.raises(InputError) as caught:
        verify(proof, verifier, **changes)
    return caught.value.code


def use(memory: ReplayMemory, number: int, *, key: str, holder: str, later: int = 0) -> int:
    """Use one new proof, and say that it was used."""
    fresh = Proof(str(number), NOW + later, URL)
    memory.use(fresh, jkt=key, holder=holder, digest=b"", request_id="", now=NOW + later)
    return 1


def proof(**changes: object) -> bytes:
    return PROVER.prove(**GET, now=NOW, **changes)  # type: ignore[arg-type]


def without(name: str) -> bytes:
    claims = {"jti": "j", "htm": "GET", "htu": URL, "iat": NOW, "ath": token_digest(TOKEN)}
    del claims[name]
    return jwt.encode(claims, PROVER.key, "ES256", headers={"typ": "dpop+jwt", "jwk": PROVER.jwk}).encode()


# Keys and thumbprints.


def test_the_thumbprint_of_rfc_9449_section_4() -> None:
    jwk = {
        "kty": "EC",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        "crv": "P-256",
    }

    assert thumbprint(jwk) == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def test_the_thumbprint_of_rfc_7638_section_3_1() -> None:
    jwk = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_B"
        "JECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_F"
        "DW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4"
        "vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }

    assert thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    "jwk", [{}, {"kty": "EC"}, {"kty": "oct", "k": "AA"}, {"kty": ["EC"]}, {"kty": "OKP", "x": "A"}]
)
def test_what_is_no_public_key_has_no_thumbprint(jwk: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="key"):
        thumbprint(jwk)


# Checks, in the order of RFC 9449 section 4.3.


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "PS256", "RS256"])
def test_a_good_proof_proves_its_key(algorithm: str) -> None:
    prover = DevProver(algorithm=algorithm)

    assert verify(prover.prove(**GET, now=NOW)) == prover.jkt  # type: ignore[arg-type]


@pytest.mark.parametrize("raw", [b"", b".", b"..", b"a.b.c", b"\xff" * 20, b'{"payload":""}'])
def test_what_is_no_compact_jws_is_refused(raw: bytes) -> None:
    assert refusal(raw) == "DPOP_MALFORMED"


def test_two_proofs_in_one_header_are_refused() -> None:
    assert refusal(proof() + b"," + proof()) == "DPOP_MALFORMED"


def test_a_proof_over_8_kib_is_refused_unread() -> None:
    assert refusal(b"!" * (8 * 1024 + 1)) == "DPOP_TOO_LARGE"


@pytest.mark.parametrize("name", ["jti", "htm", "htu", "iat", "ath"])
def test_a_proof_without_a_required_claim_is_refused(name: str) -> None:
    expected = {"htm": "DPOP_METHOD", "ath": "DPOP_TOKEN_MISMATCH"}.get(name, "DPOP_CLAIMS")

    assert refusal(without(name)) == expected


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", "dpop", None, "DPOP+JWT ", 5])
def test_a_proof_of_another_type_is_refused(kind: object) -> None:
    raw = jws({"typ": kind, "alg": "ES256", "jwk": PROVER.jwk}, {"jti": "a"})

    assert refusal(raw) == "DPOP_TYPE"


@pytest.mark.parametrize("name", ["none", "None", "HS256", "ES384", "es256", None, 5, ["ES256"]])
def test_a_proof_with_another_algorithm_is_refused(name: object) -> None:
    raw = jws({"typ": "dpop+jwt", "alg": name, "jwk": PROVER.jwk}, {"jti": "a"})

    assert refusal(raw) == "DPOP_ALG"


def test_the_algorithms_are_a_setting() -> None:
    assert refusal(proof(), JwtDpopVerifier(not_before=0, algorithms=("EdDSA",))) == "DPOP_ALG"


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        "text",
        {},
        {"kty": "EC"},
        {"kty": "oct", "k": "AAAA"},
        PROVER.jwk | {"d": "AA"},
        PROVER.jwk | {"y": b64(b"\x01" * 32).decode()},
        PROVER.jwk | {"crv": "P-384"},
        PROVER.jwk | {"alg": "ES384"},
        public_jwk(DevProver(algorithm="EdDSA").key),  # type: ignore[arg-type]
        ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256K1()).public_key(), as_dict=True),
    ],
)
def test_a_key_that_is_not_public_or_does_not_fit_is_refused(jwk: object) -> None:
    assert refusal(proof(header={"jwk": jwk})) == "DPOP_KEY"


def test_a_weak_rsa_key_is_refused() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    raw = jws({"typ": "dpop+jwt", "alg": "RS256", "jwk": public_jwk(weak)}, {"jti": "a"})

    assert refusal(raw) == "DPOP_KEY"


@pytest.mark.parametrize("member", ["p", "q", "dp", "k", "oth"])
def test_a_key_with_any_private_member_is_refused_even_when_it_could_be_read(member: str) -> None:
    prover = DevProver(algorithm="RS256")
    leaking = prover.prove(**GET, now=NOW, header={"jwk": prover.jwk | {member: "AA"}})  # type: ignore[arg-type]

    assert refusal(leaking) == "DPOP_KEY"


def test_a_proof_signed_by_another_key_than_it_shows_is_refused() -> None:
    assert refusal(proof(header={"jwk": DevProver().jwk})) == "DPOP_SIGNATURE"


def test_a_changed_claim_breaks_the_signature() -> None:
    head, _, signature = proof().split(b".")
    claims = {"jti": "other", "htm": "GET", "htu": URL, "iat": NOW, "ath": token_digest(TOKEN)}

    assert refusal(b".".join([head, b64(json.dumps(claims).encode()), signature])) == "DPOP_SIGNATURE"


def test_the_remembered_key_of_a_header_does_not_vouch_for_another_signature() -> None:
    verifier = JwtDpopVerifier(not_before=0)
    verify(proof(), verifier)
    head, body, _ = proof().split(b".")

    assert refusal(b".".join([head, body, b64(b"\x01" * 64)]), verifier) == "DPOP_SIGNATURE"


@pytest.mark.parametrize("method", ["POST", "get", "GET ", "", None, 5, ["GET"]])
def test_a_proof_for_another_method_is_refused(method: object) -> None:
    assert refusal(proof(htm=method)) == "DPOP_METHOD"


@pytest.mark.parametrize(
    "target",
    [
        "https://portal.example/cases/124",
        "https://portal.example/cases/123/",
        "https://portal.example/CASES/123",
        "http://portal.example/cases/123",
        "https://portal.example:8443/cases/123",
        "https://other.example/cases/123",
        "https://portal.example@other.example/cases/123",
        "https://user@portal.example/cases/123",
        "https://portal.example/cases/./123",
        "https://portal.example/x/../cases/123",
        "https://portal.example\\cases/123",
        "//portal.example/cases/123",
        "/cases/123",
        "https://portal.example:port/cases/123",
        "https://[::1/cases/123",
        "javascript:alert(1)",
        "",
    ],
)
def test_a_proof_for_another_address_is_refused(target: str) -> None:
    assert refusal(proof(htu=target)) == "DPOP_TARGET"


@pytest.mark.parametrize("target", [None, 5, [URL], {}])
def test_an_address_that_is_no_text_is_refused(target: object) -> None:
    assert refusal(proof(htu=target)) == "DPOP_CLAIMS"


@pytest.mark.parametrize(
    "target",
    [
        URL,
        URL + "?q=1",
        URL + "#fragment",
        "HTTPS://PORTAL.example/cases/123",
        "https://portal.example:443/cases/123",
    ],
)
def test_query_fragment_case_and_default_port_do_not_matter(target: str) -> None:
    assert verify(proof(htu=target)) == PROVER.jkt


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example", "https://a.example/"),
        ("https://a.example/%e3%81%82", "https://a.example/%E3%81%82"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        ("http://A.example:8080/x", "http://a.example:8080/x"),
    ],
)
def test_equal_addresses_are_equal_in_normal_form(one: str, other: str) -> None:
    assert normal_target(one) == normal_target(other)


@given(st.text(max_size=60) | st.text("htps:/.[]@%?#\\ a1", max_size=40))
def test_any_text_is_an_address_or_refused_and_normal_form_is_stable(text: str) -> None:
    try:
        normal = normal_target(text)
    except InputError as error:
        assert error.code == "DPOP_TARGET"
    else:
        assert normal_target(normal) == normal


@pytest.mark.parametrize(
    "digest",
    ["", None, 5, token_digest(b"another token"), token_digest(TOKEN) + "="],
    ids=["empty", "null", "number", "another token", "padded"],
)
def test_a_proof_for_another_token_is_refused(digest: object) -> None:
    assert refusal(proof(ath=digest)) == "DPOP_TOKEN_MISMATCH"


@pytest.mark.parametrize("issued_at", [None, True, "1790000000", [], -1])
def test_a_time_that_is_no_numeric_date_is_refused(issued_at: object) -> None:
    assert refusal(proof(iat=issued_at)) == "DPOP_CLAIMS"


def test_a_proof_counts_for_a_minute_and_five_seconds_ahead() -> None:
    assert verify(proof(iat=NOW - 60)) == PROVER.jkt
    assert verify(proof(iat=NOW + 5)) == PROVER.jkt
    assert refusal(proof(iat=NOW - 61)) == "DPOP_STALE"
    assert refusal(proof(iat=NOW + 6)) == "DPOP_FUTURE"


@pytest.mark.parametrize("proof_id", [None, "", 5, True, "x" * 257, ["a"]])
def test_an_id_that_is_no_short_text_is_refused(proof_id: object) -> None:
    assert refusal(proof(jti=proof_id)) == "DPOP_CLAIMS"


def test_a_proof_by_another_key_than_the_tokens_is_refused() -> None:
    mallory = DevProver()

    assert refusal(mallory.prove(**GET, now=NOW), jkt=PROVER.jkt) == "DPOP_KEY_MISMATCH"  # type: ignore[arg-type]
    assert verify(proof(), jkt=PROVER.jkt) == PROVER.jkt


# One use for each proof; a proxy's copy is the same use.


def test_a_proof_used_for_another_request_is_a_replay() -> None:
    verifier, once = JwtDpopVerifier(not_before=0), proof()
    verify(once, verifier, request_id="r1")

    assert refusal(once, verifier, request_id="r2") == "DPOP_REPLAY"


def test_a_copy_the_proxy_sent_again_is_accepted() -> None:
    verifier, once = JwtDpopVerifier(not_before=0), proof()

    answers = [verify(once, verifier, request_id="r1", now=NOW + second) for second in (0, 1, 59)]

    assert answers == [PROVER.jkt] * 3


def test_a_copy_after_the_proofs_minute_is_too_old() -> None:
    verifier, once = JwtDpopVerifier(not_before=0), proof()
    verify(once, verifier)

    assert refusal(once, verifier, now=NOW + 61) == "DPOP_STALE"


def test_where_no_request_id_is_set_every_repetition_is_a_replay() -> None:
    verifier, once = JwtDpopVerifier(not_before=0), proof()
    verify(once, verifier, request_id="")

    assert refusal(once, verifier, request_id="") == "DPOP_REPLAY"


def test_another_proof_with_the_same_id_is_a_replay_even_under_the_same_request_id() -> None:
    verifier = JwtDpopVerifier(not_before=0)
    verify(proof(jti="same"), verifier)

    assert refusal(proof(jti="same"), verifier) == "DPOP_REPLAY"  # another signature over the same claims


def test_the_same_id_from_another_key_is_another_proof() -> None:
    verifier, other = JwtDpopVerifier(not_before=0), DevProver()
    verify(proof(jti="same"), verifier)

    assert verify(other.prove(**GET, now=NOW, jti="same"), verifier, request_id="r2") == other.jkt  # type: ignore[arg-type]


def test_ids_that_only_look_joined_are_kept_apart() -> None:
    verifier = JwtDpopVerifier(not_before=0)
    verify(proof(jti="a"), verifier, request_id="r1")

    assert verify(proof(jti='a","'), verifier, request_id="r2") == PROVER.jkt


def test_a_refused_proof_is_not_used_up() -> None:
    verifier, once = JwtDpopVerifier(not_before=0), proof()
    assert refusal(once, verifier, method="POST") == "DPOP_METHOD"

    assert verify(once, verifier) == PROVER.jkt


def test_a_full_memory_refuses_and_opens_again_when_proofs_grow_old() -> None:
    verifier = JwtDpopVerifier(not_before=0, entries=4, shares=2)
    provers = [DevProver() for _ in range(5)]
    proofs = [prover.prove(**GET, now=NOW) for prover in provers]  # type: ignore[arg-type]
    for number, once in enumerate(proofs[:4]):
        verify(once, verifier, request_id=str(number), holder=str(number))

    assert refusal(proofs[4], verifier, request_id="5", holder="4") == "DPOP_CACHE_FULL"
    assert verify(proofs[0], verifier, request_id="0", holder="0") == provers[0].jkt
    later = provers[4].prove(**GET, now=NOW + 66)  # type: ignore[arg-type]
    assert verify(later, verifier, request_id="6", holder="4", now=NOW + 66) == provers[4].jkt


def test_one_key_cannot_fill_the_memory_of_all() -> None:
    verifier, other = JwtDpopVerifier(not_before=0, entries=16, shares=8), DevProver()
    for number in range(2):
        verify(proof(), verifier, request_id=str(number))

    assert refusal(proof(), verifier, request_id="3", holder="another") == "DPOP_CACHE_FULL"
    once = other.prove(**GET, now=NOW)  # type: ignore[arg-type]
    assert verify(once, verifier, request_id="4", holder="another") == other.jkt


def test_one_holder_cannot_fill_the_memory_of_all_with_many_keys_and_tokens() -> None:
    memory = ReplayMemory()
    used = 0
    for number in range(2 * REPLAY_ENTRIES // SHARES):
        try:
            used += use(memory, number, key=f"k{number % 512}", holder="insider")
        except InputError as error:
            assert error.code == "DPOP_CACHE_FULL"

    assert used == memory.size == REPLAY_ENTRIES // SHARES
    assert use(memory, 0, key="victim", holder="victim") == 1


def test_it_takes_as_many_holders_as_there_are_shares_to_fill_the_memory() -> None:
    memory = ReplayMemory(SHARES * 2)
    for number in range((SHARES - 1) * 2):
        use(memory, number, key=f"k{number // 2}", holder=f"h{number // 2}")

    assert use(memory, 0, key="victim", holder="victim") == 1


def test_what_grew_old_gives_its_share_back() -> None:
    memory = ReplayMemory(SHARES)
    use(memory, 0, key="k", holder="h")

    with pytest.raises(InputError, match="DPOP_CACHE_FULL"):
        use(memory, 1, key="k", holder="h")
    assert use(memory, 2, key="k", holder="h", later=67) == 1
    assert memory.size == 1


def test_without_a_holder_each_token_counts_by_itself() -> None:
    verifier = JwtDpopVerifier(not_before=0, entries=8, shares=8)
    provers = [DevProver(), DevProver()]
    verify(provers[0].prove(**GET, now=NOW), verifier)  # type: ignore[arg-type]

    assert refusal(provers[1].prove(**GET, now=NOW), verifier, request_id="r2") == "DPOP_CACHE_FULL"  # type: ignore[arg-type]


# A process remembers only what itself has seen.


def test_a_proof_that_was_used_before_a_restart_is_not_accepted_after_it() -> None:
    once = proof()
    verify(once)

    restarted = JwtDpopVerifier(not_before=NOW + 0.5)

    assert refusal(once, restarted, request_id="r2", now=NOW + 1) == "DPOP_BEFORE_START"
    later = PROVER.prove(**GET, now=NOW + 1)  # type: ignore[arg-type]
    assert verify(later, restarted, request_id="r3", now=NOW + 1) == PROVER.jkt


def test_what_was_made_before_a_take_over_was_complete_does_not_count_after_it() -> None:
    verifier, once = JwtDpopVerifier(not_before=NOW - 1), proof()
    verifier.began(NOW + 1)
    verifier.began(NOW - 5)  # it never moves back

    assert refusal(once, verifier, now=NOW + 2) == "DPOP_BEFORE_START"


def test_a_clock_that_jumps_forward_and_back_does_not_open_a_replay() -> None:
    verifier, once = JwtDpopVerifier(not_before=0), proof()
    verify(once, verifier)
    verify(PROVER.prove(**GET, now=NOW + 1000), verifier, request_id="r2", now=NOW + 1000)  # type: ignore[arg-type]

    assert refusal(once, verifier, request_id="r3", now=NOW + 1) == "DPOP_STALE"


@given(st.lists(st.tuples(st.integers(-70, 70), st.integers(0, 2), st.integers(0, 1)), max_size=12))
def test_no_proof_ever_serves_two_requests(steps: list[tuple[int, int, int]]) -> None:
    verifier = JwtDpopVerifier(not_before=0)
    served: dict[int, set[int]] = {}
    for offset, which, request in steps:
        try:
            verify(_PROOFS[which], verifier, request_id=f"r{request}", now=NOW + offset)
        except InputError:
            continue
        served.setdefault(which, set()).add(request)

    assert all(len(requests) == 1 for requests in served.values())


_PROOFS = [proof(iat=NOW + offset) for offset in (-40, 0, 40)]


# Garbage and secrets.


@given(st.binary(max_size=300))
def test_arbitrary_bytes_only_ever_raise_input_errors(raw: bytes) -> None:
    assert refusal(raw).startswith("DPOP_")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["jti", "htm", "htu", "iat", "ath", "exp"]), _json, max_size=3),
    st.dictionaries(st.sampled_from(["typ", "jwk", "kid", "crit"]), _json, max_size=2),
)
def test_any_well_signed_proof_is_verified_or_refused(claims: dict[str, object], members: dict[str, object]) -> None:
    body = {"jti": "j", "htm": "GET", "htu": URL, "iat": NOW, "ath": token_digest(TOKEN)} | claims
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": PROVER.jwk} | members
    unsigned = jws(head, body).rpartition(b".")[0]
    signature = jwt.PyJWS().get_algorithm_by_name("ES256").sign(unsigned, PROVER.key)

    try:
        assert verify(unsigned + b"." + b64(signature)) == PROVER.jkt
    except InputError as error:
        assert error.code.startswith("DPOP_")


def test_no_refusal_and_no_repr_quotes_a_proof() -> None:
    verifier = JwtDpopVerifier(not_before=0)
    once = proof(note="planted-secret")
    verify(once, verifier)

    with pytest.raises(InputError) as caught:
        verify(once, verifier, request_id="r2")

    assert once.decode() not in repr(verifier) + repr(caught.value)
    assert "planted" not in repr(verifier) + repr(caught.value)
