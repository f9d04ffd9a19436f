# METADATA
# title: Generative AI on an external model / 生成AI（外部モデル）
# description: >-
#   What is sent to an external model has left the house. The ceiling of the service keeps sensitive data out;
#   here nothing with a caveat or a compartment may be sent either.
# custom:
#   control: SP 800-53 AC-4, SA-9
#   owner: ministry-ciso
package zt.layer.service.genai

import data.zt.lib.report

# METADATA
# title: The service's answer / サービスの判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: ministry-ciso
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
#   owner: ministry-ciso
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := _required - _passed

# METADATA
# title: Codes a request must prove / 求める要件
# custom:
#   control: SP 800-53 AC-4
#   owner: ministry-ciso
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "EXTERNAL_MODEL_FORBIDDEN"

# METADATA
# title: Nothing restricts where the data may go / 持ち出しの制限がないデータ
# custom:
#   control: SP 800-53 AC-4
#   owner: ministry-ciso
#   remedy_ja: 取扱制限や案件情報のないデータだけを入力してください。
#   remedy_en: Enter only data without caveats and compartments.
_passed contains "EXTERNAL_MODEL_FORBIDDEN" if {
	input.resource.label.caveats == []
	input.resource.label.compartments == []
	input.resource.label.rel_to == []
	input.resource.label.audience == []
}
