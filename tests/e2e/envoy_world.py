"""A whole sidecar behind two real Envoys, over HTTP and over gRPC, with TLS in front and a recording backend."""

from __future__ import annotations

import json
import os
import socket
import ssl
from pathlib import Path
from typing import Any

from tests.e2e.lab import Answer, Backend, request
from tests.hook_support import LoopThread, one_answer
from tests.proxies.asking import NAME, Inside
from tests.proxies.authority import Issued
from tests.proxies.envoy import EnvoyGrpcLab, EnvoyLab, Tls
from tests.sidecar_support import Process
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.demo_world import HEALTHY, STAFF
from zt_engine.bootstrap.packs import compiled_bundle
from zt_engine.bootstrap.sandbox import Device, Sandbox
from zt_engine.bootstrap.sidecar import SidecarProgram
from zt_engine.config import load

PORTAL = b"portal.ministry.example"


class EnvoyWorld:
    """One installation, its backend, and both ways to ask; `lab` is the Envoy that clients come to now."""

    def __init__(
        self,
        envoy: Path,
        folder: Path,
        *,
        apart: bool = False,
        user: int | None = None,
        inside: Inside | None = None,
        shown: Issued | None = None,
        asking: tuple[str, ...] = ("http", "grpc"),
    ) -> None:
        """`apart`: the sidecar is a process of its own. `user`: whom the gRPC listener knows, else this user.

        With `inside` it listens on TCP and knows that one's proxy by its certificate; Envoy shows `shown`.
        """
        user = os.getuid() if user is None else user
        self.sandbox = Sandbox(
            folder / "zt", pack="jp-gov", listen=f"unix:{folder}/zt.sock", admin_listen=f"unix:{folder}/admin.sock",
            bundle=compiled_bundle("jp-gov"),
        )  # fmt: skip
        text = (self.sandbox.folder / "zt.toml").read_text()
        text = text.replace('hook = "nginx"', 'hook = "envoy"')
        known, listen = f"socket_uids = [{user}]", f'grpc_listen = ["unix:{folder}/grpc.sock"]\n'
        if inside is not None:
            known = f'certificate_names = ["{NAME}"]'
            listen = (
                f'grpc_listen = ["127.0.0.1:0"]\ntls_certificate = "{inside.sidecar.certificate}"\n'
                f'tls_key = "{inside.sidecar.key}"\ntls_client_ca = "{inside.authority.path}"\n'
            )
        text = text.replace("[sidecar]\n", "[sidecar]\n" + listen)
        text += f'\n[[proxies]]\nname = "mesh"\nhook = "envoy_grpc"\n{known}\nenforces = ["no_store"]\n'
        self.sandbox.write("zt.toml", text.encode())
        self.sandbox.subject("tanaka", **{**STAFF, "compartments": ["case:123"]})
        self.laptop = self.sandbox.device("laptop-1", assigned=["tanaka"], facts=HEALTHY)
        self.stale = self.sandbox.device(
            "laptop-2", assigned=["tanaka"], facts=HEALTHY, report_received_at=self.sandbox.now - 3 * 86_400
        )
        for device in (self.laptop, self.stale):
            self.sandbox.write(f"clients/{device.device_id}.pem", device.certificate.pem + device.certificate.key_pem)
        self.backend = Backend()
        self.thread = LoopThread()
        settings = load(self.sandbox.config)
        self.process = Process(self.sandbox).started() if apart else None
        self.program = self.thread.call(lambda: SidecarProgram(settings)) if not apart else None
        if self.program is not None:
            self.thread.run(self.program.start())
        self.authority, certificate, key = write_server_certificate(
            folder / "tls", [PORTAL.decode()], now=self.sandbox.now
        )
        shared = {
            "backend_address": self.backend.address,
            "host": PORTAL.decode(),
            "tls": Tls(certificate, key, self.sandbox.folder / "policy/device-cas.pem"),
        }
        reached = {"sidecar_address": f"unix:{folder}/grpc.sock"}
        if inside is not None:
            assert self.program is not None
            reached = {
                "sidecar_address": self.program.grpc.addresses[0],
                "client_certificate": str((shown or inside.front).certificate),
                "client_key": str((shown or inside.front).key),
                "sidecar_ca": str(inside.authority.path),
                "sidecar_name": "localhost",
            }
        places = {name: folder / name for name in ("http", "grpc")}
        for place in places.values():
            place.mkdir()
        self.labs: dict[str, EnvoyLab] = {
            "http": EnvoyLab(
                envoy, places["http"], sidecar_address=f"unix:{folder}/zt.sock", key=self.sandbox.pep_key, **shared
            ),
            "grpc": EnvoyGrpcLab(envoy, places["grpc"], proxy="mesh", **reached, **shared),
        }
        self.labs, unused = {name: self.labs[name].start() for name in asking}, self.labs
        self.lab = unused["http"]
        self.printed = {name: lab.config for name, lab in unused.items()}

    def close(self) -> None:
        for lab in self.labs.values():
            lab.stop()
        if self.program is not None:
            self.thread.run(self.program.stop())
        if self.process is not None:
            self.process.close()
        self.thread.close()
        self.backend.close()
        assert self.thread.faults == []

    def bearer(self, device: Device | None) -> bytes:
        return b"Authorization: Bearer " + self.sandbox.token("tanaka", device=device).encode()

    def connect(
        self, device: Device | None = None, *, lab: EnvoyLab | None = None, protocols: tuple[str, ...] = ()
    ) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.authority))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if device is not None:
            context.load_cert_chain(self.sandbox.folder / f"clients/{device.device_id}.pem")
        plain = socket.create_connection((lab or self.lab).address, timeout=10)
        return context.wrap_socket(plain, server_hostname=PORTAL.decode())

    def send(self, raw: bytes, *, device: Device | None = None, lab: EnvoyLab | None = None) -> Answer:
        with self.connect(device, lab=lab) as client:
            client.sendall(raw)
            return Answer(*one_answer(client, bodiless=raw.startswith(b"HEAD ")))

    def get(
        self, target: bytes, *headers: bytes, device: Device | None = None, lab: EnvoyLab | None = None, **options: Any
    ) -> Answer:
        """As tanaka, on a device of hers, or signed in nowhere."""
        token = [self.bearer(device)] if device is not None else []
        return self.send(request(target, *token, *headers, **{"host": PORTAL, **options}), device=device, lab=lab)

    def events(self) -> list[dict[str, Any]]:
        """All decisions in the log, oldest first."""
        lines: list[str] = []
        for path in sorted((self.sandbox.folder / "log").glob("decisions*.jsonl")):
            lines += path.read_text().splitlines()
        return [event for event in map(json.loads, lines) if "effect" in event]
