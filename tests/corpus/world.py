"""What the corpus runs against: a sidecar as a process of its own with its decision log, and people to sign in."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.proxies.authority import Authority
from tests.sidecar_support import Process, ask, edit, wait_for
from zt_engine.bootstrap.corpus_witness import LoggedDecisions
from zt_engine.bootstrap.demo_world import HEALTHY, STAFF
from zt_engine.bootstrap.packs import compiled_bundle
from zt_engine.bootstrap.sandbox import Sandbox
from zt_engine.config import load
from zt_engine.corpus.wire import Address

HOST = "app.example"
CATALOGUE = Path(__file__).parent / "catalogue.yaml"
KEYED = ("caddy", "haproxy", "envoy", "apache")
"""Hooks beside nginx's whose proxies show a key."""
PROXY = """\
[[proxies]]
name = "{hook}"
hook = "{hook}"
{proof}
enforces = ["no_store", "no_download", "watermark"]

"""
TRAEFIK = "traefik.proxies.example"
TLS = """\
tls_listen = ["127.0.0.1:0"]
grpc_listen = ["{grpc}"]
fastcgi_listen = ["127.0.0.1:0"]
tls_certificate = "{certificate}"
tls_key = "{key}"
tls_client_ca = "{ca}"
"""
PEOPLE = ("tanaka", "suzuki", "sato")
CHANGES = (
    ('      - {path: "/leaving/*", methods: [GET], label: C0}\n', ""),
    ('      - {path: "/closing/*", methods: [GET, HEAD, POST]}\n', '      - {path: "/opening/*", methods: [GET]}\n'),
    ('{path: "/raising/*", methods: [GET]}', '{path: "/raising/*", methods: [GET], label: C2}'),
)


class World:
    """One installation that decides for one host, for as many proxies as are configured."""

    def __init__(self, folder: Path, *, listen: str = "127.0.0.1:0") -> None:
        self.sandbox = Sandbox(
            folder / "zt", pack="jp-gov", listen=listen, bundle=compiled_bundle("jp-gov"),
            catalogue=CATALOGUE.read_bytes(), enforces=("no_store", "no_download", "watermark"),
        )  # fmt: skip
        for hook in KEYED:
            self.sandbox.write(f"keys/{hook}.key", self.key(hook) + b"\n")
        proxies = "".join(PROXY.format(hook=hook, proof=f'key_file = "keys/{hook}.key"') for hook in KEYED)
        proxies += PROXY.format(hook="envoy_grpc", proof=f"socket_uids = [{os.getuid()}]")
        proxies += PROXY.format(hook="traefik", proof=f'certificate_names = ["{TRAEFIK}"]')
        self.authority = Authority(folder / "tls", "authority")
        own = self.authority.issue("sidecar", hosts=["127.0.0.1"])
        self.traefik = self.authority.issue("traefik", hosts=[TRAEFIK])
        self.grpc_address = f"unix:{folder}/grpc.sock"
        tls = TLS.format(grpc=self.grpc_address, certificate=own.certificate, key=own.key, ca=self.authority.path)
        edit(
            self.sandbox,
            "zt.toml",
            ("[policy]\n", f"{proxies}[policy]\nbudget_ms = 250\n"),
            ("[sidecar]\n", f"[sidecar]\n{tls}"),
        )
        for person in PEOPLE:
            self._person(person)
        self.laptop = self.sandbox.device("laptop-1", assigned=["tanaka"], facts=HEALTHY)
        self.neighbour = self.sandbox.device("laptop-2", assigned=["sato"], facts=HEALTHY)
        impostor = Authority(folder / "impostor", "device-ca").issue("laptop-1")
        self.impostor = impostor.certificate.read_bytes() + impostor.key.read_bytes()
        self.settings = load(self.sandbox.config, {})
        self.sidecar = Process(self.sandbox).started()
        self._revoked = f"revoked-{time.time_ns()}"

    def key(self, hook: str) -> bytes:
        """The key that a proxy of this kind shows."""
        return f"key-of-{hook}-0123456789abcdef0123456789".encode()

    @property
    def address(self) -> str:
        """Where the decision listener is."""
        return self.sidecar.address

    @property
    def tls_address(self) -> str:
        """Where it is for proxies that show a certificate."""
        address: str = self.sidecar.said("sidecar.started")["listen"][1]
        return address

    @property
    def fastcgi_address(self) -> str:
        """Where Apache asks."""
        address: str = self.sidecar.said("fastcgi.started")["listen"][0]
        return address

    def listeners(self) -> dict[str, Address]:
        """The decision service's own listeners, for probes that go past the proxy."""
        found = {}
        for name, address in (("hook", self.sidecar.address), ("admin", self.sidecar.admin)):
            host, _, port = address.rpartition(":")
            found[name] = Address(host.strip("[]"), int(port))
        return found

    def values(self) -> dict[str, str]:
        """What stands for the placeholders of probes."""
        tokens = {person: self.sandbox.token(person) for person in PEOPLE}
        revoked = self.sandbox.token("sato", jti=self._revoked)
        return {
            "host": HOST, "other_host": "other.example", "public": "/pub", "protected": "/vault",
            "device_only": "/safe",
            "closing": "/closing", "leaving": "/leaving", "raising": "/raising", "opening": "/opening",
            "user": "tanaka", "token": tokens["tanaka"], "auth": f"Authorization: Bearer {tokens['tanaka']}",
            "late_user": "suzuki", "late_auth": f"Authorization: Bearer {tokens['suzuki']}",
            "revoked_user": "sato", "revoked_auth": f"Authorization: Bearer {revoked}",
            "cert": self.laptop.certificate.escaped.decode(), "device": self.laptop.device_id,
            "device_cert": self.laptop.certificate.escaped.decode(), "device_der": _der(self.laptop.certificate.pem),
            "neighbour_cert": self.neighbour.certificate.escaped.decode(),
            "device_auth": f"Authorization: Bearer {self.sandbox.token('tanaka', device=self.laptop)}",
            "neighbour_auth": f"Authorization: Bearer {self.sandbox.token('sato', device=self.neighbour)}",
        }  # fmt: skip

    @property
    def device_cas(self) -> Path:
        """Whose certificates devices have."""
        return self.sandbox.folder / "policy/device-cas.pem"

    def shown(self) -> dict[str, bytes]:
        """Certificates with their keys, by whose connection it is."""
        own = {"device": self.laptop.certificate, "neighbour": self.neighbour.certificate}
        return {**{name: item.pem + item.key_pem for name, item in own.items()}, "impostor": self.impostor}

    def change(self) -> None:
        """Suspend a person, revoke a token, close, raise and open routes; return when that is in force."""
        self._person("suzuki", status="suspended")
        self.sandbox.situation(revocations=[{"kind": "jti", "key": self._revoked, "until": None}])
        edit(self.sandbox, "policy/catalogue.yaml", *CHANGES)
        self._until(changed=True)

    def restore(self) -> None:
        """Undo the change."""
        self._person("suzuki")
        self.sandbox.situation()
        self._revoked = f"revoked-{time.time_ns()}"
        self.sandbox.write("policy/catalogue.yaml", CATALOGUE.read_bytes())
        self._until(changed=False)

    def _person(self, person: str, **fields: object) -> None:
        self.sandbox.subject(person, **{**STAFF, **fields})

    def _until(self, *, changed: bool) -> None:
        auth = self.values()
        tokens = {name: auth[name].rpartition(" ")[2] for name in ("auth", "late_auth", "revoked_auth")}
        wanted = {
            ("/closing/x", "auth"): not changed, ("/raising/x", "auth"): not changed, ("/opening/x", "auth"): changed,
            ("/vault/x", "late_auth"): not changed, ("/vault/x", "revoked_auth"): not changed,
        }  # fmt: skip

        def settled() -> bool:
            return all(
                (ask(self.sandbox, self.address, f"https://{HOST}{path}", token=tokens[who]).status == 200) is allowed
                for (path, who), allowed in wanted.items()
            )

        wait_for(settled, "the change to be in force")

    def decisions(self) -> LoggedDecisions:
        return LoggedDecisions(self.settings)

    def close(self) -> None:
        self.sidecar.close()


def _der(pem: bytes) -> str:
    """A certificate as RFC 9440 writes it, without the colons."""
    return "".join(line for line in pem.decode().splitlines() if line and "-----" not in line)
