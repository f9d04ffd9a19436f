"""What a hostile policy, document or moment may do to the process: be refused, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wasm_modules import module
from tests.unit.wasm_support import REALISTIC, REALISTIC_DATA, REALISTIC_SOURCES, compiled, document, request_input
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.wasm_instance import WasmInstance
from zt_engine.adapters.wasm_quarantine import Quarantine
from zt_engine.core.errors import UnavailableError

CODES = {"ENGINE_TIMEOUT", "ENGINE_TRAP", "ENGINE_MEMORY", "ENGINE_BUILTIN", "ENGINE_MALFORMED"}

HOSTILE = """
package t

endless_comprehension := count([1 |
    some a in numbers.range(1, 3000)
    some b in numbers.range(1, 3000)
    some c in numbers.range(1, 3000)
    a + b + c == 0
])
endless_replace := replace(input.x, "", "b")
endless_walk := count([1 | walk(data.deep, _); walk(data.deep, _); walk(data.deep, _); walk(data.deep, _)])
doubling := x16 if {
    x1 := array.concat(data.list, data.list)
    x2 := array.concat(x1, x1)
    x4 := array.concat(x2, x2)
    x5 := array.concat(x4, x4)
    x6 := array.concat(x5, x5)
    x7 := array.concat(x6, x6)
    x8 := array.concat(x7, x7)
    x16 := array.concat(x8, x8)
}
padded := sprintf("%999999999d", [input.n])
powered := units.parse("1e999999999K")
patched := json.patch(input.list, [{"op": "add", "path": "/0", "value": input.list} | some _ in numbers.range(1, 300)])
big_shift := bits.lsh(1, 100000000)
long_regex := regex.match("(((a{1,100}){1,100}){1,100}){1,100}", input.x)
backtracking := regex.replace(concat("", [input.x | some _ in numbers.range(1, 500)]), "(a+)+$", "b")
fine := input.x
"""
ENTRYPOINTS = tuple(f"t/{line.split()[0]}" for line in HOSTILE.splitlines() if " := " in line and line[0] not in " \t")
DATA = document({"list": list(range(1000)), "deep": [[[[1, 2, 3, 4]] * 10] * 10] * 10})


@pytest.fixture(scope="module", params=["raw", "public"])
def engine(request: pytest.FixtureRequest, opa: str) -> Iterator[WasmEngine]:
    policy = compiled(opa, ENTRYPOINTS, HOSTILE)
    running = WasmEngine(
        policy,
        DATA,
        revision="r1",
        memory_mib=32,
        public_calls=request.param == "public",
        quarantine=Quarantine(failures=10**9),
    )
    yield running
    running.close()


@pytest.mark.parametrize("entrypoint", [name for name in ENTRYPOINTS if name != "t/fine"])
def test_a_hostile_rule_is_bounded_and_the_next_evaluation_is_unharmed(engine: WasmEngine, entrypoint: str) -> None:
    raw = document({"x": "a" * 40 + "b", "n": 1, "list": list(range(2000))})

    for _ in range(2):
        try:
            engine.evaluate(entrypoint, raw)  # a rule may also be answered in time, or be undefined
        except UnavailableError as error:
            # A machine that is busy builds no other instance in time: that is a denial as well.
            assert error.code in CODES | {"ENGINE_UNDEFINED", "ENGINE_DOWN"}, error

    assert fine(engine) == b"1"


def fine(engine: WasmEngine) -> bytes | None:
    """What the rule that harms nobody says, as soon as there is an instance to say it."""
    for _ in range(100):
        try:
            return engine.evaluate("t/fine", b'{"x":1}')
        except UnavailableError as error:
            assert error.code == "ENGINE_DOWN", error
    return None


@pytest.mark.parametrize("entrypoint", ["t/endless_comprehension", "t/endless_replace", "t/endless_walk"])
def test_an_endless_rule_ends_at_a_limit(engine: WasmEngine, entrypoint: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        engine.evaluate(entrypoint, b'{"x":"aaa"}')

    assert caught.value.code in {"ENGINE_TIMEOUT", "ENGINE_MEMORY"}


@pytest.fixture(scope="module")
def realistic(opa: str) -> Iterator[WasmEngine]:
    policy = compiled(opa, REALISTIC, *REALISTIC_SOURCES)
    running = WasmEngine(policy, REALISTIC_DATA, revision="r1", quarantine=Quarantine(failures=10**9))
    yield running
    running.close()


def survive(engine: WasmEngine, raw: bytes) -> None:
    """Hand bytes to the module itself, past every check, and require a refusal or a text."""
    with engine._lock:
        instance = engine._instance or engine._spares.take(10)
        assert isinstance(instance, WasmInstance)
        engine._instance = instance
        try:
            assert isinstance(instance.evaluate(0, raw), bytes)
        except UnavailableError as error:
            engine._lose(instance, "zt/main/portal", error)
            assert error.code in CODES, error


@given(raw=st.binary(max_size=300))
def test_random_bytes_past_the_checks_never_kill_the_process(realistic: WasmEngine, raw: bytes) -> None:
    survive(realistic, raw)


_good = document(request_input())


@given(edits=st.lists(st.tuples(st.integers(0, len(_good) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_document_past_the_checks_never_kills_the_process(
    realistic: WasmEngine, edits: list[tuple[int, int]]
) -> None:
    raw = bytearray(_good)
    for at, byte in edits:
        raw[at] = byte

    survive(realistic, bytes(raw))


@given(cut=st.integers(0, len(_good)))
def test_a_document_cut_short_is_refused(realistic: WasmEngine, cut: int) -> None:
    survive(realistic, _good[:cut])
    if cut < len(_good):
        with pytest.raises(UnavailableError) as caught:
            realistic.evaluate("zt/main/portal", _good[:cut])

        assert caught.value.code == "ENGINE_INPUT"


def test_deeply_nested_bytes_past_the_checks_are_a_trap(realistic: WasmEngine) -> None:
    for raw in (b"[" * 200_000, b'{"a":' * 50_000, b"{" * 200_000):
        survive(realistic, raw)

    assert realistic.evaluate("zt/main/portal", _good)


def test_threads_that_evaluate_and_close_at_once_get_an_answer_or_a_refusal(opa: str) -> None:
    policy = compiled(opa, ENTRYPOINTS, HOSTILE)
    engine = WasmEngine(policy, DATA, revision="r1", memory_mib=32, quarantine=Quarantine(failures=10**9))
    results: list[object] = []
    running = threading.Barrier(5)

    def evaluate(entrypoint: str) -> None:
        running.wait()
        for _ in range(200):
            try:
                results.append(engine.evaluate(entrypoint, b'{"x":1}'))
            except UnavailableError as error:
                results.append(error.code)
                if error.code == "ENGINE_DOWN":
                    return

    names = ["t/fine", "t/fine", "t/endless_walk", "t/fine"]
    threads = [threading.Thread(target=evaluate, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    running.wait()
    engine.close()
    for thread in threads:
        thread.join()

    assert set(results) <= {b"1", "ENGINE_TIMEOUT", "ENGINE_MEMORY", "ENGINE_DOWN"}
    assert "ENGINE_DOWN" in results


def test_a_process_may_end_without_closing_its_engine() -> None:
    program = (
        "import sys\n"
        "from zt_engine.adapters.engine_wasm import WasmEngine\n"
        "engine = WasmEngine(bytes.fromhex(sys.stdin.read()), b'{}', revision='r1')\n"
        "print(engine.evaluate('t', b'{}'))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], input=module().hex(), capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "b'1'\n", "")
