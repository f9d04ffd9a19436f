"""`forward_auth` itself: what it tells the sidecar, what the backend believes, how long it waits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from zt_engine.doctor.addresses import stays_here
from zt_engine.doctor.caddy.model import CaddyConfig, is_question, upstreams
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import IDENTITY, listed

LONGEST = 5.0

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h|d)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FROM_CLIENT = re.compile(r"\{(?:http\.request\.)?header\.", re.IGNORECASE)


def identity(config: CaddyConfig) -> Iterator[Finding]:
    """Identity that a client wrote itself."""
    for site in config.sites:
        behind: dict[int, list[Directive]] = {}
        for step in site.steps:
            if step.question is not None and step.directive.name == "reverse_proxy" and not is_question(step.directive):
                behind.setdefault(id(step.question), []).append(step.directive)
        for question in site.questions:
            copied = _copied(question)
            proxies = behind.get(id(question), [])
            lacks = [
                name
                for name in IDENTITY
                if not _covered(name, copied) and not (proxies and all(_covered(name, _set(item)) for item in proxies))
            ]
            if lacks:
                detail = f"{len(lacks)} of {len(IDENTITY)} not in `copy_headers`: {listed(lacks)}"
                yield Finding("DOCTOR_IDENTITY_UNSET", question.place, detail, f"copy_headers {' '.join(IDENTITY)}")


def _copied(question: Directive) -> list[str]:
    names: list[str] = []
    for item in question.inside("copy_headers"):
        words = [*item.args, *(word for line in item.block or () for word in (line.name, *line.args))]
        names += [word.split(">", 1)[-1] for word in words]
    for response in question.inside("handle_response"):
        for line in response.block or ():
            if line.name == "request_header" and line.args:
                names.append(line.first.lstrip("-+?>"))
    return names


def _set(item: Directive) -> list[str]:
    """The names that a proxy itself overwrites or removes."""
    return [
        line.first.removeprefix("-")
        for line in item.inside("header_up")
        if not line.first.startswith(("+", "?")) and _FROM_CLIENT.search(" ".join(line.args[1:])) is None
    ]


def _covered(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def told(config: CaddyConfig) -> Iterator[Finding]:
    """What the sidecar is told, and by whom. Caddy sets the rest of the `X-Forwarded-` headers itself."""
    for question in config.questions:
        known = _set(question)
        if not _covered("X-Forwarded-Port", known):
            detail = "not set by Caddy: `X-Forwarded-Port`"
            yield Finding(
                "DOCTOR_HOOK_HEADERS", question.place, detail, "header_up X-Forwarded-Port {http.request.local.port}"
            )
        for line in question.inside("header_up"):
            if line.first.lower().startswith("x-forwarded-") and _FROM_CLIENT.search(" ".join(line.args[1:])):
                yield Finding("DOCTOR_HOOK_HEADERS", line.place, f"`{line.first}` is what the client wrote")
        if not _covered("Client-Cert", known):
            write = "header_up Client-Cert {http.request.tls.client.certificate_der_base64}"
            yield Finding("DOCTOR_CLIENT_CERT", question.place, "not set by Caddy: `Client-Cert`", write)


def waits(config: CaddyConfig) -> Iterator[Finding]:
    """How long a client waits for a sidecar that does not answer."""
    for question in config.questions:
        limits = {
            line.name: seconds(line.first)
            for transport in question.inside("transport")
            for line in transport.block or ()
        }
        wrong = [name for name in ("dial_timeout", "response_header_timeout") if not 0 < limits.get(name, 0) <= LONGEST]
        if wrong:
            write = "transport http { dial_timeout 250ms response_header_timeout 500ms }"
            yield Finding("DOCTOR_TIMEOUT", question.place, f"not set, or over {LONGEST:g} s: {listed(wrong)}", write)


def seconds(text: str) -> float:
    """Return a duration as Go writes it; 0 for what is none."""
    parts = _DURATION.findall(text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if _DURATION.sub("", text) == "" else 0


def plaintext(config: CaddyConfig) -> Iterator[Finding]:
    """Tokens and the proxy's key on a network."""
    for question in config.questions:
        encrypted = any(word.startswith("https://") for word in question.args) or any(
            line.name == "tls" or line.name.startswith("tls_")
            for transport in question.inside("transport")
            for line in transport.block or ()
        )
        away = [word for word in upstreams(question) if "{" not in word and not stays_here(word)]
        if away and not encrypted:
            yield Finding("DOCTOR_HOOK_PLAINTEXT", question.place, f"asked over plain HTTP at {listed(away)}")


def upgrades(config: CaddyConfig) -> Iterator[Finding]:
    """Caddy hands any `Upgrade` on: behind an h2c tunnel nobody is asked about anything."""
    for site in config.sites:
        filtered = False
        for step in site.steps:
            item = step.directive
            filtered = filtered or (item.name == "request_header" and "-Upgrade" in item.args)
            behind = step.question is not None and item.name == "reverse_proxy" and not is_question(item)
            if behind and not filtered and "Upgrade" not in _set(item):
                write = "@switching not header Upgrade websocket  request_header @switching -Upgrade"
                yield Finding("DOCTOR_UPGRADE_OPEN", item.place, "nothing looks at `Upgrade` before", write)


def spellings(config: CaddyConfig) -> Iterator[Finding]:
    """Header names that a backend folds onto ours."""
    for site in config.sites:
        cleared = False
        for step in site.steps:
            item = step.directive
            cleared = cleared or (item.name == "request_header" and item.first == "-*_*")
            behind = step.question is not None and item.name == "reverse_proxy" and not is_question(item)
            if behind and not cleared and "*_*" not in _set(item):
                detail = "a client's `Zt_Subject` comes through beside `Zt-Subject`"
                yield Finding("DOCTOR_HEADER_ALIASES", item.place, detail, "request_header -*_*")


RULES = (identity, told, waits, plaintext, upgrades, spellings)
