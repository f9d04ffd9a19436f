"""An engine in this process, over a made-up installation with a healthy laptop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sidecar_support import installation, laptop
from zt_engine import Engine
from zt_engine.bootstrap.sandbox import Device, Sandbox

EMBEDDED = '\n[[proxies]]\nname = "app"\nhook = "embedded"\nenforces = ["no_store"]\n'


class Office:
    """An engine, and a person with her laptop who asks it."""

    def __init__(self, folder: Path, opa: str) -> None:
        self.sandbox: Sandbox = installation(folder, opa)
        self.sandbox.write("zt.toml", (self.sandbox.folder / "zt.toml").read_bytes() + EMBEDDED.encode())
        self.laptop: Device = laptop(self.sandbox)
        self.token = self.sandbox.token("tanaka", device=self.laptop)
        self.engine = Engine.open(self.sandbox.config)

    @property
    def authorization(self) -> str:
        return f"Bearer {self.token}"

    @property
    def certificate(self) -> bytes:
        return self.laptop.certificate.pem


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Office]:
    """One engine for the tests of a module."""
    found = Office(tmp_path_factory.mktemp("embed") / "zt", opa)
    yield found
    found.engine.close()
