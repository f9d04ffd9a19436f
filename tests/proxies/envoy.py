"""A real Envoy with the printed configuration, in front of a backend, asking a sidecar that is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.proxies.process import ProxyProcess, free_port
from zt_engine.sidecar.hooks.envoy_config import KEY_VARIABLE, EnvoyConfig, render


class Tls(NamedTuple):
    """What Envoy serves with, and whose client certificates it asks for."""

    certificate: Path
    key: Path
    device_cas: Path | None = None


class EnvoyLab:
    """Envoy between a client and a backend, with `ext_authz` over HTTP."""

    grpc = False

    def __init__(
        self,
        executable: Path,
        folder: Path,
        *,
        sidecar_address: str,
        backend_address: str,
        host: str,
        key: str = "",
        tls: Tls | None = None,
        workers: int = 1,
        **more: Any,
    ) -> None:
        """`key` is empty where the sidecar knows Envoy by its user id or certificate; `more` goes to `EnvoyConfig`."""
        self._executable = executable
        self._folder = folder
        self._key = key
        self._workers = workers
        self.port = free_port()
        files = {} if tls is None else {"certificate": str(tls.certificate), "certificate_key": str(tls.key)}
        if tls is not None and tls.device_cas is not None:
            files["device_cas"] = str(tls.device_cas)
        self.config = EnvoyConfig(
            **{
                "proxy": "front",
                "hosts": (host,),
                "listen": (f"127.0.0.1:{self.port}",),
                "sidecar": (sidecar_address,),
                "backend": backend_address,
                "grpc": self.grpc,
                "keyed": bool(key),
                "enforces": ("no_store",),
                **files,
                **more,
            }
        )
        self.text = render(self.config)

    @property
    def address(self) -> tuple[str, int]:
        """Where clients come."""
        return self.process.address

    @property
    def said(self) -> str:
        """What it wrote about itself."""
        return self.process.said

    def start(self) -> Self:
        """Start it; `address` answers then."""
        file = self._folder / "envoy.yaml"
        file.write_text(self.text, encoding="utf-8")
        command = [str(self._executable), "-c", str(file), "--disable-hot-restart", "--log-level", "warning"]
        command += ["--concurrency", str(self._workers)]
        self.process = ProxyProcess(
            command,
            folder=self._folder,
            address=("127.0.0.1", self.port),
            environment={KEY_VARIABLE: self._key} if self._key else None,
        )
        return self

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class EnvoyGrpcLab(EnvoyLab):
    """The same over gRPC: the sidecar listens on a Unix socket, or knows Envoy by its certificate."""

    grpc = True
