"""The offline root of a tenant: its key, and the document it signs about approvers, bundle keys and staleness."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.adapters.trust_document import TrustHandout, approver_entry, bundle_entry, open_document
from zt_engine.config import ControlSettings
from zt_engine.core.errors import ConfigError, InputError, Problem
from zt_engine.core.trust_root import TrustDocument, seal_trust

_LIMIT = re.compile(r"([a-z0-9*][a-z0-9_.-]{0,62}):(C[123])=([1-9][0-9]{0,8})")


def make_root_key(path: Path) -> Path:
    """Make a root key in a file that only its owner reads, and its public half beside it; returns the latter."""
    key = StreamKey.generate()
    public = path.with_suffix(".pub.pem")
    for file, content in ((path, key.pem()), (public, key.public_pem())):
        try:
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
                out.write(content)
        except OSError as error:
            raise ConfigError((Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(file)),)) from None
    return public


def sign_trust(settings: ControlSettings, root_pem: bytes, limits: Sequence[str], *, where: str) -> TrustDocument:
    """Sign what these settings name, as the next version, and write it where the control plane hands it on.

    `limits` are `SITE:LABEL=SECONDS`. Raises ConfigError, or InputError TRUST_DOCUMENT for what nobody may set.
    """
    root = StreamKey.load(root_pem, where=where)
    policy, path = settings.policy, settings.path(settings.control.trust_file)
    approvers = [
        approver_entry(one.person, settings.path(one.key).read_bytes(), where=str(one.key)) for one in policy.approvers
    ]
    keys = {
        key.name.removesuffix(".pem").removesuffix(".pub"): bundle_entry(
            settings.path(key).read_bytes(), where=str(key)
        )
        for key in policy.keys
    }
    document = TrustDocument(
        tenant=settings.sidecar.tenant,
        version=_version(path, settings.sidecar.tenant) + 1,
        approvers=dict(approvers),
        bundle_keys=keys,
        staleness=_limits(limits),
    )
    handout = TrustHandout(root=root.jwk, document=seal_trust(document, root))
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(msgspec.json.encode(handout))
    os.replace(new, path)
    return document


def _version(path: Path, tenant: str) -> int:
    if not path.exists():
        return 0
    held = msgspec.json.decode(path.read_bytes(), type=TrustHandout)
    return open_document(held.root, held.document, tenant=tenant).version


def _limits(limits: Sequence[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for text in limits:
        read = _LIMIT.fullmatch(text)
        if read is None:
            raise InputError("TRUST_DOCUMENT", f"`{text}` is no limit", hint="for example embassy-1:C2=14400")
        found.setdefault(read[1], {})[read[2]] = int(read[3])
    return found
