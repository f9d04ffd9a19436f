"""The agent in the background: it reports every 12 to 15 minutes, sooner after a change, and renews in time.

Time is counted by a clock that runs on while the machine sleeps, and is looked at twice a minute, so a machine that
wakes up reports at once instead of a quarter of an hour later. Nothing here ends it but a fault that only a person can
mend.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Protocol

from device_inventory.agent.device import Clock, Outcome
from device_inventory.agent.errors import AgentError, RefusedError, UnreachableError
from device_inventory.agent.schedule import Lots, after_refusal, back_off, until_next
from device_inventory.agent.state import Held

GLANCE: Final = 30.0
LOOK_EVERY: Final = 60.0
"""How often it looks whether something changed, and how soon after a report the next may follow."""

FATAL: Final = frozenset(
    {
        "AGENT_HOME_OPEN",
        "AGENT_KEY_CORRUPT",
        "AGENT_KEY_MISSING",
        "AGENT_KEY_OPEN",
        "AGENT_NOT_ENROLLED",
        "AGENT_PKCS11_EXTRACTABLE",
        "AGENT_STATE_CORRUPT",
        "AGENT_STATE_VERSION",
    }
)
"""What trying again does not mend."""


class Worker(Protocol):
    """What is done: an enrolled device."""

    def report(self, *, full: bool = False) -> Outcome:
        """Tell the server."""
        ...

    def changed(self) -> tuple[str, ...]:
        """Return what the server has not been told."""
        ...

    def renewal_due(self) -> bool:
        """Whether the certificate is to be renewed."""
        ...

    def renew(self) -> Held:
        """Renew it."""
        ...


class Tell(Protocol):
    """Where it says what it does: an event, and facts."""

    def __call__(self, event: str, /, **facts: object) -> None:
        """Take note."""
        ...


class Loop:
    """Runs until `wait` says that it is over. `wait(seconds)` returns early, and True, when it is."""

    def __init__(
        self,
        worker: Worker,
        *,
        locked: Callable[[], AbstractContextManager[None]],
        clock: Clock,
        lots: Lots,
        wait: Callable[[float], bool],
        tell: Tell,
    ) -> None:
        self._worker = worker
        self._locked = locked
        self._clock = clock
        self._lots = lots
        self._wait = wait
        self._tell = tell
        self._failures = 0
        self._reported_at = float("-inf")

    def run(self) -> None:
        """Work; raises what only a person can mend (`FATAL`)."""
        report_at = look_at = self._clock.elapsed()
        while True:
            now = self._clock.elapsed()
            if now >= report_at or (now >= look_at and self._news()):
                report_at = self._clock.elapsed() + self._turn()
            if now >= look_at:
                look_at = now + LOOK_EVERY
            if self._wait(min(GLANCE, max(0.0, report_at - self._clock.elapsed()))):
                return

    def _news(self) -> bool:
        """Whether something changed that is worth a report now. While the server is away nothing is."""
        if self._failures or self._clock.elapsed() - self._reported_at < LOOK_EVERY:
            return False
        try:
            changed = self._worker.changed()
        except AgentError as error:
            self._raise_fatal(error)
            return False
        if changed:
            self._tell("agent.change_seen", facts=list(changed))
        return bool(changed)

    def _turn(self) -> float:
        """Renew if it is time, report, and return the seconds to the next turn."""
        try:
            with self._locked():
                self._renew()
                outcome = self._worker.report()
        except AgentError as error:
            return self._failed(error)
        self._failures = 0
        self._reported_at = self._clock.elapsed()
        answer = outcome.answer
        self._tell(
            "agent.report_accepted", seq=answer.seq, status=answer.status, full=outcome.full, items=len(answer.items)
        )
        for trouble in outcome.troubles:
            self._tell("agent.proof_failed", code=trouble.code, message=trouble.message)
        return until_next(self._lots, answer.next_report_in)

    def _renew(self) -> None:
        if not self._worker.renewal_due():
            return
        try:
            held = self._worker.renew()
        except RefusedError as refused:
            # The old certificate may have time left, and the report tells the person why.
            self._tell("agent.renewal_refused", code=refused.code, message=refused.message, remedy=refused.hint)
        else:
            self._tell("agent.certificate_renewed", not_after=held.not_after)

    def _failed(self, error: AgentError) -> float:
        self._raise_fatal(error)
        if isinstance(error, RefusedError):
            pause = after_refusal(self._lots)
            self._tell(
                "agent.refused", code=error.code, message=error.message, remedy=error.hint, again_in=round(pause)
            )
            return pause
        self._failures += 1
        retry_after = error.retry_after if isinstance(error, UnreachableError) else None
        pause = back_off(self._lots, self._failures, retry_after)
        self._tell("agent.report_failed", code=error.code, message=error.message, again_in=round(pause))
        return pause

    @staticmethod
    def _raise_fatal(error: AgentError) -> None:
        if error.code in FATAL:
            raise error
