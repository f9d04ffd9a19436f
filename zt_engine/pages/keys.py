"""The pages about a person's keys: the list, one key, a new one, and the page that asks for one.

Two of them have a script, since a browser uses a key only for a script. Without one they say what to do instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from zt_engine.core.webauthn import Passkey
from zt_engine.pages.book import FOLDER, Language, Page, PageBook
from zt_engine.pages.denied import UNKNOWN
from zt_engine.pages.registry import registry

SCRIPT: Final = (FOLDER / "keys.js").read_text(encoding="utf-8")

TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "ja": {
        "list": "セキュリティキー",
        "list_lead": "パスキーやセキュリティキーを登録しておくと、重要なページを開くときに、キーで本人確認ができます。",
        "none": "登録されているキーはありません。",
        "none_hint": "お使いの端末の指紋・顔・PIN、またはUSBなどのセキュリティキーを登録できます。",
        "add": "キーを登録する",
        "add_second": "予備のキーがあると、片方を紛失しても続けて利用できます。",
        "registered": "登録日",
        "used": "最終利用日",
        "never": "まだ利用されていません",
        "kind": "保管場所",
        "kind_hardware": "専用のハードウェア（メーカーが証明済み）",
        "kind_device": "この端末またはキーのみ",
        "kind_synced": "複数の端末で同期されています",
        "kind_syncable": "ほかの端末と同期できます",
        "state": "状態",
        "ok": "利用できます",
        "locked": "停止中",
        "locked_hint": "複製されたおそれがあるため停止しています。削除して、登録し直してください。",
        "open": "名前の変更・削除・紛失の報告",
        "done_added": "キーを登録しました。",
        "done_renamed": "名前を変更しました。",
        "done_removed": "キーを削除しました。",
        "done_lost": "紛失を受け付け、キーを削除しました。このキーで確認したサインインも終了しました。",
        "done": "完了",
        "one": "キーの管理",
        "name": "キーの名前",
        "name_hint": "あとで見分けられる名前を付けてください（例：執務室のUSBキー）。",
        "rename": "名前を変更する",
        "remove": "キーを削除する",
        "remove_hint": "このキーでは確認できなくなります。あとで登録し直すことができます。",
        "lost": "紛失を報告する",
        "lost_hint": "キーを失くした、または盗まれたときに選んでください。"
        "キーを削除し、このキーで確認したサインインをすべて終了します。",
        "last": "これは最後のキーです",
        "last_hint": "削除すると、重要なページを開くたびに職員アカウントでサインインし直すことになります。"
        "先に別のキーを登録することをお勧めします。",
        "back": "キーの一覧に戻る",
        "new": "キーを登録する",
        "new_lead": "ボタンを押すと、ブラウザーがキーの準備を案内します。"
        "指紋・顔・PINの情報が送信されることはありません。",
        "new_button": "登録を始める",
        "stale": "先にサインインし直してください",
        "stale_hint": "安全のため、キーの登録はサインインから10分以内に行います。",
        "weak": "この方法のサインインでは登録できません",
        "weak_hint": "多要素認証など、より強い方法でサインインし直してください。",
        "sign_in": "サインインし直す",
        "default_name": "新しいキー",
        "prove": "キーで本人確認をしてください",
        "prove_lead": "次のページを開くには、ご本人の確認が必要です。",
        "prove_to": "開くページ",
        "prove_button": "キーを使う",
        "prove_other": "キーを使わずにサインインする",
        "failed": "キーを確認できませんでした。もう一度お試しください。",
        "taken": "このキーは、すでに登録されています。別のキーをお使いください。",
        "without": "このブラウザーではキーを利用できません",
        "without_new": "JavaScriptを有効にするか、別のブラウザーでこのページを開いてください。",
        "without_prove": "代わりに、職員アカウントでサインインしてください。",
        "wrong": "キーの確認を完了できませんでした",
        "again": "もう一度試す",
        "code": "理由コード",
    },
    "en": {
        "list": "Security keys",
        "list_lead": "With a passkey or a security key you can confirm that it is you when you open an important page.",
        "none": "No key is registered.",
        "none_hint": "You can register this device's fingerprint, face or PIN, or a security key, for example on USB.",
        "add": "Register a key",
        "add_second": "With a second key you can go on working if you lose one.",
        "registered": "Registered",
        "used": "Last used",
        "never": "Not used yet",
        "kind": "Where it is kept",
        "kind_hardware": "In hardware its maker vouches for",
        "kind_device": "On this one device or key only",
        "kind_synced": "Synchronised between devices",
        "kind_syncable": "Can be synchronised with other devices",
        "state": "State",
        "ok": "Ready",
        "locked": "Locked",
        "locked_hint": "There may be a copy of this key. Remove it and register it anew.",
        "open": "Rename, remove or report lost",
        "done_added": "The key is registered.",
        "done_renamed": "The key has a new name.",
        "done_removed": "The key is removed.",
        "done_lost": "The key was reported lost and is removed. Sign-ins that were confirmed with it have ended.",
        "done": "Done",
        "one": "Manage a key",
        "name": "Name of the key",
        "name_hint": "Choose a name by which you will know it, such as “USB key in the office”.",
        "rename": "Change the name",
        "remove": "Remove the key",
        "remove_hint": "You can no longer confirm with this key. You can register it again later.",
        "lost": "Report it lost",
        "lost_hint": "Choose this if the key was lost or stolen. "
        "It is removed, and every sign-in that was confirmed with it ends.",
        "last": "This is your last key",
        "last_hint": "Without it you will have to sign in again for every important page. "
        "We suggest that you register another key first.",
        "back": "Back to the list of keys",
        "new": "Register a key",
        "new_lead": "Your browser will guide you. Your fingerprint, face or PIN never leaves your device.",
        "new_button": "Begin",
        "stale": "Sign in again first",
        "stale_hint": "To be safe, a key is registered within ten minutes of signing in.",
        "weak": "This sign-in is not strong enough",
        "weak_hint": "Sign in with a stronger method, such as a second factor.",
        "sign_in": "Sign in again",
        "default_name": "New key",
        "prove": "Confirm with your key",
        "prove_lead": "The page you want to open needs to know that it is you.",
        "prove_to": "Page",
        "prove_button": "Use your key",
        "prove_other": "Sign in without a key",
        "failed": "Your key could not be confirmed. Please try again.",
        "taken": "This key is registered already. Please use another one.",
        "without": "This browser cannot use keys",
        "without_new": "Allow JavaScript, or open this page in another browser.",
        "without_prove": "Sign in at the identity provider instead.",
        "wrong": "The key was not confirmed",
        "again": "Try again",
        "code": "Reason code",
    },
}
DONE: Final = ("added", "renamed", "removed", "lost")


def kind_of(key: Passkey) -> str:
    """Return the name of the text that says where a key is kept, as far as that is known."""
    if key.hardware:
        return "kind_hardware"
    if key.backed_up:
        return "kind_synced"
    return "kind_syncable" if key.backup_eligible else "kind_device"


def day(instant: int, language: Language) -> str:
    """Return a day as people write it."""
    at = datetime.fromtimestamp(instant, UTC)
    return f"{at.year}年{at.month}月{at.day}日" if language == "ja" else f"{at.day} {at:%B} {at.year}"


def _row(key: Passkey, language: Language) -> dict[str, Any]:
    texts = TEXTS[language]
    return {
        "id": key.id,
        "name": key.name,
        "locked": bool(key.trouble),
        "facts": (
            (texts["kind"], texts[kind_of(key)]),
            (texts["registered"], day(key.created_at, language)),
            (texts["used"], texts["never"] if key.used_at is None else day(key.used_at, language)),
        ),
    }


class KeyPages:
    """Renders them."""

    def __init__(self, book: PageBook) -> None:
        self._book = book

    def all(self, keys: Sequence[Passkey], *, language: Language, visitor: object, done: str) -> Page:
        """The list; `done` is what has just been done, one of `DONE`, or empty."""
        rows = [_row(key, language) for key in keys]
        return self._page("keys.html", language, visitor=visitor, keys=rows, done=done if done in DONE else "")

    def one(self, key: Passkey, *, language: Language, visitor: object, csrf: str, last: bool) -> Page:
        """One key, with what can be done about it."""
        return self._page("keys_one.html", language, visitor=visitor, key=_row(key, language), csrf=csrf, last=last)

    def new(self, *, language: Language, visitor: object, csrf: str, secret: str, options: bytes, name: str) -> Page:
        """The page that registers a key."""
        return self._page(
            "keys_new.html", language, visitor=visitor, script=SCRIPT, csrf=csrf, secret=secret,
            options=options.decode(), name=name,
        )  # fmt: skip

    def first(self, *, language: Language, visitor: object, why: str, sign_in: str) -> Page:
        """Why no key can be registered yet, `stale` or `weak`, and the way to sign in again."""
        return self._page("keys_first.html", language, visitor=visitor, why=why, sign_in=sign_in)

    def prove(self, *, language: Language, secret: str, options: bytes, origin: str, to: str, instead: str) -> Page:
        """The page that asks for a key. `instead` is the way to the identity provider."""
        return self._page(
            "keys_prove.html", language, script=SCRIPT, onward=origin, secret=secret, options=options.decode(),
            place=f"{origin}{to}", instead=instead,
        )  # fmt: skip

    def wrong(self, code: str, *, language: Language, visitor: object = None, back: str) -> Page:
        """What went wrong with a key, and the page to begin again from."""
        entry = registry().get(code, UNKNOWN)
        text, hint = entry.text(language), entry.hint(language)
        return self._page("keys_wrong.html", language, visitor=visitor, text=text, hint=hint, code=code, back=back)

    def _page(self, template: str, language: Language, **values: Any) -> Page:
        return self._book.render(template, language=language, t=TEXTS[language], **values)
