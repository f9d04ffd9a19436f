"""Makes policy inputs of version 1 out of a pack's own words."""

from __future__ import annotations

import random
from collections.abc import Sequence

NOW = 1_790_000_000

type_names = ("user", "workload", "anonymous")
bindings = ("mtls", "dpop", "session", "none")
statuses = ("unknown", "invited", "enrolled", "active", "active", "active", "quarantined", "lost", "revoked", "retired")
methods = ("attested", "mdm_server", "signed_agent", "self_report", "declared")
fact_statuses = ("observed", "observed", "observed", "not_collected", "not_supported", "error")
odd_texts = ("", "é", "日本", "a b", "\u2028", "\x00", "🔒", "A" * 300, "../x", "true", "0", "-1", '"', "\\")
odd_values = (None, True, False, 0, 1, -1, 45, 2**53, "", "x", [], ["CVE-2023-4863"])
labels = ("C0", "C1", "C2", "C3-S", "C3-TS", "CX", "public", "internal", "confidential", "restricted")


class Maker:
    """Makes inputs of version 1: most members plausible, some odd, all of the right type."""

    def __init__(self, seed: int, *, words: Sequence[str], facts: Sequence[str], services: Sequence[str]) -> None:
        self.random = random.Random(seed)
        self.vocabulary, self.facts, self.services = words, facts, services

    def word(self) -> str:
        return self.random.choice(self.vocabulary)

    def words(self) -> list[str]:
        return [self.word() for _ in range(self.random.choice((0, 0, 1, 1, 2, 5)))]

    def one(self, *choices: object) -> object:
        return self.random.choice(choices)

    def number(self, *typical: int) -> int:
        return self.random.choice((*typical, *typical, 0, 1, -1, 10**6, self.random.randrange(1000)))

    def fact(self) -> dict[str, object]:
        status = self.random.choice(fact_statuses)
        value = (
            self.random.choice((*odd_values, True, True, False, False, self.word())) if status == "observed" else None
        )
        return {
            "status": status,
            "value": value,
            "method": self.random.choice(methods),
            "confidence": self.one(0, 1, 500, 1000, 1000, 1000),
        }

    def grant(self, number: int) -> dict[str, object]:
        kind = self.one("exception", "break_glass", "continuity", "approval")
        return {
            "id": f"g{number}",
            "kind": kind,
            "ceiling": self.one(0, 100, 200),
            "waives": self.words(),
            "not_after": NOW + 60,
            "action": self.word(),
            "object": self.word(),
            "approvers": self.words(),
        }

    def document(self) -> dict[str, object]:
        facts = {name: self.fact() for name in self.facts if self.random.random() < 0.9}
        delegate = {"type": "workload", "id": "bot", "clearance": self.number(100, 200), "compartments": self.words()}
        return {
            "version": 1,
            "request": {
                "method": self.one("GET", "POST", "DELETE"),
                "host": "portal.example",
                "path": f"/{self.word()}/123",
                "route": f"/{self.word()}/{{id}}",
                "write": self.one(True, False),
                "params": {"id": self.word()},
                "client_ip": self.one("192.0.2.1", "2001:db8::1"),
                "channel": self.one("open", "closed", self.word()),
                "hook": "nginx",
                "purpose": self.one(None, self.word()),
            },
            "subject": {
                "type": self.one(*type_names),
                "id": self.word(),
                "issuer": "https://idp.example",
                "groups": self.words(),
                "roles": self.words(),
                "org": self.word(),
                "nationality": self.one("JPN", "FRA", ""),
                "amr": self.words(),
                "acr": self.word(),
                "auth_age": self.one(None, 60, 900, 3600, 40_000),
                "compartments": self.words(),
                "clearance": self.one(0, 100, 200, 300, 400),
                "employment": self.word(),
                "valid_until": self.one(None, NOW - 1, NOW, NOW + 1),
                "binding": self.one(*bindings),
                "delegate": self.one(None, None, delegate),
            },
            "device": {
                "id": self.word(),
                "status": self.one(*statuses),
                "ownership": self.one("corp", "corp", "byod", "shared"),
                "assigned": self.one(True, True, False),
                "key_protection": self.word(),
                "report_age": self.number(60, 900, 1200, 86_400),
                "facts": facts,
            },
            "resource": {
                "service": self.random.choice(self.services),
                "service_ceiling": self.one(100, 200, 300, 900),
                "state": self.one(None, self.word()),
                "attributes": {
                    self.word(): self.one(True, False, self.word()) for _ in range(self.random.randrange(6))
                },
                "label": {
                    "code": self.word() if self.random.random() < 0.3 else self.one(*labels),
                    "rank": self.one(0, 100, 200, 300, 400, 900),
                    "integrity": self.one(1, 2),
                    "caveats": self.words(),
                    "compartments": self.words(),
                    "rel_to": self.words(),
                    "audience": self.words(),
                    "purpose": self.words(),
                },
            },
            "trust": {
                "score": self.number(0, 60, 75, 100),
                "best": self.number(92),
                "after_step_up": self.number(85),
                "pillars": {"device": self.number(80), "subject": self.number(70), "context": self.number(88)},
            },
            "grants": [self.grant(number) for number in range(self.random.choice((0, 0, 1, 3)))],
            "situation": {
                "threat_level": self.one(0, 0, 1, 2, 3, 4, 5),
                "overlays": [{"id": "o", "effect": self.word(), "scope": "tenant"}] * self.random.randrange(2),
                "continuity": self.one(False, False, True),
            },
            "enforces": self.words(),
            "tick_start": NOW - 5,
            "time": NOW,
        }
