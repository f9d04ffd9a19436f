"""Resources that are not the catalogue's: a rule of the AuthZEN bundle decides them, with the question as its input."""

from __future__ import annotations

from zt_engine.core.errors import UnavailableError
from zt_engine.sidecar.authzen.evaluation import Evaluated
from zt_engine.sidecar.authzen.wire import Question


class NoRules:
    """Where there is no bundle, no resource type is known."""

    def knows(self, resource_type: str) -> bool:
        """No type is known."""
        return False

    def decide(self, question: Question) -> Evaluated:
        """Never asked."""
        raise UnavailableError("NOT_READY", "there is no bundle")
