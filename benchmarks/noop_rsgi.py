"""A granian RSGI application that does nothing but read the headers a hook reads and answer the headers a hook answers.

    granian --interface rsgi benchmarks.noop_rsgi:application

ZT_NOOP_ANSWER names a JSON file with the answer's headers, taken from a real allow.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

READ = (
    "x-original-uri", "x-original-method", "x-original-host", "x-original-proto", "x-original-port", "x-real-ip",
    "zt-request-id", "zt-pep-key", "zt-client-verify", "zt-client-cert", "authorization", "dpop", "cookie",
)  # fmt: skip

ANSWER = [tuple(pair) for pair in json.loads(Path(os.environ["ZT_NOOP_ANSWER"]).read_text())]


async def application(scope: Any, protocol: Any) -> None:
    """Answer 200."""
    get = scope.headers.get
    for name in READ:
        get(name)
    protocol.response_empty(200, ANSWER)
