"""Is everybody asked about? Ways around `auth_request` within one configuration."""

from __future__ import annotations

from collections.abc import Iterator

from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.nginx.model import Level, NginxConfig


def satisfy(config: NginxConfig) -> Iterator[Finding]:
    """`satisfy any`: an address list or a password opens what the sidecar refuses."""
    for level in config.protected:
        found = level.one("satisfy")
        if found is not None and found.args[:1] == ("any",):
            yield Finding("DOCTOR_SATISFY_ANY", found.place, "`satisfy any` beside `auth_request`", "satisfy all;")


def locations(config: NginxConfig) -> Iterator[Finding]:
    """Locations of a server that asks elsewhere."""
    for server in config.servers:
        if not config.protects(server):
            continue
        for level in config.locations(server):
            if level.asks or level.internal or not level.serves or id(level) in config.questions:
                continue
            if config.signs_in(level):
                continue
            yield _open(level)
        roots = [child for child in server.children if child.uri == "/" and child.modifier in {"", "^~"}]
        if not roots and not server.asks and server.kind == "server" and "return" not in server.own:
            detail = "what no location matches is served from `root` without asking"
            yield Finding("DOCTOR_ROUTE_OPEN", server.place, detail, f"auth_request {_question(server)};")


def _open(level: Level) -> Finding:
    off = level.one("auth_request")
    name = " ".join(level.directive.args) if level.directive is not None else ""
    if off is not None:
        return Finding("DOCTOR_AUTH_OFF", off.place, f"`auth_request off` in `location {name}`")
    server = level.server or level
    detail = f"`location {name}` asks nobody"
    return Finding("DOCTOR_ROUTE_OPEN", level.place, detail, f"auth_request {_question(server)};")


def _question(server: Level) -> str:
    return next((level.asks for level in (server, *server.below()) if level.asks), "/_zt/auth")


def servers(config: NginxConfig) -> Iterator[Finding]:
    """Servers that ask nobody, in front of a backend that another server asks for; or nobody is asked at all."""
    for server in config.servers:
        if config.protects(server):
            continue
        reached = (level.handler for level in (server, *server.below()) if not level.internal)
        for item in filter(None, reached):
            if not item.args:
                continue
            if config.backends.intersection(config.addresses(item.args[0])):
                detail = f"`{item.args[0]}` is also reached through a server that asks the sidecar"
                yield Finding("DOCTOR_SERVER_OPEN", item.place, detail)
            elif not config.questions and not config.protected:
                yield Finding(
                    "DOCTOR_NO_HOOK", item.place, f"`{item.args[0]}` is reached, and no `auth_request` is set"
                )


def question(config: NginxConfig) -> Iterator[Finding]:
    """Questions that nobody gets."""
    for server in config.servers:
        for level in (server, *server.below()):
            for item in level.own.get("auth_request", ()):
                if level.asks and item.args and config.question(server, item.args[0]) is None:
                    yield Finding("DOCTOR_HOOK_MISSING", item.place, _why(config.resolve(server, item.args[0]), item))


def _why(target: Level | None, item: Directive) -> str:
    if target is None:
        return f"no location for `{item.args[0]}`"
    if target.handler is None:
        return f"the location of `{item.args[0]}` passes the question on to nobody"
    return f"`{item.args[0]}` has no location of its own, so the backend of `location /` answers it"


RULES = (satisfy, locations, servers, question)
