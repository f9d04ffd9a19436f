"""The AuthZEN listener of a sidecar: where it listens, who may ask there, and what each of them may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from zt_engine.config.addresses import UNIX, split_listen
from zt_engine.config.section import Channel, Name, Seconds, Section

ENGINE_TYPES = ("http", "route")
"""Resource types that mean the catalogue; every other one is a table of `authzen.types`."""
Statement = Literal["auth_time", "device_id", "binding", "ip_address"]
SubjectType = Annotated[str, Field(min_length=1, max_length=64)]
Rule = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)*$")]


def _listens(listen: str) -> str:
    if not listen.startswith(UNIX):
        split_listen(listen, "for example `127.0.0.1:9193`")
    return listen


class AuthzenPep(Section):
    """One caller, how it proves itself, and everything it may say. What is not listed it may not."""

    name: Name
    key_file: Path | None = None
    previous_key_file: Path | None = None
    """Accepted as well while the key rotates."""
    certificate: str = ""
    """Instead of a key: a DNS or URI name in its client certificate."""
    hosts: tuple[str, ...] = ()
    """Hosts of the catalogue it may ask about."""
    services: tuple[str, ...] = ()
    """Services of the catalogue it may ask about, whatever their hosts."""
    types: tuple[str, ...] = ()
    """Resource types of `authzen.types` it may ask about."""
    subject_types: tuple[SubjectType, ...] = ()
    amr: tuple[str, ...] = ()
    """`amr` values it may assert of a sign-in; with one of these or of `acr` also when that was."""
    acr: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()
    """What else it may state of a subject's sign-in, device and address."""
    channel: Channel = "open"
    enforces: tuple[Name, ...] = ()
    context: bool = True
    """Whether answers carry more than the decision; a caller that enforces obligations needs it."""
    searches: bool = False

    @model_validator(mode="after")
    def _proves_itself(self) -> AuthzenPep:
        if (self.key_file is None) == (not self.certificate):
            raise ValueError("a caller proves itself by `key_file` or by `certificate`, one of the two")
        if self.enforces and not self.context:
            raise ValueError("who enforces obligations has to be told them: `context = true`")
        return self


class AuthzenType(Section):
    """A resource type that a rule of the AuthZEN bundle decides."""

    type: Annotated[str, Field(min_length=1, max_length=128)]
    entrypoint: Rule
    candidates: Rule | None = None
    """The rule that names what a search tries; without one, searches for this type find nothing."""

    @field_validator("type")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in ENGINE_TYPES:
            raise ValueError("this type is the catalogue's")
        return name


def _identifies(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or text[-1] == "/"):
        raise ValueError("an https URL without query, fragment and final slash")
    return text


class Authzen(Section):
    """OpenID AuthZEN Authorization API 1.0 on a listener of its own; without `listen` there is none."""

    listen: tuple[Annotated[str, AfterValidator(_listens)], ...] = ()
    identifier: Annotated[str, AfterValidator(_identifies)] = ""
    """How callers address this decision point; by default the first address it listens at."""
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None
    client_ca_file: Path | None = None
    """CA certificates (PEM) of callers' certificates; off loopback nobody connects without one."""
    peps: tuple[AuthzenPep, ...] = ()
    types: tuple[AuthzenType, ...] = ()
    bundle: Path = Path("authzen.tar.gz")
    """The bundle of the rules in `types`: what `opa build -t wasm` makes, signed with a key of `policy.keys`."""
    connections: Annotated[int, Field(ge=1, le=65536)] = 1024
    request_seconds: Seconds = 5.0
    idle_seconds: Seconds = 75.0
    search_seconds: Seconds = 10.0

    @property
    def tls(self) -> bool:
        """Whether the listener speaks TLS."""
        return self.certificate_file is not None

    @model_validator(mode="after")
    def _is_protected(self) -> Authzen:
        if (self.certificate_file is None) != (self.certificate_key_file is None):
            raise ValueError("`certificate_file` and `certificate_key_file` belong together")
        if self.client_ca_file is not None and not self.tls:
            raise ValueError("`client_ca_file` needs `certificate_file`")
        for listen in self.listen:
            local = listen.startswith(UNIX) or split_listen(listen, "")[0].is_loopback
            if not local and self.client_ca_file is None:
                raise ValueError("off loopback `certificate_file` and `client_ca_file` are required: mutual TLS")
        for pep in self.peps:
            if pep.certificate and self.client_ca_file is None:
                raise ValueError(f"`{pep.name}` proves itself by a certificate, and there is no `client_ca_file`")
        for what, names in (("callers", [p.name for p in self.peps]), ("types", [t.type for t in self.types])):
            if len(set(names)) != len(names):
                raise ValueError(f"two {what} have the same name")
        return self
