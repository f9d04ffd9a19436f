"""The sections of a control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from zt_engine.config.addresses import SERVE_EXAMPLE, Address, Serve, check_plane_url, split_listen
from zt_engine.config.section import Section


class Control(Section):
    """The control plane of this installation, `zt control run`: where it serves, what it keeps and with which keys."""

    listen: Serve = "127.0.0.1:9443"
    """Off loopback only with `cert_file` and `key_file`."""
    url: str = ""
    """How it is addressed from outside; by default from `listen`."""
    cert_file: Path | None = None
    """Certificate and chain of the TLS listener (PEM)."""
    key_file: Path | None = None
    ca_file: Path | None = None
    """The CA of that certificate (PEM), which invitations and join tokens name, where it is one of your own."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose `X-Forwarded-For` is believed."""
    database: str = "sqlite:///control/zt.db"
    """Or `postgresql+psycopg://USER@HOST/DATABASE`; its password is in a file (`PGPASSFILE`), never here."""
    admins: Path = Path("control/admins.json")
    stream_key_file: Path = Path("keys/stream.pem")
    other_stream_keys: tuple[Path, ...] = ()
    """Keys that sidecars believe as well, while the stream's key rotates: the next one, or the one before."""
    trust_file: Path = Path("control/trust-root.json")
    """What the offline root has signed, for sidecars (`zt control sign-trust`); need not exist."""
    device_cas: Path = Path("control/device-ca")
    passphrase_file: Path = Path("keys/device-ca.passphrase")
    facts: tuple[str, ...] = ()
    """Facts that sidecars are told; empty means every one of the catalogue."""
    approval_above: Annotated[int, Field(ge=0, le=1000)] = 200
    invitation_hours: Annotated[int, Field(ge=1, le=720)] = 72
    streams: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """How many sidecars this process serves the stream to; each takes a file descriptor (`ulimit -n`)."""
    organisation: str = ""
    """Whose pages people see: it stands at the head of each."""
    help_contact: str = ""
    """Whom people ask for help, as pages say it: a telephone number, an address, a room."""
    signals: Path | None = None
    """Which signals tighten what by themselves (`signals.yaml`); without it none does."""
    floor: Path | None = None
    """A folder that gets a copy of the stream, for sidecars that reach no control plane."""

    @model_validator(mode="after")
    def _is_safe(self) -> Control:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("`cert_file` and `key_file` go together")
        if self.cert_file is None and not self.address[0].is_loopback:
            raise ValueError("off loopback it serves TLS only: give `cert_file` and `key_file`")
        if self.url:
            check_plane_url(self.url)
        if urlsplit(self.database).password is not None:
            raise ValueError("a password does not belong here: put it into a file that `PGPASSFILE` names")
        return self

    @property
    def address(self) -> tuple[Address, int]:
        """Where it listens: address and port."""
        return split_listen(self.listen, SERVE_EXAMPLE)

    @property
    def public_url(self) -> str:
        """How it is addressed from outside, without a slash at the end."""
        scheme = "http" if self.cert_file is None else "https"
        return (self.url or f"{scheme}://{self.listen}").rstrip("/")


class CertificateAuthority(Section):
    """A CA elsewhere that issues device certificates (EST, RFC 7030); without `url` the control plane's own does."""

    url: str = ""
    """Where it is: https, and what stands before `/simpleenroll`; `{device}` in it becomes the device's id."""
    cacerts_url: str = ""
    """Where it publishes its CAs; by default `url` without `/{device}`."""
    ca_file: Path | None = None
    """The one CA (PEM) its own TLS certificate comes from."""
    cert_file: Path | None = None
    """How the control plane proves itself: certificate and key (PEM), or `user` and `password_file`."""
    key_file: Path | None = None
    user: str = ""
    password_file: Path | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> CertificateAuthority:
        if not self.url:
            return self
        if any(urlsplit(url).scheme != "https" for url in (self.url, self.cacerts_url) if url) or self.ca_file is None:
            raise ValueError("a CA elsewhere is reached by https, and `ca_file` says by which CA it is known")
        if (self.cert_file is None) != (self.key_file is None) or bool(self.user) != (self.password_file is not None):
            raise ValueError("`cert_file` goes with `key_file`, and `user` with `password_file`")
        if self.cert_file is None and self.password_file is None:
            raise ValueError("it has to know who asks: give `cert_file` and `key_file`, or `user` and `password_file`")
        return self


class Enrollment(Section):
    """How people enroll devices with the control plane; without `issuer` only robots do, over EST."""

    issuer: str = ""
    """One of `[[issuers]]`, at which people sign in."""
    client_id: str = ""
    """Of the agent, at that issuer."""
    scopes: tuple[str, ...] = ("openid",)
    sign_in_acr: tuple[str, ...] = ()
    """`acr` or `amr` values one of which a sign-in must show; empty: any sign-in."""
    sign_in_seconds: Annotated[int, Field(ge=60)] | None = None
    """How old a sign-in may be."""
    attestation: Literal["none", "optional", "required"] = "none"
    tpm_roots: Path | None = None
    """CAs of TPM makers (PEM) whose chips are believed."""
    tpm_chips: Path | None = None
    """Chips that were registered beforehand, one digest a line; a foreign one is refused then."""
    tpm_secret_file: Path = Path("keys/tpm-challenge.key")
    certificate_hours: Annotated[int, Field(ge=1, le=24)] = 24
    enrollment_hours: Annotated[int, Field(ge=1, le=168)] = 24
    package_url: Annotated[str, Field(pattern=r"^(https://[!-~]{1,500})?$")] = ""
    """Where people get the agent's package, as the page that gives them the command says it; empty: it says nothing."""
    package_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """What `sha256sum` prints of that package."""

    @model_validator(mode="after")
    def _is_whole(self) -> Enrollment:
        if bool(self.issuer) != bool(self.client_id):
            raise ValueError("`issuer` and `client_id` go together")
        if self.attestation != "none" and self.tpm_roots is None and self.tpm_chips is None:
            raise ValueError("attestation needs `tpm_roots` or `tpm_chips`: nothing is believed otherwise")
        return self


class SignIn(Section):
    """How people sign in with a browser, at every host of the proxies; without `issuer` nobody does."""

    issuer: str = ""
    """One of `[[issuers]]`."""
    client_id: str = ""
    key_file: Path | None = None
    """Private key (PEM, P-256 or Ed25519) the client proves itself with (`private_key_jwt`)."""
    secret_file: Path | None = None
    """Instead: its secret; read anew for each use, so that it may rotate."""
    scopes: tuple[str, ...] = ("openid",)
    hours: Annotated[int, Field(ge=1, le=24)] = 8
    """How long a session lives at most."""
    refresh_minutes: Annotated[int, Field(ge=2, le=60)] = 15
    """How often the provider is asked whether it still stands, where it gives refresh tokens (`offline_access`)."""
    seal_file: Path = Path("keys/session.key")
    """Secret that refresh tokens are encrypted with where they are kept. Of several lines the first encrypts; what the
    others encrypted still opens."""
    rp_id: str = ""
    """The site that people's keys belong to (WebAuthn): the control plane's host, or a domain above it; empty: its
    host. Keys of another one no longer work."""
    key_acr: tuple[str, ...] = ()
    """`acr` or `amr` values one of which a sign-in must show before a key is registered; empty: any sign-in."""
    key_roots: Path | None = None
    """CAs of makers of keys (PEM). A key one of them vouches for counts as hardware."""
    device_hosts: tuple[Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*$")], ...] = ()
    """Hosts, `*.example.org` among them, that a device's agent makes its device known to for a browser without a client
    certificate. Agents learn them with each report, and tell no other site anything."""
    sign_out_at_provider: bool = False
    """Whether signing out goes on to the provider, and back to `/.zt/signed-out` (RP-Initiated Logout 1.0)."""

    @model_validator(mode="after")
    def _is_whole(self) -> SignIn:
        if bool(self.issuer) != bool(self.client_id):
            raise ValueError("`issuer` and `client_id` go together")
        if self.key_file is not None and self.secret_file is not None:
            raise ValueError("a client proves itself by `key_file` or by `secret_file`, one of the two")
        return self


class Administrators(Section):
    """Tokens of administrators, beside the admin keys: an issuer, and which values of a claim mean which role."""

    issuer: str = ""
    """One of `[[issuers]]`; empty: admin keys only."""
    audience: str = ""
    roles_claim: str = "roles"
    viewer: tuple[str, ...] = ()
    helpdesk: tuple[str, ...] = ()
    approver: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_whole(self) -> Administrators:
        if bool(self.issuer) != bool(self.audience):
            raise ValueError("`issuer` and `audience` go together")
        return self
