"""A site at work: devices report and the directory changes, as records written into a folder, until it is stopped.

    python -m benchmarks.churn FOLDER PEOPLE

The rates are those of a site of that many people (`data.py`); who is next comes from the seed.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from benchmarks.data import SEED, directory_changes_per_second, people, reports_per_second
from benchmarks.site import new_directory_entry, new_report


def main(folder: Path, count: int) -> None:
    """Write until killed."""
    persons, draw = people(count), random.Random(SEED)
    last = time.monotonic()
    reports = changes = 0.0
    while True:
        time.sleep(0.02)
        now = time.monotonic()
        # Stopped in its tracks between rounds: what was missed then is not made up for.
        elapsed, last = min(now - last, 0.1), now
        reports += elapsed * reports_per_second(count)
        changes += elapsed * directory_changes_per_second(count)
        while reports >= 1:
            new_report(folder, draw.choice(persons), now=time.time())
            reports -= 1
        while changes >= 1:
            new_directory_entry(folder, draw.choice(persons))
            changes -= 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
