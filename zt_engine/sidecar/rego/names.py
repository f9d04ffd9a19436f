"""Names in a query, a form or its parts, where programs fold them: a rule is told what was sent, PHP reads less.

PHP writes `_` for a blank and a dot and makes one variable of what stands before the first bracket
(`php_register_variable_ex` in its `main/php_variables.c`), so `a.b`, `a b` and `a_b` are one name there, and of
`a=1&a[]=2` only the second is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zt_engine.core.errors import InputError

_FOLDED = str.maketrans(" .", "__")
_ODD = re.compile(r"[ .\[\0]")
_LIST = re.compile(r"([^\[]+)((?:\[[^\]]*\])+)")


def examine(names: Iterable[str], code: str) -> None:
    """Raise InputError with this code where PHP finds fewer names than there are, or one that is spelled otherwise.

    A single name with a dot or a blank inside passes: forms of other programs are full of them.
    """
    names = list(names)
    if not any(map(_ODD.search, names)):
        return
    bases: dict[str, tuple[str, bool]] = {}
    read: dict[tuple[str, str], str] = {}
    for name in names:
        if name.startswith(" ") or "\0" in name or ("[" in name and "]" not in name.partition("[")[2]):
            raise InputError(code, "a name that some readers cut short or fold")
        split = _LIST.match(name)
        base, keys = (split[1], split[2]) if split is not None else (name, "")
        folded, spelled = base.translate(_FOLDED), (base, bool(keys))
        if bases.setdefault(folded, spelled) != spelled or read.setdefault((folded, keys), name) != name:
            raise InputError(code, "two names that are one to some readers")
