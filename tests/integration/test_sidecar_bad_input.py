"""Bad input through the running sidecar: each is refused with its own code, and the last good state decides on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import compiled
from tests.fakes.clock import FakeClock
from tests.issuer import jws
from tests.sidecar_support import (
    CASE,
    NOTE,
    PUBLIC,
    Client,
    InProcess,
    Reply,
    edit,
    in_process,
    installation,
    laptop,
    question,
)
from zt_engine.adapters.dev_issuer import DevDeviceCa, DevIssuer, make_key, public_jwk
from zt_engine.adapters.folder_records import RECORD_GRACE
from zt_engine.bootstrap.sandbox import AUDIENCE, ISSUER, Device
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import make_bundle
from zt_engine.core.bundle_signature import SIGNATURES

POLICY = ("bundle.tar.gz", "catalogue.yaml", "trust.yaml", "situation.json", "device-cas.pem")


class Place:
    """One installation that runs, its clock, and tanaka's laptop."""

    def __init__(self, folder: Path, opa: str, **choices: Any) -> None:
        self.opa = opa
        self.sandbox = installation(folder / "zt", opa, **choices)
        self.device: Device = laptop(self.sandbox)
        self.clock = FakeClock(self.sandbox.now)
        self.good = {name: (self.sandbox.folder / "policy" / name).read_bytes() for name in POLICY}
        self.keys = (self.sandbox.folder / "keys/jwks.json").read_bytes()
        self.program: InProcess

    def heal(self) -> None:
        """Everything as it was."""
        self.clock.time = self.sandbox.now
        for folder in ("devices", "subjects"):
            for path in (self.sandbox.folder / "policy" / folder).iterdir():
                path.unlink()
        laptop(self.sandbox)
        self.sandbox.subject("tanaka")
        for name, content in self.good.items():
            self.sandbox.write(f"policy/{name}", content)
        self.sandbox.write("keys/jwks.json", self.keys)
        self.program.refresh()
        self.program.refresh_keys()

    def token(self, *, bound: bool = True, **claims: Any) -> str:
        """A token minted by the clock of this place."""
        x5t = self.device.certificate.x5t if bound else ""
        known = {"acr": "phr", "amr": ["hwk"], "auth_time": int(self.clock.time) - 60, "lifetime": 900}
        issuer = self.sandbox.issuer
        return issuer.mint("tanaka", now=self.clock.time, certificate_digest=x5t, **{**known, **claims}).decode()

    def ask(self, url: str = CASE, *, token: str | None = None, **how: Any) -> Reply:
        token = self.token() if token is None else token
        return self.program.ask(url, **{"token": token, "device": self.device, **how})

    def raw(self, **how: Any) -> Reply:
        client = Client(self.program.address)
        try:
            return client.send(question(self.sandbox, PUBLIC, **how))
        finally:
            client.close()

    def refused(self) -> list[str]:
        """Read the folder now, and return the codes of what is refused."""
        self.program.refresh()
        return self.program.problems()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("bad"), opa)
    with in_process(place.sandbox, clock=place.clock) as program:
        place.program = program
        yield place


@pytest.fixture
def place(ground: Place) -> Iterator[Place]:
    assert ground.ask().status == 200
    yield ground
    ground.heal()
    assert ground.program.problems() == []


# -- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["x-original-uri", "x-original-method", "x-original-host", "x-original-proto", "x-original-port", "x-real-ip",
     "zt-request-id"],
)  # fmt: skip
def test_a_missing_header_is_refused(place: Place, name: str) -> None:
    assert place.raw(without=[name]).reason == "HOOK_HEADER_MISSING"


@pytest.mark.parametrize(
    ("more", "without", "code"),
    [
        ([("X-Original-URI", "/other")], [], "HEADER_DOUBLED"),
        ([("x-real-ip", "192.0.2.1")], [], "HEADER_DOUBLED"),
        ([("Authorization", "Bearer a"), ("authorization", "Bearer b")], [], "HEADER_DOUBLED"),
        ([("Authorization", "Bearer a, Bearer b")], [], "HEADER_DOUBLED"),
        ([("X_Original_URI", "/other")], [], "HEADER_RESERVED"),
        ([("X.Real.IP", "192.0.2.1")], [], "HEADER_RESERVED"),
        ([("X-Forwarded-For", "192.0.2.1")], [], "HEADER_RESERVED"),
        ([("Zt-Subject", "root")], [], "HEADER_RESERVED"),
        ([("X-HTTP-Method-Override", "GET")], [], "METHOD_OVERRIDE"),
        ([("Authorization", "Bearer t\u00f6ken")], [], "HEADER_INVALID"),
        ([("X-Original-URI", "/\u00ff")], ["x-original-uri"], "PATH_AMBIGUOUS"),
        ([("X-Real-IP", "\u00ff")], ["x-real-ip"], "ADDRESS_INVALID"),
        ([("X-Original-Host", "portal\u00ff.example")], ["x-original-host"], "HOST_AMBIGUOUS"),
        ([("X-Original-Method", "g\u00e9t")], ["x-original-method"], "METHOD_AMBIGUOUS"),
        ([("Zt-Request-Id", "a b")], ["zt-request-id"], "REQUEST_ID_INVALID"),
        ([("X-Original-URI", "/" + "a" * 9000)], ["x-original-uri"], "TARGET_TOO_LARGE"),
        ([("X-Padding", "a" * 40_000)], [], "HOOK_TOO_LARGE"),
        ([(f"X-{number}", "") for number in range(60)], [], "HOOK_TOO_LARGE"),
    ],
)  # fmt: skip
def test_a_doubled_aliased_odd_or_oversized_header_is_refused(
    place: Place, more: list[tuple[str, str]], without: list[str], code: str
) -> None:
    reply = place.raw(more=more, without=without)

    assert (reply.status, reply.reason) == (403, code)
    assert place.ask(PUBLIC).status == 200


# -- tokens -----------------------------------------------------------------------------------------------------------


def _claims(place: Place, **changes: Any) -> dict[str, Any]:
    issuer = place.sandbox.issuer
    claims = issuer.claims("tanaka", now=place.sandbox.now, certificate_digest=place.device.certificate.x5t)
    return {**claims, **changes}


def _foreign(place: Place, issuer: str) -> str:
    return DevIssuer(issuer, audience=AUDIENCE).sign(_claims(place, iss=issuer)).decode()


def _confused(place: Place) -> str:
    """HS256 under the public key: the oldest trick of all (RFC 8725, 2.1)."""
    public = public_jwk(place.sandbox.issuer.key)
    head = {"alg": "HS256", "typ": "at+jwt", "kid": place.sandbox.issuer.key_id}
    return jws(head, _claims(place), json.dumps(public).encode()[:32]).decode()


def _unsigned(place: Place, signature: bytes) -> str:
    return jws({"alg": "none", "typ": "at+jwt"}, _claims(place), signature).decode()


TOKENS: dict[str, tuple[Callable[[Place], str], str]] = {
    "expired": (
        lambda p: p.token(iat=int(p.sandbox.now) - 100, exp=int(p.sandbox.now) - 1), "TOKEN_EXPIRED",
    ),
    "from the future": (lambda p: p.token(nbf=int(p.sandbox.now) + 3600), "TOKEN_NOT_YET_VALID"),
    "forged": (lambda p: p.token()[:-8] + "AAAAAAAA", "TOKEN_SIGNATURE"),
    "without a signature": (lambda p: _unsigned(p, b""), "TOKEN_MALFORMED"),
    "under no algorithm": (lambda p: _unsigned(p, b"x"), "TOKEN_ALG"),
    "under a symmetric key": (_confused, "TOKEN_ALG"),
    "of a stranger who says our issuer's name": (lambda p: _foreign(p, ISSUER), "TOKEN_KEY_UNKNOWN"),
    "of a foreign issuer": (lambda p: _foreign(p, "https://evil.example"), "TOKEN_ISSUER_UNKNOWN"),
    "for somebody else": (lambda p: p.token(aud="https://a.example"), "TOKEN_AUDIENCE"),
    "an id token": (lambda p: p.sandbox.issuer.sign(_claims(p), header={"typ": "JWT"}).decode(), "TOKEN_TYPE"),
    "too long": (lambda p: p.token(padding="x" * 13_000), "TOKEN_TOO_LARGE"),
    "of 20 kB": (lambda _p: "x" * 20_000, "TOKEN_TOO_LARGE"),
    "no token": (lambda _p: "garbage", "TOKEN_MALFORMED"),
    "half a token": (lambda p: p.token().rpartition(".")[0], "TOKEN_MALFORMED"),
    "with claims of the wrong type": (lambda p: p.token(exp="soon"), "TOKEN_CLAIMS"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_that_is_not_good_is_refused_and_the_next_good_one_is_not(place: Place, kind: str) -> None:
    make, code = TOKENS[kind]

    reply = place.ask(token=make(place))

    assert (reply.status in (401, 403), reply.reason) == (True, code)
    assert place.ask().status == 200


def test_a_scheme_nobody_knows_is_refused(place: Place) -> None:
    assert place.raw(more=[("Authorization", "Basic dXNlcjpwYXNz")]).reason == "TOKEN_SCHEME"


# -- key sets ---------------------------------------------------------------------------------------------------------


def _private_set() -> bytes:
    key = make_key("ES256")
    return json.dumps({"keys": [{**public_jwk(key), "kid": "k", "d": "AAAA"}]}).encode()


KEY_SETS = {
    "private": (_private_set(), "KEYS_PRIVATE"),
    "symmetric": (json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "k"}]}).encode(), "KEYS_PRIVATE"),
    "huge": (b'{"keys":[]}' + b" " * (2 << 20), "KEYS_TOO_LARGE"),
    "half": (b'{"keys":[{"kty":"EC"', "KEYS_MALFORMED"),
    "not JSON": (b"<html>", "KEYS_MALFORMED"),
}


@pytest.mark.parametrize("kind", KEY_SETS)
def test_a_key_file_that_is_not_good_leaves_the_keys_that_were(place: Place, kind: str) -> None:
    content, code = KEY_SETS[kind]
    place.sandbox.write("keys/jwks.json", content)
    place.program.refresh_keys()

    assert place.program.program.readiness()["keys"] == {ISSUER: code}
    assert place.ask().status == 200


def test_a_key_file_that_others_may_write_or_that_is_gone_leaves_the_keys_that_were(place: Place) -> None:
    path = place.sandbox.folder / "keys/jwks.json"
    path.chmod(0o666)
    place.program.refresh_keys()
    assert place.program.program.readiness()["keys"] == {ISSUER: "KEYS_WRITABLE"}

    path.unlink()
    place.program.refresh_keys()

    assert place.program.program.readiness()["keys"] == {ISSUER: "KEYS_UNREACHABLE"}
    assert place.ask().status == 200


def test_a_key_set_without_keys_vouches_for_nobody(place: Place) -> None:
    place.sandbox.write("keys/jwks.json", b'{"keys":[]}')
    place.program.refresh_keys()

    assert place.ask().reason == "TOKEN_KEY_UNKNOWN"


class KeyServer:
    """A key set over HTTP, which may be good, bad, slow or down."""

    def __init__(self) -> None:
        self.status, self.body, self.delay = 200, b"", threading.Event()
        self.slow = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if server.slow:
                    server.delay.wait(10)
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(server.body)))
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *_args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.delay.set()
        self._server.shutdown()
        self._server.server_close()


def test_a_key_server_that_is_down_slow_huge_or_bad_keeps_nobody_out_for_a_day(
    tmp_path: Path, opa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zt_engine.adapters.keys_fetch.FETCH_TIMEOUT", 0.3)
    server = KeyServer()
    server.status = 503
    place = Place(tmp_path, opa)
    edit(place.sandbox, "zt.toml", ('jwks = "keys/jwks.json"', f'jwks = "{server.url}"'))
    try:
        with in_process(place.sandbox, clock=place.clock) as program:
            place.program = program
            states = []

            def fetch() -> str:
                place.clock.advance(3700)
                program.refresh_keys()
                reply = place.ask(NOTE, token=place.token(bound=False), device=None)
                states.append((program.program.readiness()["keys"][ISSUER], reply.reason or reply.status))
                return states[-1][0]

            fetch()
            server.status, server.body = 200, place.keys
            fetch()
            server.body = _private_set()
            fetch()
            server.body = b'{"keys":[]}' + b" " * (2 << 20)
            fetch()
            server.status = 302
            fetch()
            server.slow = True
            fetch()
            server.close()
            fetch()
            place.clock.advance(86_400)
            fetch()
    finally:
        server.delay.set()

    assert states == [
        ("KEYS_STATUS", "KEYS_UNAVAILABLE"),
        ("ok", 200),
        ("KEYS_PRIVATE", 200),
        ("KEYS_TOO_LARGE", 200),
        ("KEYS_REDIRECT", 200),
        ("KEYS_TIMEOUT", 200),
        ("KEYS_UNREACHABLE", 200),
        ("KEYS_UNREACHABLE", "KEYS_UNAVAILABLE"),
    ]


# -- the folder -------------------------------------------------------------------------------------------------------


def _half(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


SINGLES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "half a bundle": ("bundle.tar.gz", _half, "BUNDLE_MALFORMED"),
    "a bundle of somebody else": ("bundle.tar.gz", lambda _raw: b"PK\x03\x04", "BUNDLE_MALFORMED"),
    "half a catalogue": ("catalogue.yaml", lambda raw: raw[: raw.rindex(b"methods") + 4], "CATALOGUE_"),
    "a catalogue with two rules for one path": (
        "catalogue.yaml", lambda raw: raw.replace(b"path: /secret,", b'path: "/cases/{other}",'), "CATALOGUE_AMBIGUOUS",
    ),
    "a catalogue with a label nobody knows": (
        "catalogue.yaml", lambda raw: raw.replace(b"label: C3}", b"label: C9}"), "LABEL_UNMAPPED",
    ),
    "a catalogue that is not UTF-8": ("catalogue.yaml", lambda raw: raw + b"# \xff\n", "YAML_ENCODING"),
    "a trust file that does not add up": (
        "trust.yaml", lambda raw: raw.replace(b"weight: 45", b"weight: 44"), "TRUST_",
    ),
    "half a situation": ("situation.json", _half, "SITUATION_SYNTAX"),
    "a situation without a threat level": (
        "situation.json", lambda _raw: b'{"overlays":[]}', "SITUATION_THREAT_LEVEL",
    ),
    "a situation with two overlays of one name": (
        "situation.json",
        lambda _raw: json.dumps({"threat_level": 0, "overlays": [
            {"id": "a", "scope": "tenant", "effect": "deny", "not_before": 1, "not_after": 2}] * 2}).encode(),
        "SITUATION_DUPLICATE",
    ),
    "device CAs that are none": (
        "device-cas.pem", lambda _raw: b"-----BEGIN CERTIFICATE-----\nAAAA\n", "DEVICE_CA_MALFORMED",
    ),
    "no device CA": ("device-cas.pem", lambda _raw: b"", "DEVICE_CA_EMPTY"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SINGLES)
def test_a_file_of_the_folder_that_is_not_good_leaves_the_one_that_was(place: Place, kind: str) -> None:
    name, spoil, code = SINGLES[kind]
    place.sandbox.write(f"policy/{name}", spoil(place.good[name]))

    (refused,) = place.refused()

    assert refused.startswith(code)
    assert place.ask().status == 200
    assert place.ask(NOTE, token="", device=None).status == 401
    assert place.program.program.readiness()["problems"] != []


@pytest.mark.parametrize("name", POLICY)
def test_a_file_that_others_may_write_or_that_is_gone_leaves_the_one_that_was(place: Place, name: str) -> None:
    path = place.sandbox.folder / "policy" / name
    path.chmod(0o666)
    assert place.refused() == ["FOLDER_WRITABLE"]
    assert place.ask().status == 200

    path.unlink()
    assert place.refused() == ["FOLDER_FILE_MISSING"]
    assert place.ask().status == 200


def test_a_revocation_stays_in_force_while_the_situation_that_would_end_it_is_refused(place: Place) -> None:
    place.sandbox.situation(revocations=[{"kind": "subject", "key": "tanaka", "until": None}])
    assert place.refused() == []
    assert place.ask().reason == "SUBJECT_REVOKED"

    place.sandbox.write("policy/situation.json", b'{"threat_level": 0')

    assert place.refused() == ["SITUATION_SYNTAX"]
    assert place.ask().reason == "SUBJECT_REVOKED"


RECORDS: dict[str, tuple[Callable[[Any], None], str]] = {
    "half-written": (lambda p: _spoil(p, _half), "DEVICE_RECORD_SYNTAX"),
    "empty": (lambda p: _spoil(p, lambda _raw: b""), "DEVICE_RECORD_SYNTAX"),
    "of the wrong type": (lambda p: _version(p, b'"1"'), "DEVICE_RECORD_TYPE"),
    "with a name twice": (lambda p: _version(p, b'1, "version": 2'), "DEVICE_RECORD_DUPLICATE"),
    "writable by others": (lambda p: _path(p).chmod(0o606), "FOLDER_WRITABLE"),
}  # fmt: skip


def _path(place: Place) -> Path:
    return place.sandbox.folder / "policy/devices/laptop-1.json"


def _spoil(place: Place, change: Callable[[bytes], bytes]) -> None:
    raw = _path(place).read_bytes()
    assert change(raw) != raw
    place.sandbox.write("policy/devices/laptop-1.json", change(raw))


def _version(place: Place, text: bytes) -> None:
    _spoil(place, lambda raw: raw.replace(b'"version": 1', b'"version": ' + text))


@pytest.mark.parametrize("kind", RECORDS)
def test_a_device_whose_record_cannot_be_read_is_known_for_the_time_of_a_write_and_not_longer(
    place: Place, kind: str
) -> None:
    spoil, code = RECORDS[kind]
    spoil(place)
    asked = place.token()

    refused = place.refused()
    assert [found for found in refused if found.startswith(code)]
    if code != "FOLDER_WRITABLE":
        assert place.ask(token=asked).status == 200
    place.clock.advance(RECORD_GRACE + 0.1)
    place.program.refresh()

    assert place.ask(token=asked).reason == "DEVICE_UNKNOWN"
    assert place.ask(PUBLIC, token="", device=None).status == 200


def test_a_device_that_two_files_claim_is_nobody_s(place: Place) -> None:
    place.sandbox.write("policy/devices/copy.json", _path(place).read_bytes())

    assert place.refused() == ["FOLDER_DUPLICATE"]
    assert place.ask().reason == "DEVICE_UNKNOWN"


def test_a_subject_whose_record_cannot_be_read_is_unknown_soon(place: Place) -> None:
    place.sandbox.write("policy/subjects/tanaka.json", b'{"id": "tanaka"')
    assert place.refused() == ["SUBJECT_RECORD_MALFORMED"]
    assert place.ask().status == 200

    place.clock.advance(RECORD_GRACE + 0.1)
    place.program.refresh()

    assert place.ask().reason == "SUBJECT_UNKNOWN"


# -- packs ------------------------------------------------------------------------------------------------------------

ALLOWS = 'result := {"allow": true, "unmet": [], "obligations": [], "threshold": 0}'
OBJECTS = ALLOWS.replace('"unmet": []', '"unmet": [{"code": "TRUST_LOW"}]')


def _saying(answer: str) -> Callable[[Place], bytes]:
    """The pack whose organisation's layer says something else."""
    return lambda place: compiled(place.opa, edits=((ALLOWS, answer),))


PACKS: dict[str, tuple[Callable[[Place], bytes], str]] = {
    "with a layer that says nothing": (_saying(ALLOWS + " if input.subject.type == data.zt.nothing"), "BUNDLE_SMOKE"),
    "with a layer that allows by a word": (_saying(ALLOWS.replace("true", '"yes"')), "BUNDLE_SMOKE"),
    "with a layer that allows by a number": (_saying(ALLOWS.replace("true", "1")), "BUNDLE_SMOKE"),
    "with a layer that allows and objects": (_saying(OBJECTS), "BUNDLE_SMOKE"),
    "without a layer that must answer": (
        lambda p: _remade(p, layers=lambda names: (*names, "service")), "BUNDLE_SMOKE",
    ),
    "that needs a function we do not offer": (
        lambda p: _remade(p, builtins=("http.send",)), "BUNDLE_BUILTIN_UNSUPPORTED",
    ),
    "for another version of the input": (lambda p: _remade(p, input_version=2), "BUNDLE_INPUT_VERSION"),
}  # fmt: skip


def _remade(
    place: Place,
    *,
    layers: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda names: names,
    builtins: tuple[str, ...] = (),
    input_version: int = 1,
) -> bytes:
    """The good bundle with another manifest: what only somebody with the signing key could make."""
    files = bundle_archive.read(place.good["bundle.tar.gz"])
    manifest = json.loads(files.pop(".manifest"))["metadata"]["zt"]
    files.pop(SIGNATURES)
    return make_bundle(
        files,
        pack="tiny",
        version="1",
        input_version=input_version,
        layers={service: layers(tuple(names)) for service, names in manifest["layers"].items()},
        reads=tuple(manifest["reads"]),
        builtins=[*manifest["builtins"], *builtins],
    )


@pytest.mark.parametrize("kind", PACKS)
def test_a_pack_that_cannot_answer_is_refused_and_the_one_that_was_decides_on(place: Place, kind: str) -> None:
    make, code = PACKS[kind]
    revision = place.program.program.authorizer.policy.revision
    place.sandbox.publish(make(place))

    assert place.refused() == [code]
    assert place.program.program.authorizer.policy.revision == revision
    assert place.ask().status == 200


def test_a_bundle_that_nobody_signed_is_refused(place: Place) -> None:
    place.sandbox.write("policy/bundle.tar.gz", compiled(place.opa))

    assert place.refused() == ["BUNDLE_UNSIGNED"]
    assert place.ask().status == 200


def test_a_pack_that_is_undefined_for_some_requests_denies_those_and_no_others(place: Place) -> None:
    place.sandbox.publish(compiled(place.opa, edits=(("_threshold := 60 if _rank == 200", ""),)))

    assert place.refused() == []
    assert place.ask().reason == "ENGINE_UNDEFINED"
    assert place.ask(NOTE).status == 200


# -- a clock that jumps -----------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_forwards_outdates_what_is_old_and_the_way_back_is_whole(place: Place) -> None:
    asked = place.token(lifetime=3600)
    assert place.ask(token=asked).status == 200

    place.clock.advance(3601)
    assert place.ask(token=asked).reason == "TOKEN_EXPIRED"
    place.clock.advance(100_000)
    assert place.ask(PUBLIC, token="").reason == "CERT_EXPIRED"
    place.clock.advance(400 * 86_400)
    assert place.ask(PUBLIC, token="", device=None).status == 200

    place.clock.time = place.sandbox.now
    assert place.ask(token=asked).status == 200


def test_a_clock_that_jumps_backwards_believes_nothing_from_its_future(place: Place) -> None:
    asked = place.token()
    assert place.ask(token=asked).status == 200

    place.clock.advance(-120)
    assert place.ask(token=asked).reason == "TOKEN_NOT_YET_VALID"
    place.clock.advance(-3600)
    assert place.ask(PUBLIC, token="").reason == "CERT_NOT_YET_VALID"
    assert place.ask(PUBLIC, token="", device=None).status == 200

    place.clock.time = place.sandbox.now
    assert place.ask(token=asked).status == 200


@pytest.mark.parametrize("now", [0.0, -1.0, 1e11, 1e18])
def test_a_clock_that_is_broken_opens_nothing_but_what_is_public(place: Place, now: float) -> None:
    place.clock.time = now
    assert place.ask().status in (401, 403)
    assert place.ask(NOTE, token="", device=None).status in (401, 403)

    place.clock.time = place.sandbox.now
    assert place.ask().status == 200


def test_another_device_ca_takes_its_devices_along(place: Place) -> None:
    place.sandbox.write("policy/device-cas.pem", DevDeviceCa(now=place.sandbox.now).pem)
    place.program.refresh()

    assert place.ask().reason == "CERT_UNTRUSTED"
