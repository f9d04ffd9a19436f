package zt.layer.baseline

import data.zt.layer.baseline.secret
import data.zt.lib.assurance
import data.zt.lib.checks
import data.zt.lib.posture

# METADATA
# title: The label is one of the scheme / 登録された区分
# description: Code and rank must agree, and integrity must be one of the two levels.
# custom:
#   control: SP 800-53 RA-2, AC-16
#   owner: security-policy
#   remedy_ja: 情報システムの担当者に、区分の登録を依頼してください。
#   remedy_en: Ask the owner of the system to register the label.
_passed contains "LABEL_UNKNOWN" if {
	_row.rank == input.resource.label.rank
	input.resource.label.integrity in [1, 2]
}

# METADATA
# title: The threat level is known / 警戒レベルが確定している
# custom:
#   control: SP 800-53 SI-5
#   owner: security-policy
#   remedy_ja: 情報セキュリティの担当者に連絡してください。
#   remedy_en: Contact information security.
_passed contains "SITUATION_UNKNOWN" if _level.threshold >= 0

# METADATA
# title: The trust score reaches the threshold / 信頼スコアが基準以上
# custom:
#   control: NIST SP 800-207 3.3.1
#   owner: security-policy
#   remedy_ja: 端末の状態を再送信するか、より強い方法でサインインしてください。
#   remedy_en: Send a new device report or sign in with a stronger method.
_passed contains "TRUST_LOW" if input.trust.score >= _threshold

# METADATA
# title: Every caveat is known and admits the subject / 取扱制限を満たしている
# custom:
#   control: SP 800-53 AC-16, AC-3(9)
#   owner: data-owner
#   remedy_ja: 情報の作成部署に相談してください。
#   remedy_en: Ask the office that owns the data.
_passed contains "CAVEAT_NOT_MET" if {
	every caveat in input.resource.label.caveats {
		some nationality in data.zt.layer.baseline.caveats[caveat].nationalities
		nationality in ["*", input.subject.nationality]
	}
}

# METADATA
# title: The device is neither lost, revoked, quarantined nor retired / 端末の状態（紛失・失効・隔離・廃止でない）
# custom:
#   control: SP 800-53 AC-19, CM-8
#   owner: device-management
#   remedy_ja: 端末管理の担当者に連絡してください。
#   remedy_en: Contact device management.
_passed contains code if some code in data.zt.layer.baseline.device_status[input.device.status]

# METADATA
# title: Two factors / 二要素認証
# custom:
#   control: SP 800-53 IA-2(1)
#   owner: security-policy
#   remedy_ja: 二要素認証でサインインしてください。
#   remedy_en: Sign in with two factors.
_passed contains "MFA_REQUIRED" if assurance.level >= data.zt.layer.baseline.assurance.mfa

# METADATA
# title: A workload proves possession of its key instead, which nobody can phish / ワークロードは鍵の所持を証明する
# custom:
#   control: SP 800-53 IA-9
#   owner: security-policy
#   remedy_ja: ワークロードの資格情報を鍵に結び付けてください。
#   remedy_en: Bind the workload's credential to its key.
_passed contains code if {
	input.subject.type == "workload"
	checks.bound
	some code in data.zt.layer.baseline.bound_workload
}

# METADATA
# title: A method that phishing cannot defeat / フィッシングに強い認証
# custom:
#   control: SP 800-53 IA-2(8), SP 800-63B
#   owner: security-policy
#   remedy_ja: セキュリティキーまたはICカードでサインインしてください。
#   remedy_en: Sign in with a security key or a smart card.
_passed contains "PHISHING_RESISTANT_REQUIRED" if {
	assurance.level >= data.zt.layer.baseline.assurance.phishing_resistant
}

# METADATA
# title: The sign-in is recent / サインインが新しい
# custom:
#   control: SP 800-53 IA-11
#   owner: security-policy
#   remedy_ja: もう一度サインインしてください。
#   remedy_en: Sign in again.
_passed contains "REAUTH_REQUIRED" if {
	posture.within(input.subject.auth_age, data.zt.layer.baseline.assurance.max_age)
}

# METADATA
# title: The device is in service and has a registered key / 登録された鍵を持つ利用中の端末
# custom:
#   control: SP 800-53 IA-3, CM-8
#   owner: device-management
#   remedy_ja: 端末の登録を完了してください。
#   remedy_en: Finish the registration of this device.
_passed contains "DEVICE_NOT_ENROLLED" if {
	input.device.status == "active"
	input.device.key_protection in data.zt.layer.baseline.key_protection.enrolled
}

# METADATA
# title: The device belongs to the organisation / 組織の端末
# scope: document
# custom:
#   control: SP 800-53 AC-19, AC-20
#   owner: security-policy
#   remedy_ja: 組織が貸与した端末を使ってください。
#   remedy_en: Use a device that the organisation issued.
_passed contains "BYOD_CEILING" if _issued

# METADATA
# title: A device of one's own, where the label admits it at this threat level / 私物端末で利用できる区分
# custom:
#   control: SP 800-53 AC-20
#   owner: security-policy
#   remedy_ja: 組織が貸与した端末を使ってください。
#   remedy_en: Use a device that the organisation issued.
_passed contains "BYOD_CEILING" if {
	input.device.ownership == "byod"
	_level.byod == true
}

# METADATA
# title: Changes are made from the organisation's devices / 変更は組織の端末から
# custom:
#   control: SP 800-53 AC-20(2)
#   owner: security-policy
#   remedy_ja: 編集には、組織が貸与した端末を使ってください。
#   remedy_en: To edit, use a device that the organisation issued.
_passed contains "BYOD_READ_ONLY" if _issued

# METADATA
# title: Issued by the organisation, to one person or to many / 貸与端末または共用端末
# scope: document
# custom:
#   control: SP 800-53 CM-8
#   owner: device-management
#   remedy_ja: 組織が貸与した端末を使ってください。
#   remedy_en: Use a device that the organisation issued.
_issued if input.device.ownership == "corp"

_issued if input.device.ownership == "shared"

# METADATA
# title: The device reported recently / 端末の報告が新しい
# custom:
#   control: SP 800-53 CA-7
#   owner: device-management
#   remedy_ja: 端末の状態を再送信してください。
#   remedy_en: Send a new device report.
_passed contains "REPORT_STALE" if posture.within(input.device.report_age, _level.report_age)

# METADATA
# title: A role that keeps working in an emergency / 緊急時にも業務を続ける役割
# custom:
#   control: SP 800-53 CP-2(3)
#   owner: business-continuity
#   remedy_ja: 緊急時の業務継続担当者に依頼してください。
#   remedy_en: Ask the continuity team.
_passed contains "CONTINUITY_ROLE_REQUIRED" if {
	some role in input.subject.roles
	role in data.zt.layer.baseline.continuity_roles
}

# METADATA
# title: What secret papers demand in addition / 機密性3の追加要件
# custom:
#   control: SP 800-53 AC-4, AC-16
#   owner: security-policy
#   remedy_ja: 閉域ネットワークの承認された端末から利用してください。
#   remedy_en: Use an approved terminal on the closed network.
_passed contains code if {
	_row.secret == true
	some code in secret.passed
}
