"""A real Apache httpd with what `zt hook apache` prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.proxies.process import ProxyProcess, free_port
from zt_engine.sidecar.hooks.apache_config import ApacheBlock, key_line, render


class ApacheLab(ProxyProcess):
    """Client -> httpd -> (sidecar's FastCGI listener, backend). `tls` are certificate, its key, and CAs of devices."""

    def __init__(
        self,
        executable: Path,
        folder: Path,
        *,
        sidecar_address: str,
        backend_address: str,
        host: str,
        key: bytes,
        tls: tuple[Path, Path, Path | None] | None = None,
        edit: Callable[[str], str] = str,
        **block: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        include = folder / "pep.apache.conf"
        include.write_text(key_line(key), encoding="ascii")
        include.chmod(0o600)
        port = free_port()
        self.block = ApacheBlock(
            **{
                "proxy": "front",
                "server_names": (host,),
                "listen": (f"127.0.0.1:{port}",),
                "sidecar": sidecar_address,
                "backend": backend_address,
                "key_include": str(include),
                "certificate": str(tls[0]) if tls is not None else "",
                "certificate_key": str(tls[1]) if tls is not None else "",
                "device_cas": str(tls[2]) if tls is not None and tls[2] is not None else "",
                "enforces": ("no_store",),
                "root": str(folder),
            }
            | block
        )
        config = folder / "httpd.conf"
        config.write_text(edit(render(self.block)), encoding="utf-8")
        command = [str(executable), "-f", str(config), "-DFOREGROUND"]
        super().__init__(command, folder=folder, address=("127.0.0.1", port))
