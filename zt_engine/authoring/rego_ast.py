"""Parsed Rego as `opa parse --format json` gives it, and the few questions that authoring asks of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import msgspec

from zt_engine.core.errors import ConfigError, Problem
from zt_engine.ports import OpaOutput, OpaTool

Node: TypeAlias = "dict[str, Any]"
"""A node of OPA's tree. Its shape is OPA's, so it stays untyped and is only ever searched."""

_NOT_CODE = frozenset({"annotations", "comments", "location", "package", "imports"})


_TEXT_ERROR = re.compile(r"(?P<file>[\w./-]+\.rego):(?P<line>\d+): (?P<message>.*)")
"""How `opa build`, which knows no JSON errors, names a place."""


class Ref(msgspec.Struct, frozen=True):
    """A reference such as `input.device.facts[name].value`: its head, its constant start, and whether that is all."""

    head: str
    constant: tuple[str | int | float | bool | None, ...]
    whole: bool
    where: str


class Import(msgspec.Struct, frozen=True):
    """One import and the name by which the module knows it."""

    path: Ref
    alias: str


class Rule(msgspec.Struct, frozen=True):
    """One rule as written: its name, its position and the annotations directly above it."""

    name: str
    where: str
    default: bool
    annotations: Sequence[Mapping[str, Any]]


class Module(msgspec.Struct, frozen=True):
    """One parsed file. `where` is the path a person knows it by."""

    name: str
    where: str
    package: tuple[str, ...]
    imports: tuple[Import, ...]
    tree: Node

    def position(self, node: Mapping[str, Any]) -> str:
        """Return `file:line` of a node."""
        return f"{self.where}:{node.get('location', {}).get('row', 1)}"

    def rules(self) -> Iterator[Rule]:
        """Every rule in the order written; `else` branches belong to their rule."""
        for rule in self.tree.get("rules") or []:
            head = rule.get("head", {})
            parts = [str(term.get("value")) for term in head.get("ref", []) if term.get("type") in ("var", "string")]
            yield Rule(
                name=str(head.get("name") or ".".join(parts[:1])),
                where=self.position(rule if "location" in rule else head),
                default=bool(rule.get("default")),
                annotations=rule.get("annotations") or [],
            )

    def refs(self) -> Iterator[Ref]:
        """Every reference in the code, also those within others, with import aliases resolved; imports apart."""
        aliases = {item.alias: item.path for item in self.imports}
        for ref in self._refs(self.tree):
            target = aliases.get(ref.head)
            if target is None:
                yield ref
            else:
                whole = target.whole and ref.whole
                constant = target.constant + ref.constant if target.whole else target.constant
                yield Ref(head=target.head, constant=constant, whole=whole, where=ref.where)

    def terms(self, kind: str) -> Iterator[tuple[Any, str]]:
        """Every literal of a type (`string`, `number`) with its position, reference parts apart."""
        yield from self._terms(self.tree, kind)

    def calls(self) -> Iterator[tuple[str, Sequence[Node], str]]:
        """Every call: the dotted name of the function, its arguments, its position."""
        yield from self._calls(self.tree)

    def _refs(self, node: object) -> Iterator[Ref]:
        if isinstance(node, list):
            for item in node:
                yield from self._refs(item)
        elif isinstance(node, dict):
            value = node.get("value")
            if node.get("type") == "ref" and isinstance(value, list) and value:
                yield self._ref(node, value)
                if value[0].get("type") != "var":
                    yield from self._refs(value[0])
                yield from self._refs(value[1:])
            elif node.get("type") == "var" and isinstance(value, str):
                yield Ref(head=value, constant=(), whole=True, where=self.position(node))
            else:
                for key, item in node.items():
                    if key not in _NOT_CODE:
                        yield from self._refs(item)

    def _ref(self, node: Node, parts: list[Node]) -> Ref:
        constant: list[str | int | float | bool | None] = []
        for part in parts[1:]:
            if part.get("type") not in ("string", "number", "boolean", "null"):
                break
            constant.append(part.get("value"))
        head = parts[0].get("value") if parts[0].get("type") == "var" else ""
        return Ref(
            head=str(head),
            constant=tuple(constant),
            whole=len(constant) == len(parts) - 1,
            where=self.position(node if "location" in node else parts[0]),
        )

    def _terms(self, node: object, kind: str) -> Iterator[tuple[Any, str]]:
        if isinstance(node, list):
            for item in node:
                yield from self._terms(item, kind)
        elif isinstance(node, dict):
            if node.get("type") == kind:
                yield node.get("value"), self.position(node)
            elif node.get("type") == "ref":
                for part in node["value"][1:]:
                    if part.get("type") not in ("string", "number"):
                        yield from self._terms(part, kind)
            else:
                for key, item in node.items():
                    if key not in _NOT_CODE:
                        yield from self._terms(item, kind)

    def _calls(self, node: object) -> Iterator[tuple[str, Sequence[Node], str]]:
        if isinstance(node, list):
            for item in node:
                yield from self._calls(item)
        elif isinstance(node, dict):
            # A call is a term of type `call`, or an expression whose terms are an operator and its operands.
            terms = node.get("value") if node.get("type") == "call" else node.get("terms")
            if isinstance(terms, list) and terms and terms[0].get("type") == "ref":
                name = ".".join(str(part.get("value")) for part in terms[0]["value"])
                yield name, terms[1:], self.position(node)
            for key, item in node.items():
                if key not in _NOT_CODE:
                    yield from self._calls(item)


def parse_modules(sources: Mapping[str, bytes], opa: OpaTool, *, where: Mapping[str, str]) -> list[Module]:
    """Parse files (by bundle name) with the real parser; ConfigError REGO_ERROR carries every syntax error."""
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda name: _parse(name, sources[name], opa, where[name]), sorted(sources)))
    problems = [problem for outcome in outcomes if isinstance(outcome, list) for problem in outcome]
    if problems:
        raise ConfigError(tuple(problems))
    return [outcome for outcome in outcomes if isinstance(outcome, Module)]


def _parse(name: str, source: bytes, opa: OpaTool, where: str) -> Module | list[Problem]:
    options = ("--format", "json", "--json-include", "locations,-comments")
    done = opa.run("parse", *options, "m.rego", files={"m.rego": source})
    tree = decoded(done)
    if done.status != 0 or not isinstance(tree, dict) or "package" not in tree:
        return problems_of(tree, done.stderr, where={"m.rego": where}, fallback=where)
    package = tuple(str(part["value"]) for part in tree["package"]["path"][1:])
    module = Module(name=name, where=where, package=package, imports=(), tree=tree)
    imports = tuple(_import(module, node) for node in tree.get("imports") or [])
    return Module(name=name, where=where, package=package, imports=imports, tree=tree)


def decoded(done: OpaOutput) -> Any:
    """The JSON of a run from whichever output has it, else None."""
    for text in (done.stdout, done.stderr):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(text)
    return None


def _import(module: Module, node: Node) -> Import:
    path = next(module._refs(node["path"]))
    last = path.constant[-1] if path.constant else path.head
    return Import(path=path, alias=str(node.get("alias") or last))


def problems_of(
    document: object, said: bytes, *, where: Mapping[str, str], fallback: str, code: str = "REGO_ERROR"
) -> list[Problem]:
    """Turn OPA's JSON errors into problems at the file and line a person knows; never an empty list."""
    errors = document.get("errors") if isinstance(document, dict) else None
    found = []
    for error in errors if isinstance(errors, list) else []:
        location = error.get("location") or {}
        file = str(location.get("file", ""))
        place = f"{where.get(file.lstrip('/'), file) or fallback}:{location.get('row', 1)}"
        found.append(Problem(code=code, message=_one_line(str(error.get("message", ""))), where=place))
    text = said.decode(errors="replace")
    if not found:
        for match in _TEXT_ERROR.finditer(text):
            place = f"{where.get(match['file'], match['file'])}:{match['line']}"
            found.append(Problem(code=code, message=_one_line(match["message"]), where=place))
    if not found:
        message = _one_line(text)[:500] or "opa failed without saying why"
        found.append(Problem(code=code, message=message, where=fallback))
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split())
