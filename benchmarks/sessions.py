"""What does a browser's session cost a warm decision: the hot set with cookies, against the same with bearer tokens?

Two sidecars of one kind know the same people, devices and sessions; one is asked with a session cookie at each host
(beside a cookie of the application's own, as there always is one), the other with tokens of one kilobyte.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from statistics import median

import msgspec
from msgspec.structs import asdict

from benchmarks import wrk
from benchmarks.bench import Measured, Run, told
from benchmarks.data import HOT_PEOPLE, PATHS_PER_PERSON, Key, keys
from benchmarks.processes import Contestant, free_port
from benchmarks.site import TOKEN_SECONDS, Site, head
from zt_engine.bootstrap.sandbox import ISSUER
from zt_engine.core.session import COOKIE, SessionRecord, sid_of

NAME = "sessions"
NEEDS = ("wrk",)
HOT_KEYS = HOT_PEOPLE * PATHS_PER_PERSON
WARM_UPS = 30
FIGURES = ("session_vs_bearer", "session_rate", "bearer_rate", "session_p99_us")


class Browsers:
    """The sessions of everybody at every host they open."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._handles: dict[tuple[int, str], str] = {}
        self.records: list[SessionRecord] = []

    def request(self, key: Key) -> bytes:
        """Return the bytes nginx would send for a key, with cookies where the token was."""
        block = self._site.blocks[key.person]
        before, found, _ = block.partition(b"Authorization: ")
        assert found
        cookies = f"{COOKIE.decode()}={self._handle(key)}; app={'a' * 64}"
        return head(key) + before + f"Cookie: {cookies}\r\n\r\n".encode()

    def _handle(self, key: Key) -> str:
        place = (key.person, key.target.host)
        if place not in self._handles:
            self._handles[place] = secrets.token_urlsafe(32)
            self.records.append(self._record(key, self._handles[place]))
        return self._handles[place]

    def _record(self, key: Key, handle: str) -> SessionRecord:
        person, now = self._site.people[key.person], int(self._site.sandbox.now)
        return SessionRecord(
            sid=sid_of(handle.encode()), version=1, host=key.target.host, issuer=ISSUER, subject=person.id,
            client_id="portal-browser", claims={"email": f"{person.id}@ministry.example"}, acr="phr",
            amr=("hwk", "user"), auth_time=now - 60, device_id=person.device_id, until=now + TOKEN_SECONDS,
        )  # fmt: skip


def measure(run: Run) -> None:
    """Let the two take turns over the same keys."""
    place = run.place(NAME)
    site = Site(place / "site", HOT_PEOPLE, bundle=run.bundle)
    hot, browsers = keys(site.people), Browsers(site)
    loads = {
        "session": wrk.write_requests(place / "cookies", map(browsers.request, hot)),
        "bearer": wrk.write_requests(place / "tokens", map(site.request, hot)),
    }
    records = place / "records.json"
    records.write_bytes(msgspec.json.encode(browsers.records))
    run.say(f"  {len(hot)} keys, {len(browsers.records)} sessions")
    field: list[Contestant] = []
    try:
        for name in loads:
            field.append(sidecar(name, site, place / name, records, core=run.core))
            field[-1].wait_ready()
        samples = rounds(run, field, loads)
    finally:
        for contestant in field:
            contestant.stop()
    conclude(run, samples)


def sidecar(name: str, site: Site, folder: Path, records: Path, *, core: int) -> Contestant:
    """Start a sidecar that knows the sessions."""
    port, admin = free_port(), free_port()
    config = site.clone(folder, port=port, admin_port=admin)
    command = [sys.executable, "-m", "benchmarks.sessions_child", config, records]
    return Contestant(
        name, command, core=core, log=folder / "output", port=port, ready=f"http://127.0.0.1:{admin}/readyz"
    )


def rounds(run: Run, field: list[Contestant], loads: dict[str, wrk.Load]) -> dict[str, list[Measured]]:
    """Alternate; the order is turned around every other round."""
    samples: dict[str, list[Measured]] = {contestant.name: [] for contestant in field}
    for contestant in field:
        contestant.pause()
    for contestant in field:
        with contestant.running():
            warm_up(run, contestant, loads[contestant.name])
    for number in range(run.plan.rounds):
        for contestant in field if number % 2 == 0 else reversed(field):
            with contestant.running():
                run.client(contestant, loads[contestant.name], run.plan.warm_up)
                sample = run.client(contestant, loads[contestant.name], run.plan.seconds)
            samples[contestant.name].append(sample)
            run.say(f"  round {number + 1} {contestant.name:<8} {told(sample)}")
    return samples


def warm_up(run: Run, contestant: Contestant, load: wrk.Load) -> None:
    """Ask until every key has been decided, however slow the machine is."""
    asked = 0
    for _ in range(WARM_UPS):
        asked += run.client(contestant, load, run.plan.warm_up, offset=asked).requests
        if asked > 2 * HOT_KEYS:
            return


def conclude(run: Run, samples: dict[str, list[Measured]]) -> None:
    """Turn rounds into figures."""
    report, rates = run.report, {name: [sample.rate for sample in found] for name, found in samples.items()}
    report.samples[NAME] = {
        "rounds": {name: [asdict(sample) for sample in found] for name, found in samples.items()},
    }
    report.ratio("session_vs_bearer", rates["session"], rates["bearer"])
    for name, found in rates.items():
        report.figure(f"{name}_rate", median(found))
    report.figure("session_p99_us", median([sample.p99 for sample in samples["session"]]))
    broken = {name: sum(sample.errors for sample in found) for name, found in samples.items()}
    for name, errors in broken.items():
        if errors:
            for figure in FIGURES:
                report.reject(figure, f"{errors} answers to {name} were no 200, or a socket broke")
