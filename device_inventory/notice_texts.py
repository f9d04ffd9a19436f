"""The texts of the notice: what each fact is and why it is collected, in Japanese and in English."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

Language = Literal["ja", "en"]
Purpose = Literal["key", "support", "patch", "theft", "boot", "malware", "network", "absence", "rights", "tampering"]


class NoticeText(Struct, frozen=True):
    """What is said of one fact. `byod`: whether a device of one's own sends it as well."""

    ja: str
    en: str
    purpose: Purpose
    byod: bool


PREAMBLE: Final[Mapping[Language, str]] = MappingProxyType(
    {
        "ja": "この端末から次の情報を収集します。個人のファイルや閲覧履歴は収集しません。",
        "en": "We collect the items below. We do not collect your files or your browsing history.",
    }
)
PURPOSES: Final[Mapping[Purpose, tuple[str, str]]] = MappingProxyType(
    {
        "key": (
            "登録した端末と同じものであることを確認するためです。",
            "To make sure that this is the device that was registered.",
        ),
        "support": (
            "サポートが終了した製品を業務に使わないためです。",
            "To keep products that are out of support away from work.",
        ),
        "patch": (
            "修正されていない弱点が悪用されるのを防ぐためです。",
            "To keep known weaknesses from being exploited.",
        ),
        "theft": (
            "端末を紛失したときや盗まれたときに、情報が読み取られるのを防ぐためです。",
            "To keep data unreadable when the device is lost or stolen.",
        ),
        "boot": (
            "起動の途中で不正なプログラムが入り込んでいないことを確認するためです。",
            "To make sure that nothing foreign was started before the operating system.",
        ),
        "malware": (
            "ウイルスなどの不正なプログラムから守られていることを確認するためです。",
            "To make sure that the device is protected against malicious programs.",
        ),
        "network": (
            "ネットワーク経由の侵入を防ぐためです。",
            "To keep intruders on the network out.",
        ),
        "absence": (
            "席を離れている間に、ほかの人に操作されるのを防ぐためです。",
            "To keep others from using the device while you are away.",
        ),
        "rights": (
            "強い権限が悪用されたときの被害を小さくするためです。",
            "To limit the damage when far-reaching rights are abused.",
        ),
        "tampering": (
            "端末や報告が改ざんされていないことを確認するためです。",
            "To make sure that neither the device nor its report was tampered with.",
        ),
    }
)
TEXTS: Final[Mapping[str, NoticeText]] = MappingProxyType(
    {
        "device.serial_hash": NoticeText(
            "製造番号を復元できない形に変換した値です。製造番号そのものは送信しません。",
            "The serial number in a form it cannot be read from. The serial number itself is not sent.",
            "key",
            False,
        ),
        "device.model": NoticeText(
            "端末の機種名です。",
            "The model of the device.",
            "key",
            False,
        ),
        "os.family": NoticeText(
            "OSの種類です（Linuxなど）。",
            "The kind of operating system (such as Linux).",
            "support",
            True,
        ),
        "os.id": NoticeText(
            "OSの製品名です（Ubuntuなど）。",
            "The name of the operating system (such as Ubuntu).",
            "support",
            True,
        ),
        "os.version": NoticeText(
            "OSのバージョンです。",
            "The version of the operating system.",
            "support",
            True,
        ),
        "os.build": NoticeText(
            "OSのビルド番号です。",
            "The build of the operating system.",
            "support",
            False,
        ),
        "os.eol_date": NoticeText(
            "お使いのOSのサポートが終了する日です。",
            "The day on which support of the operating system ends.",
            "support",
            True,
        ),
        "os.supported": NoticeText(
            "お使いのOSのサポートが続いているかどうかです。",
            "Whether the operating system is still supported.",
            "support",
            True,
        ),
        "kernel.release": NoticeText(
            "OSの中核（カーネル）のバージョンです。",
            "The version of the kernel, the core of the operating system.",
            "patch",
            True,
        ),
        "kernel.running_is_latest": NoticeText(
            "インストールされている最新のカーネルで動作しているかどうかです。",
            "Whether the newest kernel that is installed is the one that runs.",
            "patch",
            True,
        ),
        "patch.pending_security": NoticeText(
            "まだ適用していないセキュリティ更新の数です。",
            "How many security updates are waiting to be installed.",
            "patch",
            True,
        ),
        "patch.oldest_pending_days": NoticeText(
            "適用していない最も古い更新が公開されてからの日数です。",
            "How many days the oldest of the waiting updates has been available.",
            "patch",
            True,
        ),
        "patch.last_success_at": NoticeText(
            "最後に更新が完了した日時です。",
            "When updates were last installed.",
            "patch",
            True,
        ),
        "patch.reboot_required": NoticeText(
            "更新を完了するために再起動が必要かどうかです。",
            "Whether the device has to be restarted to finish an update.",
            "patch",
            True,
        ),
        "patch.metadata_age": NoticeText(
            "更新の一覧を最後に取得してからの時間です。",
            "How long ago the list of updates was last fetched.",
            "patch",
            True,
        ),
        "disk.encrypted": NoticeText(
            "ディスクが暗号化されているかどうかです。保存されている内容は読み取りません。",
            "Whether the disks are encrypted. What is stored on them is not read.",
            "theft",
            True,
        ),
        "swap.encrypted": NoticeText(
            "メモリーの退避領域（スワップ）が暗号化されているかどうかです。",
            "Whether swap, where memory is put aside, is encrypted.",
            "theft",
            True,
        ),
        "usb_storage.allowed": NoticeText(
            "USBメモリーなどを使用できる設定かどうかです。接続した機器や中身は調べません。",
            "Whether USB storage may be used. What was plugged in, and what is on it, is not looked at.",
            "theft",
            False,
        ),
        "boot.secure_boot": NoticeText(
            "セキュアブートが有効かどうかです。",
            "Whether Secure Boot is on.",
            "boot",
            True,
        ),
        "boot.setup_mode": NoticeText(
            "セキュアブートの鍵を書き換えられる状態かどうかです。",
            "Whether the keys of Secure Boot can be replaced by anybody.",
            "boot",
            False,
        ),
        "boot.measured": NoticeText(
            "起動の記録がTPM（セキュリティチップ）に残されているかどうかです。",
            "Whether the start of the device was recorded in the TPM, its security chip.",
            "boot",
            False,
        ),
        "tpm.present": NoticeText(
            "TPM（セキュリティチップ）があるかどうかです。",
            "Whether the device has a TPM, a security chip.",
            "boot",
            True,
        ),
        "tpm.version": NoticeText(
            "TPM（セキュリティチップ）のバージョンです。",
            "The version of the TPM, the security chip.",
            "boot",
            False,
        ),
        "kernel.lockdown": NoticeText(
            "カーネルを書き換えから守る設定（ロックダウン）の状態です。",
            "How far the kernel is locked against being changed while it runs.",
            "boot",
            False,
        ),
        "edr.running": NoticeText(
            "端末の監視ソフト（EDR）が動作しているかどうかです。",
            "Whether endpoint protection (EDR) is running.",
            "malware",
            True,
        ),
        "edr.healthy": NoticeText(
            "端末の監視ソフト（EDR）が正常に働いているかどうかです。",
            "Whether endpoint protection (EDR) works as it should.",
            "malware",
            False,
        ),
        "edr.vendor": NoticeText(
            "端末の監視ソフト（EDR）の製品名です。",
            "The product that does endpoint protection (EDR).",
            "malware",
            False,
        ),
        "av.realtime": NoticeText(
            "ウイルス対策の常時監視が有効かどうかです。",
            "Whether virus protection watches all the time.",
            "malware",
            True,
        ),
        "av.signature_age_h": NoticeText(
            "ウイルス定義ファイルが更新されてからの時間です。",
            "How many hours old the virus definitions are.",
            "malware",
            True,
        ),
        "firewall.enabled": NoticeText(
            "ファイアウォールが有効かどうかです。",
            "Whether the firewall is on.",
            "network",
            True,
        ),
        "firewall.default_inbound": NoticeText(
            "外部からの接続をファイアウォールが通常どう扱うかです。",
            "What the firewall does with connections from outside by default.",
            "network",
            False,
        ),
        "listening.remote_admin": NoticeText(
            "遠隔操作の待ち受けの有無と種類です。通信の内容は見ません。",
            "Which kinds of remote control the device accepts. No traffic is looked at.",
            "network",
            False,
        ),
        "screenlock.enabled": NoticeText(
            "画面ロックが有効かどうかです。",
            "Whether the screen locks.",
            "absence",
            True,
        ),
        "screenlock.enforced": NoticeText(
            "画面ロックの設定が固定されているかどうかです。",
            "Whether the screen lock is set so that it cannot be switched off.",
            "absence",
            False,
        ),
        "screenlock.idle_seconds": NoticeText(
            "操作がないときに画面がロックされるまでの秒数です。",
            "After how many idle seconds the screen locks.",
            "absence",
            True,
        ),
        "remote_session_active": NoticeText(
            "現在、遠隔から操作されているかどうかです。",
            "Whether somebody is working on the device from afar right now.",
            "absence",
            False,
        ),
        "user.is_admin": NoticeText(
            "お使いのアカウントに管理者権限があるかどうかです。",
            "Whether your account has administrator rights.",
            "rights",
            True,
        ),
        "sudo.nopasswd": NoticeText(
            "パスワードなしで管理者権限を使える設定かどうかです。",
            "Whether administrator rights can be used without a password.",
            "rights",
            False,
        ),
        "root_equiv_groups": NoticeText(
            "お使いのアカウントが属する、管理者と同等の権限を持つグループの名前です。",
            "Which groups that are as good as administrator rights your account is in.",
            "rights",
            False,
        ),
        "integrity.rooted": NoticeText(
            "OSの保護が外されているかどうかです。",
            "Whether the protection of the operating system was taken off.",
            "tampering",
            True,
        ),
        "kernel.taint": NoticeText(
            "カーネルに公式でない部品が読み込まれているかどうかを示す数値です。",
            "A number that shows whether unofficial parts were loaded into the kernel.",
            "tampering",
            False,
        ),
        "ld_preload": NoticeText(
            "すべてのプログラムに割り込む設定があるかどうかです。",
            "Whether something is set to be loaded into every program.",
            "tampering",
            False,
        ),
        "debugger": NoticeText(
            "報告するプログラムが別のプログラムに操作されているかどうかです。",
            "Whether another program controls the one that reports.",
            "tampering",
            False,
        ),
        "vm": NoticeText(
            "仮想マシンかどうかです。仮想マシンであっても不利にはなりません。",
            "Whether this is a virtual machine. It is no disadvantage to be one.",
            "tampering",
            True,
        ),
        "mac.enforcing": NoticeText(
            "プログラムの動作を制限する仕組み（SELinux、AppArmorなど）が有効かどうかです。",
            "Whether programs are confined (by SELinux, AppArmor or the like).",
            "tampering",
            False,
        ),
        "mdm.enrolled": NoticeText(
            "端末管理（MDM）に登録されているかどうかです。",
            "Whether the device is under device management (MDM).",
            "support",
            False,
        ),
        "mdm.vendor": NoticeText(
            "端末管理（MDM）の製品名です。",
            "The product that does device management (MDM).",
            "support",
            False,
        ),
        "agent.version": NoticeText(
            "この報告プログラム（zt agent）のバージョンです。",
            "The version of the program that reports (zt agent).",
            "tampering",
            True,
        ),
        "agent.hash": NoticeText(
            "この報告プログラムが改変されていないことを確認するための値です。",
            "A value that shows whether the program that reports was changed.",
            "tampering",
            True,
        ),
        "clock.synchronised": NoticeText(
            "端末の時計が自動的に合わせられているかどうかです。",
            "Whether the device's clock is set automatically.",
            "tampering",
            True,
        ),
        "clock.skew_s": NoticeText(
            "端末の時計のずれ（秒）です。",
            "By how many seconds the device's clock is off.",
            "tampering",
            True,
        ),
        "collector_scope": NoticeText(
            "この報告が管理者権限で調べたものかどうかです。",
            "Whether this report was made with administrator rights.",
            "tampering",
            True,
        ),
    }
)
