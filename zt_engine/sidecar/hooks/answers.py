"""Answers as header blocks. Everything but the decision's id is constant for a cached decision, so it is built once.

On every allow all identity headers are present, empty if unknown: a proxy that copies them thereby overwrites whatever
the client sent under their names. A denial never shows thresholds or rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

import msgspec

from zt_engine.core.decision import Decision, Effect, Obligation, Unmet

MAX_IDENTITY_BYTES = 4096
_SAFE = "!$&'()*+-./:=@^_`|~"
_PLAIN = re.compile(r"[A-Za-z0-9!$&'()*+./:=@^_`|~-]*")

IDENTITY_HEADERS = (
    "Zt-Subject",
    "Zt-Device",
    "Zt-Groups",
    "Zt-Max-Label",
    "Zt-Trust",
    "Zt-Obligations",
    "Zt-Assertion",
)
_WHO = "".join(f"{name}: {{}}\r\n" for name in IDENTITY_HEADERS[:3])
_WHAT = "".join(f"{name}: %b\r\n" for name in IDENTITY_HEADERS[3:]).encode("ascii")
_ALLOW = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: no-store\r\n%b" + _WHAT + b"Zt-Decision: "


def visible(text: str) -> str:
    """Percent-encode what is not visible ASCII, and what has a meaning in a list, so that a value is one value."""
    return text if _PLAIN.fullmatch(text) is not None else quote(text, safe=_SAFE)


def obligations_list(obligations: Iterable[Obligation]) -> str:
    """Return the obligations as an RFC 8941 list of tokens with an optional `value` parameter."""
    items = []
    for obligation in obligations:
        if obligation.value is None:
            items.append(obligation.id)
        elif isinstance(obligation.value, int):
            items.append(f"{obligation.id};value={obligation.value}")
        else:
            items.append(f'{obligation.id};value="{visible(obligation.value)}"')
    return ", ".join(items)


class Identity(msgspec.Struct, frozen=True):
    """Who asked and from where, as answers say it, with the groups and without them."""

    lines: bytes
    without_groups: bytes
    size: int
    """Characters of the values in `lines`."""

    @classmethod
    def of(cls, *, subject: str, device: str, groups: Iterable[str]) -> Identity:
        """Write the three identity headers."""
        values = visible(subject), visible(device), ",".join(map(visible, groups))
        whole, short = _WHO.format(*values), _WHO.format(*values[:2], "")
        return cls(whole.encode("ascii"), short.encode("ascii"), sum(map(len, values)))


def allow_head(identity: Identity, *, label: str, trust: int, obligations: str, assertion: str) -> bytes:
    """Return the answer 200 up to the value of Zt-Decision, which is the last header.

    Identity takes 4 KiB at most (a proxy's header buffer): beyond that the groups are left empty, and a backend that
    needs them asks its directory; a truncated list would silently be another list.
    """
    label, score = visible(label), str(trust)
    fits = identity.size + len(label) + len(score) + len(obligations) <= MAX_IDENTITY_BYTES
    return _ALLOW % (
        identity.lines if fits else identity.without_groups,
        label.encode("ascii"),
        score.encode("ascii"),
        obligations.encode("ascii"),
        assertion.encode("ascii"),
    )


def deny_head(
    decision: Decision, *, scheme: str, has_credential: bool, told: str = "", language: str = ""
) -> bytes:  # fmt: skip
    """Return the answer 401 or 403 up to the value of Zt-Decision. `told` is said instead of the first reason.

    `language` is the person's own, for whom the browser asks for none of ours.
    """
    spoken = f"Zt-Language: {language}\r\n" if language else ""
    reason = told or (decision.reasons[0] if decision.reasons else "INTERNAL_ERROR")
    if decision.effect is not Effect.STEP_UP:
        return (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nCache-Control: no-store\r\n"
            f"{spoken}Zt-Reason: {reason}\r\nZt-Decision: "
        ).encode("ascii")
    challenge = www_authenticate(decision, scheme=scheme, has_credential=has_credential)
    return (
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nCache-Control: no-store\r\n"
        f"WWW-Authenticate: {challenge}\r\n{spoken}Zt-Reason: {reason}\r\nZt-Decision: "
    ).encode("ascii")


def www_authenticate(decision: Decision, *, scheme: str, has_credential: bool) -> str:
    """Return the challenge: RFC 6750 without a credential or for a bad one, RFC 9470 for one too weak or too old."""
    name = "DPoP" if scheme == "dpop" else "Bearer"
    if not has_credential:
        return f'{name} realm="zt"'
    code = decision.reasons[0] if decision.reasons else ""
    if code.startswith("DPOP_"):
        return 'DPoP error="invalid_dpop_proof", algs="ES256 EdDSA"'
    if code.startswith(("TOKEN_", "KEYS_", "JTI_", "SESSION_")):
        return f'{name} error="invalid_token"'
    parts = [
        f'{name} error="insufficient_user_authentication"',
        'error_description="A different authentication level is required"',
    ]
    parts += _wanted(decision.unmet)
    return ", ".join(parts)


def _wanted(unmet: Iterable[Unmet]) -> list[str]:
    acrs = dict.fromkeys(item.acr for item in unmet if item.acr)
    ages = [item.max_age for item in unmet if item.max_age >= 0]
    wanted = [f'acr_values="{" ".join(map(visible, acrs))}"'] if acrs else []
    return wanted + ([f'max_age="{min(ages)}"'] if ages else [])
