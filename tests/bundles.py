"""Compiled packs for tests: built by the real `opa` once, then kept under their sources' digest."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

from tests.peers import ROOT
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.authoring.build import build
from zt_engine.authoring.pack import read_pack

TINY = ROOT / "tests/packs/tiny"
JP_GOV = ROOT / "policies/jp-gov"
KEPT = ROOT / ".cache/test-bundles"


@cache
def compiled(opa: str, folder: Path = TINY, *, edits: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Return the unsigned bundle of a pack; `edits` are replaced in its Rego first, and must be found there."""
    pack = read_pack(folder)
    if edits:
        sources = {name: _edited(raw, edits) for name, raw in pack.sources.items()}
        assert sources != pack.sources
        pack = type(pack)(**{name: getattr(pack, name) for name in pack.__struct_fields__} | {"sources": sources})
    digest = hashlib.sha256()
    makers = [
        ROOT / "zt_engine" / name for name in ("authoring/build.py", "core/bundle.py", "adapters/capabilities.json")
    ]
    for part in (opa, str(os.stat(opa).st_mtime_ns), *(path.read_text() for path in makers), repr(pack)):
        digest.update(part.encode())
    kept = KEPT / f"{digest.hexdigest()}.tar.gz"
    if not kept.exists():
        raw = build(pack, OpaBinary(Path(opa)))
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=KEPT, delete=False) as draft:
            draft.write(raw)
        os.replace(draft.name, kept)
    return kept.read_bytes()


def _edited(raw: bytes, edits: tuple[tuple[str, str], ...]) -> bytes:
    text = raw.decode()
    for old, new in edits:
        text = text.replace(old, new)
    return text.encode()
