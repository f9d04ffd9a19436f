"""The pages of an enrollment: what a person sees at each step; whatever goes wrong is a page that says what to do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from device_inventory.agent.link import read_ticket
from device_inventory.device import DeviceRecord
from device_inventory.enrollment import Enrollment
from device_inventory.notice import notice
from tests.control_support import NOW, TENANT, a_device
from tests.fakes.persons import FakePersons
from tests.portal_support import ISSUER, Browser, PortalOffice
from zt_engine.control_plane.app import RATES
from zt_engine.control_plane.context import Enrolling
from zt_engine.control_plane.enrollment import PARTS, EnrollmentParts, room
from zt_engine.control_plane.enrollment_rules import EnrollmentRules
from zt_engine.control_plane.limits import Rate
from zt_engine.control_plane.nonces import digest
from zt_engine.control_plane.remedies import Unmet
from zt_engine.core.classification import Level
from zt_engine.core.errors import InputError
from zt_engine.pages.registry import registry

PIN = "ab" * 32
LEVELS = {
    "C1": Level(code="C1", rank=100, ja="平", en="Level 1"),
    "C2": Level(code="C2", rank=200, ja="取扱注意", en="Level 2"),
    "C3": Level(code="C3", rank=300, ja="秘", en="Level 3"),
}
DISK, PATCH = (Unmet(code=code, label="C2", fact="x") for code in ("FIX_DISK", "FIX_PATCH"))
LINUX = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/140"}


class Words:
    """The `Readiness` of a policy that says what a test wants."""

    def __init__(self) -> None:
        self.missing: tuple[Unmet, ...] = ()
        self.best = "C2"

    def unmet(self, record: DeviceRecord, *, now: int) -> Sequence[Unmet]:
        return self.missing

    def labels(self, record: DeviceRecord, *, now: int) -> str:
        return self.best


class Office(PortalOffice):
    """A control plane that takes enrollments; for each test somebody else is invited to enroll another device."""

    def __init__(self, *, rules: EnrollmentRules | None = None, **parts: Any) -> None:
        self.words = Words()
        self.persons = FakePersons()
        enrollment = EnrollmentParts(readiness=self.words, levels=lambda: LEVELS, rules=rules or EnrollmentRules())
        extras = {"ca_sha256": PIN, PARTS: enrollment}
        super().__init__(
            people=self.persons,
            enrolling=Enrolling(issuer=ISSUER, client_id="zt-agent"),
            extras=extras,
            rates=dict.fromkeys(RATES, (Rate(100_000, 1000), Rate(100_000, 1000))),
            **parts,
        )
        self.plane = self.control.plane
        self.number = 0

    def fresh(self) -> Office:
        """Have one more person invited, and nothing else."""
        self.number += 1
        self.who, self.device_id = f"tanaka-{self.number}", f"laptop-{self.number}"
        self.words.missing, self.words.best = (), "C2"
        self.code, self.id = self.invite()
        return self

    def invite(self, subject: str = "", **changes: Any) -> tuple[str, str]:
        """Invite somebody; return the code and the invitation's id."""
        body = {"subject": subject or self.who, "ownership": "corp", **changes}
        made = self.control.call("POST", "/v1/invitations", body, who="helpdesk").json()
        return made["code"], made["id"]

    def begin(self, *, state: str = "identified", **device: Any) -> Enrollment:
        """Have the agent sign in, and the enrollment go as far as a state says."""
        started = room(self.plane).enrolling.start(self.code, self.persons.sign_in(self.who), now=self.plane.now())
        with self.control.store.writing(TENANT) as tx:
            begun = tx.enrollments.get(started.enrollment)
            assert begun is not None
            held = state not in ("identified", "consented") and device is not None
            after = replace(begun, state=state, device_id=self.device_id if held else "")
            tx.enrollments.put(after)
        if held:
            self.control.put(a_device(self.device_id, **({"name": "mado-7", "model": "ThinkPad X1"} | device)))
        return after

    def change_invitation(self, **changes: Any) -> None:
        with self.control.store.writing(TENANT) as tx:
            invitation = tx.invitations.get(self.id)
            assert invitation is not None
            tx.invitations.put(replace(invitation, **changes))

    def change_enrollment(self, enrollment: Enrollment, **changes: Any) -> None:
        with self.control.store.writing(TENANT) as tx:
            tx.enrollments.put(replace(enrollment, **changes))

    @property
    def progress(self) -> str:
        return f"/enroll/progress/{self.id}"

    def carrying(self, *, subject: str = "", language: str = "en", code: str = "") -> Browser:
        """A browser of somebody who signed in and has given an invitation."""
        browser = self.browser(subject or self.who, language=language)
        browser.send("/enroll", {"code": code or self.code})
        return browser


@pytest.fixture(scope="module")
def shared() -> Iterator[Office]:
    with Office() as made:
        yield made


@pytest.fixture
def office(shared: Office) -> Office:
    return shared.fresh()


# -- from the invitation to the command


def test_the_first_page_asks_nobody_to_sign_in_and_loads_nothing_but_one_script_by_its_digest(office: Office) -> None:
    answer = office.browser().get("/enroll", **LINUX)

    assert answer.status_code == 200
    assert ">Register a device</h1>" in answer.text
    assert 'data-invited="You are invited to register a device"' in answer.text, "for the script that finds a code"
    policy = answer.headers["content-security-policy"]
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", policy)
    assert "unsafe" not in policy


def test_an_invitation_survives_the_sign_in_and_a_form_never_leaves_this_site_for_it(office: Office) -> None:
    browser = office.browser()
    answer = browser.send("/enroll", {"code": office.code})

    # Chromium follows redirects of a form only to where `form-action` allows it.
    assert (answer.status_code, answer.headers["refresh"]) == (200, "0; url=/enroll/notice")
    assert 'href="/enroll/notice"' in answer.text
    assert browser.once("GET", "/enroll/notice").headers["location"] == "/.zt/login?to=/enroll/notice"
    browser.sign_in(office.who, to="/enroll/notice")
    assert browser.path == "/enroll/notice"
    assert "What is collected, and why" in browser.text


def test_whoever_is_signed_in_goes_on_at_once(office: Office) -> None:
    browser = office.browser(office.who)
    answer = browser.send("/enroll", {"code": office.code})

    assert (answer.status_code, answer.headers["location"]) == (303, "/enroll/notice")


def test_the_cookie_is_of_this_host_and_no_script_reads_it(office: Office) -> None:
    answer = office.browser(office.who).send("/enroll", {"code": office.code})
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("__Host-zt-invitation="))

    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("ownership", ["corp", "byod"])
def test_the_notice_shows_every_fact_with_its_purpose_and_how_long_it_is_kept(
    office: Office, language: Any, ownership: Any
) -> None:
    code, _ = office.invite(ownership=ownership, ceiling=100)
    browser = office.carrying(code=code, language=language)
    browser.get("/enroll/notice")

    facts = notice(ownership, language)
    for fact in facts:
        assert all(" ".join(text.split()) in browser.text for text in (fact.text, fact.purpose, fact.retention))
    assert browser.page.count("<li>") - browser.page.count("<li><a ") == len(facts)
    assert {"ja": "平", "en": "Level 1"}[language] in browser.text


def test_exactly_one_command_is_given_and_the_agent_takes_it_with_the_pin(office: Office) -> None:
    browser = office.carrying()
    browser.get("/enroll/install")
    commands = re.findall(r'class="command"[^>]*>(.*?)<', browser.page)

    assert len(commands) == 1
    words = shlex.split(commands[0].replace("&amp;", "&").replace("&#39;", "'"))
    assert words[:3] == ["zt", "agent", "enroll"]
    ticket = read_ticket(words[3])
    assert (ticket.code, ticket.url, ticket.ca_sha256) == (office.code, "https://control.example", PIN)
    assert "sha256sum" in browser.text
    assert office.progress in browser.page


def test_without_the_cookie_the_invitation_is_asked_for_again(office: Office) -> None:
    browser = office.browser(office.who)

    for path in ("/enroll/notice", "/enroll/install"):
        browser.get(path, **LINUX)
        assert "Paste your invitation once more" in browser.text


# -- progress


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


# -- what goes wrong


@pytest.mark.parametrize(
    ("code", "given", "status"),
    [("INVITE_UNKNOWN", "nobodys-code", 404), ("INVITE_UNKNOWN", "a b?", 404), ("INVITE_UNKNOWN", "", 404)],
)
def test_a_code_that_is_none_is_a_page_that_leads_back_to_the_field(
    office: Office, code: str, given: str, status: int
) -> None:
    browser = office.browser(office.who)
    answer = browser.post("/enroll", {"code": given})

    assert answer.status_code == status
    assert code in browser.text
    assert registry()[code].hint("en") in browser.text
    assert 'href="/enroll"' in browser.page


def test_somebody_elses_invitation_tells_its_finder_only_that_and_to_sign_in_as_another(office: Office) -> None:
    browser = office.carrying(subject="suzuki")
    answer = browser.get("/enroll/notice")

    assert answer.status_code == 403
    assert "This invitation is for somebody else." in browser.text
    assert 'href="/.zt/logout"' in browser.page
    assert office.who not in browser.page


def test_another_persons_progress_looks_like_none_at_all(office: Office) -> None:
    office.begin(state="complete")
    browser = office.browser("suzuki")
    foreign = browser.get(office.progress)
    nothing = browser.get("/enroll/progress/00000000-0000-0000-0000-000000000000")

    assert foreign.status_code == nothing.status_code == 404
    assert foreign.text == nothing.text


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVITE_WITHDRAWN", 410),
        ("INVITE_EXPIRED", 410),
        ("ENROLLMENT_EXPIRED", 410),
        ("AGENT_ENROLLMENT_REFUSED", 403),
        ("AUTH_DEVICE_STATUS", 403),
    ],
)
@pytest.mark.parametrize("language", ["ja", "en"])
def test_whatever_ended_it_is_said_with_what_to_do(office: Office, code: str, status: int, language: str) -> None:
    if code == "INVITE_WITHDRAWN":
        office.change_invitation(state="withdrawn")
    if code == "INVITE_EXPIRED":
        office.change_invitation(not_after=NOW)
    if code == "ENROLLMENT_EXPIRED":
        after = office.begin()
        office.change_enrollment(after, not_after=NOW)
    if code == "AGENT_ENROLLMENT_REFUSED":
        office.begin(state="refused", status="enrolled")
    if code == "AUTH_DEVICE_STATUS":
        office.begin(state="complete", status="lost")
    browser = office.carrying(language=language)

    for path in ("/enroll/notice", office.progress):
        answer = browser.get(path)
        assert answer.status_code == status
        assert code in browser.text
        assert registry()[code].text(language) in browser.text
        assert registry()[code].hint(language) in browser.text


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (Linux; Android 16; Pixel 9) Mobile", "Open this on the computer you want to register"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)", "Open this on the computer you want to register"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "This invitation is for a device with Linux"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)", "This invitation is for a device with Linux"),
    ],
)
def test_an_invitation_opened_on_the_wrong_device_says_where_to_open_it_and_can_go_on(
    office: Office, agent: str, words: str
) -> None:
    browser = office.browser()
    browser.get("/enroll", user_agent=agent)
    assert words in browser.text
    assert "has not been used" in browser.text

    browser.get("/enroll?here=1", user_agent=agent)
    assert "Register a device –" in browser.text


def test_a_page_of_another_site_gives_nobody_an_invitation(office: Office) -> None:
    browser = office.browser(office.who)
    answer = browser.send("/enroll", {"code": office.code}, origin="https://evil.example", sec_fetch_site="cross-site")

    assert answer.status_code == 403
    assert "__Host-zt-invitation" not in browser.cookies


def test_a_double_submit_a_second_tab_and_the_back_button_end_at_the_same_page(office: Office) -> None:
    browser = office.carrying()
    browser.send("/enroll", {"code": office.code})
    office.begin(state="complete")

    for path in ("/enroll/notice", "/enroll/install", office.progress):
        browser.get(path)
        assert browser.path == office.progress
        assert "Connected." in browser.text
        browser.send("/enroll", {"code": office.code})


def test_wrong_codes_on_pages_are_counted_together_with_those_at_the_api(office: Office) -> None:
    browser = office.browser("mallory")
    for number in range(10):
        browser.post("/enroll", {"code": f"guess-{number}"})
        browser.get("/enroll/notice")  # looking again is not another guess
    answer = browser.post("/enroll", {"code": office.code})

    assert answer.status_code == 429
    assert "INVITE_GUESSES" in browser.text
    with pytest.raises(InputError, match="INVITE_GUESSES"):
        room(office.plane).enrolling.start(office.code, office.persons.sign_in("mallory"), now=office.plane.now())
    assert "invitation.guessed" in [event.action for event in office.control.audit()]


def test_no_page_takes_a_step(office: Office) -> None:
    browser = office.carrying()
    before = office.control.audit()
    for path in ("/enroll", "/enroll/notice", "/enroll/install", office.progress, f"{office.progress}?since=1"):
        browser.get(path, **LINUX)

    assert office.control.audit() == before
    with office.control.store.reading(TENANT) as tx:
        invitation = tx.invitations.of_code(digest(office.code))
    assert invitation is not None
    assert (invitation.state, invitation.enrollment) == ("open", "")


def test_every_page_says_its_language_and_is_kept_by_nobody(office: Office) -> None:
    for language in ("ja", "en"):
        browser = office.carrying(language=language)
        for path in ("/enroll", "/enroll/notice", "/enroll/install", office.progress):
            answer = browser.get(path, **LINUX)
            assert f'<html lang="{language}">' in answer.text
            assert answer.headers["content-language"] == language
            assert answer.headers["cache-control"] == "no-store"


def test_where_nobody_enrolls_by_signing_in_that_is_said(office: Office) -> None:
    with PortalOffice() as closed:
        browser = closed.browser("tanaka")
        browser.send("/enroll", {"code": office.code})
        answer = browser.get("/enroll/notice")

    assert answer.status_code == 404
    assert "ENROLL_CLOSED" in browser.text
    assert registry()["ENROLL_CLOSED"].hint("en") in browser.text


def test_a_sign_in_that_would_be_too_weak_for_the_agent_is_said_to_be_before_the_command_is_run() -> None:
    rules = EnrollmentRules(sign_in=frozenset({"phr", "hwk"}))
    with Office(rules=rules) as office:
        office.fresh()
        browser = office.carrying()
        answer = browser.get("/enroll/notice")
        assert answer.status_code == 403
        assert registry()["SIGN_IN_WEAK"].hint("en") in browser.text
        again = re.search(r'href="(/\.zt/login\?[^"]*)"', browser.page)
        assert again is not None
        begun = browser.once("GET", again[1].replace("&amp;", "&"))
        assert "acr_values=hwk+phr" in begun.headers["location"]

        strong = office.browser(office.who, acr="phr")
        strong.send("/enroll", {"code": office.code})
        assert strong.get("/enroll/notice").status_code == 200


def test_two_cookies_of_one_name_are_no_invitation(office: Office) -> None:
    browser = office.carrying()
    name = "__Host-zt-invitation"
    cookies = f"__Host-zt-session={browser.cookies['__Host-zt-session']}; {name}={office.code}; {name}=another-code"
    answer = browser.once("GET", "/enroll/install", cookie=cookies)

    assert (answer.status_code, answer.headers["location"]) == (303, "/enroll?lost=1")


@pytest.mark.parametrize("path", ["notice", "install", "progress/0"])
def test_nobody_sees_more_than_the_first_page_without_signing_in(office: Office, path: str) -> None:
    browser = office.browser()
    browser.send("/enroll", {"code": office.code})
    answer = browser.once("GET", f"/enroll/{path}")

    assert (answer.status_code, answer.headers["location"]) == (303, f"/.zt/login?to=/enroll/{path}")
