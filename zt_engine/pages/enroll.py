"""The pages of an enrollment: what a person is shown from the invitation to the first day with the device.

One action a screen. Each says what happens next; none needs a script, and none says whose fault anything is.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

from device_inventory.device import Ownership
from device_inventory.notice import PREAMBLE, NoticeItem, notice
from zt_engine.core.classification import Level
from zt_engine.pages.book import Language, Page, PageBook
from zt_engine.pages.enroll_texts import NAMES, TEXTS

STEPS: Final = 5
Waiting = Literal["command", "agree", "key", "report", "approval"]
Platform = Literal["phone", "windows", "mac"]
"""What the agent does not run on."""

REPORT: Final = "zt agent report"
RUN: Final = "zt agent run"
JAPAN: Final = dt.timezone(dt.timedelta(hours=9))

FRAGMENT: Final = (
    '(()=>{const f=document.getElementById("code"),h=location.hash;'
    'const c=new URLSearchParams(h.slice(1)).get("code");if(!c)return;'
    "if(f&&!f.value)f.value=c;"
    'const t=document.querySelector("h1[data-invited]");if(t)t.textContent=t.dataset.invited;'
    'for(const a of document.querySelectorAll("a[hreflang],a.keep"))a.href+=h})()'
)
"""Moves the invitation from the link's fragment, which no server is sent, into the field. Without it one pastes.

The heading says that there is an invitation only when there is one.
"""

COPY: Final = (
    '(()=>{const f=document.getElementById("go"),c=document.getElementById("command");'
    'if(!f||!c||!navigator.clipboard)return;f.addEventListener("submit",e=>{e.preventDefault();'
    "navigator.clipboard.writeText(c.value).catch(()=>{}).finally(()=>f.submit())})})()"
)
"""Copies the command before the page goes on. Without it one selects and copies."""


class Listed(Protocol):
    """An item of what is left: `remedies.Item`."""

    @property
    def code(self) -> str:
        """Its code."""
        ...

    @property
    def text(self) -> str:
        """What is missing."""
        ...


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """Where the organisation's package of the agent is, and how it is known; empty where it says so elsewhere."""

    url: str = ""
    sha256: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The device that was registered, as its person would know it."""

    id: str
    name: str = ""
    model: str = ""


class EnrollPages:
    """Renders them. `visitor` is who looks, where that is known."""

    def __init__(self, book: PageBook) -> None:
        self._book = book

    def invitation(self, language: Language, visitor: object = None, *, lost: bool = False) -> Page:
        """Return the first page: paste the invitation. `lost`: it was given before, and is not at hand any more."""
        return self._page("enroll_invitation.html", language, visitor, script=FRAGMENT, at=1, lost=lost)

    def leaving(self, language: Language, to: str) -> Page:
        """Return what leads to the sign-in. A form may not lead there itself: it only goes to this site."""
        return self._page("enroll_leaving.html", language, None, at=1, to=to)

    def elsewhere(self, language: Language, visitor: object, *, platform: Platform, to: str) -> Page:
        """Return what whoever opens the invitation on another machine is told."""
        return self._page("enroll_elsewhere.html", language, visitor, script=FRAGMENT, at=1, platform=platform, to=to)

    def notice(
        self,
        language: Language,
        visitor: object,
        *,
        ownership: Ownership,
        label: str,
        approval: bool,
        until: int,
        to: str,
    ) -> Page:
        """Return what is collected and why, and what the invitation is for."""
        t = TEXTS[language]
        rows = [
            (t["ownership"], t[ownership]),
            *([(t["ceiling"], label)] if label else []),
            *([(t["approval"], t["approval_yes"])] if approval else []),
            (t["until"], moment(until, language)),
        ]
        groups, kept = grouped(notice(ownership, language), language)
        legend = [(t["marked"].format(mark=mark) if mark else t["unmarked"], text) for text, mark in kept.items()]
        return self._page(
            "enroll_notice.html",
            language,
            visitor,
            at=2,
            preamble=PREAMBLE[language],
            rows=rows,
            groups=groups,
            legend=legend,
            to=to,
        )

    def install(self, language: Language, visitor: object, *, command: str, package: Package, to: str) -> Page:
        """Return the one command, and how to check what it is run with."""
        return self._page(
            "enroll_install.html", language, visitor, script=COPY, at=3, command=command, package=package, to=to
        )

    def waiting(
        self,
        language: Language,
        visitor: object,
        *,
        stage: Waiting,
        command: str,
        seconds: int,
        paused: bool,
        path: str,
    ) -> Page:
        """Return what is waited for. `seconds`: how often it looks again by itself."""
        at = 4 if stage in ("report", "approval") else 3
        t = TEXTS[language]
        return self._page(
            "enroll_waiting.html",
            language,
            visitor,
            at=at,
            title=t[f"wait_{stage}"],
            lead=t[f"wait_{stage}_lead"],
            command=command if stage == "command" else "",
            refreshing=t["refreshing"].format(seconds=seconds),
            paused=paused,
            path=path,
        )

    def remedy(
        self,
        language: Language,
        visitor: object,
        *,
        items: Sequence[Listed],
        label: str,
        reported_at: int,
        since: int | None,
        path: str,
    ) -> Page:
        """Return what is left before anything opens."""
        said = left(items, label, language)
        return self._page(
            "enroll_remedy.html",
            language,
            visitor,
            at=4,
            title=said,
            **self._left(language, items=items, reported_at=reported_at, since=since, path=path),
        )

    def welcome(
        self,
        language: Language,
        visitor: object,
        *,
        label: str,
        items: Sequence[Listed],
        next_label: str,
        machine: Machine,
        reported_at: int,
        since: int | None,
        path: str,
    ) -> Page:
        """Return the last page: how far the device reaches, and what would take it further."""
        t = TEXTS[language]
        rows = [
            (t[name], value)
            for name, value in (("name", machine.name), ("model", machine.model), ("id", machine.id))
            if value
        ]
        return self._page(
            "enroll_welcome.html",
            language,
            visitor,
            at=5,
            title=t["welcome"].format(label=label) if label else t["welcome_plain"],
            lead=t["welcome_lead"] if label else t["welcome_none_lead"],
            further=left(items, next_label, language) if items else "",
            machine=machine,
            rows=rows,
            **self._left(language, items=items, reported_at=reported_at, since=since, path=path),
        )

    def _left(
        self, language: Language, *, items: Sequence[Listed], reported_at: int, since: int | None, path: str
    ) -> dict[str, Any]:
        t, at = TEXTS[language], moment(reported_at, language)
        checked = "" if since is None else "news" if reported_at > since else "no_news"
        return {
            "items": items,
            "checked": checked,
            "said": t[checked].format(at=at) if checked else "",
            "reported_at": reported_at,
            "reported": at,
            "path": path,
            "report": REPORT,
            "run": RUN,
        }

    def _page(
        self, template: str, language: Language, visitor: object, *, at: int, script: str = "", **values: Any
    ) -> Page:
        t = TEXTS[language]
        return self._book.render(
            template,
            language=language,
            visitor=visitor,
            script=script,
            t=t,
            step=t["step"].format(at=at, of=STEPS),
            **values,
        )


def left(items: Sequence[Listed], label: str, language: Language) -> str:
    """Say how many items are left for a label, and which: `2 items left: disk encryption, OS update`."""
    t = TEXTS[language]
    one = "_one" if len(items) == 1 and "left_one" in t else ""
    said = t[f"left{one}_label" if label else f"left{one}"].format(count=len(items), label=label)
    which = ("ja", "en").index(language)
    # What has no short name would make a sentence of sentences; it stands in the list below.
    names = list(dict.fromkeys(NAMES[item.code][which] for item in items if item.code in NAMES))
    if len(names) < len(items):
        return said
    return t["left_named"].format(said=said, names=t["between"].join(names))


def grouped(
    found: Sequence[NoticeItem], language: Language
) -> tuple[list[tuple[str, list[tuple[str, str]]]], Mapping[str, str]]:
    """Return the notice by purpose, each item with a mark, and what each mark says of how long something is kept.

    So every item has its purpose and its time, and nothing is said forty times.
    """
    times = Counter(item.retention for item in found)
    marks = {text: _MARKS[language][min(at, 2)] for at, (text, _) in enumerate(times.most_common())}
    purposes: dict[str, list[tuple[str, str]]] = {}
    for item in found:
        purposes.setdefault(item.purpose, []).append((item.text, marks[item.retention]))
    return list(purposes.items()), marks


_MARKS: Final[Mapping[Language, tuple[str, str, str]]] = {"ja": ("", "※", "†"), "en": ("", "†", "‡")}


def moment(instant: int, language: Language) -> str:
    """Say when, as people here write it: Japan's time in Japanese, UTC in English."""
    if language == "ja":
        at = dt.datetime.fromtimestamp(instant, JAPAN)
        return f"{at.month}月{at.day}日 {at:%H:%M}（日本時間）"
    at = dt.datetime.fromtimestamp(instant, dt.UTC)
    return f"{at.day} {_MONTHS[at.month - 1]} {at:%H:%M} UTC"


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def called(code: str, levels: Mapping[str, Level], language: Language) -> str:
    """Return the name of a label, or its code where nobody says how it is called."""
    level = levels.get(code)
    if level is None:
        return code
    return level.ja if language == "ja" else level.en


def reach(rank: int, levels: Mapping[str, Level], language: Language) -> str:
    """Return the name of the highest label up to a rank; empty where no labels are known."""
    below = [level for level in levels.values() if level.rank <= rank]
    best = max(below, key=lambda level: level.rank, default=None)
    return "" if best is None else called(best.code, levels, language)
