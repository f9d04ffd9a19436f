"""Is everybody asked about? Ways around the authorizer within one configuration."""

from __future__ import annotations

from collections.abc import Iterator

from zt_engine.doctor.apache.model import GROUPS, ApacheConfig, Host, Section, authority, flat
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import HOOK_PATH


def alternatives(config: ApacheConfig) -> Iterator[Finding]:
    """Conditions of which one is enough."""
    for host in config.hosts:
        for section in host.asking:
            yield from _alternatives(section)
        for group in flat(host.lines):
            granted = [item for item in group.block or () if item.name == "require" and _granted(item)]
            if group.name == "requireany" and granted and len(group.block or ()) > len(granted):
                yield Finding("DOCTOR_SATISFY_ANY", group.place, "`Require all granted` makes the rest idle")
        for line in flat(host.lines):
            if line.name == "satisfy" and line.first.lower() == "any":
                yield Finding("DOCTOR_SATISFY_ANY", line.place, "`Satisfy Any`: an address is enough", "Satisfy All")


def _alternatives(section: Section) -> Iterator[Finding]:
    for line in section.requires:
        if not section.demands(line) and any(section.demands(other) for other in section.requires):
            detail = f"`{_told(line)}` is an alternative to the sidecar: bare `Require` lines are"
            yield Finding("DOCTOR_SATISFY_ANY", line.place, detail, "<RequireAll>")
        elif line.name == "require" and _granted(line) and section.checks:
            detail = "`Require all granted` beside the authorizer asks nobody"
            yield Finding("DOCTOR_SATISFY_ANY", line.place, detail)
    for group in flat(section.lines):
        if group.name != "requireany":
            continue
        inner = [item for item in group.block or () if item.name == "require" or item.name in GROUPS]
        others = [item for item in inner if not section.demands(item)]
        if others and len(others) < len(inner):
            detail = f"`{_told(others[0])}` is an alternative to the sidecar"
            yield Finding("DOCTOR_SATISFY_ANY", group.place, detail, "<RequireAll>")
    if section.merging == "or":
        line = next(item for item in section.lines if item.name == "authmerging")
        yield Finding("DOCTOR_SATISFY_ANY", line.place, "`AuthMerging Or` beside the authorizer", "AuthMerging And")


def _told(line: Directive) -> str:
    return " ".join(("Require", *line.args)) if line.name == "require" else f"<{line.name}>"


def _granted(line: Directive) -> bool:
    return tuple(word.lower() for word in line.args) == ("all", "granted")


def sections(config: ApacheConfig) -> Iterator[Finding]:
    """Sections that take the question away from what is inside them."""
    for host in config.hosts:
        for section in host.sections if host.asking else ():
            if section.asks or section.mentions or section.merging == "and" or not _inside(section, host.asking):
                continue
            for line in flat(section.requires):
                if line.name == "require" and _granted(line):
                    detail = f"`Require all granted` for `{section.path}` replaces the question"
                    yield Finding("DOCTOR_AUTH_OFF", line.place, detail, "AuthMerging And")


def _inside(section: Section, asking: list[Section]) -> bool:
    """Whether a section applies to requests that another one asks about, and after it."""
    if section.kind.startswith("location"):
        return section.regex or any(item.covers(section.path) for item in asking)
    return section.kind in {"if", "elseif", "else"}


def paths(config: ApacheConfig) -> Iterator[Finding]:
    """Backends that are reached without anybody being asked."""
    for host in config.hosts:
        for path, target, line in host.passes():
            if authority(target) in config.sidecars or HOOK_PATH in target or path.startswith(HOOK_PATH):
                detail = f"`{target}` is the sidecar"
                yield Finding("DOCTOR_HOOK_EXPOSED", line.place, detail)
            elif not host.asking:
                yield from _unasked(config, line, target)
            elif not _decides(host, path):
                yield Finding("DOCTOR_ROUTE_OPEN", line.place, f"no section that asks covers `{path}`")
    for line in config.all:
        if line.name == "proxyrequests" and line.first.lower() == "on":
            detail = "`ProxyRequests On` takes clients wherever they say"
            yield Finding("DOCTOR_ROUTE_OPEN", line.place, detail, "ProxyRequests Off")


def _decides(host: Host, path: str) -> bool:
    section = host.deciding(path)
    if section is None:
        return False
    # What a section of its own switches off is told there.
    return section.asks or section.mentions or any(item.covers(path) for item in host.asking)


def _unasked(config: ApacheConfig, line: Directive, target: str) -> Iterator[Finding]:
    if not config.asked:
        yield Finding("DOCTOR_NO_HOOK", line.place, f"`{target}` without an authorizer")
    elif authority(target) in config.backends:
        yield Finding("DOCTOR_SERVER_OPEN", line.place, f"`{target}` is also reached through a host that asks")


def methods(config: ApacheConfig) -> Iterator[Finding]:
    """A question about some methods only."""
    for host in config.hosts:
        for line in flat(host.lines):
            if line.name in {"limit", "limitexcept"} and any(
                item.name == "require" and item.first.lower() in config.providers for item in flat(line.block or [])
            ):
                detail = f"`<{line.name} {' '.join(line.args)}>` leaves other methods alone"
                yield Finding("DOCTOR_METHOD_LIMITED", line.place, detail)


RULES = (alternatives, sections, paths, methods)
