# METADATA
# title: Source code / ソースコード
# description: >-
#   Everybody in engineering reads; changes come from people and registered programs; a release takes two other people.
# custom:
#   control: ISO/IEC 27001 A.8.4, A.8.32
#   owner: engineering
package zt.layer.service.source_code

import data.zt.lib.grants
import data.zt.lib.report

# METADATA
# title: The service's answer / サービスの判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: engineering
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
#   control: ISO/IEC 27001 A.5.15
#   owner: engineering
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := _required - _passed

# METADATA
# title: Codes a request must prove / 求める要件
# description: Two people are demanded unless the route says that it releases nothing.
# scope: document
# custom:
#   control: ISO/IEC 27001 A.8.4
#   owner: engineering
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "ROLE_REQUIRED"

_required contains "DUAL_CONTROL_REQUIRED" if not input.resource.attributes.release == false

# METADATA
# title: A role of engineering / 開発の役割
# custom:
#   control: ISO/IEC 27001 A.8.4
#   owner: engineering
#   remedy_ja: 開発チームに役割の割り当てを依頼してください。
#   remedy_en: Ask engineering for a role.
_passed contains "ROLE_REQUIRED" if {
	some role in input.subject.roles
	role in data.zt.layer.service.source_code.roles
}

# METADATA
# title: Two other people approved exactly this release / 他の二人がこのリリースを承認している
# custom:
#   control: ISO/IEC 27001 A.5.3, A.8.32
#   owner: engineering
#   remedy_ja: 二人の承認者に、リリースの承認を依頼してください。
#   remedy_en: Ask two approvers to approve the release.
_passed contains "DUAL_CONTROL_REQUIRED" if {
	action := input.resource.attributes.action
	grants.approved(input.grants, action, input.resource.attributes.object, {input.subject.id}, input.time)
}
