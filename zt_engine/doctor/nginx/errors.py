"""`error_page`: a refusal that becomes something else on its way to the client."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.nginx.model import Level, NginxConfig

REFUSALS = frozenset({"401", "403"})
BROKEN = "500"
"""What nginx answers when the sidecar did not."""


class ErrorPage(msgspec.Struct, frozen=True):
    """`error_page CODE... [=[STATUS]] TARGET`."""

    codes: frozenset[str]
    changed: str | None
    target: str


def parsed(directive: Directive) -> ErrorPage | None:
    """Read the arguments; None for what nginx would not start with."""
    args = list(directive.args)
    if len(args) < 2:
        return None
    target = args.pop()
    changed = args.pop()[1:] if args[-1].startswith("=") else None
    return ErrorPage(frozenset(args), changed, target)


def pages(config: NginxConfig) -> Iterator[Finding]:
    """Every `error_page` that holds where the sidecar is asked."""
    seen: set[int] = set()
    for level in config.protected:
        for directive in level.many("error_page"):
            page = parsed(directive)
            if id(directive) in seen or page is None:
                continue
            seen.add(id(directive))
            server = level.server or level
            target = config.resolve(server, page.target)
            if page.codes & REFUSALS:
                yield from _refusal(config, directive, page, target)
            if BROKEN in page.codes and target is not None and _serves_backend(config, target):
                detail = f"when the sidecar is silent, `{page.target}` sends the request to the backend all the same"
                yield Finding("DOCTOR_FAIL_OPEN", directive.place, detail)


def _refusal(config: NginxConfig, directive: Directive, page: ErrorPage, target: Level | None) -> Iterator[Finding]:
    codes = " ".join(sorted(page.codes))
    safe = f"error_page {codes} {page.target};"
    if "://" in page.target or page.target.startswith(("//", "$")):
        detail = f"`{page.target}` is another server: the client gets a redirect in place of the refusal"
        yield Finding("DOCTOR_ERROR_LEAVES", directive.place, detail, f"error_page {codes} /_zt/denied;")
        return
    if page.changed is not None and page.changed not in REFUSALS:
        detail = (
            f"`={page.changed}` in place of {codes}" if page.changed else f"`=` takes the status of `{page.target}`"
        )
        yield Finding("DOCTOR_STATUS_CHANGED", directive.place, detail, safe)
    if target is None:
        return
    if target.named and not target.asks and target.handler is not None and not _is_sidecar(config, target):
        detail = f"`location {page.target}` passes the refused request on to `{' '.join(target.handler.args)}`"
        yield Finding("DOCTOR_ERROR_LEAVES", directive.place, detail, f"error_page {codes} /_zt/denied;")
    returned = target.own.get("return")
    if returned and returned[0].args and (returned[0].args[0].startswith("3") or not returned[0].args[0].isdigit()):
        detail = f"`{page.target}` answers with a redirect"
        yield Finding("DOCTOR_STATUS_CHANGED", directive.place, detail, safe)


def _is_sidecar(config: NginxConfig, level: Level) -> bool:
    handler = level.handler
    return handler is not None and bool(config.sidecars.intersection(config.addresses(handler.args[0])))


def _serves_backend(config: NginxConfig, level: Level) -> bool:
    handler = level.handler
    if level.asks or handler is None or not handler.args:
        return False
    return bool(config.backends.intersection(config.addresses(handler.args[0])))


RULES = (pages,)
