"""What publishers and approvers bring: the keys they believe, and the key they sign with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from watchfiles import watch

from zt_engine.adapters.bundle_signing import BundlePublicKey, load_public_keys
from zt_engine.adapters.git_tree import GitTree
from zt_engine.bootstrap.owners import OwnerCheck
from zt_engine.bootstrap.policy_before import Before, folder_policy, named_policy
from zt_engine.bootstrap.publishing_sources import FolderSource, GitSource
from zt_engine.config import Settings
from zt_engine.core.errors import ConfigError, Problem


def believed_keys(settings: Settings) -> dict[str, BundlePublicKey]:
    """Return the bundle keys of `policy.keys`, by their ids."""
    return _public_keys(settings, settings.policy.keys)


def import_keys(settings: Settings) -> dict[str, BundlePublicKey]:
    """Return the bundle keys of other sites that are believed, by their ids; ConfigError where there are none."""
    if not settings.publishing.import_keys:
        hint = "name the public bundle keys of the sites whose releases you take"
        problem = Problem(code="CONFIG_MISSING_KEY", message="`publishing.import_keys`", hint=hint)
        raise ConfigError((problem,))
    return _public_keys(settings, settings.publishing.import_keys)


def before_of(settings: Settings, named: Path | None) -> Callable[[], Before | None]:
    """Return what decides before there is a release: the bundle that is named, else the sidecars' folder."""
    if named is not None:
        return lambda: named_policy(named, believed_keys(settings))
    return lambda: folder_policy(settings.path(settings.policy.folder), believed_keys(settings))


def source_of(settings: Settings, *, accept_rewrite: bool = False) -> FolderSource | GitSource:
    """Return what `zt policy watch` follows; ConfigError where nothing is named."""
    wanted = settings.publishing
    if wanted.folder is not None:
        return FolderSource(settings.path(wanted.folder), state=settings.path(wanted.state))
    if wanted.repository is None:
        text, hint = "`publishing.folder` or `publishing.repository`", "say what to follow"
        raise ConfigError((Problem(code="CONFIG_MISSING_KEY", message=text, hint=hint),))
    tree = GitTree(settings.path(wanted.repository))
    owners = None
    if wanted.owners:
        keys = {
            owner.service: {str(path): _bytes(settings.path(path)) for path in owner.keys} for owner in wanted.owners
        }
        maintainers = {str(path): _bytes(settings.path(path)) for path in wanted.maintainers}
        owners = OwnerCheck(tree, wanted.pack, keys, maintainers)
    return GitSource(
        tree,
        wanted.ref,
        wanted.pack,
        state=settings.path(wanted.state),
        owners=owners,
        accept_rewrite=accept_rewrite,
    )


def source_at(settings: Settings, pack: Path) -> FolderSource:
    """Return a pack's folder; what is published from the one that is watched is remembered as published from there."""
    watched = settings.publishing.folder
    same = watched is not None and settings.path(watched).resolve() == pack.resolve()
    return FolderSource(pack, state=settings.path(settings.publishing.state) if same else None)


def beats(source: FolderSource | GitSource, seconds: int) -> Iterator[None]:
    """Yield when it is time to look: at once when a file of a folder changes, else every so many seconds."""
    yield
    if isinstance(source, FolderSource):
        for _ in watch(source.folder.parent, rust_timeout=seconds * 1000, yield_on_timeout=True, recursive=True):
            yield
        return
    stop = threading.Event()
    while not stop.wait(seconds):
        yield


def approver_key(path: Path) -> Ed25519PrivateKey:
    """Return a person's key; ConfigError APPROVER_KEY says what it is not, never what is in it."""
    try:
        key = load_pem_private_key(_bytes(path), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        text, hint = "no unencrypted Ed25519 private key (PEM)", "openssl genpkey -algorithm ed25519 -out approver.pem"
        raise ConfigError((Problem(code="APPROVER_KEY", message=text, where=str(path), hint=hint),))
    return key


def _public_keys(settings: Settings, paths: Sequence[Path]) -> dict[str, BundlePublicKey]:
    pems: dict[str, bytes] = {}
    for path in paths:
        pems[path.name.removesuffix(".pem").removesuffix(".pub")] = _bytes(settings.path(path))
    return load_public_keys(pems)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError((Problem(code="CONFIG_FILE", message=str(error.strerror), where=str(path)),)) from None
