"""What `zt agent run` answers a browser on loopback: the texts of the registry, on the page every refusal has."""

from __future__ import annotations

from device_inventory.agent.browser_proof_listener import Page
from zt_engine.cli.output import Language
from zt_engine.pages.denied import DeniedPage
from zt_engine.pages.registry import registry


def refusal_page(language: Language) -> Page:
    """Return what a person is told whose browser is not answered; `language` where the browser asks for none."""
    page = DeniedPage(registry(), default_language=language)

    def render(code: str, accept_language: str) -> tuple[bytes, str]:
        refusal = page.render(code=code, decision="", status=403, accept="text/html", accept_language=accept_language)
        return refusal.body, page.security_policy

    return render
