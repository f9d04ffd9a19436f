"""A browser's device proof: what it opens with a session, and everything with which it opens nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_inventory.agent.browser_proof import Asked, statement
from device_inventory.agent.jose import compact
from device_inventory.agent.keys_file import FileKey
from tests.bundles import compiled
from tests.hook_support import credential
from tests.unit.test_browser_site import asked as asked_by_nginx
from tests.world import ISSUER, NOW, World, facts, reasons, situation, subject
from zt_engine.adapters.certificates_x509 import X509CertificateVerifier
from zt_engine.adapters.dev_issuer import DevCertificate, DevDeviceCa
from zt_engine.adapters.device_proof_jws import JwsDeviceProofs
from zt_engine.adapters.dpop_jwt import JwtDpopVerifier
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.core.decision import Effect
from zt_engine.core.device_proof import AHEAD_SECONDS, COOKIE, SECONDS, TYPE, cookie_value, digest, proof_of, require_of
from zt_engine.core.errors import InputError
from zt_engine.core.jose import from_base64url, to_base64url
from zt_engine.core.request import AccessRequest
from zt_engine.core.session import SessionRecord, sid_of
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.nginx import NginxHook
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.principals import Principals
from zt_engine.sidecar.replica import Changes

HANDLE = b"wrJuR00HyEYr7T8dRMjm3VocgEBRQlPdvzpxcp6iHsM"
SECRET = b"s" * 43
CASES = "https://portal.example/cases/1"


def key_of(held: DevCertificate) -> FileKey:
    key = load_pem_private_key(held.key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return FileKey(key)


def asked(**fields: str) -> Asked:
    told = {
        "host": "portal.example", "port": "443", "sid": sid_of(HANDLE), "nonce": digest(SECRET), "state": "/", **fields
    }  # fmt: skip
    return Asked(**told)


def proof(device: DevCertificate, *, secret: bytes = SECRET, now: float = NOW, **fields: str) -> bytes:
    """The cookie that a device's word makes."""
    jws = statement(key_of(device), device.pem.decode(), asked(**fields), now=now)
    return cookie_value(secret, jws.encode())


class Browser:
    """A world in which Tanaka is signed in with a browser that has no certificate; her laptop's agent can prove it."""

    def __init__(self, bundle: bytes) -> None:
        self.world = World(bundle)
        self.laptop = self.world.enroll()
        self.world.subjects["tanaka"] = subject()
        self.authorizer = self.world.authorizer()
        self.principals = Principals(
            tokens=JwtVerifier([TrustedIssuer(self.world.config, self.world.keys)]),
            certificates=self.world.certificates,
            proofs=JwtDpopVerifier(not_before=0),
            mappings={ISSUER: self.world.config.mapping},
            replica=self.world.replica,
            keys={ISSUER: self.world.keys},
            tick_seconds=5,
            device_proofs=JwsDeviceProofs(self.world.certificates),
        )
        self.publish()

    def publish(self, *known: SessionRecord) -> None:
        self.world.publish()
        replica = self.world.replica
        told = {one.sid: one for one in known or (session(),)}
        found = replica.situation
        assert found is not None
        replica.adopt(replica.state.records.changed(Changes(sessions=told)), found, now=self.world.clock.now())

    def ask(self, shown: bytes = b"", *, url: str = CASES, handle: bytes = HANDLE, **fields: Any) -> Outcome:
        request = self.world.request(url, session=handle, device_proof=shown, **fields)
        return self.world.decide(self.authorizer, request)


def session(**fields: object) -> SessionRecord:
    told: dict[str, object] = {
        "sid": sid_of(HANDLE), "version": 1, "host": "portal.example", "issuer": ISSUER, "subject": "tanaka",
        "client_id": "portal", "claims": {}, "acr": "phr", "amr": ("hwk", "user"), "auth_time": NOW - 60,
        "until": NOW + 3600,
    }  # fmt: skip
    return msgspec.convert(told | fields, SessionRecord)


@pytest.fixture
def browser(opa: str) -> Browser:
    return Browser(compiled(opa))


def allowed(outcome: Outcome) -> bool:
    return outcome.decision.effect is Effect.ALLOW


# -- what it opens


def test_a_session_reaches_internal_things_alone_and_confidential_ones_with_a_proof(browser: Browser) -> None:
    assert allowed(browser.ask(url="https://portal.example/notes/a"))
    assert not allowed(browser.ask())

    outcome = browser.ask(proof(browser.laptop))

    assert allowed(outcome)
    assert b'"device":"laptop-1"' in outcome.members
    assert not allowed(browser.ask())


def test_a_proof_binds_by_session_which_scores_less_than_a_certificate(browser: Browser) -> None:
    of = browser.principals.of
    now = browser.world.clock.now()

    alone = of(browser.world.request(session=HANDLE), now)
    proven = of(browser.world.request(session=HANDLE, device_proof=proof(browser.laptop)), now)

    assert (alone.binding, alone.device) == ("none", None)
    assert (proven.binding, proven.assigned) == ("session", True)
    assert proven.until <= NOW + SECONDS


def test_a_proof_is_read_from_the_cookie_beside_a_session_s_alone(browser: Browser) -> None:
    shown = proof(browser.laptop)

    assert proof_of(b"a=b; " + COOKIE + b"=" + shown) == shown
    assert proof_of(b"a=b; x" + COOKIE + b"=" + shown) == b""
    assert allowed(browser.ask(shown, certificate=browser.laptop))


def test_the_hook_hands_on_a_proof_beside_a_session_and_reads_none_without_one() -> None:
    hook = NginxHook(Credentials([credential()]))
    beside = b"__Host-zt-session=" + HANDLE + b"; "
    value = cookie_value(SECRET, SIGNED)

    def proven(cookie: bytes) -> AccessRequest:
        raw = asked_by_nginx(b"/cases/1", Cookie=cookie)
        return hook.prove(*hook.read(raw.headers, raw.names, raw.peer))

    assert proven(beside + COOKIE + b"=" + value).device_proof == value
    assert proven(beside).device_proof == b""
    assert proven(COOKIE + b"=x; " + COOKIE + b"=y").device_proof == b""
    for odd in (COOKIE + b"=x", COOKIE + b"=" + value + b"; " + COOKIE + b"=" + value):
        with pytest.raises(InputError):
            proven(beside + odd)


def test_of_certificate_and_proof_the_certificate_counts(browser: Browser) -> None:
    other = browser.world.enroll("laptop-2", facts=facts({}, NOW))
    browser.publish()

    assert not allowed(browser.ask(proof(browser.laptop), certificate=other))


def test_a_person_without_a_proof_is_told_to_confirm_the_device_and_the_record_says_what_the_policy_found(
    browser: Browser,
) -> None:
    outcome = browser.ask()

    assert b"\r\nZt-Reason: DEVICE_UNPROVEN\r\n" in outcome.head
    assert reasons(outcome)[0] == "DEVICE_REQUIRED"
    assert b"DEVICE_UNPROVEN" not in browser.world.decide(browser.authorizer, browser.world.request()).head
    assert b'"binding":"none"' in outcome.document
    assert b'"binding":"session"' in browser.ask(proof(browser.laptop)).document


@pytest.mark.parametrize(("language", "label"), [("ja", "この端末を確認する"), ("en", "Confirm this device")])
def test_the_page_leads_to_the_device_s_confirmation_and_a_program_is_told_where_that_is(
    language: str, label: str
) -> None:
    page = DeniedPage(registry(), default_language="en", confirms=True)
    off = DeniedPage(registry(), default_language="en")
    told: dict[str, Any] = {"decision": "d", "status": 403, "accept_language": language, "confirm": "/.zt/device?to=/a"}

    shown = page.render(code="DEVICE_UNPROVEN", accept="text/html", **told).body.decode()
    read = msgspec.json.decode(page.render(code="DEVICE_UNPROVEN", accept="*/*", **told).body)

    assert f'href="/.zt/device?to=/a">{label}</a>' in shown
    assert (read["code"], read["confirm_device"]) == ("DEVICE_UNPROVEN", "/.zt/device?to=/a")
    for other in (
        page.render(code="HOST_FOREIGN", accept="text/html", **told),
        off.render(code="DEVICE_UNPROVEN", accept="text/html", **told),
    ):
        assert "/.zt/device" not in other.body.decode()


# -- when it ends


def test_a_proof_ends_a_quarter_of_an_hour_after_the_device_signed_it_whenever_it_was_shown_first(
    browser: Browser,
) -> None:
    of, shown = browser.principals.of, proof(browser.laptop)
    request = browser.world.request(session=HANDLE, device_proof=shown)
    browser.world.clock.advance(SECONDS - 1)
    found = of(request, browser.world.clock.now())
    assert found.device is not None
    assert found.until <= NOW + SECONDS

    browser.world.clock.advance(1)

    assert of(request, browser.world.clock.now()).device is None


def test_a_remembered_allow_does_not_outlive_its_proof(browser: Browser) -> None:
    shown = proof(browser.laptop, now=NOW - SECONDS + 2)
    assert allowed(browser.ask(shown))

    browser.world.clock.advance(2)

    assert not allowed(browser.ask(shown))


def test_a_proof_of_an_earlier_session_proves_nothing_for_the_next(browser: Browser) -> None:
    next_handle = b"q" * 43
    browser.publish(session(), session(sid=sid_of(next_handle)))

    assert allowed(browser.ask(proof(browser.laptop)))
    assert not allowed(browser.ask(proof(browser.laptop), handle=next_handle))
    assert allowed(browser.ask(proof(browser.laptop), handle=next_handle, url="https://portal.example/notes/a"))


@pytest.mark.parametrize("kind", ["device", "cert", "session", "subject"])
def test_a_revocation_ends_a_proof_at_once(browser: Browser, kind: str) -> None:
    shown = proof(browser.laptop)
    assert allowed(browser.ask(shown))
    name = {"device": "laptop-1", "cert": browser.laptop.x5t, "session": sid_of(HANDLE), "subject": "tanaka"}[kind]

    browser.world.situation = situation(revocations=[{"kind": kind, "key": name, "until": NOW + 60}])
    browser.publish()

    assert reasons(browser.ask(shown)) == (f"{kind.upper()}_REVOKED",)


def test_the_end_of_the_device_s_key_or_of_the_session_ends_a_proof_at_once(browser: Browser) -> None:
    shown = proof(browser.laptop)
    assert allowed(browser.ask(shown))

    browser.world.enroll()  # the device has another key now, and the one before is its no more
    browser.publish()
    assert reasons(browser.ask(shown)) == ("DEVICE_UNKNOWN",)

    browser.publish(session(sid="x" * 43))
    assert reasons(browser.ask(shown)) == ("SESSION_UNKNOWN",)


# -- what an adversary has


def test_a_session_that_began_with_a_certificate_needs_one_and_no_proof_stands_for_it(browser: Browser) -> None:
    browser.publish(session(device_id="laptop-1"))

    assert reasons(browser.ask(proof(browser.laptop))) == ("SESSION_DEVICE",)
    assert allowed(browser.ask(certificate=browser.laptop))


def test_what_was_seen_of_a_proof_on_its_way_is_no_cookie_without_the_browser_s_secret(browser: Browser) -> None:
    seen = proof(browser.laptop).partition(b".")[2]

    assert reasons(browser.ask(cookie_value(b"x" * 43, seen))) == ("DEVICE_PROOF_BROWSER",)


def test_a_proof_made_for_another_host_or_in_the_future_is_refused(browser: Browser) -> None:
    elsewhere = proof(browser.laptop, host="pilot.example")
    ahead = proof(browser.laptop, now=NOW + AHEAD_SECONDS + 1)

    assert reasons(browser.ask(elsewhere)) == ("DEVICE_PROOF_HOST",)
    assert reasons(browser.ask(ahead)) == ("DEVICE_PROOF_FUTURE",)


def test_a_thief_s_own_device_proves_the_thief_s_device(browser: Browser) -> None:
    thief = browser.world.enroll("laptop-2", assigned=("suzuki",))
    browser.publish()

    outcome = browser.ask(proof(thief))

    assert not allowed(outcome)
    assert b'"device":"laptop-2"' in outcome.members


def test_a_device_of_another_authority_or_signed_by_another_key_is_refused(browser: Browser) -> None:
    stranger = DevDeviceCa(now=NOW).issue("laptop-1", now=NOW)
    theirs = browser.world.authority.issue("laptop-2", now=NOW)
    jws = statement(key_of(theirs), browser.laptop.pem.decode(), asked(), now=NOW)

    assert reasons(browser.ask(proof(stranger))) == ("CERT_UNTRUSTED",)
    assert reasons(browser.ask(cookie_value(SECRET, jws.encode()))) == ("DEVICE_PROOF_SIGNATURE",)


@pytest.mark.parametrize("curve", [ec.SECP384R1(), None])
def test_another_kind_of_key_or_of_message_signs_no_proof(browser: Browser, curve: ec.EllipticCurve | None) -> None:
    if curve is not None:
        odd = browser.world.authority.issue("laptop-1", now=NOW, key=ec.generate_private_key(curve))
        jws = statement(key_of(browser.laptop), odd.pem.decode(), asked(), now=NOW)
    else:
        jws = compact(key_of(browser.laptop), {"aud": "portal.example"}, typ="zt-device+jwt", x5c=["AAAA"])

    assert reasons(browser.ask(cookie_value(SECRET, jws.encode()))) == ("DEVICE_PROOF_MALFORMED",)


@pytest.mark.parametrize(
    "claims",
    [
        {"iat": "now"}, {"iat": True}, {"iat": -1}, {"iat": NOW + 0.5}, {"sid": "short"}, {"nonce": ["a"]}, {"aud": 1},
        {"aud": ["portal.example"]}, {"jti": ""}, {"jti": None},
    ],
)  # fmt: skip
def test_a_statement_of_another_shape_is_refused(browser: Browser, claims: dict[str, object]) -> None:
    told = {"aud": "portal.example", "sid": sid_of(HANDLE), "nonce": digest(SECRET), "iat": NOW, "jti": "j" * 22}
    chain = statement(key_of(browser.laptop), browser.laptop.pem.decode(), asked(), now=NOW)
    x5c = msgspec.json.decode(from_base64url(chain.split(".")[0]))["x5c"]
    jws = compact(key_of(browser.laptop), told | claims, typ=TYPE, x5c=x5c)

    assert reasons(browser.ask(cookie_value(SECRET, jws.encode()))) == ("DEVICE_PROOF_MALFORMED",)


@pytest.mark.parametrize(
    ("cookies", "code"),
    [
        (COOKIE + b"=a; " + COOKIE + b"=b", "DEVICE_PROOF_DOUBLED"),
        (COOKIE + b"=", "DEVICE_PROOF_MALFORMED"),
        (COOKIE + b"=" + SECRET, "DEVICE_PROOF_MALFORMED"),
        (COOKIE + b"=" + SECRET + b".a.b." + b"c" * 4000, "DEVICE_PROOF_MALFORMED"),
        (COOKIE + b'="' + SECRET + b'.a.b.c"', "DEVICE_PROOF_MALFORMED"),
    ],
)
def test_a_cookie_that_is_no_proof_or_two_is_refused(cookies: bytes, code: str) -> None:
    with pytest.raises(InputError) as error:
        proof_of(cookies)

    assert error.value.code == code


# -- properties


AUTHORITY = DevDeviceCa(now=NOW)
LAPTOP = AUTHORITY.issue("laptop-1", now=NOW)
KEY = key_of(LAPTOP)
VERIFIER = JwsDeviceProofs(X509CertificateVerifier(AUTHORITY.pem))
SIGNED = statement(KEY, LAPTOP.pem.decode(), asked(), now=NOW).encode()
_DIGESTS = st.binary(min_size=32, max_size=32).map(to_base64url)
_HOSTS = st.sampled_from(["portal.example", "pilot.example", "localhost"])


@settings(max_examples=60)
@given(_DIGESTS, _DIGESTS, _HOSTS, _HOSTS, st.integers(-2000, 2000), st.booleans())
def test_a_proof_counts_for_its_browser_session_host_and_quarter_of_an_hour_and_for_nothing_else(
    sid: str, other: str, host: str, shown_at: str, late: int, own: bool
) -> None:
    jws = statement(
        KEY, LAPTOP.pem.decode(), asked(sid=sid, host=host), now=NOW
    ).encode()  # fmt: skip
    given_secret = SECRET if own else b"t" * 43
    read = VERIFIER.verify(jws, now=NOW).statement
    for session_id in (sid, other):
        good = own and session_id == sid and host == shown_at and -AHEAD_SECONDS <= late < SECONDS
        try:
            require_of(read, secret=given_secret, sid=session_id, host=shown_at, now=NOW + late)
        except InputError:
            assert not good
        else:
            assert good


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_change_of_a_proof_is_a_proof(data: st.DataObject) -> None:
    jws = bytearray(SIGNED)
    place = data.draw(st.integers(0, len(jws) - 1))
    byte = data.draw(st.integers(33, 126).filter(lambda one: one != jws[place]))
    jws[place] = byte

    with pytest.raises(InputError) as error:
        VERIFIER.verify(bytes(jws), now=NOW)

    assert error.value.code.startswith(("DEVICE_PROOF_", "CERT_"))


@given(st.binary(max_size=400))
def test_no_bytes_are_more_than_a_refusal(raw: bytes) -> None:
    with pytest.raises(InputError):
        VERIFIER.verify(raw, now=NOW)
    try:
        assert proof_of(COOKIE + b"=" + raw) == raw.partition(b";")[0]
    except InputError as error:
        assert error.code in ("DEVICE_PROOF_MALFORMED", "DEVICE_PROOF_DOUBLED")


def test_a_verifier_that_forgot_or_lost_its_authority_believes_nothing_any_more() -> None:
    certificates = X509CertificateVerifier(AUTHORITY.pem)
    verifier = JwsDeviceProofs(certificates)
    jws = statement(KEY, LAPTOP.pem.decode(), asked(), now=NOW).encode()
    assert verifier.verify(jws, now=NOW).certificate.device_id == "laptop-1"

    certificates.replace(DevDeviceCa(now=NOW).pem)

    with pytest.raises(InputError) as error:
        verifier.verify(jws, now=NOW)
    assert error.value.code == "CERT_UNTRUSTED"
