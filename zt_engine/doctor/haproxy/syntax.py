"""haproxy.cfg: sections of lines of words."""

from __future__ import annotations

import re

from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Place
from zt_engine.doctor.sources import fault

MAX_LINES = 50_000

SECTIONS = frozenset(
    {
        "global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "mailers", "cache",
        "program", "http-errors", "ring", "log-forward", "fcgi-app", "crt-store", "traces", "log-profile", "acme",
        "crt-list", "spoe-agent", "spoe-message", "spoe-group",
    }
)  # fmt: skip
_WORD = re.compile(r"""(?:\\.|"(?:[^"\\]|\\.)*+"|'[^']*+'|[^\s"'\#\\])++""", re.DOTALL)
_QUOTED = re.compile(r"""\\(.)|"((?:[^"\\]|\\.)*+)"|'([^']*+)'""", re.DOTALL)


def parse(text: str, path: str) -> list[Directive]:
    """Return the sections, their lines in `block`; ConfigError DOCTOR_SYNTAX with the line."""
    found: list[Directive] = []
    rows = text.splitlines()
    if len(rows) > MAX_LINES:
        raise fault("DOCTOR_TOO_LARGE", f"more than {MAX_LINES} lines", path)
    for number, row in enumerate(rows, 1):
        words = _words(row, f"{path}:{number}")
        if not words or words[0].startswith("."):  # `.if`: both branches are looked at
            continue
        line = Directive(words[0], tuple(words[1:]), Place(path, number))
        if line.name in SECTIONS and row[:1] not in {" ", "\t"}:
            line.block = []
            found.append(line)
        elif not found:
            raise fault("DOCTOR_SYNTAX", f"`{line.name[:40]}` stands in no section", str(line.place))
        else:
            block = found[-1].block
            assert block is not None
            block.append(line)
    return found


def _words(row: str, where: str) -> list[str]:
    words: list[str] = []
    at = 0
    while at < len(row):
        if row[at].isspace():
            at += 1
        elif row[at] == "#":
            break
        else:
            match = _WORD.match(row, at)
            if match is None:
                raise fault("DOCTOR_SYNTAX", "a quotation that does not end", where)
            words.append(_QUOTED.sub(lambda found: found[1] or found[2] or found[3] or "", match[0]))
            at = match.end()
    return words
