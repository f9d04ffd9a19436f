"""The policy that everybody evaluates: the jp-gov pack as it is shipped, or built now where it is not compiled yet."""

from __future__ import annotations

from benchmarks.peers import Peers
from benchmarks.processes import BenchmarkError
from benchmarks.site import PACK
from zt_engine.adapters.opa_binary import OpaBinary
from zt_engine.authoring.build import build
from zt_engine.authoring.check import check
from zt_engine.bootstrap.packs import compiled_bundle, pack_folder
from zt_engine.core.errors import ConfigError


def packed(peers: Peers) -> bytes:
    """Return the pack's unsigned bundle; raises BenchmarkError when there is none and none can be built."""
    try:
        return compiled_bundle(PACK)
    except ConfigError:
        if peers.opa is None:
            raise BenchmarkError(f"the pack {PACK} is not compiled, and opa is not on this machine") from None
    opa = OpaBinary(peers.opa)
    checked = check(pack_folder(PACK), opa)
    if checked.pack is None or checked.problems:
        raise BenchmarkError(f"the pack {PACK} has problems: {[str(problem) for problem in checked.problems[:3]]}")
    return build(checked.pack, opa)
