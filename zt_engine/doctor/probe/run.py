"""All requests, one after the other, and one report."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from zt_engine.core.errors import ConfigError
from zt_engine.doctor.addresses import stays_here
from zt_engine.doctor.finding import Finding, Place, Report, in_order
from zt_engine.doctor.probe import judge, requests
from zt_engine.doctor.probe.requests import Probe
from zt_engine.doctor.probe.target import Target
from zt_engine.doctor.probe.wire import Answer
from zt_engine.doctor.sources import fault

Ask = Callable[[Probe], Answer]


def probe(target: Target, ask: Ask) -> Report:
    """Send everything and report what passed. An answer that nothing can be compared with is no all-clear."""
    found: list[Finding] = []
    try:
        found.extend(_findings(target, ask))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return _blind(target, found, fault("PROBE_UNREACHABLE", reason, target.url))
    except ConfigError as error:
        return _blind(target, found, error)
    return Report(proxy=target.url, findings=in_order(found))


def _blind(target: Target, found: list[Finding], error: ConfigError) -> Report:
    return Report(proxy=target.url, findings=in_order(found), unreadable=error.problems)


def _findings(target: Target, ask: Ask) -> Iterator[Finding]:
    if not target.encrypted and not stays_here(target.address):
        yield Finding("DOCTOR_PLAINTEXT", Place(target.url, 0), "probed over plain HTTP")
    first = requests.baseline(target)
    base = ask(first)
    if not judge.usable(base):
        message = f"{first.says} was answered {base.status or 'by hanging up'}"
        raise fault("PROBE_INCONCLUSIVE", message, target.url)
    yield from judge.opened(first, base)
    control = ask(requests.control(target))
    for item in requests.hooks(target):
        yield from judge.hook(item, ask(item), control)
    if base.status not in judge.REFUSALS:
        # What is not refused plainly cannot be shown to pass in disguise.
        return
    nothing = ask(requests.nothing(target))
    for item in requests.attempts(target):
        yield from judge.attempt(item, ask(item), nothing)
    two, other = requests.twins(target), requests.stranger(target)
    yield from judge.twins(two, ask(two), base)
    yield from judge.stranger(other, ask(other))
