"""Key sets: what may verify, and how a set is kept fresh, dropped and never waited for."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.issuer import NOW, Published, b64, loaded
from zt_engine.adapters.dev_issuer import DevIssuer, make_key, public_jwk
from zt_engine.adapters.keys_fetch import FileFetch, HttpFetch, key_source
from zt_engine.adapters.keys_jwks import Fetched, KeySource, read_key_set, refresh_due
from zt_engine.core.errors import ConfigError, InputError, UnavailableError
from zt_engine.core.issuer import ALGORITHMS, IssuerConfig

IDP = DevIssuer()
EC = public_jwk(make_key("ES256"))
RSA = public_jwk(make_key("RS256"))
ED = public_jwk(make_key("EdDSA"))


def key_set(*jwks: dict[str, object]) -> bytes:
    return json.dumps({"keys": jwks}).encode()


def refused(raw: bytes) -> str:
    with pytest.raises(UnavailableError) as caught:
        read_key_set(raw, algorithms=ALGORITHMS)
    return caught.value.code


# What is in a set.


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        (EC, {"ES256"}),
        (ED, {"EdDSA"}),
        (RSA, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (RSA | {"alg": "PS256"}, {"PS256"}),
        (EC | {"use": "sig"}, {"ES256"}),
        (EC | {"key_ops": ["verify", "encrypt"]}, {"ES256"}),
        (EC | {"x5c": ["ignored"], "x5u": "https://mallory.example"}, {"ES256"}),
    ],
)
def test_a_key_is_taken_with_the_algorithms_it_fits(jwk: dict[str, object], algorithms: set[str]) -> None:
    (key,) = read_key_set(key_set(jwk), algorithms=ALGORITHMS)

    assert key.algorithms == algorithms


@pytest.mark.parametrize(
    "jwk",
    [
        EC | {"use": "enc"},
        EC | {"use": None},
        EC | {"key_ops": ["sign"]},
        EC | {"key_ops": []},
        EC | {"key_ops": "verify"},
        EC | {"alg": "ES384"},
        EC | {"alg": "none"},
        EC | {"alg": "HS256"},
        EC | {"alg": 5},
        EC | {"kid": 5},
        EC | {"kid": None} | {"kty": "ec"},
        EC | {"crv": "secp256k1"},
        EC | {"crv": "P-384"},
        EC | {"crv": ["P-256"]},
        EC | {"x": "AA"},
        EC | {"x": EC["x"] + "="},  # type: ignore[operator]
        EC | {"x": 5},
        {"kty": "EC", "crv": "P-256"},
        ED | {"crv": "Ed448"},
        ED | {"crv": "X25519"},
        ED | {"x": "AA"},
        RSA | {"e": "AQ"},
        RSA | {"e": "Ag"},
        RSA | {"n": ""},
        RSA | {"e": b64(b"\x01" * 64).decode()},
        {"kty": "unknown"},
        {"kty": 5},
        {},
    ],
)
def test_a_key_of_no_use_is_left_out_and_the_others_stay(jwk: dict[str, object]) -> None:
    good = EC | {"kid": "good"} if jwk.get("kty") != "EC" else ED | {"kid": "good"}

    keys = read_key_set(key_set(jwk, good), algorithms=ALGORITHMS)

    assert [key.key_id for key in keys] == ["good"]


def test_a_huge_rsa_key_is_left_out_of_the_set() -> None:
    huge = RSA | {"n": b64(b"\xff" * 2048).decode()}

    assert read_key_set(key_set(huge), algorithms=ALGORITHMS) == ()


def test_only_algorithms_of_the_issuer_are_taken() -> None:
    (key,) = read_key_set(key_set(EC, RSA, ED), algorithms=("PS256",))

    assert key.algorithms == {"PS256"}


@pytest.mark.parametrize(
    "private",
    [
        ECAlgorithm.to_jwk(make_key("ES256"), as_dict=True),  # type: ignore[arg-type]
        RSAAlgorithm.to_jwk(make_key("RS256"), as_dict=True),  # type: ignore[arg-type]
        OKPAlgorithm.to_jwk(make_key("EdDSA"), as_dict=True),  # type: ignore[arg-type]
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "unknown", "d": "AA"},
        EC | {"use": "enc", "d": "AA"},
        EC | {"d": None},
    ],
)
def test_a_private_key_condemns_the_whole_set(private: dict[str, object]) -> None:
    assert refused(key_set(ED, private)) == "KEYS_PRIVATE"


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>", b"\xff\xfe", b"[]", b"null", b"{}", b'{"keys": {}}', b'{"keys": [1]}', b'{"keys": [null]}',
     b'{"keys": [], "keys": []}', b'{"keys": NaN}', b'{"keys":' + b"[" * 5000 + b"]" * 5000 + b"}"],
)  # fmt: skip
def test_garbage_is_no_key_set(raw: bytes) -> None:
    assert refused(raw) == "KEYS_MALFORMED"


def test_a_huge_set_is_refused() -> None:
    assert refused(b" " * (256 * 1024 + 1)) == "KEYS_TOO_LARGE"
    assert refused(key_set(*[{"kty": "x"}] * 257)) == "KEYS_TOO_LARGE"


def test_two_keys_under_one_id_are_refused_and_one_key_twice_is_not() -> None:
    assert refused(key_set(EC | {"kid": "a"}, ED | {"kid": "a"})) == "KEYS_AMBIGUOUS"
    assert len(read_key_set(key_set(EC | {"kid": "a"}, EC | {"kid": "a"}), algorithms=ALGORITHMS)) == 1


def test_a_signing_and_an_encryption_key_may_share_an_id() -> None:
    keys = read_key_set(key_set(EC | {"kid": "a"}, RSA | {"kid": "a", "use": "enc"}), algorithms=ALGORITHMS)

    assert [key.key_id for key in keys] == ["a"]


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: json.dumps({"keys": [text]}).encode()))
def test_arbitrary_bytes_are_refused_with_a_code_of_their_own(raw: bytes) -> None:
    assert refused(raw).startswith("KEYS_")


_members = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg", "use", "kid", "key_ops"])
_values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=20)
    | st.lists(st.text(max_size=3), max_size=2)
)


@given(st.sampled_from([EC, RSA, ED]), st.dictionaries(_members, _values, max_size=4))
def test_a_spoiled_key_never_breaks_the_set(jwk: dict[str, object], spoil: dict[str, object]) -> None:
    good = RSA | {"kid": "good"}

    keys = read_key_set(key_set(jwk | spoil | {"kid": "spoiled"}, good), algorithms=ALGORITHMS)

    assert "good" in [key.key_id for key in keys]


def test_a_key_is_found_by_id_and_must_fit_the_algorithm() -> None:
    source = loaded(Published(key_set(EC | {"kid": "a"}, RSA | {"kid": "b"})), algorithms=ALGORITHMS)

    assert source.current.find("b", "PS256").key_id == "b"
    with pytest.raises(InputError, match="TOKEN_ALG"):
        source.current.find("a", "PS256")
    with pytest.raises(InputError, match="TOKEN_KEY_UNKNOWN"):
        source.current.find("c", "PS256")


# Keeping a set fresh. Time is an argument; nothing here waits.


def test_a_new_source_is_due_and_usable_once_fetched() -> None:
    source = KeySource(Published(IDP.jwks()), algorithms=("ES256",))
    assert source.due(NOW)

    asyncio.run(source.refresh(NOW))

    assert source.keys(NOW).version == 1
    assert not source.due(NOW)


@pytest.mark.parametrize(
    ("max_age", "fresh_for"), [(None, 3600), (0, 300), (10, 300), (600, 600), (86_400, 86_400), (10**9, 86_400)]
)
def test_max_age_counts_within_five_minutes_and_a_day(max_age: int | None, fresh_for: int) -> None:
    source = loaded(Published(IDP.jwks(), max_age), algorithms=("ES256",))

    assert not source.due(NOW + fresh_for - 1)
    assert source.due(NOW + fresh_for)


def test_an_unknown_key_asks_once_a_minute_at_most() -> None:
    published = Published(IDP.jwks())
    source = loaded(published, algorithms=("ES256",))

    source.ask()

    assert not source.due(NOW + 59)
    assert source.due(NOW + 60)
    asyncio.run(source.refresh(NOW + 60))
    source.ask()
    assert not source.due(NOW + 61)
    assert source.due(NOW + 120)


def test_concurrent_refreshes_share_one_fetch() -> None:
    published = Published(IDP.jwks())
    source = KeySource(published, algorithms=("ES256",))

    async def five() -> list[object]:
        return list(await asyncio.gather(*(source.refresh(NOW) for _ in range(5))))

    results = asyncio.run(five())

    assert published.fetches == 1
    assert all(result is results[0] for result in results)


def test_a_source_in_flight_is_not_due() -> None:
    release = asyncio.Event()

    async def slow() -> Fetched:
        await release.wait()
        return Fetched(IDP.jwks())

    async def scene() -> bool:
        source = KeySource(slow, algorithms=("ES256",))
        flight = asyncio.create_task(source.refresh(NOW))
        await asyncio.sleep(0)
        due = source.due(NOW + 1000)
        release.set()
        await flight
        return due

    assert not asyncio.run(scene())


def test_whoever_waits_may_be_cancelled_without_losing_the_fetch() -> None:
    release = asyncio.Event()

    async def slow() -> Fetched:
        await release.wait()
        return Fetched(IDP.jwks())

    async def scene() -> int:
        source = KeySource(slow, algorithms=("ES256",))
        impatient = asyncio.create_task(source.refresh(NOW))
        await asyncio.sleep(0)
        impatient.cancel()
        release.set()
        return (await source.refresh(NOW)).version

    assert asyncio.run(scene()) == 1


def test_a_key_missing_from_a_successful_fetch_is_dropped_at_once() -> None:
    published = Published(key_set(EC | {"kid": "a"}, ED | {"kid": "b"}))
    source = loaded(published, algorithms=ALGORITHMS)
    published.body = key_set(ED | {"kid": "b"})

    asyncio.run(source.refresh(NOW + 60))

    assert [key.key_id for key in source.keys(NOW + 60).keys] == ["b"]
    assert source.version == 2


def test_the_same_keys_fetched_again_keep_their_version() -> None:
    source = loaded(Published(IDP.jwks()), algorithms=("ES256",))

    asyncio.run(source.refresh(NOW + 3600))

    assert source.version == 1


@pytest.mark.parametrize("body", [b"garbage", b" " * 300_000, key_set({"kty": "oct", "k": "AA"})])
def test_a_bad_set_keeps_the_last_good_one_and_says_why(body: bytes) -> None:
    published = Published(IDP.jwks())
    source = loaded(published, algorithms=("ES256",))
    published.body = body

    with pytest.raises(UnavailableError) as caught:
        asyncio.run(source.refresh(NOW + 60))

    assert source.problem == caught.value.code
    assert source.keys(NOW + 60).version == 1


def test_a_failure_is_tried_again_after_a_minute_and_forgotten_when_it_ends() -> None:
    published = Published(IDP.jwks(), max_age=300)
    source = loaded(published, algorithms=("ES256",))
    published.error = UnavailableError("KEYS_UNREACHABLE")
    with pytest.raises(UnavailableError):
        asyncio.run(source.refresh(NOW + 300))
    assert not source.due(NOW + 359)
    assert source.due(NOW + 360)
    published.error = None

    asyncio.run(source.refresh(NOW + 360))

    assert source.problem == ""
    assert not source.due(NOW + 420)


def test_past_the_hard_limit_the_last_good_set_is_refused() -> None:
    source = loaded(Published(IDP.jwks()), algorithms=("ES256",), hard_limit=1000)
    source.keys(NOW + 999)

    with pytest.raises(UnavailableError, match="KEYS_UNAVAILABLE"):
        source.keys(NOW + 1000)


def test_a_clock_that_is_set_back_makes_a_refresh_due_and_does_not_stretch_the_hard_limit() -> None:
    published = Published(IDP.jwks())
    source = loaded(published, algorithms=("ES256",), hard_limit=1000)
    published.error = UnavailableError("KEYS_TIMEOUT")
    assert source.due(NOW - 5000)

    with pytest.raises(UnavailableError):
        asyncio.run(source.refresh(NOW - 5000))

    with pytest.raises(UnavailableError, match="KEYS_UNAVAILABLE"):
        source.keys(NOW - 4000)


def test_an_empty_set_drops_every_key_and_says_so() -> None:
    published = Published(IDP.jwks())
    source = loaded(published, algorithms=("ES256",))
    published.body = key_set()

    asyncio.run(source.refresh(NOW + 60))

    assert source.keys(NOW + 60).keys == ()
    assert source.problem == "KEYS_EMPTY"


def test_what_is_due_is_refreshed_together_and_failures_are_returned() -> None:
    good, bad, fresh = (Published(IDP.jwks()) for _ in range(3))
    bad.error = UnavailableError("KEYS_STATUS")
    sources = [KeySource(published, algorithms=("ES256",)) for published in (good, bad)]
    sources.append(loaded(fresh, algorithms=("ES256",)))

    failed = asyncio.run(refresh_due(sources, NOW))

    assert [error.code for error in failed] == ["KEYS_STATUS"]
    assert (good.fetches, bad.fetches, fresh.fetches) == (1, 1, 1)


def test_a_key_never_shows_more_than_its_thumbprint() -> None:
    source = loaded(Published(IDP.jwks()), algorithms=("ES256",))

    assert str(source.current.keys[0]).startswith("VerificationKey(key_id=")
    assert "public" not in str(source.current)


# Files.


def test_a_key_file_is_read_and_never_goes_stale_for_good(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "jwks.json"
    path.write_bytes(IDP.jwks())
    path.chmod(0o644)
    config = IssuerConfig(issuer="i", audiences=("a",), algorithms=("ES256",), keys=str(path))
    source = key_source(config)

    asyncio.run(source.refresh(NOW))

    assert source.keys(NOW + 10**9).version == 1


def test_a_key_taken_out_of_a_file_is_gone_with_the_next_look(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set(EC | {"kid": "a"}, ED | {"kid": "b"}))
    path.chmod(0o600)
    source = key_source(IssuerConfig(issuer="i", audiences=("a",), algorithms=ALGORITHMS, keys=str(path)))
    asyncio.run(refresh_due([source], NOW))
    assert not source.due(NOW + 1)
    path.write_bytes(key_set(ED | {"kid": "b"}))

    failed = asyncio.run(refresh_due([source], NOW + 1))

    assert failed == ()
    assert [key.key_id for key in source.keys(NOW + 1).keys] == ["b"]


def test_a_half_written_key_file_keeps_the_last_good_set_until_it_is_whole(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "jwks.json"
    path.write_bytes(IDP.jwks())
    path.chmod(0o600)
    source = key_source(IssuerConfig(issuer="i", audiences=("a",), algorithms=ALGORITHMS, keys=str(path)))
    asyncio.run(refresh_due([source], NOW))
    path.write_bytes(IDP.jwks()[:50])

    half = asyncio.run(refresh_due([source], NOW + 1))
    again = asyncio.run(refresh_due([source], NOW + 2))
    path.write_bytes(key_set(EC | {"kid": "new"}))
    whole = asyncio.run(refresh_due([source], NOW + 3))

    assert [error.code for error in half] == ["KEYS_MALFORMED"]
    assert (again, whole) == ((), ())
    assert [key.key_id for key in source.keys(NOW + 3).keys] == ["new"]


def test_a_key_file_that_disappears_keeps_the_last_good_set_and_says_so_once(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "jwks.json"
    path.write_bytes(IDP.jwks())
    path.chmod(0o600)
    source = key_source(IssuerConfig(issuer="i", audiences=("a",), algorithms=ALGORITHMS, keys=str(path)))
    asyncio.run(refresh_due([source], NOW))
    path.unlink()

    gone = asyncio.run(refresh_due([source], NOW + 1))
    still = asyncio.run(refresh_due([source], NOW + 2))

    assert ([error.code for error in gone], still) == (["KEYS_UNREACHABLE"], ())
    assert source.keys(NOW + 2).version == 1


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def _linked(path: Path) -> None:
    target = path.with_name("elsewhere.json")
    target.write_bytes(IDP.jwks())
    target.chmod(0o600)
    path.symlink_to(target)


def _given_away(path: Path) -> None:
    path.write_bytes(IDP.jwks())
    path.chmod(0o600)
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (lambda path: None, "KEYS_UNREACHABLE"),
        (lambda path: path.mkdir(), "KEYS_NOT_REGULAR"),
        (os.mkfifo, "KEYS_NOT_REGULAR"),
        (_linked, "KEYS_NOT_REGULAR"),
        pytest.param(_given_away, "KEYS_OWNER", marks=needs_root),
        (lambda path: (path.write_bytes(IDP.jwks()), path.chmod(0o664)), "KEYS_WRITABLE"),
        (lambda path: (path.write_bytes(IDP.jwks()), path.chmod(0o646)), "KEYS_WRITABLE"),
        (lambda path: (path.write_bytes(b" " * 300_000), path.chmod(0o600)), "KEYS_TOO_LARGE"),
    ],
)
def test_a_key_file_that_cannot_be_believed_is_refused(tmp_path, prepare, code: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "jwks.json"
    prepare(path)

    with pytest.raises(UnavailableError) as caught:
        asyncio.run(FileFetch(path)())

    assert caught.value.code == code


# URLs.


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example/jwks",
        "http://localhost/jwks",
        "http://127.0.0.1.example/jwks",
        "http://10.0.0.1/jwks",
        "ftp://127.0.0.1/jwks",
        "https:///jwks",
        "https://user:pass@idp.example/jwks",
        "https://idp.example:99999/jwks",
        "file:///etc/passwd",
        "HTTP://idp.example/jwks",
    ],
)
def test_a_key_set_comes_over_tls_or_from_this_machine(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HttpFetch(url, where="zt.toml:5")

    assert [(problem.code, problem.where) for problem in caught.value.problems] == [("KEYS_URL", "zt.toml:5")]


@pytest.mark.parametrize("url", ["https://idp.example/jwks", "http://127.0.0.1:8080/jwks", "http://[::1]/jwks"])
def test_https_and_loopback_addresses_are_accepted(url: str) -> None:
    assert callable(HttpFetch(url))


def test_a_ca_bundle_that_cannot_be_read_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="KEYS_CA"):
        HttpFetch("https://idp.example/jwks", ca_file="/nonexistent/ca.pem")


def test_an_rsa_key_of_2048_bits_is_just_strong_enough() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2047 + 1)

    assert len(read_key_set(key_set(public_jwk(key)), algorithms=ALGORITHMS)) == 1
