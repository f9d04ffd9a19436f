# METADATA
# title: Life cycle of documents (IIMS) / 総合文書管理（IIMS）の文書のライフサイクル
# description: >-
#   Drafting, electronic approval, registration, disposal and transfer: what may be done, and by whom, follows
#   from the state of the document. The section is a compartment of the route.
# custom:
#   control: 公文書管理法, SP 800-53 AU-11, MP-6
#   owner: records-management
package zt.layer.service.iims

import data.zt.lib.grants
import data.zt.lib.report

# METADATA
# title: The service's answer / サービスの判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: records-management
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
#   owner: records-management
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := _required - _passed

# METADATA
# title: Codes a request must prove / 求める要件
# description: Two people and a release are demanded unless the state is known to do without.
# scope: document
# custom:
#   control: SP 800-53 AC-3
#   owner: records-management
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "STATE_ROLE_REQUIRED"

_required contains "RECORD_READ_ONLY" if not _readonly

_required contains "DUAL_CONTROL_REQUIRED" if {
	not _readonly
	not _state.single == true
}

_required contains "RELEASE_REQUIRED" if {
	not _readonly
	not _state.any_label == true
}

# METADATA
# title: The request only reads / 閲覧のみの要求
# custom:
#   control: SP 800-53 AC-6
#   owner: records-management
#   remedy_ja: 閲覧のみで足りる場合は、編集せずに開いてください。
#   remedy_en: If reading is enough, open it without editing.
_readonly if input.request.write == false

# METADATA
# title: The row of the document's state / 文書の状態の行
# custom:
#   control: SP 800-53 AC-16
#   owner: records-management
#   remedy_ja: 文書の状態を文書管理の担当者に確認してください。
#   remedy_en: Ask records management about the state of the document.
_state := data.zt.layer.service.iims.states[input.resource.state]

# METADATA
# title: A role that may read in this state / この状態で閲覧できる役割
# custom:
#   control: SP 800-53 AC-3(7)
#   owner: records-management
#   remedy_ja: 文書の担当者に閲覧を依頼してください。
#   remedy_en: Ask the person in charge of the document.
_passed contains "STATE_ROLE_REQUIRED" if {
	_readonly
	some role in input.subject.roles
	role in _state.readers
}

# METADATA
# title: A role that may act in this state / この状態で操作できる役割
# custom:
#   control: SP 800-53 AC-3(7)
#   owner: records-management
#   remedy_ja: 文書の担当者に操作を依頼してください。
#   remedy_en: Ask the person in charge of the document.
_passed contains "STATE_ROLE_REQUIRED" if {
	some role in input.subject.roles
	role in _state.writers
}

# METADATA
# title: The state admits changes / 変更できる状態
# custom:
#   control: 公文書管理法, SP 800-53 AU-9
#   owner: records-management
#   remedy_ja: 登録済みの文書は変更できません。新しい文書として起案してください。
#   remedy_en: A registered record cannot be changed. Draft a new document.
_passed contains "RECORD_READ_ONLY" if _state.writable == true

# METADATA
# title: The label was released before transfer / 移管の前に公開の判断がされている
# custom:
#   control: 公文書管理法, SP 800-53 AC-22
#   owner: records-management
#   remedy_ja: 移管の前に、公開区分の見直しを依頼してください。
#   remedy_en: Have the label reviewed for release before transfer.
_passed contains "RELEASE_REQUIRED" if {
	input.resource.label.rank >= 0
	input.resource.label.rank <= data.zt.layer.service.iims.release_rank
}

# METADATA
# title: Two other people approved exactly this / 他の二人がこの操作を承認している
# custom:
#   control: SP 800-53 AC-5, AC-3(2)
#   owner: records-management
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
#   owner: records-management
#   remedy_ja: 依頼者以外の承認者に依頼してください。
#   remedy_en: Ask approvers who did not make the request.
_requesters contains input.subject.id

_requesters contains input.subject.delegate.id
