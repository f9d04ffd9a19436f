"""What the commands have in common: language, and how an error looks."""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar
from typing import Literal, get_args

import typer

from zt_engine.bootstrap.packs import edited_since_compiled
from zt_engine.core.errors import ConfigError, Problem, ZtError
from zt_engine.pages.registry import registry

Language = Literal["ja", "en"]

EDITED: dict[Language, str] = {
    "en": "the pack {pack} was edited after it was compiled, which is how it decides here: make packs",
    "ja": "パック {pack} はコンパイルの後に編集されています。判定には編集前のものが使われます: make packs",
}

_asked: ContextVar[Language | None] = ContextVar("language", default=None)
"""What the running command was asked for, so that an error which ends it speaks that language too."""


def chosen_language(option: str | None) -> Language:
    """Return the language of a command: `--lang`, else the environment's, else English."""
    if option:
        if option.lower() not in get_args(Language):
            raise typer.BadParameter(f"`{option}` is no language of this program: ja or en", param_hint="--lang")
        language: Language = "ja" if option.lower() == "ja" else "en"
    else:
        wanted = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
        language = "ja" if wanted.lower().startswith("ja") else "en"
    _asked.set(language)
    return language


def print_error(error: ZtError, language: Language | None = None) -> None:
    """Print every problem: where, code, what it means, what exactly, what to do."""
    language = language or _asked.get() or chosen_language(None)
    problems = error.problems if isinstance(error, ConfigError) else (_as_problem(error),)
    for problem in problems:
        print(f"zt: {describe(problem, language)}", file=sys.stderr)


def describe(problem: Problem, language: Language, *, advice: bool = True) -> str:
    """Return one problem as text in a language; `advice` adds what to do about it.

    What exactly is wrong, in brackets, is English in every language: docs/operations.md says why.
    """
    entry = registry().get(problem.code)
    lines = [f"{problem.where}: " if problem.where else "", problem.code]
    if entry is not None:
        lines.append(f": {entry.text(language)}")
    if problem.message:
        lines.append(f" [{problem.message}]")
    if not advice:
        return "".join(lines)
    hint = problem.hint or (entry.hint(language) if entry is not None else "")
    if hint:
        lines.append(f"\n    {hint}")
    if entry is not None and entry.command:
        lines.append(f"\n    $ {entry.command}")
    return "".join(lines)


def warn_if_edited(pack: str, language: Language) -> None:
    """Say on standard error that a pack of this checkout decides as it was compiled, not as it stands there now."""
    if edited_since_compiled(pack):
        print(f"zt: {EDITED[language].format(pack=pack)}", file=sys.stderr)


def _as_problem(error: ZtError) -> Problem:
    return Problem(code=error.code, message=error.message, where=error.where, hint=error.hint)
