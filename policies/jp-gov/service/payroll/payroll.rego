# METADATA
# title: Payroll / 人事給与
# description: >-
#   A change of pay takes two other people, whoever makes it: a person or a robot.
# custom:
#   control: SP 800-53 AC-5
#   owner: human-resources
package zt.layer.service.payroll

import data.zt.lib.grants
import data.zt.lib.report

# METADATA
# title: The service's answer / サービスの判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: human-resources
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
result := {
	"allow": count(_unmet) == 0,
	"unmet": report.entries(_unmet, {}),
	"obligations": [],
	"threshold": 0,
}

# METADATA
# title: What is demanded and not proven / 満たされていない要件
# custom:
#   control: SP 800-53 AC-3
#   owner: human-resources
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := _required - _passed

# METADATA
# title: Codes a request must prove / 求める要件
# scope: document
# custom:
#   control: SP 800-53 AC-3
#   owner: human-resources
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "ROLE_REQUIRED"

_required contains "DUAL_CONTROL_REQUIRED" if not _readonly

# METADATA
# title: The request only reads / 閲覧のみの要求
# custom:
#   control: SP 800-53 AC-6
#   owner: human-resources
#   remedy_ja: 閲覧のみで足りる場合は、編集せずに開いてください。
#   remedy_en: If reading is enough, open it without editing.
_readonly if input.request.write == false

# METADATA
# title: A role of the payroll office / 人事給与の役割
# custom:
#   control: SP 800-53 AC-3(7)
#   owner: human-resources
#   remedy_ja: 人事給与の担当者に依頼してください。
#   remedy_en: Ask the payroll office.
_passed contains "ROLE_REQUIRED" if {
	some role in input.subject.roles
	role in data.zt.layer.service.payroll.roles
}

# METADATA
# title: Two other people approved exactly this / 他の二人がこの操作を承認している
# custom:
#   control: SP 800-53 AC-5, AC-3(2)
#   owner: human-resources
#   remedy_ja: 二人の承認者に、この操作の承認を依頼してください。
#   remedy_en: Ask two approvers to approve this operation.
_passed contains "DUAL_CONTROL_REQUIRED" if {
	action := input.resource.attributes.action
	grants.approved(input.grants, action, input.resource.attributes.object, _requesters, input.time)
}

# METADATA
# title: Those who ask cannot approve / 依頼者は承認者になれない
# scope: document
# custom:
#   control: SP 800-53 AC-5
#   owner: human-resources
#   remedy_ja: 依頼者以外の承認者に依頼してください。
#   remedy_en: Ask approvers who did not make the request.
_requesters contains input.subject.id

_requesters contains input.subject.delegate.id
