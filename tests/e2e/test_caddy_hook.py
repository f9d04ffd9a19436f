"""A real Caddy with the printed Caddyfile, held to what every hook must do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.forwarding import Certificates, EncryptedContract, ForwardingContract, Front
from tests.e2e.lab import HOST
from tests.hook_support import KEY, GateApp, credential
from tests.peers import find_peer
from tests.proxies.caddy import CaddyLab
from zt_engine.sidecar.hooks.caddy import CaddyHook


@pytest.fixture(scope="module")
def caddy() -> Path:
    found = find_peer("caddy")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `caddy` is missing")
        pytest.skip(reason="no caddy on this machine")
    return found


def started(caddy: Path, folder: Path, *, certificates: Certificates | None = None, **how: Any) -> Front:
    site = {"host": HOST.decode(), "key": KEY, "tls": certificates.tls if certificates is not None else None}
    site |= how.pop("site", {})
    return Front(
        lambda sidecar, backend: CaddyLab(caddy, folder, sidecar_address=sidecar, backend_address=backend, **site),
        how.pop("app", None) or GateApp(credential(hook="caddy"), hook=CaddyHook),
        certificates=certificates,
        **how,
    )


@pytest.fixture(scope="module")
def front(caddy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with started(caddy, tmp_path_factory.mktemp("caddy")) as running:
        yield running
    assert running.hook.faults == []


@pytest.fixture(scope="module")
def encrypted(caddy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("caddy-tls")
    with started(caddy, folder, certificates=Certificates.made(folder / "tls")) as running:
        yield running


class TestCaddy(ForwardingContract):
    strips_connection = True


class TestCaddyWithTls(EncryptedContract):
    pass
