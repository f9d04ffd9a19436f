"""The bundle of rules while the sidecar runs: read in a thread, taken up between two requests, followed as a file.

A bundle that is refused changes nothing: the one before it stays in force, and the log says why.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from zt_engine.adapters.bundle_signing import load_public_keys
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.bootstrap.authzen_bundle import RuleBundle, missing, open_rules
from zt_engine.bootstrap.wiring import bundle_key_pems
from zt_engine.config import Settings
from zt_engine.core.errors import BundleError, ZtError
from zt_engine.ports import PolicyEngine
from zt_engine.sidecar.authzen.rules import ResourceType

log = structlog.get_logger()

EVERY_SECONDS = 1.0
KIND = "rules"
"""Under which kind a bundle is archived beside the log."""


def types_of(settings: Settings) -> dict[str, ResourceType]:
    """Return the resource types of the settings."""
    return {item.type: ResourceType(item.entrypoint, item.candidates or "") for item in settings.authzen.types}


class Wanted(NamedTuple):
    """What the settings want of a bundle of rules."""

    path: Path
    rules: tuple[str, ...]
    """Without any the bundle is not read."""
    where: str
    """The setting that names them."""


class Rules(Protocol):
    """Takes a bundle's engine into use."""

    @property
    def engine(self) -> PolicyEngine | None:
        """The one in use."""
        ...

    def activate(self, engine: PolicyEngine, digest: str) -> PolicyEngine | None:
        """Replace it between two requests; returns the engine it replaces, which the caller closes."""
        ...


def of_types(settings: Settings) -> Wanted:
    """Return what AuthZEN's resource types want."""
    wanted = [name for item in settings.authzen.types for name in (item.entrypoint, item.candidates) if name]
    return Wanted(settings.path(settings.authzen.bundle), tuple(wanted), "authzen.types")


def read_rules(settings: Settings, raw: bytes, wanted: Wanted) -> tuple[RuleBundle, WasmEngine]:
    """Check a bundle and build its engine; raises ZtError. Reads keys and compiles: not for the event loop."""
    bundle = open_rules(raw, load_public_keys(bundle_key_pems(settings)))
    lacking = missing(bundle, wanted.rules)
    if lacking:
        hint = f"build it with `--entrypoint` for each rule of `{wanted.where}`"
        raise BundleError("AUTHZEN_ENTRYPOINT", f"the bundle has no rule `{lacking[0]}`", hint=hint)
    policy = settings.policy
    engine = WasmEngine(
        bundle.wasm, bundle.data, revision=bundle.revision, budget_ms=policy.budget_ms, memory_mib=policy.memory_mib
    )
    return bundle, engine


class RulesFollower:
    """Keeps the rules what the file says. Does nothing where the settings name none."""

    def __init__(
        self,
        settings: Settings,
        rules: Rules,
        decision_log: DecisionLog,
        wanted: Callable[[Settings], Wanted] = of_types,
    ) -> None:
        self.problem: ZtError | None = None
        self.digest = ""
        self._settings = settings
        self._rules = rules
        self._log = decision_log
        self._wanted = wanted
        self._seen: tuple[int, int, int] | None = None

    async def refresh(self) -> None:
        """Take up the bundle if its file has changed."""
        wanted = self._wanted(self._settings)
        if not wanted.rules:
            return
        seen = await asyncio.to_thread(_look, wanted.path)
        if seen == self._seen and seen is not None:
            return
        self._seen = seen
        try:
            bundle, engine = await asyncio.to_thread(self._read, wanted)
        except ZtError as error:
            if self.problem is None or str(self.problem) != str(error):
                log.error("rules.refused", rules=wanted.where, code=error.code, problem=error.message, hint=error.hint)
            self.problem = error
            return
        self.problem, self.digest = None, bundle.digest
        old = self._rules.activate(engine, bundle.digest)
        self._log.note(KIND, bundle.digest, bundle.revision)
        log.info("rules.activated", rules=wanted.where, revision=bundle.revision)
        if old is not None:
            old.close()

    def _read(self, wanted: Wanted) -> tuple[RuleBundle, WasmEngine]:
        try:
            raw = wanted.path.read_bytes()
        except OSError as error:
            raise BundleError("CONFIG_FILE", str(error.strerror), where=str(wanted.path)) from None
        bundle, engine = read_rules(self._settings, raw, wanted)
        self._log.archive(KIND, bundle.digest, raw)
        return bundle, engine

    async def follow(self) -> None:
        """Look at the file again and again."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self.refresh()

    async def rely_on(self, settings: Settings) -> None:
        """Take up a bundle for other rules, or by other keys that sign."""
        self._settings, self._seen = settings, None
        await self.refresh()

    def close(self) -> None:
        """Free the engine."""
        if self._rules.engine is not None:
            self._rules.engine.close()


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
