"""What `zt hook` says on standard error beside the configuration it prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from zt_engine.cli.output import Language

KEY_COPY = {
    "en": "zt: wrote {path}, from which {kind} reads the proxy's key; give it to the user that runs {kind},"
    " and to nobody else",
    "ja": "zt: {kind} が鍵を読み込む {path} を作成しました。"
    "{kind} を実行するユーザーだけが読めるよう、所有者を変更してください",
}
UNENFORCED = {
    "en": "zt: `proxies.enforces` of `{proxy}` promises {names}, which this configuration does not carry out;"
    " leave it only if something behind it does",
    "ja": "zt: `{proxy}` の `proxies.enforces` にある {names} は、この設定だけでは実施されません。"
    "後段で実施している場合だけ残してください",
}


def tell_key_copy(language: Language, path: Path | None, *, kind: str) -> None:
    """Say where the copy of the key is, if it was written just now."""
    if path is not None:
        print(KEY_COPY[language].format(path=path, kind=kind), file=sys.stderr)


def tell_unenforced(language: Language, proxy: str, names: Sequence[str]) -> None:
    """Say which promises of the settings the configuration does not keep."""
    if names:
        print(UNENFORCED[language].format(proxy=proxy, names=", ".join(names)), file=sys.stderr)
