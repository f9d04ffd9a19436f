"""What the collectors see, as claims with the time each was looked at, and only what the person agreed to."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from device_inventory.agent.errors import AgentError
from device_inventory.agent.state import Told
from device_inventory.collectors.ask_helper import HELPER_SOCKET, HelperError, ask_helper, helper_key
from device_inventory.collectors.linux import SLOW_FACTS, collect
from device_inventory.collectors.machine import Machine
from device_inventory.collectors.unseen import NotObserved

SLOW_EVERY: Final = 86_400

T = TypeVar("T")


class Seen(Struct, frozen=True, kw_only=True):
    """One look at the machine."""

    boot_id: str
    facts: Mapping[str, Told]
    version: str
    scope: str = "user"

    def slow_at(self, now: int) -> int:
        """Return when the slow facts were looked at; where they are not of one time, the earliest."""
        return min((fact.collected_at for name, fact in self.facts.items() if name in SLOW_FACTS), default=now)


class Source(Protocol):
    """Looks at this machine."""

    def look(self, *, now: int, slow: bool) -> Seen:
        """Return every fact of the fast lane, and with `slow` those that take seconds."""
        ...

    def helper_key(self) -> Mapping[str, str] | None:
        """Return the root helper's public key; None where no helper is installed."""
        ...

    def ask_helper(self, *, nonce: str, device: str) -> str | None:
        """Return the helper's signed word; None where no helper is installed."""
        ...


class ThisMachine:
    """The collectors of this machine. `memory` is where the slow lane remembers since when updates wait."""

    def __init__(self, *, memory: Path | None, helper_socket: Path = HELPER_SOCKET, root: Path = Path("/")) -> None:
        self._memory = memory
        self._socket = helper_socket
        self._root = root

    def look(self, *, now: int, slow: bool) -> Seen:
        """Look once; AGENT_COLLECTOR when not even the boot can be named."""
        machine = Machine(now=now, root=self._root, memory=self._memory)
        try:
            boot_id = machine.word("/proc/sys/kernel/random/boot_id")
        except (OSError, NotObserved) as error:
            raise AgentError("AGENT_COLLECTOR", f"the boot cannot be named: {type(error).__name__}") from None
        mask = os.umask(0o077)  # what the collectors remember lies in the agent's folder
        try:
            found = collect(machine, slow=slow)
        finally:
            os.umask(mask)
        facts = {
            name: Told(
                status=fact.status,
                value=list(fact.value) if isinstance(fact.value, tuple) else fact.value,
                collected_at=fact.looked_at(now),
            )
            for name, fact in found.items()
        }
        return Seen(boot_id=boot_id, facts=facts, version=agent_version())

    def helper_key(self) -> Mapping[str, str] | None:
        """Return the helper's key; AGENT_HELPER when it is there and does not answer as it should."""
        return self._helped(lambda: helper_key(self._socket))

    def ask_helper(self, *, nonce: str, device: str) -> str | None:
        """Return the helper's word; AGENT_HELPER likewise."""
        return self._helped(lambda: ask_helper(self._socket, nonce, device))

    def _helped(self, ask: Callable[[], T]) -> T | None:
        if not self._socket.exists():
            return None
        try:
            return ask()
        except HelperError as error:
            raise AgentError("AGENT_HELPER", str(error), where=str(self._socket)) from None


def agreed_only(facts: Mapping[str, Told], agreed: Collection[str]) -> dict[str, Told]:
    """Keep what the notice listed. INVARIANT: nothing else of a machine is sent or kept."""
    return {name: fact for name, fact in facts.items() if name in agreed}


def agent_version() -> str:
    """Return the version this agent was installed as."""
    try:
        return metadata.version("zt-engine")
    except metadata.PackageNotFoundError:
        return "unknown"
