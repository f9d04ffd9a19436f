"""Invariant 10: secrets that are planted in requests and files turn up in no log, answer, metric or error."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.sidecar_support import Client, Reply, in_process, installation, laptop, question, raw_request, running
from zt_engine.adapters.dev_issuer import DevProver
from zt_engine.bootstrap.sandbox import Sandbox
from zt_engine.sidecar.hooks.nginx import NginxHook

QUERY = "tell-nobody-4711"
COOKIE = "cookie-of-tanaka-0815"
FOREIGN = "header-of-the-application-1234"
PATH = "cases/patient-yamada-taro"


def files_of(sandbox: Sandbox) -> dict[str, bytes]:
    """Everything that the sidecar has written."""
    folders = [sandbox.folder / name for name in ("log", "checkpoints", "state")]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in [*paths, *sandbox.folder.glob("*.stderr")]}


def test_invariant_10_no_secret_reaches_a_log_an_answer_a_metric_or_an_error(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    device = laptop(sandbox)
    prover = DevProver()
    bound = sandbox.token("tanaka", device=device)
    weak = sandbox.token("tanaka", acr="pwd", amr=["pwd"])
    expired = sandbox.token("tanaka", iat=1_700_000_000, exp=1_700_000_900)
    proving = sandbox.issuer.mint("tanaka", now=sandbox.now, jkt=prover.jkt).decode()
    proof = prover.prove(
        token=proving.encode(), method="GET", url="https://portal.example/cases/1", now=sandbox.now
    ).decode()
    forged = bound[:-12] + "forgedforged"
    wrong_key = "f" * 40 + "-not-the-key"
    noise = [("Cookie", f"session={COOKIE}"), ("X-Application", FOREIGN)]
    replies: list[Reply] = []

    with running(sandbox) as process:

        def ask(
            path: str, *, more: list[tuple[str, str]] = noise, without: tuple[str, ...] = (), **how: object
        ) -> None:
            client = Client(process.address)
            url = f"https://portal.example/{path}?password={QUERY}"
            replies.append(client.send(question(sandbox, url, more=more, without=without, **how)))
            client.close()

        for path in (PATH, "", "secret", "nowhere", "a/../b", "notes/a"):
            for token in (bound, weak, expired, forged, "x" * 9000, ""):
                ask(path, token=token, device=device)
                ask(path, token=token)
        ask("cases/1", more=[*noise, ("Authorization", f"DPoP {proving}"), ("DPoP", proof)])
        ask("cases/1", more=[*noise, ("Authorization", f"DPoP {proving}"), ("DPoP", proof)], request_id="again")
        ask("cases/1", more=[*noise, ("Authorization", f"Basic {QUERY}")])
        ask("cases/1", more=[*noise, ("Zt-Subject", COOKIE)])
        ask("cases/1", more=[*noise, ("Zt-Pep-Key", wrong_key)], without=("zt-pep-key",))
        admin = Client(process.admin)
        replies += [admin.get(path) for path in ("/metrics", "/readyz", "/healthz")]
        admin.close()
        # Errors about files quote what is wrong with them; what stands in them is nobody's business.
        sandbox.write("keys/pep.key", b"short-secret")
        process.signal(signal.SIGHUP)
        process.said("config.refused")
        sandbox.write(
            "policy/devices/laptop-1.json", json.dumps({"device_id": "x", "token": bound, "pin": COOKIE}).encode()
        )
        process.said("folder.refused")
        process.signal(signal.SIGTERM)
        process.ended()

    assert {reply.status for reply in replies} == {200, 401, 403}
    pem = device.certificate.escaped.decode()
    secrets = {
        "the query": QUERY,
        "the cookie": COOKIE,
        "an application's header": FOREIGN,
        "the path": "yamada",
        "the proxy's key": sandbox.pep_key,
        "a wrong key": wrong_key,
        "a key file": "short-secret",
        "the certificate": quote(pem.replace("%0A", "")[60:120]),
        "the certificate, decoded": device.certificate.pem.decode().splitlines()[2],
        "the path key": (sandbox.folder / "keys/path-hmac.key").read_text().strip(),
        **{f"token {number}": token.rpartition(".")[2] for number, token in enumerate((bound, weak, expired, proving))},
        **{f"claims {number}": token.split(".")[1] for number, token in enumerate((bound, weak, expired, proving))},
        "the forged token": "forgedforged",
        "the proof": proof.rpartition(".")[2],
    }
    told = {"an answer": "\n".join(reply.head + reply.body.decode() for reply in replies).encode(), **files_of(sandbox)}
    allowed = {str(path) for path in (sandbox.folder / "log/inputs").iterdir()}  # the inputs hold what the policy reads
    for where, content in told.items():
        for what, secret in secrets.items():
            if what == "the path" and where in allowed:
                continue
            assert secret.encode() not in content, f"{what} in {where}"
    assert any(b"path_hmac" in content for content in told.values())
    archived = str(sandbox.folder / "log/archive")  # a bundle carries its own signature, which is a JWS
    for where, content in told.items():
        assert where.startswith(archived) or re.search(rb"eyJ[A-Za-z0-9_-]{8,}\.", content) is None


def kept_by(generations: Any) -> list[Any]:
    kept = [*generations._young.values(), *generations._old.values()]
    assert kept
    return kept


def test_invariant_10_no_secret_is_in_a_repr(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    device = laptop(sandbox)
    token = sandbox.token("tanaka", device=device)
    with in_process(sandbox) as running_program:
        assert running_program.ask(token=token, device=device).status == 200
        program = running_program.program
        principals: Any = program.wiring.principals
        repeats: Any = program.app._mounts[NginxHook.path].repeats
        shown = "\n".join(
            repr(value)
            for value in (
                program.settings, program.wiring, program.wiring.trusted, program.wiring.trusted.credentials,
                principals, principals._tokens, principals._proofs, principals._certificates, program.authorizer,
                program.log, program.app, *principals._tokens._held.values(), *kept_by(principals._known),
                *kept_by(repeats._heads), *(memory.request for memory in kept_by(repeats._heads)), repeats,
            )
        )  # fmt: skip

    assert sandbox.pep_key not in shown
    assert token.rpartition(".")[2] not in shown
    assert (sandbox.folder / "keys/path-hmac.key").read_text().strip() not in shown
    assert "BEGIN CERTIFICATE" not in shown


def test_the_refusal_page_repeats_nothing_that_it_was_not_given(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with running(sandbox) as process:
        client = Client(process.address)
        page = client.send(
            raw_request(
                f"/v1/pages/denied?x={QUERY}",
                [
                    ("Zt-Pep-Key", sandbox.pep_key),
                    ("Cookie", COOKIE),
                    ("Zt-Reason", "<script>"),
                    ("Accept", "text/html"),
                ],
            )
        )
        client.close()

    assert QUERY.encode() not in page.body
    assert COOKIE.encode() not in page.body
    assert b"<script>" not in page.body
