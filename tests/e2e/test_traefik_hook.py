"""A real Traefik with the printed configuration, held to what every hook must do."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.forwarding import IMPOSTORS, Certificates, EncryptedContract, ForwardingContract, Front, Impostor
from tests.e2e.lab import HOST
from tests.e2e.multiplexed import GrpcBackend, GrpcContract, Http2Contract
from tests.hook_support import GateApp, credential
from tests.peers import find_peer
from tests.proxies.authority import Authority, Issued
from tests.proxies.traefik import Shown, TraefikLab
from zt_engine.sidecar.hooks.traefik import TraefikHook

NAME = "front.proxy.internal"


@pytest.fixture(scope="module")
def traefik() -> Path:
    found = find_peer("traefik")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `traefik` is missing")
        pytest.skip(reason="no traefik on this machine")
    return found


class Inside:
    """Certificates between Traefik and the sidecar."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "inside")
        self.sidecar = self.authority.issue("sidecar", hosts=["127.0.0.1", "localhost"])
        self.front = self.authority.issue("front", hosts=[NAME])

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(*self.sidecar)
        context.load_verify_locations(self.authority.path)
        return context

    def shown(self, issued: Issued | None = None) -> Shown:
        return Shown(*(issued or self.front), self.authority.path)


def started(traefik: Path, folder: Path, *, certificates: Certificates | None = None, **how: Any) -> Front:
    inside = how.pop("inside", None) or Inside(folder / "inside")
    config = {
        "host": HOST.decode(),
        "key": inside.shown(how.pop("shown", None)),
        "tls": certificates.tls if certificates is not None else None,
    } | how.pop("config", {})
    return Front(
        lambda sidecar, backend: TraefikLab(
            traefik, folder, sidecar_address=sidecar, backend_address=backend, **config
        ),
        how.pop("app", None) or GateApp(credential(hook="traefik", names=[NAME]), hook=TraefikHook),
        hook_tls=inside.server(),
        certificates=certificates,
        **how,
    )


@pytest.fixture(scope="module")
def front(traefik: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with started(traefik, tmp_path_factory.mktemp("traefik")) as running:
        yield running
    assert running.hook.faults == []


@pytest.fixture(scope="module")
def encrypted(traefik: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("traefik-tls")
    with started(traefik, folder, certificates=Certificates.made(folder / "tls")) as running:
        yield running


class TestTraefik(ForwardingContract):
    hook = TraefikHook


class TestTraefikWithTls(EncryptedContract, Http2Contract):
    pass


@pytest.fixture(scope="module")
def service(traefik: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("traefik-grpc")
    how = {"config": {"backend_http2": True}, "backend": GrpcBackend()}
    with started(traefik, folder, certificates=Certificates.made(folder / "tls"), **how) as running:
        yield running


class TestTraefikWithGrpc(GrpcContract):
    pass


@pytest.fixture(scope="module")
def fooled(traefik: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Impostor]]:
    """Traefik, and somebody with the sidecar's own certificate where the sidecar should be."""
    folder = tmp_path_factory.mktemp("traefik-fooled")
    inside = Inside(folder / "inside")
    impostor = Impostor(b"", tls=inside.server())
    with started(traefik, folder, inside=inside, sidecar_address=impostor.address) as running:
        yield running, impostor
    impostor.close()


def test_a_traefik_that_the_sidecar_does_not_know_lets_nobody_in(traefik: Path, tmp_path: Path) -> None:
    with started(
        traefik, tmp_path, app=GateApp(credential(hook="traefik", names=["other"]), hook=TraefikHook)
    ) as front:
        answer = front.get()

        # Traefik hands on what the sidecar says, whatever it is.
        assert (answer.status, answer.values("www-authenticate")) == (401, [b'Zt-Pep-Key realm="zt"'])
        assert set(front.app.refused) == {"PEP_UNKNOWN"} and front.backend.received == []


@pytest.mark.parametrize("answer", IMPOSTORS.values(), ids=IMPOSTORS)
def test_h5_whatever_is_not_an_allow_lets_nobody_in(fooled: tuple[Front, Impostor], answer: bytes) -> None:
    front, impostor = fooled
    impostor.answer = answer

    assert front.get().status in (302, 304, 500)
    assert front.backend.received == []
