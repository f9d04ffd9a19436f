"""What the pages of an enrollment say, and what they make of what people paste, whatever that is."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.agent.link import read_ticket
from device_inventory.device import DEVICE_STATUSES
from device_inventory.enrollment import STEPS, Enrollment
from device_inventory.notice import notice
from tests.control_support import NOW, a_device
from zt_engine.control_plane.context import ControlPlane, PlaneSettings
from zt_engine.control_plane.portal.enroll import ENDED, code_in, command_of, platform_of
from zt_engine.control_plane.portal.enroll_journey import stage_of
from zt_engine.control_plane.remedies import REMEDIES, Item
from zt_engine.pages.book import LANGUAGES, PageBook
from zt_engine.pages.enroll import EnrollPages, Package, grouped, left, moment, reach
from zt_engine.pages.enroll_texts import NAMES, TEXTS
from zt_engine.pages.registry import registry

CODES = st.from_regex(r"[A-Za-z0-9_-]{6,200}", fullmatch=True)
ITEMS = [Item(code=code, text=code) for code in ("FIX_DISK", "FIX_PATCH", "DEVICE_NOT_MANAGED")]


def plane(**settings: Any) -> ControlPlane:
    """A control plane of which only the settings count."""
    known = PlaneSettings(tenant="t", url="https://control.example", facts=frozenset(), **settings)
    parts = dict.fromkeys(name for name in ControlPlane.__struct_fields__ if name not in ("settings", "rooms"))
    return ControlPlane(**{**parts, "settings": known, "extras": {"ca_sha256": "ab" * 32}})  # type: ignore[arg-type]


def test_both_languages_say_the_same_things_with_the_same_blanks() -> None:
    ja, en = TEXTS["ja"], TEXTS["en"]
    # Only English tells one from many.
    assert set(en) - set(ja) == {"left_one", "left_one_label"}
    assert set(ja) <= set(en)
    for name, text in ja.items():
        assert re.findall(r"{(\w+)}", text) == re.findall(r"{(\w+)}", en[name]) or {*re.findall(r"{\w+}", text)} == {
            *re.findall(r"{\w+}", en[name])
        }


def test_no_text_hides_behind_what_every_mapping_has() -> None:
    # A template would find the method and print it.
    assert not [name for texts in TEXTS.values() for name in texts if hasattr(dict, name)]


def test_every_remedy_has_a_short_name_and_every_end_its_words() -> None:
    assert set(REMEDIES.values()) <= set(NAMES)
    assert all(error.code in registry() for error in ENDED.values())


@pytest.mark.parametrize(
    ("language", "count", "label", "words"),
    [
        ("ja", 2, "", "あと2項目で利用できます：ディスク暗号化、OS更新"),
        ("en", 2, "", "2 items left: disk encryption, OS update"),
        ("en", 1, "", "1 item left: disk encryption"),
        ("ja", 2, "取扱注意", "あと2項目で「取扱注意」まで利用できます：ディスク暗号化、OS更新"),
        ("en", 1, "Level 2", "1 item left for “Level 2”: disk encryption"),
        # What has no short name stands in the list below.
        ("ja", 3, "", "あと3項目で利用できます"),
        ("en", 3, "", "3 items left"),
    ],
)
def test_what_is_left_is_said_in_one_line(language: Any, count: int, label: str, words: str) -> None:
    assert left(ITEMS[:count], label, language) == words


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_item_of_the_notice_stands_under_its_purpose_with_the_mark_of_its_time(language: Any) -> None:
    found = notice("corp", language)
    groups, marks = grouped(found, language)

    assert len(set(marks.values())) == len(marks)
    told = {(purpose, text, mark) for purpose, members in groups for text, mark in members}
    assert told == {(item.purpose, item.text, marks[item.retention]) for item in found}


def test_times_are_written_as_people_here_write_them() -> None:
    assert moment(NOW, "ja") == "9月21日 23:13（日本時間）"
    assert moment(NOW, "en") == "21 Sep 14:13 UTC"


def test_without_labels_none_is_named() -> None:
    assert reach(200, {}, "ja") == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_package_is_named_with_its_digest_where_the_settings_do(language: Any) -> None:
    pages = EnrollPages(PageBook(language))
    package = Package(url="https://files.example/zt.whl", sha256="cd" * 32)
    told = pages.install(language, None, command="zt", package=package, to="/").body.decode()
    silent = pages.install(language, None, command="zt", package=Package(), to="/").body.decode()

    assert 'href="https://files.example/zt.whl"' in told
    assert "cd" * 32 in told
    assert "sha256sum" in told
    assert "sha256sum" in silent
    assert "SHA-256" not in silent


@given(code=CODES, around=st.sampled_from(["", " ", "\n", "\u3000"]))
def test_code_and_link_are_both_taken_and_the_command_is_always_four_words_that_the_agent_reads(
    code: str, around: str
) -> None:
    command = command_of(plane(), code)
    words = shlex.split(command)

    assert words[:3] == ["zt", "agent", "enroll"]
    assert len(words) == 4
    ticket = read_ticket(words[3])
    assert (ticket.code, ticket.ca_sha256) == (code, "ab" * 32)
    assert code_in(f"{around}{code}{around}") == code_in(f"{around}{words[3]}{around}") == code


@given(text=st.text(max_size=300))
def test_whatever_is_pasted_becomes_a_code_or_nothing(text: str) -> None:
    for pasted in (text, f"https://control.example/enroll#code={text}", f"#{text}"):
        code = code_in(pasted)
        assert code == "" or re.fullmatch(r"[A-Za-z0-9_-]{6,200}", code)


@given(
    state=st.sampled_from(list(STEPS)),
    status=st.sampled_from([None, *DEVICE_STATUSES]),
    withdrawn=st.booleans(),
    closed=st.booleans(),
    late=st.booleans(),
)
def test_nobody_is_welcome_whose_device_is_not_in_service(
    state: Any, status: Any, withdrawn: bool, closed: bool, late: bool
) -> None:
    invitation: Any = INVITATION if not withdrawn else WITHDRAWN
    enrollment = Enrollment(
        tenant="t", id="e", invitation="i", issuer="https://idp.example", subject="tanaka", state=state,
        secret_digest="", started_at=NOW, changed_at=NOW, not_after=NOW if late else NOW + 1,
    )  # fmt: skip
    device = None if status is None else a_device(status=status)
    stage = stage_of(invitation, enrollment, device, closed=closed, now=NOW)

    if stage in ("welcome", "remedy"):
        assert state == "complete"
        assert status in ("active", "enrolled", "invited")
        assert (stage == "remedy") == closed
    if status in ("lost", "revoked", "retired", "quarantined"):
        assert stage in ("held", "expired")
    assert stage not in ("command", "over")


@pytest.mark.parametrize("agent", ["", "curl/8", "Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (X11; CrOS x86_64)"])
def test_what_may_be_the_right_machine_is_not_sent_away(agent: str) -> None:
    assert platform_of(agent) is None


class _Invitation:
    """An invitation, of which only this counts once something has begun."""

    def __init__(self, state: str) -> None:
        self.state, self.not_after = state, NOW


INVITATION, WITHDRAWN = _Invitation("open"), _Invitation("withdrawn")
