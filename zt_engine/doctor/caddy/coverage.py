"""Is everybody asked about, does a refusal stay one, and does the backend get what was authorised?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zt_engine.doctor.addresses import stays_here, trusts_everybody
from zt_engine.doctor.caddy.model import CONTENT, PATHS, CaddyConfig, Site, flat, is_question, matcher_of, upstreams
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import BROWSER_PATH, HOOK_PATH


def routes(config: CaddyConfig) -> Iterator[Finding]:
    """Handlers that nobody is asked about."""
    for site in config.sites:
        for item in _content(site, asked=False):
            name = " ".join((item.name, *item.args))
            if site.questions:
                if matcher_of(item) == f"{BROWSER_PATH}*" and config.backends.isdisjoint(upstreams(item)):
                    continue
                if not config.sidecars.intersection(upstreams(item)):
                    yield Finding("DOCTOR_ROUTE_OPEN", item.place, f"`{name}` runs without `forward_auth` before it")
            elif config.backends.intersection(upstreams(item)):
                detail = f"`{name}`, which another site asks the sidecar for"
                yield Finding("DOCTOR_SERVER_OPEN", item.place, detail)
            elif not config.questions and item.name in {"reverse_proxy", "php_fastcgi"}:
                yield Finding("DOCTOR_NO_HOOK", item.place, f"`{name}` without `forward_auth`")


def _content(site: Site, *, asked: bool) -> Iterator[Directive]:
    for step in site.steps:
        item = step.directive
        if item.name in CONTENT and not is_question(item) and (step.question is not None) == asked:
            yield item


def paths(config: CaddyConfig) -> Iterator[Finding]:
    """Another path for the backend than for the sidecar."""
    for site in config.sites:
        if not site.questions:
            continue
        for step in site.steps:
            item = step.directive
            inner = list(item.inside("rewrite")) if item.name == "reverse_proxy" and not is_question(item) else []
            for changed in [item, *inner] if item.name in PATHS else inner:
                detail = (
                    f"`{' '.join((changed.name, *changed.args))}` changes the path, for the sidecar or for the backend"
                )
                yield Finding("DOCTOR_PATH_CHANGED", changed.place, detail)


def refusals(config: CaddyConfig) -> Iterator[Finding]:
    """What becomes of a refusal, and of silence."""
    for item in config.questions:
        for response in item.inside("handle_response"):
            for inner in flat(response.block or ()):
                if inner.name == "reverse_proxy":
                    detail = f"`handle_response` hands the request to `{' '.join(inner.args)}`"
                    yield Finding("DOCTOR_ERROR_LEAVES", inner.place, detail)
                elif inner.name == "redir" or (inner.name == "respond" and not _refuses(inner)):
                    detail = f"`{' '.join((inner.name, *inner.args))}` in place of the sidecar's answer"
                    yield Finding("DOCTOR_STATUS_CHANGED", inner.place, detail)
    for site in config.sites:
        for item in site.errors if site.questions else ():
            if item.name == "reverse_proxy" and config.backends.intersection(upstreams(item)):
                detail = "when the sidecar is silent, `handle_errors` sends the request to the backend all the same"
                yield Finding("DOCTOR_FAIL_OPEN", item.place, detail)


def _refuses(respond: Directive) -> bool:
    return any(re.fullmatch(r"[45]\d\d", word) for word in respond.args)


def exposed(config: CaddyConfig) -> Iterator[Finding]:
    """Ways of clients to the sidecar, and to Caddy's own administration."""
    for site in config.sites:
        for step in site.steps:
            item = step.directive
            if item.name != "reverse_proxy" or is_question(item):
                continue
            matched = matcher_of(item)
            authzen = "/access/" in matched or "/.well-known/" in matched
            if HOOK_PATH in matched or (config.sidecars.intersection(upstreams(item)) and not authzen):
                detail = f"`reverse_proxy {' '.join(item.args)}` is the sidecar"
                yield Finding("DOCTOR_HOOK_EXPOSED", item.place, detail)
    for item in config.options:
        if item.name == "admin" and item.first not in {"", "off"} and not stays_here(item.first):
            yield Finding("DOCTOR_ADMIN_EXPOSED", item.place, f"`admin {item.first}`", "admin off")


def trusted(config: CaddyConfig) -> Iterator[Finding]:
    """A client that names its own address."""
    lines = [line for site in config.sites for step in site.steps for line in step.directive.inside("trusted_proxies")]
    for item in (*config.options, *lines):
        wide = [word for word in item.args if item.name == "trusted_proxies" and trusts_everybody(word)]
        if wide:
            yield Finding("DOCTOR_FORWARDED_TRUSTED", item.place, f"`{wide[0]}` is everybody")


def listeners(config: CaddyConfig) -> Iterator[Finding]:
    """Tokens in plain text on a network."""
    for site in config.sites:
        if site.questions and site.plain and not site.local:
            yield Finding("DOCTOR_PLAINTEXT", site.block.place, f"`{site.plain[0]}` is served without TLS")


RULES = (routes, paths, refusals, exposed, trusted, listeners)
