"""What a process does that writes decisions until it is killed; its arguments are FOLDER RUN."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.log_support import event, open_log


def main() -> None:
    """Report every decision on stdout once its flush has returned."""
    root, run = Path(sys.argv[1]), sys.argv[2]
    log = open_log(root, clock=time.time, segment_bytes=20_000)
    log.start(every=0.002)
    for turn in range(1_000_000):
        names = [f"{run}-{turn}-{number}" for number in range(1 + turn % 7)]
        for name in names:
            digest = f"{turn % 50:064x}"
            log.append(event(name, digest=digest), sync=turn % 97 == 0)
            log.store_input(digest, b'{"turn":%d}' % (turn % 50))
        log.flush()
        os.write(1, "".join(f"{name}\n" for name in names).encode())
