"""A real Caddy with the printed Caddyfile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.proxies.process import ProxyProcess, free_port
from zt_engine.sidecar.hooks.caddyfile import CaddySite, render


class CaddyLab:
    """Client -> Caddy -> (sidecar, backend). `tls` are certificate, its key, and CAs of devices."""

    def __init__(
        self,
        executable: Path,
        folder: Path,
        *,
        sidecar_address: str | Sequence[str],
        backend_address: str,
        host: str,
        key: bytes,
        tls: tuple[Path, Path, Path | None] | None = None,
        edit: Callable[[str], str] = str,
        **site: Any,
    ) -> None:
        """`key` is empty where the sidecar knows Caddy by its user id; `site` goes to `CaddySite`."""
        folder.mkdir(exist_ok=True)
        key_file = folder / "pep.key"
        key_file.write_bytes(key + b"\n")
        key_file.chmod(0o600)
        sidecar = (sidecar_address,) if isinstance(sidecar_address, str) else tuple(sidecar_address)
        port = free_port()
        self._executable = executable
        self._folder = folder
        self.address = ("127.0.0.1", port)
        self.site = CaddySite(
            **{
                "proxy": "front",
                "server_names": (host,),
                "listen": (f"127.0.0.1:{port}",),
                "sidecar": tuple(address.replace("unix:", "unix/", 1) for address in sidecar),
                "backend": backend_address,
                "key_file": str(key_file) if key else "",
                "certificate": str(tls[0]) if tls is not None else "",
                "certificate_key": str(tls[1]) if tls is not None else "",
                "device_cas": str(tls[2]) if tls is not None and tls[2] is not None else "",
                "enforces": ("no_store",),
            }
            | site
        )
        self.text = edit(render(self.site))
        file = folder / "Caddyfile"
        file.write_text(self.text, encoding="utf-8")
        self.process = ProxyProcess(
            [str(executable), "run", "--config", str(file), "--adapter", "caddyfile"],
            folder=folder,
            address=self.address,
        )

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
