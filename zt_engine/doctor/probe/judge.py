"""What an answer says about the proxy. Pure: requests and answers in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from zt_engine.doctor.finding import Finding, Place
from zt_engine.doctor.probe.requests import Probe
from zt_engine.doctor.probe.wire import Answer

REFUSALS = frozenset({401, 403})
_OF_A_HOOK = ("PEP_", "HOOK_")
_TOLD_TO_PROXIES = ("zt-decision", "zt-subject", "zt-trust")


def usable(answer: Answer) -> bool:
    """Whether the protected path was answered in a way that the rest can be compared with."""
    return 200 <= answer.status < 500


def passed(probe: Probe, answer: Answer) -> bool:
    """Whether a request got through: success, or a redirect that is more than a tidier spelling of the path."""
    if answer.status == 101 or 200 <= answer.status < 300:
        return True
    return 300 <= answer.status < 400 and urlsplit(answer.header("location")).path.rstrip("/") != probe.path.rstrip("/")


def opened(probe: Probe, answer: Answer) -> Iterator[Finding]:
    """The protected path itself, asked for without any credential."""
    if answer.status in REFUSALS:
        return
    if answer.header("zt-reason") or 300 <= answer.status < 400:
        yield finding("PROBE_STATUS_CHANGED", probe, answer)
    elif passed(probe, answer):
        yield finding("PROBE_OPEN", probe, answer)


def hook(probe: Probe, answer: Answer, control: Answer) -> Iterator[Finding]:
    """A path of the sidecar's: is it the sidecar that answers a client?"""
    reason = answer.header("zt-reason")
    named = reason.startswith(_OF_A_HOOK) or "zt-pep-key" in answer.header("www-authenticate").lower()
    told = answer.status == 200 and any(answer.header(name) for name in _TOLD_TO_PROXIES)
    differs = 200 <= answer.status < 300 and not 200 <= control.status < 300
    if (named and reason != control.header("zt-reason")) or told or differs:
        yield finding("PROBE_HOOK_REACHABLE", probe, answer)


def attempt(probe: Probe, answer: Answer, nothing: Answer) -> Iterator[Finding]:
    """A request that should have been refused; `nothing` is what a public folder says to a name that is not there."""
    if not passed(probe, answer) or (answer.body and (answer.status, answer.body) == (nothing.status, nothing.body)):
        return
    preflight = probe.raw.startswith(b"OPTIONS") and answer.status < 300
    if preflight and not answer.body and not answer.header("access-control-allow-origin"):
        return  # some proxies answer these themselves, and an empty answer gives nothing away
    yield finding(probe.code, probe, answer)


def twins(probe: Probe, answer: Answer, base: Answer) -> Iterator[Finding]:
    """Two hosts: let through, or judged by one of them as if the other were not there."""
    same = (answer.status, answer.header("zt-reason")) == (base.status, base.header("zt-reason"))
    if passed(probe, answer) or (same and answer.status in REFUSALS):
        yield finding(probe.code, probe, answer)


def stranger(probe: Probe, answer: Answer) -> Iterator[Finding]:
    """A host that nobody serves; an empty page, as Caddy has it, gives nothing away."""
    if passed(probe, answer) and answer.body:
        yield finding(probe.code, probe, answer)


def finding(code: str, probe: Probe, answer: Answer) -> Finding:
    """Return a finding; a request has no line."""
    reason = answer.header("zt-reason")
    return Finding(code, Place(probe.says, 0), f"answered {answer.status}{f' {reason[:80]}' if reason else ''}")
