"""Everything that is wrong with a pack before anybody runs it, each fault with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from zt_engine.authoring.build import FOLDER, MAIN, errors_of, in_folder, main_module
from zt_engine.authoring.layers import check_layers
from zt_engine.authoring.lint import check_divergences, check_metadata, check_reasons
from zt_engine.authoring.pack import Pack, read_pack
from zt_engine.authoring.rego_ast import Module, parse_modules
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.ports import OpaTool

Loader: TypeAlias = Callable[[str, str], object]
"""Reads the text of a YAML file of the pack (text, where), or raises ConfigError."""

SCHEMA = "schema.json"
_FOR_TESTS = "test-capabilities.json"
_UNDEFINED_FUNCTION = re.compile(r"undefined function (\S+)")


class Checked(msgspec.Struct, frozen=True):
    """A pack that was read and parsed, and what was found. Without problems it may be built."""

    problems: tuple[Problem, ...]
    pack: Pack | None = None
    modules: tuple[Module, ...] = ()


def check(folder: Path, opa: OpaTool, *, loaders: Mapping[str, Loader] | None = None) -> Checked:
    """Read, parse and judge a pack. `loaders` read its `catalogue.yaml` and `trust.yaml` as the engine would."""
    try:
        pack = read_pack(folder)
        modules = parse_modules(pack.sources, opa, where=pack.where)
        parse_modules(pack.tests, opa, where=pack.where)
    except ConfigError as error:
        return Checked(error.problems)
    problems = [
        *check_layers(pack, modules),
        *check_reasons(pack, modules),
        *check_metadata(modules),
        *check_divergences(pack, modules),
        *_load(pack, loaders or {}),
    ]
    problems += _strict(pack, opa, known=problems)
    return Checked(tuple(sorted(set(problems), key=_by_place)), pack, tuple(modules))


def check_options(pack: Pack, opa: OpaTool) -> tuple[tuple[str, ...], dict[str, bytes]]:
    """The options and files that `opa check` and `opa test` share: all Rego, data, input schema, capabilities."""
    files = in_folder({**pack.sources, **pack.tests, **pack.data, MAIN: main_module(pack)})
    options = ("--capabilities", _FOR_TESTS, "--schema", SCHEMA, "--format", "json")
    return options, {**files, SCHEMA: pack.schema, _FOR_TESTS: _test_capabilities(opa)}


def _test_capabilities(opa: OpaTool) -> bytes:
    """What policies may use, and the one function that OPA itself writes into tests with named cases.

    `opa build` compiles against what policies may use alone, so nothing shipped can call it.
    """
    done = opa.run("capabilities", "--current", files={}, collect=("capabilities.json",))
    offered, stock = msgspec.json.decode(done.made["capabilities.json"]), msgspec.json.decode(done.stdout)
    offered["builtins"] += [item for item in stock["builtins"] if item["name"] == "internal.test_case"]
    return msgspec.json.encode(offered)


def _strict(pack: Pack, opa: OpaTool, *, known: Sequence[Problem]) -> list[Problem]:
    """What `opa check --strict --schema` finds. A silent or missing layer is reported once, by us."""
    options, files = check_options(pack, opa)
    done = opa.run("check", "--strict", "--max-errors", "100", *options, "--bundle", FOLDER, files=files)
    return [] if done.status == 0 else [_named(problem) for problem in errors_of(pack, done)]


def _named(problem: Problem) -> Problem:
    match = _UNDEFINED_FUNCTION.search(problem.message)
    if match is None:
        return problem
    hint = "neither a function of this pack nor a built-in the engine offers"
    return Problem(code="REGO_BUILTIN_UNSUPPORTED", message=problem.message, where=problem.where, hint=hint)


def _load(pack: Pack, loaders: Mapping[str, Loader]) -> list[Problem]:
    problems: list[Problem] = []
    for name, load in loaders.items():
        path = pack.folder / name
        try:
            load(path.read_text(encoding="utf-8"), str(path))
        except ConfigError as error:
            problems.extend(error.problems)
    return problems


def _by_place(problem: Problem) -> tuple[str, int, str, str]:
    file, _, line = problem.where.rpartition(":")
    return (file, int(line), problem.code, problem.message) if line.isdigit() else (problem.where, 0, problem.code, "")
