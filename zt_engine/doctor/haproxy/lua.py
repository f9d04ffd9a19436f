"""What can be told from the text of a Lua action without running it."""

from __future__ import annotations

import re

import msgspec

from zt_engine.doctor.finding import Place

_COMMENT = re.compile(r"--[^\n]*")
_ACTION = re.compile(r"""register_action\s*\(\s*["']([\w.-]+)""")
_ASKS = re.compile(
    r"""httpclient\s*\(\s*\)\s*:\s*\w+|(?<=:)(?:get|head|post)\s*[({]\s*\{?\s*url\b|\bhttp\.(?:get|head|send|request)\b"""
)
_SET = re.compile(r"""set_var\s*\(\s*["']([\w.]+)["']\s*,\s*(\w+)""")
_ADDRESS = re.compile(r"""["'](?:(https?)://|ipv[46]@)([^"'/\s]+)""")


class Script(msgspec.Struct, frozen=True):
    """One Lua file."""

    path: str
    text: str
    """Without comments, lines kept."""

    @property
    def actions(self) -> set[str]:
        """The names that `http-request lua.NAME` may say."""
        return set(_ACTION.findall(self.text))

    @property
    def asks(self) -> re.Match[str] | None:
        """Where it asks over HTTP."""
        return _ASKS.search(self.text)

    @property
    def addresses(self) -> list[tuple[str, str, Place]]:
        """(`https`, `http` or nothing, address, place) of every address it names."""
        return [(match[1] or "", match[2], self.place(match.start())) for match in _ADDRESS.finditer(self.text)]

    def starts_refused(self, variable: str) -> bool:
        """Whether the variable is made false before it can become true."""
        values = [value for name, value in _SET.findall(self.text) if name == variable]
        return bool(values) and values[0] == "false"

    def sets(self, variable: str) -> re.Match[str] | None:
        """Where the variable becomes true."""
        return next((item for item in _SET.finditer(self.text) if item[1] == variable and item[2] != "false"), None)

    def names(self, header: str) -> bool:
        """Whether a header's name stands in it as a text."""
        return re.search(rf"""["']{re.escape(header)}["']""", self.text, re.IGNORECASE) is not None

    def place(self, at: int) -> Place:
        """The line of a position."""
        return Place(self.path, self.text.count("\n", 0, at) + 1)


def read(path: str, text: str) -> Script:
    """Return a script without its comments."""
    return Script(path, _COMMENT.sub("", text))
