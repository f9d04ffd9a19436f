"""How long does the agent look at this machine, and how many machines a second does one control plane enroll?

Collector: one unprivileged look of the fast lane, in process, p50 and p99. Enrollment: `zt control run` on SQLite on
one core; on the other a few agents at once, each a real one with a key of its own in a file: sign-in, notice, nonce,
key, certificate, first report, all over HTTP. What a person needs to read and type is not counted. Each comes from an
address of its own, since one address is answered five times a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Run
from benchmarks.inventory_site import InventorySite, once, spread
from benchmarks.processes import BenchmarkError, pinned
from device_inventory.agent.collecting import Seen, ThisMachine
from device_inventory.agent.control_plane import ControlPlane, Notice, Terms
from device_inventory.agent.enrolling import Enroller
from device_inventory.agent.errors import AgentError, Secret
from device_inventory.agent.keys import Choice, KeyWish
from device_inventory.agent.oidc import Binding, SignedIn
from device_inventory.agent.state import Home
from device_inventory.agent.wire import Wire
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.bootstrap.sandbox import ISSUER

NAME = "enrolling"
NEEDS = ()
LOOKS = 300
AGENTS = 4
ENROLLMENTS = 120
QUICK_ENROLLMENTS = 12
CLIENT = "zt-agent"


class Once:
    """This machine's facts, looked at once: every agent reports the same."""

    def __init__(self) -> None:
        self._seen = ThisMachine(memory=None).look(now=int(time.time()), slow=False)

    def look(self, *, now: int, slow: bool) -> Seen:
        return self._seen

    def helper_key(self) -> None:
        return None

    def ask_helper(self, *, nonce: str, device: str) -> None:
        return None


class Person:
    """Somebody who is signed in and agrees."""

    def __init__(self, token: Callable[[str], str]) -> None:
        self._token = token

    def sign_in(self, terms: Terms) -> SignedIn:
        binding = Binding(terms.url)
        return binding.signed_in(Secret(self._token(binding.nonce)))

    def agree(self, notice: Notice, ownership: str) -> bool:
        return True

    def chose(self, choice: Choice) -> None:
        pass

    def unattested(self, error: AgentError) -> None:
        pass

    def step(self, name: str) -> None:
        pass


def measure(run: Run) -> None:
    """Look, then enroll."""
    look(run)
    enroll(run)


def look(run: Run) -> None:
    """Time the collectors."""
    machine = ThisMachine(memory=None)
    samples = []
    with pinned(run.client_core):
        for _ in range(LOOKS if run.plan.rounds > 1 else 30):
            started = time.perf_counter()
            machine.look(now=int(time.time()), slow=False)
            samples.append((time.perf_counter() - started) * 1000)
    run.report.figure("collector_ms", spread(samples, 0.5))
    run.report.samples["collector_ms"] = samples
    run.say(f"  one look: p50 {spread(samples, 0.5):.1f} ms, p99 {spread(samples, 0.99):.1f} ms, {len(samples)} looks")


def enroll(run: Run) -> None:
    """Enroll many machines at once."""
    place = run.place(NAME)
    count = QUICK_ENROLLMENTS if run.plan.rounds == 1 else ENROLLMENTS
    site = InventorySite(place / "site", 1, bundle=run.bundle)
    text = (site.folder / "zt.toml").read_text() + f'\n[enrollment]\nissuer = "{ISSUER}"\nclient_id = "{CLIENT}"\n'
    text = text.replace("[control] ", '[control]\ntrusted_proxies = ["127.0.0.1"]\n#', 1)
    site.sandbox.write("zt.toml", text.encode())
    with site.served(core=run.core, log=place / "control.log"):
        codes = invited(site, count)
        taken, faults = enrolled(site, codes, place, run.client_core)
    if faults:
        raise BenchmarkError(f"{len(faults)} of {count} were not enrolled: {faults[0]}")
    took = max(end for _, end in taken) - min(start for start, _ in taken)
    each = [(end - start) * 1000 for start, end in taken]
    run.report.figure("enroll_per_s", count / took)
    run.report.samples["enroll_ms"] = each
    run.say(
        f"  {count} enrolled by {AGENTS} at once: {count / took:.1f}/s, "
        f"p50 {spread(each, 0.5):.0f} ms, p99 {spread(each, 0.99):.0f} ms"
    )


def invited(site: InventorySite, count: int) -> list[tuple[str, str]]:
    """Invite as many people; return each with the code."""
    found = []
    with site.administer() as admin:
        for number in range(count):
            person = f"person-{number}"
            body = {"subject": person, "issuer": ISSUER, "ownership": "corp"}
            answer = admin.post("/v1/invitations", json=body, headers=once())
            if answer.status_code != 201:
                raise BenchmarkError(f"not invited: {answer.status_code} {answer.text[:200]}")
            found.append((person, str(answer.json()["code"])))
    return found


def enrolled(
    site: InventorySite, codes: list[tuple[str, str]], place: Path, core: int
) -> tuple[list[tuple[float, float]], list[str]]:
    """Enroll everybody; return when each began and ended, and what went wrong."""
    taken: list[tuple[float, float]] = []
    faults: list[str] = []
    source, clock = Once(), SystemClock()

    def work(mine: list[tuple[str, str]]) -> None:
        for person, code in mine:
            started = time.perf_counter()
            try:
                one(site, person, code, Home(place / f"home-{person}"), source, clock)
            except Exception as error:
                faults.append(repr(error))
                return
            taken.append((started, time.perf_counter()))

    with pinned(core):  # threads are where the one that starts them is
        threads = [threading.Thread(target=work, args=(codes[first::AGENTS],)) for first in range(AGENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return taken, faults


def one(site: InventorySite, person: str, code: str, home: Home, source: Once, clock: SystemClock) -> None:
    """Enroll one machine."""
    home.prepare()
    issuer = site.sandbox.issuer

    def token(nonce: str) -> str:
        claims = issuer.claims(person, now=time.time())
        claims.update(aud=CLIENT, nonce=nonce, auth_time=int(time.time()), acr="phr", amr=["hwk"])
        return issuer.sign(claims, header={"typ": "JWT"}).decode()

    with agent_wire(person, clock) as wire:
        plane = ControlPlane(wire, site.url, clock.now)
        Enroller(home, plane, source, clock, Person(token), wish=KeyWish(wanted="file")).enroll(code)


@contextmanager
def agent_wire(person: str, clock: SystemClock) -> Iterator[Wire]:
    """Connect as an agent does, from an address of this person's own."""
    with Wire(tls=None, elapsed=clock.elapsed) as wire:
        wire._client.headers["X-Forwarded-For"] = f"2001:db8:{int(person.partition('-')[2]):x}::1"
        yield wire
