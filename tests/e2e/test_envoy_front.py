"""A real Envoy with the printed configuration, asked over HTTP/2, and with somebody else in the sidecar's place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.forwarding import IMPOSTORS, SWITCHED, UPGRADE, Certificates, Front, Impostor, ProxyContract
from tests.e2e.lab import HOST, request
from tests.e2e.multiplexed import GrpcBackend, GrpcContract, Http2Contract
from tests.hook_support import KEY, GateApp, credential, listening_at, until_closed
from tests.peers import find_peer
from tests.proxies.envoy import EnvoyGrpcLab, EnvoyLab, Tls
from zt_engine.sidecar.hooks.envoy import EnvoyHook


@pytest.fixture(scope="module")
def envoy() -> Path:
    found = find_peer("envoy")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the peer `envoy` is missing")
        pytest.skip(reason="no envoy on this machine")
    return found


def started(envoy: Path, folder: Path, *, backend: GrpcBackend | None = None) -> Front:
    certificates = Certificates.made(folder / "tls")

    def start(sidecar: str, reached: str) -> EnvoyLab:
        return EnvoyLab(
            envoy, folder, sidecar_address=sidecar, backend_address=reached, host=HOST.decode(), key=KEY.decode(),
            tls=Tls(*certificates.tls), backend_http2=backend is not None, session=1,
        ).start()  # fmt: skip

    app = GateApp(credential(hook="envoy"), hook=EnvoyHook)
    return Front(start, app, certificates=certificates, backend=backend)


@pytest.fixture(scope="module")
def service(envoy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with started(envoy, tmp_path_factory.mktemp("envoy-grpc"), backend=GrpcBackend()) as running:
        yield running


@pytest.fixture(scope="module")
def encrypted(envoy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("envoy-tls")
    with started(envoy, folder) as running:
        yield running
    assert running.hook.faults == []


class TestEnvoyWithTls(Http2Contract):
    grpc_denied = 200


def test_h15_what_was_authorised_once_ends_with_the_session(encrypted: Front) -> None:
    encrypted.backend.answers |= {
        b"/socket": SWITCHED, b"/download": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nfirst",
    }  # fmt: skip
    with encrypted.connected() as upgraded, encrypted.connected() as download:
        upgraded.sendall(request(b"/socket", *UPGRADE))
        download.sendall(request(b"/download"))
        spoken, loaded = until_closed(upgraded), until_closed(download)

    assert spoken.startswith(b"HTTP/1.1 101") and spoken.endswith(b"hello")
    assert loaded.startswith(b"HTTP/1.1 200") and loaded.endswith(b"first")


class TestEnvoy(ProxyContract):
    hook = EnvoyHook

    @pytest.fixture
    def front(self, encrypted: Front) -> Front:
        return encrypted


class TestEnvoyWithGrpc(GrpcContract):
    pass


@pytest.fixture(scope="module", params=[EnvoyLab, EnvoyGrpcLab], ids=["http", "grpc"])
def fooled(
    request: pytest.FixtureRequest, envoy: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Front, Impostor]]:
    folder = tmp_path_factory.mktemp("envoy-fooled")
    impostor = Impostor(b"")

    def start(sidecar: str, backend: str) -> EnvoyLab:
        lab: EnvoyLab = request.param(
            envoy, folder, sidecar_address=sidecar, backend_address=backend, host=HOST.decode()
        )
        return lab.start()

    with Front(start, GateApp(credential(hook="envoy"), hook=EnvoyHook), sidecar_address=impostor.address) as running:
        yield running, impostor
    impostor.close()


@pytest.mark.parametrize("answer", IMPOSTORS.values(), ids=IMPOSTORS)
def test_h5_whatever_is_not_an_allow_lets_nobody_in(fooled: tuple[Front, Impostor], answer: bytes) -> None:
    front, impostor = fooled
    impostor.answer = answer

    assert front.get().status in (302, 304, 500, 503)
    assert front.backend.received == []


@pytest.mark.parametrize("known", [True, False])
def test_over_a_unix_socket_envoy_needs_no_key(envoy: Path, tmp_path: Path, known: bool) -> None:
    sock = listening_at(tmp_path / "zt.sock")
    app = GateApp(credential(hook="envoy", uids=[os.getuid() + (not known)]), hook=EnvoyHook)

    def start(sidecar: str, backend: str) -> EnvoyLab:
        place = {"sidecar_address": sidecar, "backend_address": backend, "host": HOST.decode()}
        return EnvoyLab(envoy, tmp_path, **place).start()

    with Front(start, app, hook_socket=sock, sidecar_address=f"unix:{tmp_path}/zt.sock") as front:
        assert front.get().status == (200 if known else 401)
        assert [item.proof for item in app.authorised] == (["socket"] if known else [])
        assert len(front.backend.received) == known
