"""The rules of the Wasm engine, each of which was learned by experiment, each with a test that names it."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import json
import subprocess
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import wasmtime
from wasmtime import _ffi as ffi

from tests.unit.wasm_modules import ANSWER, module
from tests.unit.wasm_support import compiled, document
from zt_engine.adapters.engine_wasm import WasmEngine
from zt_engine.adapters.rego_builtins.operands import Function
from zt_engine.adapters.rego_values import UNDEFINED
from zt_engine.adapters.wasm_builtins import MAX_CALLS
from zt_engine.adapters.wasm_capi import RawApi, TrappedError, context_of, find_raw_api, raw_api, raw_caller, self_test
from zt_engine.adapters.wasm_divergences import DIVERGENCES
from zt_engine.adapters.wasm_instance import WasmInstance
from zt_engine.adapters.wasm_memory import PAGE
from zt_engine.adapters.wasm_module import shared_engine, shared_ticker
from zt_engine.adapters.wasm_quarantine import Quarantine
from zt_engine.core.errors import BundleError, UnavailableError


def engine_of(
    wasm: bytes, *, builtins: Mapping[str, Function] | None = None, public_calls: bool = False, memory_mib: int = 4
) -> WasmEngine:
    """Return an engine over a hand-made module."""
    return WasmEngine(
        wasm, b"{}", revision="r1", builtins=builtins or {}, public_calls=public_calls, memory_mib=memory_mib
    )


def refusal(engine: WasmEngine, entrypoint: str = "t", raw: bytes = b"{}") -> str:
    """Return code and message of a refused evaluation."""
    with pytest.raises(UnavailableError) as caught:
        engine.evaluate(entrypoint, raw)
    return f"{caught.value.code}: {caught.value.message}"


@pytest.fixture
def api() -> RawApi:
    found = raw_api()
    assert found is not None
    return found


@pytest.fixture
def simple() -> Iterator[WasmEngine]:
    engine = engine_of(module())
    yield engine
    engine.close()


# --- 1: raw calls, a self-test, a fallback ---


def test_rule_1_an_installed_wasmtime_is_called_raw(simple: WasmEngine) -> None:
    assert simple.calls == "raw"
    assert simple.evaluate("t", b"{}") == b"1"


def test_rule_1_the_library_releases_the_interpreter_lock() -> None:
    source = Path(find_raw_api.__code__.co_filename).read_text()

    assert "ctypes.CDLL(" in source
    assert "ctypes.PyDLL(" not in source


@pytest.mark.parametrize(
    ("release", "library"),
    [
        ("49.0.0", str(ffi.filename)),
        ("51.0.0", str(ffi.filename)),
        ("50.0.1", ctypes.util.find_library("c") or "libc.so.6"),
        ("50.0.1", "/nowhere/libwasmtime.so"),
    ],
    ids=["too old", "unknown", "another library", "no library"],
)
def test_rule_1_an_unknown_library_is_not_called_raw(release: str, library: str) -> None:
    assert find_raw_api(release, library) is None


def test_rule_1_the_self_test_notices_a_call_that_does_nothing() -> None:
    api = RawApi(ctypes.CDLL(str(ffi.filename)))
    assert self_test(api)

    api.call = lambda *_: 0

    assert not self_test(api)


def test_rule_1_the_fallback_answers_the_same() -> None:
    engine = engine_of(module(), public_calls=True)

    assert engine.calls == "public"
    assert engine.evaluate("t", b"{}") == b"1"
    engine.close()


# --- 2: the deadline ---


def test_rule_2_an_endless_start_function_is_cut_off_at_instantiation(api: RawApi) -> None:
    policy = WasmEngine.compile(module(start="(start $spin)"))
    ticker = shared_ticker()
    ticker.acquire()

    with pytest.raises(BundleError) as caught:
        WasmInstance(policy, api=api, budget_ms=25, memory_mib=4, registry={}, setup_ms=20)

    ticker.release()
    assert caught.value.code == "WASM_INVALID"


@pytest.mark.parametrize("public_calls", [False, True])
def test_rule_2_an_endless_evaluation_is_cut_off(public_calls: bool) -> None:
    engine = engine_of(module(f"(call $spin) {ANSWER}"), public_calls=public_calls)

    assert refusal(engine).startswith("ENGINE_TIMEOUT")
    engine.close()


@pytest.mark.parametrize("public_calls", [False, True])
def test_rule_2_the_deadline_is_armed_before_every_call(public_calls: bool) -> None:
    engine = engine_of(module(), public_calls=public_calls)
    engine.evaluate("t", b"{}")

    beats = shared_ticker().beats
    while shared_ticker().beats == beats:  # the epoch never goes on without it
        for _ in range(10_000):
            shared_engine().increment_epoch()

    assert engine.evaluate("t", b"{}") == b"1"
    engine.close()


def test_rule_2_the_ticker_ends_with_the_last_engine() -> None:
    ticker = shared_ticker()
    before = ticker._holders
    first, second = engine_of(module()), engine_of(module())
    assert ticker._holders == before + 2

    first.close()
    second.close()
    second.close()

    assert ticker._holders == before


# --- 3: traps and errors are freed, instances discarded, repeat offenders held ---


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_rule_3_ten_thousand_traps_leak_nothing(api: RawApi) -> None:
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    instance = wasmtime.Instance(store, wasmtime.Module(engine, '(module (func (export "f") unreachable))'), [])
    function = instance.exports(store)["f"]
    assert isinstance(function, wasmtime.Func)
    trap, context = raw_caller(api, store, function, 0), context_of(store)

    def trap_often(times: int) -> None:
        for _ in range(times):
            with pytest.raises(TrappedError, match="unreachable"):
                trap(context)

    trap_often(1000)
    before = resident()
    trap_often(10_000)  # would be 20 MB

    assert resident() - before < 6 << 20


def test_rule_3_an_error_is_freed_by_its_own_function(api: RawApi) -> None:
    library = ctypes.CDLL(str(ffi.filename))
    new = library.wasmtime_error_new
    new.restype, new.argtypes = ctypes.c_void_p, [ctypes.c_char_p]

    for _ in range(1000):
        found = api.failure(new(b"out of order"), ctypes.c_void_p())

        assert found.reason == "error"
        assert not found.interrupted


@pytest.mark.parametrize("public_calls", [False, True])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("unreachable", "ENGINE_TRAP: unreachable"),
        ("(call $recurse (i32.const 1))", "ENGINE_TRAP: stack_overflow"),
        ("(i32.load (i32.const -8))", "ENGINE_TRAP: memory_out_of_bounds"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "ENGINE_TRAP: integer_division_by_zero"),
        (f"(call $abort (i32.const 32)) {ANSWER}", 'ENGINE_TRAP: {"t":0}'),
        (f"(call $abort (i32.const -1)) {ANSWER}", "ENGINE_TRAP: unreadable"),
    ],
)
def test_rule_3_each_way_to_fail_is_named(body: str, message: str, public_calls: bool) -> None:
    engine = engine_of(module(body), public_calls=public_calls)

    assert refusal(engine) == message
    engine.close()


def test_rule_3_a_lost_instance_is_replaced_by_a_spare_that_was_built_ahead() -> None:
    # Fails unless the argument says otherwise, and only a fresh instance has the byte at 8 unset.
    body = f"""(if (i32.load8_u (i32.const 8)) (then unreachable))
      (i32.store8 (i32.const 8) (i32.const 1))
      (if (i32.eq (local.get 4) (i32.const 3)) (then unreachable)) {ANSWER}"""
    engine = engine_of(module(body))
    used = engine._instance

    assert refusal(engine, raw=b"123").startswith("ENGINE_TRAP")
    assert engine.evaluate("t", b"{}") == b"1"
    assert engine._instance is not used
    engine.close()


def test_rule_3_thousands_of_lost_instances_are_closed() -> None:
    engine = WasmEngine(
        module("unreachable"), b"{}", revision="r1", builtins={}, memory_mib=4, quarantine=Quarantine(failures=10**9)
    )

    def lose(times: int) -> None:
        for _ in range(times):
            assert refusal(engine).split(":")[0] in {"ENGINE_TRAP", "ENGINE_DOWN"}

    lose(200)
    before = resident()
    lose(2000)

    assert resident() - before < 16 << 20
    assert len(engine._spares._lost) < 100
    engine.close()


def test_rule_3_a_policy_that_keeps_failing_is_held_and_the_others_are_not(opa: str) -> None:
    now = [1000.0]
    source = "package t\nbad := 1\nbad := 2 if input\ngood := 1\n"
    policy = compiled(opa, ("t/bad", "t/good"), source)
    engine = WasmEngine(
        policy,
        b"{}",
        revision="r1",
        quarantine=Quarantine(failures=3, window_s=10, hold_s=20),
        monotonic=lambda: now[0],
    )

    codes = [refusal(engine, "t/bad").split(":")[0] for _ in range(4)]

    assert codes == ["ENGINE_TRAP", "ENGINE_TRAP", "ENGINE_TRAP", "ENGINE_QUARANTINED"]
    assert engine.evaluate("t/good", b"{}") == b"1"
    now[0] += 25
    assert refusal(engine, "t/bad").startswith("ENGINE_TRAP")
    assert refusal(engine, "t/bad").startswith("ENGINE_QUARANTINED")
    engine.close()


# --- 4: memory ---


@pytest.mark.parametrize("public_calls", [False, True])
def test_rule_4_a_memory_hungry_policy_meets_its_limit(opa: str, public_calls: bool) -> None:
    source = """package t
        hungry := [x | some a in numbers.range(1, 2000); some b in numbers.range(1, 2000); x := [a, b, "text"]]
        good := 1"""
    policy = compiled(opa, ("t/hungry", "t/good"), source)
    engine = WasmEngine(policy, b"{}", revision="r1", memory_mib=2, budget_ms=5000, public_calls=public_calls)

    assert refusal(engine, "t/hungry").startswith("ENGINE_MEMORY")
    assert engine.evaluate("t/good", b"{}") == b"1"
    engine.close()


def test_rule_4_memory_that_grows_does_not_move(simple: WasmEngine) -> None:
    instance = simple._instance
    assert instance is not None
    memory = instance.memory
    start, size = memory._start, memory.size

    assert simple.evaluate("t", document("a" * 200_000)) == b"1"

    assert memory.size > size
    assert ctypes.addressof(memory._memory.data_ptr(memory._store).contents) == start


def test_rule_4_a_document_beyond_the_limit_is_refused_and_never_written() -> None:
    engine = engine_of(module(), memory_mib=1)
    instance = engine._instance
    assert instance is not None

    with pytest.raises(UnavailableError) as caught:
        instance.memory.write(PAGE, b"x" * (1 << 20))

    assert caught.value.code == "ENGINE_MEMORY"
    engine.close()


def test_rule_4_nothing_is_written_after_the_memory_is_gone(simple: WasmEngine) -> None:
    instance = simple._instance
    assert instance is not None

    instance.close()

    with pytest.raises(ValueError, match="already closed"):
        instance.memory.write(0, b"abc")
    with pytest.raises(ValueError, match="already closed"):
        instance.memory.text(0, 10)


# --- 5: what may come in is capped, what may come out has one form (see test_wasm_documents) ---


@pytest.mark.parametrize("public_calls", [False, True])
@pytest.mark.parametrize("address", ["0", "16", "131071", "131072", "-1", "2147483647"])
def test_rule_5_an_answer_anywhere_but_a_result_set_is_malformed(address: str, public_calls: bool) -> None:
    engine = engine_of(module(f"(i32.const {address})"), public_calls=public_calls)

    assert refusal(engine).startswith("ENGINE_MALFORMED")
    engine.close()


def test_rule_5_an_answer_without_an_end_is_malformed() -> None:
    engine = engine_of(
        module("(memory.fill (i32.const 65536) (i32.const 32) (i32.const 65536)) (i32.const 65536)"), memory_mib=8
    )

    assert refusal(engine).startswith("ENGINE_MALFORMED")
    engine.close()


# --- 6: host built-ins ---

CALLS_BUILTIN = f"(drop (call $builtin1 (i32.const 0) (i32.const 0) (i32.const 16))) {ANSWER}"
"""Calls built-in 0 with the value `{}` and goes on with a legal answer whatever it returned."""


def with_builtin(function: Function, *, evaluate: str = CALLS_BUILTIN, public_calls: bool = False) -> WasmEngine:
    return engine_of(module(evaluate, builtins='{"b":0}'), builtins={"b": function}, public_calls=public_calls)


@pytest.mark.parametrize("public_calls", [False, True])
def test_rule_6_a_builtin_is_called_with_values_and_its_value_comes_back(opa: str, public_calls: bool) -> None:
    seen: list[object] = []

    def sprintf(text: str, items: object) -> str:
        seen.append((text, items))
        return "ok"

    policy = compiled(opa, ("t/x",), 'package t\nx := sprintf("%v", [input.x])')
    engine = WasmEngine(policy, b"{}", revision="r1", builtins={"sprintf": sprintf}, public_calls=public_calls)

    assert engine.builtins == {"sprintf"}
    assert engine.entrypoints == {"t/x"}
    assert engine.evaluate("t/x", b'{"x":{"a":[1,"b"]}}') == b'"ok"'
    assert seen == [("%v", [{"a": [1, "b"]}])]
    engine.close()


@pytest.mark.parametrize("public_calls", [False, True])
@pytest.mark.parametrize("error", [ValueError("secret"), RecursionError(), MemoryError()])
def test_rule_6_a_failing_builtin_refuses_even_if_the_policy_would_go_on(error: Exception, public_calls: bool) -> None:
    def fail(_: object) -> bool:
        raise error

    engine = with_builtin(fail, public_calls=public_calls)

    text = refusal(engine)

    assert text.startswith("ENGINE_BUILTIN: `b` failed")
    assert "secret" not in text
    engine.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", [[]] * 200_000, "a" * 200_000])
def test_rule_6_a_result_that_is_no_value_or_too_large_refuses(value: object) -> None:
    engine = with_builtin(lambda _: value)  # type: ignore[arg-type,return-value]

    assert refusal(engine).startswith("ENGINE_BUILTIN")
    engine.close()


def test_rule_6_undefined_is_the_only_way_to_return_nothing() -> None:
    engine = with_builtin(lambda _: UNDEFINED)

    assert engine.evaluate("t", b"{}") == b"1"
    engine.close()


def test_rule_6_an_interrupt_in_a_builtin_is_not_swallowed() -> None:
    def interrupt(_: object) -> bool:
        raise KeyboardInterrupt

    engine = with_builtin(interrupt)

    with pytest.raises(KeyboardInterrupt):
        engine.evaluate("t", b"{}")
    assert engine._instance is None
    engine.close()


@pytest.mark.parametrize("public_calls", [False, True])
def test_rule_6_calls_in_one_evaluation_are_counted(public_calls: bool) -> None:
    calls: list[object] = []
    body = f"(loop $more (drop (call $builtin1 (i32.const 0) (i32.const 0) (i32.const 16))) (br $more)) {ANSWER}"
    engine = WasmEngine(
        module(body, builtins='{"b":0}'),
        b"{}",
        revision="r1",
        builtins={"b": calls.append},
        budget_ms=60_000,
        public_calls=public_calls,
    )

    assert refusal(engine).startswith("ENGINE_BUILTIN")
    assert len(calls) == MAX_CALLS
    engine.close()


@pytest.mark.parametrize("public_calls", [False, True])
def test_rule_6_a_hostile_argument_is_refused_before_the_builtin_sees_it(opa: str, public_calls: bool) -> None:
    calls: list[object] = []
    policy = compiled(opa, ("t/x",), 'package t\nx := hex.encode(concat("", [input.x | numbers.range(1, 4)[_]]))')
    engine = WasmEngine(
        policy, b"{}", revision="r1", builtins={"hex.encode": calls.append}, public_calls=public_calls, budget_ms=5000
    )

    assert refusal(engine, "t/x", document({"x": "a" * 60_000})).startswith("ENGINE_BUILTIN")
    assert calls == []
    engine.evaluate("t/x", document({"x": "a"}))
    assert calls == ["aaaa"]
    engine.close()


@pytest.mark.parametrize("number", ["1", "-1", "2147483647"])
def test_rule_6_an_unknown_builtin_number_refuses(number: str) -> None:
    body = f"(drop (call $builtin1 (i32.const {number}) (i32.const 0) (i32.const 16))) {ANSWER}"
    engine = with_builtin(lambda _: True, evaluate=body)

    assert refusal(engine).startswith("ENGINE_BUILTIN")
    engine.close()


def test_rule_6_an_endless_module_function_under_a_builtin_is_a_timeout() -> None:
    wasm = module(CALLS_BUILTIN, builtins='{"b":0}', dump="(call $spin) (i32.const 16)")
    engine = engine_of(wasm, builtins={"b": lambda _: True})

    assert refusal(engine).startswith("ENGINE_TIMEOUT")
    engine.close()


@pytest.mark.parametrize("public_calls", [False, True])
def test_rule_6_printing_is_ignored(public_calls: bool, capfd: pytest.CaptureFixture[str]) -> None:
    engine = engine_of(module(f"(call $println (i32.const 32)) {ANSWER}"), public_calls=public_calls)

    assert engine.evaluate("t", b"{}") == b"1"
    assert capfd.readouterr() == ("", "")
    engine.close()


def test_rule_6_an_unsupported_builtin_is_refused_by_name_at_load(opa: str) -> None:
    source = 'package t\nx := [time.now_ns(), http.send({"method": "get", "url": input.u}), hex.encode("a")]'
    policy = compiled(opa, ("t/x",), source)

    with pytest.raises(BundleError) as caught:
        WasmEngine(policy, b"{}", revision="r1")

    assert caught.value.code == "BUILTIN_UNSUPPORTED"
    assert "`http.send`, `time.now_ns`" in caught.value.message
    assert "hex.encode" not in caught.value.message


# --- 7: instances and modules ---


def test_rule_7_spares_are_built_in_a_thread_of_their_own() -> None:
    engine = engine_of(module("unreachable"))
    spares, seen = engine._spares, []
    build = spares._build

    def watched() -> WasmInstance:
        seen.append(threading.get_ident())
        return build()

    spares._build = watched
    refusal(engine)
    refusal(engine)
    spares.take(10)
    refusal(engine)

    engine.close()
    assert seen
    assert threading.get_ident() not in seen


def test_rule_7_engines_share_one_compiled_module(opa: str) -> None:
    policy = WasmEngine.compile(b"".join([module()]))
    source_policy = compiled(opa, ("t/x",), "package t\nx := data.n")

    first = WasmEngine(source_policy, b'{"n":1}', revision="r1")
    second = WasmEngine(source_policy, b'{"n":2}', revision="r2")

    assert (first.evaluate("t/x", b"{}"), second.evaluate("t/x", b"{}")) == (b"1", b"2")
    assert (first.revision, second.revision) == ("r1", "r2")
    first.close()
    assert second.evaluate("t/x", b"{}") == b"2"
    second.close()
    assert policy.pages >= 2


def test_rule_7_what_an_engine_runs_is_not_compiled_again_and_is_let_go_with_the_last_engine() -> None:
    wasm = b"".join([module()])
    first = WasmEngine.compile(wasm)
    gone = weakref.ref(first)

    assert WasmEngine.compile(bytes(bytearray(wasm))) is first
    with pytest.raises(BundleError):
        WasmEngine.compile(wasm + b"x")
    del first
    gc.collect()
    assert gone() is None


def test_rule_7_a_spare_answers_as_the_first_instance_does(opa: str) -> None:
    data = document({"list": [{"n": number, "text": "x" * 100} for number in range(2000)]})
    source = "package t\nlast := data.list[count(data.list) - 1].n + input.x\nbad := 1\nbad := 2 if input"
    engine = WasmEngine(compiled(opa, ("t/last", "t/bad"), source), data, revision="r1", budget_ms=1000)
    first = engine.evaluate("t/last", b'{"x":1}')

    refusal(engine, "t/bad")

    assert first == engine.evaluate("t/last", b'{"x":1}') == b"2000"
    engine.close()


def test_rule_7_nothing_compiled_is_ever_read_from_outside() -> None:
    package = Path(find_raw_api.__code__.co_filename).parent.parent

    assert [path.name for path in package.rglob("*.py") if ".deserialize" in path.read_text()] == []


@pytest.mark.parametrize(
    "wasm",
    [
        b"",
        b"\x00asm",
        b"(module)",
        b"\x7fELF" + b"\x00" * 100,
        b"\x00asm\x01\x00\x00\x00",
        b"\x00asm\x01\x00\x00\x00\xff",
        module(drop="opa_eval"),
        module(drop="builtins"),
        bytes(wasmtime.wat2wasm('(module (import "env" "other" (func)))')),
        bytes(wasmtime.wat2wasm('(module (import "wasi" "opa_abort" (func)))')),
        module() + b"\x00" * (17 << 20),
    ],
    ids=["empty", "magic", "text", "elf", "no exports", "cut", "no eval", "no table", "import", "wasi", "huge"],
)
def test_rule_7_what_is_no_policy_is_refused_at_load(wasm: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        WasmEngine(wasm, b"{}", revision="r1")

    assert caught.value.code == "WASM_INVALID"


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b'{"a":1} x'])
def test_rule_7_data_that_is_no_object_is_refused_at_load(data: bytes) -> None:
    with pytest.raises(BundleError) as caught:
        WasmEngine(module(), data, revision="r1")

    assert caught.value.code == "WASM_DATA_INVALID"


def test_rule_7_data_that_does_not_fit_is_refused_at_load(opa: str) -> None:
    policy = compiled(opa, ("t/x",), "package t\nx := data.n")

    with pytest.raises(BundleError) as caught:
        WasmEngine(policy, document({"n": ["x" * 100] * 40_000}), revision="r1", memory_mib=2)

    assert caught.value.code == "WASM_INVALID"


# --- 8: divergences ---

DIVERGING = {
    "integer_index_into_object": ("data.x[2]", '"found"', None),
    "json_marshal_key_order": (
        'json.marshal({"b": 1, "a": 2, "c": {"z": 1, "y": 2}})',
        '{"a":2,"b":1,"c":{"y":2,"z":1}}',
        '{"c":{"z":1,"y":2},"b":1,"a":2}',
    ),
    "glob_question_mark_non_ascii": ('glob.match("あ?", ["."], "あい")', False, True),
    "builtin_error_is_undefined": ('to_number("x")', None, None),
    "replace_of_empty_text": ('replace("aaa", "", "b")', "bababab", None),
}


def test_rule_8_divergences_are_named_once() -> None:
    names = [divergence.name for divergence in DIVERGENCES]

    assert len(set(names)) == len(names)
    assert set(DIVERGING) <= set(names)


@pytest.mark.parametrize("name", sorted(DIVERGING))
def test_rule_8_a_named_divergence_is_as_described(name: str, opa: str, tmp_path: Path) -> None:
    expression, said, answered = DIVERGING[name]
    source = f"package t\nx := {expression}\n"
    (tmp_path / "t.rego").write_text(source)
    (tmp_path / "data.json").write_text('{"x":{"2":"found"}}')
    done = subprocess.run([opa, "eval", "-d", str(tmp_path), "data.t.x"], capture_output=True, text=True, check=True)
    expressions = json.loads(done.stdout).get("result")
    value = expressions[0]["expressions"][0]["value"] if expressions else None
    engine = WasmEngine(compiled(opa, ("t/x",), source), b'{"x":{"2":"found"}}', revision="r1")

    if answered is None:
        assert refusal(engine, "t/x").split(":")[0] in {"ENGINE_UNDEFINED", "ENGINE_TIMEOUT"}
    else:
        assert json.loads(engine.evaluate("t/x", b"{}")) == answered
    assert value == (json.loads(said) if name == "integer_index_into_object" and isinstance(said, str) else said)
    engine.close()
