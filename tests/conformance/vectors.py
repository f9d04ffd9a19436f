"""OPA's own conformance vectors: where they are, and one of them as a value."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tests.peers import find_peer

OPA_VERSION = "1.20.2"


class Vector(msgspec.Struct, frozen=True):
    """One case; `note` is its name, unique among all."""

    note: str
    file: str
    query: str
    modules: tuple[str, ...] = ()
    data: dict[str, Any] | None = None
    input: bytes | None = None
    input_term: str | None = None
    want: tuple[dict[str, Any], ...] | None = None
    want_error: str = ""
    want_error_code: str = ""
    strict: bool = False
    sort_bindings: bool = False

    @property
    def expects_error(self) -> bool:
        """Whether OPA refuses the evaluation."""
        return bool(self.want_error or self.want_error_code)

    @property
    def variables(self) -> tuple[str, ...]:
        """What the query binds, as far as the result says."""
        names = {name for binding in self.want or () for name in binding}
        return tuple(sorted(name for name in names if not name.startswith("__localq")))


class _Loader(yaml.CSafeLoader):
    """YAML as Go's reader takes it: a date is text, and `1e3` a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def folder() -> Path | None:
    """The folder of the vectors, None when this machine has none."""
    return find_peer("opa vectors")


def load(root: Path) -> list[Vector]:
    """Every vector, in the order of files; a note that is not unique gets a number."""
    found = [vector for path in sorted(root.rglob("*.yaml")) for vector in _read(root, path)]
    seen: Counter[str] = Counter()
    for index, vector in enumerate(found):
        seen[vector.note] += 1
        if seen[vector.note] > 1:
            found[index] = msgspec.structs.replace(vector, note=f"{vector.note} ({seen[vector.note]})")
    return found


def _read(root: Path, path: Path) -> Iterator[Vector]:
    document = yaml.load(path.read_bytes(), Loader=_Loader) or {}
    for case in document.get("cases") or []:
        want = case.get("want_result")
        term = case.get("input_term")
        given = json.dumps(case["input"]).encode() if "input" in case else None
        if term is not None:
            given, term = _json_or_term(term)
        yield Vector(
            note=case["note"],
            file=str(path.relative_to(root)),
            query=case["query"],
            modules=tuple(case.get("modules") or ()),
            data=case.get("data"),
            input=given,
            input_term=term,
            want=None if want is None else tuple(want),
            want_error=case.get("want_error") or "",
            want_error_code=case.get("want_error_code") or "",
            strict=bool(case.get("strict_error")),
            sort_bindings=bool(case.get("sort_bindings")),
        )


def _json_or_term(term: str) -> tuple[bytes | None, str | None]:
    """A term that is JSON can be given as a document; the others (sets) stay Rego."""
    try:
        json.loads(term)
    except ValueError:
        return None, term
    return term.encode(), None


def opa_version(opa: Path) -> str:
    """The version an executable says it is."""
    text = subprocess.run([opa, "version"], capture_output=True, text=True, check=True, timeout=30).stdout
    return text.split("Version:", 1)[1].split(maxsplit=1)[0]
