"""The gate under atheris: `python -m tests.fuzz.run -runs=1000000` (docs/corpus.md says how to get it).

Arguments are libFuzzer's. It stops at the first text for which something in `tests/fuzz/gate.py` is not true.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]  # optional: a machine that fuzzes installs it

with atheris.instrument_imports(include=["zt_engine.core.request", "zt_engine.sidecar.hooks.headers"]):
    from tests.fuzz.gate import check


def main() -> None:
    """Fuzz until the limits of the arguments are reached."""
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
