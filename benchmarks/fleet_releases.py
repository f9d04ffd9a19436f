"""Releases for a fleet: the pack under new versions, submitted as publishers do it; when a whole sidecar took them."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from benchmarks.inventory_site import InventorySite
from benchmarks.processes import BenchmarkError
from zt_engine.adapters.control_http import ControlClient
from zt_engine.adapters.releases_http import ReleasesHttp
from zt_engine.bootstrap.publishing import Publisher
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import CATALOGUE, MANIFEST, WASM, make_bundle
from zt_engine.core.bundle_signature import SIGNATURES

Kind = Literal["rules", "catalogue"]
"""What a release changes."""
DAYS = 30
PATIENCE = 120.0


class Timed(ReleasesHttp):
    """A control plane that notes when it was handed a release, and when it has answered."""

    handed = answered = 0.0

    def submit(self, notice: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a release."""
        self.handed = time.monotonic()
        told = super().submit(notice)
        self.answered = time.monotonic()
        return told


class Publishing:
    """Releases one version of a bundle after the other."""

    def __init__(self, site: InventorySite, bundle: bytes, client: ControlClient) -> None:
        self._key = site.sandbox.bundle_key
        self._bundle = bundle
        self._plane = Timed(client)
        self._publisher = Publisher(self._plane, self._key, clock=time.time, days=DAYS, author="benchmark")
        self._number = 0

    @property
    def examined(self) -> float:
        """How many seconds the control plane took to examine the newest release and put it in force."""
        return self._plane.answered - self._plane.handed

    def release(self, kind: Kind = "rules") -> tuple[int, float]:
        """Put the next version in force; return its number and when the control plane had answered."""
        self._number += 1
        self._bundle = changed(self._bundle, f"0.0.{self._number}", self._key, kind=kind)
        published = self._publisher.publish(self._bundle)
        if published.state != "released":
            raise BenchmarkError(f"release {published.seq} is {published.state}")
        return published.seq, self._plane.answered


def changed(bundle: bytes, version: str, key: Any, *, kind: Kind) -> bytes:
    """Return a bundle under another version, signed, that decides the same.

    Of `rules`: with a module that everybody has to compile anew. Of `catalogue`: with a catalogue that everybody has to
    read anew, and the module of before.
    """
    files = {name: content for name, content in bundle_archive.read(bundle).items() if name != SIGNATURES}
    if kind == "rules":
        files[WASM] += custom_section(version.encode())
    else:
        files[CATALOGUE] += f"# {version}\n".encode()
    zt = json.loads(files.pop(MANIFEST))["metadata"]["zt"]
    return make_bundle(
        files, pack=zt["pack"], version=version, input_version=zt["input_version"],
        layers={service: tuple(names) for service, names in zt["layers"].items()},
        reads=None if zt["reads"] is None else tuple(zt["reads"]), builtins=zt["builtins"], key=key,
    )  # fmt: skip


def custom_section(text: bytes) -> bytes:
    """Return a section of a WebAssembly module that means nothing (its number is 0), named as it reads."""
    named = bytes([len(text)]) + text
    return bytes([0, len(named)]) + named


@contextmanager
def publishing(site: InventorySite, bundle: bytes) -> Iterator[Publishing]:
    """Have somebody who may publish."""
    client = ControlClient(site.url, key=site.admin_key.encode(), ca_file=None, language="en")
    try:
        yield Publishing(site, bundle, client)
    finally:
        client.close()


def activated(log: Path, seq: int) -> float:
    """Wait until a sidecar's log says that a release decides; return when, by the clock of the wall."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for line in log.read_bytes().splitlines():
            if b'"release.activated"' in line:
                said = json.loads(line)
                if said["seq"] == seq:
                    return dt.datetime.fromisoformat(said["timestamp"]).timestamp()
        time.sleep(0.05)
    raise BenchmarkError(f"the whole sidecar did not take release {seq}")
