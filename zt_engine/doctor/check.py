"""Configuration files in, report out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from zt_engine.core.errors import ConfigError
from zt_engine.doctor.apache import check as apache
from zt_engine.doctor.caddy import check as caddy
from zt_engine.doctor.envoy import check as envoy
from zt_engine.doctor.finding import Finding, Report, in_order
from zt_engine.doctor.haproxy import check as haproxy
from zt_engine.doctor.kinds import KINDS, Kind, kind_of
from zt_engine.doctor.nginx import check as nginx
from zt_engine.doctor.sources import Sources, fault
from zt_engine.doctor.traefik import check as traefik

Check = Callable[[Sequence[str], Sources], Iterator[Finding]]

CHECKS: Final[Mapping[Kind, Check]] = MappingProxyType(
    {
        "nginx": nginx.check,
        "traefik": traefik.check,
        "caddy": caddy.check,
        "envoy": envoy.check,
        "haproxy": haproxy.check,
        "apache": apache.check,
    }
)


def check(paths: Sequence[str], kind: Kind | None = None) -> Report:
    """Look at files of one proxy that belong together; what cannot be read is part of the report."""
    sources = Sources()
    found: list[Finding] = []
    try:
        kind = kind or _kind(paths, sources)
        if kind not in CHECKS:
            raise fault("DOCTOR_KIND_UNKNOWN", f"no rules for {kind}", paths[0])
        found.extend(CHECKS[kind](paths, sources))
    except ConfigError as error:
        sources.note(error)
    return Report(
        proxy=kind or "",
        files=tuple(dict.fromkeys(sources.files)),
        findings=in_order(found),
        unreadable=tuple(sources.unreadable),
    )


def _kind(paths: Sequence[str], sources: Sources) -> Kind:
    kinds: dict[Kind, str] = {}
    for path in paths:
        found = kind_of(path, sources.read(path))
        if found is None:
            raise fault("DOCTOR_KIND_UNKNOWN", f"none of {', '.join(KINDS)} by name or content", path)
        kinds.setdefault(found, path)
    if len(kinds) != 1:
        message = " and ".join(f"`{path}` is of {kind}" for kind, path in kinds.items())
        raise fault("DOCTOR_KIND_UNKNOWN", f"files of several proxies: {message}", paths[0])
    return next(iter(kinds))
