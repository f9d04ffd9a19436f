"""Rego for `opa-envoy-plugin` behind a real Envoy over gRPC, unchanged, and `opa eval` about the same requests."""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.e2e.envoy_world import PORTAL, EnvoyWorld
from tests.e2e.lab import Answer
from tests.fakes.opa_server import opa_server
from tests.peers import find_peer
from tests.proxies.envoy import EnvoyGrpcLab
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.bootstrap.authzen_bundle import build_rules

POLICIES = Path(__file__).parents[1] / "fixtures" / "rego"
API = b"api.example"
ALICE, BOB, EVE = (
    b"Authorization: Basic " + base64.b64encode(who) for who in (b"alice:secret", b"bob:secret", b"eve:secret")
)
JSON, FORM = b"Content-Type: application/json", b"Content-Type: application/x-www-form-urlencoded"
GRPC = b"Content-Type: application/grpc"
PARTS = b"Content-Type: multipart/form-data; boundary=----Form7x"


class Asked(NamedTuple):
    """One request of a client."""

    method: str
    target: str
    headers: tuple[bytes, ...] = ()
    body: bytes = b""


def parts_of(**given: bytes) -> bytes:
    """Fields as a browser writes them into parts."""
    mark = b"------Form7x"
    head = b'%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    return b"".join(head % (mark, name.encode(), value) for name, value in given.items()) + mark + b"--\r\n"


CASES: dict[str, list[Asked]] = {
    "roles": [
        Asked("GET", "/people", (ALICE,)),
        Asked("GET", "/people?lang=en", (BOB,)),
        Asked("POST", "/people", (ALICE,)),
        Asked("POST", "/people", (BOB,)),
        Asked("GET", "/people", (EVE,)),
        Asked("GET", "/people"),
    ],
    "paths": [
        Asked("GET", "/public/a%20b"),
        Asked("GET", "/public/a/b"),
        Asked("GET", "/reports/2024?view=summary"),
        Asked("GET", "/reports/2024?view=summary&view=all"),
        Asked("GET", "/reports/2024?view=s%75mmary"),
        Asked("GET", "/reports/1999?view=summary"),
        Asked("GET", "/reports/2024"),
    ],
    "old": [
        Asked("GET", "/docs/a", (b"User-Agent: Firefox",)),
        Asked("GET", "/docs/a", (b"User-Agent: Bad\xe9Bot",)),
        Asked("GET", "/docs/a/b"),
        Asked("POST", "/docs/a"),
    ],
    "transfers": [
        Asked("POST", "/t", (JSON,), b'{"amount": 99.5, "currency": "JPY"}'),
        Asked("POST", "/t", (JSON,), b'{"amount": 101, "currency": "JPY"}'),
        Asked("POST", "/t", (JSON,), b'{"amount": 1, "currency": "XXX"}'),
        Asked("POST", "/t", (b"Content-Type: text/plain",), b'{"amount": 1, "currency": "EUR"}'),
        Asked("POST", "/t", (FORM,), b"amount=5&note=a+b"),
        Asked("POST", "/t", (FORM,), b"amount=5&amount=500"),
        Asked("POST", "/t", (JSON,)),
        Asked("POST", "/t", (PARTS,), parts_of(amount=b"5", note=b"a b")),
        Asked("POST", "/t", (PARTS,), parts_of(amount=b"500")),
    ],
    "networks": [
        Asked("GET", "/inside/x"),
        Asked("GET", "/inside/x", (b"X-Forwarded-For: 10.0.0.1",)),
        Asked("GET", "/outside"),
    ],
    "services": [
        Asked("POST", "/people.People/Get", (GRPC, b"X-Team: hr"), b"\0\0\0\0\0"),
        Asked("POST", "/people.People/Delete", (GRPC, b"X-Team: hr"), b"\0\0\0\0\0"),
        Asked("POST", "/people.People/Get", (GRPC, b"X-Team: it"), b"\0\0\0\0\0"),
        Asked("POST", "/people.People/Get", (b"X-Team: hr",)),
    ],
}


class RegoWorld(EnvoyWorld):
    """A sidecar that asks one of the policies at a time; hosts are one of the catalogue and one that it lacks."""

    def __init__(self, envoy: Path, folder: Path, opa: str) -> None:
        super().__init__(envoy, folder, asking=())
        self.opa = opa
        rules = [f"{path.stem}/allow" for path in sorted(POLICIES.glob("*.rego"))]
        raw = build_rules(POLICIES, rules, OpaBinary(Path(opa)), key=self.sandbox.bundle_key, v0=True)
        self.sandbox.write("rego.tar.gz", raw)
        self.settings = (self.sandbox.folder / "zt.toml").read_text()
        place = folder / "rego"
        place.mkdir()
        shared = self.printed["grpc"]
        self.lab = self.labs["rego"] = EnvoyGrpcLab(
            envoy, place, proxy="mesh", sidecar_address=shared.sidecar[0], backend_address=self.backend.address,
            host="", hosts=(PORTAL.decode(), API.decode()), rego=True, request_body=4096,
            certificate=shared.certificate, certificate_key=shared.certificate_key, device_cas=shared.device_cas,
        ).start()  # fmt: skip

    def use(self, rule: str, more: str = "") -> None:
        """Take a rule up, as an operator does: by the settings and a reload."""
        text = self.settings.replace('name = "mesh"', f'name = "mesh"\nrego = "{rule}"') + more
        self.sandbox.write("zt.toml", text.encode())
        assert self.program is not None
        assert self.thread.run(self.program.reload(self.sandbox.config))

    def ask(self, asked: Asked, *, host: bytes = API) -> Answer:
        length = (b"Content-Length: %d" % len(asked.body),) if asked.body else ()
        return self.get(
            asked.target.encode(), *asked.headers, *length, method=asked.method.encode(), host=host, body=asked.body
        )

    def evaluated(self, policy: str) -> list[Any]:
        """What `opa eval` says of the cases of a policy; None where it is undefined."""
        query = f"[[said | said := data.{policy}.allow with input as case] | case := input.cases[_]]"
        command = [self.opa, "eval", "--v0-compatible", "-f", "json", "-I"]
        command += ["-d", str(POLICIES / f"{policy}.rego"), query]
        cases = [documented(asked) for asked in CASES[policy]]
        done = subprocess.run(command, input=json.dumps({"cases": cases}).encode(), capture_output=True, check=True)
        found = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
        return [said[0] if said else None for said in found]


def documented(asked: Asked) -> dict[str, Any]:
    """The input that the plugin's documentation shows, written here without any of the engine's code."""
    named = [line.split(b": ", 1) for line in asked.headers]
    headers = {name.decode().lower(): value.decode("utf-8", "replace") for name, value in named}
    headers |= {
        ":method": asked.method,
        ":path": asked.target,
        ":authority": API.decode(),
        "x-forwarded-proto": "https",
    }
    headers["x-forwarded-for"] = "127.0.0.1"
    body: Any = None
    if asked.body:
        headers["content-length"] = str(len(asked.body))
        if headers.get("content-type") == "application/json":
            body = json.loads(asked.body)
        elif headers.get("content-type", "").startswith("multipart/"):
            body = {name: [value] for name, value in re.findall(r'name="(\w+)"\r\n\r\n(.*)\r', asked.body.decode())}
        elif "form" in headers.get("content-type", ""):
            body = parse_qs(asked.body.decode())
    url = urlsplit(asked.target)
    return {
        "attributes": {
            "source": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 50000}}},
            "destination": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 443}}},
            "request": {
                "time": "2026-11-27T09:47:47.722473Z",
                "http": {
                    "id": "13519049518330544501", "method": asked.method, "headers": headers, "path": asked.target,
                    "host": API.decode(), "scheme": "https", "protocol": "HTTP/1.1", "body": asked.body.decode(),
                },
            },
            "metadataContext": {},
        },
        "parsed_path": unquote(url.path).lstrip("/").split("/"),
        "parsed_query": parse_qs(url.query),
        "parsed_body": body,
        "truncated_body": False,
        "version": {"encoding": "protojson", "ext_authz": "v3"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[RegoWorld]:
    envoy = find_peer("envoy")
    if envoy is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `envoy` is missing")
        pytest.skip(reason="no envoy on this machine")
    running = RegoWorld(envoy, tmp_path_factory.mktemp("rego"), opa)
    yield running
    running.close()


@pytest.mark.parametrize("policy", CASES)
def test_envoy_and_opa_come_to_the_same_about_every_request(world: RegoWorld, policy: str) -> None:
    world.use(f"{policy}/allow")
    expected = world.evaluated(policy)

    answers = [world.ask(asked) for asked in CASES[policy]]

    allowed = [said is True or (isinstance(said, dict) and said["allowed"]) for said in expected]
    assert [answer.status == 200 and answer.body == b"backend" for answer in answers] == allowed
    assert True in allowed and False in allowed


def test_headers_status_and_body_reach_whom_the_policy_says(world: RegoWorld) -> None:
    world.use("roles/allow")

    answer = world.ask(Asked("GET", "/people", (ALICE, b"X-User: root", b"X-Internal: 1")))
    denied = world.ask(Asked("POST", "/people", (ALICE,)))
    away = world.ask(Asked("GET", "/people"))

    received = world.backend.received[-1]
    assert received.values("x-user") == [b"alice"] and received.values("x-role") == [b"guest"]
    assert received.values("x-internal") == [] and answer.values("x-decided-by") == [b"roles"]
    assert (denied.status, denied.body, denied.values("zt-reason")) == (403, b"not yours", [b"REGO_DENIED"])
    assert (away.status, away.values("location")) == (302, [b"https://login.example/"])


def test_each_decision_is_recorded_with_the_bundle_and_a_digest_and_nothing_of_the_request(world: RegoWorld) -> None:
    world.use("roles/allow")

    answer = world.ask(Asked("GET", "/people?token=geheim", (ALICE,)))
    allowed = world.events()[-1]
    world.ask(Asked("POST", "/people", (ALICE,)))
    denied = world.events()[-1]

    assert answer.status == 200
    assert world.backend.received[-1].values("zt-decision") == [allowed["decision_id"].encode()]
    for event, effect, reasons in ((allowed, "allow", []), (denied, "deny", ["REGO_DENIED"])):
        assert (event["effect"], event["reasons"], event["source"]) == (effect, reasons, "rego")
        assert event["revision"].startswith("rules-") and len(event["versions"]["bundle"]) == 64
        assert (event["host"], event["route"]) == (API.decode(), "roles/allow")
        assert len(event["input_digest"]) == 64 and len(event["path_hmac"]) == 64
    written = b"".join(path.read_bytes() for path in (world.sandbox.folder / "log").rglob("*.jsonl"))
    assert b"geheim" not in written and ALICE.split()[-1] not in written


def test_identity_headers_are_empty_where_the_rule_decides_alone(world: RegoWorld) -> None:
    world.use("networks/allow")

    world.ask(Asked("GET", "/inside"))

    assert world.backend.received[-1].values("zt-subject") in ([], [b""])


@pytest.mark.parametrize(
    "answer", ["text", "number", "empty", "unsure", "path", "identity", "rewritten", "query", "split", "status", "none"]
)
def test_an_answer_that_is_none_or_would_change_what_was_asked_denies(world: RegoWorld, answer: str) -> None:
    world.use("mistaken/allow")
    before = len(world.backend.received)

    got = world.ask(Asked("GET", f"/{answer}"))

    assert got.status == 403 and len(world.backend.received) == before
    assert got.values("zt-reason") == [b"REGO_DENIED" if answer == "none" else b"REGO_RESULT"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Asked("GET", "/public/%252e"), b"PATH_AMBIGUOUS"),
        (Asked("GET", "/public/a;b"), b"PATH_AMBIGUOUS"),
        (Asked("GET", "/public/a?view=1;view=2"), b"PATH_AMBIGUOUS"),
        (Asked("GET", "/public/a?view=%zz"), b"PATH_AMBIGUOUS"),
        (Asked("GET", "/public/a", (b"Zt-Subject: root",)), b"HEADER_RESERVED"),
        (Asked("GET", "/public/a", (b"X-HTTP-Method-Override: DELETE",)), b"METHOD_OVERRIDE"),
        (Asked("POST", "/public/a", (JSON,), b'{"a": 1, "a": 2}'), b"REGO_BODY"),
        (Asked("POST", "/public/a", (JSON,), b"{"), b"REGO_BODY"),
        (Asked("POST", "/public/a", (b"Content-Type: multipart/form-data; boundary=x",), b"--x--"), b"REGO_BODY"),
    ],
)
def test_what_two_readers_take_differently_never_reaches_the_rule(world: RegoWorld, asked: Asked, code: bytes) -> None:
    world.use("paths/allow")

    answer = world.ask(asked)

    assert (answer.status, answer.values("zt-reason")) == (403, [code])


def test_a_body_longer_than_the_rule_is_told_is_refused(world: RegoWorld) -> None:
    world.use("transfers/allow")

    answer = world.ask(Asked("POST", "/t", (JSON,), b'{"amount": 1, "currency": "JPY"}' + b" " * 5000))

    assert answer.status == 413


def test_on_a_host_of_the_catalogue_both_have_to_allow(world: RegoWorld) -> None:
    world.use("cases/allow")

    both = world.get(b"/cases/123", device=world.laptop)
    rule, own = world.events()[-2:]
    ruled_out = world.get(b"/cases/123?draft=1", device=world.laptop)
    denied = world.events()[-1]
    unsigned = world.ask(Asked("GET", "/cases/123"), host=PORTAL)

    assert both.status == 200 and [rule["source"] == "rego", own["source"] == "rego"] == [True, False]
    assert {event["effect"] for event in (rule, own)} == {"allow"} and rule["request_id"] == own["request_id"]
    received = world.backend.received[-1]
    assert received.values("zt-subject") == [b"tanaka"] and received.values("x-checked") == [b"yes"]
    assert received.values("zt-decision") == [own["decision_id"].encode()]
    assert ruled_out.values("zt-reason") == [b"REGO_DENIED"]
    assert (denied["subject"], denied["device"], denied["label"]) == ("tanaka", "laptop-1", own["label"])
    assert unsigned.status == 401 and unsigned.values("www-authenticate") == [b'Bearer realm="zt"']


def test_a_rule_that_the_bundle_lacks_denies_everything(world: RegoWorld) -> None:
    world.use("absent/allow")

    assert world.ask(Asked("GET", "/public/a")).values("zt-reason") == [b"REGO_DENIED"]


def test_what_a_module_cannot_do_a_running_opa_does_from_the_revision_that_was_named(
    world: RegoWorld, opa: str
) -> None:
    policy = b"""package tokens
import rego.v1
default allow := false
allow if {
	["Bearer", token] = split(input.attributes.request.http.headers.authorization, " ")
	[valid, _, claims] := io.jwt.decode_verify(token, {"secret": "secret", "time": 5})
	valid
	claims.sub == "tanaka"
	input.parsed_path == ["mine"]
}
"""
    with opa_server(opa, {"tokens.rego": policy}, revision="r-1") as address:
        world.use("tokens/allow", f'\n[rego]\nopa_url = "{address}"\nopa_revision = "r-1"\n')
        answers = [
            world.ask(Asked("GET", path, (b"Authorization: Bearer " + signed(secret),)))
            for path, secret in (("/mine", b"secret"), ("/mine", b"other"), ("/yours", b"secret"))
        ]
        event = world.events()[-3]
        world.use("tokens/allow", f'\n[rego]\nopa_url = "{address}"\nopa_revision = "r-2"\n')
        other = world.ask(Asked("GET", "/mine", (b"Authorization: Bearer " + signed(b"secret"),)))

    assert [answer.status for answer in answers] == [200, 403, 403]
    assert (event["effect"], event["revision"], event["source"]) == ("allow", "r-1", "rego")
    assert other.values("zt-reason") == [b"ENGINE_REVISION"]


def signed(secret: bytes) -> bytes:
    """A token as a small application makes one."""
    head, claims = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256"}, {"sub": "tanaka"})
    )
    mac = hmac.digest(secret, head + b"." + claims, "sha256")
    return b".".join([head, claims, base64.urlsafe_b64encode(mac).rstrip(b"=")])
