"""What a command that takes long is doing, on standard error: one line for each step, with the time since its start."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Final

from zt_engine.bootstrap.steps import Name, Step, silent
from zt_engine.cli.output import Language

_TEXTS: Final[Mapping[Name, Mapping[Language, str]]] = {
    "check": {"en": "checking the sources", "ja": "ソースを検査しています"},
    "rego_tests": {"en": "running the Rego tests", "ja": "Regoテストを実行しています"},
    "scenarios_wasm": {"en": "deciding the scenarios (wasm)", "ja": "シナリオを判定しています（wasm）"},
    "scenarios_opa": {"en": "deciding the scenarios (opa)", "ja": "シナリオを判定しています（opa）"},
    "build": {"en": "building the bundle", "ja": "バンドルを作成しています"},
    "replay": {"en": "deciding the log again", "ja": "ログを再判定しています"},
    "compare": {"en": "comparing with what is in force", "ja": "有効なポリシーと比較しています"},
    "submit": {
        "en": "signing; the control plane examines it",
        "ja": "署名して送信し、コントロールプレーンの検査を待っています",
    },
}


def progress(language: Language, *, verbose: bool) -> Step:
    """Return what tells the steps: to a person at a terminal, or to whoever asked for it; else nobody."""
    if not verbose and not sys.stderr.isatty():
        return silent
    began = time.monotonic()

    def step(name: Name) -> None:
        print(f"[{time.monotonic() - began:5.1f} s] {_TEXTS[name][language]}", file=sys.stderr, flush=True)

    return step
