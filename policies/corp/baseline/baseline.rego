# METADATA
# title: Baseline of the corp pack / 共通基盤（corp）
# description: >-
#   The floor that no organisation and no service can lower: Public, Internal, Confidential, Restricted. A label's row
#   in data.yaml names what it demands; the rules prove requirements one by one. Every relaxation is proven as well, so
#   that silence is always the stricter answer.
# custom:
#   control: NIST SP 800-207 3.3.1, ISO/IEC 27001 A.5.15
#   owner: security-team
package zt.layer.baseline

import data.zt.lib.assurance
import data.zt.lib.checks
import data.zt.lib.grants
import data.zt.lib.posture
import data.zt.lib.refuted
import data.zt.lib.report

# METADATA
# title: The baseline's answer / 共通基盤の判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: security-team
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
result := {
	"allow": count(_unmet) == 0,
	"unmet": report.entries({_reported(code) | some code in _unmet}, data.zt.layer.baseline.asks),
	"obligations": [{"id": id} | some id in _obligations],
	"threshold": _threshold,
}

# METADATA
# title: The row of the label / 区分ごとの要件表の行
# custom:
#   control: ISO/IEC 27001 A.5.12
#   owner: security-team
#   remedy_ja: システムの担当者に、区分の登録を依頼してください。
#   remedy_en: Ask the owner of the system to register the label.
_row := data.zt.layer.baseline.labels[input.resource.label.code]

# METADATA
# title: The column of the threat level / 警戒レベルごとの列
# custom:
#   control: ISO/IEC 27001 A.5.7
#   owner: security-team
#   remedy_ja: セキュリティチームに連絡してください。
#   remedy_en: Contact the security team.
_level := _row.levels[input.situation.threat_level]

# METADATA
# title: Codes a request must prove / 証明が必要な要件
# description: >-
#   Label, situation and trust are demanded whatever the tables say, so that an unknown label or level demands the
#   impossible instead of nothing.
# scope: document
# custom:
#   control: ISO/IEC 27001 A.5.15
#   owner: security-team
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "LABEL_UNKNOWN"

_required contains "SITUATION_UNKNOWN"

_required contains "TRUST_LOW"

_required contains code if some code in _row.reads

_required contains code if {
	not _readonly
	some code in _row.writes
}

_required contains code if {
	not _readonly
	some code in _level.writes
}

_required contains "PHISHING_RESISTANT_REQUIRED" if {
	not _readonly
	not _ordinary_integrity
}

# METADATA
# title: The request only reads / 閲覧のみの要求
# custom:
#   control: ISO/IEC 27001 A.8.3
#   owner: security-team
#   remedy_ja: 閲覧のみで足りる場合は、編集せずに開いてください。
#   remedy_en: If reading is enough, open it without editing.
_readonly if input.request.write == false

# METADATA
# title: Damage by tampering would be small / 改ざんの影響が小さい情報
# custom:
#   control: ISO/IEC 27001 A.5.12
#   owner: security-team
#   remedy_ja: 重要なデータを変更するには、セキュリティキーでサインインしてください。
#   remedy_en: To change important data, sign in with a security key.
_ordinary_integrity if input.resource.label.integrity == 1

# METADATA
# title: What is demanded, neither proven nor waived / 満たされていない要件
# description: A grant that waives TRUST_LOW lowers the threshold; it does not lift it.
# custom:
#   control: ISO/IEC 27001 A.5.15
#   owner: security-team
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := _open - (_granted - {"TRUST_LOW"})

# METADATA
# title: What is demanded and not proven / 証明されていない要件
# custom:
#   control: ISO/IEC 27001 A.5.15
#   owner: security-team
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_open := (_required - checks.passed) - _passed

# METADATA
# title: Codes that signed grants waive here / 承認された例外で免除される要件
# custom:
#   control: ISO/IEC 27001 A.5.29
#   owner: security-team
#   remedy_ja: 例外の承認を、承認者に依頼してください。
#   remedy_en: Ask the approvers for an exception.
_granted contains code if {
	input.grants != []
	some code in grants.waived(
		input.grants,
		input.situation.continuity,
		input.resource.label.rank,
		input.request.write,
		input.time,
	)
	code in _row.waivable
}

# METADATA
# title: The trust score needed / 必要な信頼スコア
# description: Out of reach while label or threat level are unknown.
# scope: document
# custom:
#   control: NIST SP 800-207 3.3.1
#   owner: security-team
#   remedy_ja: 端末の状態を再送信するか、より強い方法でサインインしてください。
#   remedy_en: Send a new device report or sign in with a stronger method.
default _threshold := 1000

_threshold := _level.threshold if not "TRUST_LOW" in _granted

_threshold := _row.waived_threshold if "TRUST_LOW" in _granted

# METADATA
# title: What must be enforced on the way out / 許可に伴う義務
# description: Each relaxation is proven; whatever cannot be proven keeps the obligation.
# scope: document
# custom:
#   control: ISO/IEC 27001 A.5.10, A.8.12
#   owner: security-team
#   remedy_ja: 管理された端末を使うと、保存などの制限が軽くなります。
#   remedy_en: On a managed device fewer restrictions apply.
_obligations contains id if some id in _row.obligations

_obligations contains id if {
	some id in _row.unmanaged
	not checks.managed
}

_obligations contains id if {
	some caveat in input.resource.label.caveats
	some id in data.zt.layer.baseline.caveats[caveat]
}

_obligations contains "notify_owner" if count(_open & _granted) > 0

_obligations contains "notify_owner" if {
	"TRUST_LOW" in _granted
	input.trust.score < _level.threshold
}

# METADATA
# title: The code shown for an unmet requirement / 表示する理由コード
# description: A fact that is unknown rather than bad asks for a report.
# scope: document
# custom:
#   control: SP 800-53 SI-11
#   owner: security-team
#   remedy_ja: 端末の状態を再送信してください。
#   remedy_en: Send a new device report.
_reported(code) := "REPORT_INCOMPLETE" if {
	code in data.zt.layer.baseline.evidence
	not code in refuted.codes
}

_reported(code) := code if code in refuted.codes

_reported(code) := code if not code in data.zt.layer.baseline.evidence

# METADATA
# title: The label is one of the scheme / 登録された区分
# description: Code and rank must agree, and integrity must be one of the two levels.
# custom:
#   control: ISO/IEC 27001 A.5.12
#   owner: security-team
#   remedy_ja: システムの担当者に、区分の登録を依頼してください。
#   remedy_en: Ask the owner of the system to register the label.
_passed contains "LABEL_UNKNOWN" if {
	_row.rank == input.resource.label.rank
	input.resource.label.integrity in [1, 2]
}

# METADATA
# title: The threat level is known / 警戒レベルが確定している
# custom:
#   control: ISO/IEC 27001 A.5.7
#   owner: security-team
#   remedy_ja: セキュリティチームに連絡してください。
#   remedy_en: Contact the security team.
_passed contains "SITUATION_UNKNOWN" if _level.threshold >= 0

# METADATA
# title: The trust score reaches the threshold / 信頼スコアが基準以上
# custom:
#   control: NIST SP 800-207 3.3.1
#   owner: security-team
#   remedy_ja: 端末の状態を再送信するか、より強い方法でサインインしてください。
#   remedy_en: Send a new device report or sign in with a stronger method.
_passed contains "TRUST_LOW" if input.trust.score >= _threshold

# METADATA
# title: Every caveat is known / 取扱制限が登録されている
# custom:
#   control: ISO/IEC 27001 A.5.13
#   owner: data-owner
#   remedy_ja: 情報の所有者に相談してください。
#   remedy_en: Ask the owner of the information.
_passed contains "CAVEAT_NOT_MET" if {
	every caveat in input.resource.label.caveats {
		data.zt.layer.baseline.caveats[caveat]
	}
}

# METADATA
# title: The device is neither lost, revoked, quarantined nor retired / 端末の状態（紛失・失効・隔離・廃止でない）
# custom:
#   control: ISO/IEC 27001 A.8.1
#   owner: it
#   remedy_ja: IT担当に連絡してください。
#   remedy_en: Contact IT.
_passed contains code if some code in data.zt.layer.baseline.device_status[input.device.status]

# METADATA
# title: Two factors / 二要素認証
# custom:
#   control: ISO/IEC 27001 A.8.5
#   owner: security-team
#   remedy_ja: 二要素認証でサインインしてください。
#   remedy_en: Sign in with two factors.
_passed contains "MFA_REQUIRED" if assurance.level >= data.zt.layer.baseline.assurance.mfa

# METADATA
# title: A program proves possession of its key instead / プログラムは鍵の所持を証明する
# custom:
#   control: ISO/IEC 27001 A.8.5
#   owner: security-team
#   remedy_ja: プログラムの資格情報を鍵に結び付けてください。
#   remedy_en: Bind the program's credential to its key.
_passed contains "MFA_REQUIRED" if _bound_workload

# METADATA
# title: A method that phishing cannot defeat / フィッシングに強い認証
# custom:
#   control: ISO/IEC 27001 A.8.5
#   owner: security-team
#   remedy_ja: セキュリティキーでサインインしてください。
#   remedy_en: Sign in with a security key.
_passed contains "PHISHING_RESISTANT_REQUIRED" if {
	assurance.level >= data.zt.layer.baseline.assurance.phishing_resistant
}

# METADATA
# title: A key that cannot be typed into a web page / プログラムの鍵はフィッシングされない
# custom:
#   control: ISO/IEC 27001 A.8.5
#   owner: security-team
#   remedy_ja: プログラムの資格情報を鍵に結び付けてください。
#   remedy_en: Bind the program's credential to its key.
_passed contains "PHISHING_RESISTANT_REQUIRED" if _bound_workload

# METADATA
# title: A program whose token is bound to its key / 鍵に結び付いたプログラム
# custom:
#   control: ISO/IEC 27001 A.8.5
#   owner: security-team
#   remedy_ja: プログラムの資格情報を鍵に結び付けてください。
#   remedy_en: Bind the program's credential to its key.
_bound_workload if {
	input.subject.type == "workload"
	checks.bound
}

# METADATA
# title: The sign-in is of this working day / 当日のサインイン
# custom:
#   control: ISO/IEC 27001 A.8.5
#   owner: security-team
#   remedy_ja: もう一度サインインしてください。
#   remedy_en: Sign in again.
_passed contains "REAUTH_REQUIRED" if {
	posture.within(input.subject.auth_age, data.zt.layer.baseline.assurance.max_age)
}

# METADATA
# title: The device is in service and has a registered key / 登録された鍵を持つ利用中の端末
# custom:
#   control: ISO/IEC 27001 A.8.1
#   owner: it
#   remedy_ja: 端末の登録を完了してください。
#   remedy_en: Finish the registration of this device.
_passed contains "DEVICE_NOT_ENROLLED" if {
	input.device.status == "active"
	input.device.key_protection in data.zt.layer.baseline.key_protection
}

# METADATA
# title: The company issued the device / 会社が貸与した端末
# custom:
#   control: ISO/IEC 27001 A.8.1
#   owner: it
#   remedy_ja: 会社が貸与した端末を使ってください。
#   remedy_en: Use a device that the company issued.
_passed contains "BYOD_CEILING" if input.device.ownership in ["corp", "shared"]

# METADATA
# title: A device of one's own, where the label admits it at this threat level / 私物端末で利用できる区分
# custom:
#   control: ISO/IEC 27001 A.8.1
#   owner: it
#   remedy_ja: 会社が貸与した端末を使ってください。
#   remedy_en: Use a device that the company issued.
_passed contains "BYOD_CEILING" if {
	input.device.ownership == "byod"
	_level.byod == true
}

# METADATA
# title: The company manages the device / 会社が管理する端末
# custom:
#   control: ISO/IEC 27001 A.8.1, A.8.9
#   owner: it
#   remedy_ja: 会社が管理する端末を使ってください。
#   remedy_en: Use a device that the company manages.
_passed contains "DEVICE_NOT_MANAGED" if checks.managed

# METADATA
# title: The device reported recently / 端末の報告が新しい
# custom:
#   control: ISO/IEC 27001 A.8.16
#   owner: it
#   remedy_ja: 端末の状態を再送信してください。
#   remedy_en: Send a new device report.
_passed contains "REPORT_STALE" if posture.within(input.device.report_age, _level.report_age)
