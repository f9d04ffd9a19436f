"""The policy of proxies with `rego`: a bundle that is followed, or a running OPA."""

from __future__ import annotations

import structlog

from zt_engine.adapters.engine_opa import OpaEngine
from zt_engine.adapters.log_segments import DecisionLog
from zt_engine.bootstrap.authzen_rules import RulesFollower, Wanted
from zt_engine.config import Settings
from zt_engine.core.errors import ConfigError
from zt_engine.sidecar.rego.rules import RegoRules

log = structlog.get_logger()


def of_proxies(settings: Settings) -> Wanted:
    """Return what proxies want of the bundle: nothing where a running OPA answers."""
    rules = {proxy.rego for proxy in settings.proxies if proxy.rego and not settings.rego.opa_url}
    return Wanted(settings.path(settings.rego.bundle), tuple(sorted(rules)), "proxies.rego")


class RegoFollower(RulesFollower):
    """Keeps the policy what the settings say. Does nothing where no proxy names a rule."""

    def __init__(self, settings: Settings, rules: RegoRules, decision_log: DecisionLog) -> None:
        super().__init__(settings, rules, decision_log, of_proxies)
        self._asked = ("", "", 0)

    async def refresh(self) -> None:
        """Take up the bundle if its file has changed, or OPA if its address has."""
        wanted = self._settings.rego
        if not wanted.opa_url or not any(proxy.rego for proxy in self._settings.proxies):
            self._asked = ("", "", 0)
            await super().refresh()
            return
        asked = (wanted.opa_url, wanted.opa_revision, self._settings.policy.budget_ms)
        if asked == self._asked:
            return
        try:
            engine = OpaEngine(asked[0], revision=asked[1], deadline_ms=max(asked[2], OPA_MS))
        except ConfigError as error:
            self.problem = error
            log.error("rules.refused", rules="rego.opa_url", problem=str(error))
            return
        self._asked, self.problem = asked, None
        old = self._rules.activate(engine, "")
        if old is not None:
            old.close()


OPA_MS = 100
"""What another process may take, at least."""
