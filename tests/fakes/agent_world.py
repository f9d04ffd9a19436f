"""One control plane over real HTTP, one machine and one person, for the tests of the agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from device_inventory.agent.control_plane import ControlPlane
from device_inventory.agent.device import Attesters, Device, Outcome
from device_inventory.agent.enrolling import Enrolled, Enroller
from device_inventory.agent.errors import AgentError, Secret
from device_inventory.agent.keys import KeyWish, attester_of
from device_inventory.agent.oidc import Binding, SignedIn
from device_inventory.agent.state import Held, Home, State
from device_inventory.agent.wire import Wire
from tests.fakes.agent_machine import FakeMachine, FakePerson
from tests.fakes.clock import FakeClock
from tests.fakes.control_plane_http import Dropped, FakeControlPlane
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.core.jose import split_compact

FILE = KeyWish(wanted="file")


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class World:
    """Everything an enrollment needs, in one process; the network between them is real."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.idp = DevIssuer("https://idp.example", audience="zt-agent")
        self.plane = FakeControlPlane(self.clock, issuer=self.idp.issuer, who=who)
        self.machine = FakeMachine()
        self.person = FakePerson(self.token)
        self.home = Home(folder / "home")
        self.attesters: Attesters = attester_of
        self.code = self.plane.invite("tanaka")

    def token(self, nonce: str, subject: str = "tanaka") -> str:
        """An ID token."""
        return self.idp.mint(subject, now=self.clock.now(), nonce=nonce).decode()

    def signed_in(self, subject: str = "tanaka") -> SignedIn:
        """A sign-in for this control plane."""
        binding = Binding(self.plane.url)
        return binding.signed_in(Secret(self.token(binding.nonce, subject)))

    @contextmanager
    def server(self) -> Iterator[ControlPlane]:
        """A connection."""
        with Wire(tls=None, elapsed=self.clock.elapsed) as wire:
            yield ControlPlane(wire, self.plane.url, self.clock.now)

    def enroll(self, code: str | None = None, *, again: bool = False, wish: KeyWish = FILE) -> Enrolled:
        """Enroll, or go on with it."""
        with self.server() as server:
            enroller = Enroller(
                self.home, server, self.machine, self.clock, self.person, wish=wish, attesters=self.attesters
            )
            return enroller.enroll(self.code if code is None else code, again=again)

    @contextmanager
    def device(self) -> Iterator[Device]:
        """The enrolled device, with its folder locked."""
        with self.server() as server, self.home.locked():
            yield Device(self.home, server, self.machine, self.clock, attesters=self.attesters)

    def report(self, *, full: bool = False) -> Outcome:
        """Report once."""
        with self.device() as device:
            return device.report(full=full)

    def renew(self) -> Held:
        """Renew the certificate."""
        with self.device() as device:
            return device.renew()

    @property
    def state(self) -> State:
        """What the agent remembers."""
        held = self.home.load()
        assert held is not None
        return held

    def drop_answer(self, number: int) -> None:
        """Break the connection once, after the request with this number was carried out."""
        left = [number]

        def after(method: str, path: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Dropped

        self.plane.after = after


def who(id_token: str) -> tuple[str, str]:
    """Issuer and subject of an ID token that nobody verified."""
    claims = split_compact(
        id_token.encode(), max_bytes=1 << 14, malformed="TOKEN_MALFORMED", too_large="TOKEN_MALFORMED"
    ).claims
    return str(claims["iss"]), str(claims["sub"])


def code_of(failing: Callable[[], object]) -> str:
    """The code of the error that something fails with."""
    try:
        failing()
    except AgentError as error:
        return error.code
    raise AssertionError("nothing failed")
