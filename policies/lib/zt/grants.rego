# METADATA
# title: What people signed for / 承認された例外
# description: >-
#   Grants arrive already verified (signatures of distinct approvers) and clamped; what is said here is said again so
#   that a grant opens nothing the layer did not offer to waive.
# custom:
#   control: SP 800-53 AC-3(10), CP-2
#   owner: security-policy
package zt.lib.grants

# METADATA
# title: Codes that live grants waive for a resource of this rank / 有効な例外が免除する要件
# description: >-
#   `continuity` is whether continuity of operations is declared, `write` whether the request changes something. Nothing
#   that expires within the tick counts.
# custom:
#   control: SP 800-53 AC-3(10)
#   owner: security-policy
#   remedy_ja: 例外の承認を、承認者に依頼してください。
#   remedy_en: Ask the approvers for an exception.
waived(grants, continuity, rank, write, time) := {code |
	some grant in grants
	_may_waive(grant.kind, continuity, write)
	grant.ceiling >= rank
	grant.not_after >= time
	some code in grant.waives
}

# METADATA
# title: Which kinds waive, and when / 免除できる例外の種類
# description: Continuity of operations opens reading only, and only while it is declared.
# scope: document
# custom:
#   control: SP 800-53 AC-3(10), CP-2
#   owner: security-policy
#   remedy_ja: 例外の承認を、承認者に依頼してください。
#   remedy_en: Ask the approvers for an exception.
_may_waive("exception", _, _)

_may_waive("break_glass", _, _)

_may_waive("continuity", true, false)

# METADATA
# title: Two people other than those who ask approved exactly this / 依頼者以外の二人が承認している
# custom:
#   control: SP 800-53 AC-5, AC-3(2)
#   owner: security-policy
#   remedy_ja: 二人の承認者に、この操作の承認を依頼してください。
#   remedy_en: Ask two approvers to approve this operation.
approved(grants, action, path, requesters, time) if {
	action != ""
	some grant in grants
	grant.kind == "approval"
	grant.action == action
	grant.object == path
	grant.not_after >= time
	count({approver | some approver in grant.approvers; not approver in requesters}) >= 2
}
