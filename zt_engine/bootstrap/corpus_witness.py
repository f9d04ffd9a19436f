"""The witness of the corpus: the allows that stand in a sidecar's decision log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from zt_engine.adapters.log_reader import read_log
from zt_engine.bootstrap.identity import secret_file
from zt_engine.config import Settings
from zt_engine.corpus.execution import Allow
from zt_engine.sidecar.targets import KeyedHash

OPEN = ("allow", "observe")


class LoggedDecisions:
    """What a log allows, as it stands now; paths are compared under the log's own key."""

    def __init__(self, settings: Settings) -> None:
        """Read the log; raises ConfigError when its key of paths cannot be read."""
        self._digest = KeyedHash(secret_file(settings.path(settings.log.path_key_file)))
        decode = msgspec.json.Decoder().decode
        lines = (decode(line) for segment in read_log([settings.path(settings.log.dir)]) for line in segment.lines())
        allows = [_allow(line) for line in lines if line.get("effect") in OPEN]
        self._by_id = {allow.decision: allow for allow in allows}
        self._by_path = {allow.path_digest: allow for allow in allows}

    def allow(self, decision: str) -> Allow | None:
        """Return the allow of this id, or None."""
        return self._by_id.get(decision)

    def allow_of_path(self, digest: str) -> Allow | None:
        """Return the last allow for a path, or None."""
        return self._by_path.get(digest)

    def digest(self, path: bytes) -> str:
        """Return how the log writes a path down."""
        return self._digest(path).decode()


def _allow(event: Mapping[str, Any]) -> Allow:
    return Allow(
        decision=event["decision_id"],
        method=event["method"],
        host=event["host"],
        path_digest=event["path_hmac"],
        subject=event["subject"],
        device=event["device"],
        label=event["label"],
        trust=str(event["trust"]),
    )
