"""A sidecar joins a control plane: once, with a token, and with a key that never leaves its folder."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from zt_engine.adapters.owned_files import UnownedError, read_owned
from zt_engine.adapters.stream_http import trusting
from zt_engine.adapters.stream_keys import StreamKey, public_keys
from zt_engine.config import Settings, check_plane_url
from zt_engine.core.errors import ConfigError, InputError, Problem, UnavailableError
from zt_engine.core.joining import JoinToken, read_token

KEY, MEMBERSHIP = "sidecar.pem", "membership.json"
MAX_BYTES = 4 << 20
SECONDS = 15.0


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """What a sidecar was told when it joined, and what became of it since."""

    id: str
    tenant: str
    audience: str
    stream_keys: Mapping[str, Mapping[str, str]]
    device_cas: str
    version: float = 0.0
    """Of the key set; grows."""
    site: str = ""
    bound: str | None = None
    """The site of the token this sidecar joined with; None in what was written before sites were bound."""
    labels: Mapping[str, str] = {}
    root: Mapping[str, str] | None = None
    """Whose signature a trust document needs, as the control plane said when this sidecar joined."""
    trust: str = ""
    """The newest trust document that the root has signed."""
    offered: str = ""
    """The last that was offered, whether or not it was believed, so that it is not asked for again and again."""
    staleness: Mapping[str, Mapping[str, int]] = {}


class Member(msgspec.Struct, frozen=True):
    """A sidecar that has joined."""

    membership: Membership
    key: StreamKey
    folder: Path


def join(settings: Settings, token: str, *, authorities: Path | None, now: float) -> Member:
    """Join, and write down what was told; raises ConfigError, InputError or UnavailableError.

    The token says which CA the control plane has, so nobody in between can be believed instead.
    """
    told = read_token(token)
    if told.exp <= now:
        raise InputError("SIDECAR_TOKEN", "it is over; have a new one made")
    try:
        check_plane_url(told.url)
    except ValueError as error:
        raise InputError("SIDECAR_TOKEN", str(error)) from None
    if told.tenant != settings.sidecar.tenant:
        message = f"the token is for the tenant `{told.tenant}`, and `sidecar.tenant` is `{settings.sidecar.tenant}`"
        raise ConfigError((Problem(code="SIDECAR_TOKEN", message=message),))
    pinned = settings.control_plane.site
    if pinned and told.site != pinned:
        message = f"the token is for the site `{told.site}`, and `control_plane.site` is `{pinned}`"
        raise ConfigError((Problem(code="SIDECAR_TOKEN", message=message),))
    verify = _verified(told, authorities)
    key = StreamKey.generate()
    answer = _ask(told, {"token": token.strip(), "public_key": dict(key.jwk)}, verify)
    try:
        membership = msgspec.json.decode(answer, type=Membership)
    except msgspec.DecodeError as error:
        raise UnavailableError("JOIN_REFUSED", f"`{told.url}` answers something else: {error}") from None
    if membership.tenant != told.tenant or not public_keys(membership.stream_keys):
        raise UnavailableError("JOIN_REFUSED", f"`{told.url}` answers for another tenant, or without keys")
    if membership.site != told.site:
        raise UnavailableError("JOIN_REFUSED", f"`{told.url}` answers for the site `{membership.site[:64]}`")
    membership = msgspec.structs.replace(membership, bound=told.site)
    member = Member(membership, key, settings.path(settings.control_plane.state))
    member.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(member.folder / KEY, key.pem())
    keep_membership(member)
    return member


def _verified(told: JoinToken, authorities: Path | None) -> ssl.SSLContext | bool:
    if not told.url.startswith("https:"):
        return True
    context = trusting(authorities)
    if told.ca_sha256:
        held = authorities.read_bytes() if authorities is not None else b""
        digests = {hashlib.sha256(one.public_bytes(Encoding.DER)).hexdigest() for one in _certificates(held)}
        if told.ca_sha256 not in digests:
            hint = "give the CA file of the control plane with `--ca-file`"
            message = "the token names another CA than the one the control plane would be verified with"
            raise ConfigError((Problem(code="JOIN_CA", message=message, where=str(authorities or ""), hint=hint),))
    return context


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem) if pem else []
    except ValueError:
        return []


def _ask(told: JoinToken, body: Mapping[str, object], verify: ssl.SSLContext | bool) -> bytes:
    try:
        with httpx.Client(verify=verify, timeout=SECONDS, follow_redirects=False, trust_env=False) as client:
            answer = client.post(f"{told.url.rstrip('/')}/v1/sidecars", json=body)
    except httpx.HTTPError as error:
        raise UnavailableError("STREAM_DOWN", f"`{told.url}`: {type(error).__name__}") from error
    if answer.status_code != 201:
        raise UnavailableError("JOIN_REFUSED", f"`{told.url}` answers {answer.status_code}{_code(answer.content)}")
    return answer.content


def _code(content: bytes) -> str:
    """What a refusal calls itself, if it is one of ours."""
    try:
        code = msgspec.json.decode(content, type=_Problem).code
    except msgspec.DecodeError:
        return ""
    return f" ({code})" if re.fullmatch(r"[A-Z0-9_]{1,64}", code) else ""


class _Problem(msgspec.Struct):
    code: str = ""


def followed(settings: Settings) -> Member | None:
    """Return what a sidecar that starts now goes by at its control plane; None: it follows its folder alone.

    INVARIANT: who has joined never follows its folder alone. Overlays and revocations of the control plane would hold
    no more, and nobody would be told. Raises ConfigError SIDECAR_JOINED then, SIDECAR_NOT_JOINED as `read_member` does.
    """
    if settings.control_plane.url:
        return read_member(settings)
    if has_joined(settings):
        try:
            told = read_member(settings).membership
            message = f"joined `{told.audience}` as `{told.id}`, and `control_plane.url` names no address"
        except ConfigError:
            message = "joined a control plane, and `control_plane.url` names no address"
        where = str(settings.path(settings.control_plane.state))
        raise ConfigError((Problem(code="SIDECAR_JOINED", message=message, where=where),))
    return None


def has_joined(settings: Settings) -> bool:
    """Whether a membership was ever written down here; True as well where that cannot be looked at."""
    try:
        os.lstat(settings.path(settings.control_plane.state) / MEMBERSHIP)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def read_member(settings: Settings) -> Member:
    """Read what this sidecar was told when it joined; ConfigError SIDECAR_NOT_JOINED when it has not."""
    folder = settings.path(settings.control_plane.state)
    try:
        pem, _ = read_owned(folder / KEY, limit=MAX_BYTES)
        raw, _ = read_owned(folder / MEMBERSHIP, limit=MAX_BYTES)
        membership = msgspec.json.decode(raw, type=Membership)
    except (OSError, UnownedError, msgspec.DecodeError) as error:
        message = error.message if isinstance(error, UnownedError) else "this sidecar has not joined a control plane"
        hint = "zt sidecar join TOKEN"
        problem = Problem(code="SIDECAR_NOT_JOINED", message=message, where=str(folder), hint=hint)
        raise ConfigError((problem,)) from None
    if membership.tenant != settings.sidecar.tenant:
        message = f"joined for the tenant `{membership.tenant}`; `sidecar.tenant` is `{settings.sidecar.tenant}`"
        raise ConfigError((Problem(code="SIDECAR_NOT_JOINED", message=message, where=str(folder)),))
    return Member(membership, StreamKey.load(pem, where=str(folder / KEY)), folder)


def keep_membership(member: Member) -> None:
    """Write down what is known, in place of what was before."""
    _write(member.folder / MEMBERSHIP, msgspec.json.encode(member.membership))


def _write(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
