"""The texts of "my device": what is held of it and why, and how to report it lost."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from zt_engine.pages.book import Language

TEXTS: Final[Mapping[Language, Mapping[str, str]]] = MappingProxyType(
    {
        "ja": {
            # -- the list
            "list_title": "自分の端末",
            "list_lead": "あなたの端末として登録されているものです。",
            "none": "登録されている端末はありません。",
            "none_hint": (
                "端末を登録するには、上司や管理者からの招待が必要です。招待が届いたら、登録ページを開いてください。"
            ),
            "enroll": "端末を登録する",
            "ended_list": "登録が終わった端末",
            "see": "詳しく見る",
            "lost_link": "紛失を報告する",
            "last_report": "最後の報告",
            "never": "まだありません",
            # -- one device
            "back": "自分の端末の一覧へ",
            "status_enrolled": "登録の途中です",
            "status_active": "利用できます",
            "status_quarantined": "一時的に利用できません",
            "status_lost": "紛失中として利用を止めています",
            "status_revoked": "登録が終わっています",
            "status_retired": "登録が終わっています",
            "status_invited": "招待が届いています",
            "reach": "「{label}」の情報まで利用できます",
            "reach_none": "いまは、どの区分の情報も開けません",
            "reach_unknown": "どの区分まで利用できるかは、接続先ごとに判断されます",
            "next_title": "「{label}」の情報に必要なこと（あと{n}項目）",
            "general_title": "直しておくとよいこと（{n}項目）",
            "all_done": "この端末に足りない項目はありません。",
            "later": "さらに上の区分に必要なこと",
            "lost_note": "この端末は紛失として登録されています",
            "lost_note_text": (
                "次の要求から、この端末では何も開けません。見つかったときは、ヘルプデスクにご連絡ください。"
                "ご本人がこのページから元に戻すことはできません。"
            ),
            "lost_note_in": (
                "ほかの端末やブラウザーのサインインも終了しました。引き続きお使いになるときは、"
                "もう一度サインインしてください。"
            ),
            "incident": "窓口に伝えること",
            "incident_text": (
                "いつ、どこで気づいたか。端末の中や一緒に、紙の資料や記録媒体がなかったか。警察や施設に届け出たか。"
            ),
            "why": "理由",
            "keys_title": "端末の鍵と証明書",
            "keys_lead": "この端末であることを示す鍵です。鍵そのものは端末の中にあり、こちらには保存されていません。",
            "keys_none": "有効な証明書はありません。",
            "key_until": "{until} まで有効",
            "key_ended": "無効になりました",
            "key_stopped": "紛失中のため使えません",
            "key_over": "期限が切れました",
            "key_number": "証明書の番号",
            "protection_attested_hw": "セキュリティチップの中（メーカーの証明つき）",
            "protection_hw": "セキュリティチップの中",
            "protection_os_keystore": "OSの鍵の保管庫",
            "protection_file": "ファイル（複製できるため、利用できる区分が限られます）",
            "facts_title": "収集している情報",
            "facts_lead": "登録のときにお知らせした項目と同じものです。個人のファイルや閲覧履歴は収集しません。",
            "facts_open": "{n}項目をすべて表示する",
            "facts_decide": "アクセスの判断に使われます",
            "facts_decide_all": "どの項目も、アクセスの判断に使われることがあります。",
            "facts_not_held": "記録はありません",
            "others": "管理サーバーなどが知らせた情報",
            "others_lead": (
                "端末からではなく、組織の管理サーバーなどから届いた情報です。"
                "端末が組織の決まりに合っているかを確認するためです。"
            ),
            "column_fact": "項目",
            "column_value": "内容",
            "column_when": "受け取った時刻",
            "column_who": "知らせた相手",
            "record_title": "登録の内容",
            "owner": "利用者",
            "assigned": "利用できる人",
            "ownership": "端末の持ち主",
            "kind": "用途",
            "id": "端末の番号",
            "name": "端末の名前",
            "model": "機種",
            "serial": "製造番号（復元できない形）",
            "ceiling": "登録時に決めた上限",
            "sponsor": "責任を負う職員",
            "ends": "利用の期限",
            "approved_by": "承認した人",
            "created": "登録した日時",
            "replaces": "以前の登録",
            "reports": "受け取った報告の番号",
            "consistent": "そろっている報告の数",
            "boot": "最後に報告された起動の番号",
            "helper": "補助プログラムの鍵",
            "helper_yes": "登録されています",
            "findings": "気になる点",
            "changes_title": "値の変化",
            "changes_lead": (
                "判断に関わる値が変わったときの記録です。直したのか、切り替わり続けているのかを見分けるために使います。"
            ),
            "reads_title": "この記録を見た人",
            "reads_lead": (
                "管理者がこの端末の記録を開くと、ここに残ります。同じ人が1時間のうちに何度開いても、1件です。"
                "一覧の表示は含みません。"
            ),
            "reads_auto": "このほかに、アクセスを判断するシステムが、{n}項目を自動で受け取ります。",
            "reads_none": "これまでに開いた人はいません。",
            "history_title": "これまでのできごと",
            "you": "あなた",
            "system": "システム",
            "device_itself": "端末",
            "retention_title": "保存する期間",
            "lost_title": "端末をなくしたとき",
            "lost_text": (
                "見当たらないと思ったら、すぐに報告してください。承認は要りません。あとで見つかれば、"
                "ヘルプデスクが元に戻せます。"
            ),
            # -- reporting a loss
            "confirm_title": "紛失を報告しますか？",
            "confirm_what": "報告すると、すぐに次のことが行われます。",
            "confirm_1": "この端末では、何も開けなくなります。証明書も使えなくなります。",
            "confirm_2": (
                "この端末で続いているサインインは、すべて終了します。どこで使われているか分からないものも、"
                "あわせて終了します。"
            ),
            "confirm_3": "いまお使いのこのブラウザーのサインインは、そのまま残ります。",
            "confirm_undo": "見つかったときに元に戻せるのは、ヘルプデスクだけです。",
            "confirm_button": "紛失を報告する",
            "confirm_back": "報告せずに戻る",
            # -- ending one's own registration
            "end_title": "登録をやめるとき",
            "end_text": "ご自分の端末の登録は、いつでもやめられます。端末の中身が消されることはありません。",
            "end_link": "登録をやめる",
            "end_confirm": "この端末の登録をやめますか？",
            "end_1": "この端末では、組織の情報を開けなくなります。証明書は無効になります。",
            "end_2": "端末の中身には、何もしません。",
            "end_3": "収集した情報は、{days}日後に消去されます。",
            "end_undo": "もう一度使うには、新しい招待で登録し直します。",
            "end_button": "登録をやめる",
            "end_back": "やめずに戻る",
        },
        "en": {
            "list_title": "My devices",
            "list_lead": "These are registered as yours.",
            "none": "No device is registered as yours.",
            "none_hint": (
                "Registering one takes an invitation from your manager. When it has come, open the page to register."
            ),
            "enroll": "Register a device",
            "ended_list": "Registrations that have ended",
            "see": "See details",
            "lost_link": "Report it lost",
            "last_report": "Last report",
            "never": "None yet",
            "back": "All my devices",
            "status_enrolled": "Registration is not finished",
            "status_active": "Ready to use",
            "status_quarantined": "Cannot be used for now",
            "status_lost": "Reported lost: nothing opens on it",
            "status_revoked": "Registration has ended",
            "status_retired": "Registration has ended",
            "status_invited": "You are invited to register it",
            "reach": "Good for data up to {label}",
            "reach_none": "Nothing opens on it now",
            "reach_unknown": "What it is good for is judged at each service",
            "next_title": "What {label} still takes ({n} left)",
            "general_title": "Worth putting right ({n})",
            "all_done": "Nothing is missing on this device.",
            "later": "What still higher labels take",
            "lost_note": "This device is reported lost",
            "lost_note_text": (
                "From its next request on, nothing opens on it. If you find it, contact the help desk: only they "
                "can take it back into use."
            ),
            "lost_note_in": (
                "Your sign-ins in other browsers have ended as well. Sign in again wherever you go on working."
            ),
            "incident": "What to tell the help desk",
            "incident_text": (
                "When and where you noticed. Whether papers or storage media were with it. Whether you told the "
                "police or the place where you lost it."
            ),
            "why": "Reason",
            "keys_title": "Keys and certificates",
            "keys_lead": "They show that it is this device. The key itself is in the device and is not kept here.",
            "keys_none": "There is no certificate in force.",
            "key_until": "In force until {until}",
            "key_ended": "Revoked",
            "key_stopped": "Counts for nothing while the device is lost",
            "key_over": "Expired",
            "key_number": "Certificate number",
            "protection_attested_hw": "In the security chip, as its maker attests",
            "protection_hw": "In the security chip",
            "protection_os_keystore": "In the key store of the operating system",
            "protection_file": "In a file (it could be copied, so the device is good for less)",
            "facts_title": "What is collected",
            "facts_lead": (
                "These are the items you were told about when you registered. We do not collect your files or your "
                "browsing history."
            ),
            "facts_open": "Show all {n} items",
            "facts_decide": "used to decide about access",
            "facts_decide_all": "Each of them may be used to decide about access.",
            "facts_not_held": "Nothing is recorded",
            "others": "What others told about it",
            "others_lead": (
                "This did not come from the device but from the organisation's management servers, to see that the "
                "device meets its rules."
            ),
            "column_fact": "Item",
            "column_value": "Value",
            "column_when": "Received",
            "column_who": "Told by",
            "record_title": "The registration",
            "owner": "Holder",
            "assigned": "Who may use it",
            "ownership": "Whose it is",
            "kind": "Used for",
            "id": "Device number",
            "name": "Name",
            "model": "Model",
            "serial": "Serial number (unreadable form)",
            "ceiling": "Limit it was registered with",
            "sponsor": "Who answers for it",
            "ends": "May be used until",
            "approved_by": "Approved by",
            "created": "Registered",
            "replaces": "Earlier registration",
            "reports": "Number of the last report",
            "consistent": "Reports that agree",
            "boot": "Last reported start-up",
            "helper": "Key of the root helper",
            "helper_yes": "Registered",
            "findings": "What looks odd",
            "changes_title": "Values that changed",
            "changes_lead": (
                "Changes of values that matter for access. They tell a repair from a setting that is switched to "
                "and fro."
            ),
            "reads_title": "Who looked at this record",
            "reads_lead": (
                "Whenever an administrator opens the record of this device, it stands here; once an hour for each "
                "person. Lists are not counted."
            ),
            "reads_auto": "Beside them, the systems that decide about access receive {n} of the items by themselves.",
            "reads_none": "Nobody has opened it so far.",
            "history_title": "What happened so far",
            "you": "You",
            "system": "The system",
            "device_itself": "The device",
            "retention_title": "How long it is kept",
            "lost_title": "If you have lost it",
            "lost_text": (
                "Report it as soon as you miss it. It needs no approval, and if it turns up, the help desk can undo it."
            ),
            "confirm_title": "Report this device lost?",
            "confirm_what": "As soon as you report it:",
            "confirm_1": "Nothing opens on this device any more, and its certificate counts for nothing.",
            "confirm_2": (
                "Every sign-in on this device ends, and so do those of which nobody knows where they are used."
            ),
            "confirm_3": "You stay signed in in the browser you are using now.",
            "confirm_undo": "If it is found, only the help desk can take it back into use.",
            "confirm_button": "Report it lost",
            "confirm_back": "Go back without reporting",
            "end_title": "If you no longer want to use it for work",
            "end_text": "You can end the registration of your own device at any time. Nothing on it is erased.",
            "end_link": "End the registration",
            "end_confirm": "End the registration of this device?",
            "end_1": "The organisation's data no longer opens on this device, and its certificate is revoked.",
            "end_2": "Nothing on the device itself is touched.",
            "end_3": "What was collected is erased after {days} days.",
            "end_undo": "To use it again, it is registered anew with another invitation.",
            "end_button": "End the registration",
            "end_back": "Keep it registered",
        },
    }
)

OTHERS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "device.key_protection": ("端末の鍵の守られ方です。", "How the key of the device is protected."),
        "device.ownership": ("端末の持ち主の区分です。", "Whose device it is."),
        "mdm.compliant": (
            "組織の管理サーバーの決まりに合っているかどうかです。",
            "Whether it meets the rules of the organisation's management server.",
        ),
        "report_seq": ("報告の通し番号です。", "The number of the report."),
        "vuln.state": (
            "インストールされている製品に、悪用が確認されている弱点があるかどうかです。",
            "Whether weaknesses that are known to be exploited are open on it.",
        ),
        "vuln.kev_open": ("悪用が確認されている、未対応の弱点です。", "Exploited weaknesses that are open."),
        "vuln.kev_overdue": (
            "悪用が確認されていて、対応の期限を過ぎた弱点です。",
            "Exploited weaknesses that should have been mended by now.",
        ),
        "vuln.max_cvss_open": (
            "未対応の弱点のうち、最も深刻なものの点数です。",
            "How severe the worst open weakness is.",
        ),
        "vuln.feed_age": ("弱点の一覧を更新してからの時間です。", "How old the list of weaknesses is."),
    }
)
"""Facts that no device is asked for, so that the notice does not have them: in Japanese and in English."""
