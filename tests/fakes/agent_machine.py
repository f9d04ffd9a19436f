"""What the agent stands on in tests: a machine whose facts are set by hand, a person who signs in and agrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from device_inventory.agent.collecting import Seen
from device_inventory.agent.control_plane import Notice, Terms
from device_inventory.agent.errors import AgentError, Secret
from device_inventory.agent.keys import Choice
from device_inventory.agent.oidc import Binding, SignedIn
from device_inventory.agent.state import Told


class FakeMachine:
    """The port `Source`. `facts` are name -> value; None stands for what could not be looked at."""

    def __init__(self, **facts: Any) -> None:
        self.facts: dict[str, Any] = {"os.id": "debian", "disk.encrypted": True, "firewall.enabled": True}
        self.facts.update({name.replace("__", "."): value for name, value in facts.items()})
        self.slow: dict[str, Any] = {"patch.pending_security": 3}
        self.slow_at: int | None = None
        """When the slow facts were looked at, where that was before the look that tells them."""
        self.boot_id = "boot-1"
        self.looks: list[bool] = []
        self.key: Mapping[str, str] | None = None
        self.word: Callable[[str, str], str] | None = None

    def look(self, *, now: int, slow: bool) -> Seen:
        """What was set, as of now."""
        self.looks.append(slow)
        facts = {name: told(value, now) for name, value in self.facts.items()}
        if slow:
            facts |= {name: told(value, self.slow_at or now) for name, value in self.slow.items()}
        return Seen(boot_id=self.boot_id, facts=facts, version="1.0")

    def helper_key(self) -> Mapping[str, str] | None:
        """The key that was set."""
        return self.key

    def ask_helper(self, *, nonce: str, device: str) -> str | None:
        """The word that was set."""
        return None if self.word is None else self.word(nonce, device)


def told(value: Any, at: int) -> Told:
    """One fact as the agent keeps it."""
    return Told(status="not_collected" if value is None else "observed", value=value, collected_at=at)


class FakePerson:
    """The port `Talk`."""

    def __init__(self, token: Callable[[str], str], *, agrees: bool = True) -> None:
        self._token = token
        self.agrees = agrees
        self.notices: list[tuple[Notice, str]] = []
        self.choices: list[Choice] = []
        self.sign_ins = 0
        self.steps: list[str] = []
        self.doubts: list[AgentError] = []

    def sign_in(self, terms: Terms) -> SignedIn:
        """An ID token for the nonce, at once."""
        self.sign_ins += 1
        binding = Binding(terms.url)
        return binding.signed_in(Secret(self._token(binding.nonce)))

    def agree(self, notice: Notice, ownership: str) -> bool:
        """What was set."""
        self.notices.append((notice, ownership))
        return self.agrees

    def chose(self, choice: Choice) -> None:
        """Remember it."""
        self.choices.append(choice)

    def unattested(self, error: AgentError) -> None:
        """Remember it."""
        self.doubts.append(error)

    def step(self, name: str) -> None:
        """Remember it."""
        self.steps.append(name)
