"""Is everybody asked about, and is what was authorised what the backend gets?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from zt_engine.doctor.addresses import stays_here
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.haproxy.model import HaproxyConfig, Section, parts
from zt_engine.doctor.names import IDENTITY, listed

_PATHS = frozenset({"set-path", "set-pathq", "set-uri", "replace-path", "replace-pathq", "replace-uri", "set-method"})
_UNSAFE = ("accept-invalid-http-request", "accept-unsafe-violations-in-http-request")


def entrances(config: HaproxyConfig) -> Iterator[Finding]:
    """Frontends that ask nobody."""
    for section in config.entrances:
        if config.questions(section):
            continue
        if section.kind == "listen" and any(section.of("server")):
            yield from _reaches(config, section, section, next(section.of("server")))
        for line in section.backends:
            for backend in config.reached(section):
                if backend.name == line.first and not config.questions(backend):
                    yield from _reaches(config, section, backend, line)


def _reaches(config: HaproxyConfig, section: Section, backend: Section, line: Directive) -> Iterator[Finding]:
    servers = {"".join(item.args[1:2]) for item in backend.of("server")}
    if not config.asking:
        yield Finding("DOCTOR_NO_HOOK", line.place, f"`{section.name}` asks nobody")
    elif servers & config.behind:
        yield Finding("DOCTOR_SERVER_OPEN", line.place, f"`{section.name}` asks nobody, and another one does")


def paths(config: HaproxyConfig) -> Iterator[Finding]:
    """Another path for the backend than for the sidecar."""
    sections = {id(item): item for asking in config.asking for item in (asking, *config.reached(asking))}
    for section in sections.values():
        asked = False
        for rule in section.rules:
            asked = asked or config.is_question(rule)
            done, _, _ = parts(rule)
            late = rule.first == "normalize-uri" and (asked or section.kind == "backend")
            if (rule.first in _PATHS and done[1:] != ["%[pathq]"]) or late:
                yield Finding("DOCTOR_PATH_CHANGED", rule.place, f"`{' '.join(done)}`")


def identity(config: HaproxyConfig) -> Iterator[Finding]:
    """Identity, or a certificate, that a client wrote itself."""
    for section in config.asking:
        rules = [rule for item in (section, *config.reached(section)) for rule in item.rules]
        question = config.questions(section)[0]
        script = config.script(question)
        writes = script is not None and re.search(r"\breq_(?:del|set)_header\b", script.text) is not None
        lacks = [
            name
            for name in IDENTITY
            if not any(_overwrites(rule, name) for rule in rules)
            and not (script is not None and writes and script.names(name))
        ]
        if lacks:
            detail = f"{len(lacks)} of {len(IDENTITY)} neither deleted nor set: {listed(lacks)}"
            yield Finding("DOCTOR_IDENTITY_UNSET", question.place, detail, "http-request del-header zt- -m beg")
        told = any(_overwrites(rule, "Client-Cert") for rule in section.rules)
        if not told and script is not None and not script.names("client-cert"):
            detail = "neither the action nor a rule sets `Client-Cert`"
            yield Finding("DOCTOR_CLIENT_CERT", question.place, detail, "http-request del-header client-cert")
        if not _one_spelling(section, rules):
            detail = "`Zt_Subject` and `Zt.Subject` pass"
            yield Finding("DOCTOR_HEADER_ALIASES", section.place, detail, "option http-restrict-req-hdr-names delete")
        for name in _UNSAFE:
            unsafe = section.option(name)
            if unsafe is not None:
                yield Finding("DOCTOR_HEADER_ALIASES", unsafe.place, f"`option {name}`")


def _one_spelling(section: Section, rules: list[Directive]) -> bool:
    option = section.option("http-restrict-req-hdr-names")
    if option is not None and option.args[1:2] in {("delete",), ("reject",)}:
        return True
    return any(_overwrites(rule, "zt_subject") for rule in rules)


def _overwrites(rule: Directive, name: str) -> bool:
    """Whether a rule always deletes or sets a header."""
    done, kind, _ = parts(rule)
    if kind or len(done) < 2 or done[0] not in {"del-header", "set-header"}:
        return False
    pattern, name = done[1].lower(), name.lower()
    if done[0] == "set-header":
        return pattern == name and "req.hdr" not in " ".join(done[2:]).lower()
    match = done[3] if done[2:3] == ["-m"] and len(done) > 3 else "str"
    if match == "reg":
        try:
            return len(pattern) < 2_000 and re.search(done[1], name, re.IGNORECASE) is not None
        except (re.error, RecursionError, OverflowError):
            return False
    shapes = {"str": pattern, "beg": f"{pattern}*", "end": f"*{pattern}", "sub": f"*{pattern}*"}
    return fnmatchcase(name, shapes.get(match, pattern))


def refusals(config: HaproxyConfig) -> Iterator[Finding]:
    """What becomes of a refusal on its way back."""
    for section in config.asking:
        for item in (section, *config.reached(section)):
            for name in ("errorloc", "errorloc302", "errorloc303"):
                for line in item.of(name):
                    if line.first in {"401", "403"}:
                        yield Finding("DOCTOR_ERROR_LEAVES", line.place, f"a {line.first} becomes a redirect")
        for name in ("http-after-response", "http-response"):
            for line in section.of(name):
                if line.first == "set-status" and "".join(line.args[1:2])[:1] in {"2", "3"}:
                    yield Finding("DOCTOR_STATUS_CHANGED", line.place, f"`{name} set-status {line.args[1]}`")


def listeners(config: HaproxyConfig) -> Iterator[Finding]:
    """Tokens in plain text, and clients that name their own address."""
    behind = [
        item for item in config.entrances if any(config.questions(back) for back in (item, *config.reached(item)))
    ]
    for section in behind:
        expects = any(line.args[1:2] == ("expect-proxy",) for line in section.of("tcp-request"))
        for line in (line for line in section.lines if line.name == "bind"):
            away = [part for part in line.first.split(",") if not stays_here(part)]
            if away and "ssl" not in line.args:
                yield Finding("DOCTOR_PLAINTEXT", line.place, f"`bind {away[0]}` without `ssl`")
            if away and "accept-proxy" in line.args and not expects:
                detail = "`accept-proxy` believes the address that anybody states"
                yield Finding("DOCTOR_FORWARDED_TRUSTED", line.place, detail)
        option = section.option("forwardfor")
        if option is not None and "if-none" in option.args:
            yield Finding("DOCTOR_FORWARDED_TRUSTED", option.place, "`forwardfor if-none` keeps the client's own")
        for rule in section.rules:
            done, kind, _ = parts(rule)
            if rule.first == "set-src" and not kind and "hdr" in "".join(done[1:]):
                yield Finding("DOCTOR_FORWARDED_TRUSTED", rule.place, f"`{' '.join(done)}` of any client")


def upgrades(config: HaproxyConfig) -> Iterator[Finding]:
    """HAProxy hands any `Upgrade` on: behind an h2c tunnel nobody is asked about anything."""
    for section in config.asking:
        rules = [rule for item in (section, *config.reached(section)) for rule in item.rules]
        if not any(_filters_upgrade(rule) for rule in rules):
            write = "http-request del-header Upgrade unless { req.fhdr(upgrade) -m str -i websocket }"
            place = config.questions(section)[0].place
            yield Finding("DOCTOR_UPGRADE_OPEN", place, "no rule looks at `Upgrade`", write)


def _filters_upgrade(rule: Directive) -> bool:
    """Whether a rule takes the header away or refuses by it, for all protocols or all but one."""
    done, kind, words = parts(rule)
    about = " ".join(words).lower()
    if done[:1] == ["del-header"] and _overwrites(Directive(rule.name, tuple(done), rule.place), "upgrade"):
        return not kind or "upgrade" in about
    return done[:1] in (["deny"], ["reject"]) and "hdr(upgrade)" in about


RULES = (entrances, paths, identity, refusals, listeners, upgrades)
