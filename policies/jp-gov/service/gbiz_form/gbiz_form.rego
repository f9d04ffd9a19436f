# METADATA
# title: Gbiz Form, electronic applications of businesses / Gビズフォーム
# description: >-
#   A route names the least account level it takes; the level of an account is one of its roles.
# custom:
#   control: SP 800-63A
#   owner: service-owner
package zt.layer.service.gbiz_form

import data.zt.lib.report

# METADATA
# title: The service's answer / サービスの判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: service-owner
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
#   owner: service-owner
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := _required - _passed

# METADATA
# title: Codes a request must prove / 求める要件
# custom:
#   control: SP 800-53 AC-3
#   owner: service-owner
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "ACCOUNT_LEVEL_REQUIRED"

# METADATA
# title: The account level reaches the route's / アカウント種別が要件以上
# custom:
#   control: SP 800-63A
#   owner: service-owner
#   remedy_ja: 上位のアカウント種別（プライム等）でサインインしてください。
#   remedy_en: Sign in with a higher account level (such as prime).
_passed contains "ACCOUNT_LEVEL_REQUIRED" if {
	some role in input.subject.roles
	data.zt.layer.service.gbiz_form.levels[role] >= data.zt.layer.service.gbiz_form.levels[input.resource.attributes.account]
}
