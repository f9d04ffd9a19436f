"""The default policy engine: a bundle's `policy.wasm` inside this process, 20 to 50 us an evaluation.

Rules, each learned by experiment and each with a test of its name (tests/unit/test_wasm_rules.py): raw calls, an epoch
deadline around everything, both pointers checked and freed, memory that never moves and is limited, documents capped
and answers of one shape, host built-ins that cannot fail quietly, instances built in a thread, divergences named.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from zt_engine.adapters.rego_builtins import REGISTRY
from zt_engine.adapters.rego_builtins.operands import Function
from zt_engine.adapters.wasm_capi import raw_api
from zt_engine.adapters.wasm_documents import check_document, read_answer
from zt_engine.adapters.wasm_instance import WasmInstance
from zt_engine.adapters.wasm_module import CompiledPolicy, compile_policy, shared_ticker
from zt_engine.adapters.wasm_quarantine import Quarantine
from zt_engine.adapters.wasm_spares import Spares
from zt_engine.core.errors import UnavailableError

BUDGET_MS = 25
MEMORY_MIB = 64
REPLACE_S = 0.05
"""How long an evaluation waits for a spare when more instances were lost in a row than were built ahead."""


class WasmEngine:
    """A `PolicyEngine`. Building one compiles and loads data: do it in a thread; `evaluate` is for the event loop.

    It must be built after the last `fork` of the process, because the ticker that enforces deadlines is a thread.
    """

    def __init__(
        self,
        module: bytes | CompiledPolicy,
        data: bytes,
        *,
        revision: str,
        budget_ms: int = BUDGET_MS,
        memory_mib: int = MEMORY_MIB,
        builtins: Mapping[str, Function] = REGISTRY,
        public_calls: bool = False,
        quarantine: Quarantine | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`public_calls` forces the slow fallback; BundleError WASM_INVALID, WASM_DATA_INVALID, BUILTIN_UNSUPPORTED."""
        self._revision = revision
        self._quarantine = quarantine or Quarantine()
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._closed = False
        api = None if public_calls else raw_api()
        self.calls = "public" if api is None else "raw"
        policy = compile_policy(module) if isinstance(module, bytes) else module
        self._ticker = shared_ticker()
        self._ticker.acquire()
        try:
            first = WasmInstance(
                policy, api=api, budget_ms=budget_ms, memory_mib=memory_mib, registry=builtins, data=data
            )
        except BaseException:
            self._ticker.release()
            raise
        prepared = first.prepared
        self._entrypoints = prepared.entrypoints
        self._builtins = frozenset(prepared.builtins)
        self._instance: WasmInstance | None = first

        def build() -> WasmInstance:
            return WasmInstance(
                policy, api=api, budget_ms=budget_ms, memory_mib=memory_mib, registry=builtins, prepared=prepared
            )

        try:
            self._spares = Spares(build)
        except BaseException:
            first.close()
            self._ticker.release()
            raise

    @staticmethod
    def compile(module: bytes) -> CompiledPolicy:
        """Compile once for engines with different data; BundleError WASM_INVALID."""
        return compile_policy(module)

    @property
    def revision(self) -> str:
        """The revision of the bundle this engine answers for."""
        return self._revision

    @property
    def entrypoints(self) -> frozenset[str]:
        """What may be asked, read from the module itself."""
        return frozenset(self._entrypoints)

    @property
    def builtins(self) -> frozenset[str]:
        """The host built-ins that the policy may call, read from the module itself."""
        return self._builtins

    def evaluate(self, entrypoint: str, document: bytes) -> bytes:
        """Return the JSON of the entrypoint's value; see `PolicyEngine`."""
        check_document(document)
        with self._lock:
            instance = self._instance
            if instance is None:
                instance = self._replace()
            number = self._entrypoints.get(entrypoint)
            if number is None:
                raise UnavailableError("ENGINE_UNDEFINED", f"the policy has no entrypoint `{entrypoint}`")
            suspects = self._quarantine.suspects
            if suspects:
                self._suspect(entrypoint)
            try:
                text = instance.evaluate(number, document)
            except BaseException as error:
                self._lose(instance, entrypoint, error)
                raise
            if suspects:
                self._quarantine.answered(entrypoint, now=self._monotonic())
        return read_answer(text)

    def _suspect(self, entrypoint: str) -> None:
        now = self._monotonic()
        if self._quarantine.refuses(entrypoint, now=now):
            raise UnavailableError("ENGINE_QUARANTINED", f"`{entrypoint}` failed repeatedly and is held back")

    def _replace(self) -> WasmInstance:
        """Take a spare; ENGINE_DOWN when the engine is closed or no spare can be built in time."""
        found = None if self._closed else self._spares.take(REPLACE_S)
        if found is None:
            raise UnavailableError("ENGINE_DOWN", "the engine is closed" if self._closed else "no instance is ready")
        self._instance = found
        return found

    def _lose(self, instance: WasmInstance, entrypoint: str, error: BaseException) -> None:
        """Discard an instance after anything but an answer: its memory and stack can no longer be trusted."""
        self._instance = None
        self._spares.retire(instance)
        if isinstance(error, UnavailableError):
            self._quarantine.failed(entrypoint, now=self._monotonic())

    def close(self) -> None:
        """Free everything; waits for a running evaluation, and later ones raise ENGINE_DOWN."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            instance, self._instance = self._instance, None
        self._spares.close()
        if instance is not None:
            instance.close()
        self._ticker.release()
