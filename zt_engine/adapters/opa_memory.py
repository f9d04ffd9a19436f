"""An `opa` that judges nothing twice: what it says depends on its arguments and its files, and on nothing else.

Whoever publishes a pack has it parsed, checked and compiled before its tests and again for the bundle; the second time
the same bytes get the same answer at once, and any other byte is judged anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from threading import Lock

from zt_engine.core.generations import Generations
from zt_engine.ports import OpaOutput, OpaTool

JUDGING = frozenset({"build", "capabilities", "check", "inspect", "parse"})
"""What is remembered. A test is run whenever somebody asks for it."""
KEPT_BYTES = 64 << 20


class OpaMemory:
    """Asks an `OpaTool`, and remembers its answers; safe to share between threads."""

    def __init__(self, opa: OpaTool) -> None:
        self._opa = opa
        self._lock = Lock()
        self._known: Generations[bytes, OpaOutput] = Generations(KEPT_BYTES, lambda _, said: 200 + _size(said))

    def run(self, *arguments: str, files: Mapping[str, bytes], collect: tuple[str, ...] = ()) -> OpaOutput:
        """Return what `opa` says; see `OpaTool`.

        What failed is asked again: a full disk or a signal says nothing of the files.
        """
        if not arguments or arguments[0] not in JUDGING:
            return self._opa.run(*arguments, files=files, collect=collect)
        asked = _digest(arguments, files, collect)
        with self._lock:
            known = self._known.get(asked)
        if known is None:
            known = self._opa.run(*arguments, files=files, collect=collect)
            if known.status == 0:
                with self._lock:
                    self._known.put(asked, known)
        return known


def _size(said: OpaOutput) -> int:
    return len(said.stdout) + len(said.stderr) + sum(map(len, said.made.values()))


def _digest(arguments: tuple[str, ...], files: Mapping[str, bytes], collect: tuple[str, ...]) -> bytes:
    whole = hashlib.sha256(repr((arguments, collect)).encode())
    for name, content in sorted(files.items()):
        whole.update(b"%s %d %s" % (repr(name).encode(), len(content), hashlib.sha256(content).digest()))
    return whole.digest()
