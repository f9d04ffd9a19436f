"""Sidecars at the control plane: a token admits one of them once, a statement is good once and briefly, and who is
behind is said with the reason.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.control_support import NOW, TENANT, URL, Control
from zt_engine.adapters.jws_device import DeviceJws
from zt_engine.adapters.stream_keys import StreamKey, statement
from zt_engine.bootstrap.serving_stream import open_stream
from zt_engine.control_plane.sidecars import Sidecars
from zt_engine.control_plane.statements import MAX_STATEMENTS
from zt_engine.core.bundle_signature import sign
from zt_engine.core.errors import InputError
from zt_engine.core.joining import read_token, write_token
from zt_engine.core.stream import SIDECAR_TYPE, StatusAnswer
from zt_engine.core.stream_signing import unseal

STREAM = StreamKey.generate()
NONCE = "n" * 32


class Authorities:
    def authorities(self) -> bytes:
        return b"-----BEGIN CERTIFICATE-----"


class Lab(Control):
    """A control plane with a stream, and sidecars that join it."""

    def __init__(self) -> None:
        super().__init__(jws=DeviceJws(), authority=Authorities(), extras={})
        self.origin = open_stream(self.plane, STREAM, shared=False)
        self.sidecars: Sidecars = self.plane.extras["sidecars"]
        self.origin.turn()

    def token(self, name: str = "edge-1", **body: Any) -> str:
        answer = self.call("POST", "/v1/sidecars/tokens", {"sidecar": name, **body})
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["token"]
        return token

    def join(self, name: str = "edge-1") -> StreamKey:
        key = StreamKey.generate()
        answer = self.call("POST", "/v1/sidecars", {"token": self.token(name), "public_key": dict(key.jwk)}, who=None)
        assert answer.status_code == 201, answer.text
        return key

    def status(self, key: StreamKey, name: str = "edge-1", *, seq: int = 0, **said: Any) -> Any:
        proof = statement(key, sidecar=name, audience=URL, now=self.clock.now())
        body = {"nonce": NONCE, "applied_seq": seq, **said}
        return self.call("POST", "/v1/status", body, who=None, authorization=f"Bearer {proof}")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def signed(key: StreamKey, **claims: Any) -> bytes:
    known = {"iss": "edge-1", "aud": URL, "iat": NOW, "exp": NOW + 60, "jti": secrets.token_hex(8), **claims}
    return sign(
        msgspec.json.encode({name: one for name, one in known.items() if one is not None}), key, kind=SIDECAR_TYPE
    ).encode()


def refused(lab: Lab, proof: bytes) -> str:
    with pytest.raises(InputError) as caught:
        lab.sidecars.identify(proof)
    return caught.value.code


def test_a_sidecar_joins_and_is_told_whom_to_believe(lab: Lab) -> None:
    key = StreamKey.generate()

    answer = lab.call("POST", "/v1/sidecars", {"token": lab.token(), "public_key": dict(key.jwk)}, who=None)

    told = answer.json()
    assert (told["id"], told["tenant"], told["audience"]) == ("edge-1", TENANT, URL)
    assert told["stream_keys"] == {STREAM.key_id: dict(STREAM.jwk)}
    assert [event.action for event in lab.audit()] == ["sidecar.invited", "sidecar.joined"]


def test_a_token_is_kept_by_its_digest_alone_and_says_nothing_in_a_repr(lab: Lab) -> None:
    token = lab.token()
    secret = read_token(token).id

    assert secret not in repr(read_token(token))
    assert all(secret.encode() not in event.after for event in lab.audit())


@pytest.mark.parametrize("how", ["twice", "late", "other tenant", "other name", "guessed", "cut", "not a key"])
def test_a_token_that_is_not_good_admits_nobody(lab: Lab, how: str) -> None:
    token = lab.token(seconds=60)
    key = dict(StreamKey.generate().jwk)
    told = read_token(token)
    match how:
        case "twice":
            lab.call("POST", "/v1/sidecars", {"token": token, "public_key": key}, who=None)
        case "late":
            lab.clock.advance(61)
        case "other tenant":
            token = write_token(msgspec.structs.replace(told, tenant="other"))
        case "other name":
            token = write_token(msgspec.structs.replace(told, sidecar="edge-9"))
        case "guessed":
            token = write_token(msgspec.structs.replace(told, id=secrets.token_urlsafe(24)))
        case "cut":
            token = token[:-4]
        case "not a key":
            key["x"] = "AAAA"

    answer = lab.call("POST", "/v1/sidecars", {"token": token, "public_key": key}, who=None)

    assert answer.status_code == 422
    assert answer.json()["code"] == ("SIDECAR_KEY" if how == "not a key" else "SIDECAR_TOKEN")


def test_only_an_owner_makes_tokens(lab: Lab) -> None:
    for who in ("viewer", "helpdesk", "approver", "security"):
        assert lab.call("POST", "/v1/sidecars/tokens", {"sidecar": "edge-1"}, who=who).status_code == 403
    assert lab.call("POST", "/v1/sidecars/tokens", {"sidecar": "edge-1"}, who=None).status_code == 401


def test_a_statement_is_good_once_for_a_minute_for_this_control_plane_by_this_key(lab: Lab) -> None:
    key = lab.join()
    proof = signed(key)

    assert lab.sidecars.identify(proof).id == "edge-1"
    assert refused(lab, proof) == "AUTH_REFUSED"
    for claims in (
        {"aud": "https://other.example"}, {"iss": "edge-2"}, {"iss": None}, {"aud": None}, {"jti": None},
        {"exp": None}, {"iat": None}, {"exp": NOW + 3600}, {"iat": NOW - 300, "exp": NOW - 240},
        {"iat": NOW + 300, "exp": NOW + 360}, {"iat": "now"}, {"exp": True},
    ):  # fmt: skip
        assert refused(lab, signed(key, **claims)) == "AUTH_REFUSED", claims
    assert refused(lab, signed(StreamKey.generate())) == "AUTH_REFUSED"
    assert refused(lab, sign(b"{}", key, kind="zt-device+jwt").encode()) == "AUTH_REFUSED"
    assert refused(lab, b"not.a.jws") == "AUTH_REFUSED"


def test_used_statements_are_forgotten_once_they_are_over(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_STATEMENTS > 1000
    monkeypatch.setattr("zt_engine.control_plane.statements.MAX_STATEMENTS", 2)
    key = lab.join()
    for _ in range(2):
        lab.sidecars.identify(signed(key))
    assert refused(lab, signed(key)) == "AUTH_REFUSED"

    lab.clock.advance(200)
    later = int(lab.clock.now())
    assert lab.sidecars.identify(signed(key, iat=later, exp=later + 60)).id == "edge-1"


def test_who_asks_is_known_without_the_database_for_a_second_and_not_longer(lab: Lab) -> None:
    key = lab.join()
    assert lab.sidecars.identify_at_once(signed(key)) is None
    lab.sidecars.identify(signed(key))

    proof = signed(key)
    known = lab.sidecars.identify_at_once(proof)
    assert known is not None
    assert known.id == "edge-1"
    with pytest.raises(InputError, match="AUTH_REFUSED"):
        lab.sidecars.identify_at_once(proof)
    assert lab.sidecars.identify_at_once(signed(key, iss="edge-9")) is None  # it may have joined just now
    lab.clock.advance(1.5)
    assert lab.sidecars.identify_at_once(signed(key)) is None


def test_whoever_is_revoked_is_refused_at_once_and_by_another_control_plane_within_a_second(lab: Lab) -> None:
    key, other = lab.join(), lab.join("edge-2")
    lab.sidecars.identify(signed(key))
    answer = lab.call("POST", "/v1/sidecars/edge-1/revoke", {"reason": "stolen"})
    assert answer.status_code == 200
    assert lab.sidecars.identify_at_once(signed(key)) is None
    assert refused(lab, signed(key)) == "AUTH_REFUSED"

    with lab.store.writing(TENANT) as tx:  # as another one on this database does
        lab.sidecars.revoke(tx, "edge-2", reason="stolen", actor="system", now=NOW)
    lab.clock.advance(1.0)
    assert lab.sidecars.identify_at_once(signed(other, iss="edge-2")) is None
    assert refused(lab, signed(other, iss="edge-2")) == "AUTH_REFUSED"


def test_an_acknowledgement_with_a_fault_is_refused_as_on_every_other_route(lab: Lab) -> None:
    key = lab.join()

    for said, code in (
        ({"applied_seq": -1}, "REQUEST_INVALID"), ({"refusals": ["x"] * 30}, "REQUEST_INVALID"),
        ({"bundle_digest": "0" * 64 + "\n"}, "REQUEST_INVALID"), ({"odd": 1}, "REQUEST_INVALID"),
    ):  # fmt: skip
        answer = lab.status(key, **said)
        assert (answer.status_code, answer.json()["code"]) == (422, code), said
    assert lab.status(key, revision="r" * 128, refusals=["A"] * 20, bundle_seq=3).status_code == 200


def test_an_acknowledgement_is_answered_with_the_signed_time(lab: Lab) -> None:
    answer = lab.status(lab.join())

    told = unseal(answer.content, StatusAnswer, {STREAM.key_id: STREAM.public()}, tenant=TENANT)
    assert (told.nonce, told.now) == (NONCE, lab.clock.now())


def test_who_is_behind_is_said_since_when_and_why(lab: Lab) -> None:
    keys = {name: lab.join(name) for name in ("edge-1", "edge-2", "edge-3", "edge-4")}
    for level in (1, 2):
        with lab.store.writing(TENANT) as tx:
            tx.outbox.announce("threat_level.changed", b'{"threat_level":%d}' % level)
        lab.origin.turn()
        lab.clock.advance(10)
    lab.status(keys["edge-1"], "edge-1", seq=2)
    lab.status(keys["edge-2"], "edge-2", seq=1, refusals=["STREAM_EVENT"])
    lab.status(keys["edge-3"], "edge-3", seq=1)
    lab.sidecars.flush(lab.clock.now())

    items = lab.call("GET", "/v1/lag").json()["items"]

    assert {item["sidecar"]: (item["why"], item["since"]) for item in items} == {
        "edge-2": ("refused", NOW + 10), "edge-3": ("behind", NOW + 10), "edge-4": ("never_heard", NOW + 10),
    }  # fmt: skip
    assert [item["sidecar"] for item in lab.call("GET", "/v1/lag?seq=1").json()["items"]] == ["edge-4"]

    lab.clock.advance(100)
    items = lab.call("GET", "/v1/lag").json()["items"]
    assert {item["why"] for item in items} == {"disconnected", "never_heard"}
    assert lab.call("GET", "/v1/sidecars/edge-3/lag").json()["behind"] == 1
    assert lab.call("GET", "/v1/sidecars/edge-1/lag").json()["why"] is None
    assert lab.call("GET", "/v1/sidecars/nobody/lag").status_code == 404


def test_a_revoked_sidecar_is_admitted_no_more_and_its_stream_ends(lab: Lab) -> None:
    key = lab.join()
    listener = lab.origin.hub.attach("edge-1")

    answer = lab.call("POST", "/v1/sidecars/edge-1/revoke", {"reason": "sold"})

    assert answer.status_code == 200
    assert listener.ended == "revoked"
    assert lab.status(key).status_code == 401
    assert lab.call("GET", "/v1/lag").json()["items"] == []
    assert lab.audit()[-1].reason == "sold"


def test_one_that_another_control_plane_revoked_is_cut_off_as_well(lab: Lab) -> None:
    lab.join()
    listener = lab.origin.hub.attach("edge-1")
    with lab.store.writing(TENANT) as tx:
        lab.sidecars.revoke(tx, "edge-1", reason="elsewhere", actor="admin:owner", now=NOW)

    lab.sidecars.flush(lab.clock.now() + 10)

    assert listener.ended == "revoked"


def test_joining_again_under_a_name_makes_the_old_key_worthless(lab: Lab) -> None:
    old, new = lab.join(), lab.join()

    assert refused(lab, signed(old)) == "AUTH_REFUSED"
    assert lab.sidecars.identify(signed(new)).id == "edge-1"


def test_the_stream_is_served_to_sidecars_alone(lab: Lab) -> None:
    for path in ("/v1/stream", "/v1/watermark", "/v1/snapshot", "/v1/keys"):
        assert lab.call("GET", path, who=None).status_code == 401
        assert lab.call("GET", path, who="owner").status_code == 401


def test_whoever_asks_too_early_is_told_to_come_back(lab: Lab) -> None:
    key = lab.join()
    lab.origin.fence = 0
    proof = statement(key, sidecar="edge-1", audience=URL, now=lab.clock.now())

    answer = lab.call("GET", "/v1/stream", who=None, authorization=f"Bearer {proof}")

    assert (answer.status_code, answer.json()["code"]) == (503, "STREAM_NOT_READY")
    assert int(answer.headers["retry-after"]) > 0


PLACE = {"site": "embassy-1", "labels": {"kind": "edge"}}


def test_a_sidecar_stands_where_its_token_says_and_later_where_an_owner_says(lab: Lab) -> None:
    key = StreamKey.generate()
    lab.call("POST", "/v1/sidecars", {"token": lab.token(**PLACE), "public_key": dict(key.jwk)}, who=None)
    (joined,) = lab.call("GET", "/v1/sidecars").json()["items"]

    moved = lab.call("PUT", "/v1/sidecars/edge-1/place", {"site": "hq", "labels": {}, "reason": "moved"})
    lab.status(key)  # what it says of itself changes nothing that is said of it
    lab.sidecars.flush(lab.clock.now() + 10)
    (after,) = lab.call("GET", "/v1/sidecars").json()["items"]

    assert (joined["site"], joined["labels"]) == ("embassy-1", {"kind": "edge"})
    assert moved.status_code == 200
    assert (after["site"], after["labels"], after["seen_at"]) == ("hq", {}, NOW)
    assert (lab.audit()[-1].action, lab.audit()[-1].reason) == ("sidecar.placed", "moved")
    assert lab.call("PUT", "/v1/sidecars/nobody/place", {"reason": "x"}).status_code == 404
    assert lab.call("PUT", "/v1/sidecars/edge-1/place", {"reason": "x"}, who="security").status_code == 403


@pytest.mark.parametrize("change", [{"site": "hq"}, {"labels": {}}, {"labels": {"kind": "edge", "ring": "1"}}])
def test_a_token_admits_to_no_other_place_than_it_was_made_for(lab: Lab, change: dict[str, Any]) -> None:
    told = msgspec.structs.replace(read_token(lab.token(**PLACE)), **change)

    answer = lab.call(
        "POST", "/v1/sidecars", {"token": write_token(told), "public_key": dict(StreamKey.generate().jwk)}, who=None
    )

    assert answer.json()["code"] == "SIDECAR_TOKEN"
