"""What operations, states and events are called at the desk, and the text that goes with an invitation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class OperationTexts(NamedTuple):
    """What is said of one operation: its button, the question before it, what it does, and that it is done."""

    button: str
    ask: str
    will: str
    done: str


OPERATIONS: Final[Mapping[str, Mapping[str, OperationTexts]]] = MappingProxyType(
    {
        "ja": {
            "approve": OperationTexts(
                "承認する",
                "この端末を承認しますか？",
                "報告が届いている端末は、すぐに利用できるようになります。まだ届いていない端末は、最初の報告のあとに利用できます。",
                "端末を承認しました。",
            ),
            "quarantine": OperationTexts(
                "隔離する",
                "この端末を隔離しますか？",
                "次の要求から、この端末では何も開けなくなります。端末からの報告は届きます。解除すれば元に戻ります。",
                "端末を隔離しました。",
            ),
            "release": OperationTexts(
                "隔離を解除する",
                "この端末の隔離を解除しますか？",
                "この端末をふたたび利用できるようになります。高い区分の情報は、報告がもう一度そろってから開けます。",
                "隔離を解除しました。",
            ),
            "lost": OperationTexts(
                "紛失を記録する",
                "この端末の紛失を記録しますか？",
                "次の要求から、この端末では何も開けなくなります。見つかったときは、隔離した状態に戻せます。",
                "紛失を記録しました。",
            ),
            "recover": OperationTexts(
                "発見を記録する",
                "この端末が見つかったと記録しますか？",
                "端末は隔離された状態になります。調べてから隔離を解除してください。",
                "発見を記録しました。端末は隔離されています。",
            ),
            "revoke": OperationTexts(
                "登録を失効させる",
                "この端末の登録を失効させますか？",
                "登録が終わり、鍵はすべて失効します。取り消しはできません。もう一度使うには、新しい招待で登録し直します。",
                "登録を失効させました。",
            ),
            "retire": OperationTexts(
                "廃止する",
                "この端末を廃止しますか？",
                "端末は管理の対象から外れ、鍵はすべて失効します。取り消しはできません。",
                "端末を廃止しました。",
            ),
        },
        "en": {
            "approve": OperationTexts(
                "Approve",
                "Approve this device?",
                "If it has reported, it can be used at once. Otherwise it can be used after its first report.",
                "The device is approved.",
            ),
            "quarantine": OperationTexts(
                "Quarantine",
                "Quarantine this device?",
                "From its next request on, nothing opens on this device. It goes on reporting. A release undoes this.",
                "The device is quarantined.",
            ),
            "release": OperationTexts(
                "Release from quarantine",
                "Release this device from quarantine?",
                "The device can be used again. High labels open once its reports have agreed anew.",
                "The device is released.",
            ),
            "lost": OperationTexts(
                "Report lost",
                "Report this device lost?",
                "From its next request on, nothing opens on this device. If found, it comes back into quarantine.",
                "The device is reported lost.",
            ),
            "recover": OperationTexts(
                "Report found",
                "Was this device found?",
                "It will be in quarantine. Look at it, then release it.",
                "The device is reported found. It is in quarantine.",
            ),
            "revoke": OperationTexts(
                "Revoke the registration",
                "Revoke the registration of this device?",
                "The registration ends, and all of its keys are revoked. This cannot be undone: to be used again, "
                "the device is registered anew with a new invitation.",
                "The registration is revoked.",
            ),
            "retire": OperationTexts(
                "Retire",
                "Retire this device?",
                "The device leaves the inventory's care, and all of its keys are revoked. This cannot be undone.",
                "The device is retired.",
            ),
        },
    }
)

WORDS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "ja": {
            "status.invited": "招待中",
            "status.enrolled": "登録中",
            "status.active": "利用中",
            "status.quarantined": "隔離中",
            "status.lost": "紛失",
            "status.revoked": "失効",
            "status.retired": "廃止",
            "ownership.corp": "組織の端末",
            "ownership.byod": "個人の端末",
            "ownership.shared": "共用の端末",
            "kind.person": "職員",
            "kind.shared": "共用",
            "kind.robot": "プログラム",
            "kind.contractor": "外部の方",
            "invitation.open": "有効",
            "invitation.begun": "登録の途中",
            "invitation.used": "登録済み",
            "invitation.withdrawn": "取り下げ",
            "invitation.expired": "期限切れ",
            "enrollment.open": "途中のものすべて",
            "enrollment.finished": "終わったものすべて",
            "enrollment.identified": "サインイン済み",
            "enrollment.consented": "同意済み",
            "enrollment.certified": "鍵の証明済み",
            "enrollment.reported": "報告に不足あり",
            "enrollment.waiting": "承認待ち",
            "enrollment.complete": "完了",
            "enrollment.refused": "中止",
            "enrollment.expired": "期限切れ",
            "step.consent": "収集する情報の説明への同意を待っています。",
            "step.key": "端末での鍵の作成を待っています。",
            "step.report": "端末からの最初の報告を待っています。",
            "step.remedy": "報告は届きました。足りない点を本人が直すのを待っています。",
            "step.wait": "別の人の承認を待っています。",
            "step.complete": "登録は終わりました。端末の状態は端末のページで分かります。",
            "step.refused": "登録は中止されました。もう一度登録するには、新しい招待が必要です。",
            "step.expired": "期限までに終わりませんでした。もう一度登録するには、新しい招待が必要です。",
            "ledger.exact": "製造番号と機種が一致しています",
            "ledger.serial": "製造番号は一致しています（比べる機種がありません）",
            "ledger.differs": "製造番号は台帳にありますが、機種が違います",
            "ledger.absent": "台帳にない端末です",
            "ledger.unreported": "端末が製造番号を報告していません",
            "method.attested": "機器の証明つき",
            "method.mdm_server": "管理サーバー",
            "method.signed_agent": "署名つきの報告",
            "method.self_report": "端末の自己申告",
            "method.declared": "登録時の申告",
            "fact.observed": "",
            "fact.not_collected": "収集していません",
            "fact.not_supported": "この端末では分かりません",
            "fact.error": "読み取れませんでした",
            "value.true": "はい",
            "value.false": "いいえ",
            "value.none": "なし",
            "source.agent": "エージェント",
            "source.helper": "管理者権限の補助プログラム",
            "source.quote": "TPM",
            "source.inventory": "台帳（登録）",
            "actor.system": "自動",
            "person.active": "在籍中",
            "person.left": "退職・異動",
            "person.suspended": "停止中",
            "role.viewer": "閲覧",
            "role.helpdesk": "ヘルプデスク",
            "role.approver": "承認者",
            "role.security": "セキュリティ担当",
            "role.owner": "管理責任者",
            "ago.now": "たった今",
            "ago.minutes": "{n}分前",
            "ago.hours": "{n}時間前",
            "ago.days": "{n}日前",
        },
        "en": {
            "status.invited": "Invited",
            "status.enrolled": "Registering",
            "status.active": "In use",
            "status.quarantined": "Quarantined",
            "status.lost": "Lost",
            "status.revoked": "Revoked",
            "status.retired": "Retired",
            "ownership.corp": "The organisation's",
            "ownership.byod": "Their own",
            "ownership.shared": "Shared",
            "kind.person": "Staff",
            "kind.shared": "Shared",
            "kind.robot": "Program",
            "kind.contractor": "Contractor",
            "invitation.open": "Open",
            "invitation.begun": "Registering",
            "invitation.used": "Used",
            "invitation.withdrawn": "Withdrawn",
            "invitation.expired": "Expired",
            "enrollment.open": "All under way",
            "enrollment.finished": "All that are over",
            "enrollment.identified": "Signed in",
            "enrollment.consented": "Agreed to the notice",
            "enrollment.certified": "Key certified",
            "enrollment.reported": "Reported, not complete",
            "enrollment.waiting": "Waiting for approval",
            "enrollment.complete": "Complete",
            "enrollment.refused": "Refused",
            "enrollment.expired": "Took too long",
            "step.consent": "The person has yet to agree to the notice of what is collected.",
            "step.key": "The device has yet to make its key.",
            "step.report": "The device has yet to send its first report.",
            "step.remedy": "The device has reported; the person has yet to put right what is missing.",
            "step.wait": "Somebody else has to approve the device.",
            "step.complete": "The registration is done. How the device is now stands on its page.",
            "step.refused": "The registration was ended. To register again takes a new invitation.",
            "step.expired": "It was not done in time. To register again takes a new invitation.",
            "ledger.exact": "Serial number and model agree",
            "ledger.serial": "The serial number agrees; there is no model to compare",
            "ledger.differs": "The serial number is in the ledger, but the model differs",
            "ledger.absent": "Not in the ledger",
            "ledger.unreported": "The device reports no serial number",
            "method.attested": "Attested by hardware",
            "method.mdm_server": "Management server",
            "method.signed_agent": "Signed report",
            "method.self_report": "The device's own word",
            "method.declared": "Declared",
            "fact.observed": "",
            "fact.not_collected": "Not collected",
            "fact.not_supported": "Not known on this device",
            "fact.error": "Could not be read",
            "value.true": "Yes",
            "value.false": "No",
            "value.none": "None",
            "source.agent": "Agent",
            "source.helper": "Root helper",
            "source.quote": "TPM",
            "source.inventory": "Registration",
            "actor.system": "the control plane",
            "person.active": "active",
            "person.left": "left",
            "person.suspended": "suspended",
            "role.viewer": "Viewer",
            "role.helpdesk": "Help desk",
            "role.approver": "Approver",
            "role.security": "Security team",
            "role.owner": "Owner",
            "ago.now": "just now",
            "ago.minutes": "{n} min ago",
            "ago.hours": "{n} h ago",
            "ago.days": "{n} d ago",
        },
    }
)
"""Names of what the inventory holds as a word, `KIND.WORD`."""

ACTIONS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "ja": {
            "device.enrolled": "登録",
            "device.approved": "承認",
            "device.activated": "利用開始",
            "device.quarantined": "隔離",
            "device.released": "隔離の解除",
            "device.revoked": "失効",
            "device.lost": "紛失の記録",
            "device.recovered": "発見の記録",
            "device.retired": "廃止",
            "device.transferred": "利用者の変更",
            "device.returned": "退職・異動による返却",
            "device.end_changed": "期限の変更",
            "device.imported": "台帳の取り込み",
            "device.reported": "報告",
            "device.renewed": "証明書の更新",
            "device.serial_seen_again": "同じ製造番号の端末を発見",
            "device.forgotten": "収集した情報の消去",
            "invitation.made": "招待",
            "invitation.withdrawn": "招待の取り下げ",
            "enrollment.started": "登録の開始",
            "enrollment.resumed": "登録の再開",
            "enrollment.consented": "収集への同意",
            "enrollment.certified": "鍵の証明",
            "enrollment.reported": "最初の報告",
            "enrollment.waiting": "承認待ち",
            "enrollment.complete": "登録の完了",
            "enrollment.refused": "登録の中止",
            "enrollment.expired": "登録の期限切れ",
        },
        "en": {
            "device.enrolled": "Registered",
            "device.approved": "Approved",
            "device.activated": "Put into service",
            "device.quarantined": "Quarantined",
            "device.released": "Released",
            "device.revoked": "Revoked",
            "device.lost": "Reported lost",
            "device.recovered": "Reported found",
            "device.retired": "Retired",
            "device.transferred": "Given to somebody else",
            "device.returned": "Returned by somebody who left",
            "device.end_changed": "End changed",
            "device.imported": "Told by the ledger",
            "device.reported": "Reported",
            "device.renewed": "Certificate renewed",
            "device.serial_seen_again": "Serial number seen on another device",
            "device.forgotten": "What was collected is erased",
            "invitation.made": "Invited",
            "invitation.withdrawn": "Invitation withdrawn",
            "enrollment.started": "Registration begun",
            "enrollment.resumed": "Registration resumed",
            "enrollment.consented": "Notice agreed to",
            "enrollment.certified": "Key certified",
            "enrollment.reported": "First report",
            "enrollment.waiting": "Waiting for approval",
            "enrollment.complete": "Registration complete",
            "enrollment.refused": "Registration refused",
            "enrollment.expired": "Registration took too long",
        },
    }
)
"""What audit events are called; one that is not here is shown by its own name."""

MESSAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ja": (
            "端末登録のご案内\n"
            "\n"
            "端末登録の招待が届きました。登録する端末で、次のページを開いてください。\n"
            "{link}\n"
            "\n"
            "招待コード：{code}\n"
            "期限：{until}（一度だけ使えます）\n"
            "\n"
            "ページでは、いつもの職員アカウントでサインインします。パスワードを電話やメールでおたずねすることはありません。\n"
            "お心当たりがないときは、何もせずにヘルプデスクへお知らせください。"
        ),
        "en": (
            "Registering your device\n"
            "\n"
            "You are invited to register a device. On the device to register, open this page:\n"
            "{link}\n"
            "\n"
            "Code: {code}\n"
            "Until: {until} (it works once)\n"
            "\n"
            "The page asks you to sign in with your staff account as usual. "
            "Nobody will ask for your password by phone or mail.\n"
            "If you do not know what this is about, do nothing and tell the help desk."
        ),
    }
)
"""What whoever invites sends to the person."""
