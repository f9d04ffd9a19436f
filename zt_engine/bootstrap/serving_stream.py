"""The change stream of a control plane, wired: its key, its order, its sidecars.

origin = open_stream(plane, key, shared=...)     # before the application is made
origin.start(loop)                               # on the loop that serves it
origin.stop()
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from zt_engine.adapters.floor_folder import FloorFolder
from zt_engine.adapters.owned_files import UnownedError, read_owned
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.config import ControlSettings
from zt_engine.control_plane.api.releases import RELEASES
from zt_engine.control_plane.api.sidecars import sidecars_of
from zt_engine.control_plane.api.stream import origin_of
from zt_engine.control_plane.context import ControlPlane
from zt_engine.control_plane.releases import Releases
from zt_engine.control_plane.rollout_keeping import Keeper
from zt_engine.control_plane.sidecars import Sidecars
from zt_engine.control_plane.stream import Origin
from zt_engine.control_plane.stream_keys import KeyRing, begin, note
from zt_engine.core.errors import ConfigError, InputError, Problem

MAX_KEY_BYTES = 16 << 10
LOCKED_OUT = (
    "sign with the key of before and name this one in `control.other_stream_keys` first; if that key is lost, "
    "`zt control forget-stream-keys`, and let every sidecar join again"
)
NAMED = 10
"""So many sidecars are named in a refusal."""


def open_stream(
    plane: ControlPlane,
    key: StreamKey,
    *,
    shared: bool,
    others: Sequence[StreamKey] = (),
    tls_ca: bytes = b"",
    connections: int = 1000,
    floor: Path | None = None,
) -> Origin:
    """Return the stream of a control plane, and put it where its routes find it (`plane.extras`).

    `shared`: other control planes work on the same database. `others` are keys that sidecars believe as well: the one
    before this, or the one after it. `tls_ca` is the CA (PEM) that sidecars verify this control plane with.
    `floor` is a folder for those who reach no control plane.
    """
    releases = plane.extras.get(RELEASES)
    sidecars = Sidecars(plane, keys=lambda: origin.keys.believed, tls_ca=tls_ca, ca_sha256=_digest(tls_ca))
    rollouts = Keeper(plane)

    def keep(now: float) -> None:
        sidecars.flush(now)
        if origin.sequencing:
            rollouts.turn(now)

    origin = Origin(
        tenant=plane.settings.tenant,
        store=plane.store,
        changes=plane.changes,
        keys=KeyRing((key, *others)),
        clock=plane.clock,
        facts=sorted(plane.settings.facts),
        shared=shared,
        connections=connections,
        min_bundle_seq=releases.least if isinstance(releases, Releases) else lambda: 0,
        housekeeping=keep,
    )
    if floor is not None:
        origin.floor = FloorFolder(floor, snapshot=origin.whole)
    sidecars.ended = origin.cut
    sidecars.listening = lambda: origin.hub.connected
    plane.store.on_commit(origin.wake)
    if isinstance(releases, Releases):
        releases.offered = origin.offer
    plane.extras["stream"] = origin
    plane.extras["sidecars"] = sidecars
    return origin


def read_stream_keys(settings: ControlSettings) -> tuple[StreamKey, ...]:
    """Read the key that signs and, behind it, those that sidecars believe as well; ConfigError STREAM_KEY_INVALID."""
    control = settings.control
    return tuple(read_stream_key(settings.path(one)) for one in (control.stream_key_file, *control.other_stream_keys))


def rekey(plane: ControlPlane, keys: Sequence[StreamKey]) -> None:
    """Sign with the first of these, and have sidecars believe all of them; asks the database.

    InputError STREAM_KEY_UNANNOUNCED for a key that was not named before, STREAM_KEY_NEEDED when a sidecar that was
    heard just now would be left with none it knows.
    """
    ring, origin, sidecars = KeyRing(keys), origin_of(plane), sidecars_of(plane)
    ring.follow(origin.keys.ids)
    staying = ring.believed.keys()
    left = sidecars.left_without(origin.keys.believed.keys() - staying, staying, now=plane.clock.now())
    if left:
        raise InputError("STREAM_KEY_NEEDED", f"not told of any of these keys yet: {', '.join(left[:NAMED])}")
    # Written first: a start that comes in between is not to refuse what was already signed with.
    note(plane.store, plane.settings.tenant, ring)
    origin.rekey(ring)


def check_announced(plane: ControlPlane, keys: Sequence[StreamKey], *, where: Path) -> None:
    """Compare with the keys sidecars were told of last, and note these; asks the database.

    ConfigError STREAM_KEY_UNANNOUNCED where sidecars would believe nothing any more.
    """
    try:
        begin(plane.store, plane.settings.tenant, KeyRing(keys))
    except InputError as error:
        problem = Problem(code=error.code, message=error.message, where=str(where), hint=LOCKED_OUT)
        raise ConfigError((problem,)) from None


def read_stream_key(path: Path) -> StreamKey:
    """Read a key of the stream from a file of its owner's alone; ConfigError STREAM_KEY_INVALID."""
    try:
        raw, _ = read_owned(path, limit=MAX_KEY_BYTES)
    except (OSError, UnownedError) as error:
        message = error.message if isinstance(error, UnownedError) else str(error.strerror)
        problem = Problem(code="STREAM_KEY_INVALID", message=message, where=str(path))
        raise ConfigError((problem,)) from None
    return StreamKey.load(raw, where=str(path))


def _digest(pem: bytes) -> str:
    if not pem:
        return ""
    return hashlib.sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).hexdigest()
