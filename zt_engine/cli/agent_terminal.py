"""The person at this terminal: signs in, is shown the notice, and is asked."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence

import typer

from device_inventory.agent import oidc_browser, oidc_device
from device_inventory.agent.control_plane import Mine, Notice, Terms
from device_inventory.agent.device import Clock
from device_inventory.agent.errors import AgentError, Secret
from device_inventory.agent.keys import Choice
from device_inventory.agent.oidc import Binding, Client, SignedIn, discover
from device_inventory.agent.opening import to_provider
from zt_engine.cli.agent_report import Screen
from zt_engine.cli.output import Language


class Terminal:
    """The person at this terminal."""

    def __init__(
        self, language: Language, clock: Clock, *, device_code: bool, browser: bool, yes: bool, proxy: str
    ) -> None:
        self.screen = Screen(language)
        self._language: Language = language
        self._clock = clock
        self._device_code = device_code
        self._browser = browser
        self._yes = yes
        self._proxy = proxy

    def sign_in(self, terms: Terms) -> SignedIn:
        """Have the person sign in, here or on another machine; ENROLL_CLOSED where no issuer is named."""
        if not terms.issuer:
            raise AgentError("ENROLL_CLOSED", "the control plane names no identity provider", where=terms.url)
        client = Client(issuer=terms.issuer, client_id=terms.client_id, scope=terms.scope)
        binding = Binding(terms.url)
        return binding.signed_in(self._token(terms, client, binding.nonce))

    def _token(self, terms: Terms, client: Client, nonce: str) -> Secret:
        with to_provider(self._clock, language=self._language, proxy=self._proxy) as wire:
            provider = discover(wire, terms.issuer, now=self._clock.now())
            if self._device_code:
                return oidc_device.sign_in(
                    wire,
                    provider,
                    client,
                    nonce=nonce,
                    show=self.screen.prompt,
                    pause=time.sleep,
                    now=self._clock.now,
                    elapsed=self._clock.elapsed,
                )
            return oidc_browser.sign_in(
                wire,
                provider,
                client,
                nonce=nonce,
                show=self._visit,
                now=self._clock.now,
                elapsed=self._clock.elapsed,
            )

    def agree(self, notice: Notice, ownership: str) -> bool:
        """Show the notice, and ask."""
        self.screen.notice(notice)
        if self._yes:
            self.screen.say("agreed")
            return True
        try:
            return typer.confirm(self.screen.words("agree"))
        except typer.Abort:
            return False

    def choose(self, devices: Sequence[Mine]) -> str:
        """Have the person choose one of their devices."""
        if not devices:
            raise AgentError("AGENT_NO_DEVICE", "you hold no device that could be lost")
        self.screen.mine(devices)
        number = 0
        while not 1 <= number <= len(devices):
            number = int(typer.prompt(self.screen.words("which"), type=int))
        return devices[number - 1].device_id

    def sure(self, device_id: str) -> None:
        """Ask once more, unless that was answered before."""
        if not self._yes:
            typer.confirm(self.screen.words("lost_sure", device=device_id), abort=True)

    def chose(self, choice: Choice) -> None:
        """Say where the key is made."""
        self.screen.chose(choice)

    def unattested(self, error: AgentError) -> None:
        """Say that nothing proves where the key is."""
        self.screen.doubt("unattested", error)

    def step(self, name: str) -> None:
        """Say what happens now."""
        self.screen.step(name)

    def _visit(self, url: str) -> None:
        self.screen.visit(url)
        if self._browser:
            browse(url)


def browse(url: str) -> None:
    """Bring a URL to a browser, if there is one; it was printed anyway."""
    program = shutil.which("xdg-open")
    if program is None:
        return

    def start() -> None:
        quiet = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            # One argument: a URL that is https or on loopback.
            subprocess.run([program, url], stdin=quiet, stdout=quiet, stderr=quiet, check=False)  # noqa: S603

    # Some browsers stay in the foreground.
    threading.Thread(target=start, daemon=True).start()
