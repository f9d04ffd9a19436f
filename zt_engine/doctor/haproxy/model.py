"""Frontends and backends with their defaults, what asks in them, and the rule that makes the answer count."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from zt_engine.core.errors import ConfigError
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.haproxy import lua
from zt_engine.doctor.haproxy.lua import Script
from zt_engine.doctor.sources import Sources

_ASKING_NAME = re.compile(r"auth|(?:^|[_.-])zt(?:$|[_.-])", re.IGNORECASE)
_VARIABLE = re.compile(r"\bvar\(\s*([\w.]+)\s*\)")
MOST_QUESTIONS = 8
_CONDITIONS = frozenset({"if", "unless"})


class Section:
    """A frontend, backend or listen section, or the defaults of some."""

    def __init__(self, directive: Directive, defaults: Section | None) -> None:
        self.kind = directive.name
        self.name = directive.first
        self.place = directive.place
        self.lines = directive.block or []
        self.defaults = defaults

    def of(self, name: str) -> Iterator[Directive]:
        """Yield the lines of a name, those of the defaults last: what stands here comes first."""
        yield from (line for line in self.lines if line.name == name)
        if self.defaults is not None:
            yield from self.defaults.of(name)

    def option(self, *words: str) -> Directive | None:
        """Return the line `option WORDS...` that holds here."""
        return next((line for line in self.of("option") if line.args[: len(words)] == words), None)

    @property
    def rules(self) -> list[Directive]:
        """The `http-request` rules in the order in which they run: those of named defaults first."""
        inherited = self.defaults.rules if self.defaults is not None else []
        return [*inherited, *(line for line in self.lines if line.name == "http-request")]

    @property
    def http(self) -> bool:
        """Whether it speaks HTTP."""
        return next((line.first for line in self.of("mode")), "tcp") == "http"

    @property
    def backends(self) -> list[Directive]:
        """The lines that say where requests go."""
        return [line for line in self.lines if line.name in {"default_backend", "use_backend"}]


class HaproxyConfig:
    """All sections, and the Lua files that they load."""

    def __init__(self, directives: Sequence[Directive], scripts: Sequence[Script]) -> None:
        self.sections: list[Section] = []
        self.scripts = list(scripts)
        defaults: Section | None = None
        named: dict[str, Section] = {}
        for item in directives:
            if item.name == "defaults":
                parent = named.get(item.args[2]) if item.args[1:2] == ("from",) else None
                defaults = Section(item, parent)
                named.setdefault(item.first, defaults)
            elif item.name in {"frontend", "backend", "listen"}:
                chosen = named.get(item.args[2]) if item.args[1:2] == ("from",) and len(item.args) > 2 else defaults
                self.sections.append(Section(item, chosen))
        self.globals = [line for item in directives if item.name == "global" for line in item.block or ()]
        self._actions = {name: script for script in self.scripts if script.asks for name in script.actions}

    @property
    def entrances(self) -> list[Section]:
        """The sections that clients connect to, in HTTP."""
        return [item for item in self.sections if item.kind in {"frontend", "listen"} and item.http]

    def questions(self, section: Section) -> list[Directive]:
        """The first few rules that ask: there is one, or somebody plays with us."""
        return [rule for rule in section.rules if self.is_question(rule)][:MOST_QUESTIONS]

    def is_question(self, rule: Directive) -> bool:
        """Whether a rule is a Lua action that asks: by what its file does, or by its name."""
        name = rule.first.removeprefix("lua.")
        return rule.first.startswith("lua.") and (name in self._actions or _ASKING_NAME.search(name) is not None)

    def script(self, rule: Directive) -> Script | None:
        """The file of an action."""
        return self._actions.get(rule.first.removeprefix("lua."))

    @cached_property
    def asking(self) -> list[Section]:
        """The sections that ask."""
        return [item for item in self.sections if self.questions(item)]

    def reached(self, section: Section) -> list[Section]:
        """The backends of a section; a `listen` section is its own."""
        names = dict.fromkeys(line.first for line in section.backends)
        found = [item for name in names for item in self.backends.get(name, ())]
        return [*found, section] if section.kind == "listen" else found

    @cached_property
    def backends(self) -> dict[str, list[Section]]:
        """The backends by name."""
        found: dict[str, list[Section]] = {}
        for item in self.sections:
            if item.kind == "backend":
                found.setdefault(item.name, []).append(item)
        return found

    @cached_property
    def behind(self) -> frozenset[str]:
        """The addresses of servers behind a question."""
        return frozenset(
            "".join(item.args[1:2])
            for section in self.sections
            if id(section) in self.protected
            for item in section.of("server")
        )

    @cached_property
    def protected(self) -> set[int]:
        """The backends behind a question, by identity."""
        return {id(item) for section in self.asking for item in (*self.reached(section), section)}

    @cached_property
    def asked(self) -> set[str]:
        """The names of backends that are asked: `lua.auth-request BACKEND PATH`."""
        return {rule.args[1] for item in self.asking for rule in self.questions(item) if len(rule.args) > 2}


_BROWSER = ["or", "{", "var(txn.zt_browser)", "-m", "bool", "}"]
_LEADS = ["if", *_BROWSER[1:]]
_PATH = ["{", "path", "-m", "reg", "^/[.]zt/[a-z-]{1,32}$", "}"]
"""Where people sign in: nobody is asked about it."""


def parts(rule: Directive) -> tuple[list[str], str, list[str]]:
    """Return what a rule does, `if`, `unless` or nothing, and the words of its condition."""
    for at, word in enumerate(rule.args):
        if word in _CONDITIONS:
            return list(rule.args[:at]), word, list(rule.args[at + 1 :])
    return list(rule.args), "", []


def gate(section: Section, rule: Directive) -> tuple[str, bool, bool] | None:
    """Return (variable, whether only it decides, whether it is really tested) of a rule that refuses by it."""
    _, kind, words = parts(rule)
    if words[-len(_BROWSER) :] == _BROWSER and _signs_in(section):
        words = words[: -len(_BROWSER)]
    acls = {line.first: " ".join(line.args[1:]) for line in section.of("acl")}
    terms = _terms(words)
    if not kind or any(term in {"or", "||"} for term in terms):
        return None
    for at, term in enumerate(terms):
        negated = term.startswith("!")
        test = term.removeprefix("!").strip()
        test = acls.get(test, test)
        found = _VARIABLE.search(test)
        if found is not None and negated == (kind == "if"):
            alone = len(terms) == 1
            return found[1], alone, "-m found" not in test
        if found is not None and at == 0:
            return None
    return None


def _signs_in(section: Section) -> bool:
    """Whether the one thing that makes the variable true is the path where people sign in, and it leads elsewhere."""
    rules = [parts(rule) for rule in section.rules if rule.first.startswith("set-var(txn.zt_browser")]
    true = [words for done, _, words in rules if done[1:] != ["bool(false)"]]
    leads = any(line.name == "use_backend" and list(line.args[1:]) == _LEADS for line in section.lines)
    return true == [_PATH] and leads


def _terms(words: Sequence[str]) -> list[str]:
    """Return the terms of a condition: names, or what stands in braces, with `!` in front where negated."""
    terms: list[str] = []
    inner: list[str] | None = None
    prefix = ""
    for word in words:
        if inner is not None:
            if word == "}":
                terms.append(prefix + " ".join(inner))
                inner, prefix = None, ""
            else:
                inner.append(word)
        elif word == "!":
            prefix = "!"
        elif word in {"{", "!{"}:
            inner, prefix = [], "!" if word == "!{" else prefix
        else:
            terms.append(prefix + word)
            prefix = ""
    return terms


def scripts(directives: Sequence[Directive], sources: Sources) -> list[Script]:
    """Read the Lua files that are loaded; what cannot be read is noted."""
    found: list[Script] = []
    for item in directives:
        for line in item.block or ():
            if line.name not in {"lua-load", "lua-load-per-thread"} or not line.first:
                continue
            base = os.path.dirname(os.path.abspath(line.place.file))  # noqa: PTH100, PTH120
            path = line.first if line.first.startswith("/") else os.path.join(base, line.first)  # noqa: PTH118
            try:
                found.append(lua.read(path, sources.read(path, where=str(line.place))))
            except ConfigError as error:
                sources.note(error)
    return found
