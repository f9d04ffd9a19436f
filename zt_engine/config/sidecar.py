"""The sections of a sidecar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from zt_engine.config.addresses import UNIX, Grpc, Listen, Loopback, Serve, check_floor_url, check_plane_url
from zt_engine.config.section import Channel, Name, Seconds, Section


class Sidecar(Section):
    """This decision process: its name, where it listens, where its state lives."""

    id: Name = "sidecar-1"
    tenant: Name = "default"
    listen: tuple[Listen, ...] = ("127.0.0.1:9191",)
    tls_listen: tuple[Serve, ...] = ()
    """Where proxies ask with a client certificate; the only listeners that may be off loopback."""
    browser_listen: tuple[Listen, ...] = ()
    """Where proxies hand on browsers that sign in (`/.zt/`), on this machine; takes a control plane that signs in."""
    browser_tls_listen: tuple[Serve, ...] = ()
    """The same for proxies that show a client certificate (Traefik), with the TLS of `tls_listen`."""
    device_proof_port: Annotated[int, Field(ge=0, le=65_527)] = 29_170
    """The first of eight loopback ports at which a browser without a client certificate finds its device's agent; 0:
    no device proves itself like that."""
    tls_certificate: Path | None = None
    """Certificate chain (PEM) of the TLS listeners."""
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    """CA certificates (PEM) of proxies: ours alone, since whoever has a certificate of theirs may be a proxy."""
    grpc_listen: tuple[Grpc, ...] = ()
    """Where Envoy asks over gRPC: `unix:/path`, or an address with the TLS of `tls_listen`."""
    fastcgi_listen: tuple[Loopback, ...] = ()
    """Where Apache httpd asks, which knows no Unix socket here."""
    admin_listen: Listen = "127.0.0.1:9192"
    state_dir: Path = Path("state")
    tick_seconds: Annotated[int, Field(ge=1, le=60)] = 5
    cache_entries: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000
    """0 switches the decision cache off."""
    language: Literal["ja", "en"] = "ja"
    help_url: str = ""
    """Where the deny page sends a person for help; shown, never fetched."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Sidecar:
        grpc = [listen for listen in self.grpc_listen if not listen.startswith(UNIX)]
        listeners = {"tls_listen": self.tls_listen, "browser_tls_listen": self.browser_tls_listen, "grpc_listen": grpc}
        name = next((name for name, listen in listeners.items() if listen), None)
        if name is not None and None in (self.tls_certificate, self.tls_key, self.tls_client_ca):
            raise ValueError(f"`{name}` takes `tls_certificate`, `tls_key` and `tls_client_ca`")
        return self


class Limits(Section):
    """What one connection to the decision listener may cost."""

    connections: Annotated[int, Field(ge=1, le=65536)] = 1024
    headers: Annotated[int, Field(ge=16, le=256)] = 48
    head_kib: Annotated[int, Field(ge=8, le=256)] = 32
    request_seconds: Seconds = 5.0
    idle_seconds: Seconds = 75.0


HookName = Literal["nginx", "traefik", "caddy", "envoy", "envoy_grpc", "haproxy", "apache", "embedded"]


class Proxy(Section):
    """One reverse proxy that may ask: how it proves itself, and what it may assert."""

    name: Name
    hook: HookName = "nginx"
    key_file: Path | None = None
    previous_key_file: Path | None = None
    """Accepted as well while the key rotates."""
    socket_uids: tuple[Annotated[int, Field(ge=0)], ...] = ()
    certificate_names: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = ()
    """Names (SAN DNS or URI) of its client certificate at `sidecar.tls_listen`."""
    hosts: tuple[str, ...] = ()
    """Hosts it may speak for; empty means every host of the catalogue."""
    channel: Channel = "open"
    enforces: tuple[Name, ...] = ()
    rego: Annotated[str, Field(pattern=r"^([a-z_][a-z0-9_]*(/[a-z_][a-z0-9_]*)+)?$")] = ""
    """A rule for `opa-envoy-plugin`, such as `envoy/authz/allow`, that has to allow as well (`[rego]`)."""

    @model_validator(mode="after")
    def _rego_is_told_enough(self) -> Proxy:
        if self.rego and self.hook != "envoy_grpc":
            raise ValueError("`rego` takes `envoy_grpc`: no other hook is told what such a rule reads")
        return self

    @model_validator(mode="after")
    def _proves_itself(self) -> Proxy:
        if self.hook == "embedded":
            if self.key_file is not None or self.socket_uids or self.certificate_names:
                raise ValueError("a process that decides for itself has nobody to prove itself to")
            return self
        if [self.key_file is not None, bool(self.socket_uids), bool(self.certificate_names)].count(True) != 1:
            raise ValueError("a proxy proves itself by `key_file`, `socket_uids` or `certificate_names`, one of them")
        if self.hook == "envoy_grpc" and self.key_file is not None:
            raise ValueError("over gRPC a proxy proves itself by `socket_uids` or `certificate_names`")
        if self.hook == "apache" and self.key_file is None:
            raise ValueError("over FastCGI a proxy proves itself by `key_file`")
        return self


class Issuer(Section):
    """One identity provider whose tokens count, and which of its claims do."""

    issuer: str
    home: bool = False
    """Its subjects go by `sub` alone, those of every other issuer by `issuer|sub`. A single issuer is home anyway."""
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]
    algorithms: Annotated[tuple[str, ...], Field(min_length=1)] = ("EdDSA", "ES256")
    jwks: str
    """A file path, or an https URL (http only on loopback)."""
    ca_file: Path | None = None
    """CA bundle for a `jwks` URL; the system's by default."""
    skew_seconds: Annotated[int, Field(ge=0, le=60)] = 30
    max_lifetime_seconds: Annotated[int, Field(ge=60, le=86400)] = 3600
    strongest_acr: str = ""
    """What a step-up at this issuer may reach; empty when it offers none."""
    subject: Mapping[str, str] = {}
    """Subject field -> its one authoritative source: `claim:NAME`, `directory` (the default) or `none`."""
    workload_claim: str = ""
    workload_value: str = ""
    workload_client_ids: tuple[str, ...] = ()
    workload_subject_is_client: bool = False


class Approver(Section):
    """One person whose signature approves grants."""

    person: Annotated[str, Field(min_length=1, max_length=256)]
    """The name of the subject: what tells that nobody approves for themselves."""
    key: Path
    """Public key (PEM, Ed25519)."""

    @field_validator("person")
    @classmethod
    def _is_a_name(cls, person: str) -> str:
        if not person.isprintable() or person != person.strip():
            raise ValueError("no name a subject can have")
        return person


class Policy(Section):
    """Where policy comes from and how it is run."""

    source: Literal["folder"] = "folder"
    folder: Path = Path("policy")
    keys: tuple[Path, ...] = ()
    """Public keys (PEM) that may have signed the bundle; at least one."""
    engine: Literal["wasm", "opa"] = "wasm"
    opa_url: str = ""
    """For `engine = "opa"`: `http://127.0.0.1:8181` or `unix:/run/opa.sock`."""
    budget_ms: Annotated[int, Field(ge=5, le=1000)] = 25
    memory_mib: Annotated[int, Field(ge=4, le=1024)] = 64
    approvers: tuple[Approver, ...] = ()
    """Whose signatures approve grants and releases."""
    baselines: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """Digests of the baselines a bundle may have (`metadata.zt.baseline` of its manifest); empty: any."""


class Log(Section):
    """The decision log. Sizes in MiB, ages in seconds."""

    dir: Path = Path("log")
    checkpoints: Path = Path("checkpoints")
    """Another folder, better another disk: signed checkpoints leave the log's folder."""
    syslog: Path | None = None
    key_file: Path = Path("keys/log-signing.pem")
    path_key_file: Path = Path("keys/path-hmac.key")
    segment_mib: Annotated[int, Field(ge=1, le=4096)] = 256
    segment_seconds: Annotated[int, Field(ge=60)] = 86400
    quota_mib: Annotated[int, Field(ge=16)] = 10240
    reserve_mib: Annotated[int, Field(ge=1, le=4096)] = 64


class Assertion(Section):
    """The signed statement for backends whose route asks for one."""

    key_file: Path | None = None
    seconds: Annotated[int, Field(ge=10, le=600)] = 60


class ControlPlane(Section):
    """The control plane this sidecar follows, once it has joined; without `url` it follows a folder alone."""

    url: tuple[str, ...] = ()
    """One or more addresses of the same control plane; the next is asked when one does not answer."""
    ca_file: Path | None = None
    """CA certificates (PEM) the control plane is verified with; the system's by default."""
    root_file: Path | None = None
    """Public key (PEM) of the tenant's offline root; by default the one that was named when this sidecar joined."""
    site: str = ""
    """Where this sidecar stands, whatever it is told; by default the site of the token it joined with."""
    state: Path = Path("state/control-plane")
    """This sidecar's key, what it was told when it joined, and the last that is known of devices."""
    floor: str = ""
    """Where a copy of the stream lies that is followed while no control plane answers: `file:///...` or https."""

    @field_validator("url")
    @classmethod
    def _is_ours(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            check_plane_url(url)
        return urls

    @field_validator("floor")
    @classmethod
    def _is_a_floor(cls, floor: str) -> str:
        if floor:
            check_floor_url(floor)
        return floor
