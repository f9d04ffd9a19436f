"""A real HAProxy with what `zt hook haproxy` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.proxies.process import ProxyProcess, free_port
from zt_engine.sidecar.hooks.haproxy_config import HaproxyBlock, render, render_lua


class HaproxyLab:
    """Client -> HAProxy -> (sidecar, backend). `tls` are certificate, its key, and CAs of devices."""

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
        lua: Callable[[str], str] = str,
        **block: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        action, key_file = folder / "zt.lua", folder / "pep.key"
        key_file.write_bytes(key + b"\n")
        key_file.chmod(0o600)
        certificate = ""
        if tls is not None:
            both = folder / "server.pem"
            both.write_bytes(tls[0].read_bytes() + tls[1].read_bytes())
            both.chmod(0o600)
            certificate = str(both)
        port = free_port()
        self.address = ("127.0.0.1", port)
        self.block = HaproxyBlock(
            **{
                "proxy": "front",
                "server_names": (host,),
                "listen": (f"127.0.0.1:{port}",),
                "sidecar": (sidecar_address,) if isinstance(sidecar_address, str) else tuple(sidecar_address),
                "backend": backend_address,
                "lua": str(action),
                "key_file": str(key_file) if key else "",
                "certificate": certificate,
                "device_cas": str(tls[2]) if tls is not None and tls[2] is not None else "",
                "enforces": ("no_store",),
            }
            | block
        )
        action.write_text(lua(render_lua(self.block)), encoding="utf-8")
        config = folder / "haproxy.cfg"
        config.write_text(edit(render(self.block)), encoding="utf-8")
        self.process = ProxyProcess(
            [str(executable), "-W", "-f", str(config)], folder=folder, address=("127.0.0.1", port)
        )

    @property
    def said(self) -> str:
        return self.process.said

    def stop(self) -> None:
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
