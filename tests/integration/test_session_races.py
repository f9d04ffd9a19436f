"""Ten thousand refreshes at once, over the API of several control planes on one database, at a strict provider."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.control_support import NOW, TENANT, URL, Control
from tests.fakes.strict_provider import StrictProvider
from tests.session_support import FakeProvider, Office, People
from tests.store_support import ON_DISK, store_url
from zt_engine.adapters.provider_oidc import ClientProof, OidcProvider
from zt_engine.adapters.sealing import FileSealer
from zt_engine.adapters.store_sql import open_store
from zt_engine.control_plane.api import sessions as routes
from zt_engine.control_plane.sessions import SessionRules, Sessions
from zt_engine.control_plane.sidecars import Sidecars
from zt_engine.ports.inventory import SidecarRecord

ASKED = int(os.environ.get("ZT_SESSION_RACES", "300"))
"""In all; ten thousand of them take half a minute, and race no more than a few hundred do."""
AT_ONCE = 40
WHO = {"authorization": "Bearer s1"}
DUE = NOW + 600


class Anybody(Sidecars):
    """Whoever asks counts as a sidecar: what is tried here comes behind that."""

    def __init__(self) -> None:
        self.record = SidecarRecord(id="s1", public_key={}, joined_at=NOW)

    def identify(self, statement: bytes) -> SidecarRecord:
        return self.record

    def identify_at_once(self, statement: bytes) -> SidecarRecord | None:
        return self.record


class Planes:
    """Several control planes on one database, each with its own client of one strict provider."""

    def __init__(self, url: str, provider: StrictProvider, count: int) -> None:
        self.provider = provider
        self.clients = [
            OidcProvider(provider.issuer, proof=ClientProof("portal"), scopes=(), now=lambda: float(NOW))
            for _ in range(count)
        ]
        self.controls = [Control(store=open_store(url)) for _ in range(count)]
        for control, client in zip(self.controls, self.clients, strict=True):
            control.plane.extras["sidecars"] = Anybody()
            control.plane.extras[routes.PART] = Sessions(
                control.plane, provider=client, people=People(), sealer=FileSealer(b"k" * 32),
                rules=SessionRules(client_id="portal"),
            )  # fmt: skip

    def signed_in(self, refresh_token: str) -> str:
        """Begin a session whose refresh token is this one."""
        office = Office.__new__(Office)
        office.control, office.provider = self.controls[0], FakeProvider()
        office.provider.refresh_token = refresh_token
        office.sessions = Sessions(
            office.control.plane, provider=office.provider, people=People(), sealer=FileSealer(b"k" * 32),
            rules=SessionRules(client_id="portal"),
        )  # fmt: skip
        sid: str = office.signed_in().sid
        return sid

    def until(self, sid: str) -> int | None:
        with self.controls[0].store.reading(TENANT) as tx:
            held = tx.sessions.get(sid)
        return None if held is None else held.record.until

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for control in self.controls:
            control.__exit__()


@pytest.fixture(scope="module", params=ON_DISK)
def planes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planes]:
    folder: Path = tmp_path_factory.mktemp("races")
    with store_url(request.param, folder) as url, StrictProvider() as provider:
        made = Planes(url, provider, 3)
        yield made
        made.close()


async def race(planes: Planes, sids: list[str], count: int) -> Counter[int]:
    """Send refreshes to all control planes at once, over a few connections each."""
    numbers = iter(range(count))
    found: Counter[int] = Counter()

    async def ask(control: Control) -> None:
        transport = httpx.ASGITransport(control.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=URL, headers=WHO) as client:
            for number in numbers:
                path = f"/v1/sessions/{sids[number % len(sids)]}/refresh"
                answer = await client.post(path, json={})
                found[answer.status_code] += 1

    await asyncio.gather(*(ask(planes.controls[n % len(planes.controls)]) for n in range(AT_ONCE)))
    return found


def test_of_racing_refreshes_each_session_asks_the_provider_once_and_nobody_is_logged_out(planes: Planes) -> None:
    provider = planes.provider
    tokens = {f"t{number}" for number in range(5)}
    provider.good |= tokens
    sids = [planes.signed_in(token) for token in sorted(tokens)]
    for control in planes.controls:
        control.clock.advance(DUE - control.clock.now())

    found = asyncio.run(race(planes, sids, ASKED))

    assert found == {200: ASKED}
    assert (provider.refreshes, provider.thefts) == (len(sids), 0)
    assert [planes.until(sid) for sid in sids] == [DUE + 900] * len(sids)
