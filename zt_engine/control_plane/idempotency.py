"""A write that is sent twice happens once: the answer is remembered in the transaction of the change itself.

The same key with the same request gives the same answer again; with another one it is IDEMPOTENCY_MISMATCH. Of two at
the same moment one finds the other's answer. What was refused changed nothing, is not remembered, and is tried anew.

Secrets an answer tells once (an invitation's code) are kept masked by the key itself, of which the store holds only the
digest: the database alone does not give them away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Header, Request
from starlette.responses import Response

from zt_engine.control_plane.access import CALLER
from zt_engine.control_plane.context import ControlPlane
from zt_engine.core.errors import InputError, UnavailableError
from zt_engine.core.jose import from_base64url, to_base64url
from zt_engine.ports.inventory import RememberedAnswer, Transaction

REMEMBERED: Final = 86_400
ATTEMPTS: Final = 5
"""How often a change is made again when something else changed the same at the same time."""

KeyHeader = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=16,
        max_length=128,
        pattern=r"^[!-~]+$",
        description="What the client calls this request, for example a UUID: sent twice, it is done once.",
    ),
]


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One request that changes something: who sent it, what it is called, and what it says."""

    actor: str
    key: str
    digest: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a write answers; `secrets` are members that are told and not kept."""

    body: Mapping[str, Any]
    status: int = 200
    secrets: Mapping[str, str] = {}


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    body: dict[str, Any]
    masked: dict[str, str]


async def _write(request: Request, key: KeyHeader) -> Write:
    digest = hashlib.sha256(f"{request.method} {request.scope['path']}\n".encode() + await request.body())
    return Write(actor=request.scope[CALLER].actor, key=key, digest=digest.hexdigest())


Writing = Annotated[Write, Depends(_write)]
"""The parameter of a route that changes something and is not the same when done twice."""


def once(plane: ControlPlane, write: Write, work: Callable[[Transaction], Answer]) -> Response:
    """Do `work` in a transaction unless it was done under this key before; answer the same either way.

    `work` may be called several times, of which the last one counts.
    """
    held_as = hashlib.sha256(write.key.encode()).hexdigest()
    for attempt in range(ATTEMPTS):
        try:
            with plane.store.writing(plane.settings.tenant) as tx:
                held = tx.answers.get(write.actor, held_as)
                if held is not None:
                    return _again(held, write)
                answer = work(tx)
                kept = _Kept(
                    body=dict(answer.body), masked={name: _mask(write, name, text) for name, text in _secret(answer)}
                )
                remembered = RememberedAnswer(
                    request_digest=write.digest, status=answer.status, body=msgspec.json.encode(kept)
                )
                tx.answers.put(write.actor, held_as, remembered, expires_at=plane.now() + REMEMBERED)
        except UnavailableError as error:
            if error.code != "STORE_CONFLICT" or attempt + 1 == ATTEMPTS:
                raise
        else:
            return _response(answer.status, {**answer.body, **answer.secrets})
    raise AssertionError("unreachable")


def again(plane: ControlPlane, write: Write) -> Response | None:
    """Return what was answered under this key before, for a write whose preparation is slow or refuses what is done."""
    with plane.store.reading(plane.settings.tenant) as tx:
        held = tx.answers.get(write.actor, hashlib.sha256(write.key.encode()).hexdigest())
    return None if held is None else _again(held, write)


def _secret(answer: Answer) -> list[tuple[str, str]]:
    return sorted(answer.secrets.items())


def _again(held: RememberedAnswer, write: Write) -> Response:
    if held.request_digest != write.digest:
        raise InputError("IDEMPOTENCY_MISMATCH", "another request was sent under this key before")
    kept = msgspec.json.decode(held.body, type=_Kept)
    secrets = {name: _unmask(write, name, text) for name, text in kept.masked.items()}
    return _response(held.status, {**kept.body, **secrets})


def _response(status: int, body: Mapping[str, Any]) -> Response:
    return Response(msgspec.json.encode(dict(body)), status, media_type="application/json")


def _mask(write: Write, name: str, text: str) -> str:
    return to_base64url(_mixed(write, name, text.encode()))


def _unmask(write: Write, name: str, masked: str) -> str:
    return _mixed(write, name, from_base64url(masked)).decode()


def _mixed(write: Write, name: str, raw: bytes) -> bytes:
    seed = f"zt-answer/1\n{write.actor}\n{write.digest}\n{name}\n{write.key}".encode()
    stream = hashlib.shake_256(seed).digest(len(raw))
    return bytes(one ^ other for one, other in zip(raw, stream, strict=True))
