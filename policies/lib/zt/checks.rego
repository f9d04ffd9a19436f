# METADATA
# title: Requirements that mean the same in every pack / どのパックでも同じ要件
# description: >-
#   A rule here proves one requirement and names the code that is reported while it is unproven. A layer decides which
#   codes it requires; nothing here grants anything by itself. An error, a missing or a mistyped field leaves the code
#   unproven, and that denies.
# custom:
#   control: NIST SP 800-207 3.3.1
#   owner: security-policy
package zt.lib.checks

import data.zt.lib.posture

# METADATA
# title: Signed in as a person / 利用者として認証済み
# custom:
#   control: SP 800-53 IA-2
#   owner: security-policy
#   remedy_ja: サインインしてください。
#   remedy_en: Sign in.
passed contains "AUTH_REQUIRED" if {
	input.subject.type == "user"
	input.subject.id != ""
}

# METADATA
# title: Signed in as a workload / ワークロードとして認証済み
# custom:
#   control: SP 800-53 IA-9
#   owner: security-policy
#   remedy_ja: ワークロードの資格情報を確認してください。
#   remedy_en: Check the workload's credential.
passed contains "AUTH_REQUIRED" if {
	input.subject.type == "workload"
	input.subject.id != ""
}

# METADATA
# title: The account has no end date / 期限のないアカウント
# custom:
#   control: SP 800-53 AC-2(3)
#   owner: human-resources
#   remedy_ja: 人事担当に契約・任用の期間を確認してください。
#   remedy_en: Ask human resources about the end date of your contract.
passed contains "SUBJECT_EXPIRED" if input.subject.valid_until == null

# METADATA
# title: The account's end date is still ahead / 期限前のアカウント
# custom:
#   control: SP 800-53 AC-2(3)
#   owner: human-resources
#   remedy_ja: 人事担当に契約・任用の期間を確認してください。
#   remedy_en: Ask human resources about the end date of your contract.
passed contains "SUBJECT_EXPIRED" if input.subject.valid_until > input.time

# METADATA
# title: The clearance covers the data / 取扱資格がデータの区分以上
# custom:
#   control: SP 800-53 AC-3(3), PS-3
#   owner: security-policy
#   remedy_ja: 取扱資格について所属の情報管理者に相談してください。
#   remedy_en: Ask your information manager about your clearance.
passed contains "CLEARANCE_TOO_LOW" if input.subject.clearance >= input.resource.label.rank

# METADATA
# title: Nobody acts on somebody's behalf / 代理なし
# custom:
#   control: SP 800-53 AC-6, RFC 8693
#   owner: security-policy
#   remedy_ja: 代理で動くサービスの上限を確認してください。
#   remedy_en: Check the ceiling of the service that acts for you.
passed contains "DELEGATE_CEILING" if input.subject.delegate == null

# METADATA
# title: Whoever acts on somebody's behalf may handle the data as well / 代理者自身も取り扱える
# custom:
#   control: SP 800-53 AC-6, RFC 8693
#   owner: security-policy
#   remedy_ja: 代理で動くサービスの上限を確認してください。
#   remedy_en: Check the ceiling of the service that acts for you.
passed contains "DELEGATE_CEILING" if {
	input.subject.delegate.clearance >= input.resource.label.rank
	every compartment in input.resource.label.compartments {
		compartment in input.subject.delegate.compartments
	}
}

# METADATA
# title: The service may carry data of this label, in either direction / サービスの上限以下のデータ
# custom:
#   control: SP 800-53 AC-4
#   owner: service-owner
#   remedy_ja: このデータを扱えるサービスを使ってください。
#   remedy_en: Use a service that is cleared for this data.
passed contains "SERVICE_CEILING_EXCEEDED" if input.resource.service_ceiling >= input.resource.label.rank

# METADATA
# title: Every compartment of the data is held / 知る必要のある範囲に入っている
# custom:
#   control: SP 800-53 AC-6, AC-16
#   owner: data-owner
#   remedy_ja: 案件の担当者に登録を依頼してください。
#   remedy_en: Ask the owner of the case to add you.
passed contains "COMPARTMENT_MISSING" if {
	every compartment in input.resource.label.compartments {
		compartment in input.subject.compartments
	}
}

# METADATA
# title: The data is for everybody / 配付先の制限なし
# custom:
#   control: SP 800-53 AC-16
#   owner: data-owner
#   remedy_ja: 情報の作成部署に相談してください。
#   remedy_en: Ask the office that owns the data.
passed contains "AUDIENCE_RESTRICTED" if input.resource.label.audience == []

# METADATA
# title: The subject's organisation is among the recipients / 所属が配付先に入っている
# custom:
#   control: SP 800-53 AC-16
#   owner: data-owner
#   remedy_ja: 情報の作成部署に相談してください。
#   remedy_en: Ask the office that owns the data.
passed contains "AUDIENCE_RESTRICTED" if {
	input.subject.org != ""
	concat("", ["org:", input.subject.org]) in input.resource.label.audience
}

# METADATA
# title: The subject is named among the recipients / 本人が配付先に入っている
# custom:
#   control: SP 800-53 AC-16
#   owner: data-owner
#   remedy_ja: 情報の作成部署に相談してください。
#   remedy_en: Ask the office that owns the data.
passed contains "AUDIENCE_RESTRICTED" if {
	input.subject.id != ""
	concat("", ["subject:", input.subject.id]) in input.resource.label.audience
}

# METADATA
# title: One of the subject's groups is among the recipients / グループが配付先に入っている
# custom:
#   control: SP 800-53 AC-16
#   owner: data-owner
#   remedy_ja: 情報の作成部署に相談してください。
#   remedy_en: Ask the office that owns the data.
passed contains "AUDIENCE_RESTRICTED" if {
	some recipient in input.resource.label.audience
	startswith(recipient, "group:")
	substring(recipient, 6, -1) in input.subject.groups
}

# METADATA
# title: The data may be released to anybody / 国・機関による制限なし
# custom:
#   control: SP 800-53 AC-16
#   owner: data-owner
#   remedy_ja: 情報の作成部署に相談してください。
#   remedy_en: Ask the office that owns the data.
passed contains "NOT_RELEASABLE" if input.resource.label.rel_to == []

# METADATA
# title: The data may be released to the subject's nationality / 国籍が提供先に入っている
# custom:
#   control: SP 800-53 AC-16
#   owner: data-owner
#   remedy_ja: 情報の作成部署に相談してください。
#   remedy_en: Ask the office that owns the data.
passed contains "NOT_RELEASABLE" if {
	input.subject.nationality != ""
	input.subject.nationality in input.resource.label.rel_to
}

# METADATA
# title: The data may be released to the subject's organisation / 所属機関が提供先に入っている
# custom:
#   control: SP 800-53 AC-16
#   owner: data-owner
#   remedy_ja: 情報の作成部署に相談してください。
#   remedy_en: Ask the office that owns the data.
passed contains "NOT_RELEASABLE" if {
	input.subject.org != ""
	input.subject.org in input.resource.label.rel_to
}

# METADATA
# title: Every purpose the data is bound to is declared / 利用目的が申告されている
# custom:
#   control: SP 800-53 PT-3
#   owner: data-owner
#   remedy_ja: 利用目的を選んでから、もう一度開いてください。
#   remedy_en: State your purpose, then open it again.
passed contains "PURPOSE_REQUIRED" if {
	every purpose in input.resource.label.purpose {
		purpose == input.request.purpose
	}
}

# METADATA
# title: The sign-in is bound to the key of this device / サインインが端末の鍵に結び付いている
# description: >-
#   Without this, and unless the device is the subject's own or shared, a stolen token opens nothing from a colleague's
#   healthy laptop.
# custom:
#   control: SP 800-53 IA-3, RFC 8705, RFC 9449
#   owner: security-policy
#   remedy_ja: ご自分に割り当てられた端末を使ってください。
#   remedy_en: Use the device that is assigned to you.
passed contains "DEVICE_NOT_ASSIGNED" if bound

# METADATA
# title: The device is the subject's own / 本人に割り当てられた端末
# custom:
#   control: SP 800-53 IA-3
#   owner: security-policy
#   remedy_ja: ご自分に割り当てられた端末を使ってください。
#   remedy_en: Use the device that is assigned to you.
passed contains "DEVICE_NOT_ASSIGNED" if input.device.assigned == true

# METADATA
# title: The device is shared / 共用端末
# custom:
#   control: SP 800-53 IA-3
#   owner: security-policy
#   remedy_ja: ご自分に割り当てられた端末を使ってください。
#   remedy_en: Use the device that is assigned to you.
passed contains "DEVICE_NOT_ASSIGNED" if input.device.ownership == "shared"

# METADATA
# title: The disk is encrypted / ディスクが暗号化されている
# custom:
#   control: SP 800-53 SC-28(1)
#   owner: device-management
#   remedy_ja: ディスクを暗号化してから、状態を再送信してください。
#   remedy_en: Encrypt the disk, then send a new report.
passed contains "DISK_NOT_ENCRYPTED" if posture.proven(input.device.facts["disk.encrypted"], true)

# METADATA
# title: The operating system still gets security updates / OSがサポート期間内
# custom:
#   control: SP 800-53 SA-22
#   owner: device-management
#   remedy_ja: サポートされているOSに更新してください。
#   remedy_en: Upgrade to a supported operating system.
passed contains "OS_UNSUPPORTED" if posture.proven(input.device.facts["os.supported"], true)

# METADATA
# title: No exploited vulnerability is past its due date / 悪用が確認された脆弱性の対応期限切れがない
# custom:
#   control: SP 800-53 SI-2, CISA BOD 22-01
#   owner: device-management
#   remedy_ja: 更新プログラムを適用してから、状態を再送信してください。
#   remedy_en: Install the updates, then send a new report.
passed contains "KEV_OVERDUE" if posture.proven(input.device.facts["vuln.kev_overdue"], [])

# METADATA
# title: The system is not rooted or jailbroken / システムが改変されていない
# custom:
#   control: SP 800-53 SI-7
#   owner: device-management
#   remedy_ja: 端末管理の担当者に連絡してください。
#   remedy_en: Contact device management.
passed contains "INTEGRITY_BROKEN" if posture.proven(input.device.facts["integrity.rooted"], false)

# METADATA
# title: Endpoint detection is running / EDRが動作している
# custom:
#   control: SP 800-53 SI-3, SI-4
#   owner: device-management
#   remedy_ja: EDRまたはウイルス対策を有効にしてください。
#   remedy_en: Switch on EDR or antivirus protection.
passed contains "PROTECTION_OFF" if posture.reported(input.device.facts["edr.running"], true)

# METADATA
# title: Antivirus scans in real time / ウイルス対策が常時動作している
# custom:
#   control: SP 800-53 SI-3
#   owner: device-management
#   remedy_ja: EDRまたはウイルス対策を有効にしてください。
#   remedy_en: Switch on EDR or antivirus protection.
passed contains "PROTECTION_OFF" if posture.reported(input.device.facts["av.realtime"], true)

# METADATA
# title: The token proves possession of the key of a client certificate / クライアント証明書の鍵に結合
# custom:
#   control: RFC 8705
#   owner: security-policy
#   remedy_ja: 端末の証明書を使ってサインインしてください。
#   remedy_en: Sign in with the certificate of this device.
bound if input.subject.binding == "mtls"

# METADATA
# title: The token proves possession of a DPoP key / DPoPの鍵に結合
# custom:
#   control: RFC 9449
#   owner: security-policy
#   remedy_ja: 端末の鍵を使ってサインインしてください。
#   remedy_en: Sign in with the key of this device.
bound if input.subject.binding == "dpop"

# METADATA
# title: The organisation owns the device and manages it / 組織が所有し管理している端末
# custom:
#   control: SP 800-53 CM-2, AC-19
#   owner: device-management
#   remedy_ja: 組織が管理する端末を使ってください。
#   remedy_en: Use a device that the organisation manages.
managed if {
	input.device.ownership != "byod"
	posture.proven(input.device.facts["mdm.enrolled"], true)
}
