"""One file of YAML, JSON or TOML, by its name and by how it begins."""

from __future__ import annotations

import re

from zt_engine.doctor.sources import Sources
from zt_engine.doctor.trees import json_text, toml_text, yaml_text
from zt_engine.doctor.trees.node import Node


def read_tree(path: str, sources: Sources) -> list[Node]:
    """Return the documents of a file; ConfigError DOCTOR_SYNTAX and others for what is none."""
    text = sources.read(path)
    if path.endswith(".toml"):
        return [toml_text.read(text, path)]
    if path.endswith(".json") or re.match(r'\s*\{\s*"', text) is not None:
        return [json_text.read(text, path)]
    return yaml_text.read(text, path)
