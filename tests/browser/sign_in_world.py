"""People in a browser, with everything real: `zt init`, `zt control run` and `zt sidecar run` as processes, nginx and
Caddy as `zt hook` prints them, an OpenID provider, and the backend that they protect.

What the provider is going to answer a test says beforehand (`says`). The control plane is served over TLS, so that its
pages are there as well: people enroll devices and register keys in this world.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from playwright.sync_api import Page
from typer.testing import CliRunner

from device_inventory.facts import CATALOGUE
from tests.control_support import TENANT, a_device, held_key
from tests.e2e.lab import Backend
from tests.forked import Forked
from tests.peers import ROOT, find_peer
from tests.providers import Provider
from tests.proxies.process import ProxyProcess
from tests.sidecar_support import wait_for
from tests.stream_server import free_port
from zt_engine.adapters.ca_keys import read_passphrase
from zt_engine.adapters.control_http import ControlClient, read_key
from zt_engine.adapters.dev_issuer import DevCertificate, DevDeviceCa
from zt_engine.adapters.nginx_process import NginxProcess, listen_text, reserve
from zt_engine.bootstrap.control_parts import opened_store
from zt_engine.bootstrap.demo_tls import write_server_certificate
from zt_engine.bootstrap.installation import ADMIN_KEY, CA_UNLOCKED_BY, DEVICE_CA
from zt_engine.bootstrap.one_machine import join_once
from zt_engine.cli.main import app
from zt_engine.config import load, load_control
from zt_engine.control_plane.ledger import Ledger

HOST = "wiki.corp.example"
PAGE = "/pages/home"
"""Internal: any person who signed in with two factors."""
KINDS = ("nginx", "caddy")
OWN = {name: value for name, value in os.environ.items() if not name.startswith("ZT_")}
"""Every `ZT_` name is a setting, but those that ask the tests for something."""
CLEAN = dict.fromkeys(name for name in os.environ if name.startswith("ZT_"))
SETTINGS = """
[[proxies]]
name = "caddy"
hook = "caddy"
key_file = "keys/caddy.key"

[sign_in]
issuer = "{issuer}"
client_id = "portal-browser"
secret_file = "keys/client.secret"

[enrollment]
issuer = "{issuer}"
client_id = "zt-agent"
"""
HOME_PAGE = b"<!doctype html><html lang=en><title>Wiki</title><h1>The wiki of the corp</h1>"


class World:
    """One company. `address` has where each proxy listens."""

    def __init__(self, folder: Path, provider: Provider) -> None:
        self.folder = folder
        self.provider = provider
        self.issuer = provider.issuer
        self.config = folder / "zt/zt.toml"
        self.control = f"https://localhost:{(port := free_port())}"
        self.backend = Backend()
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b"
        for name in ("home", "home?page=2", "home?a=1&b=%C3%A9", "other", "a", "b"):
            self.backend.answers[f"/pages/{name}".encode()] = answer % (len(HOME_PAGE), HOME_PAGE)
        self.backend.answers[b"/projects/eagle/plan"] = answer % (6, b"secret")
        self._install(port)
        self._processes: list[Forked] = []
        try:
            self._start("control")
            wait_for(lambda: self._answers(f"{self.control}/healthz"), "the control plane", seconds=90)
            known = {"ZT_CONTROL_PLANE__URL": self.control, "ZT_CONTROL_PLANE__CA_FILE": str(self.control_ca)}
            join_once(load(self.config, known), self.control, self.control_ca)
            self.register("tanaka", groups=["staff"])
            self._start("sidecar", **known)
            self.address = {"nginx": self._nginx(), "caddy": self._caddy()}
            wait_for(self._ready, "the sidecar", seconds=90)
        except BaseException:
            self.close()
            raise

    def _install(self, port: int) -> None:
        listen = f"127.0.0.1:{port}"
        words = ["--pack", "corp", "--listen", f"unix:{self.folder}/sidecar.sock"]
        words += ["--issuer", self.issuer, "--jwks", f"{self.issuer}/jwks", "--audience", f"https://{HOST}"]
        words += ["--admin-listen", f"127.0.0.1:{free_port()}"]
        result = CliRunner().invoke(app, ["init", str(self.config.parent), *words], env=CLEAN)
        assert result.exit_code == 0, result.output
        text = self.config.read_text(encoding="utf-8")
        browser = f'[sidecar]\nbrowser_listen = ["unix:{self.folder}/browser.sock"]\n'
        served = f'listen = "{listen}"\nurl = "{self.control}"\n' + self._certified()
        text = text.replace("[sidecar]\n", browser, 1).replace('listen = "127.0.0.1:9443"\n', served, 1)
        self.config.write_text(text + SETTINGS.format(issuer=self.issuer), encoding="utf-8")
        for name, secret in (
            ("caddy.key", "c" * 32),
            ("client.secret", "a secret of the client"),
            ("session.key", "k" * 64),
        ):
            path = self.config.parent / "keys" / name
            path.touch(mode=0o600)
            path.write_text(secret)
        self.authority, *self.certificate = write_server_certificate(self.folder / "tls", [HOST], now=time.time())

    def _certified(self) -> str:
        ca, chain, key = write_server_certificate(self.folder / "control-tls", ["localhost"], now=time.time())
        chain.write_bytes(chain.read_bytes() + ca.read_bytes())  # agents learn the CA from it, by its pin
        self.control_ca = ca
        lines = f'cert_file = "{chain}"\nkey_file = "{key}"\nca_file = "{ca}"\n'
        return lines + 'organisation = "○○省"\nhelp_contact = "ヘルプデスク 内線 1234"\n'

    def _start(self, program: str, **environ: str) -> None:
        with (self.folder / f"{program}.out").open("ab") as output:
            self._processes.append(
                Forked(
                    [program, "run", "--config", str(self.config)],
                    stdout=output,
                    stderr=output,
                    env={**OWN, "PYTHONPATH": str(ROOT), **environ},
                )
            )

    def said(self, program: str) -> str:
        """What a program wrote."""
        return (self.folder / f"{program}.out").read_text(errors="replace")

    def _printed(self, kind: str, listen: str, proxy: str) -> str:
        words = ["hook", kind, "--config", str(self.config), "--proxy", proxy, "--service", "wiki", "--listen", listen]
        words += ["--backend", self.backend.address, "--certificate", str(self.certificate[0])]
        result = CliRunner().invoke(app, [*words, "--certificate-key", str(self.certificate[1])], env=CLEAN)
        assert result.exit_code == 0, result.output
        return result.stdout

    def _nginx(self) -> tuple[str, int]:
        executable = find_peer("nginx (wheel)") or find_peer("nginx (Debian)")
        assert executable is not None
        (self.folder / "nginx").mkdir()
        front = reserve("127.0.0.1")
        host, port = front.getsockname()[:2]
        text = self._printed("nginx", listen_text(front), "front")
        self.nginx = NginxProcess.start(executable, http=text, folder=self.folder / "nginx", sockets=[front])
        return host, port

    def _caddy(self) -> tuple[str, int]:
        executable, address = find_peer("caddy"), ("127.0.0.1", free_port())
        assert executable is not None
        file = self.folder / "Caddyfile"
        file.write_text(self._printed("caddy", "{}:{}".format(*address), "caddy"), encoding="utf-8")
        command = [str(executable), "run", "--config", str(file), "--adapter", "caddyfile"]
        self.caddy = ProxyProcess(command, folder=self.folder, address=address)
        return address

    def _answers(self, url: str) -> bool:
        assert all(process.poll() is None for process in self._processes), self.said("control")
        try:
            return httpx.get(url, trust_env=False, timeout=2, verify=False).is_success
        except httpx.HTTPError:
            return False

    def _ready(self) -> bool:
        """Whether somebody is decided about by the policy."""
        host, port = self.address["nginx"]
        url, headers = f"https://{host}:{port}{PAGE}", {"host": f"{HOST}:{port}", "accept": "application/json"}
        with httpx.Client(verify=False, trust_env=False) as client:
            return client.get(url, headers=headers, extensions={"sni_hostname": HOST}).status_code == 401

    def url(self, kind: str, path: str = PAGE) -> str:
        """Where a page is behind a proxy."""
        return f"https://{HOST}:{self.address[kind][1]}{path}"

    def _administrator(self) -> ControlClient:
        return ControlClient(self.control, key=read_key(self.config.parent / ADMIN_KEY), ca_file=self.control_ca)

    def invite(self, person: str) -> str:
        """Invite somebody to enroll a device of the company; return the link."""
        client = self._administrator()
        made = client.post("v1", "invitations", body={"subject": person, "ownership": "corp", "ceiling": 200})
        client.close()
        return str(made["link"])

    def register(self, person: str, **fields: Any) -> None:
        """Have somebody in the directory."""
        client = self._administrator()
        body = {"status": "active", "groups": [], "compartments": [], "clearance": 200, "org": "", "valid_until": None}
        client.put("v1", "subjects", self.issuer, person, body={**body, "employment": "employee", **fields})
        client.close()

    def device(self, device_id: str) -> tuple[DevCertificate, str]:
        """A certificate of the installation's own device CA, as an enrollment ends with one, and the CA's name."""
        folder = self.config.parent / DEVICE_CA
        authority = x509.load_pem_x509_certificate(next(folder.glob("*.pem")).read_bytes())
        passphrase = read_passphrase(self.config.parent / CA_UNLOCKED_BY)
        signing = DevDeviceCa(now=time.time())
        signing._key = load_pem_private_key(next(folder.glob("*.key")).read_bytes(), passphrase)  # type: ignore[assignment]
        signing._name = authority.subject
        (name,) = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return signing.issue(device_id, now=time.time()), str(name.value)

    def lend(self, device_id: str, person: str, *, x5t: str = "") -> None:
        """Have a device in the inventory that somebody holds, as an enrollment leaves one, `x5t` being its key."""
        now = int(time.time())
        key = held_key(device_id, not_after=now + 86_400)
        key = msgspec.structs.replace(key, x5t=x5t or key.x5t)
        with contextlib.closing(opened_store(load_control(self.config, {}))) as store, store.writing(TENANT) as tx:
            device = a_device(device_id, owner=person, assigned=(person,), keys=(key,), report_received_at=now - 60)
            Ledger(CATALOGUE)(tx, device, before=None, actor="system", action="device.enrolled", now=now)

    def says(self, person: str, **claims: Any) -> None:
        """Have the provider say this of a person from now on."""
        httpx.put(f"{self.issuer}/users/{person}", json=claims, trust_env=False).raise_for_status()

    def close(self) -> None:
        for name in ("nginx", "caddy"):
            if hasattr(self, name):
                getattr(self, name).stop()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(20)
        self.backend.close()


class Prompts:
    """What a person was asked for: every page of the provider that a browser was shown."""

    def __init__(self, page: Page, issuer: str) -> None:
        self.seen: list[str] = []
        self.sent: list[str] = []
        """Every document a browser asked for, in order."""
        page.on("framenavigated", lambda frame: self.seen.append(frame.url) if frame.url.startswith(issuer) else None)
        page.on("request", lambda asked: self.sent.append(asked.url) if asked.is_navigation_request() else None)


@contextmanager
def world(folder: Path, provider: Provider) -> Iterator[World]:
    """A world that ends."""
    made = World(folder, provider)
    try:
        yield made
    finally:
        made.close()
