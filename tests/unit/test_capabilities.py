"""The shipped capabilities file says exactly what the engine offers, and is what the generator makes today."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import msgspec

from zt_engine.adapters.capabilities import INSIDE_WASM, capabilities
from zt_engine.adapters.opa_binary import packaged_capabilities
from zt_engine.adapters.rego_builtins import REGISTRY
from zt_engine.adapters.wasm_instance import WasmInstance
from zt_engine.adapters.wasm_module import compile_policy

_ARGUMENTS = "input"
# The compiler replaces these, or takes them out: they never become a call.
_NEVER_CALLED = {"print", "rego.metadata.chain", "rego.metadata.rule", "internal.template_string"}


def test_the_shipped_file_is_what_the_generator_makes_of_this_opa(opa: str) -> None:
    current = subprocess.run([opa, "capabilities", "--current"], capture_output=True, check=True, timeout=30).stdout

    assert capabilities(current) == packaged_capabilities()


def test_it_names_what_is_inside_the_wasm_and_the_host_list_and_nothing_else() -> None:
    shipped = msgspec.json.decode(packaged_capabilities())

    assert {item["name"] for item in shipped["builtins"]} == INSIDE_WASM | REGISTRY.keys()
    assert not INSIDE_WASM & REGISTRY.keys()
    assert shipped["allow_net"] == []


def test_nothing_that_reaches_outside_reads_a_clock_or_draws_lots_is_offered() -> None:
    offered = INSIDE_WASM | REGISTRY.keys()
    reaching = {"http.send", "net.lookup_ip_addr", "opa.runtime", "time.now_ns", "rand.intn", "uuid.rfc4122", "trace"}

    assert not offered & reaching
    assert not [name for name in offered if name.startswith(("io.jwt.", "crypto.x509.", "graphql.", "providers."))]


def test_what_is_said_to_be_inside_the_wasm_needs_no_host_and_the_rest_does(opa: str, tmp_path: Path) -> None:
    shipped = msgspec.json.decode(packaged_capabilities())
    calls = {
        item["name"]: len(item["decl"].get("args", []))
        for item in shipped["builtins"]
        if item["name"] not in _NEVER_CALLED and "infix" not in item and not item.get("deprecated")
    }
    rules = [
        f"r[{index}] := {name}({', '.join([_ARGUMENTS] * count)})" for index, (name, count) in enumerate(calls.items())
    ]
    (tmp_path / "t.rego").write_text("package t\n\n" + "\n".join(rules) + "\n", encoding="utf-8")
    subprocess.run(
        [opa, "build", "-t", "wasm", "-e", "t/r", "-o", "out.tar.gz", "t.rego"], cwd=tmp_path, check=True, timeout=60
    )
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "out.tar.gz").read_bytes())) as archive:
        member = archive.extractfile("/policy.wasm")
        assert member is not None
        policy = compile_policy(member.read())

    instance = WasmInstance(policy, api=None, budget_ms=1000, memory_mib=64, registry=REGISTRY)

    assert instance.prepared.builtins.keys() == REGISTRY.keys()
    instance.close()
