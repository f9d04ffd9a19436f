"""Compiling vectors: many in one module, each under a package prefix of its own, so that OPA's runtime is paid once.

The module of a batch is cached under the digest of everything that went in. What fails to compile is taken out of its
batch and tried again alone and unprefixed, so that no verdict rests on the prefix.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import msgspec

from tests.conformance.vectors import Vector

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "conformance"
ENTRYPOINT = "zt_conformance"
_FORMAT = "1"

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*|[A-Za-z_][A-Za-z0-9_]*|\s+|.', re.DOTALL)
_UNFIT = re.compile(r'rego\.metadata|# METADATA|\$["`]|import\s+data\s*(?:$|as\b|\n)', re.MULTILINE)
_FAULT = re.compile(r"(?:^|[\s/])(c\d+)_\w+\.rego:\d+: (.*)$", re.MULTILINE)


class Batch(msgspec.Struct, frozen=True):
    """A module that answers several vectors, and what OPA said of those it did not take."""

    wasm: bytes
    names: dict[str, str]
    """Entrypoint of each vector, by note."""
    data: dict[str, dict[str, object]]
    """Its data, under the prefix."""
    faults: dict[str, str]


def capabilities() -> bytes:
    """The capabilities that every policy of the product is compiled against."""
    return resources.files("zt_engine.adapters").joinpath("capabilities.json").read_bytes()


def can_be_prefixed(vector: Vector) -> bool:
    """Whether moving the vector into another package leaves its meaning; metadata would tell the package."""
    return not any(_UNFIT.search(text) for text in (*vector.modules, vector.query))


def prefixed(source: str, prefix: str) -> str:
    """Rego source moved below a package: `package a` becomes `package p.a`, `data.a` becomes `data.p.a`."""
    out: list[str] = []
    before = ""
    for match in _TOKEN.finditer(source):
        token = match.group()
        if token == "data" and before != ".":
            token = f"data.{prefix}"
        elif before == "package" and not token.isspace():
            token = f"{prefix}.{token}"
        out.append(token)
        if not token.isspace():
            before = match.group()
    return "".join(out)


def sources(vector: Vector, name: str, *, alone: bool) -> dict[str, str]:
    """The files of one vector: its modules, and its query as a rule that collects the bindings."""
    wrapped = ", ".join(f'"{variable}": {variable}' for variable in vector.variables)
    query = vector.query
    if vector.input_term is not None:
        query = f"{query} with input as {vector.input_term}"
    texts = [*vector.modules, query] if alone else [prefixed(text, name) for text in (*vector.modules, query)]
    files = {f"{name}_{index}.rego": text for index, text in enumerate(texts[:-1])}
    head = "{" + wrapped + "}" if wrapped else "true"
    files[f"{name}_query.rego"] = f"package {ENTRYPOINT}\n\n{name} := [{head} |\n{texts[-1]}\n]\n"
    return files


def _build(opa: Path, files: dict[str, str], entrypoints: Sequence[str], *, full: bool) -> tuple[bytes, str]:
    """The Wasm, or what OPA had to say; `full` lets all of OPA's built-ins be named."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name, text in files.items():
            (root / name).write_text(text, encoding="utf-8")
        (root / "capabilities.json").write_bytes(capabilities())
        arguments = ["build", "-t", "wasm", "-o", "out.tar.gz"]
        arguments += [] if full else ["--capabilities", "capabilities.json"]
        arguments += [part for name in entrypoints for part in ("-e", f"{ENTRYPOINT}/{name}")]
        done = subprocess.run(
            [opa, *arguments, *sorted(files)],
            cwd=root,
            env={"PATH": "/nonexistent", "HOME": place, "GOMAXPROCS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            return b"", done.stderr or done.stdout
        with tarfile.open(fileobj=io.BytesIO((root / "out.tar.gz").read_bytes())) as archive:
            member = archive.extractfile("/policy.wasm")
            return (member.read() if member else b""), ""


def _compile(opa: Path, vectors: dict[str, Vector], *, alone: bool, full: bool) -> tuple[bytes, dict[str, str]]:
    """Build what builds; the faults of the rest by name."""
    faults: dict[str, str] = {}
    left = dict(vectors)
    while left:
        files = {file: text for name, item in left.items() for file, text in sources(item, name, alone=alone).items()}
        wasm, said = _build(opa, files, list(left), full=full)
        if wasm:
            return wasm, faults
        found = {name: text for name, text in _FAULT.findall(said) if name in left}
        if not found and len(left) == 1:
            found = dict.fromkeys(left, said.strip())
        if not found:
            # OPA names no file: find the culprits by halves, then build the rest.
            found = _bisect(opa, left, alone=alone, full=full)
        if not found:
            raise RuntimeError(f"opa build: {said}")
        faults |= found
        left = {name: item for name, item in left.items() if name not in found}
    return b"", faults


def _bisect(opa: Path, vectors: dict[str, Vector], *, alone: bool, full: bool) -> dict[str, str]:
    names = list(vectors)
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    found: dict[str, str] = {}
    for half in halves:
        found |= _compile(opa, {name: vectors[name] for name in half}, alone=alone, full=full)[1]
    return found


def compile_batch(
    opa: Path, version: str, vectors: Sequence[Vector], *, alone: bool = False, full: bool = False
) -> Batch:
    """The module of a batch, from the cache if it was built before."""
    named = {f"c{index}": vector for index, vector in enumerate(vectors)}
    digest = hashlib.sha256(msgspec.json.encode([_FORMAT, version, alone, full, named]) + capabilities()).hexdigest()
    place = CACHE / version / f"{digest}.z"
    if place.exists():
        wasm, faults = msgspec.msgpack.decode(zlib.decompress(place.read_bytes()), type=tuple[bytes, dict[str, str]])
    else:
        wasm, faults = _compile(opa, named, alone=alone, full=full)
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(zlib.compress(msgspec.msgpack.encode((wasm, faults)), 1))
        unfinished.replace(place)
    return Batch(
        wasm=wasm,
        names={vector.note: f"{ENTRYPOINT}/{name}" for name, vector in named.items() if name not in faults},
        data={name: vector.data or {} for name, vector in named.items()},
        faults={named[name].note: text for name, text in faults.items()},
    )
