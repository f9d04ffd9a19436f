"""Authoring, wired: a folder of policy in, faults or a bundle out, with the real `opa` and both engines."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from zt_engine.adapters.bundle_signing import BundleSigningKey, load_signing_key
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.adapters.engine_opa import OpaEngine
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.opa_binary import OpaBinary, find_opa
from zt_engine.adapters.opa_memory import OpaMemory
from zt_engine.adapters.opa_process import serve_bundle
from zt_engine.adapters.trust_yaml import load_trust
from zt_engine.authoring.build import build
from zt_engine.authoring.check import Checked, check
from zt_engine.authoring.pack import Pack
from zt_engine.authoring.rego_tests import TestRun, run_tests
from zt_engine.authoring.rehearsal import Row, compare, failures, rehearse
from zt_engine.authoring.scenarios import read_scenarios
from zt_engine.bootstrap.activation import Parts, read_catalogue, read_trust
from zt_engine.bootstrap.packs import checkout
from zt_engine.bootstrap.rehearsal import Stage
from zt_engine.bootstrap.steps import Step, silent
from zt_engine.core.bundle import Bundle, open_bundle
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.ports import PolicyEngine

ENGINES = ("wasm", "opa")
BUDGET_MS = 2000
"""Authors' machines may be busy; what a policy may cost in production is measured there."""


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a test run found. Without problems the pack may be built and published."""

    rego: TestRun | None
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle as it is published, and as whoever receives it will read it."""

    raw: bytes
    bundle: Bundle


class Workbench:
    """Checks, tests and builds packs with one `opa`."""

    def __init__(self, opa: str | None, *, step: Step = silent) -> None:
        """`opa` is the setting OPA, None to look for one as `_found` does; raises ConfigError OPA_MISSING."""
        self._step = step
        self._executable = opa_executable(opa)
        self._opa = OpaMemory(OpaBinary(self._executable))

    def check(self, folder: Path) -> Checked:
        """Return a pack with everything that is wrong with it."""
        loaders = {
            "catalogue.yaml": lambda text, where: load_catalogue(text.encode(), where=where),
            "trust.yaml": lambda text, where: load_trust(text, where=where),
        }
        return check(folder, self._opa, loaders=loaders)

    def test(self, folder: Path, *, engines: Sequence[str] = ENGINES, language: str = "en") -> Tested:
        """Check a pack, run its Rego tests, then its scenarios through the whole decision path on each engine."""
        self._step("check")
        checked = self.check(folder)
        if checked.problems or checked.pack is None:
            return Tested(rego=None, rows=(), problems=checked.problems)
        self._step("rego_tests")
        rego = run_tests(checked.pack, self._opa)
        try:
            rows, problems = self._scenarios(checked, engines, language)
        except ConfigError as error:
            rows, problems = [], list(error.problems)
        return Tested(rego=rego, rows=tuple(rows), problems=(*rego.problems, *problems))

    def build(self, folder: Path, *, key: BundleSigningKey | None = None) -> Built:
        """Return the bundle of a pack that passes its check; raises ConfigError with every fault otherwise."""
        self._step("build")
        checked = self.check(folder)
        if checked.problems or checked.pack is None:
            raise ConfigError(checked.problems)
        raw = build(checked.pack, self._opa, key=key, modules=checked.modules)
        keys = {} if key is None else {key.key_id: key.public()}
        return Built(raw=raw, bundle=open_bundle(raw, keys=keys, require_signature=key is not None))

    def _scenarios(self, checked: Checked, engines: Sequence[str], language: str) -> tuple[list[Row], list[Problem]]:
        pack = checked.pack
        if pack is None:
            return [], []
        scenarios = read_scenarios(pack.folder / "scenarios")
        raw = build(pack, self._opa, modules=checked.modules)
        bundle = open_bundle(raw, keys={}, require_signature=False)
        parts = _parts(pack, bundle)
        rows: dict[str, list[Row]] = {}
        for name in engines:
            self._step("scenarios_opa" if name == "opa" else "scenarios_wasm")
            with self._engine(name, raw, bundle) as engine:
                rows[name] = rehearse(scenarios, Stage(parts, engine).decide, engine=name, language=language)
        problems = failures([rows[name] for name in engines])
        for name in engines[1:]:
            problems += compare(rows[engines[0]], rows[name], language=language)
        return [row for name in engines for row in rows[name]], problems

    @contextlib.contextmanager
    def _engine(self, name: str, raw: bytes, bundle: Bundle) -> Iterator[PolicyEngine]:
        with contextlib.ExitStack() as stack:
            engine: PolicyEngine
            if name == "opa":
                address = stack.enter_context(serve_bundle(self._executable, raw))
                engine = OpaEngine(address, revision=bundle.revision, deadline_ms=BUDGET_MS)
            else:
                engine = WasmEngine(bundle.wasm, bundle.data, revision=bundle.revision, budget_ms=BUDGET_MS)
            stack.callback(engine.close)
            yield engine


def opa_executable(opa: str | None) -> Path:
    """Return the `opa` that is used: the setting, else the one that is found; ConfigError OPA_MISSING."""
    return find_opa(opa or _found())


def _found() -> str | None:
    """In a checkout what `make peers` built comes first, as in its tests; then PATH, then Go's programs."""
    root = checkout()
    candidates = [] if root is None else [root / ".cache/bin/opa"]
    on_path = shutil.which("opa")
    candidates += [Path(on_path) if on_path else Path.home() / "go/bin/opa"]
    return next((str(path) for path in candidates if os.access(path, os.X_OK) and path.is_file()), None)


def read_key(path: Path, key_id: str | None) -> BundleSigningKey:
    """Read the key that signs; its id is the file's name unless another is given."""
    try:
        pem = path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError((Problem(code="BUNDLE_KEY_MALFORMED", message=message, where=str(path)),)) from None
    return load_signing_key(pem, key_id=key_id or path.stem, where=str(path))


def _parts(pack: Pack, bundle: Bundle) -> Parts:
    texts = {name: (pack.folder / name).read_bytes() for name in ("catalogue.yaml", "trust.yaml")}
    return Parts(
        bundle=bundle,
        catalogue=read_catalogue(texts["catalogue.yaml"], where=str(pack.folder / "catalogue.yaml")),
        catalogue_digest="",
        trust=read_trust(texts["trust.yaml"], where=str(pack.folder / "trust.yaml")),
        trust_digest="",
    )
