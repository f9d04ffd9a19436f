"""What a person or a program is told when access is refused: a page in Japanese or English, or RFC 9457 JSON.

It says what is wrong and what to do about it, never a threshold or a rule. No script, nothing fetched, no cookie; the
one style sheet is allowed by its digest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Literal

import msgspec
from jinja2 import Environment, StrictUndefined

from zt_engine.pages.registry import Code

Language = Literal["ja", "en"]

TEXTS: Mapping[str, Mapping[str, str]] = {
    "ja": {
        "name": "日本語",
        "title": "アクセスできません",
        "enter": "サインインのご案内",
        "step": "もう一段階の確認が必要です",
        "next": "次にできること",
        "after": "済みましたら、",
        "again": "このページをもう一度開いてください。",
        "returns": "終わると、このページに戻ります。",
        "site": "終わると、元のサイトに進みます。",
        "help": "うまくいかないときは、上の番号をヘルプデスクにお伝えください。",
        "help_code": "うまくいかないときは、上の理由コードをヘルプデスクにお伝えください。",
        "sign_in": "サインインする",
        "confirm": "この端末を確認する",
        "code": "理由コード",
        "decision": "判定番号",
    },
    "en": {
        "name": "English",
        "title": "Access refused",
        "enter": "Please sign in",
        "step": "One more step",
        "next": "What you can do",
        "after": "When you have done that, ",
        "again": "open this page again.",
        "returns": "You come back to this page afterwards.",
        "site": "You come to the site afterwards.",
        "help": "If it does not work, tell the help desk what stands above.",
        "help_code": "If it does not work, tell the help desk the reason code above.",
        "sign_in": "Sign in",
        "confirm": "Confirm this device",
        "code": "Reason code",
        "decision": "Decision id",
    },
}
UNKNOWN = Code(
    kind="contact",
    ja="この情報にはアクセスできません。",
    en="You cannot reach this information.",
    hint_ja="判定番号を添えて、ヘルプデスクにご連絡ください。",
    hint_en="Contact the help desk and give them the decision id.",
)
LAST_RESORT = {
    "ja": "必要な操作であれば、判定番号を添えてヘルプデスクにご連絡ください。",
    "en": "If you need this, contact the help desk and give them the decision id.",
}
"""Said where a code has no hint: nobody is left without a next step."""

UNPROVEN = "DEVICE_UNPROVEN"
"""Said to a browser that is signed in and shows no device: confirming it (`/.zt/device`) may be all that is missing."""
CONFIRMED = frozenset(("DEVICE_UNPROVEN", "DEVICE_UNKNOWN"))

BEGIN_ANEW = (
    "SIGN_IN_STATE", "SIGN_IN_BROWSER", "SIGN_IN_DENIED", "SIGN_IN_CODE", "SIGN_IN_RETURN", "SIGN_IN_MIXED",
    "SIGN_IN_UNMET", "TOKEN_",
)  # fmt: skip
"""Of a sign-in that did not come to its end: its own page is no page to open again."""
SIGNS_IN = (401, 503)
"""Whoever has to sign in, and whoever was signing in where somebody did not answer."""
UNMET, MISCONFIGURED = "SIGN_IN_UNMET", "SIGN_IN_CLIENT"

OWN_HANDS = frozenset({"auth", "report", "device"})
"""Kinds of reasons that the person can do something about; the command of any other kind is for an operator."""

HTML = "text/html; charset=utf-8"
PROBLEM = "application/problem+json"


class Refusal(msgspec.Struct, frozen=True):
    """One refusal, rendered."""

    content_type: str
    language: str
    body: bytes


def weights(header: str) -> list[tuple[str, float]]:
    """Return the members of an Accept header with their weights (RFC 9110, 12.4.2); a malformed member is left out."""
    members = []
    for part in header[:1024].split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            value = float(weight)
        except ValueError:
            continue
        if name and 0 <= value <= 1:
            members.append((name, value))
    return members


def language_of(accept_language: str, *, default: str) -> str:
    """Return `ja` or `en`, whichever is asked for with the higher weight; the first of equals (RFC 9110, 12.5.4)."""
    best, found = 0.0, default
    for name, weight in weights(accept_language):
        primary = name.partition("-")[0]
        if primary in TEXTS and weight > best:
            best, found = weight, primary
    return found


def spoken_by(accept_language: str, person: str) -> str:
    """Return what a browser asks for, and behind all of that the language that is the person's own."""
    # In front, where no header is too long to be read to its end.
    return ", ".join(filter(None, (person and f"{person};q=0.001", accept_language)))


def wants_page(accept: str) -> bool:
    """Whether a person asks. Browsers name HTML; a program that names nothing, or anything, gets JSON."""
    page = data = 0.0
    for name, weight in weights(accept):
        if name in ("text/html", "application/xhtml+xml"):
            page = max(page, weight)
        elif name == "application/json" or name.endswith("+json"):
            data = max(data, weight)
    return page > 0 and page >= data


class DeniedPage:
    """Renders refusals. `codes` may change while it runs: a new bundle brings the reasons of its policy."""

    def __init__(
        self, codes: Mapping[str, Code], *, default_language: str, help_url: str = "", signs_in: bool = False,
        confirms: bool = False,
    ) -> None:  # fmt: skip
        """`signs_in`: whether a browser can be sent to `/.zt/login` of the very host; `confirms`: to `/.zt/device`."""
        self._codes = codes
        self._default = default_language
        self._help_url = help_url
        self._signs_in = signs_in
        self._confirms = confirms
        folder = resources.files("zt_engine.pages") / "templates"
        self._style = (folder / "denied.css").read_text(encoding="utf-8")
        environment = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined)
        self._template = environment.from_string((folder / "denied.html").read_text(encoding="utf-8"))
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode("ascii")
        self.security_policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )

    def entry(self, code: str) -> Code | None:
        """Return what is known of a code today."""
        return self._codes.get(code)

    def render(
        self, *, code: str, decision: str, status: int, accept: str, accept_language: str, sign_in: str = "",
        confirm: str = "",
    ) -> Refusal:  # fmt: skip
        """Return a refusal in the form and the language that were asked for; an unknown code is not shown.

        `sign_in` is the way to sign in and come back, `confirm` to have the device confirmed, for whom that would help.
        """
        language = language_of(accept_language, default=self._default)
        known = self._codes.get(code)
        entry, shown = (UNKNOWN, "DENIED") if known is None else (known, code)
        leads = (status in SIGNS_IN and shown != MISCONFIGURED) or shown.startswith(BEGIN_ANEW)
        way = sign_in if self._signs_in and leads else ""
        helps = self._confirms and (shown in CONFIRMED or shown.startswith("DEVICE_PROOF_"))
        device = confirm if helps and not way else ""
        if not wants_page(accept):
            ways = {"sign_in": way, "confirm_device": device}
            return Refusal(PROBLEM, language, _problem(entry, shown, decision, status, language, ways))
        other = "en" if language == "ja" else "ja"
        page = self._template.render(
            style=self._style,
            lang=language,
            t=TEXTS[language],
            kind=entry.kind,
            kicker=TEXTS[language][_kicker(shown, status)],
            text=entry.text(language),
            hint=_hint(entry, language),
            command=entry.command if entry.kind in OWN_HANDS else "",
            again=entry.kind in OWN_HANDS and not (way or device),
            returns=TEXTS[language]["site" if status != 401 and way else "returns"],
            help_url=self._help_url,
            sign_in=way,
            confirm=device,
            code=shown,
            decision=decision,
            other={
                "lang": other,
                "name": TEXTS[other]["name"],
                "text": entry.text(other),
                "hint": _hint(entry, other),
            },
        )
        return Refusal(HTML, language, page.encode())


def _kicker(code: str, status: int) -> str:
    """Return what stands above the reason: nobody who only has to sign in is told of a refusal."""
    if code == UNMET:
        return "step"
    if status != 401:
        return "title"
    return "enter" if code.startswith(("AUTH_REQUIRED", "SESSION_", "TOKEN_")) else "step"


def _hint(entry: Code, language: str) -> str:
    return entry.hint(language) or LAST_RESORT[language]


def _problem(
    entry: Code, code: str, decision: str, status: int, language: str, ways: Mapping[str, str]
) -> bytes:  # fmt: skip
    """Encode a problem (RFC 9457); `code`, `decision` and those of the `ways` that help are extension members."""
    problem: dict[str, object] = {
        "type": f"urn:zt:reason:{code}",
        "title": entry.text(language),
        "status": status,
        "detail": _hint(entry, language),
        "code": code,
        "decision": decision,
    }
    problem |= {name: way for name, way in ways.items() if way}
    return msgspec.json.encode(problem) + b"\n"
