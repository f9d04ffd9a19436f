"""A control plane of an installation that `zt init` made, served in a thread of the test."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Self

from typer.testing import CliRunner, Result

from tests.control_support import TENANT, a_device
from tests.hook_support import LoopThread
from tests.stream_server import free_port
from zt_engine.bootstrap.control import ControlProgram
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.cli.main import app as commands
from zt_engine.config import ControlSettings, load_control
from zt_engine.control_plane.ledger import Ledger

NOW = time.time()


class Running:
    """A control plane of an installation in a folder, served in a thread until `close`."""

    def __init__(self, folder: Path, *, more: str = "") -> None:
        self.folder = folder
        self.config = folder / "zt.toml"
        if not self.config.exists():
            install(folder, Choices(pack="corp", language="en", control_listen=f"127.0.0.1:{free_port()}"), now=NOW)
        if more:
            self.config.write_text(self.config.read_text(encoding="utf-8") + more, encoding="utf-8")
        self.settings: ControlSettings = load_control(self.config, {})
        self.thread = LoopThread()
        self.program = ControlProgram(self.settings)
        self.thread.run(self.program.start())
        self.url = self.settings.control.public_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.thread.run(self.program.stop())
        self.thread.close()

    @property
    def key(self) -> str:
        return (self.folder / "keys/admin.key").read_text(encoding="ascii").strip()

    def put(self, **members: Any) -> None:
        """Have a device in the inventory."""
        device = a_device(**members)
        with self.program.parts.store.writing(TENANT) as tx:
            Ledger(())(tx, device, before=None, actor="system", action="device.enrolled", now=int(NOW))

    def zt(self, *words: str) -> Result:
        """Run `zt device` against it."""
        return CliRunner().invoke(commands, ["device", "--config", str(self.config), "--lang", "en", *words])
