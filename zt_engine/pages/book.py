"""The book of pages: people's pages of the control plane, rendered from templates. No script, nothing fetched.

INVARIANT: a page does what the program wrote and nothing else. Everything from outside is escaped, and the policy that
goes with a page allows its one style sheet, and a script where it has one, by their digests.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, Literal

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from zt_engine.pages.portal import BASE

Language = Literal["ja", "en"]
LANGUAGES: Final[tuple[Language, ...]] = ("ja", "en")
FOLDER: Final = resources.files("zt_engine.pages") / "templates"


class Page(msgspec.Struct, frozen=True):
    """One page, and the Content-Security-Policy that it is sent with."""

    body: bytes
    security_policy: str
    language: Language


class PageBook:
    """Renders pages. `organisation` stands at the head of each, and whom to ask for help at its foot."""

    def __init__(
        self, default_language: Language, *, organisation: str = "", help_contact: str = "", help_url: str = ""
    ) -> None:
        self.default_language: Language = default_language
        self._shared: Mapping[str, Any] = {
            "organisation": organisation,
            "help_contact": help_contact,
            "help_url": help_url,
        }
        self._style = (FOLDER / "portal.css").read_text(encoding="utf-8")
        self._environment = Environment(
            loader=FileSystemLoader(str(FOLDER)),
            autoescape=select_autoescape(default=True, default_for_string=True),
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )

    def render(
        self,
        template: str,
        *,
        language: Language,
        visitor: object = None,
        script: str = "",
        onward: str = "",
        **values: Any,
    ) -> Page:
        """Return a page. `visitor` is who looks at it, if anybody is known; `script` the one that may run in it.

        `onward` is the one other origin to which what is done with its form may lead.
        """
        body = self._environment.get_template(template).render(
            **self._shared,
            style=self._style,
            script=script,
            lang=language,
            b=BASE[language],
            languages=[(one, BASE[one]["name"]) for one in LANGUAGES if one != language],
            visitor=visitor,
            **values,
        )
        return Page(body.encode(), _policy(self._style, script, onward), language)


def _policy(style: str, script: str, onward: str) -> str:
    scripts = f"script-src '{_digest(script)}'; connect-src 'self'; " if script else ""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; {scripts}base-uri 'none'; "
        f"form-action 'self'{onward and ' '}{onward}; frame-ancestors 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
