"""A real Traefik with the printed configuration."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.proxies.process import RETRY_SECONDS, START_SECONDS, ProxyProcess, free_port
from zt_engine.sidecar.hooks.traefik_config import TraefikConfig, render_dynamic, render_static


class Shown(NamedTuple):
    """What Traefik shows the sidecar, and whom it believes there: certificate, key, CAs."""

    certificate: Path
    key: Path
    sidecar_ca: Path


class TraefikLab:
    """Client -> Traefik -> (sidecar, backend). `tls` are certificate, its key, and CAs of devices."""

    def __init__(
        self,
        executable: Path,
        folder: Path,
        *,
        sidecar_address: str,
        backend_address: str,
        host: str,
        key: Shown,
        tls: tuple[Path, Path, Path | None] | None = None,
        edit: Callable[[str], str] = str,
        **config: Any,
    ) -> None:
        """`key` is a certificate: Traefik has no other; `config` goes to `TraefikConfig`."""
        services = folder / "services"
        services.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.address = ("127.0.0.1", port)
        self.config = TraefikConfig(
            **{
                "proxy": "front",
                "server_names": (host,),
                "listen": f"127.0.0.1:{port}",
                "sidecar": sidecar_address,
                "backend": backend_address,
                "sidecar_ca": str(key.sidecar_ca),
                "client_certificate": str(key.certificate),
                "client_key": str(key.key),
                "folder": str(services),
                "certificate": str(tls[0]) if tls is not None else "",
                "certificate_key": str(tls[1]) if tls is not None else "",
                "device_cas": str(tls[2]) if tls is not None and tls[2] is not None else "",
                "enforces": ("no_store",),
            }
            | config
        )
        (folder / "traefik.yaml").write_text(render_static(self.config), encoding="utf-8")
        (services / "service.yaml").write_text(edit(render_dynamic(self.config)), encoding="utf-8")
        self.process = ProxyProcess(
            [str(executable), f"--configfile={folder / 'traefik.yaml'}"], folder=folder, address=self.address
        )
        try:
            self._await_router(host, encrypted=tls is not None)
        except BaseException:
            self.stop()
            raise

    def _await_router(self, host: str, *, encrypted: bool) -> None:
        """Traefik listens before it has read what its routers are: until then it answers 404, or with no handshake."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # ssl.SSLError is one
                if self._status(host, encrypted=encrypted) not in (b"", b"404"):
                    return
            time.sleep(RETRY_SECONDS)
        raise AssertionError(f"the router did not come up: {self.said[-2000:]}")

    def _status(self, host: str, *, encrypted: bool) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(socket.create_connection(self.address, timeout=5))
            if encrypted:
                client = stack.enter_context(context.wrap_socket(client, server_hostname=host))
            # Not spelled as a method is, so that the sidecar refuses it and no backend is reached.
            client.sendall(b"get / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host.encode("ascii"))
            return client.recv(4096)[9:12]

    @property
    def said(self) -> str:
        """What it wrote about itself."""
        return self.process.said

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
