"""The progress of an enrollment: what a person sees at each step, what is left, and how far the device reaches."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from tests.control_support import NOW
from tests.portal_enroll_support import DISK, PATCH, Office
from tests.portal_enroll_support import office as office
from tests.portal_enroll_support import shared as shared
from zt_engine.control_plane.remedies import Unmet
from zt_engine.pages.registry import registry


@pytest.mark.parametrize(
    ("state", "ja", "en"),
    [
        ("", "端末でコマンドを実行してください", "Run the command on the device"),
        ("identified", "端末のターミナルで、収集する情報に同意してください", "Agree to what is collected"),
        ("consented", "端末の鍵を作成しています…", "Creating this device's key…"),
        ("certified", "端末の状態を確認しています…", "Looking at the state of the device…"),
        (
            "waiting",
            "承認待ちです。通常1営業日以内に完了します",
            "Waiting for approval, usually within one working day",
        ),
    ],
)
def test_each_step_that_is_waited_for_has_its_words_and_looks_again_by_itself_unless_told_not_to(
    office: Office, state: str, ja: str, en: str
) -> None:
    if state:
        office.begin(state=state, status="enrolled", report_received_at=0)
    for language, words in (("ja", ja), ("en", en)):
        browser = office.browser(office.who, language=language)
        answer = browser.get(office.progress)
        assert words in browser.text
        assert int(answer.headers["refresh"]) >= 5
        answer = browser.get(f"{office.progress}?pause=1")
        assert words in browser.text
        assert "refresh" not in answer.headers


@pytest.mark.parametrize(
    ("language", "missing", "words"),
    [
        ("ja", (DISK, PATCH), "あと2項目で利用できます：ディスク暗号化、OS更新"),
        ("en", (DISK, PATCH), "2 items left: disk encryption, OS update"),
        ("ja", (DISK,), "あと1項目で利用できます：ディスク暗号化"),
        ("en", (DISK,), "1 item left: disk encryption"),
    ],
)
def test_what_is_left_is_counted_and_named_and_each_item_says_what_to_do(
    office: Office, language: str, missing: tuple[Unmet, ...], words: str
) -> None:
    office.words.best = ""
    office.begin(state="complete")
    browser = office.browser(office.who, language=language)
    office.words.missing = (*missing, Unmet(code="FIX_SECURE_BOOT", label="C3"))
    answer = browser.get(office.progress)

    label = {"ja": "取扱注意", "en": "Level 2"}[language]
    wanted = words.replace("で利用できます", f"で「{label}」まで利用できます").replace("left:", f"left for “{label}”:")
    assert wanted in browser.text
    assert "refresh" not in answer.headers
    for one in missing:
        assert registry()[one.code].hint(language) in browser.text
    assert registry()["FIX_SECURE_BOOT"].text(language) not in browser.text


def test_checking_again_says_whether_a_new_report_came_and_how_to_send_one(office: Office) -> None:
    office.words.best, office.words.missing = "", (DISK,)
    office.begin(state="complete", report_received_at=NOW - 60)
    browser = office.browser(office.who)
    browser.get(office.progress)
    since = re.search(r'name="since" value="(\d+)"', browser.page)
    assert since is not None

    browser.get(f"{office.progress}?since={since[1]}")
    assert "No new report has arrived" in browser.text
    assert "zt agent report" in browser.text
    device = office.control.device(office.device_id)
    office.control.put(replace(device, version=device.version + 1, report_received_at=NOW))
    browser.get(f"{office.progress}?since={since[1]}")
    assert "A new report has arrived" in browser.text


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("ja", "接続できました。この端末では「取扱注意」まで利用できます"),
        ("en", "Connected. This device may be used up to “Level 2”"),
    ],
)
def test_the_last_page_says_how_far_the_device_reaches_and_forgets_the_code(
    office: Office, language: str, words: str
) -> None:
    office.begin(state="complete")
    browser = office.carrying(language=language)
    answer = browser.get(office.progress)

    assert words in browser.text
    assert "mado-7" in browser.text
    assert "ThinkPad X1" in browser.text
    assert "refresh" not in answer.headers
    assert "__Host-zt-invitation" not in browser.cookies


def test_a_device_that_opens_something_is_welcome_and_told_what_would_open_more(office: Office) -> None:
    office.words.best, office.words.missing = "C1", (DISK, PATCH)
    office.begin(state="complete")
    browser = office.browser(office.who)
    browser.get(office.progress)

    assert "may be used up to “Level 1”" in browser.text
    assert "2 items left for “Level 2”: disk encryption, OS update" in browser.text
    assert "Check again" in browser.text


def test_where_nobody_knows_of_labels_none_is_claimed(office: Office) -> None:
    office.words.best, office.words.missing = "", (Unmet(code="READINESS_UNKNOWN"),)
    office.begin(state="complete")
    browser = office.browser(office.who)
    browser.get(office.progress)

    assert "Your device is registered" in browser.text
    assert "may be used up to" not in browser.text


def test_what_a_device_calls_itself_is_text(office: Office) -> None:
    office.begin(state="complete", name="<script>alert(1)</script>", model="\u202e龘" * 50)
    browser = office.browser(office.who)
    browser.get(office.progress)

    assert "<script>alert" not in browser.page
    assert "&lt;script&gt;alert(1)" in browser.page


def test_another_persons_progress_looks_like_none_at_all(office: Office) -> None:
    office.begin(state="complete")
    browser = office.browser("suzuki")
    foreign = browser.get(office.progress)
    nothing = browser.get("/enroll/progress/00000000-0000-0000-0000-000000000000")

    assert foreign.status_code == nothing.status_code == 404
    assert foreign.text == nothing.text
