"""The texts of the pages of an enrollment, in Japanese and in English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "ja": {
        "kicker": "端末の登録",
        "step": "手順 {at} / {of}",
        # The invitation.
        "register": "端末を登録します",
        "invited": "端末登録の招待が届きました",
        "invited_lead": (
            "職員アカウントでサインインし、端末を登録します。所要時間は5分ほどです。"
            "途中で閉じても、同じ招待で続きから再開できます。"
        ),
        "code": "招待のリンクまたはコード",
        "code_hint": (
            "届いた招待のリンクを、そのまま貼り付けてください。すでに入力されている場合は、何もする必要はありません。"
        ),
        "sign_in": "サインインして進む",
        "go_on": "次へ",
        "unexpected": "心当たりのない招待のときは、何も入力せずに、ヘルプデスクに知らせてください。",
        "lost_code": "招待をもう一度貼り付けてください",
        "lost_code_lead": "このブラウザーには招待が残っていません。登録の進み具合は保存されています。",
        "leaving": "職員アカウントでサインインしてください",
        "leaving_lead": "サインインの画面に移動します。移動しないときは、下のボタンを押してください。",
        "leave": "サインインの画面へ",
        # The wrong device.
        "phone": "この画面を、登録するパソコンで開いてください",
        "phone_lead": (
            "いまは、スマートフォンまたはタブレットで開かれているようです。招待のリンクを登録するパソコンに送り、"
            "そのパソコンのブラウザーで開いてください。招待はまだ使われていません。"
        ),
        "windows": "この招待は、Linuxの端末のためのものです",
        "windows_lead": (
            "いまは、Windowsで開かれているようです。Windowsの端末は端末管理から登録されます。"
            "Linuxの端末を登録するときは、"
            "その端末のブラウザーで招待のリンクを開いてください。招待はまだ使われていません。"
        ),
        "mac": "この招待は、Linuxの端末のためのものです",
        "mac_lead": (
            "いまは、macOSで開かれているようです。macOSの端末は端末管理から登録されます。"
            "Linuxの端末を登録するときは、"
            "その端末のブラウザーで招待のリンクを開いてください。招待はまだ使われていません。"
        ),
        "here": "このまま進む",
        # The notice.
        "notice": "収集する情報をご確認ください",
        "notice_before": (
            "まだ何も収集していません。端末で登録を始めると、エージェントが同じ内容をもう一度表示し、"
            "同意をお尋ねします。"
        ),
        "your_invitation": "この招待の内容",
        "ownership": "端末の持ち主",
        "corp": "組織",
        "byod": "ご本人（収集する項目は少なくなります）",
        "shared": "組織（共用の端末）",
        "ceiling": "利用できる区分の上限",
        "approval": "承認",
        "approval_yes": "登録の後に、ほかの担当者の承認が必要です",
        "until": "招待の有効期限",
        "purposes": "項目と目的",
        "retention": "保存期間",
        "unmarked": "印のない項目",
        "marked": "{mark} の項目",
        "have_read": "確認しました。次へ",
        # Install and run.
        "install": "登録する端末で、次のコマンドを実行してください",
        "install_lead": (
            "ボタンを押すとコマンドがコピーされます。登録する端末のターミナルに貼り付け、"
            "Enterキーを押してください（約2分）。"
        ),
        "command": "実行するコマンド",
        "copy_on": "コピーして次へ",
        "after_run": "実行すると、サインインと、収集する情報への同意をお尋ねします。",
        "no_agent": "エージェントがまだ入っていない場合",
        "no_agent_lead": "組織が配布するパッケージを入れてから、上のコマンドを実行してください。",
        "package": "配布元",
        "check": "パッケージの確かめ方",
        "check_how": (
            "入れる前に、届いたファイルに対して sha256sum を実行し、"
            "表示された値が下の値と1文字も違わないことを確かめてください。"
            "違うときは入れずに、ヘルプデスクに知らせてください。"
        ),
        "check_where": (
            "入れる前に、届いたファイルに対して sha256sum を実行し、表示された値が、"
            "組織が公表している値と1文字も違わないことを"
            "確かめてください。違うときは入れずに、ヘルプデスクに知らせてください。"
        ),
        "digest": "SHA-256",
        "server": "接続先の確かめ方",
        "server_how": (
            "コマンドには、接続先の認証局の指紋が入っています。"
            "エージェントはこの指紋に合うサーバーとだけ通信するので、"
            "コマンドは書き換えずに使ってください。"
        ),
        # Progress.
        "wait_command": "端末でコマンドを実行してください",
        "wait_command_lead": "登録が始まると、この画面が自動で進みます。",
        "wait_agree": "端末のターミナルで、収集する情報に同意してください",
        "wait_agree_lead": "サインインを確認しました。ターミナルの表示を確認し、同意すると先へ進みます。",
        "wait_key": "端末の鍵を作成しています…",
        "wait_key_lead": "鍵は端末の中で作られ、外には出ません。このままお待ちください。",
        "wait_report": "端末の状態を確認しています…",
        "wait_report_lead": "端末から最初の報告が届くのを待っています。通常は1分以内に届きます。",
        "wait_approval": "承認待ちです。通常1営業日以内に完了します",
        "wait_approval_lead": (
            "担当者が端末を確認しています。この画面は閉じてもかまいません。あとで招待のリンクから開き直せます。"
        ),
        "waiting": "待機中",
        "refreshing": "この画面は{seconds}秒ごとに自動で更新されます。",
        "pause": "自動更新を止める",
        "paused": "自動更新を止めています。",
        "resume": "自動更新を再開する",
        "look": "いまの状態を確認する",
        "show_command": "コマンドをもう一度表示する",
        # What is left.
        "left": "あと{count}項目で利用できます",
        "left_label": "あと{count}項目で「{label}」まで利用できます",
        "left_named": "{said}：{names}",
        "between": "、",
        "fix_lead": "どの順番でもかまいません。終わったものから、端末の報告に反映されます。",
        "fix": "残りの項目",
        "again": "再確認",
        "again_how": (
            "終わったら、端末で {command} を実行してから押してください。エージェントが動いていれば、"
            "1分ほどで自動的に報告されます。"
        ),
        "news": "新しい報告を確認しました。{at} に届いたものです。",
        "no_news": "端末からの新しい報告は、まだ届いていません。最後の報告は {at} です。",
        "no_news_do": "端末で次のコマンドを実行すると、すぐに報告されます。",
        "reported": "最後の報告",
        # Welcome.
        "welcome": "接続できました。この端末では「{label}」まで利用できます",
        "welcome_plain": "端末を登録しました",
        "welcome_lead": "準備はこれで終わりです。業務システムを、いつもどおり開いてください。",
        "welcome_none_lead": "どの区分まで利用できるかは、業務システムを開いたときに判定されます。",
        "done": "登録済み",
        "this_device": "登録した端末",
        "name": "名前",
        "model": "機種",
        "id": "端末の番号",
        "keep": "使い続けられるように、エージェント（{command}）を動かしたままにしてください。",
        "not_mine": "登録した覚えのない端末のときは、情報を確認して、紛失として報告してください。",
        "details": "この端末の情報を見る",
        # What cannot go on.
        "paste_again": "招待を貼り付け直す",
        "sign_in_again": "サインインし直す",
        "other_account": "別のアカウントでサインインする",
        "home": "最初のページへ",
        "signed_in_as": "いまのアカウント",
    },
    "en": {
        "kicker": "Registering a device",
        "step": "Step {at} of {of}",
        "register": "Register a device",
        "invited": "You are invited to register a device",
        "invited_lead": (
            "You sign in with your staff account and register the device. It takes about five minutes. "
            "If you close this page on the way, the same invitation takes you back to where you were."
        ),
        "code": "Link or code of your invitation",
        "code_hint": (
            "Paste the link you were sent, exactly as it is. If it is filled in already, there is nothing to do."
        ),
        "sign_in": "Sign in and go on",
        "go_on": "Continue",
        "unexpected": "If you did not expect an invitation, enter nothing and tell the help desk.",
        "lost_code": "Paste your invitation once more",
        "lost_code_lead": "This browser no longer holds your invitation. How far you came is kept.",
        "leaving": "Sign in with your staff account",
        "leaving_lead": "The sign-in page opens by itself. If it does not, press the button below.",
        "leave": "To the sign-in page",
        "phone": "Open this on the computer you want to register",
        "phone_lead": (
            "This looks like a phone or a tablet. Send the link of your invitation to the computer you want to "
            "register, "
            "and open it in a browser there. Your invitation has not been used."
        ),
        "windows": "This invitation is for a device with Linux",
        "windows_lead": (
            "This looks like Windows. Devices with Windows are registered by device management. To register a device "
            "with Linux, open the link of your invitation in a browser there. Your invitation has not been used."
        ),
        "mac": "This invitation is for a device with Linux",
        "mac_lead": (
            "This looks like macOS. Devices with macOS are registered by device management. To register a device "
            "with Linux, open the link of your invitation in a browser there. Your invitation has not been used."
        ),
        "here": "Go on here",
        "notice": "What is collected, and why",
        "notice_before": (
            "Nothing has been collected yet. When you start the registration on the device, the agent shows this "
            "once "
            "more and asks whether you agree."
        ),
        "your_invitation": "Your invitation",
        "ownership": "Whose device it is",
        "corp": "Your organisation's",
        "byod": "Your own (less is collected)",
        "shared": "Your organisation's, shared by several people",
        "ceiling": "Highest label it can be used for",
        "approval": "Approval",
        "approval_yes": "Somebody else approves the device after it is registered",
        "until": "The invitation is good until",
        "purposes": "Items and purposes",
        "retention": "How long it is kept",
        "unmarked": "Items without a mark",
        "marked": "Items with {mark}",
        "have_read": "I have read this. Continue",
        "install": "Run this command on the device you are registering",
        "install_lead": (
            "The button copies the command. Paste it into a terminal on that device and press Enter (about 2 minutes)."
        ),
        "command": "The command",
        "copy_on": "Copy and continue",
        "after_run": "It asks you to sign in, and to agree to what is collected.",
        "no_agent": "If the agent is not installed yet",
        "no_agent_lead": "Install the package that your organisation provides, then run the command above.",
        "package": "Where it comes from",
        "check": "How to check the package",
        "check_how": (
            "Before you install it, run sha256sum on the file you received, and see that every character of what "
            "it prints "
            "is the same as below. If it differs, do not install it, and tell the help desk."
        ),
        "check_where": (
            "Before you install it, run sha256sum on the file you received, and see that every character of what "
            "it prints "
            "is the same as what your organisation publishes. If it differs, do not install it, and tell the help "
            "desk."
        ),
        "digest": "SHA-256",
        "server": "How the server is known",
        "server_how": (
            "The command holds the fingerprint of the server's certificate authority. The agent talks to no other "
            "server, "
            "so use the command exactly as it is."
        ),
        "wait_command": "Run the command on the device",
        "wait_command_lead": "This page moves on by itself as soon as the registration has begun.",
        "wait_agree": "Agree to what is collected, in the terminal of the device",
        "wait_agree_lead": "Your sign-in was confirmed. Read what the terminal shows; once you agree, it goes on.",
        "wait_key": "Creating this device's key…",
        "wait_key_lead": "The key is made on the device and never leaves it. There is nothing for you to do.",
        "wait_report": "Looking at the state of the device…",
        "wait_report_lead": "Waiting for the device's first report. It usually arrives within a minute.",
        "wait_approval": "Waiting for approval, usually within one working day",
        "wait_approval_lead": (
            "Somebody is looking at your device. You may close this page; the link of your invitation opens it again."
        ),
        "waiting": "Waiting",
        "refreshing": "This page refreshes itself every {seconds} seconds.",
        "pause": "Pause refreshing",
        "paused": "Refreshing is paused.",
        "resume": "Resume refreshing",
        "look": "Refresh now",
        "show_command": "Show the command once more",
        "left": "{count} items left",
        "left_label": "{count} items left for “{label}”",
        "left_one": "1 item left",
        "left_one_label": "1 item left for “{label}”",
        "left_named": "{said}: {names}",
        "between": ", ",
        "fix_lead": "Do them in any order; each counts as soon as the device has reported it.",
        "fix": "What is left",
        "again": "Check again",
        "again_how": (
            "When you are done, run {command} on the device, then press this. An agent that is running reports by "
            "itself within about a minute."
        ),
        "news": "A new report has arrived, at {at}.",
        "no_news": "No new report has arrived from the device yet. The last one is of {at}.",
        "no_news_do": "Run this on the device, and it reports at once.",
        "reported": "Last report",
        "welcome": "Connected. This device may be used up to “{label}”",
        "welcome_plain": "Your device is registered",
        "welcome_lead": "That is all. Open what you work with as you always do.",
        "welcome_none_lead": "How far the device may be used is decided when you open what you work with.",
        "done": "Registered",
        "this_device": "The device you registered",
        "name": "Name",
        "model": "Model",
        "id": "Device number",
        "keep": "Leave the agent running ({command}), so that the device stays usable.",
        "not_mine": "If you did not register this device, see what is known of it and report it lost.",
        "details": "See what is known of this device",
        "paste_again": "Paste the invitation again",
        "sign_in_again": "Sign in again",
        "other_account": "Sign in with another account",
        "home": "To the first page",
        "signed_in_as": "Signed in now",
    },
}

NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "FIX_KEY_PROTECTION": ("鍵の保護", "key protection"),
    "FIX_PATCH": ("OS更新", "OS update"),
    "FIX_EXPLOITED": ("脆弱性の修正", "security fixes"),
    "FIX_DISK": ("ディスク暗号化", "disk encryption"),
    "FIX_PROTECTION": ("ウイルス対策", "antivirus"),
    "FIX_MANAGEMENT": ("端末管理", "device management"),
    "FIX_FIREWALL": ("ファイアウォール", "firewall"),
    "FIX_SECURE_BOOT": ("セキュアブート", "secure boot"),
    "FIX_SCREEN_LOCK": ("画面ロック", "screen lock"),
    "FIX_ADMINISTRATOR": ("管理者権限", "administrator rights"),
    "FIX_INTEGRITY": ("システムの改変", "system integrity"),
    "FIX_SYSTEM_VERSION": ("OSのバージョン", "OS version"),
    "FACTS_UNVOUCHED": ("状態の確認方法", "confirmation of the state"),
    "FACT_STALE": ("最新の報告", "a fresh report"),
    "REPORT_UNCONFIRMED": ("2回目の報告", "the second report"),
}
"""What an item is called in a list of names."""
