"""The listener at which a proxy shows a certificate: who gets in, and how certificates change while it serves."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxies.asking import NAME, Inside, ask_encrypted, one_reply, traefik_question
from tests.proxies.authority import Authority, Issued
from tests.sidecar_support import InProcess, in_process, installation, laptop, logged, raw_request, running, wait_for
from zt_engine.bootstrap.sandbox import Device, Sandbox

REFUSED = (ssl.SSLError, ConnectionError)


class World:
    """A sidecar that knows one Traefik by its certificate."""

    def __init__(self, folder: Path, opa: str) -> None:
        self.sandbox: Sandbox = installation(folder / "zt", opa)
        self.laptop: Device = laptop(self.sandbox)
        self.inside = Inside(folder / "inside")
        self.inside.configure(self.sandbox)
        self.question = traefik_question(self.sandbox, self.laptop)

    def ask(self, address: str, issued: Issued | None) -> int:
        return ask_encrypted(address, self.question, self.inside.client(issued)).status


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, opa: str) -> World:
    return World(tmp_path_factory.mktemp("tls"), opa)


@pytest.fixture(scope="module")
def program(world: World) -> Iterator[InProcess]:
    with in_process(world.sandbox) as serving:
        yield serving


def encrypted(program: InProcess) -> str:
    return program.program.addresses[1]


def test_a_proxy_with_its_certificate_is_answered(world: World, program: InProcess) -> None:
    reply = ask_encrypted(encrypted(program), world.question, world.inside.client(world.inside.front))

    event = logged(world.sandbox)[-1]
    assert (reply.status, reply.header("Zt-Device")) == (200, "laptop-1")
    assert (event["hook"], event["effect"], len(event["request_id"])) == ("traefik", "allow", 32)


def test_every_question_gets_a_number_of_its_own(world: World, program: InProcess) -> None:
    context = world.inside.client(world.inside.front)
    for _ in range(3):
        assert ask_encrypted(encrypted(program), world.question, context).status == 200

    assert len({event["request_id"] for event in logged(world.sandbox)[-3:]}) == 3


@pytest.mark.parametrize("kind", ["none", "another authority", "expired", "not yet valid"])
def test_without_a_certificate_that_counts_there_is_no_answer(
    world: World, program: InProcess, tmp_path: Path, kind: str
) -> None:
    issued = {
        "none": None,
        "another authority": Authority(tmp_path, "stranger").issue("front", hosts=[NAME]),
        "expired": world.inside.authority.issue("old", hosts=[NAME], hours=(-3, -2)),
        "not yet valid": world.inside.authority.issue("new", hosts=[NAME], hours=(2, 3)),
    }[kind]
    before = len(logged(world.sandbox))

    with pytest.raises(REFUSED):
        world.ask(encrypted(program), issued)

    assert len(logged(world.sandbox)) == before


@pytest.mark.parametrize(
    "hosts", [[], ["other.proxy.internal"], ["x." + NAME], ["proxy.internal"], ["*.proxy.internal"]]
)
def test_a_certificate_with_another_name_is_nobody(world: World, program: InProcess, hosts: list[str]) -> None:
    # The common name is that of the proxy: names count only where they are vouched for.
    issued = world.inside.authority.issue("front.proxy.internal", hosts=hosts)

    reply = ask_encrypted(encrypted(program), world.question, world.inside.client(issued))

    assert (reply.status, reply.reason) == (401, "PEP_UNKNOWN")


def test_the_right_certificate_forgives_no_wrong_key(world: World, program: InProcess) -> None:
    raw = traefik_question(world.sandbox, world.laptop, Zt_Pep_Key="x" * 32)

    reply = ask_encrypted(encrypted(program), raw, world.inside.client(world.inside.front))

    assert reply.reason == "PEP_UNKNOWN"


def test_the_certificate_of_one_hook_does_not_open_another(world: World, program: InProcess) -> None:
    for path in ("/v1/hooks/nginx", "/v1/hooks/caddy", "/v1/hooks/traefik/", "/v1/hooks/traefik?x"):
        raw = raw_request(path, [("X-Forwarded-Uri", "/")])
        reply = ask_encrypted(encrypted(program), raw, world.inside.client(world.inside.front))
        assert (reply.status, reply.reason) == (404, "HOOK_UNKNOWN")


def test_where_no_certificate_is_shown_nobody_is_a_traefik(world: World, program: InProcess) -> None:
    reply = program.address
    host, _, port = reply.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        assert one_reply(client, world.question).status == 401


def test_plain_text_is_no_handshake(world: World, program: InProcess) -> None:
    host, _, port = encrypted(program).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(world.question)
        assert not client.recv(65536).startswith(b"HTTP")


def test_a_connection_that_never_finishes_its_handshake_harms_nobody(world: World, program: InProcess) -> None:
    host, _, port = encrypted(program).rpartition(":")
    silent = [socket.create_connection((host, int(port)), timeout=20) for _ in range(20)]

    assert world.ask(encrypted(program), world.inside.front) == 200
    for client in silent:
        client.close()


# -- certificates that change


class Renewing(World):
    """The same in a folder of its own, so that its files may be replaced."""

    def put(self, authority: Authority, sidecar: Issued) -> None:
        """Put other certificates in place, as whoever renews them does."""
        shutil.copy(sidecar.certificate, self.inside.sidecar.certificate)
        shutil.copy(sidecar.key, self.inside.sidecar.key)
        shutil.copy(authority.path, self.inside.authority.path)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_reload_takes_up_certificate_and_authorities_and_refuses_nobody(
    tmp_path: Path, opa: str, version: ssl.TLSVersion
) -> None:
    world = Renewing(tmp_path, opa)
    old_client = world.inside.client(world.inside.front)
    other = Authority(tmp_path / "other", "other")
    new_front = other.issue("front", hosts=[NAME])
    new_sidecar = other.issue("sidecar", hosts=["127.0.0.1"])
    either = ssl.create_default_context(cafile=str(world.inside.authority.path))
    either.load_verify_locations(other.path)
    for context in (old_client, either):
        context.minimum_version = context.maximum_version = version
    either.load_cert_chain(*new_front)
    with in_process(world.sandbox) as program:
        address = encrypted(program)
        both = tmp_path / "both.pem"
        both.write_bytes(world.inside.authority.path.read_bytes() + other.path.read_bytes())
        host, _, port = address.rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=20) as plain,
            old_client.wrap_socket(plain, server_hostname=host) as kept,
        ):
            assert one_reply(kept, world.question).status == 200
            with pytest.raises(REFUSED):
                ask_encrypted(address, world.question, either)

            world.put(other, new_sidecar)
            assert program.thread.run(program.program.reload(world.sandbox.config))

            assert ask_encrypted(address, world.question, either).status == 200
            with pytest.raises(REFUSED):
                ask_encrypted(address, world.question, old_client)
            assert one_reply(kept, world.question).status == 200


def test_a_certificate_that_cannot_be_read_leaves_the_old_one_in_force(tmp_path: Path, opa: str) -> None:
    world = Renewing(tmp_path, opa)
    with in_process(world.sandbox) as program:
        world.inside.sidecar.certificate.write_text("no certificate")

        assert not program.thread.run(program.program.reload(world.sandbox.config))
        assert world.ask(encrypted(program), world.inside.front) == 200


class Askers:
    """Threads that ask over new and kept connections until they are told to stop."""

    def __init__(self, address: str, raw: bytes, context: ssl.SSLContext, *, clients: int = 3) -> None:
        self.statuses: list[int] = []
        self.faults: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(address, raw, context), daemon=True) for _ in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, address: str, raw: bytes, context: ssl.SSLContext) -> None:
        host, _, port = address.rpartition(":")
        while not self._stop.is_set():
            try:
                with (
                    socket.create_connection((host, int(port)), timeout=20) as plain,
                    context.wrap_socket(plain, server_hostname=host) as client,
                ):
                    for _ in range(5):
                        reply = one_reply(client, raw)
                        self.statuses.append(reply.status)
                        if (reply.header("Connection") or "").lower() == "close":
                            break
            except OSError as error:
                self.faults.append(f"{type(error).__name__}: {error}")

    def more(self, count: int = 40) -> None:
        wanted = len(self.statuses) + count
        wait_for(lambda: len(self.statuses) >= wanted or len(self.faults) > 5, f"{count} more answers")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


def test_a_successor_takes_the_listener_over_without_a_refused_or_reset_request(tmp_path: Path, opa: str) -> None:
    world = World(tmp_path, opa)
    with running(world.sandbox, name="first") as first:
        address = first.said("sidecar.started")["listen"][1]
        askers = Askers(address, world.question, world.inside.client(world.inside.front))
        askers.more()
        with running(world.sandbox, name="second") as second:
            assert second.said("sidecar.started")["listen"][1] == address
            assert first.ended() == 0
            askers.more()
            askers.stop()

    assert askers.faults == [] and set(askers.statuses) == {200}
