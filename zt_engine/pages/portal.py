"""The texts that every page of the control plane has, its first page, and the page that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from zt_engine.pages.registry import registry

BASE: Final[Mapping[str, Mapping[str, str]]] = {
    "ja": {
        "name": "日本語",
        "product": "アクセス管理",
        "skip": "本文へ移動",
        "menu": "メニュー",
        "mine": "自分の端末",
        "desk": "管理デスク",
        "sign_out": "サインアウト",
        "signed_in_as": "サインイン中：",
        "help": "お困りのときは：",
        "help_page": "ヘルプ",
        "items": "残りの項目",
        "after_command": "次のコマンドを端末で実行してください：",
    },
    "en": {
        "name": "English",
        "product": "Access",
        "skip": "Skip to content",
        "menu": "Menu",
        "mine": "My devices",
        "desk": "Desk",
        "sign_out": "Sign out",
        "signed_in_as": "Signed in as",
        "help": "If you need help:",
        "help_page": "Help",
        "items": "Items left",
        "after_command": "Run this on the device:",
    },
}

HOME: Final[Mapping[str, Mapping[str, str]]] = {
    "ja": {
        "title": "ご用件をお選びください",
        "mine": "自分の端末を確認する",
        "mine_hint": "登録されている端末と、記録されている情報を確認できます。紛失の報告もこちらです。",
        "enroll": "新しい端末を登録する",
        "enroll_hint": "招待コードをお手元にご用意ください。",
        "keys": "セキュリティキーを管理する",
        "keys_hint": "パスキーやセキュリティキーの追加と削除を行います。",
        "desk": "管理デスクを開く",
        "desk_hint": "招待、承認、端末の状態変更を行います。",
    },
    "en": {
        "title": "What would you like to do?",
        "mine": "See my devices",
        "mine_hint": "Which devices you hold, what is recorded about them, and where to report one lost.",
        "enroll": "Register a new device",
        "enroll_hint": "Have your invitation code at hand.",
        "keys": "Manage my security keys",
        "keys_hint": "Add or remove passkeys and security keys.",
        "desk": "Open the desk",
        "desk_hint": "Invite, approve, and change the state of devices.",
    },
}

MESSAGE: Final[Mapping[str, Mapping[str, str]]] = {
    "ja": {
        "title": "手続きを完了できませんでした",
        "next": "次にできること",
        "sign_in": "サインインする",
        "again": "もう一度サインインする",
        "open": "ページをもう一度開く",
        "home": "最初のページに戻る",
        "code": "理由コード",
        "fallback": "理由コードを添えて、ヘルプデスクにご連絡ください。",
    },
    "en": {
        "title": "This could not be done",
        "next": "What you can do",
        "sign_in": "Sign in",
        "again": "Sign in again",
        "open": "Open the page again",
        "home": "Back to the first page",
        "code": "Reason code",
        "fallback": "Contact the help desk and give them the reason code.",
    },
}

_AGAIN: Final = {
    "ja": "前のページに戻り、もう一度お試しください。続く場合は、理由コードを添えてヘルプデスクにご連絡ください。",
    "en": "Go back and try again. If this goes on, contact the help desk and give them the reason code.",
}
_LATER: Final = {
    "ja": "少し待ってから、もう一度お試しください。続く場合は、理由コードを添えてヘルプデスクにご連絡ください。",
    "en": "Wait a moment and try again. If this goes on, contact the help desk and give them the reason code.",
}
_START: Final = {
    "ja": "アドレスを確認するか、最初のページからお探しください。",
    "en": "Check the address, or start from the first page.",
}
PLAIN: Final[Mapping[str, tuple[str, str, Mapping[str, str]]]] = {
    "REQUEST_NOT_FOUND": ("お探しのページはありません。", "There is no such page.", _START),
    "REQUEST_METHOD": ("このページでは、その操作はできません。", "This page cannot do that.", _START),
    "REQUEST_MALFORMED": ("送信された内容を読み取れませんでした。", "What was sent cannot be read.", _AGAIN),
    "REQUEST_INVALID": ("送信された内容に使えない値があります。", "Something that was sent cannot be used.", _AGAIN),
    "REQUEST_TOO_LARGE": ("送信された内容が長すぎます。", "What was sent is too long.", _AGAIN),
    "REQUEST_RATE": ("ただいま混み合っています。", "Too much is asked at the moment.", _LATER),
    "CONTROL_FAILED": (
        "予期しない問題が起きました。変更は保存されていません。",
        "Something unforeseen went wrong. Nothing was changed.",
        _LATER,
    ),
    "STORE_DOWN": ("ただいま記録を読み出せません。", "The records cannot be reached at the moment.", _LATER),
    "STORE_LOCKED": ("ただいま混み合っています。", "Too much is asked at the moment.", _LATER),
    "STORE_FULL": ("ただいま変更を保存できません。", "Nothing can be saved at the moment.", _LATER),
    "STORE_VALUE": ("送信された内容に使えない値があります。", "Something that was sent cannot be used.", _AGAIN),
    "DEVICE_NOT_FOUND": ("その端末はありません。", "There is no such device.", _START),
    "SIGN_IN_RETURN": ("サインイン後に戻るページがありません。", "There is no such page to return to.", _START),
}
"""What a person is told of codes whose own texts are for programs: in Japanese, in English, and what to do."""


def told(code: str, language: str) -> tuple[str, str]:
    """Return what is wrong and what to do about it, in words for people."""
    if code in PLAIN:
        ja, en, hints = PLAIN[code]
        return (ja if language == "ja" else en), hints[language]
    entry = registry().get(code)
    text = entry.text(language) if entry is not None else code
    return text, (entry.hint(language) if entry is not None else "") or MESSAGE[language]["fallback"]


SIGNED_OUT: Final[Mapping[str, Mapping[str, str]]] = {
    "ja": {
        "ask": "サインアウトしますか？",
        "ask_hint": "このブラウザーでの利用を終了します。ほかの端末のサインインはそのまま残ります。",
        "button": "サインアウトする",
        "done": "サインアウトしました",
        "done_hint": "共用の端末では、ブラウザーも閉じてください。",
        "onward": "続いて、職員アカウントからもサインアウトします。",
        "onward_link": "続ける",
        "again": "もう一度サインインする",
        "kicker": "サインアウト",
        "back": "やめて戻る",
    },
    "en": {
        "ask": "Sign out?",
        "ask_hint": "This ends your session in this browser. Your other devices stay signed in.",
        "button": "Sign out",
        "done": "You are signed out",
        "done_hint": "On a shared machine, close the browser as well.",
        "onward": "Next you are signed out of your staff account as well.",
        "onward_link": "Continue",
        "again": "Sign in again",
        "kicker": "Sign out",
        "back": "Go back instead",
    },
}
