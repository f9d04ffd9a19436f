"""What operators can see of a running sidecar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from zt_engine.adapters.keys_jwks import KeySource
from zt_engine.bootstrap.control_gauges import gauges_of
from zt_engine.sidecar.admin import Gauges

if TYPE_CHECKING:
    from zt_engine.bootstrap.sidecar import SidecarProgram


def sidecar_gauges(program: SidecarProgram) -> Gauges:
    """Return what is measured when somebody looks, by name."""
    now = program.clock.now
    authorizer = program.authorizer
    return {
        **(gauges_of(program.control, program.clock.elapsed) if program.control is not None else {}),
        "zt_policy_age_seconds": ("Since the policy was activated.", lambda: now() - program.activated_at),
        "zt_replica_age_seconds": ("Since records were last read.", lambda: now() - (program.replica.loaded_at or 0)),
        "zt_keys_age_seconds": (
            "Since the oldest key set was fetched.",
            lambda: _oldest(program.wiring.sources.values(), now()),
        ),
        "zt_devices": ("Devices in the replica.", lambda: len(program.replica.devices)),
        "zt_cache_entries": ("Decisions that are remembered.", lambda: len(authorizer.cache or ())),
        "zt_engine_seconds_total": ("Time spent in the policy engine.", lambda: authorizer.engine_ns / 1e9),
        "zt_engine_calls_total": ("Evaluations of the policy engine.", lambda: authorizer.engine_calls),
        "zt_log_records": ("Records in this process's chain.", lambda: program.log.records),
        "zt_log_unanchored_records": ("Records behind the last checkpoint.", lambda: program.log.checkpoint_lag),
        "zt_log_bytes": ("Bytes of all log segments.", lambda: program.log.total_bytes),
        "zt_log_available": ("1 while the log can be written.", lambda: float(program.log.state == "ok")),
        "zt_folder_problems": ("Files of the policy folder that are refused.", lambda: len(program.follower.problems)),
    }


def _oldest(sources: Iterable[KeySource], now: float) -> float:
    return max((now - source.fetched_at for source in sources), default=0.0)
