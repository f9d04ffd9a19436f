"""Every exception of the engine, split by whose fault it was.

ZtError                 code, message, where, hint; never raised itself
├── ConfigError         the operator's: configuration, catalogue, trust file, keys (carries every problem at once)
├── InputError          the caller's: a request, token, certificate or record that is refused
├── UnavailableError    a dependency's: engine, log, key set, clock
└── BundleError         the publisher's: a bundle or pack that is refused

A denial is a `Decision`, not an exception. Between reading a request and answering it, any of these (and anything
else that is raised) becomes a deny in exactly one place, `sidecar.authorize`.

Codes are upper case and registered in `zt_engine/pages/codes/*.toml` with Japanese and English text.
Messages are lower case, without a final period, values in backticks, and never hold a secret.
"""

from __future__ import annotations

from dataclasses import dataclass


class ZtError(Exception):
    """An error with a stable code, what was wrong, where (file:line, field) and what to do."""

    def __init__(self, code: str, message: str = "", *, where: str = "", hint: str = "") -> None:
        super().__init__(code, message, where, hint)
        self.code = code
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: " if self.where else ""
        text += f"{self.code}"
        text += f": {self.message}" if self.message else ""
        return text + (f" ({self.hint})" if self.hint else "")

    @property
    def facts(self) -> dict[str, str]:
        """What an operational log says of it."""
        said = {"code": self.code, "problem": self.message, "where": self.where, "hint": self.hint}
        return {name: text for name, text in said.items() if text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in something a person wrote: `where` is `file:line` as far as the parser gives it."""

    code: str
    message: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: " if self.where else ""
        text += f"{self.code}: {self.message}"
        return text + (f" ({self.hint})" if self.hint else "")


class ConfigError(ZtError):
    """Something an operator wrote is wrong; `problems` has all of it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first = problems[0]
        super().__init__(first.code, first.message, where=first.where, hint=first.hint)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class InputError(ZtError):
    """What the caller sent is refused."""


class UnavailableError(ZtError):
    """Something we depend on does not answer, or answers nonsense."""


class BundleError(ZtError):
    """What a publisher sent is refused."""
