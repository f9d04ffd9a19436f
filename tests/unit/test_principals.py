"""Who asks from which device: what is proven, what is refused with whose name, and when it is proven anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_inventory.device import DeviceKey
from tests.issuer import Published
from tests.world import AUDIENCE, ISSUER, NOW, World, device, situation, subject
from zt_engine.adapters.dev_issuer import DevCertificate, DevDeviceCa, DevIssuer, DevProver
from zt_engine.adapters.dpop_jwt import JwtDpopVerifier
from zt_engine.adapters.keys_jwks import KeySource
from zt_engine.adapters.tokens_jwt import JwtVerifier, TrustedIssuer
from zt_engine.core.errors import InputError, ZtError
from zt_engine.core.issuer import IssuerMapping
from zt_engine.core.request import AccessRequest
from zt_engine.sidecar.principals import MAX_PRINCIPALS, Principal, PrincipalRefused, Principals, credentials


class People:
    """A world without policy, and the principals over it."""

    def __init__(self) -> None:
        self.world = World(b"")
        self.laptop = self.world.enroll()
        self.world.subjects["tanaka"] = subject()
        self.world.publish()
        self.principals = self.made()
        self.prover = DevProver()

    def made(self) -> Principals:
        world = self.world
        return Principals(
            tokens=JwtVerifier([TrustedIssuer(world.config, world.keys)]),
            certificates=world.certificates,
            proofs=JwtDpopVerifier(not_before=0),
            mappings={ISSUER: world.config.mapping},
            replica=world.replica,
            keys={ISSUER: world.keys},
            tick_seconds=5,
        )

    def of(self, request: AccessRequest) -> Principal:
        return self.principals.of(request, self.world.clock.now())

    def refusal(self, request: AccessRequest) -> ZtError:
        with pytest.raises(ZtError) as refused:
            self.of(request)
        return refused.value

    def bound(self, **claims: Any) -> AccessRequest:
        """A request with a token bound to the laptop's certificate, and the certificate."""
        return self.world.request(token=self.world.token(bound_to=self.laptop, **claims), certificate=self.laptop)

    def proving(
        self, *, url: str = "https://portal.example/cases/1", certificate: DevCertificate | None = None
    ) -> AccessRequest:
        """A request with a DPoP token and a proof for it."""
        token = self.world.token(jkt=self.prover.jkt)
        proof = self.prover.prove(token=token, method="GET", url=url, now=self.world.clock.now())
        return self.world.request(url, token=token, scheme=b"DPoP", proof=proof, certificate=certificate)


@pytest.fixture
def people() -> People:
    return People()


# -- what is proven ---------------------------------------------------------------------------------------------------


def test_nobody_without_credentials_is_anonymous_from_no_device(people: People) -> None:
    found = people.of(people.world.request())

    assert (found.subject.type, found.device, found.binding, found.assigned) == ("anonymous", None, "none", False)
    assert not found.has_credential


def test_a_bound_token_with_its_certificate_is_a_person_on_a_device(people: People) -> None:
    found = people.of(people.bound())

    assert found.device is people.world.replica.devices["laptop-1"]
    assert (found.subject.id, found.binding, found.assigned, found.scheme) == ("tanaka", "mtls", True, "bearer")


def test_a_proof_is_a_person_on_the_device_of_its_key(people: People) -> None:
    key = DeviceKey(jkt=people.prover.jkt, not_after=NOW + 900)
    people.world.devices["phone"] = device("phone", keys=(key,))
    people.world.publish()

    found = people.of(people.proving())

    assert (found.device and found.device.device_id, found.binding, found.scheme) == ("phone", "dpop", "dpop")


def test_a_proven_key_that_no_device_has_binds_to_no_device(people: People) -> None:
    found = people.of(people.proving())

    assert (found.subject.id, found.device, found.binding, found.assigned) == ("tanaka", None, "none", False)


def test_a_key_whose_time_is_over_binds_no_more(people: People) -> None:
    key = DeviceKey(jkt=people.prover.jkt, not_after=NOW)
    people.world.devices["phone"] = device("phone", keys=(key,))
    people.world.publish()

    found = people.of(people.proving())

    assert (found.device, found.binding) == (None, "none")


def test_certificate_and_proof_of_one_device_bind(people: People) -> None:
    keys = (*people.world.devices["laptop-1"].keys, DeviceKey(jkt=people.prover.jkt, not_after=NOW + 900))
    people.world.devices["laptop-1"] = device(keys=keys)
    people.world.publish()

    found = people.of(people.proving(certificate=people.laptop))

    assert (found.device and found.device.device_id, found.binding) == ("laptop-1", "dpop")


def test_a_colleague_s_or_a_shared_device_is_told_from_her_own(people: People) -> None:
    for name, fields in (("other", {"assigned": ("suzuki",)}), ("shared", {"assigned": (), "ownership": "shared"})):
        certificate = people.world.enroll(name, **fields)
        people.world.publish()

        found = people.of(people.world.request(token=people.world.token(), certificate=certificate))

        assert (found.binding, found.assigned) == ("none", name == "shared")


# -- what is refused, and in whose name -------------------------------------------------------------------------------


def test_a_refusal_names_whom_it_refused_as_far_as_that_was_proven(people: People) -> None:
    world = people.world
    world.situation = situation(revocations=[{"kind": "device", "key": "laptop-1", "until": None}])
    world.publish()

    refused = people.refusal(people.bound())

    assert isinstance(refused, PrincipalRefused)
    assert (refused.code, refused.subject, refused.device) == ("DEVICE_REVOKED", "tanaka", "laptop-1")


def _two_devices(people: People) -> AccessRequest:
    key = DeviceKey(jkt=people.prover.jkt, not_after=NOW + 900)
    people.world.devices["phone"] = device("phone", keys=(key,))
    people.world.publish()
    return people.proving(certificate=people.laptop)


def _keyless(people: People) -> AccessRequest:
    """As the inventory publishes a device that was revoked: without any key."""
    people.world.devices["laptop-1"] = device(status="revoked", keys=())
    people.world.situation = situation(revocations=[{"kind": "device", "key": "laptop-1", "until": None}])
    people.world.publish()
    return people.world.request(certificate=people.laptop)


REFUSALS: list[tuple[str, Callable[[People], AccessRequest], str, tuple[str, str]]] = [
    (
        "somebody the directory does not know",
        lambda p: p.world.request(token=p.world.token("nobody"), certificate=p.laptop),
        "SUBJECT_UNKNOWN",
        ("nobody", "laptop-1"),
    ),
    (
        "a bound token without its key",
        lambda p: p.world.request(token=p.world.token(bound_to=p.laptop)),
        "TOKEN_BINDING_UNPROVEN",
        ("tanaka", ""),
    ),
    (
        "a bound token with another device's key",
        lambda p: p.world.request(token=p.world.token(bound_to=p.laptop), certificate=_enrolled(p, "laptop-2")),
        "TOKEN_BINDING_UNPROVEN",
        ("tanaka", "laptop-2"),
    ),
    (
        "a certificate of no device",
        lambda p: p.world.request(certificate=p.world.authority.issue("stranger", now=NOW)),
        "DEVICE_UNKNOWN",
        ("", ""),
    ),
    (
        "the certificate of a device that was revoked and holds no key any more",
        _keyless,
        "DEVICE_REVOKED",
        ("", ""),
    ),
    (
        "a certificate that names another device than the one that has its key",
        lambda p: p.world.request(certificate=_misnamed(p)),
        "DEVICE_AMBIGUOUS",
        ("", "laptop-3"),
    ),
    (
        "a certificate with the proof of a key that no device has",
        lambda p: p.proving(certificate=p.laptop),
        "DEVICE_AMBIGUOUS",
        ("tanaka", "laptop-1"),
    ),
    (
        "a certificate with the proof of a key of its own device whose time is over",
        lambda p: p.proving(certificate=_with_ended_key(p)),
        "DEVICE_AMBIGUOUS",
        ("tanaka", "laptop-1"),
    ),
    (
        "certificate and proof of two devices",
        _two_devices,
        "DEVICE_AMBIGUOUS",
        ("tanaka", "laptop-1"),
    ),
]


def _with_ended_key(people: People) -> DevCertificate:
    keys = (*people.world.devices["laptop-1"].keys, DeviceKey(jkt=people.prover.jkt, not_after=NOW))
    people.world.devices["laptop-1"] = device(keys=keys)
    people.world.publish()
    return people.laptop


def _enrolled(people: People, name: str) -> DevCertificate:
    certificate = people.world.enroll(name)
    people.world.publish()
    return certificate


def _misnamed(people: People) -> DevCertificate:
    certificate = people.world.authority.issue("laptop-1", now=NOW)
    key = DeviceKey(x5t=certificate.x5t, not_after=NOW + 900)
    people.world.devices["laptop-3"] = device("laptop-3", keys=(key,))
    people.world.publish()
    return certificate


@pytest.mark.parametrize(("_what", "ask", "code", "who"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_who_is_not_proven_is_refused(
    people: People, _what: str, ask: Callable[[People], AccessRequest], code: str, who: tuple[str, str]
) -> None:
    refused = people.refusal(ask(people))

    assert isinstance(refused, PrincipalRefused)
    assert (refused.code, (refused.subject, refused.device)) == (code, who)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token": b"not.a.token"}, "TOKEN_MALFORMED"),
        ({"authorization": b"Basic dXNlcjpwYXNz"}, "TOKEN_SCHEME"),
        ({"authorization": b"Bearer"}, "TOKEN_SCHEME"),
        ({"dpop": b"a.b.c"}, "DPOP_WITHOUT_TOKEN"),
        ({"client_cert": b"-----BEGIN"}, "CERT_MALFORMED"),
    ],
)
def test_credentials_that_are_none_are_refused_in_nobody_s_name(
    people: People, changes: dict[str, Any], code: str
) -> None:
    refused = people.refusal(people.world.request(**changes))

    assert (refused.code, isinstance(refused, PrincipalRefused)) == (code, False)


@pytest.mark.parametrize(
    ("kind", "key", "code"),
    [
        ("device", "laptop-1", "DEVICE_REVOKED"),
        ("cert", "{x5t}", "CERT_REVOKED"),
        ("cert", "{issuer}|{serial}", "CERT_REVOKED"),
        ("subject", "tanaka", "SUBJECT_REVOKED"),
        ("subject", f"{ISSUER}|tanaka", "SUBJECT_REVOKED"),
        ("jti", "jti-1", "TOKEN_REVOKED"),
        ("session", "sid-1", "SESSION_REVOKED"),
        ("subject", "robot", "SUBJECT_REVOKED"),
        ("subject", "earlier-robot", "SUBJECT_REVOKED"),
        ("subject", f"{ISSUER}|earlier-robot", "SUBJECT_REVOKED"),
        ("subject", "https://other.example|first-robot", "SUBJECT_REVOKED"),
    ],
)
def test_every_kind_of_revocation_ends_a_principal_at_once(people: People, kind: str, key: str, code: str) -> None:
    world = people.world
    world.subjects["robot"] = subject("robot", type="workload")
    world.publish()
    certificate = world.certificates.verify(people.laptop.escaped, now=NOW)
    named = key.format(x5t=certificate.x5t, issuer=certificate.issuer, serial=certificate.serial)
    first = {"sub": "first-robot", "iss": "https://other.example"}
    chain = {"sub": "robot", "act": {"sub": "earlier-robot", "act": first}}
    asked = people.bound(jti="jti-1", sid="sid-1", act=chain)
    assert people.of(asked).subject.delegate is not None

    world.situation = situation(revocations=[{"kind": kind, "key": named, "until": NOW + 10}])
    world.publish()

    assert people.refusal(asked).code == code
    world.clock.advance(11)
    assert people.of(asked).subject.id == "tanaka"


def test_a_proof_is_good_for_one_request_and_its_copy_by_the_proxy(people: People) -> None:
    asked = people.proving()
    people.of(asked)
    people.of(asked)

    again = type(asked)(**{name: getattr(asked, name) for name in asked.__struct_fields__} | {"request_id": "other"})
    assert people.refusal(again).code == "DPOP_REPLAY"


# -- several issuers ---------------------------------------------------------------------------------------------------

PARTNER = "https://idp.partner.example"


class Neighbours(People):
    """People of two issuers, who may have the same `sub`."""

    def __init__(self) -> None:
        self.partner = DevIssuer(PARTNER, audience=AUDIENCE)
        super().__init__()
        self.world.subjects["partner's tanaka"] = subject(issuer=PARTNER)
        self.world.subjects["robot"] = subject("robot", issuer=PARTNER, type="workload")
        self.world.publish()

    def made(self) -> Principals:
        world = self.world
        keys = KeySource(Published(self.partner.jwks()), algorithms=("ES256",), hard_limit=90)
        asyncio.run(keys.refresh(world.clock.now()))
        config = msgspec.structs.replace(world.config, issuer=PARTNER)
        mapping = IssuerMapping(home=ISSUER)
        return Principals(
            tokens=JwtVerifier([TrustedIssuer(world.config, world.keys), TrustedIssuer(config, keys)]),
            certificates=world.certificates,
            proofs=JwtDpopVerifier(not_before=NOW - 60),
            mappings={ISSUER: mapping, PARTNER: mapping},
            replica=world.replica,
            keys={ISSUER: world.keys, PARTNER: keys},
            tick_seconds=5,
        )

    def visiting(self, sub: str = "tanaka", **claims: Any) -> AccessRequest:
        """A request from our laptop with a token of the partner."""
        token = self.partner.mint(sub, now=NOW, certificate_digest=self.laptop.x5t, **claims)
        return self.world.request(token=token, certificate=self.laptop)


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours()


def test_a_partner_s_tanaka_is_somebody_else_than_ours(neighbours: Neighbours) -> None:
    ours, theirs = neighbours.of(neighbours.bound()), neighbours.of(neighbours.visiting())

    assert (ours.subject.id, ours.assigned) == ("tanaka", True)
    assert (theirs.subject.id, theirs.assigned) == (f"{PARTNER}|tanaka", False)


def test_a_device_may_be_assigned_to_somebody_of_a_partner(neighbours: Neighbours) -> None:
    keys = neighbours.world.devices["laptop-1"].keys
    neighbours.world.devices["laptop-1"] = device(keys=keys, assigned=(f"{PARTNER}|tanaka",))
    neighbours.world.publish()

    assert not neighbours.of(neighbours.bound()).assigned
    assert neighbours.of(neighbours.visiting()).assigned


def test_who_acts_has_the_name_of_its_own_issuer(neighbours: Neighbours) -> None:
    asked = neighbours.bound(act={"sub": "robot", "iss": PARTNER})

    delegate = neighbours.of(asked).subject.delegate

    assert delegate is not None
    assert delegate.id == f"{PARTNER}|robot"


@pytest.mark.parametrize(
    ("key", "ours", "theirs"),
    [(f"{PARTNER}|tanaka", True, False), (f"{ISSUER}|tanaka", False, True), ("tanaka", False, False)],
)
def test_a_revocation_by_full_name_ends_one_and_by_sub_alone_both(
    neighbours: Neighbours, key: str, ours: bool, theirs: bool
) -> None:
    neighbours.world.situation = situation(revocations=[{"kind": "subject", "key": key, "until": None}])
    neighbours.world.publish()

    for asked, goes_on in ((neighbours.bound(), ours), (neighbours.visiting(), theirs)):
        if goes_on:
            neighbours.of(asked)
        else:
            assert neighbours.refusal(asked).code == "SUBJECT_REVOKED"


def test_a_refused_partner_is_recorded_under_the_full_name(neighbours: Neighbours) -> None:
    refused = neighbours.refusal(neighbours.visiting("nobody"))

    assert isinstance(refused, PrincipalRefused)
    assert (refused.code, refused.subject) == ("SUBJECT_UNKNOWN", f"{PARTNER}|nobody")


def test_nobody_at_home_can_have_a_partner_s_name(neighbours: Neighbours) -> None:
    name = f"{PARTNER}|tanaka"
    neighbours.world.subjects["impostor"] = subject(name)
    neighbours.world.publish()

    refused = neighbours.refusal(neighbours.world.request(token=neighbours.world.token(name)))

    assert refused.code == "TOKEN_CLAIMS"


def test_several_issuers_without_one_home_are_a_mistake_of_the_program(people: People) -> None:
    world = people.world
    for mappings in (
        {ISSUER: IssuerMapping(), PARTNER: IssuerMapping()},
        {ISSUER: IssuerMapping(home=ISSUER), PARTNER: IssuerMapping(home=PARTNER)},
    ):
        with pytest.raises(ValueError, match="home issuer"):
            Principals(
                tokens=JwtVerifier([]),
                certificates=world.certificates,
                proofs=JwtDpopVerifier(not_before=NOW - 60),
                mappings=mappings,
                replica=world.replica,
                keys={},
                tick_seconds=5,
            )


# -- when it is proven anew -------------------------------------------------------------------------------------------


def test_an_unchanged_principal_is_remembered(people: People) -> None:
    asked = people.bound()

    assert people.of(asked) is people.of(asked)


def _device(people: People) -> None:
    people.world.devices["laptop-1"] = device(keys=people.world.devices["laptop-1"].keys, version=2)


def _subject(people: People) -> None:
    people.world.subjects["tanaka"] = subject(version=2)


def _situation(people: People) -> None:
    people.world.situation = situation(threat_level=1)


def _clone(people: People) -> None:
    people.world.devices["clone"] = device("clone", keys=people.world.devices["laptop-1"].keys)


@pytest.mark.parametrize("change", [_device, _subject, _situation, _clone])
def test_a_change_of_what_it_rests_on_ends_what_is_remembered(people: People, change: Callable[[People], None]) -> None:
    asked = people.bound()
    before = people.of(asked)

    change(people)
    people.world.publish()

    try:
        assert people.of(asked) is not before
    except InputError as refused:
        assert (change, refused.code) == (_clone, "DEVICE_UNKNOWN")


def test_a_new_key_set_ends_what_is_remembered(people: People) -> None:
    asked = people.bound()
    before = people.of(asked)

    people.world.issuer.rotate()
    people.world.published.body = people.world.issuer.jwks()
    people.world.refresh_keys()
    assert people.of(asked) is not before
    people.world.published.body = DevIssuer(ISSUER, audience=AUDIENCE).jwks()
    people.world.refresh_keys()

    assert people.refusal(asked).code == "TOKEN_KEY_UNKNOWN"


def test_a_key_that_no_device_had_is_looked_up_again_when_a_device_has_it(people: People) -> None:
    token = people.world.token(jkt=people.prover.jkt)

    def ask() -> Principal:
        proof = people.prover.prove(token=token, method="GET", url="https://portal.example/cases/1", now=NOW)
        return people.of(people.world.request(token=token, scheme=b"DPoP", proof=proof))

    first = ask()
    assert (first.device, ask() is first) == (None, True)
    people.world.devices["phone"] = device("phone", keys=(DeviceKey(jkt=people.prover.jkt, not_after=NOW + 900),))
    people.world.publish()

    found = ask().device
    assert found is not None
    assert found.device_id == "phone"


def test_forgetting_establishes_everybody_anew(people: People) -> None:
    asked = people.bound()
    before = people.of(asked)
    people.world.certificates.replace(DevDeviceCa(now=NOW).pem)
    assert people.of(asked) is before

    people.principals.forget()

    assert people.refusal(asked).code == "CERT_UNTRUSTED"


def _short_key(people: People) -> AccessRequest:
    key = DeviceKey(x5t=people.laptop.x5t, not_after=NOW + 4)
    people.world.devices["laptop-1"] = device(keys=(key,))
    people.world.publish()
    return people.bound()


def _short_certificate(people: People) -> AccessRequest:
    people.laptop = people.world.authority.issue("laptop-1", now=NOW, lifetime=4)
    people.world.devices["laptop-1"] = device(keys=(DeviceKey(x5t=people.laptop.x5t, not_after=NOW + 900),))
    people.world.publish()
    return people.bound()


def _short_keys(people: People) -> AccessRequest:
    people.world.keys.usable_until = NOW + 4
    return people.bound()


@pytest.mark.parametrize(
    ("ends_in", "make"),
    [
        (4, lambda p: p.bound(lifetime=4)),
        (4, _short_key),
        (4, _short_certificate),
        (4, _short_keys),
    ],
    ids=["token", "device key", "certificate", "key set"],
)
def test_what_can_end_by_itself_ends_to_the_second(
    people: People, ends_in: int, make: Callable[[People], AccessRequest]
) -> None:
    asked = make(people)
    people.of(asked)
    people.world.clock.advance(ends_in - 0.5)
    people.of(asked)

    people.world.clock.advance(0.5)

    assert people.refusal(asked).code in ("TOKEN_EXPIRED", "DEVICE_UNKNOWN", "CERT_EXPIRED", "KEYS_UNAVAILABLE")


def test_a_clock_that_is_set_back_finds_nothing_remembered(people: People) -> None:
    asked = people.bound()
    before = people.of(asked)

    people.world.clock.advance(-10)

    assert people.of(asked) is not before


def test_a_tick_that_ends_changes_nobody_whose_credentials_still_hold(people: People) -> None:
    asked = people.bound()
    before = people.of(asked)

    people.world.clock.advance(5)

    assert people.of(asked) is before
    assert people.world.clock.now() < before.until <= people.world.clock.now() + 5


def test_a_clock_that_is_set_back_into_an_earlier_tick_finds_nothing_remembered(people: People) -> None:
    asked = people.bound()
    before = people.of(asked)
    people.world.clock.advance(10)
    assert people.of(asked) is before

    people.world.clock.advance(-4)

    assert people.of(asked) is not before


def _gone(people: People) -> None:
    people.world.devices.pop("laptop-1", None)


def _returned(people: People) -> None:
    people.world.devices.pop("clone", None)


def _revoked(people: People) -> None:
    until = int(people.world.clock.now()) + 7
    people.world.situation = situation(revocations=[{"kind": "device", "key": "laptop-1", "until": until}])


def _rotated(people: People) -> None:
    people.world.issuer.rotate()
    people.world.published.body = people.world.issuer.jwks()
    people.world.refresh_keys()


def _distrusted(people: People) -> None:
    people.world.certificates.replace(DevDeviceCa(now=NOW).pem)


def _outdated(people: People) -> None:
    people.world.keys.usable_until = min(people.world.keys.usable_until, people.world.clock.now() + 3)


_EVENTS = (_device, _subject, _situation, _clone, _returned, _gone, _revoked, _rotated, _distrusted, _outdated)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from((0.0, 0.3, 1.0, 4.9, 5.0, 6.0, 11.0, -2.0)), st.none() | st.sampled_from(_EVENTS)),
        max_size=12,
    ),
    make=st.sampled_from((_short_key, _short_certificate, lambda people: people.bound(lifetime=17), People.bound)),
    shown=st.sampled_from((("token", "certificate"), ("token",), ("certificate",), ())),
)
def test_who_is_remembered_over_ticks_is_who_would_be_established_anew(
    steps: list[tuple[float, Callable[[People], None] | None]],
    make: Callable[[People], AccessRequest],
    shown: tuple[str, ...],
) -> None:
    people = People()
    asked = make(people)
    asked = msgspec.structs.replace(
        asked,
        authorization=asked.authorization if "token" in shown else b"",
        client_cert=asked.client_cert if "certificate" in shown else b"",
    )
    for seconds, event in steps:
        people.world.clock.advance(seconds)
        if event is not None and not (event is _device and "laptop-1" not in people.world.devices):
            event(people)
            people.world.publish()
            if event is _distrusted:
                people.principals.forget()

        remembered, anew = (_told(principals, people, asked) for principals in (people.principals, people.made()))

        assert remembered == anew


def _told(principals: Principals, people: People, asked: AccessRequest) -> object:
    try:
        found = principals.of(asked, people.world.clock.now())
    except ZtError as error:
        return error.code, getattr(error, "subject", ""), getattr(error, "device", "")
    assert people.world.clock.now() < found.until <= people.world.clock.now() + 5
    own = ("serial", "since", "tick", "profile", "names", "state", "authorization", "client_cert", "ends", "until")
    return [getattr(found, name) for name in Principal.__slots__ if name not in own]


def test_what_is_remembered_is_bounded(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zt_engine.sidecar.principals.MAX_PRINCIPALS", 3)
    assert MAX_PRINCIPALS > 3
    people.principals = people.made()
    for number in range(10):
        people.of(people.world.request(token=people.world.token(jti=f"j{number}")))

    assert len(people.principals._known) <= 3


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", ("", b"")),
        (b"Bearer abc", ("bearer", b"abc")),
        (b"bEARER  abc", ("bearer", b"abc")),
        (b"DPoP x", ("dpop", b"x")),
    ],
)
def test_the_scheme_is_read_in_any_case(raw: bytes, expected: tuple[str, bytes]) -> None:
    assert credentials(raw) == expected
