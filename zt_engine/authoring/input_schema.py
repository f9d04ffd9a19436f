"""The JSON Schema of the policy input as a file, made from the types that make the documents.

`python -m zt_engine.authoring.input_schema policies/schemas/input.json` writes it again after a change of the types.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from zt_engine.core.policy_input import schema


def schema_text() -> str:
    """Return the file's content; the same types give the same text."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(schema_text(), encoding="utf-8")
