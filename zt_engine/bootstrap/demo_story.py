"""The demo's story: who asks from where for what, and what has to come of it; in Japanese and in English."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from zt_engine.bootstrap.demo_world import DemoWorld

Words = tuple[str, str]
"""Japanese, English."""

PORTAL = "portal.ministry.example"
PAPERS = "papers.ministry.example"
CASE = "/cases/123"

TANAKA = ("田中", "Tanaka")
NOBODY = ("匿名", "nobody")
ATTACKER = ("攻撃者", "attacker")
OGAWA = ("小川（給与）", "Ogawa (payroll)")
HANAKO = ("花子（申請者）", "Hanako, citizen")
BOT = ("田中のボット", "Tanaka's bot")
DAY_ROBOT = ("日勤ロボット", "day robot")
NIGHT_ROBOT = ("別曜日ロボット", "other-day robot")

NO_DEVICE = ("端末証明なし", "no device")
BROWSER = ("ブラウザのみ", "browser only")
LAPTOP = ("貸与PC", "issued laptop")
STALE = ("3日報告なし", "silent for 3 days")
OWN = ("私物PC", "own laptop")
COLLEAGUE = ("同僚のPC", "colleague's PC")
TERMINAL = ("庁内端末", "office terminal")
CLOSED = ("庁内端末・閉域", "terminal, closed")
ROBOT_HOST = ("ロボット用PC", "robot's host")
BOT_HOST = ("ボット用サーバー", "bot's server")
PHONE = ("自分のスマホ", "own phone")

OPEN_DATA = ("法人データ", "open data")
NEWS = ("省内のお知らせ", "office news")
CASE_123 = ("案件123", "case 123")
EDIT_123 = ("案件123の編集", "editing case 123")
PAPER_7 = ("秘の文書7", "secret paper 7")
LEAVE = ("休暇の登録", "leave entry")
PHONE_BOOK = ("内線番号", "phone book")
SALARY = ("給与の変更", "salary change")
PAYMENT = ("手数料の支払い", "fee payment")
ARTICLE = ("組織改編の記事", "reshuffle article")

CHAPTERS: tuple[Words, ...] = (
    ("在宅勤務: 人・端末・情報の組み合わせで決まります", "Teleworking: person, device and data decide together"),
    ("機密性3: 開かれたネットワークからは誰も開けません", "Secret papers: nobody opens them from the open network"),
    ("攻撃: 盗んだトークンも、細工した要求も通りません", "Attacks: neither stolen tokens nor crafted requests pass"),
    ("プログラムと決裁: 代理・時間帯・二人の承認", "Programs and approvals: delegation, hours, two signatures"),
    ("変化: 書き換えた瞬間から効きます（再起動なし）", "Change: in force once written, without a restart"),
)


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `device` names the certificate that the client shows; `headers` are made when it is sent."""

    host: str
    target: str
    method: str = "GET"
    device: str = ""
    headers: Callable[[DemoWorld, str], list[tuple[str, str]]] = lambda _world, _url: []
    network: Literal["front", "inner"] = "front"


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What has to hold. A 200 must reach the backend exactly as authorised; anything else must not reach it at all."""

    effect: str
    reasons: tuple[str, ...] = ()
    """Codes that must be among the reasons."""
    challenge: str = ""
    """A part of WWW-Authenticate."""
    duties: tuple[str, ...] = ()
    page: str = ""
    """A code whose text and remedy, in the language asked for, must stand on the page."""

    @property
    def status(self) -> int:
        """The HTTP status that goes with the effect."""
        return {"allow": 200, "step_up": 401, "deny": 403}[self.effect]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. With `change`, the world is changed first and the request repeated until it is noticed."""

    chapter: int
    who: Words
    device: Words
    data: Words
    sent: Sent
    expected: Expected
    note: Words = ("", "")
    change: Callable[[DemoWorld], None] | None = None


def token(person: str, device: str = "", *, signed_in: int = 60, actor: str = "",
          amr: str = "hwk") -> Callable[[DemoWorld, str], list[tuple[str, str]]]:  # fmt: skip
    """Headers with a token; bound to the device's certificate if one is named."""
    return lambda world, _url: [
        ("Authorization", f"Bearer {world.bearer(person, device, signed_in=signed_in, actor=actor, amr=amr)}")
    ]


def expired(person: str, device: str) -> Callable[[DemoWorld, str], list[tuple[str, str]]]:
    """Headers with a token of an hour ago."""
    return lambda world, _url: [("Authorization", f"Bearer {world.expired(person, device)}")]


def proven(person: str, method: str = "GET") -> Callable[[DemoWorld, str], list[tuple[str, str]]]:
    """Headers with a DPoP token of the private laptop, and its proof for this very request."""

    def headers(world: DemoWorld, url: str) -> list[tuple[str, str]]:
        bound = world.dpop(person)
        return [("Authorization", f"DPoP {bound}"), ("DPoP", world.proof(bound, method=method, url=url))]

    return headers


def with_header(
    headers: Callable[[DemoWorld, str], list[tuple[str, str]]], name: str, value: str
) -> Callable[[DemoWorld, str], list[tuple[str, str]]]:
    """The same headers and one more."""
    return lambda world, url: [*headers(world, url), (name, value)]


def story(*, rego: bool = True) -> tuple[Step, ...]:
    """Return all steps in their order; without `rego` those that need the program `opa` are left out."""
    rules = _rules() if rego else ()
    return (*_telework(), *_secrets(), *_attacks(), *_programs(), *rules, *_change())


def calm_step() -> Step:
    """A colleague reads the news: nothing in the story changes the answer."""
    sent = Sent(host=PORTAL, target="/news/today", device="laptop-3", headers=token("sato", "laptop-3"))
    return Step(chapter=0, who=("佐藤", "Sato"), device=LAPTOP, data=NEWS, sent=sent, expected=Expected(effect="allow"))


def restoring_step() -> Step:
    """Everything is as it was at first; in force as soon as the laptop that was revoked opens the case again."""
    sent = Sent(host=PORTAL, target=CASE, device="laptop-1", headers=token("tanaka", "laptop-1"))
    return Step(
        chapter=0, who=TANAKA, device=LAPTOP, data=CASE_123, sent=sent, expected=Expected(effect="allow"),
        change=DemoWorld.restore,
    )  # fmt: skip


def _telework() -> tuple[Step, ...]:
    at_laptop = token("tanaka", "laptop-1")
    return (
        Step(
            chapter=0, who=NOBODY, device=NO_DEVICE, data=OPEN_DATA,
            sent=Sent(host="info.gbiz.example", target="/datasets/1"),
            expected=Expected(effect="allow"),
            note=("公開情報は誰でも読めます", "published data is for everybody"),
        ),
        Step(
            chapter=0, who=NOBODY, device=NO_DEVICE, data=NEWS,
            sent=Sent(host=PORTAL, target="/news/today"),
            expected=Expected(effect="step_up", reasons=("AUTH_REQUIRED",), challenge='Bearer realm="zt"'),
        ),
        Step(
            chapter=0, who=TANAKA, device=LAPTOP, data=CASE_123,
            sent=Sent(host=PORTAL, target=CASE, device="laptop-1", headers=at_laptop),
            expected=Expected(effect="allow", duties=("no_store",)),
            note=("健全な端末と強いサインイン", "healthy device, strong sign-in"),
        ),
        Step(
            chapter=0, who=TANAKA, device=STALE, data=CASE_123,
            sent=Sent(host=PORTAL, target=CASE, device="laptop-2", headers=token("tanaka", "laptop-2")),
            expected=Expected(effect="deny", reasons=("REPORT_NOW", "REPORT_STALE"), page="REPORT_NOW"),
        ),
        Step(
            chapter=0, who=TANAKA, device=STALE, data=NEWS,
            sent=Sent(host=PORTAL, target="/news/today", device="laptop-2", headers=token("tanaka", "laptop-2")),
            expected=Expected(effect="allow"),
            note=("機密性1なら古い報告でも読めます", "level 1 needs no fresh report"),
        ),
        Step(
            chapter=0, who=TANAKA, device=BROWSER, data=NEWS,
            sent=Sent(host=PORTAL, target="/news/today", headers=token("tanaka")),
            expected=Expected(effect="allow"),
            note=("FIDO2だけでも機密性1まで", "FIDO2 alone: level 1 only"),
        ),
        Step(
            chapter=0, who=TANAKA, device=BROWSER, data=CASE_123,
            sent=Sent(host=PORTAL, target=CASE, headers=token("tanaka")),
            expected=Expected(effect="deny", reasons=("DEVICE_NOT_ENROLLED",)),
        ),
        Step(
            chapter=0, who=TANAKA, device=OWN, data=CASE_123,
            sent=Sent(host=PORTAL, target=CASE, headers=proven("tanaka")),
            expected=Expected(effect="allow", duties=("no_download", "watermark")),
            note=("閲覧のみ: 保存不可・透かし入り", "view only: no download, watermark"),
        ),
        Step(
            chapter=0, who=TANAKA, device=OWN, data=EDIT_123,
            sent=Sent(host=PORTAL, target=CASE, method="PUT", headers=proven("tanaka", "PUT")),
            expected=Expected(effect="deny", reasons=("BYOD_READ_ONLY",)),
        ),
    )  # fmt: skip


def _secrets() -> tuple[Step, ...]:
    def paper(signed_in: int = 60, network: Literal["front", "inner"] = "inner") -> Sent:
        headers = token("tanaka", "terminal-1", signed_in=signed_in)
        return Sent(host=PAPERS, target="/secret/7", device="terminal-1", headers=headers, network=network)

    return (
        Step(
            chapter=1, who=TANAKA, device=TERMINAL, data=PAPER_7, sent=paper(network="front"),
            expected=Expected(effect="deny", reasons=("CHANNEL_CLOSED_REQUIRED",), page="CHANNEL_CLOSED_REQUIRED"),
        ),
        Step(
            chapter=1, who=TANAKA, device=CLOSED, data=PAPER_7, sent=paper(),
            expected=Expected(effect="allow", duties=("no_download", "no_store", "watermark")),
            note=("閉域網の管理端末なら読めます", "a managed terminal on the closed network"),
        ),
        Step(
            chapter=1, who=TANAKA, device=CLOSED, data=PAPER_7, sent=paper(signed_in=7200),
            expected=Expected(effect="step_up", reasons=("REAUTH_REQUIRED",), challenge='max_age="3600"'),
        ),
    )  # fmt: skip


def _attacks() -> tuple[Step, ...]:
    at_laptop = token("tanaka", "laptop-1")

    def attack(target: str, headers: Callable[[DemoWorld, str], list[tuple[str, str]]] = at_laptop) -> Sent:
        return Sent(host=PORTAL, target=target, device="laptop-1", headers=headers)

    return (
        Step(
            chapter=2, who=ATTACKER, device=COLLEAGUE, data=CASE_123,
            sent=Sent(host=PORTAL, target=CASE, device="laptop-3", headers=token("tanaka")),
            expected=Expected(effect="deny", reasons=("DEVICE_NOT_ASSIGNED",)),
        ),
        Step(
            chapter=2, who=ATTACKER, device=COLLEAGUE, data=NEWS,
            sent=Sent(host=PORTAL, target="/news/today", device="laptop-3", headers=at_laptop),
            expected=Expected(effect="step_up", reasons=("TOKEN_BINDING_UNPROVEN",), challenge='error="invalid_token"'),
        ),
        Step(
            chapter=2, who=TANAKA, device=LAPTOP, data=CASE_123, sent=attack(CASE, expired("tanaka", "laptop-1")),
            expected=Expected(effect="step_up", reasons=("TOKEN_EXPIRED",), challenge='error="invalid_token"'),
        ),
        Step(
            chapter=2, who=ATTACKER, device=LAPTOP, data=("Zt-Subjectの偽装", "forged Zt-Subject"),
            sent=attack("/news/today", with_header(at_laptop, "Zt-Subject", "minister")),
            expected=Expected(effect="deny", reasons=("HEADER_RESERVED",)),
        ),
        Step(
            chapter=2, who=ATTACKER, device=LAPTOP, data=("/news/..%2fcases/456", "/news/..%2fcases/456"),
            sent=attack("/news/..%2fcases/456"),
            expected=Expected(effect="deny", reasons=("PATH_AMBIGUOUS",)),
        ),
        Step(
            chapter=2, who=ATTACKER, device=LAPTOP, data=("GETに見せたDELETE", "a DELETE in a GET"),
            sent=attack(CASE, with_header(at_laptop, "X-HTTP-Method-Override", "DELETE")),
            expected=Expected(effect="deny", reasons=("METHOD_OVERRIDE",)),
        ),
        Step(
            chapter=2, who=TANAKA, device=LAPTOP, data=("未登録のページ", "an unlisted page"),
            sent=attack("/backup.zip"),
            expected=Expected(effect="deny", reasons=("ROUTE_UNKNOWN",)),
        ),
    )  # fmt: skip


def _programs() -> tuple[Step, ...]:
    def leave(robot: str) -> Sent:
        return Sent(
            host="attendance.ministry.example", target="/leave/7", method="POST", device="rpa-host-1",
            headers=token(robot, "rpa-host-1"),
        )  # fmt: skip

    by_bot = token("tanaka", "bot-host-1", actor="chatbot")
    salary = Sent(
        host="payroll.ministry.example", target="/employees/17/salary", method="PUT", device="laptop-4",
        headers=token("ogawa", "laptop-4"),
    )  # fmt: skip

    def payment(signed_in: int) -> Sent:
        headers = token("hanako", signed_in=signed_in, amr="sc")
        return Sent(host="apply.ministry.example", target="/forms/passport/payment", method="POST", headers=headers)

    return (
        Step(
            chapter=3, who=DAY_ROBOT, device=ROBOT_HOST, data=LEAVE, sent=leave("rpa-leave"),
            expected=Expected(effect="allow"), note=("登録されたPCと稼働時間", "registered host, within its hours"),
        ),
        Step(
            chapter=3, who=NIGHT_ROBOT, device=ROBOT_HOST, data=LEAVE, sent=leave("rpa-night"),
            expected=Expected(effect="deny", reasons=("ROBOT_OUTSIDE_HOURS",)),
        ),
        Step(
            chapter=3, who=BOT, device=BOT_HOST, data=PHONE_BOOK,
            sent=Sent(host="directory.ministry.example", target="/entries/sato", device="bot-host-1", headers=by_bot),
            expected=Expected(effect="allow"),
            note=("田中とボットの両方に許された範囲", "what both Tanaka and the bot may"),
        ),
        Step(
            chapter=3, who=BOT, device=BOT_HOST, data=CASE_123,
            sent=Sent(host=PORTAL, target=CASE, device="bot-host-1", headers=by_bot),
            expected=Expected(effect="deny", reasons=("DELEGATE_CEILING",)),
        ),
        Step(
            chapter=3, who=OGAWA, device=LAPTOP, data=SALARY, sent=salary,
            expected=Expected(effect="deny", reasons=("DUAL_CONTROL_REQUIRED",)),
        ),
        Step(
            chapter=3, who=OGAWA, device=LAPTOP, data=SALARY, sent=salary, change=DemoWorld.approve_salary,
            expected=Expected(effect="allow"), note=("二人の署名がそろいました", "two people have signed"),
        ),
        Step(
            chapter=3, who=HANAKO, device=PHONE, data=PAYMENT, sent=payment(60),
            expected=Expected(effect="allow"),
            note=("公的個人認証カードで今サインイン", "signed in just now with a card"),
        ),
        Step(
            chapter=3, who=HANAKO, device=PHONE, data=PAYMENT, sent=payment(1800),
            expected=Expected(effect="step_up", reasons=("PAYMENT_REAUTH_REQUIRED",), challenge='max_age="300"'),
        ),
    )  # fmt: skip


def _rules() -> tuple[Step, ...]:
    news = Sent(host=PORTAL, target="/news/today", headers=token("tanaka"))
    return (
        Step(
            chapter=4, who=TANAKA, device=BROWSER, data=NEWS, sent=news, change=DemoWorld.edit_rule,
            expected=Expected(effect="deny", reasons=("DEVICE_NOT_ENROLLED",), page="DEVICE_NOT_ENROLLED"),
            note=("Regoに規則を追加し、検査・署名", "a Rego rule added, checked, signed"),
        ),
        Step(
            chapter=4, who=TANAKA, device=BROWSER, data=NEWS, sent=news, change=DemoWorld.undo_rule,
            expected=Expected(effect="allow"), note=("元のポリシーに戻しました", "back to the policy before"),
        ),
    )  # fmt: skip


def _change() -> tuple[Step, ...]:
    article = Sent(host=PORTAL, target="/news/reorganisation", headers=token("tanaka"))
    own = Sent(host=PORTAL, target=CASE, headers=proven("tanaka"))
    laptop = Sent(host=PORTAL, target="/news/today", device="laptop-1", headers=token("tanaka", "laptop-1"))
    return (
        Step(
            chapter=4, who=TANAKA, device=BROWSER, data=ARTICLE, sent=article,
            expected=Expected(effect="allow"), note=("まだ機密性1です", "still level 1"),
        ),
        Step(
            chapter=4, who=TANAKA, device=BROWSER, data=ARTICLE, sent=article, change=DemoWorld.classify_article,
            expected=Expected(effect="deny", reasons=("DEVICE_NOT_ENROLLED",)),
            note=("目録で機密性2に変更", "catalogue edited: level 2"),
        ),
        Step(
            chapter=4, who=TANAKA, device=OWN, data=CASE_123, sent=own, change=DemoWorld.raise_threat_level,
            expected=Expected(effect="deny", reasons=("BYOD_CEILING",)),
            note=("警戒レベルを2に引き上げ", "threat level raised to 2"),
        ),
        Step(
            chapter=4, who=TANAKA, device=OWN, data=CASE_123, sent=own, change=DemoWorld.calm_down,
            expected=Expected(effect="allow"), note=("警戒レベルを0に戻しました", "threat level back to 0"),
        ),
        Step(
            chapter=4, who=TANAKA, device=LAPTOP, data=NEWS, sent=laptop,
            expected=Expected(effect="allow"), note=("失効の前", "before it is revoked"),
        ),
        Step(
            chapter=4, who=TANAKA, device=LAPTOP, data=NEWS, sent=laptop, change=DemoWorld.revoke_laptop,
            expected=Expected(effect="deny", reasons=("DEVICE_REVOKED",), page="DEVICE_REVOKED"),
            note=("紛失の届け出で失効", "reported lost: revoked"),
        ),
    )  # fmt: skip
