"""The proxies that the corpus goes through, each started from the configuration that `zt hook` prints for it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tests.corpus.world import HOST, World
from tests.peers import find_peer
from zt_engine.adapters.nginx_process import NginxProcess, listen_text, reserve
from zt_engine.bootstrap.nginx_hook import find_proxy, nginx_block, write_key_include
from zt_engine.config import load
from zt_engine.corpus.wire import Address
from zt_engine.sidecar.hooks.snippet import render


class ProxyUnderTest(Protocol):
    """A real proxy between the runner and the witnessing backend."""

    name: str
    notes: str

    def start(self, world: World, backend: str, folder: Path) -> Address:
        """Start it in front of `backend` (HOST:PORT), asking the world's sidecar; return where it listens."""

    def stop(self) -> None:
        """Stop it."""


class Nginx:
    """nginx with the block of `zt hook nginx`."""

    def __init__(self, peer: str, *, tls: bool = False) -> None:
        self.name = peer
        self.notes = "over TLS" if tls else ""
        self._tls = tls

    def start(self, world: World, backend: str, folder: Path) -> Address:
        executable = find_peer(self.name)
        assert executable is not None
        settings = load(world.sandbox.config, {})
        proxy = find_proxy(settings, "front")
        write_key_include(settings, proxy)
        front = reserve()
        host, port = front.getsockname()[:2]
        own = world.authority.issue("front", hosts=[HOST]) if self._tls else None
        block = nginx_block(
            settings,
            proxy,
            server_names=[HOST],
            backend=backend,
            listen=[listen_text(front)],
            sidecar=[world.address],
            certificate=own.certificate if own is not None else None,
            certificate_key=own.key if own is not None else None,
            device_cas=world.device_cas if own is not None else None,
        )
        self._process = NginxProcess.start(executable, http=render(block), folder=folder, sockets=[front])
        context = ssl.create_default_context(cafile=str(world.authority.path)) if self._tls else None
        return Address(host, port, tls=context, server_name=HOST)

    def stop(self) -> None:
        self._process.stop()


class Laboratory:
    """A proxy of `tests/proxies`, which has a class that is given addresses and a key."""

    notes = ""

    def __init__(self, peer: str, made_by: str, given: Callable[[World], Mapping[str, Any]]) -> None:
        """`made_by` is `module.Class`; `given` says whom it asks, and how it proves itself there."""
        self.name = made_by
        self._peer = peer
        self._given = given

    def start(self, world: World, backend: str, folder: Path) -> Address:
        module, _, name = self.name.rpartition(".")
        made = getattr(import_module(f"tests.proxies.{module}"), name)
        self._lab = made(find_peer(self._peer), folder, backend_address=backend, host=HOST, **self._given(world))
        self._lab.__enter__()
        return Address(*self._lab.address)

    def stop(self) -> None:
        self._lab.__exit__(None, None, None)


def over_tls(
    given: Callable[[World], Mapping[str, Any]], made: Callable[[Path, Path, Path], Any]
) -> Callable[[World], Mapping[str, Any]]:
    """The same behind TLS that asks for the certificates of devices; `made` is how the laboratory takes it."""

    def more(world: World) -> Mapping[str, Any]:
        own = world.authority.issue("front", hosts=[HOST])
        return {**given(world), "tls": made(own.certificate, own.key, world.device_cas)}

    return more


def with_certificates(front: Address, world: World, folder: Path) -> Mapping[str, Address]:
    """The addresses of a proxy behind TLS, by whose certificate is shown there."""
    found = {"front": msgspec.structs.replace(front, tls=_context(world), server_name=HOST)}
    for name, pem in world.shown().items():
        file = folder / f"{name}.pem"
        file.write_bytes(pem)
        context = _context(world)
        context.load_cert_chain(file)
        found[name] = msgspec.structs.replace(front, tls=context, server_name=HOST)
    return found


def _context(world: World) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(world.authority.path))


def keyed(hook: str) -> Callable[[World], Mapping[str, Any]]:
    """A proxy that shows a key as a header."""
    return lambda world: {"sidecar_address": world.address, "key": world.key(hook)}


def certified(world: World) -> Mapping[str, Any]:
    """Traefik, which shows a certificate."""
    shown = import_module("tests.proxies.traefik").Shown
    return {"sidecar_address": world.tls_address, "key": shown(*world.traefik, world.authority.path)}


def over_fastcgi(world: World) -> Mapping[str, Any]:
    """Apache, which asks over FastCGI and shows a key."""
    return {"sidecar_address": world.fastcgi_address, "key": world.key("apache")}


def over_grpc(world: World) -> Mapping[str, Any]:
    """Envoy over a Unix socket, known by its user id."""
    return {"sidecar_address": world.grpc_address}


def envoy_keyed(world: World) -> Mapping[str, Any]:
    """Envoy, which has its key as text."""
    return {**keyed("envoy")(world), "key": world.key("envoy").decode()}


def _files(*files: Path) -> Any:
    return files


def _envoy_tls(*files: Path) -> Any:
    return import_module("tests.proxies.envoy").Tls(*files)


class Candidate(msgspec.Struct, frozen=True):
    """A proxy, the peers it needs, and what is true of it that the runner has to know."""

    make: Callable[[], ProxyUnderTest]
    peers: tuple[str, ...]
    may_lose_identity: bool = False

    @property
    def missing(self) -> list[str]:
        return [peer for peer in self.peers if find_peer(peer) is None]


CANDIDATES: Mapping[str, Candidate] = {
    "nginx (Debian)": Candidate(lambda: Nginx("nginx (Debian)"), ("nginx (Debian)",)),
    "nginx (wheel)": Candidate(lambda: Nginx("nginx (wheel)"), ("nginx (wheel)",)),
    "nginx, TLS": Candidate(lambda: Nginx("nginx (wheel)", tls=True), ("nginx (wheel)",)),
    "Caddy": Candidate(lambda: Laboratory("caddy", "caddy.CaddyLab", keyed("caddy")), ("caddy",)),
    "Traefik": Candidate(lambda: Laboratory("traefik", "traefik.TraefikLab", certified), ("traefik",)),
    "HAProxy": Candidate(lambda: Laboratory("haproxy", "haproxy.HaproxyLab", keyed("haproxy")), ("haproxy",)),
    "Envoy (HTTP)": Candidate(lambda: Laboratory("envoy", "envoy.EnvoyLab", envoy_keyed), ("envoy",)),
    "Apache": Candidate(lambda: Laboratory("apache", "apache.ApacheLab", over_fastcgi), ("apache",)),
    "Envoy (gRPC)": Candidate(lambda: Laboratory("envoy", "envoy.EnvoyGrpcLab", over_grpc), ("envoy",)),
}

CERTIFIED: Mapping[str, Candidate] = {
    "Caddy": Candidate(lambda: Laboratory("caddy", "caddy.CaddyLab", over_tls(keyed("caddy"), _files)), ("caddy",)),
    "Traefik": Candidate(
        lambda: Laboratory("traefik", "traefik.TraefikLab", over_tls(certified, _files)), ("traefik",)
    ),
    "HAProxy": Candidate(
        lambda: Laboratory("haproxy", "haproxy.HaproxyLab", over_tls(keyed("haproxy"), _files)), ("haproxy",)
    ),
    "Apache": Candidate(lambda: Laboratory("apache", "apache.ApacheLab", over_tls(over_fastcgi, _files)), ("apache",)),
    "Envoy (HTTP)": Candidate(
        lambda: Laboratory("envoy", "envoy.EnvoyLab", over_tls(envoy_keyed, _envoy_tls)), ("envoy",)
    ),
    "Envoy (gRPC)": Candidate(
        lambda: Laboratory("envoy", "envoy.EnvoyGrpcLab", over_tls(over_grpc, _envoy_tls)), ("envoy",)
    ),
}
"""Proxies that ask clients for certificates, beside nginx, which all probes go through with TLS."""
