"""What decides before there is a release: the folder policy of the sidecars, or an earlier bundle that a person names.

The first release is compared with it, so that whoever goes over to releases gives nothing up unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from zt_engine.adapters.bundle_signing import BundlePublicKey
from zt_engine.bootstrap.activation import read_bundle
from zt_engine.core import bundle_archive
from zt_engine.core.bundle import CATALOGUE, TRUST, WASM, Bundle
from zt_engine.core.errors import BundleError, ConfigError, Problem, ZtError
from zt_engine.core.weakening import Weakening

BUNDLE: Final = "bundle.tar.gz"
Keys = Mapping[str, BundlePublicKey]
Weakenings = Callable[[Bundle | None, Bundle], Sequence[Weakening]]


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that was in force without a release."""

    where: str
    bundle: Bundle
    texts: Mapping[str, bytes]
    """Its sources by their names."""


def folder_policy(folder: Path, keys: Keys) -> Before | None:
    """Return what sidecars decide by that follow a folder: its bundle with its own catalogue and trust model.

    None where no bundle lies there; BundleError for one that no sidecar would take.
    """
    if not (folder / BUNDLE).exists():
        return None
    found = named_policy(folder / BUNDLE, keys)
    models = {name: _bytes(folder / name) for name in (CATALOGUE, TRUST) if (folder / name).exists()}
    own = {CATALOGUE: found.bundle.catalogue, TRUST: found.bundle.trust}
    if all(own[name] == text for name, text in models.items()):
        return found
    # Its digest is another one than that of the bundle: so are its models.
    mixed = hashlib.sha256(found.bundle.content_digest.encode() + b"".join(models.values())).hexdigest()
    bundle = msgspec.structs.replace(
        found.bundle,
        catalogue=models.get(CATALOGUE, found.bundle.catalogue),
        trust=models.get(TRUST, found.bundle.trust),
        content_digest=mixed,
    )
    return Before(where=str(folder), bundle=bundle, texts={**found.texts, **models})


def named_policy(file: Path, keys: Keys) -> Before:
    """Return a bundle of a file that a believed key signed; ConfigError, BundleError with its place."""
    raw = _bytes(file)
    try:
        bundle = read_bundle(raw, keys)
    except BundleError as error:
        where = f"{file}: {error.where}" if error.where else str(file)
        raise BundleError(error.code, error.message, where=where, hint=error.hint) from None
    files = bundle_archive.read(raw)
    texts = {name: files[name] for name in bundle.manifest.sources.keys() - {WASM}}
    return Before(where=str(file), bundle=bundle, texts=texts)


def since(before: Callable[[], Before | None], weakenings: Weakenings) -> Weakenings:
    """Return the comparison that takes what was there before for what is in force where no release is.

    What is there and cannot be read is a weakening: nobody knows what it held.
    """

    def compared(active: Bundle | None, candidate: Bundle) -> Sequence[Weakening]:
        if active is not None:
            return weakenings(active, candidate)
        try:
            known = before()
        except ZtError as error:
            return (*weakenings(None, candidate), _unknown(error))
        return weakenings(None if known is None else known.bundle, candidate)

    return compared


def _unknown(error: ZtError) -> Weakening:
    return Weakening(code="WEAKENS_UNKNOWN", where=error.where, before=error.code, after="-")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError((Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path)),)) from None
