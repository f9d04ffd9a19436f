"""What a person or a program is told when access is refused: a page in Japanese or English, or RFC 9457 JSON."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import msgspec
from jinja2 import Environment, select_autoescape

from zt_engine.pages.registry import Code

TEXTS: Mapping[str, Mapping[str, str]] = {
    "ja": {"title": "アクセスできません", "todo": "次にできること", "help": "お問い合わせ", "code": "コード", "decision": "判定番号"},
    "en": {"title": "Access refused", "todo": "What you can do", "help": "Help", "code": "Code", "decision": "Decision"},
}
UNKNOWN = Code(
    kind="contact",
    ja="この情報にアクセスできません。",
    en="You cannot reach this information.",
    hint_ja="判定番号を添えてヘルプデスクにご連絡ください。",
    hint_en="Contact the help desk with the decision id.",
)
HTML = "text/html; charset=utf-8"
PROBLEM = "application/problem+json"
SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def language_of(accept_language: str, *, default: str) -> str:
    """Return `ja` or `en`: the first of the two a person asks for with the highest weight (RFC 9110, 12.5.4)."""
    best, found = 0.0, default
    for part in accept_language[:256].split(","):
        tag, _, parameter = part.strip().partition(";")
        primary = tag.strip().lower().partition("-")[0]
        try:
            weight = float(parameter.strip().removeprefix("q=") or "1")
        except ValueError:
            continue
        if primary in TEXTS and best < weight <= 1:
            best, found = weight, primary
    return found


def wants_json(accept: str) -> bool:
    """Whether a program asks: JSON is named and HTML is not."""
    lowered = accept[:1024].lower()
    return "json" in lowered and "text/html" not in lowered


class DeniedPage:
    """Renders refusals; templates are compiled once."""

    def __init__(self, codes: Mapping[str, Code], *, default_language: str, help_url: str = "") -> None:
        self._codes = codes
        self._default = default_language
        self._help_url = help_url
        source = (resources.files("zt_engine.pages") / "templates" / "denied.html").read_text(encoding="utf-8")
        environment = Environment(autoescape=select_autoescape(default=True), trim_blocks=True)
        self._template = environment.from_string(source)

    def render(self, *, code: str, decision: str, status: int, accept: str, accept_language: str) -> tuple[str, bytes]:
        """Return content type and body for a refusal."""
        language = language_of(accept_language, default=self._default)
        entry = self._codes.get(code, UNKNOWN)
        shown = code if code in self._codes else "DENIED"
        text, hint = entry.text(language), entry.hint(language)
        if wants_json(accept):
            problem = {
                "type": f"urn:zt:reason:{shown}",
                "title": text,
                "status": status,
                "detail": hint,
                "code": shown,
                "decision": decision,
            }
            return PROBLEM, msgspec.json.encode(problem)
        page = self._template.render(
            lang=language, t=TEXTS[language], text=text, hint=hint, command=entry.command, code=shown, decision=decision,
            help_url=self._help_url,
        )  # fmt: skip
        return HTML, page.encode()
