"""Settings: one TOML file, read once, every fault at once, into frozen values. Secrets are file paths.

The environment may override a setting as `ZT_<SECTION>__<KEY>`; a `ZT_` name that is no setting is refused, because a
misspelt setting must not mean its default.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from zt_engine.core.errors import ConfigError, Problem

CONFIG_NAME = "zt.toml"
SERVICE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")

Seconds = Annotated[float, Field(gt=0, le=86400)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Channel = Literal["open", "closed", "lgwan", "gsn"]
SHOWN_VALUE = 80
"""A value longer than this is not repeated in a message."""


def parse_listen(listen: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """Return address and port of `host:port` or `[v6]:port`; an error of ours names what is wrong and what to write.

    Nothing listens off loopback: what is asked there, and by whom, nobody else may see or say.
    """
    host, colon, port = listen.rpartition(":")
    try:
        address, number = ipaddress.ip_address(host.removeprefix("[").removesuffix("]")), int(port)
    except ValueError:
        colon, number = "", 0
    if not colon or not 0 <= number < 65536:
        raise _listen_fault(f"`{listen}` is no address with a port", "for example `127.0.0.1:9191` or `[::1]:9191`")
    if not address.is_loopback:
        raise _listen_fault(f"`{listen}` is not a loopback address", "use a Unix socket or loopback, beside the proxy")
    return address, number


def _listen_fault(message: str, hint: str) -> PydanticCustomError:
    # The text is no template of pydantic's: what a person wrote may hold braces.
    return PydanticCustomError("listen", "{text}", {"text": message, "hint": hint})


def _listens(listen: str) -> str:
    if not listen.startswith(UNIX):
        parse_listen(listen)
    return listen


UNIX = "unix:"
Listen = Annotated[str, AfterValidator(_listens)]


class Section(BaseModel):
    """A section of the file: frozen, and a key it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sidecar(Section):
    """This decision process: its name, where it listens, where its state lives."""

    id: Name = "sidecar-1"
    tenant: Name = "default"
    listen: tuple[Listen, ...] = ("127.0.0.1:9191",)
    admin_listen: Listen = "127.0.0.1:9192"
    state_dir: Path = Path("state")
    tick_seconds: Annotated[int, Field(ge=1, le=60)] = 5
    cache_entries: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000
    """0 switches the decision cache off."""
    language: Literal["ja", "en"] = "ja"
    help_url: str = ""
    """Where the deny page sends a person for help; shown, never fetched."""


class Limits(Section):
    """What one connection to the decision listener may cost."""

    connections: Annotated[int, Field(ge=1, le=65536)] = 1024
    headers: Annotated[int, Field(ge=16, le=256)] = 48
    head_kib: Annotated[int, Field(ge=8, le=256)] = 32
    request_seconds: Seconds = 5.0
    idle_seconds: Seconds = 75.0


class Proxy(Section):
    """One reverse proxy that may ask: how it proves itself, and what it may assert."""

    name: Name
    hook: Literal["nginx"] = "nginx"
    key_file: Path | None = None
    previous_key_file: Path | None = None
    """Accepted as well while the key rotates."""
    socket_uids: tuple[Annotated[int, Field(ge=0)], ...] = ()
    hosts: tuple[str, ...] = ()
    """Hosts it may speak for; empty means every host of the catalogue."""
    channel: Channel = "open"
    enforces: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _proves_itself(self) -> Proxy:
        if (self.key_file is None) == (not self.socket_uids):
            raise ValueError("a proxy proves itself by `key_file` or by `socket_uids`, one of the two")
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
    """Whose signatures approve grants."""


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
    state: Path = Path("state/control-plane")
    """This sidecar's key, what it was told when it joined, and the last that is known of devices."""

    @field_validator("url")
    @classmethod
    def _is_ours(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            check_plane_url(url)
        return urls


def _serves(listen: str) -> str:
    host, colon, port = listen.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        known = bool(colon) and 0 <= int(port) < 65536
    except ValueError:
        known = False
    if not known:
        raise _listen_fault(f"`{listen}` is no address with a port", "for example `127.0.0.1:9443` or `[::]:9443`")
    return listen


class Control(Section):
    """The control plane of this installation, `zt control run`: where it serves, what it keeps and with which keys."""

    listen: Annotated[str, AfterValidator(_serves)] = "127.0.0.1:9443"
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
    device_cas: Path = Path("control/device-ca")
    passphrase_file: Path = Path("keys/device-ca.passphrase")
    facts: tuple[str, ...] = ()
    """Facts that sidecars are told; empty means every one of the catalogue."""
    approval_above: Annotated[int, Field(ge=0, le=1000)] = 200
    invitation_hours: Annotated[int, Field(ge=1, le=720)] = 72

    @model_validator(mode="after")
    def _is_safe(self) -> Control:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("`cert_file` and `key_file` go together")
        host = self.listen.rpartition(":")[0].removeprefix("[").removesuffix("]")
        if self.cert_file is None and not ipaddress.ip_address(host).is_loopback:
            raise ValueError("off loopback it serves TLS only: give `cert_file` and `key_file`")
        if self.url:
            check_plane_url(self.url)
        if urlsplit(self.database).password is not None:
            raise ValueError("a password does not belong here: put it into a file that `PGPASSFILE` names")
        return self

    @property
    def public_url(self) -> str:
        """How it is addressed from outside, without a slash at the end."""
        scheme = "http" if self.cert_file is None else "https"
        return (self.url or f"{scheme}://{self.listen}").rstrip("/")


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

    @model_validator(mode="after")
    def _is_whole(self) -> Enrollment:
        if bool(self.issuer) != bool(self.client_id):
            raise ValueError("`issuer` and `client_id` go together")
        if self.attestation != "none" and self.tpm_roots is None and self.tpm_chips is None:
            raise ValueError("attestation needs `tpm_roots` or `tpm_chips`: nothing is believed otherwise")
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


def check_plane_url(url: str) -> None:
    """Raise ValueError unless this is an https address, or an http one on loopback, with nothing behind the port."""
    parts = urlsplit(url)
    try:
        local = parts.hostname is not None and ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        local = parts.hostname == "localhost"
    if parts.scheme not in ("https", "http") or not parts.hostname or (parts.scheme == "http" and not local):
        raise ValueError("a control plane is reached by https, and by http only on loopback")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("an address of a control plane ends with its port")


class Settings(Section):
    """The whole file."""

    sidecar: Sidecar = Sidecar()
    limits: Limits = Limits()
    proxies: Annotated[tuple[Proxy, ...], Field(min_length=1)]
    issuers: tuple[Issuer, ...] = ()
    policy: Policy = Policy()
    log: Log = Log()
    assertion: Assertion = Assertion()
    control_plane: ControlPlane = ControlPlane()
    control: Control = Control()
    enrollment: Enrollment = Enrollment()
    administrators: Administrators = Administrators()
    base: Path = Path()
    """The folder of the file; relative paths start here. Not a setting."""

    @field_validator("proxies")
    @classmethod
    def _distinct(cls, proxies: tuple[Proxy, ...]) -> tuple[Proxy, ...]:
        names = [proxy.name for proxy in proxies]
        if len(set(names)) != len(names):
            raise ValueError("two proxies have the same name")
        return proxies

    def path(self, relative: Path) -> Path:
        """Return a path of the file as a path of this process."""
        return relative if relative.is_absolute() else self.base / relative


SettingsT = TypeVar("SettingsT", bound=Settings)


class ControlSettings(Settings):
    """The same file as a control plane reads it: a machine that runs nothing else has no proxies."""

    proxies: tuple[Proxy, ...] = ()

    @property
    def database_url(self) -> str:
        """The database, with the path of a file made absolute."""
        kind, marker, path = self.control.database.partition("sqlite:///")
        if kind or not marker or not path or path.startswith("/"):
            return self.control.database
        return f"sqlite:///{self.path(Path(path))}"


def load_control(path: Path, environ: Mapping[str, str] | None = None) -> ControlSettings:
    """Read the settings of a control plane, or raise ConfigError as `load` does, also for issuers nobody configured."""
    settings = _load(path, environ, ControlSettings)
    known = {issuer.issuer for issuer in settings.issuers}
    problems = [
        Problem(
            code="CONFIG_VALUE",
            message=f"`{name}.issuer` is `{issuer}`, which is none of `[[issuers]]`",
            where=str(path),
            hint="its key set is configured there",
        )
        for name, issuer in (
            ("enrollment", settings.enrollment.issuer),
            ("administrators", settings.administrators.issuer),
        )
        if issuer and issuer not in known
    ]
    if problems:
        raise ConfigError(tuple(problems))
    return settings


def load(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings, or raise ConfigError with every fault: file, line where TOML gives it, key and hint."""
    return _load(path, environ, Settings)


def _load(path: Path, environ: Mapping[str, str] | None, model: type[SettingsT]) -> SettingsT:
    environ = os.environ if environ is None else environ
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        hint = "make one with `zt init DIR`"
        raise ConfigError(
            (Problem(code="CONFIG_UNREADABLE", message=str(error.strerror), where=str(path), hint=hint),)
        ) from None
    except UnicodeDecodeError:
        raise ConfigError((Problem(code="CONFIG_SYNTAX", message="the file is not UTF-8", where=str(path)),)) from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        raise ConfigError((Problem(code="CONFIG_SYNTAX", message=str(error), where=where),)) from None
    problems, overridden = _overrides(values, environ)
    values["base"] = path.parent.resolve()
    try:
        settings = model.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        places = [fault["loc"] for fault in faults]
        meant = {(*fault["loc"][:-1], _meant(fault["loc"])) for fault in faults if fault["type"] == "extra_forbidden"}
        # A table that has a fault is not counted, but it is there: that its list is too short is no fault of its own.
        # Neither is that a key is missing which is there, misspelt.
        problems += [
            _problem(path, text, fault, overridden)
            for fault in faults
            if (
                fault["type"] != "too_short"
                or not any(fault["loc"] == place[: len(fault["loc"])] != place for place in places)
            )
            and (fault["type"] != "missing" or fault["loc"] not in meant)
        ]
        raise ConfigError(tuple(problems)) from None
    if problems:
        raise ConfigError(tuple(problems))
    return settings


def _overrides(values: dict[str, Any], environ: Mapping[str, str]) -> tuple[list[Problem], dict[tuple[str, ...], str]]:
    """Apply `ZT_SECTION__KEY`; tuples are comma-separated. Lists of tables cannot be overridden.

    Returns what is no setting, and which settings now come from which variable.
    """
    names = {
        f"ZT_{section}__{key}".upper(): (section, key, field.annotation)
        for section, holder in Settings.model_fields.items()
        if isinstance(holder.annotation, type) and issubclass(holder.annotation, Section)
        for key, field in holder.annotation.model_fields.items()
        if not _is_table_list(field.annotation)
    }
    problems: list[Problem] = []
    overridden: dict[tuple[str, ...], str] = {}
    for name, text in environ.items():
        if not name.startswith("ZT_") or name == "ZT_CONFIG":
            continue
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean `{close[0]}`?" if close else ""
            problems.append(
                Problem(code="CONFIG_UNKNOWN_KEY", message=f"`{name}` is not a setting", where="environment", hint=hint)
            )
            continue
        section, key, annotation = names[name]
        is_list = tuple in (getattr(annotation, "__origin__", None), *get_args(annotation))
        table = values.setdefault(section, {})
        if isinstance(table, dict):  # anything else is refused as such
            table[key] = tuple(text.split(",")) if is_list else text
            overridden[section, key] = name
    return problems, overridden


def _is_table_list(annotation: Any) -> bool:
    return any(isinstance(item, type) and issubclass(item, Section) for item in get_args(annotation))


def _problem(path: Path, text: str, fault: Any, overridden: Mapping[tuple[str, ...], str]) -> Problem:
    location = tuple(fault["loc"])
    key = ".".join(str(part) for part in location)
    hint, code, message = "", "CONFIG_VALUE", str(fault["msg"])
    if fault["type"] == "extra_forbidden":
        code, message = "CONFIG_UNKNOWN_KEY", f"`{key}` is not a setting"
        close = _meant(location)
        hint = f"did you mean `{close}`?" if close else ""
    elif fault["type"] == "missing":
        code, message = "CONFIG_MISSING_KEY", f"`{key}` is required"
    elif fault["type"] == "listen":
        code, message, hint = "CONFIG_LISTEN", f"`{key}`: {message}", fault["ctx"]["hint"]
    elif fault["type"] == "literal_error":
        allowed = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        message = f"`{key}`{_repeated(fault['input'])}; one of {', '.join(allowed)}"
        guess = difflib.get_close_matches(str(fault["input"]), allowed, n=1)
        hint = f"did you mean `{guess[0]}`?" if guess else ""
    else:
        message = f"`{key}`{_repeated(fault['input'])}: {message.removeprefix('Value error, ')}"
    variable = overridden.get(location[:2])
    if variable is not None:
        return Problem(code=code, message=f"{message} (from `{variable}`)", where="environment", hint=hint)
    line = _line_of(text, location)
    return Problem(code=code, message=message, where=f"{path}:{line}" if line else str(path), hint=hint)


def _repeated(value: object) -> str:
    """What was written, as far as a line holds it. Secrets are never in this file: it names the files they are in."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    short = isinstance(value, str | int | float) and len(text) <= SHOWN_VALUE and text.isprintable()
    return f" is `{text}`" if short else ""


def _meant(location: tuple[Any, ...]) -> str:
    """The setting that a misspelt one probably is; empty when none is close."""
    return next(iter(difflib.get_close_matches(str(location[-1]), _known_keys(location[:-1]), n=1)), "")


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    model: Any = Settings
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, Section)]
        model = inner[0] if inner else Settings
    return list(model.model_fields)


def _line_of(text: str, location: tuple[Any, ...]) -> int:
    """Find the line of a key: its section's header counted, then `key =` below it. 0 when it is not in the file."""
    sections = [part for part in location if isinstance(part, str)]
    index = next((part for part in location if isinstance(part, int)), 0)
    if not sections:
        return 0
    header = re.compile(rf"^\s*\[{{1,2}}{re.escape(sections[0])}[\].]")
    seen, inside, at_header = -1, len(sections) == 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            inside = header.match(line) is not None
            if inside:
                seen += 1
                inside = seen == index or "[[" not in line
                at_header = number if inside else at_header
        elif inside and re.match(rf"\s*\"?{re.escape(sections[-1])}\"?\s*[=.]", line):
            return number
    return at_header
