# METADATA
# title: Requirements of secret papers / 機密性3の要件
# description: A package of its own, so that no other request pays for it. The baseline asks it for secret labels only.
# custom:
#   control: SP 800-53 AC-4, AC-16
#   owner: security-policy
package zt.layer.baseline.secret

import data.zt.lib.posture

# METADATA
# title: Secret papers stay on the closed network / 機密性3は閉域網のみ
# custom:
#   control: SP 800-53 SC-7, AC-4
#   owner: security-policy
#   remedy_ja: 閉域ネットワークの端末から利用してください。
#   remedy_en: Use a terminal on the closed network.
passed contains "CHANNEL_CLOSED_REQUIRED" if {
	input.request.channel in data.zt.layer.baseline.closed_channels
}

# METADATA
# title: The device key lives in hardware / 端末の鍵がハードウェアで保護されている
# custom:
#   control: SP 800-53 SC-12, IA-3
#   owner: device-management
#   remedy_ja: ハードウェアで鍵を保護する端末を使ってください。
#   remedy_en: Use a device that keeps its key in hardware.
passed contains "HARDWARE_KEY_REQUIRED" if {
	some kind in data.zt.layer.baseline.key_protection.hardware
	posture.proven(input.device.facts["device.key_protection"], kind)
}

# METADATA
# title: Disk encryption is vouched for from outside the device / ディスク暗号化が端末の外から確認されている
# custom:
#   control: SP 800-53 SC-28(1), SR-4
#   owner: device-management
#   remedy_ja: 端末管理に登録された端末を使ってください。
#   remedy_en: Use a device that is under device management.
passed contains "ENCRYPTION_UNATTESTED" if posture.proven_independently(input.device.facts["disk.encrypted"], true)

# METADATA
# title: Secure boot is vouched for from outside the device / セキュアブートが端末の外から確認されている
# custom:
#   control: SP 800-53 SI-7(9)
#   owner: device-management
#   remedy_ja: セキュアブートを有効にした管理端末を使ってください。
#   remedy_en: Use a managed device with secure boot on.
passed contains "SECURE_BOOT_UNPROVEN" if posture.proven_independently(input.device.facts["boot.secure_boot"], true)

# METADATA
# title: No exploited vulnerability is open / 悪用が確認された脆弱性が残っていない
# custom:
#   control: SP 800-53 SI-2
#   owner: device-management
#   remedy_ja: 更新プログラムを適用してから、状態を再送信してください。
#   remedy_en: Install the updates, then send a new report.
passed contains "KEV_OPEN" if posture.proven(input.device.facts["vuln.kev_open"], [])

# METADATA
# title: The user is not an administrator of the device / 管理者権限で作業していない
# custom:
#   control: SP 800-53 AC-6(2)
#   owner: device-management
#   remedy_ja: 管理者ではないアカウントでサインインしてください。
#   remedy_en: Use an account without administrator rights.
passed contains "ADMIN_SESSION" if posture.proven(input.device.facts["user.is_admin"], false)

# METADATA
# title: The boot was measured and attested / 起動が測定され証明されている
# custom:
#   control: SP 800-53 SI-7(9), RFC 9334
#   owner: device-management
#   remedy_ja: 端末管理の担当者に連絡してください。
#   remedy_en: Contact device management.
passed contains "BOOT_UNATTESTED" if {
	posture.proven(input.device.facts["boot.measured"], true)
	input.device.facts["boot.measured"].method == "attested"
}

# METADATA
# title: The subject is on the named list of the papers / 取扱者名簿に載っている
# description: The route names the list (a group); a route without one admits nobody.
# custom:
#   control: SP 800-53 AC-3(7), PS-3
#   owner: data-owner
#   remedy_ja: 取扱者名簿への登録を情報の作成部署に相談してください。
#   remedy_en: Ask the office that owns the papers about the named list.
passed contains "NAMED_LIST_REQUIRED" if input.resource.attributes.named_list in input.subject.groups

# METADATA
# title: The terminal stands in an approved room / 承認された部屋の端末
# custom:
#   control: SP 800-53 PE-3, PE-18
#   owner: security-policy
#   remedy_ja: 承認された部屋の端末から利用してください。
#   remedy_en: Use a terminal in an approved room.
passed contains "ROOM_NOT_APPROVED" if input.device.id in data.zt.layer.baseline.approved_terminals

# METADATA
# title: Why a fact about a device for secret papers is unproven / 機密性3の端末要件が証明されない理由
# scope: document
# custom:
#   control: SP 800-53 SI-11
#   owner: security-policy
#   remedy_ja: 端末管理の担当者に連絡してください。
#   remedy_en: Contact device management.
refuted contains "HARDWARE_KEY_REQUIRED" if {
	every kind in data.zt.layer.baseline.key_protection.hardware {
		posture.refuted(input.device.facts["device.key_protection"], kind)
	}
}

refuted contains "ENCRYPTION_UNATTESTED" if _seen_only_from_inside(input.device.facts["disk.encrypted"])

refuted contains "SECURE_BOOT_UNPROVEN" if _seen_only_from_inside(input.device.facts["boot.secure_boot"])

refuted contains "SECURE_BOOT_UNPROVEN" if posture.refuted(input.device.facts["boot.secure_boot"], true)

refuted contains "KEV_OPEN" if posture.refuted(input.device.facts["vuln.kev_open"], [])

refuted contains "ADMIN_SESSION" if posture.refuted(input.device.facts["user.is_admin"], false)

refuted contains "BOOT_UNATTESTED" if _seen_only_from_inside(input.device.facts["boot.measured"])

# METADATA
# title: Observed, but by something on the device itself / 端末自身による観測
# custom:
#   control: SP 800-53 SR-4
#   owner: security-policy
#   remedy_ja: 端末管理に登録された端末を使ってください。
#   remedy_en: Use a device that is under device management.
_seen_only_from_inside(fact) if {
	fact.status == "observed"
	not fact.method in ["attested", "mdm_server"]
}
