"""Two control planes on one PostgreSQL, as they are run: whichever is killed under load, all it promised is kept."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from tests.control_support import TENANT
from tests.forked import Forked
from tests.integration.test_stream_processes import ENVIRONMENT, PATIENCE, Site
from tests.postgres import postgres_url
from tests.sidecar_support import CASE, Client, Process, edit, wait_for
from tests.stream_server import free_port
from zt_engine.adapters.store_sql import open_store

WRITERS, EACH = 4, 25


class Replica:
    """One `zt control run` of an installation, at a port of its own."""

    def __init__(self, site: Site, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        config = site.sandbox.config
        own = config.with_name(f"zt-{port}.toml")
        listen, other = f'listen = "127.0.0.1:{site.port}"', f'listen = "127.0.0.1:{port}"'
        # All go by one name: what a sidecar signs is for that.
        own.write_text(config.read_text().replace(listen, f'{other}\nurl = "{site.url}"'))
        own.chmod(0o600)
        self._log = site.sandbox.folder / f"control-{port}.log"
        with self._log.open("wb") as log:
            words = ["control", "run", "--config", str(own)]
            self.process = Forked(words, stdout=log, stderr=log, env=ENVIRONMENT)

    @property
    def elected(self) -> bool:
        """Whether it has been the sequencer."""
        return b"stream.elected" in self._log.read_bytes()

    def serves(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(PATIENCE)


@contextmanager
def two(site: Site) -> Iterator[tuple[Replica, Replica]]:
    """The sequencer, and the one that only serves."""
    with ExitStack() as stack:
        planes = []
        for port in (site.port, free_port()):
            plane = Replica(site, port)
            stack.callback(plane.kill)
            wait_for(plane.serves, "a control plane", seconds=PATIENCE)
            planes.append(plane)
            wait_for(lambda: planes[0].elected, "its office", seconds=PATIENCE)
        assert not planes[1].elected
        yield planes[0], planes[1]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("falls", ["the sequencer", "the other"])
def test_of_two_control_planes_either_is_killed_under_load_and_what_it_acknowledged_is_told_once(
    falls: str, tmp_path: Path, opa: str
) -> None:
    with postgres_url() as database:
        site = Site(tmp_path / "site", opa, database=database)
        with two(site) as (sequencer, other):
            fallen, stays = (sequencer, other) if falls == "the sequencer" else (other, sequencer)
            edit(site.sandbox, "zt.toml", (f'["{site.url}"]', f'["{fallen.url}", "{stays.url}"]'))
            assert site.join()[0] == 0
            site.url = stays.url
            process = Process(site.sandbox).started()
            client = Client(process.address)
            try:
                wait_for(lambda: site.ask(client, CASE).status == 200, "the allow")
                acknowledged = write(site, fallen, stays)

                assert site.call("POST", "/v1/devices/laptop-1/revoke", {"reason": "stolen"}).status_code == 200
                wait_for(lambda: site.ask(client, CASE).status == 403, "the denial", seconds=PATIENCE)
                wait_for(lambda: site.call("GET", "/v1/lag").json()["items"] == [], "the acknowledgement")
                assert stays.elected
            finally:
                client.close()
                process.signal(signal.SIGTERM)
                process.ended()
                process.close()

        store = open_store(database)
        told = store.events(TENANT, after=0, limit=10_000)
        store.close()
    revoked = Counter(json.loads(one.data)["key"] for one in told if one.type == "revocation.added")

    assert [one.seq for one in told] == list(range(1, len(told) + 1))
    assert len(acknowledged) == WRITERS * EACH
    assert all(revoked[key] == 1 for key in acknowledged)


def write(site: Site, fallen: Replica, stays: Replica) -> list[str]:
    """Revoke tokens through both, whose one is killed in the middle of it; return which were acknowledged."""
    acknowledged: list[str] = []
    half = threading.Event()
    until = 4_000_000_000

    def revoke(writer: int) -> None:
        for turn in range(EACH):
            key = f"token-of-writer-{writer}-{turn:02}"
            body = {"kind": "jti", "key": key, "until": until, "reason": "stolen"}
            headers = {"Authorization": f"Bearer {site.key}", "Idempotency-Key": key}
            for url in cycle((fallen.url, stays.url)):
                try:
                    answer = httpx.post(
                        f"{url}/v1/revocations", json=body, headers=headers, trust_env=False, timeout=PATIENCE
                    )
                except httpx.HTTPError:
                    continue  # whether it was done nobody knows, so it is asked again, of the other
                assert answer.status_code == 201, answer.text
                acknowledged.append(key)
                break
            if len(acknowledged) >= WRITERS * EACH // 2:
                half.set()

    with ThreadPoolExecutor(WRITERS) as pool:
        working = [pool.submit(revoke, number) for number in range(WRITERS)]
        half.wait(PATIENCE)
        fallen.kill()
        for one in working:
            one.result(PATIENCE)
    return acknowledged
