"""What an installation believes of a token issuer: keys, algorithms, and which source speaks for each field."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal

import msgspec

from zt_engine.core.errors import ConfigError, Problem

ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
"""Every signature algorithm that may be configured. No symmetric one: whoever verifies could also mint."""

SUBJECT_FIELDS = (
    "groups", "roles", "org", "nationality", "compartments", "clearance", "employment", "valid_until", "status",
)  # fmt: skip

MAX_SKEW = 60
MAX_LIFETIME = 86_400


class Source(msgspec.Struct, frozen=True):
    """Who speaks for a subject field: the token (under a claim's path), the directory, or nobody."""

    kind: Literal["claim", "directory", "none"]
    path: tuple[str, ...] = ()


DIRECTORY = Source("directory")
NOBODY = Source("none")


class WorkloadRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a token speaks for a program instead of a person; any of these that is set and holds suffices."""

    claim: str = ""
    """A claim that marks workloads, and `value`, the text it must equal."""
    value: str = ""
    client_ids: tuple[str, ...] = ()
    """Client ids, exact or with one trailing `*`."""
    subject_is_client: bool = False
    """RFC 9068 section 2.2: without a resource owner, `sub` is the client itself."""


class IssuerMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How an issuer's claims and the directory become a subject. A field without an entry belongs to the directory."""

    sources: Mapping[str, Source] = {}
    workload: WorkloadRule = WorkloadRule()
    home: str = ""
    """The issuer whose subjects go by `sub` alone; empty where there is no other issuer than this one."""

    def source(self, field: str) -> Source:
        """Return the one source that is authoritative for a field."""
        return self.sources.get(field, DIRECTORY)

    @property
    def needs_directory(self) -> bool:
        """Whether a subject cannot be established without its directory record."""
        return any(self.source(field).kind == "directory" for field in SUBJECT_FIELDS)


FOREIGN = "|"
"""Stands between issuer and `sub` in the name of a subject of another issuer than the home issuer."""


def subject_name(issuer: str, subject: str, *, home: str) -> str:
    """Return the one name by which rules, records of devices and grants know a subject: `sub` alone says not whose."""
    return subject if issuer == home else f"{issuer}{FOREIGN}{subject}"


def is_foreign_issuer(issuer: str) -> bool:
    """Whether an issuer's name can stand before `|`: a URL (RFC 8414) without one, so that no two names are equal."""
    return "://" in issuer and FOREIGN not in issuer


def is_foreign_name(name: str) -> bool:
    """Whether a name reads as one of another issuer's subjects; no subject of the home issuer may have such a one."""
    issuer, separator, _ = name.partition(FOREIGN)
    return bool(separator) and is_foreign_issuer(issuer)


class IssuerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One trusted issuer. `issuer` is compared byte for byte, never normalised (RFC 9068 section 4)."""

    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    keys: str
    """The JWKS: an https URL (http only to a loopback address), or a path."""
    mapping: IssuerMapping = IssuerMapping()
    strongest_acr: str = ""
    """What a step-up may reach; empty when this issuer offers none."""
    skew: int = 30
    """Seconds that `nbf` and `iat` may lie ahead. `exp` is exact: a late token has no reason to be early."""
    max_lifetime: int = 3600
    keys_hard_limit: int = 86_400
    """Seconds the last good key set is served while its URL does not answer; then every token is refused."""
    ca_file: str = ""
    """PEM bundle for the JWKS URL; empty for the system's."""


def subject_sources(table: Mapping[str, str], *, where: str = "") -> dict[str, Source]:
    """Read `{"groups": "claim:groups", "clearance": "directory"}`; raises ConfigError with every problem.

    `claim:NAME` names a top-level claim; `claim:/a/b` is a JSON Pointer (RFC 6901) into one.
    """
    read: dict[str, Source] = {}
    problems: list[Problem] = []
    for field, text in table.items():
        if field not in SUBJECT_FIELDS:
            near = difflib.get_close_matches(field, SUBJECT_FIELDS, n=1)
            hint = f"did you mean `{near[0]}`" if near else f"one of {', '.join(SUBJECT_FIELDS)}"
            problems.append(
                Problem(code="ISSUER_FIELD", message=f"`{field}` is no subject field", where=where, hint=hint)
            )
            continue
        kind, _, name = text.partition(":")
        if kind == "claim" and name and not name.endswith("/"):
            read[field] = Source("claim", _pointer(name))
        elif text == "directory":
            read[field] = DIRECTORY
        elif text == "none":
            read[field] = NOBODY
        else:
            problems.append(
                Problem(
                    code="ISSUER_SOURCE",
                    message=f"`{text}` is no source for `{field}`",
                    where=where,
                    hint="`directory`, `none`, `claim:NAME` or `claim:/path/in/claims`",
                )
            )
    if problems:
        raise ConfigError(tuple(problems))
    return read


def _pointer(name: str) -> tuple[str, ...]:
    if not name.startswith("/"):
        return (name,)
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in name[1:].split("/"))


def check_issuer(config: IssuerConfig, *, where: str = "") -> tuple[Problem, ...]:
    """Return everything that is wrong with an issuer's configuration."""
    problems: list[Problem] = []

    def wrong(code: str, message: str, hint: str = "") -> None:
        problems.append(Problem(code=code, message=message, where=where, hint=hint))

    if not config.issuer:
        wrong("ISSUER_EMPTY", "`issuer` is empty", "the `iss` claim, byte for byte")
    if not config.audiences or not all(config.audiences):
        wrong("ISSUER_AUDIENCE", "`audiences` is empty", "the name this installation is addressed by in `aud`")
    if not config.algorithms:
        wrong("ISSUER_ALGORITHM", "`algorithms` is empty", "for example `ES256`")
    for name in config.algorithms:
        if name not in ALGORITHMS:
            wrong("ISSUER_ALGORITHM", f"`{name}` is not offered", f"one of {', '.join(ALGORITHMS)}")
    if not config.keys:
        wrong("ISSUER_KEYS", "`keys` is empty", "the path or URL of the issuer's JWKS")
    if not 0 <= config.skew <= MAX_SKEW:
        wrong("ISSUER_LIMIT", f"`skew` is {config.skew} s", f"0 to {MAX_SKEW}")
    if not 0 < config.max_lifetime <= MAX_LIFETIME:
        wrong("ISSUER_LIMIT", f"`max_lifetime` is {config.max_lifetime} s", f"1 to {MAX_LIFETIME}")
    if not 300 <= config.keys_hard_limit <= 7 * 86_400:
        wrong("ISSUER_LIMIT", f"`keys_hard_limit` is {config.keys_hard_limit} s", f"300 to {7 * 86_400}")
    return tuple(problems)
