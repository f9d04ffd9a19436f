"""The invariants of the engine (docs: SECURITY.md), each a test that fails when it is broken."""

from __future__ import annotations

import json
import posixpath
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_inventory.device import DeviceKey
from device_inventory.facts import FactEnvelope
from tests.bundles import JP_GOV, TINY, compiled
from tests.fakes.decision_log import FakeDecisionLog
from tests.hook_support import Served, listening, one_answer
from tests.interleaving import Forgetful, History, seen
from tests.peers import ROOT
from tests.world import HEALTHY, World, device, facts, situation, subject
from zt_engine.adapters.dev_issuer import DevProver
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.authoring.check import check
from zt_engine.bootstrap.demo_world import HEALTHY as GOOD
from zt_engine.bootstrap.demo_world import STAFF
from zt_engine.core.decision import Effect
from zt_engine.core.errors import ConfigError, InputError, UnavailableError
from zt_engine.core.request import AccessRequest, canonical_target
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry
from zt_engine.sidecar.app import DecisionApp, Mount
from zt_engine.sidecar.authorize import Authorizer, Memory
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, key_digest
from zt_engine.sidecar.hooks.denials import Denials
from zt_engine.sidecar.hooks.headers import METHOD_OVERRIDES, RESERVED_NAMES, RESERVED_PREFIXES
from zt_engine.sidecar.hooks.nginx import FAMILY, NginxHook
from zt_engine.sidecar.meters import Meters
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.recorder import Numbers, Origin

KEY = b"0123456789abcdef"
HOOK = b"/v1/hooks/nginx"
CASE = "https://portal.example/cases/1"
RANKS = {"C0": 0, "C1": 100, "C2": 200, "C3": 300}


class Bench:
    """A world with tanaka on her laptop, an authorizer, and the application in front of it."""

    def __init__(self, bundle: bytes, **how: Any) -> None:
        self.world = World(bundle, **how)
        self.laptop = self.world.enroll()
        self.world.subjects["tanaka"] = subject()
        self.world.publish()
        self.authorizer = self.world.authorizer()
        self.log = FakeDecisionLog()
        credential = Credential(
            name="front",
            hook="nginx",
            channel="open",
            proof="key",
            enforces=("no_store",),
            key_digests=(key_digest(KEY),),
        )
        self.app = DecisionApp(
            hooks=[NginxHook(Credentials([credential]))],
            pages=lambda _path, _headers, _names, _uid: None,
            denials=Denials(DeniedPage(registry(), default_language="en")),
            authorizer=self.authorizer,
            decision_log=self.log,
            clock=self.world.clock,
            numbers=Numbers("s-1"),
            meters=Meters(),
            origin=Origin("sidecar-1", "default").members(),
        )
        self.token = self.world.token(bound_to=self.laptop)

    def headers(self, target: bytes = b"/cases/1", host: bytes = b"portal.example") -> dict[bytes, bytes]:
        return {
            b"Host": b"zt", b"X-Original-URI": target, b"X-Original-Method": b"GET", b"X-Original-Host": host,
            b"X-Original-Proto": b"https", b"X-Original-Port": b"443", b"X-Real-IP": b"203.0.113.7",
            b"Zt-Request-Id": b"r1", b"Zt-Pep-Key": KEY, b"Authorization": b"Bearer " + self.token,
            b"Zt-Client-Verify": b"SUCCESS", b"Zt-Client-Cert": self.laptop.escaped,
        }  # fmt: skip

    def asked(self, headers: Mapping[bytes, bytes], names: tuple[bytes, ...] | None = None) -> Any:
        names = tuple(headers) if names is None else names
        return self.app.answer(HOOK, b"GET", {**headers, b"": b""}, names, None)

    def ask(self, headers: Mapping[bytes, bytes], names: tuple[bytes, ...] | None = None) -> bytes:
        (answer,) = self.app.seal([self.asked(headers, names)])
        return answer

    def decided(self, url: str = CASE, **how: Any) -> Outcome:
        request = self.world.request(url, **{"token": self.token, "certificate": self.laptop, **how})
        return self.world.decide(self.authorizer, request)


@pytest.fixture(scope="module")
def tiny(opa: str) -> bytes:
    return compiled(opa)


def code(outcome: Outcome) -> str:
    assert outcome.decision.effect is Effect.DENY
    return outcome.decision.reasons[0]


# -- 1 ----------------------------------------------------------------------------------------------------------------


def test_invariant_01_no_answer_200_without_an_allow_in_the_log(tiny: bytes) -> None:
    """Whatever is asked in whatever turns, and whenever the log fails: each 200 has its own allow or observe."""
    bench, chance = Bench(tiny), random.Random(1)
    targets = [b"/", b"/cases/1", b"/secret", b"/notes/a", b"/a/../b", b"/nowhere"]
    allowed: list[str] = []
    for _ in range(400):
        bench.log.broken = chance.random() < 0.2
        turn = []
        for _ in range(chance.randint(1, 5)):
            host = chance.choice([b"portal.example"] * 3 + [b"pilot.example", b"foreign.example"])
            headers = bench.headers(chance.choice(targets), host)
            for name in (b"Authorization", b"Zt-Pep-Key", b"Zt-Request-Id", b"Zt-Client-Cert"):
                if chance.random() < 0.1:
                    del headers[name]
            turn.append(bench.asked(headers))
        for answer in bench.app.seal(turn):
            if not answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 403 ")):
                assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
                allowed.append(answer.rpartition(b"Zt-Decision: ")[2].strip().decode())
        bench.world.clock.advance(chance.choice([0, 0, 1]))

    effects = {event["decision_id"]: event["effect"] for event in map(json.loads, bench.log.lines)}
    assert len(allowed) > 100
    assert len(set(allowed)) == len(allowed)
    assert {effects.get(decision) for decision in allowed} == {"allow", "observe"}


# -- 2 ----------------------------------------------------------------------------------------------------------------


class Broken:
    """Any port; every use of it does what it was told."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act
        self.revision = "broken"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_args, **_how: self._act()

    def close(self) -> None: ...


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


def returning(value: Any) -> Callable[[], Any]:
    return lambda: value


ENGINE_CODES = (
    "ENGINE_TIMEOUT", "ENGINE_UNDEFINED", "ENGINE_TRAP", "ENGINE_MEMORY", "ENGINE_BUILTIN", "ENGINE_INPUT",
    "ENGINE_MALFORMED", "ENGINE_DOWN", "ENGINE_QUARANTINED", "ENGINE_REVISION",
)  # fmt: skip
ERRORS = (
    RuntimeError("a fault"), TimeoutError(), MemoryError(), RecursionError(), OSError(5, "io"), ValueError("x"),
    AttributeError("x"), ConnectionResetError(), AssertionError(), StopIteration(),
)  # fmt: skip
NONSENSE = (None, 0, True, "", "allow", object(), {"allow": True})


def put(bench: Bench, port: str, broken: Broken) -> None:
    """Replace a port, or something inside, by something broken."""
    policy = bench.authorizer.policy
    assert policy is not None
    if port in ("engine", "moments", "places"):
        bench.authorizer.activate(msgspec.structs.replace(policy, **{port: broken}))
    elif port == "principals":
        bench.authorizer._principals = broken  # type: ignore[assignment]
    else:
        setattr(bench.authorizer._principals, f"_{port}", broken)


def proving(bench: Bench) -> dict[str, Any]:
    """A request with everything that is verified: token, certificate and proof."""
    prover = DevProver()
    laptop = bench.world.devices["laptop-1"]
    key = DeviceKey(jkt=prover.jkt, not_after=laptop.keys[0].not_after)
    bench.world.devices["laptop-1"] = msgspec.structs.replace(laptop, keys=(*laptop.keys, key))
    bench.world.publish()
    token = bench.world.token(jkt=prover.jkt)
    proof = prover.prove(token=token, method="GET", url=CASE, now=bench.world.clock.now())
    return {"token": token, "scheme": b"DPoP", "proof": proof, "request_id": "p1"}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "port", ["tokens", "certificates", "proofs", "engine", "replica", "principals", "moments", "places"]
)
def test_invariant_02_whatever_a_port_raises_denies(tiny: bytes, port: str, error: Exception) -> None:
    bench = Bench(tiny)
    everything = proving(bench)
    assert bench.decided(**everything).decision.opens
    bench.authorizer.forget()
    bench.authorizer.forget_principals()
    put(bench, port, Broken(raising(error)))

    outcome = bench.decided(**everything)

    assert code(outcome) == "INTERNAL_ERROR"
    assert outcome.head.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "value", NONSENSE, ids=[f"{type(value).__name__}-{number}" for number, value in enumerate(NONSENSE)]
)
@pytest.mark.parametrize("port", ["tokens", "certificates", "proofs", "engine"])
def test_invariant_02_whatever_else_a_port_returns_denies(tiny: bytes, port: str, value: object) -> None:
    bench = Bench(tiny)
    everything = proving(bench)
    put(bench, port, Broken(returning(value)))

    for how in (everything, {}):
        outcome = bench.decided("https://portal.example/", **how)
        if port == "proofs" and not how:
            continue

        assert not outcome.decision.opens
        assert outcome.head.startswith(b"HTTP/1.1 40")


@pytest.mark.parametrize("engine_code", ENGINE_CODES)
def test_invariant_02_every_failure_of_the_engine_denies_with_its_own_code(tiny: bytes, engine_code: str) -> None:
    bench = Bench(tiny)
    bench.world.engine = Broken(raising(UnavailableError(engine_code, "")))  # type: ignore[assignment]
    bench.authorizer.activate(bench.world.policy())

    assert code(bench.decided()) == engine_code
    assert bench.authorizer.cache is not None
    assert len(bench.authorizer.cache) == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", "ENGINE_MALFORMED"),
        (b"true", "ENGINE_MALFORMED"),
        (b"{}", "LAYER_MALFORMED"),
        (b'{"baseline":{"allow":true,"unmet":[],"obligations":[],"threshold":0}}', "LAYER_MALFORMED"),
        (b'{"baseline":true,"organisation":true}', "ENGINE_MALFORMED"),
        (
            b'{"baseline":{"allow":true,"unmet":[],"obligations":[],"threshold":0},'
            b'"organisation":{"allow":true,"unmet":[{"code":"MFA_REQUIRED"}],"obligations":[],"threshold":0}}',
            "LAYER_MALFORMED",
        ),
        (
            b'{"baseline":{"allow":true,"unmet":[],"obligations":[],"threshold":0},'
            b'"organisation":{"allow":false,"unmet":[{"code":"NOBODY_KNOWS"}],"obligations":[],"threshold":0}}',
            "LAYER_MALFORMED",
        ),
    ],
)
def test_invariant_02_every_malformed_answer_of_the_engine_denies(tiny: bytes, answer: bytes, expected: str) -> None:
    bench = Bench(tiny)
    bench.world.engine = Broken(returning(answer))  # type: ignore[assignment]
    bench.authorizer.activate(bench.world.policy())

    assert code(bench.decided()) == expected


@settings(max_examples=300)
@given(st.binary(max_size=80) | st.recursive(
    st.none() | st.booleans() | st.integers(-2, 101) | st.sampled_from(["baseline", "organisation", "no_store", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["baseline", "organisation", "allow", "unmet", "obligations", "threshold", "code"]), inner
    ),
    max_leaves=20,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_invariant_02_no_nonsense_opens(nonsense: bytes) -> None:
    bench = _nonsense_bench()
    bench.world.engine = Broken(returning(nonsense))  # type: ignore[assignment]
    bench.authorizer.activate(bench.world.policy())

    assert not bench.decided().decision.opens


_benches: dict[str, Bench] = {}


def _nonsense_bench() -> Bench:
    return _benches["tiny"]


@pytest.fixture(autouse=True, scope="module")
def _shared_bench(tiny: bytes) -> None:
    _benches["tiny"] = Bench(tiny)


@pytest.mark.parametrize("method", ["append", "flush", "store_input"])
@pytest.mark.parametrize(
    "error", [UnavailableError("LOG_UNAVAILABLE", ""), RuntimeError("a fault"), OSError(28, "full")]
)
def test_invariant_02_a_log_that_fails_in_whatever_way_denies(tiny: bytes, method: str, error: Exception) -> None:
    bench = Bench(tiny)
    setattr(bench.log, method, lambda *_args, **_how: raising(error)())

    answer = bench.ask(bench.headers())

    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"Zt-Reason: LOG_UNAVAILABLE\r\n" in answer
    assert bench.log.lines == []


@pytest.mark.parametrize("part", ["clock", "hook", "numbers", "meters"])
def test_invariant_02_a_fault_around_the_decision_closes_the_connection_with_a_denial(tiny: bytes, part: str) -> None:
    bench = Bench(tiny)
    act = raising(RuntimeError("a fault"))
    if part == "clock":
        bench.app._now = act
    elif part == "hook":
        mount = bench.app._mounts[HOOK]
        bench.app._mounts = {HOOK: Mount(Broken(act), mount.repeats, mount.plain)}  # type: ignore[arg-type]
    elif part == "numbers":
        bench.app._number = act
    else:
        bench.app._meters = Broken(act)  # type: ignore[assignment]
    served = Served(bench.app, listening())
    try:
        client = served.connect()
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in bench.headers().items())
        client.sendall(b"GET " + HOOK + b" HTTP/1.1\r\n" + lines + b"\r\n")
        answer, _ = one_answer(client)
        client.close()
    finally:
        served.close()

    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"INTERNAL_ERROR" in answer


# -- 3 ----------------------------------------------------------------------------------------------------------------

READERS: Mapping[str, Callable[[str], str]] = {
    "decodes once": unquote,
    "decodes twice": lambda path: unquote(unquote(path)),
    "removes dot segments": lambda path: _slashed(posixpath.normpath(unquote(path)), path),
    "removes dot segments, then decodes": lambda path: unquote(_slashed(posixpath.normpath(path), path)),
    "merges slashes": lambda path: re.sub("/+", "/", unquote(path)),
    "cuts path parameters": lambda path: re.sub(";[^/]*", "", unquote(path)),
    "takes backslashes for slashes": lambda path: unquote(path).replace("\\", "/"),
    "stops at a zero byte": lambda path: unquote(path).partition("\0")[0],
    "stops at a hash": lambda path: unquote(path).partition("#")[0],
}
"""How proxies and backends are known to read a path."""


def _slashed(normal: str, original: str) -> str:
    return normal + "/" if original.endswith("/") and normal != "/" else normal


PIECES = [
    "a", "admin", "..", ".", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";", ";x=1", "%00", "%25", "%252e", "é", "%C3%A9",
    "%61", "%", "%g0", "#", "?", "%3f", "%23", "*", "~", "a b", "%20",
]  # fmt: skip


@settings(max_examples=600)
@given(st.lists(st.sampled_from(PIECES) | st.just("/"), max_size=8).map(lambda parts: "/" + "".join(parts)))
def test_invariant_03_whoever_reads_a_target_that_was_not_refused_reads_the_same(raw: str) -> None:
    try:
        target = canonical_target(raw.encode(), b"portal.example", scheme=b"https", port=b"443")
    except InputError as refused:
        assert refused.code in ("PATH_AMBIGUOUS", "HOST_AMBIGUOUS")
        return

    sent = raw.partition("?")[0]
    assert unquote(target.path) == unquote(sent)
    for reads in READERS.values():
        assert reads(sent) == reads(target.path) == unquote(target.path)


@pytest.mark.parametrize(
    "target",
    [b"/cases/../secret", b"/cases/..%2fsecret", b"//secret", b"/secret;x", b"/%73ecret", b"/cases/%2e%2e/secret"],
)
def test_invariant_03_a_crafted_target_is_refused_by_the_whole_path(tiny: bytes, target: bytes) -> None:
    bench = Bench(tiny)

    assert b"Zt-Reason: PATH_AMBIGUOUS" in bench.ask(bench.headers(target))


# -- 4 ----------------------------------------------------------------------------------------------------------------

OWNED = sorted(
    {*FAMILY.known, *RESERVED_NAMES, *METHOD_OVERRIDES, *(prefix + "anything" for prefix in RESERVED_PREFIXES)}
    - {"authorization", "dpop", "cookie"}
)


def spelt(chance: random.Random, name: str) -> bytes:
    """A name as some server would still take it for the same."""
    return "".join(
        chance.choice("-_.") if letter == "-" else chance.choice((letter, letter.upper())) for letter in name
    ).encode()


@pytest.mark.parametrize("name", OWNED)
def test_invariant_04_a_header_the_engine_owns_cannot_be_supplied_aliased_or_doubled(tiny: bytes, name: str) -> None:
    bench, chance = Bench(tiny), random.Random(name)
    assert bench.ask(bench.headers()).startswith(b"HTTP/1.1 200 ")
    for _ in range(12):
        headers = bench.headers()
        names = list(headers)
        alias = spelt(chance, name)
        headers.setdefault(alias, b"forged")
        names.insert(chance.randrange(len(names) + 1), alias)

        answer = bench.ask(headers, tuple(names))

        assert not answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("name", list(FAMILY.required))
def test_invariant_04_a_header_the_engine_needs_cannot_be_removed_or_emptied(tiny: bytes, name: str) -> None:
    bench = Bench(tiny)
    headers = bench.headers()
    sent = next(key for key in headers if key.decode().lower() == name)

    assert b"HOOK_HEADER_MISSING" in bench.ask({key: value for key, value in headers.items() if key != sent})
    assert not bench.ask({**headers, sent: b""}).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("name", [b"Authorization", b"DPoP", b"Cookie"])
def test_invariant_04_a_client_s_own_header_is_sent_once_or_refused(tiny: bytes, name: bytes) -> None:
    bench = Bench(tiny)
    headers = {**bench.headers(), name: b"Bearer x"}

    assert b"HEADER_DOUBLED" in bench.ask(headers, (*headers, name.lower()))


# -- 5 ----------------------------------------------------------------------------------------------------------------

OVERLAYS = st.fixed_dictionaries(
    {
        "effect": st.sampled_from(
            ["deny", "ceiling:100", "ceiling:0", "threshold:+5", "threshold:+40", "acr:phr", "acr:phrh",
             "report_age:30", "report_age:100000", "obligation:no_store", "obligation:read_only",
             "obligation:watermark"]
        ),
        "scope": st.sampled_from(
            ["tenant", "service:portal", "service:pilot", "subject:tanaka", "group:staff", "device:laptop-1",
             "ownership:corp", "ownership:byod", "label:C0", "label:C2", "label:C3"]
        ),
        "exercise": st.booleans(),
    }
)  # fmt: skip
ASKED = st.fixed_dictionaries(
    {
        "url": st.sampled_from(
            ["https://portal.example/", CASE, "https://portal.example/notes/a", "https://portal.example/secret",
             "https://pilot.example/x"]
        ),
        "method": st.sampled_from(["GET", "GET", "POST"]),
        "person": st.booleans(),
        "laptop": st.booleans(),
        "weak": st.booleans(),
    }
)  # fmt: skip


def asks(bench: Bench, asked: Mapping[str, Any]) -> Outcome:
    token = bench.token
    if not asked["laptop"]:
        token = bench.world.token()
    if asked["weak"]:
        token = bench.world.token(acr="pwd", amr=["pwd"], auth_time=int(bench.world.clock.now()) - 20_000)
    return bench.decided(
        asked["url"],
        method=asked["method"],
        token=token if asked["person"] else b"",
        certificate=bench.laptop if asked["laptop"] and not (asked["person"] and token is not bench.token) else None,
    )


def overlaid(overlays: list[dict[str, Any]], now: int, threat_level: int = 0) -> Any:
    records = [
        {"id": f"o{number}", "not_before": now - 100, "not_after": now + 100, **overlay}
        for number, overlay in enumerate(overlays)
    ]
    return situation(overlays=records, threat_level=threat_level)


@settings(max_examples=250)
@given(st.lists(OVERLAYS, max_size=2), OVERLAYS, ASKED)
def test_invariant_05_one_more_overlay_never_opens(
    some: list[dict[str, Any]], more: dict[str, Any], asked: dict[str, Any]
) -> None:
    bench = _benches["tiny"]
    now = int(bench.world.clock.now())
    bench.world.engine = None
    bench.authorizer.activate(bench.world.policy())
    bench.world.situation = overlaid(some, now)
    bench.world.publish()
    before = asks(bench, asked)

    bench.world.situation = overlaid([*some, more], now)
    bench.world.publish()
    after = asks(bench, asked)
    bench.world.situation = situation()
    bench.world.publish()

    assert before.decision.opens or not after.decision.opens
    assert {duty.id for duty in after.decision.obligations} >= {duty.id for duty in before.decision.obligations}


@pytest.mark.parametrize("channel", ["open", "closed"])
def test_invariant_05_a_stricter_label_or_a_higher_threat_level_never_opens(opa: str, channel: str) -> None:
    """Over the pack of the ministries: a person on a laptop, without it, and nobody, at every label and level."""
    bench = Bench(compiled(opa, JP_GOV), pack=JP_GOV)
    world = bench.world
    world.subjects["tanaka"] = subject(**{**STAFF, "groups": tuple(STAFF["groups"])})
    laptop = world.devices["laptop-1"]
    good = good_facts(int(world.clock.now()))
    world.devices["laptop-1"] = msgspec.structs.replace(laptop, facts=good)
    text = world.catalogue_source.decode()
    opened: dict[tuple[str, int], set[int]] = {}
    order = ["C0", "C1", "C2", "C3-S", "C3-TS"]
    for rank, label in enumerate(order):
        world.catalogue_text = _with_ladder(text, label).encode()
        bench.authorizer.activate(world.policy())
        for level in range(5):
            world.situation = situation(threat_level=level)
            world.publish()
            outcomes = [
                bench.decided("https://ladder.example/x", channel=channel, **how)
                for how in ({}, {"certificate": None, "token": world.token()}, {"certificate": None, "token": b""})
            ]
            opened[label, level] = {number for number, outcome in enumerate(outcomes) if outcome.decision.opens}
            assert not rank or opened[label, level] <= opened[order[rank - 1], level]
            assert not level or opened[label, level] <= opened[label, level - 1]
    assert opened["C0", 0] == {0, 1, 2}
    assert opened["C2", 0] == {0}


def good_facts(now: int) -> dict[str, FactEnvelope]:
    """The facts of the demo's healthy laptop."""
    return {
        name: facts({name: value["value"]}, now, value["method"])[name]
        if isinstance(value, dict)
        else facts({name: tuple(value) if isinstance(value, list) else value}, now)[name]
        for name, value in GOOD.items()
    }


def _with_ladder(text: str, label: str) -> str:
    """The catalogue with one more service, all of it under one label."""
    ladder = (
        "  ladder:\n    title: {ja: 梯子, en: Ladder}\n    owner: nobody\n    review_at: 2099-01-01\n"
        f"    hosts: [ladder.example]\n    channels: [open, closed]\n    ceiling: C3-TS\n    label: {label}\n"
        "    routes:\n      - {path: /x, methods: [GET]}\n"
    )
    return text.replace("\nservices:\n", "\nservices:\n" + ladder, 1)


# -- 6 ----------------------------------------------------------------------------------------------------------------

NAMES = sorted(
    ["device.key_protection", "patch.oldest_pending_days", "vuln.kev_open", "vuln.kev_overdue", "disk.encrypted",
     "edr.running", "av.realtime", "mdm.enrolled", "firewall.enabled", "boot.secure_boot", "screenlock.enabled",
     "user.is_admin",
     "integrity.rooted"]
)  # fmt: skip
LOSS = st.sampled_from(["withheld", "not_collected", "not_supported", "error", "aged", "very old", "weaker"])


def lost(fact: FactEnvelope, how: str, now: int) -> FactEnvelope | None:
    if how == "withheld":
        return None
    if how in ("aged", "very old"):
        return msgspec.structs.replace(fact, received_at=now - (20_000 if how == "aged" else 10_000_000))
    if how == "weaker":
        return msgspec.structs.replace(fact, method="self_report")
    return FactEnvelope(status=how, value=None, method=fact.method, received_at=fact.received_at)  # type: ignore[arg-type]


@pytest.mark.parametrize("pack", ["tiny", "jp-gov"])
def test_invariant_06_withholding_or_ageing_evidence_never_improves(opa: str, pack: str) -> None:
    folder = {"pack": JP_GOV} if pack == "jp-gov" else {}
    bench = Bench(compiled(opa, JP_GOV) if folder else compiled(opa), **folder)
    now = int(bench.world.clock.now())
    key = bench.world.devices["laptop-1"].keys
    urls = [f"https://{next(iter(service.hosts))}/" for service in _services(bench)] + [CASE]

    @settings(max_examples=120)
    @given(
        st.dictionaries(st.sampled_from(NAMES), st.booleans()),
        st.dictionaries(st.sampled_from(NAMES), LOSS, min_size=1),
        st.sampled_from([0, 0, 90_000]),
        st.sampled_from([0, 5_000, 50_000]),
        st.sampled_from(urls),
    )
    def never(bad: dict[str, bool], losses: dict[str, str], report_age: int, sign_in_age: int, url: str) -> None:
        honest = facts({**HEALTHY, **{name: _bad(name) for name, is_bad in bad.items() if is_bad}}, now)
        changed = {name: lost(fact, losses[name], now) if name in losses else fact for name, fact in honest.items()}
        withheld = {name: fact for name, fact in changed.items() if fact is not None}

        def outcome(shown: dict[str, FactEnvelope], reported: int, signed_in: int) -> Outcome:
            bench.world.devices["laptop-1"] = device(keys=key, facts=shown, report_received_at=now - reported)
            bench.world.publish()
            token = bench.world.token(bound_to=bench.laptop, auth_time=now - 60 - signed_in)
            return bench.decided(url, token=token)

        told = outcome(honest, 0, 0)
        kept = outcome(withheld, report_age, sign_in_age)

        assert told.decision.opens or not kept.decision.opens
        if told.trust is not None and kept.trust is not None:
            assert kept.trust.exact <= told.trust.exact

    never()


def _services(bench: Bench) -> list[Any]:
    policy = bench.authorizer.policy
    assert policy is not None
    return list(policy.places.catalogue.services.values())


def _bad(name: str) -> Any:
    value = HEALTHY[name]
    if isinstance(value, bool):
        return not value
    return {"device.key_protection": "none", "patch.oldest_pending_days": 400}.get(name, ("CVE-2026-0001",))


# -- 7 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_invariant_07_cached_equals_uncached(opa: str, seed: int) -> None:
    """A thousand steps of updates, revocations, ticks, jumping clocks and requests: what is remembered is never another
    answer than what would be decided from scratch, whether the cache says it or a memory of the very request."""
    bundles = (compiled(opa), compiled(opa, edits=(("_threshold := 60", "_threshold := 85"),)))
    world = World(bundles[0])
    history = History(world, seed, bundles)
    cached: Authorizer = world.authorizer()
    history.authorizers = [cached]
    scratch = Forgetful(world)
    hits, stood, effects = 0, 0, Counter[str]()
    memories: dict[AccessRequest, Memory] = {}
    for step in range(1000):
        request = history.step()
        if request is None:
            continue
        asked = msgspec.structs.replace(request, request_id="")
        memory = memories.get(asked)
        stands = memory is not None and cached.stands(memory, world.clock.now())
        outcome, hit, place, later = cached.decide(request, world.clock.now())
        fresh = scratch.decide(request)

        assert seen(outcome) == seen(fresh), f"seed {seed}, step {step}"
        if memory is not None and stands:
            assert seen(memory.outcome) == seen(fresh), f"seed {seed}, step {step}"
            assert memory.place_log == place
            stood += 1
        if later is not None:
            memories[asked] = later
        hits += hit
        effects[outcome.decision.effect] += 1
    assert (hits > 50, stood > 50) == (True, True)
    assert set(effects) >= {"allow", "deny", "step_up"}


# -- 13 ---------------------------------------------------------------------------------------------------------------


def test_invariant_13_no_layer_can_change_another_layer_s_result(opa: str) -> None:
    """Whatever the organisation's layer says, the baseline says the same; and what would say otherwise is not built."""
    kinder = compiled(
        opa,
        edits=(
            (
                'result := {"allow": true, "unmet": [], "obligations": [], "threshold": 0}',
                'result := {"allow": false, "unmet": [{"code": "TRUST_LOW"}], "obligations": [], "threshold": 100}',
            ),
        ),
    )
    documents = []
    bench = Bench(compiled(opa))
    for url in ("https://portal.example/", CASE, "https://portal.example/secret"):
        documents += [bench.decided(url).document, bench.decided(url, token=b"", certificate=None).document]

    results = []
    for bundle in (compiled(opa), kinder):
        bench.world.bundle = bundle
        policy = bench.world.policy()
        results.append([json.loads(policy.engine.evaluate("zt/main/portal", document)) for document in documents])

    assert [answer["baseline"] for answer in results[0]] == [answer["baseline"] for answer in results[1]]
    assert [answer["organisation"] for answer in results[0]] != [answer["organisation"] for answer in results[1]]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (("package zt.layer.organisation", "package zt.layer.baseline"), {"LAYER_PACKAGE"}),
        (('"threshold": 0}', '"threshold": data.zt.layer.baseline.result.threshold}'), {"LAYER_REFERENCE"}),
    ],
)
def test_invariant_13_a_layer_that_reaches_into_another_is_not_published(
    opa: str, tmp_path: Path, edit: tuple[str, str], expected: set[str]
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(TINY, folder)
    shutil.copytree(ROOT / "policies/schemas", tmp_path / "schemas")
    path = folder / "organisation/organisation.rego"
    path.write_text(path.read_text().replace(*edit))
    (folder / "pack.yaml").write_text(
        (folder / "pack.yaml").read_text().replace("../../../policies/schemas", "../schemas")
    )
    try:
        found = {problem.code for problem in check(folder, OpaBinary(Path(opa))).problems}
    except ConfigError as refused:
        found = {problem.code for problem in refused.problems}

    assert found & expected, found
