"""The whole decision path on a stage: real policy, real records, real rules, and credentials that prove what a scenario
says they prove. Only signatures of tokens, certificates and proofs are left out; approvals of grants are really signed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_inventory.device import unknown_facts
from zt_engine.adapters.approvals import Approver, RecordKind, approve, key_id
from zt_engine.adapters.device_json import decode_device
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.adapters.subject_json import decode_subject
from zt_engine.authoring.rehearsal import Rehearsed
from zt_engine.authoring.scenarios import Entry, Question
from zt_engine.bootstrap.activation import Parts, make_policy
from zt_engine.bootstrap.rehearsal_browser import HANDLE, PROOF, SignedForBrowser, session_of
from zt_engine.core.errors import InputError
from zt_engine.core.identity import Actor, VerifiedCertificate, VerifiedToken
from zt_engine.core.instants import parse_instant
from zt_engine.core.issuer import FOREIGN, IssuerMapping, WorkloadRule
from zt_engine.core.lease import Lease
from zt_engine.core.request import (
    AccessRequest,
    canonical_address,
    canonical_host,
    canonical_method,
    canonical_target,
)
from zt_engine.core.situation import Situation
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.authorize import Authorizer
from zt_engine.sidecar.outcomes import Outcome
from zt_engine.sidecar.principals import NO_KEYS, Principals
from zt_engine.sidecar.replica import Changes, Replica

TICK_SECONDS = 5
HOUR = 3600
BREAK_GLASS_HALF = 1800
"""A break-glass grant may last an hour in all."""

DEFAULT_ISSUER = "https://idp.example"
HOME = "urn:zt:home"
"""Stands for the home issuer where nobody of a question is from there."""
_TYPE_CLAIM = "scenario_type"
_MAPPING = IssuerMapping(workload=WorkloadRule(claim=_TYPE_CLAIM, value="workload"))
"""The directory speaks for every field; the token for the sign-in."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One question's own decision path."""

    authorizer: Authorizer
    principals: Principals
    replica: Replica


class Stage:
    """Puts questions to one policy on one engine; every question on a stage swept clean.

    `strongest`: issuer -> the best `acr` it can give; for an issuer that is not in it, the pack's best.
    """

    def __init__(
        self,
        parts: Parts,
        engine: PolicyEngine,
        *,
        strongest: Mapping[str, str] | None = None,
        lease: tuple[Lease, Callable[[], float]] | None = None,
    ) -> None:
        """`lease`: how long what was heard may be decided by, and the clock (`elapsed`) that measures it."""
        self._lease = lease
        self.policy = make_policy(
            parts, engine, source="scenario", strongest=strongest or {}, path_key=bytes(32), tick_seconds=TICK_SECONDS
        )

    def decide(self, question: Question) -> Rehearsed:
        """Return what the path decides; ConfigError when the question describes records nobody could have."""
        try:
            request = request_of(question)
        except InputError as error:  # what the hook refuses never reaches the path
            return Rehearsed(effect="deny", reasons=(error.code,))
        outcome = self.outcome(question, request)
        decision, trust = outcome.decision, outcome.trust
        return Rehearsed(
            effect=decision.effect.value,
            reasons=decision.reasons,
            obligations=tuple(
                item.id if item.value is None else f"{item.id}={item.value}" for item in decision.obligations
            ),
            score=None if trust is None else trust.score,
            threshold=decision.threshold,
            label=outcome.kind[2],
        )

    def outcome(self, question: Question, request: AccessRequest) -> Outcome:
        """Return everything the path came to for a question."""
        return self.scene(question).authorizer.decide(request, question.at)[0]

    def scene(self, question: Question) -> Scene:
        """Set the stage: records, situation and credentials of a question, and nothing of any other."""
        replica = Replica()
        people = {} if question.subject.get("type") == "anonymous" else {"subject": question.subject}
        if question.delegate is not None:
            people["delegate"] = question.delegate
        replica.replace(
            [] if question.device is None else [decode_device(_device(question), where=question.where)],
            [decode_subject(_record(entry), where=f"{question.where}: {who}") for who, entry in people.items()],
            _situation(question),
            now=question.at,
        )
        for record in replica.devices.values():
            for name, meant in unknown_facts(record):
                raise InputError("SCENARIO_MALFORMED", f"there is no fact `{name}`", hint=f"did you mean `{meant}`?")
        props, certificates = _Props(question), _Certificates(question)
        browser = None
        if question.binding == "session":
            host = canonical_host(urlsplit(str(question.request["url"])).netloc.encode())
            browser = SignedForBrowser(certificates.verify(b"", now=question.at), host, question.at)
            told = session_of(props.verify(b"scenario", now=question.at), host)
            records = replica.state.records.changed(Changes(sessions={told.sid: told}))
            replica.adopt(records, _situation(question), now=question.at)
        mapping = msgspec.structs.replace(_MAPPING, home=_home(people.values()))
        principals = Principals(
            tokens=props,
            certificates=certificates,
            proofs=_Proofs(question),
            mappings={_issuer(entry): mapping for entry in people.values()},
            replica=replica,
            keys={_issuer(entry): NO_KEYS for entry in people.values()},
            tick_seconds=TICK_SECONDS,
            device_proofs=browser,
        )
        authorizer = Authorizer(
            principals=principals,
            replica=replica,
            clock=_Clock(question.at, self._lease[1] if self._lease else None),
            space=_NoLog(),
            cache_entries=0,
            assert_for=lambda _case, _label, _trust: "",
            lease=self._lease[0] if self._lease else None,
        )
        authorizer.activate(self.policy)
        return Scene(authorizer=authorizer, principals=principals, replica=replica)


class _Clock:
    def __init__(self, at: int, elapsed: Callable[[], float] | None) -> None:
        self._at = at
        self.elapsed = elapsed or self.now

    def now(self) -> float:
        return self._at

    def synchronised(self) -> bool:
        return True


class _NoLog:
    """A rehearsal writes nothing down, so there is always space for it."""

    state = "ok"


class _Props:
    """The token: valid, and saying what the scenario's subject says of its sign-in."""

    def __init__(self, question: Question) -> None:
        self._question = question

    def verify(self, token: bytes, *, now: float) -> VerifiedToken:
        question, subject = self._question, self._question.subject
        thumbprint = _thumbprint(question)
        age = subject.get("auth_age")
        actor = None
        if question.delegate is not None:
            actor = Actor(issuer=_issuer(question.delegate), id=_sub(question.delegate))
        return VerifiedToken(
            issuer=_issuer(subject),
            subject=_sub(subject),
            client_id="scenario",
            claims={_TYPE_CLAIM: subject.get("type", "user")},
            expires_at=question.at + HOUR,
            not_before=question.at - HOUR,
            jti="scenario",
            key_id="scenario",
            x5t=thumbprint if question.binding == "mtls" else "",
            jkt=thumbprint if question.binding == "dpop" else "",
            session="",
            acr=str(subject.get("acr", "")),
            amr=_texts(subject.get("amr", [])),
            auth_time=question.at - age if isinstance(age, int) else None,
            actor=actor,
            digest=hashlib.sha256(token).hexdigest(),
        )


class _Certificates:
    def __init__(self, question: Question) -> None:
        self._question = question

    def verify(self, escaped_pem: bytes, *, now: float) -> VerifiedCertificate:
        return VerifiedCertificate(
            x5t=_thumbprint(self._question),
            device_uri=f"urn:zt:device:{_device_id(self._question)}",
            not_before=self._question.at - HOUR,
            not_after=self._question.at + HOUR,
            serial="01",
            issuer="CN=scenario",
        )


class _Proofs:
    def __init__(self, question: Question) -> None:
        self._question = question

    def verify(
        self, proof: bytes, *, token: bytes, method: str, url: str, request_id: str, now: float,
        jkt: str | None = None, holder: str | None = None,
    ) -> str:  # fmt: skip
        return _thumbprint(self._question)


def request_of(question: Question) -> AccessRequest:
    """The request as the hook would have read it; a target with two readings is refused here as there."""
    given = question.request
    url = urlsplit(str(given["url"]))
    target = url.path or "/"
    scheme = "dpop" if question.binding == "dpop" else "bearer"
    key = _key_kind(question)
    browser = question.binding == "session"
    signed_in = question.subject.get("type") != "anonymous"
    return AccessRequest(
        hook="nginx",
        pep="scenario",
        proof="key",
        channel=str(given.get("channel", "open")),
        enforces=_texts(given.get("enforces", ["no_store"])),
        method=canonical_method(str(given.get("method", "GET")).encode()),
        target=canonical_target(
            (f"{target}?{url.query}" if url.query else target).encode(),
            url.netloc.encode(),
            scheme=url.scheme.encode(),
            port=str(url.port or (443 if url.scheme == "https" else 80)).encode(),
        ),
        client_ip=canonical_address(str(given.get("client_ip", "192.0.2.1")).encode()),
        request_id="scenario",
        authorization=f"{scheme} scenario".encode() if signed_in and not browser else b"",
        dpop=b"scenario" if key == "dpop" and scheme == "dpop" else b"",
        client_cert=b"scenario" if key == "mtls" else b"",
        session=HANDLE if signed_in and browser else b"",
        device_proof=PROOF if signed_in and key == "session" else b"",
        purpose=None if given.get("purpose") is None else str(given["purpose"]),
    )


def _record(entry: Entry) -> bytes:
    until = entry.get("valid_until")
    return _json(
        {
            "id": _sub(entry),
            "issuer": _issuer(entry),
            "version": 1,
            "status": entry.get("status", "active"),
            "type": entry.get("type", "user"),
            "groups": entry.get("groups", []),
            "roles": entry.get("roles", []),
            "compartments": entry.get("compartments", []),
            "clearance": entry.get("clearance", 0),
            "org": entry.get("org", ""),
            "nationality": entry.get("nationality", ""),
            "employment": entry.get("employment", ""),
            "valid_until": parse_instant(until) if isinstance(until, str) else until,
        }
    )


def _device(question: Question) -> bytes:
    entry = question.device or {}
    age = entry.get("report_age", 0)
    method = str(entry.get("method", "signed_agent"))
    facts = entry.get("facts", {})
    received = question.at - (age if isinstance(age, int) else 0)
    kind, key = _key_kind(question), _thumbprint(question)
    return _json(
        {
            "tenant": "default",
            "device_id": _device_id(question),
            "version": 1,
            "status": entry.get("status", "active"),
            "ownership": entry.get("ownership", "corp"),
            "assigned": entry.get("assigned", []),
            "keys": [{"jkt" if kind == "dpop" else "x5t": key, "not_after": question.at + 24 * HOUR}],
            "boot_id": "boot-1",
            "report_received_at": received,
            "ceiling": entry.get("ceiling"),
            "facts": {name: _fact(fact, method, received, question.at) for name, fact in _items(facts)},
        }
    )


def _fact(fact: object, method: str, received: int, at: int) -> dict[str, object]:
    """A bare value was observed by the device's method with its last report."""
    if not isinstance(fact, Mapping):
        return {"status": "observed", "value": fact, "method": method, "received_at": received}
    return {
        "status": fact.get("status", "observed"),
        "value": fact.get("value"),
        "method": fact.get("method", method),
        "received_at": at - fact["age"] if "age" in fact else received,
    }


def _situation(question: Question) -> Situation:
    """The situation as it would have arrived; who is named an approver has really signed, with a key made up here."""
    signers: dict[str, Ed25519PrivateKey] = {}
    given = dict(question.situation)
    continuity = given.pop("continuity", False)
    document: dict[str, object] = {
        **given,
        "overlays": [_timed(item, question.at) for item in _list(given.get("overlays"))],
        "grants": [_signed("grant", item, question.at, signers) for item in _list(given.get("grants"))],
        "revocations": [{"until": None, **item} for item in _list(given.get("revocations"))],
    }
    if continuity:
        entry = continuity if isinstance(continuity, Mapping) else {"id": "continuity"}
        document["continuity"] = _signed("continuity", entry, question.at, signers)
    approvers = {key_id(key.public_key()): Approver(person, key.public_key()) for person, key in signers.items()}
    # A grant that is refused (approved by its own beneficiary, too long) is left out: a scenario may be about that.
    return decode_situation(_json(document), where=f"{question.where}: situation", approvers=approvers)


def _timed(entry: Mapping[str, object], at: int) -> dict[str, object]:
    half = BREAK_GLASS_HALF if entry.get("kind") == "break_glass" else HOUR
    return {"not_before": at - half, "not_after": at + half, **entry}


def _signed(
    kind: RecordKind, entry: Mapping[str, object], at: int, signers: dict[str, Ed25519PrivateKey]
) -> dict[str, object]:
    people = entry.get("approvers", ["first approver", "second approver"])
    record = {key: value for key, value in _timed(entry, at).items() if key != "approvers"}
    approvals = []
    for person in _texts(people):
        approvals.append(approve(signers.setdefault(person, Ed25519PrivateKey.generate()), kind, record))
    return {**record, "approvals": approvals}


def _key_kind(question: Question) -> str:
    """The kind of key the device proves itself with: its own word, else the one the token is bound to."""
    if question.device is None:
        return "none"
    fallback = question.binding if question.binding != "none" else "mtls"
    return str(question.device.get("key", fallback))


def _thumbprint(question: Question) -> str:
    digest = hashlib.sha256(f"key of {_device_id(question)}".encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _device_id(question: Question) -> str:
    return str((question.device or {}).get("id", ""))


def _issuer(entry: Entry) -> str:
    return str(entry.get("issuer", DEFAULT_ISSUER))


def _sub(entry: Entry) -> str:
    """The `sub` of an id as rules know it; that of another issuer's subject begins with the issuer."""
    return str(entry.get("id", "")).removeprefix(f"{_issuer(entry)}{FOREIGN}")


def _home(people: Iterable[Entry]) -> str:
    """The issuer of the first whose id is a mere `sub`: as rules know them, only the home issuer's are."""
    return next((_issuer(entry) for entry in people if _sub(entry) == str(entry.get("id", ""))), HOME)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _list(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _items(value: object) -> Iterable[tuple[str, object]]:
    return value.items() if isinstance(value, Mapping) else ()


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
