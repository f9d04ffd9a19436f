"""The two pages of signing out: the question, which only this site's own page may answer, and the goodbye."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources

from jinja2 import Environment, StrictUndefined

from zt_engine.pages.denied import language_of

TEXTS: Mapping[str, Mapping[str, str]] = {
    "ja": {
        "ask": "サインアウトしますか？",
        "ask_hint": "このブラウザーでの利用を終了します。ほかの端末のサインインはそのまま残ります。",
        "button": "サインアウトする",
        "done": "サインアウトしました。",
        "done_hint": "共用の端末では、ブラウザーも閉じてください。",
        "already": "サインイン済みです。",
        "already_hint": "このサインインの手続きは、すでに完了しています。",
        "kicker": "サインアウト",
        "kicker_in": "サインイン",
        "onward": "組織のアカウントからもサインアウトする",
        "continue": "続ける",
    },
    "en": {
        "ask": "Sign out?",
        "ask_hint": "This ends your session in this browser. Your other devices stay signed in.",
        "button": "Sign out",
        "done": "You are signed out.",
        "done_hint": "On a shared machine, close the browser as well.",
        "already": "You are signed in.",
        "already_hint": "This sign-in was completed before.",
        "kicker": "Sign out",
        "kicker_in": "Sign in",
        "onward": "Sign out of your organisation's account as well",
        "continue": "Continue",
    },
}


class SignOutPage:
    """Renders both. No script, nothing fetched; a form may only go back to this origin."""

    def __init__(self, *, default_language: str) -> None:
        self._default = default_language
        folder = resources.files("zt_engine.pages") / "templates"
        self._style = (folder / "denied.css").read_text(encoding="utf-8")
        environment = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined)
        self._template = environment.from_string((folder / "signed_out.html").read_text(encoding="utf-8"))
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode("ascii")
        self.security_policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'"
        )

    def ask(self, *, accept_language: str) -> bytes:
        """Return the question."""
        return self._render("ask", accept_language)

    def done(self, *, accept_language: str, onward: str = "") -> bytes:
        """Return the goodbye; `onward` is where the provider signs the person out as well."""
        return self._render("done", accept_language, onward, "onward")

    def already(self, *, accept_language: str) -> bytes:
        """Return the way on for whoever comes back to a sign-in that is done."""
        return self._render("already", accept_language, "/", "continue", kicker="kicker_in")

    def _render(
        self, what: str, accept_language: str, link: str = "", label: str = "onward", *, kicker: str = "kicker"
    ) -> bytes:
        language = language_of(accept_language, default=self._default)
        texts = TEXTS[language]
        return self._template.render(
            style=self._style, lang=language, t=texts, text=texts[what], hint=texts[f"{what}_hint"], asks=what == "ask",
            link=link, label=texts[label], kicker=texts[kicker],
        ).encode()  # fmt: skip
