"""Tokens and records of people, as a source of each field would say them."""

from __future__ import annotations

import pytest

from tests.issuer import NOW
from zt_engine.core.errors import InputError
from zt_engine.core.identity import (
    SubjectRecord,
    VerifiedToken,
    establish,
)
from zt_engine.core.issuer import (
    NOBODY,
    SUBJECT_FIELDS,
    IssuerMapping,
    Source,
)

ISSUER = "https://idp.example"
X5T, JKT = "A" * 43, "B" * 43
ALL_CLAIMS = IssuerMapping(sources={name: Source("claim", (name,)) for name in SUBJECT_FIELDS})
NO_SOURCE = IssuerMapping(sources=dict.fromkeys(SUBJECT_FIELDS, NOBODY))


def token(**changes: object) -> VerifiedToken:
    fields: dict[str, object] = {
        "issuer": ISSUER, "subject": "tanaka", "client_id": "portal-web", "claims": {}, "expires_at": NOW + 300,
        "not_before": NOW, "jti": "j1", "key_id": "k1", "x5t": "", "jkt": "", "session": "", "acr": "", "amr": (),
        "auth_time": None, "actor": None, "digest": "00",
    }  # fmt: skip
    return VerifiedToken(**(fields | changes))  # type: ignore[arg-type]


def record(**changes: object) -> SubjectRecord:
    fields: dict[str, object] = {
        "id": "tanaka", "issuer": ISSUER, "version": 3, "status": "active", "groups": ("staff",),
        "compartments": ("case:1",), "clearance": 200, "org": "cao", "valid_until": None, "roles": ("reader",),
        "nationality": "JP", "employment": "regular",
    }  # fmt: skip
    return SubjectRecord(**(fields | changes))  # type: ignore[arg-type]


def refusal(*args: object, **named: object) -> str:
    with pytest.raises(InputError) as caught:
        establish(*args, **named)  # type: ignore[arg-type]
    return caught.value.code


BOT = record(id="bot", type="workload", groups=("staff", "bots"), compartments=("case:2",), clearance=100, roles=())
