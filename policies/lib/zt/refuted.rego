# METADATA
# title: Why a fact is unproven / 事実が証明されない理由
# description: >-
#   An unproven fact that was observed and is bad is a matter of the device; one that is unknown, missing or stale asks
#   for a report. Nothing here passes a requirement: a layer asks only for codes that are already unmet.
# custom:
#   control: SP 800-53 SI-11
#   owner: security-policy
package zt.lib.refuted

import data.zt.lib.posture

# METADATA
# title: The disk was seen unencrypted / 暗号化されていないディスクを確認
# custom:
#   control: SP 800-53 SC-28(1)
#   owner: device-management
#   remedy_ja: ディスクを暗号化してから、状態を再送信してください。
#   remedy_en: Encrypt the disk, then send a new report.
codes contains "DISK_NOT_ENCRYPTED" if posture.refuted(input.device.facts["disk.encrypted"], true)

# METADATA
# title: The operating system was seen out of support / サポート切れのOSを確認
# custom:
#   control: SP 800-53 SA-22
#   owner: device-management
#   remedy_ja: サポートされているOSに更新してください。
#   remedy_en: Upgrade to a supported operating system.
codes contains "OS_UNSUPPORTED" if posture.refuted(input.device.facts["os.supported"], true)

# METADATA
# title: An exploited vulnerability was seen past its due date / 対応期限切れの脆弱性を確認
# custom:
#   control: SP 800-53 SI-2, CISA BOD 22-01
#   owner: device-management
#   remedy_ja: 更新プログラムを適用してから、状態を再送信してください。
#   remedy_en: Install the updates, then send a new report.
codes contains "KEV_OVERDUE" if posture.refuted(input.device.facts["vuln.kev_overdue"], [])

# METADATA
# title: The system was seen rooted / システムの改変を確認
# custom:
#   control: SP 800-53 SI-7
#   owner: device-management
#   remedy_ja: 端末管理の担当者に連絡してください。
#   remedy_en: Contact device management.
codes contains "INTEGRITY_BROKEN" if posture.refuted(input.device.facts["integrity.rooted"], false)

# METADATA
# title: Endpoint detection was seen off / EDRの停止を確認
# custom:
#   control: SP 800-53 SI-3, SI-4
#   owner: device-management
#   remedy_ja: EDRまたはウイルス対策を有効にしてください。
#   remedy_en: Switch on EDR or antivirus protection.
codes contains "PROTECTION_OFF" if posture.refuted(input.device.facts["edr.running"], true)

# METADATA
# title: Antivirus was seen off / ウイルス対策の停止を確認
# custom:
#   control: SP 800-53 SI-3
#   owner: device-management
#   remedy_ja: EDRまたはウイルス対策を有効にしてください。
#   remedy_en: Switch on EDR or antivirus protection.
codes contains "PROTECTION_OFF" if posture.refuted(input.device.facts["av.realtime"], true)
