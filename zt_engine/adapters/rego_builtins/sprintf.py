"""`sprintf`: Go's formatting (`fmt.Sprintf`) of the values that OPA passes on: integers, floats, strings.

Everything else is formatted as the text of the value. Widths and precisions beyond `_MAX_WIDTH` are refused; Go would
fill megabytes. The directives are read here, the values are rendered in `sprintf_verbs`.
"""

from __future__ import annotations

import re
from typing import Final

from zt_engine.adapters.rego_builtins.operands import (
    MAX_RESULT_BYTES,
    RefusedError,
    array,
    builtin,
    int64,
    limit,
    string,
)
from zt_engine.adapters.rego_builtins.sprintf_verbs import MAX_WIDTH, Argument, Flags, Text, go_type, render, value_text
from zt_engine.adapters.rego_values import ExactNumber, Value

_FLAGS: Final = re.compile(r"[-+# 0]*")
_DIGITS: Final = re.compile(r"[0-9]*")
_GO_LARGEST: Final = 1_000_000


def _argument(value: Value) -> Argument:
    """A value as what OPA hands to Go: an int64, a big integer, a float64, or text."""
    whole = int64(value)
    if whole is not None:
        return whole
    if isinstance(value, ExactNumber):
        overflows = value - value != 0
        return Text(value.text) if "." not in value.text or overflows else float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return Text(value if isinstance(value, str) else value_text(value))


class _Formatter:
    def __init__(self, template: str, arguments: list[Argument]) -> None:
        self.template = template
        self.arguments = arguments
        self.at = 0
        self.next = 0
        self.reordered = False
        self.brackets = template.count("]")
        self.good_index = True
        self.after_index = False
        self.out: list[str] = []
        self.size = 0

    def write(self, text: str) -> None:
        self.size += len(text)
        limit(self.size, MAX_RESULT_BYTES, "characters")
        self.out.append(text)

    def format(self) -> str:
        while self.at < len(self.template):
            mark = self.template.find("%", self.at)
            end = len(self.template) if mark < 0 else mark
            self.write(self.template[self.at : end])
            self.at = end + 1
            if mark >= 0:
                self.directive()
        if not self.reordered and self.next < len(self.arguments):
            self.extra()
        return "".join(self.out)

    def extra(self) -> None:
        limit(len(self.arguments), MAX_RESULT_BYTES // 8, "arguments")
        listed = (f"{go_type(argument)}={render(argument, 'v', Flags())}" for argument in self.arguments[self.next :])
        self.write("%!(EXTRA " + ", ".join(listed) + ")")

    def index(self) -> None:
        """An explicit argument index, `[3]`."""
        self.after_index = False
        if self.template[self.at : self.at + 1] != "[":
            return
        self.reordered = True
        # Once there is no closing bracket there is none further on: looking each time would be quadratic.
        close = self.template.find("]", self.at) if self.brackets else -1
        self.brackets = close + 1
        if close < 0:
            self.good_index = False
            self.at += 1
            return
        inner = self.template[self.at + 1 : close]
        self.at = close + 1
        if not inner.isascii() or not inner.isdigit():
            self.good_index = False
            return
        self.after_index = True
        number = int(inner[:9]) - 1
        if 0 <= number < len(self.arguments):
            self.next = number
        else:
            self.good_index = False

    def star(self) -> int | None:
        """A width or precision taken from the arguments."""
        self.at += 1
        found = self.arguments[self.next] if self.next < len(self.arguments) else None
        self.next += 1 if self.next < len(self.arguments) else 0
        self.after_index = False
        if not isinstance(found, int) or abs(found) > _GO_LARGEST or int64(found) is None:
            return None
        return self.bounded(found)

    def bounded(self, number: int) -> int:
        if abs(number) > MAX_WIDTH:
            raise RefusedError(f"width or precision over {MAX_WIDTH}")
        return number

    def digits(self) -> int | None:
        match = _DIGITS.match(self.template, self.at)
        text = match.group() if match else ""
        self.at += len(text)
        return self.bounded(int(text[:12])) if text else None

    def directive(self) -> None:
        self.good_index = True
        self.after_index = False
        match = _FLAGS.match(self.template, self.at)
        written = match.group() if match else ""
        self.at += len(written)
        flags = Flags(
            plus="+" in written, minus="-" in written, sharp="#" in written, space=" " in written, zero="0" in written
        )
        self.index()
        flags = self.width(flags)
        flags = self.precision(flags)
        if not self.after_index:
            self.index()
        if self.at >= len(self.template):
            self.write("%!(NOVERB)")
            return
        verb = self.template[self.at]
        self.at += 1
        self.verb(verb, flags)

    def width(self, flags: Flags) -> Flags:
        if self.template[self.at : self.at + 1] == "*":
            width = self.star()
            if width is None:
                self.write("%!(BADWIDTH)")
                return flags
            if width < 0:
                return flags._replace(width=-width, minus=True, zero=False)
            return flags._replace(width=width)
        width = self.digits()
        if self.after_index and width is not None:
            self.good_index = False
        return flags._replace(width=width)

    def precision(self, flags: Flags) -> Flags:
        if self.at + 1 >= len(self.template) or self.template[self.at] != ".":
            return flags
        self.at += 1
        if self.after_index:
            self.good_index = False
        self.index()
        if self.template[self.at : self.at + 1] == "*":
            precision = self.star()
            if precision is None or precision < 0:
                self.write("%!(BADPREC)")
                return flags
            return flags._replace(precision=precision)
        return flags._replace(precision=self.digits() or 0)

    def verb(self, verb: str, flags: Flags) -> None:
        if verb == "%":
            self.write("%")
        elif not self.good_index:
            self.write(f"%!{verb}(BADINDEX)")
        elif self.next >= len(self.arguments):
            self.write(f"%!{verb}(MISSING)")
        else:
            argument = self.arguments[self.next]
            self.next += 1
            self.write(render(argument, verb, flags))


@builtin("sprintf")
def sprintf(template: Value, arguments: Value) -> Value:
    """The template with its directives replaced; what does not fit is marked in the text, as Go does."""
    return _Formatter(string(template, 1), [_argument(value) for value in array(arguments, 2)]).format()
