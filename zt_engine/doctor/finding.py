"""A finding: what is unsafe, and on which line of which file it is written."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from zt_engine.core.errors import Problem


class Place(msgspec.Struct, frozen=True):
    """A line of a file, as an editor counts; line 0 is no line but a request."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Finding(msgspec.Struct, frozen=True):
    """One unsafe thing. Consequence and fix stand in the registry under `code`, in both languages."""

    code: str
    place: Place
    detail: str
    """What exactly, in English in every language, as with problems."""
    write: str = ""
    """The fix as the proxy's own syntax, when it is one piece of text."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and what could not be looked at. Nothing found counts only when all was read."""

    proxy: str
    files: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    unreadable: tuple[Problem, ...] = ()

    @property
    def status(self) -> int:
        """Exit status: 0 nothing found, 1 findings, 2 something was not readable."""
        if self.unreadable:
            return 2
        return 1 if self.findings else 0


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return each finding once, by file and line; one line has one finding of a code."""
    kept: dict[tuple[str, int, str], Finding] = {}
    for finding in findings:
        kept.setdefault((finding.place.file, finding.place.line, finding.code), finding)
    return tuple(kept[key] for key in sorted(kept))
