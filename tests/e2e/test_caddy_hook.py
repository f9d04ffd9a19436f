"""A real Caddy with the printed Caddyfile, held to what every hook must do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.forwarding import IMPOSTORS, Certificates, EncryptedContract, ForwardingContract, Front, Impostor
from tests.e2e.lab import HOST
from tests.e2e.multiplexed import GrpcBackend, GrpcContract, Http2Contract
from tests.hook_support import KEY, GateApp, credential, listening_at
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
    hook = CaddyHook
    strips_connection = True


class TestCaddyWithTls(EncryptedContract, Http2Contract):
    pass


@pytest.fixture(scope="module")
def service(caddy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("caddy-grpc")
    how = {"site": {"backend_http2": True}, "backend": GrpcBackend()}
    with started(caddy, folder, certificates=Certificates.made(folder / "tls"), **how) as running:
        yield running


class TestCaddyWithGrpc(GrpcContract):
    pass


@pytest.fixture(scope="module")
def fooled(caddy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Impostor]]:
    """Caddy, and somebody where the sidecar should be."""
    impostor = Impostor(b"")
    with started(caddy, tmp_path_factory.mktemp("caddy-fooled"), sidecar_address=impostor.address) as running:
        yield running, impostor
    impostor.close()


@pytest.mark.parametrize("answer", IMPOSTORS.values(), ids=IMPOSTORS)
def test_h5_whatever_is_not_an_allow_lets_nobody_in(fooled: tuple[Front, Impostor], answer: bytes) -> None:
    front, impostor = fooled
    impostor.answer = answer

    assert front.get().status in (302, 304, 500, 502, 504)
    assert front.backend.received == []


@pytest.mark.parametrize("known", [True, False])
def test_over_a_unix_socket_caddy_needs_no_key(caddy: Path, tmp_path: Path, known: bool) -> None:
    sock = listening_at(tmp_path / "zt.sock")
    app = GateApp(credential(hook="caddy", uids=[os.getuid() + (not known)]), hook=CaddyHook)

    with started(
        caddy, tmp_path, app=app, hook_socket=sock, sidecar_address=f"unix:{tmp_path}/zt.sock", site={"key": b""}
    ) as front:
        answer = front.get(b"/cases/1", b"Zt-Pep-Key: forged")

        # What the sidecar says to a proxy that it does not know is for nobody behind that proxy.
        assert answer.status == (200 if known else 500) and answer.values("www-authenticate") == []
        assert [item.proof for item in app.authorised] == (["socket"] if known else [])
        assert len(front.backend.received) == known


def test_a_key_file_that_is_gone_is_no_key(caddy: Path, tmp_path: Path) -> None:
    with started(caddy, tmp_path) as front:
        assert front.get().status == 200
        (tmp_path / "pep.key").unlink()

        assert front.get().status == 500
        assert front.app.refused == ["PEP_UNKNOWN"]
