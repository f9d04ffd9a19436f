"""Who asks: verified claims and directory records become a `Subject`.

Every subject field has exactly one authoritative source (`IssuerMapping`). A delegated subject (RFC 8693 `act`) holds
the intersection of what both principals hold. Absence is never a good value: a missing list is empty, a missing
clearance is 0.

INVARIANT: nothing here holds or shows the token itself, only its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.issuer import (
    SUBJECT_FIELDS,
    IssuerMapping,
    WorkloadRule,
    is_foreign_issuer,
    is_foreign_name,
    subject_name,
)

MAX_CLEARANCE = 1000
MAX_TEXT = 256
MAX_LIST = 512

SubjectType = Literal["user", "workload", "anonymous"]
Binding = Literal["mtls", "dpop", "session", "none"]
AssuranceTable = Mapping[str, int]
"""`acr` or `amr` value to level, as in the pack's trust file. Levels are ordered; names are never compared."""


class Delegate(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts for the subject, with what they hold themselves."""

    type: SubjectType
    id: str
    clearance: int
    compartments: tuple[str, ...]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, with the rights that may be used: under delegation already the intersection."""

    type: SubjectType
    id: str = ""
    issuer: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    org: str = ""
    nationality: str = ""
    amr: tuple[str, ...] = ()
    acr: str = ""
    auth_time: int | None = None
    compartments: tuple[str, ...] = ()
    clearance: int = 0
    employment: str = ""
    valid_until: int | None = None
    delegate: Delegate | None = None
    status: str = "active"
    restricted_groups: tuple[str, ...] = ()
    """Under delegation every group that either holds: what restricts one of the two restricts both together."""


ANONYMOUS = Subject(type="anonymous")


class SubjectRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the directory says about a person or a program; `version` grows with every change."""

    id: str
    issuer: str
    version: int
    status: str
    groups: tuple[str, ...]
    compartments: tuple[str, ...]
    clearance: int
    org: str
    valid_until: int | None
    type: Literal["user", "workload"] = "user"
    """A program's record says `workload`; one that does not is a person's, and a program cannot use it."""
    roles: tuple[str, ...] = ()
    nationality: str = ""
    employment: str = ""


class Actor(msgspec.Struct, frozen=True):
    """The current actor of a delegated token: the outermost `act`; the key of its directory record."""

    issuer: str
    id: str


class VerifiedToken(msgspec.Struct, frozen=True, kw_only=True):
    """An access token whose signature, issuer, audience, type and times hold (RFC 9068).

    The caller still checks revocation (`jti`, `subject`, `session`) and binding (`binding`) on every request.
    """

    issuer: str
    subject: str
    client_id: str
    claims: Mapping[str, object]
    expires_at: int
    not_before: int
    """The latest of `nbf` and `iat`."""
    jti: str
    key_id: str
    x5t: str
    """`cnf.x5t#S256`: the certificate this token is bound to, or empty."""
    jkt: str
    """`cnf.jkt`: the DPoP key this token is bound to, or empty."""
    session: str
    acr: str
    amr: tuple[str, ...]
    auth_time: int | None
    actor: Actor | None
    earlier_actors: tuple[Actor, ...] = ()
    """Who acted before, newest first: they grant nothing, but a revoked one takes the token with it."""
    digest: str
    """Hex SHA-256 of the token. A holder can respell an ECDSA signature, so revoke by `jti`, not by this."""

    def __repr__(self) -> str:
        return f"VerifiedToken(issuer={self.issuer!r}, key_id={self.key_id!r}, expires_at={self.expires_at}, ...)"


class VerifiedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A client certificate that leads to a device CA, is within its times, and names one device."""

    x5t: str
    """base64url SHA-256 of the DER, as in `cnf.x5t#S256` (RFC 8705).

    A holder can respell the CA's signature and so change this: allow by it, but deny by `issuer` and `serial` as well.
    """
    device_uri: str
    not_before: int
    not_after: int
    serial: str
    """Lower-case hex."""
    issuer: str

    @property
    def device_id(self) -> str:
        """The id of a `urn:zt:device:` name; any other name as it stands."""
        return self.device_uri.removeprefix("urn:zt:device:")


def establish(
    token: VerifiedToken, record: SubjectRecord | None, mapping: IssuerMapping, *, actor: SubjectRecord | None = None
) -> Subject:
    """Return the subject a verified token speaks for. `actor` is the directory record of `token.actor`.

    Raises InputError: TOKEN_CLAIMS (a claim of the wrong type), SUBJECT_UNKNOWN (the directory is authoritative for a
    field and has no record), SUBJECT_INACTIVE, SUBJECT_MISMATCH (records of somebody else, or a program with a person's
    record), DELEGATE_UNKNOWN, DELEGATE_INACTIVE. `valid_until` is the policy's to judge, at the tick.
    """
    if record is not None and (record.id, record.issuer) != (token.subject, token.issuer):
        raise InputError("SUBJECT_MISMATCH", "the directory record belongs to somebody else")
    if record is None and mapping.needs_directory:
        raise InputError("SUBJECT_UNKNOWN", "the directory has no record of this subject")
    subject = _undelegated(token, record, mapping)
    if subject.status != "active":
        raise InputError("SUBJECT_INACTIVE", "the subject's record is not active")
    if token.actor is None:
        return subject
    if actor is None:
        raise InputError("DELEGATE_UNKNOWN", "the directory has no record of who acts for the subject")
    if (actor.id, actor.issuer) != (token.actor.id, token.actor.issuer):
        raise InputError("SUBJECT_MISMATCH", "the actor's directory record belongs to somebody else")
    if actor.status != "active":
        raise InputError("DELEGATE_INACTIVE", "the record of who acts for the subject is not active")
    known = msgspec.structs.replace(
        actor,
        id=_name(actor.issuer, actor.id, mapping.home or token.issuer),
        type=_type(_acts_as_workload(token, token.actor, mapping.workload), actor),
    )
    return delegated(subject, known)


def _undelegated(token: VerifiedToken, record: SubjectRecord | None, mapping: IssuerMapping) -> Subject:
    field = {name: _field(name, token, record, mapping) for name in SUBJECT_FIELDS}
    return Subject(
        type=_type(_is_workload(token, mapping.workload, record), record),
        id=_name(token.issuer, token.subject, mapping.home or token.issuer),
        issuer=token.issuer,
        groups=_texts(field["groups"], "groups"),
        roles=_texts(field["roles"], "roles"),
        org=_text(field["org"], "org"),
        nationality=_text(field["nationality"], "nationality"),
        amr=token.amr,
        acr=token.acr,
        auth_time=token.auth_time,
        compartments=_texts(field["compartments"], "compartments"),
        clearance=_clearance(field["clearance"]),
        employment=_text(field["employment"], "employment"),
        valid_until=_instant(field["valid_until"]),
        status=_status(field["status"], mapping.source("status").kind),
    )


def delegated(subject: Subject, actor: SubjectRecord) -> Subject:
    """Return the subject with only what both it and the actor hold; a scalar on which they differ becomes empty."""
    return msgspec.structs.replace(
        subject,
        groups=_common(subject.groups, actor.groups),
        restricted_groups=tuple(sorted({*subject.groups, *subject.restricted_groups, *actor.groups})),
        roles=_common(subject.roles, actor.roles),
        org=_agreed(subject.org, actor.org),
        nationality=_agreed(subject.nationality, actor.nationality),
        employment=_agreed(subject.employment, actor.employment),
        compartments=_common(subject.compartments, actor.compartments),
        clearance=min(subject.clearance, actor.clearance),
        valid_until=_earliest(subject.valid_until, actor.valid_until),
        delegate=Delegate(
            type=actor.type, id=actor.id, clearance=actor.clearance, compartments=tuple(sorted(set(actor.compartments)))
        ),
    )


def binding(
    token: VerifiedToken, *, certificate: VerifiedCertificate | None, jkt: str | None, scheme: str = ""
) -> Binding:
    """Say by which proven key the token is bound to its holder.

    A token that names a key which was not proven raises InputError TOKEN_BINDING_UNPROVEN: a stolen bound token opens
    nothing, not even what an unbound one would. `scheme` is the Authorization scheme, when known: a DPoP-bound token
    comes under `DPoP`, and an unbound one never does (RFC 9449 section 7).
    """
    if token.x5t and (certificate is None or certificate.x5t != token.x5t):
        raise InputError("TOKEN_BINDING_UNPROVEN", "the token is bound to a certificate that was not presented")
    if token.jkt and token.jkt != jkt:
        raise InputError("TOKEN_BINDING_UNPROVEN", "the token is bound to a DPoP key that was not proven")
    if scheme and (scheme == "dpop") != bool(token.jkt):
        raise InputError("TOKEN_BINDING_UNPROVEN", "the Authorization scheme does not fit the token's binding")
    if token.x5t:
        return "mtls"
    return "dpop" if token.jkt else "none"


def assurance_level(subject: Subject, table: AssuranceTable) -> int:
    """Return the strength of the sign-in: the better of its `acr` and its best `amr`; what is not in the table is 0."""
    return max(0, table.get(subject.acr, 0), *(table.get(method, 0) for method in subject.amr))


def step_up_satisfied(subject: Subject, *, acr: str, max_age: int | None, table: AssuranceTable, now: float) -> bool:
    """Whether the sign-in already is what a step-up would ask for (RFC 9470), so that asking again would loop.

    An empty `acr` or a `max_age` of None asks for nothing. An `acr` that is not in the table is satisfied by itself.
    """
    if acr and acr != subject.acr:
        wanted = table.get(acr)
        if wanted is None or assurance_level(subject, table) < wanted:
            return False
    if max_age is None:
        return True
    return subject.auth_time is not None and now - subject.auth_time <= max_age


def _field(name: str, token: VerifiedToken, record: SubjectRecord | None, mapping: IssuerMapping) -> object:
    """Return a field's value from its one source, None when that source does not say."""
    source = mapping.source(name)
    if source.kind == "none":
        return None
    if source.kind == "directory":
        return getattr(record, name)
    value: object = token.claims
    for part in source.path:
        if not isinstance(value, Mapping):
            raise _wrong_type(name)
        if part not in value:
            return None
        value = value[part]
    if value is None:  # an explicit null is no statement, and no list either
        raise _wrong_type(name)
    return value


def _name(issuer: str, subject: str, home: str) -> str:
    """Return the name a subject is known by; TOKEN_CLAIMS for one that could be read as somebody else's."""
    name = subject_name(issuer, subject, home=home)
    foreign = issuer != home
    if is_foreign_name(name) != foreign or (foreign and not is_foreign_issuer(issuer)) or not is_text(name):
        raise InputError("TOKEN_CLAIMS", "issuer and `sub` do not make an unmistakable name")
    return name


def _type(claimed: bool, record: SubjectRecord | None) -> Literal["user", "workload"]:
    """Return what a principal is; `claimed` says whether the token makes it a program.

    A program's record is enough to be a program. A token that makes a program of a person is refused: neither type is
    the stricter one, since programs have no sign-in to be strong or recent, and people no registered hours and hosts.
    """
    if record is None:
        return "workload" if claimed else "user"
    if claimed and record.type != "workload":
        raise InputError("SUBJECT_MISMATCH", "the token says program, the directory record says person")
    return record.type


def _is_workload(token: VerifiedToken, rule: WorkloadRule, record: SubjectRecord | None) -> bool:
    if rule.claim and token.claims.get(rule.claim) == rule.value:
        return True
    if rule.subject_is_client and token.subject == token.client_id:
        return True
    # The client of a delegated token is the actor's: where a record says what the subject is, it says nothing of it.
    return (token.actor is None or record is None) and _is_workload_client(token.client_id, rule)


def _acts_as_workload(token: VerifiedToken, actor: Actor, rule: WorkloadRule) -> bool:
    if actor.issuer != token.issuer:  # the rule is about the clients of its own issuer
        return False
    return (rule.subject_is_client and actor.id == token.client_id) or _is_workload_client(actor.id, rule)


def _is_workload_client(client_id: str, rule: WorkloadRule) -> bool:
    return any(
        client_id.startswith(pattern[:-1]) if pattern.endswith("*") else client_id == pattern
        for pattern in rule.client_ids
    )


def is_text(value: object) -> bool:
    """Whether `value` is short text without control characters, fit for a policy input, a header and a log."""
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()


def _text(value: object, name: str) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not is_text(value):
        raise _wrong_type(name)
    return value


def _texts(value: object, name: str) -> tuple[str, ...]:
    """Return a list of texts, sorted and without repeats: equal rights are equal values."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > MAX_LIST or not all(is_text(item) for item in value):
        raise _wrong_type(name)
    return tuple(sorted(set(value)))


def _clearance(value: object) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= MAX_CLEARANCE:  # bool is an int to isinstance
        raise _wrong_type("clearance")
    return value


def _instant(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise _wrong_type("valid_until")
    return value


def _status(value: object, kind: str) -> str:
    """Return the status. Where nobody keeps one the issuer's signature stands for it; a silent source is not active."""
    if kind == "none":
        return "active"
    return _text(value, "status") or "unknown"


def _wrong_type(name: str) -> InputError:
    return InputError("TOKEN_CLAIMS", f"the value for `{name}` has the wrong type or size")


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(one) & set(other)))


def _agreed(one: str, other: str) -> str:
    return one if one == other else ""


def _earliest(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
