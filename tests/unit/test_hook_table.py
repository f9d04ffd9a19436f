"""Which tables of `[[proxies]]` a configuration is printed for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zt_engine.bootstrap.hook_table import PROOFS, fitting
from zt_engine.config import Proxy
from zt_engine.core.errors import ConfigError

SHOWN: dict[str, Any] = {
    "key_file": Path("pep.key"),
    "socket_uids": (101,),
    "certificate_names": ("front.example",),
}


def tables() -> list[tuple[Proxy, str]]:
    """A table for each kind and each thing it may be known by that the settings accept."""
    made = [(Proxy(name="app", hook="embedded"), "")]
    for hook in PROOFS:
        for proof, value in SHOWN.items():
            try:
                made.append((Proxy.model_validate({"name": "front", "hook": hook, proof: value}), proof))
            except ValueError:
                assert proof not in PROOFS[hook]
    return made


@pytest.mark.parametrize("hook", PROOFS)
def test_a_configuration_is_printed_for_a_table_of_its_own_kind_alone(hook: str) -> None:
    printed = set()
    for proxy, proof in tables():
        try:
            fitting(proxy, hook)
        except ConfigError as refused:
            (problem,) = refused.problems
            assert problem.code == "PROXY_HOOK_OTHER" and not problem.hint  # the registry's says what to do
            assert f'`hook = "{proxy.hook}"`' in problem.message and f'`hook = "{hook}"`' in problem.message
        else:
            printed.add((proxy.hook, proof))

    assert printed == {(hook, proof) for proof in PROOFS[hook]}
