"""What keeps the agent from its work: one error with a stable code, and what a caller has to tell apart.

Messages are lower case, without a final period, and never hold a secret.
"""

from __future__ import annotations


class AgentError(Exception):
    """A stable code, what was wrong, where, and what to do."""

    def __init__(self, code: str, message: str = "", *, where: str = "", hint: str = "") -> None:
        super().__init__(code, message, where, hint)
        self.code = code
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.code}" if self.where else self.code
        text += f": {self.message}" if self.message else ""
        return text + (f" ({self.hint})" if self.hint else "")


class UnreachableError(AgentError):
    """Nobody answered, or nobody who could: the same may succeed later. `retry_after` is what the server asked for."""

    def __init__(self, code: str, message: str = "", *, where: str = "", retry_after: float | None = None) -> None:
        super().__init__(code, message, where=where)
        self.retry_after = retry_after


class RefusedError(AgentError):
    """The control plane said no; code and remedy are its own. Asking again changes nothing by itself."""

    def __init__(self, code: str, message: str = "", *, status: int, hint: str = "") -> None:
        super().__init__(code, message, hint=hint)
        self.status = status


class Secret:
    """A text that may be sent and must not be shown: its `repr` and `str` say nothing."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one who sends it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__
