"""Reading the file: every fault at once, each with its place and what was probably meant."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from zt_engine.config.section import Section
from zt_engine.config.settings import ControlSettings, Settings, SettingsT
from zt_engine.core.errors import ConfigError, Problem

CONFIG_NAME = "zt.toml"
SHOWN_VALUE = 80
"""A value longer than this is not repeated in a message."""


def load_control(path: Path, environ: Mapping[str, str] | None = None) -> ControlSettings:
    """Read the settings of a control plane, or raise ConfigError as `load` does, also for issuers nobody configured."""
    settings = _load(path, environ, ControlSettings)
    known = {issuer.issuer for issuer in settings.issuers}
    problems = [
        Problem(
            code="CONFIG_VALUE",
            message=f"`{name}.issuer` is `{issuer}`, which is none of `[[issuers]]`",
            where=str(path),
            hint="its key set is configured there",
        )
        for name, issuer in (
            ("enrollment", settings.enrollment.issuer),
            ("administrators", settings.administrators.issuer),
        )
        if issuer and issuer not in known
    ]
    if problems:
        raise ConfigError(tuple(problems))
    return settings


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings, or raise ConfigError with every fault: file, line where TOML gives it, key and hint."""
    return _load(path, environ, Settings)


def _load(path: Path, environ: Mapping[str, str] | None, model: type[SettingsT]) -> SettingsT:
    environ = os.environ if environ is None else environ
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = "make one with `zt init DIR`"
        raise ConfigError(
            (Problem(code="CONFIG_UNREADABLE", message=str(error.strerror), where=str(path), hint=hint),)
        ) from None
    except UnicodeDecodeError:
        raise ConfigError((Problem(code="CONFIG_SYNTAX", message="the file is not UTF-8", where=str(path)),)) from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        raise ConfigError((Problem(code="CONFIG_SYNTAX", message=str(error), where=where),)) from None
    problems, overridden = _overrides(values, environ)
    values["base"] = path.parent.resolve()
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        places = [fault["loc"] for fault in faults]
        meant = {(*fault["loc"][:-1], _meant(fault["loc"])) for fault in faults if fault["type"] == "extra_forbidden"}
        # A table that has a fault is not counted, but it is there: that its list is too short is no fault of its own.
        # Neither is that a key is missing which is there, misspelt.
        problems += [
            _problem(path, text, fault, overridden)
            for fault in faults
            if (
                fault["type"] != "too_short"
                or not any(fault["loc"] == place[: len(fault["loc"])] != place for place in places)
            )
            and (fault["type"] != "missing" or fault["loc"] not in meant)
        ]
        raise ConfigError(tuple(problems)) from None
    if problems:
        raise ConfigError(tuple(problems))
    return settings


def _overrides(values: dict[str, Any], environ: Mapping[str, str]) -> tuple[list[Problem], dict[tuple[str, ...], str]]:
    """Apply `ZT_SECTION__KEY`; tuples are comma-separated. Lists of tables cannot be overridden.

    Returns what is no setting, and which settings now come from which variable.
    """
    names = {
        f"ZT_{section}__{key}".upper(): (section, key, field.annotation)
        for section, holder in Settings.model_fields.items()
        if isinstance(holder.annotation, type) and issubclass(holder.annotation, Section)
        for key, field in holder.annotation.model_fields.items()
        if not _is_table_list(field.annotation)
    }
    problems: list[Problem] = []
    overridden: dict[tuple[str, ...], str] = {}
    for name, text in environ.items():
        if not name.startswith("ZT_") or name == "ZT_CONFIG":
            continue
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean `{close[0]}`?" if close else ""
            problems.append(
                Problem(code="CONFIG_UNKNOWN_KEY", message=f"`{name}` is not a setting", where="environment", hint=hint)
            )
            continue
        section, key, annotation = names[name]
        is_list = tuple in (getattr(annotation, "__origin__", None), *get_args(annotation))
        table = values.setdefault(section, {})
        if isinstance(table, dict):  # anything else is refused as such
            table[key] = tuple(text.split(",")) if is_list else text
            overridden[section, key] = name
    return problems, overridden


def _is_table_list(annotation: Any) -> bool:
    return any(isinstance(item, type) and issubclass(item, Section) for item in get_args(annotation))


def _problem(path: Path, text: str, fault: Any, overridden: Mapping[tuple[str, ...], str]) -> Problem:
    location = tuple(fault["loc"])
    key = ".".join(str(part) for part in location)
    hint, code, message = "", "CONFIG_VALUE", str(fault["msg"])
    if fault["type"] == "extra_forbidden":
        code, message = "CONFIG_UNKNOWN_KEY", f"`{key}` is not a setting"
        close = _meant(location)
        hint = f"did you mean `{close}`?" if close else ""
    elif fault["type"] == "missing":
        code, message = "CONFIG_MISSING_KEY", f"`{key}` is required"
    elif fault["type"] == "listen":
        code, message, hint = "CONFIG_LISTEN", f"`{key}`: {message}", fault["ctx"]["hint"]
    elif fault["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        message = f"`{key}`{_repeated(fault['input'])}; one of {', '.join(allowed)}"
        guess = difflib.get_close_matches(str(fault["input"]), allowed, n=1)
        hint = f"did you mean `{guess[0]}`?" if guess else ""
    else:
        message = f"`{key}`{_repeated(fault['input'])}: {message.removeprefix('Value error, ')}"
    variable = overridden.get(location[:2])
    if variable is not None:
        return Problem(code=code, message=f"{message} (from `{variable}`)", where="environment", hint=hint)
    line = _line_of(text, location)
    return Problem(code=code, message=message, where=f"{path}:{line}" if line else str(path), hint=hint)


def _repeated(value: object) -> str:
    """What was written, as far as a line holds it. Secrets are never in this file: it names the files they are in."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    short = isinstance(value, str | int | float) and len(text) <= SHOWN_VALUE and text.isprintable()
    return f" is `{text}`" if short else ""


def _meant(location: tuple[Any, ...]) -> str:
    """The setting that a misspelt one probably is; empty when none is close."""
    return next(iter(difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), n=1)), "")


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    model: Any = Settings
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, Section)]
        model = inner[0] if inner else Settings
    return list(model.model_fields)


def _line_of(text: str, location: tuple[Any, ...]) -> int:
    """Find the line of a key: its section's header counted, then `key =` below it. 0 when it is not in the file."""
    sections = [part for part in location if isinstance(part, str)]
    index = next((part for part in location if isinstance(part, int)), 0)
    if not sections:
        return 0
    header = re.compile(rf"^\s*\[{{1,2}}{re.escape(sections[0])}[\].]")
    seen, inside, at_header = -1, len(sections) == 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            inside = header.match(line) is not None
            if inside:
                seen += 1
                inside = seen == index or "[[" not in line
                at_header = number if inside else at_header
        elif inside and re.match(rf"\s*\"?{re.escape(sections[-1])}\"?\s*[=.]", line):
            return number
    return at_header
