"""What was authorised is what the backend gets: path, names of headers, identity, certificate, body."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import IDENTITY, listed, missing
from zt_engine.doctor.traefik.model import TraefikConfig
from zt_engine.doctor.trees.node import Node

_PATHS = ("stripPrefix", "stripPrefixRegex", "replacePath", "replacePathRegex", "addPrefix")
_ENCODED = ("Slash", "BackSlash", "NullCharacter", "Semicolon", "Percent", "QuestionMark", "Hash")
_CERTIFICATE = "x-forwarded-tls-client-cert"


def identity(config: TraefikConfig) -> Iterator[Finding]:
    """Identity that a client wrote itself: what `authResponseHeaders` does not name, passes."""
    for question in config.questions:
        routers = [router for router in config.protected if router.question is question]
        named = question.get("authResponseHeaders")
        pattern = question.get("authResponseHeadersRegex").text
        lacks = [name for name in missing(named.texts) if not _matches(pattern, name)]
        lacks = [
            name for name in lacks if not routers or not all(name.lower() in _set(router.chain) for router in routers)
        ]
        if lacks:
            place = (named if named.present else question).place
            detail = f"{len(lacks)} of {len(IDENTITY)} not in `authResponseHeaders`: {listed(lacks)}"
            yield Finding("DOCTOR_IDENTITY_UNSET", place, detail, f"authResponseHeaders: [{', '.join(IDENTITY)}]")


def _matches(pattern: str, name: str) -> bool:
    try:
        return 0 < len(pattern) < 200 and re.search(pattern, name) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def _set(chain: list[Node]) -> set[str]:
    """The request headers that middlewares overwrite or remove."""
    return {name.lower() for item in chain for name, _ in item.get("headers", "customRequestHeaders").pairs}


def certificate(config: TraefikConfig) -> Iterator[Finding]:
    """A certificate that a client wrote itself. Traefik removes it by default, except from those it trusts."""
    asked_for = any(
        node.get("clientAuth").present for root in config.roots for _, node in root.get("tls", "options").pairs
    )
    for router in config.protected:
        believed = any(entry.get("forwardedHeaders", "trustedIPs").texts for entry in router.entry_points)
        passed = any(item.get("passTLSClientCert").present for item in router.before)
        if (asked_for or believed) and not passed and _CERTIFICATE not in _set(router.before):
            detail = f"router `{router.name}` neither sets nor removes `X-Forwarded-Tls-Client-Cert` before it asks"
            yield Finding("DOCTOR_CLIENT_CERT", router.node.place, detail, "passTLSClientCert: {pem: true}")


def spellings(config: TraefikConfig) -> Iterator[Finding]:
    """Header names that a backend folds onto ours."""
    for name, entry in config.entries:
        strategy = entry.get("http", "underscoreHeadersStrategy")
        if strategy.text not in {"reject", "delete"}:
            place = strategy.place if strategy.present else entry.place
            detail = f"entry point `{name}` lets `Zt_Subject` through"
            yield Finding("DOCTOR_HEADER_ALIASES", place, detail, "underscoreHeadersStrategy: reject")


def paths(config: TraefikConfig) -> Iterator[Finding]:
    """One spelling of a path for the sidecar and the backend."""
    for name, entry in config.entries:
        sanitize = entry.get("http", "sanitizePath")
        if sanitize.scalar is False:
            yield Finding(
                "DOCTOR_PATH_UNHARDENED", sanitize.place, f"`sanitizePath: false` at `{name}`", "sanitizePath: true"
            )
        yield from _encoded(entry.get("http", "encodedCharacters"))
    for router in config.protected:
        for item in router.chain:
            yield from _encoded(item.get("encodedCharacters"))
            for kind in _PATHS:
                changed = item.get(kind)
                if changed.present:
                    detail = f"`{kind}` changes the path for router `{router.name}`"
                    yield Finding("DOCTOR_PATH_CHANGED", changed.place, detail)


def _encoded(options: Node) -> Iterator[Finding]:
    for kind in _ENCODED:
        allowed = options.get(f"allowEncoded{kind}")
        if allowed.true:
            yield Finding(
                "DOCTOR_PATH_UNHARDENED", allowed.place, f"`allowEncoded{kind}: true`", f"allowEncoded{kind}: false"
            )


def body(config: TraefikConfig) -> Iterator[Finding]:
    """A body that Traefik keeps in memory for the question."""
    for question in config.questions:
        forward, limit = question.get("forwardBody"), question.get("maxBodySize")
        if forward.true and not (limit.text.isdigit() and int(limit.text[:12]) > 0):
            detail = "`forwardBody` without `maxBodySize` keeps bodies of any size in memory"
            yield Finding("DOCTOR_BODY_UNHANDLED", forward.place, detail, "forwardBody: false")


def upgrades(config: TraefikConfig) -> Iterator[Finding]:
    """Traefik hands on any `Upgrade` but h2c, and a tunnel is a tunnel: behind it nobody is asked about anything."""
    for router in config.protected:
        rule = router.node.get("rule")
        taken = any(
            name.lower() == "upgrade" and not value.text
            for item in router.chain
            for name, value in item.get("headers", "customRequestHeaders").pairs
        )
        if "(`Upgrade`" not in rule.text and not taken and not router.redirects:
            detail = f"router `{router.name}` looks at no `Upgrade`"
            write = 'customRequestHeaders: {Upgrade: ""}'
            yield Finding("DOCTOR_UPGRADE_OPEN", router.node.place, detail, write)


RULES = (identity, certificate, spellings, paths, body, upgrades)
