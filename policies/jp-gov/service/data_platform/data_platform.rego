# METADATA
# title: Data platform / データ利活用基盤
# description: >-
#   Everybody may look, but how much leaves follows from the device: rows are limited, and on an unmanaged
#   device nothing is downloaded. Bulk export takes a role.
# custom:
#   control: SP 800-53 AC-4, AC-6, 集約リスク
#   owner: data-office
package zt.layer.service.data_platform

import data.zt.lib.checks
import data.zt.lib.report

# METADATA
# title: The service's answer / サービスの判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: data-office
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
result := {
	"allow": count(_unmet) == 0,
	"unmet": report.entries(_unmet, {}),
	"obligations": _obligations,
	"threshold": 0,
}

# METADATA
# title: What is demanded and not proven / 満たされていない要件
# custom:
#   control: SP 800-53 AC-3
#   owner: data-office
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := _required - _passed

# METADATA
# title: Codes a request must prove / 求める要件
# description: Demanded unless the route says that it exports nothing in bulk.
# custom:
#   control: SP 800-53 AC-3
#   owner: data-office
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "ROLE_REQUIRED" if not input.resource.attributes.bulk == false

# METADATA
# title: A role that may export in bulk / 一括出力ができる役割
# custom:
#   control: SP 800-53 AC-6
#   owner: data-office
#   remedy_ja: データ利活用の担当者に一括出力を依頼してください。
#   remedy_en: Ask the data office for the export.
_passed contains "ROLE_REQUIRED" if {
	some role in input.subject.roles
	role in data.zt.layer.service.data_platform.bulk_roles
}

# METADATA
# title: How much may leave, and how / 持ち出せる量と方法
# description: The smaller number stands unless the device is proven to be managed.
# scope: document
# custom:
#   control: SP 800-53 AC-4, MP-7
#   owner: data-office
#   remedy_ja: 管理された端末を使うと、より多くの行を扱えます。
#   remedy_en: On a managed device more rows are available.
_obligations contains {"id": "max_rows", "value": data.zt.layer.service.data_platform.max_rows.managed} if checks.managed

_obligations contains {"id": "max_rows", "value": data.zt.layer.service.data_platform.max_rows.unmanaged} if not checks.managed

_obligations contains {"id": "no_download"} if not checks.managed
