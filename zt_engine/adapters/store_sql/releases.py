"""Bundles by their digest, releases by their number, and what OPA clients said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import bindparam, delete, exists, insert, select, update

from zt_engine.adapters.store_sql.columns import Name, Number
from zt_engine.adapters.store_sql.counters import last_taken, take
from zt_engine.adapters.store_sql.failures import CONFLICT
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import bundles, opa_clients, releases
from zt_engine.adapters.store_sql.upsert import Upsert
from zt_engine.adapters.store_sql.values import encode
from zt_engine.ports.releases import KeptRelease, OpaClient, ReleaseState

_decode: Final = msgspec.json.Decoder(KeptRelease).decode
_decode_client: Final = msgspec.json.Decoder(OpaClient).decode

_DIGEST: Final = bindparam("wanted", type_=Name())
_bundle: Final = (bundles.c.tenant == THIS_TENANT, bundles.c.digest == _DIGEST)
_has: Final = select(bundles.c.digest).where(*_bundle)
_get: Final = select(bundles.c.raw).where(*_bundle)
_drop: Final = delete(bundles).where(*_bundle)
_keep: Final = Upsert(bundles, setting=lambda row: {"kept_at": row.kept_at})
_unused: Final = (
    select(bundles.c.digest, bundles.c.kept_at)
    .where(
        bundles.c.tenant == THIS_TENANT,
        ~exists().where(releases.c.tenant == THIS_TENANT, releases.c.bundle_digest == bundles.c.digest),
    )
    .order_by(bundles.c.kept_at, bundles.c.digest)
)

_releases: Final = select(releases.c.body).where(releases.c.tenant == THIS_TENANT)
_release: Final = _releases.where(releases.c.seq == bindparam("wanted", type_=Number()))
_in_state: Final = (
    _releases.where(releases.c.state == bindparam("in_state", type_=Name())).order_by(releases.c.seq.desc()).limit(1)
)
_settled: Final = _in_state.where(releases.c.settled == 1)
_add: Final = insert(releases)
_replace: Final = (
    update(releases)
    .where(releases.c.tenant == THIS_TENANT, releases.c.seq == bindparam("wanted", type_=Number()))
    .values(
        state=bindparam("new_state", type_=Name()),
        settled=bindparam("new_settled", type_=Number()),
        body=bindparam("new_body", type_=releases.c.body.type),
    )
)
_clients: Final = select(opa_clients.c.body).where(opa_clients.c.tenant == THIS_TENANT).order_by(opa_clients.c.name)
_put_client: Final = Upsert(opa_clients)


class SqlBundles:
    """The bundles of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def has(self, digest: str) -> bool:
        """Whether there is this bundle."""
        return self._session.first(_has, wanted=digest) is not None

    def get(self, digest: str) -> bytes | None:
        """Return the bytes of a bundle."""
        row = self._session.first(_get, wanted=digest)
        return None if row is None else bytes(row.raw)

    def put(self, digest: str, raw: bytes, *, now: int) -> None:
        """Keep a bundle; the same one again is only younger."""
        self._session.upsert(_keep, digest=digest, raw=raw, kept_at=now)

    def unused(self) -> Sequence[tuple[str, int]]:
        """Return digest and age of each bundle that no release names, oldest first."""
        return tuple((row.digest, row.kept_at) for row in self._session.rows(_unused))

    def drop(self, digest: str) -> None:
        """Remove a bundle."""
        self._session.change(_drop, wanted=digest)


class SqlReleases:
    """The releases of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lock(self) -> int:
        """Have releases changed by this transaction alone; return the number of the newest one."""
        # Whoever takes from a counter holds it until the end; this takes nothing.
        return take(self._session, "releases", 0) - 1

    def newest(self) -> int:
        """Return the number of the newest one, 0 if there is none."""
        return last_taken(self._session, "releases")

    def add(self, release: KeptRelease) -> None:
        """Insert one with the number after the newest; STORE_CONFLICT for any other number."""
        if take(self._session, "releases", 1) != release.seq:
            raise self._session.refuse(CONFLICT)
        self._session.insert(
            _add,
            {
                "seq": release.seq,
                "state": release.state,
                "settled": int(release.settled),
                "bundle_digest": release.bundle_digest,
                "body": encode(release),
            },
        )

    def put(self, release: KeptRelease) -> None:
        """Replace one that is there."""
        changed = self._session.change(
            _replace,
            wanted=release.seq,
            new_state=release.state,
            new_settled=int(release.settled),
            new_body=encode(release),
        )
        if changed != 1:
            raise self._session.refuse(CONFLICT)

    def get(self, seq: int) -> KeptRelease | None:
        """Return a release."""
        row = self._session.first(_release, wanted=seq)
        return None if row is None else _decode(row.body)

    def last(self, state: ReleaseState, *, settled: bool = False) -> KeptRelease | None:
        """Return the newest one in a state; `settled`: of those that everybody is to have."""
        row = self._session.first(_settled if settled else _in_state, in_state=state)
        return None if row is None else _decode(row.body)

    def page(self, *, before: int, limit: int) -> Sequence[KeptRelease]:
        """Return releases below a number (0: all), newest first."""
        query = _releases if before == 0 else _releases.where(releases.c.seq < before)
        rows = self._session.rows(query.order_by(releases.c.seq.desc()).limit(limit))
        return tuple(_decode(row.body) for row in rows)

    def opa_clients(self) -> Sequence[OpaClient]:
        """Return every OPA that ever said something of itself, by name."""
        return tuple(_decode_client(row.body) for row in self._session.rows(_clients))

    def put_opa_client(self, client: OpaClient) -> None:
        """Insert or replace."""
        self._session.upsert(_put_client, name=client.name, body=encode(client))
