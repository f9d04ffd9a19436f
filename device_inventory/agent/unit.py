"""The systemd unit of a person's own session: no root, no network before there is one, little of the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_UNIT: Final = """\
# ~/.config/systemd/user/zt-agent.service
[Unit]
Description=Device agent of the zero-trust policy engine
Documentation=man:systemd.service(5)
StartLimitIntervalSec=0

[Service]
ExecStart={command}
# 2 says that a person has to do something; starting again would not.
RestartPreventExitStatus=2
Restart=on-failure
RestartSec=60
TimeoutStopSec=90
UMask=0077
NoNewPrivileges=yes
Nice=10
CPUWeight=20
MemoryMax=256M

[Install]
WantedBy=default.target
"""


def systemd_unit(command: Sequence[str]) -> str:
    """Return a user unit that runs `command`, whose first word is an absolute path."""
    return _UNIT.format(command=" ".join(_quoted(word) for word in command))


def _quoted(word: str) -> str:
    """Quote a word for `ExecStart=`: `%` and `$` mean something there (systemd.service(5), COMMAND LINES)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or not word or " " in word or "'" in word or ";" in word else word
