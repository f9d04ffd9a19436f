"""The policy inputs behind a site's requests, taken from the very path that decides them."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop
from msgspec.structs import replace

from benchmarks.data import Key
from benchmarks.processes import BenchmarkError, free_port
from benchmarks.site import Site
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.config import load
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.hooks.nginx import PATH


class Question(msgspec.Struct, frozen=True):
    """One evaluation: which entrypoint, about what, and what our engine said."""

    entrypoint: str
    document: bytes
    answer: bytes


class Listening:
    """A `PolicyEngine` that remembers what it was asked."""

    def __init__(self, engine: PolicyEngine) -> None:
        self._engine = engine
        self.revision = engine.revision
        self.heard: list[Question] = []

    def evaluate(self, entrypoint: str, document: bytes) -> bytes:
        answer = self._engine.evaluate(entrypoint, document)
        self.heard.append(Question(entrypoint, document, answer))
        return answer

    def close(self) -> None:
        self._engine.close()


class Recorded(msgspec.Struct, frozen=True):
    """What the decision path made of every key: the question it put to the engine, and its answer to the proxy."""

    questions: list[Question]
    answer: bytes


def record(site: Site, keys: Sequence[Key], folder: Path) -> Recorded:
    """Decide every key once, in process; raises BenchmarkError if one is not allowed."""
    config = site.clone(folder, port=free_port(), admin_port=free_port(), cache=False)
    return uvloop.run(_record(site, keys, config))


async def _record(site: Site, keys: Sequence[Key], config: Path) -> Recorded:
    program = SidecarProgram(load(config))
    await program.start()
    try:
        policy = program.authorizer.policy
        if policy is None:
            raise BenchmarkError(f"the sidecar is not ready: {program.readiness()}")
        engine = Listening(policy.engine)
        program.authorizer.activate(replace(policy, engine=engine))
        app = program.app
        answer = b""
        for key in keys:
            names, headers = parsed(site.request(key))
            (answer,) = app.seal([app.answer(PATH, b"GET", headers, names, None)])
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise BenchmarkError(f"{site.people[key.person].id} may not open {key.target.path}: {answer.decode()}")
        await asyncio.sleep(0)
        return Recorded(engine.heard, answer)
    finally:
        await program.stop()


def parsed(request: bytes) -> tuple[tuple[bytes, ...], dict[bytes, bytes]]:
    """Return names and headers of a request as the listener hands them on."""
    lines = [line.split(b": ", 1) for line in request.split(b"\r\n")[1:-2]]
    return tuple(name for name, _ in lines), {**dict(lines), b"": b""}


def opa_request(question: Question) -> bytes:
    """Return the request that puts the same question to an OPA server."""
    body = b'{"input":%b}' % question.document
    return (
        b"POST /v1/data/%b HTTP/1.1\r\nHost: opa\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (question.entrypoint.encode(), len(body), body)
    )


def ask_opa(port: int, question: Question) -> object:
    """Put a question to an OPA server and return the value it gives."""
    body = b'{"input":%b}' % question.document
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/data/{question.entrypoint}", data=body)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return comparable(msgspec.json.decode(answer.read()).get("result"))


def value(answer: bytes) -> object:
    """Return what our engine gave, in a form that can be compared with what OPA gives."""
    return comparable(msgspec.json.decode(answer))


def comparable(answer: object) -> object:
    """Order what is a set in Rego and a list in JSON."""
    if isinstance(answer, dict):
        return {key: comparable(item) for key, item in answer.items()}
    if isinstance(answer, list):
        return sorted((comparable(item) for item in answer), key=msgspec.json.encode)
    return answer
