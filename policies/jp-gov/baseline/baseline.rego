# METADATA
# title: Baseline of the jp-gov pack / 共通基盤（jp-gov）
# description: >-
#   The floor no ministry and no service can lower. A label's row in data.yaml names what it demands; the rules prove
#   requirements one by one, and `allow` is the statement that nothing demanded is left unproven. Every relaxation is
#   proven as well, so that silence is always the stricter answer.
# custom:
#   control: NIST SP 800-207 3.3.1, 政府機関等の対策基準 動的なアクセス制御
#   owner: security-policy
package zt.layer.baseline

import data.zt.layer.baseline.secret
import data.zt.lib.checks
import data.zt.lib.grants
import data.zt.lib.refuted
import data.zt.lib.report

# METADATA
# title: The baseline's answer / 共通基盤の判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: security-policy
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
result := {
	"allow": count(_unmet) == 0,
	"unmet": report.entries({_reported(code) | some code in _unmet}, data.zt.layer.baseline.asks),
	"obligations": [{"id": id} | some id in _obligations],
	"threshold": _threshold,
}

# METADATA
# title: The row of the label / 区分ごとの要件表の行
# custom:
#   control: SP 800-53 RA-2
#   owner: security-policy
#   remedy_ja: 情報システムの担当者に、区分の登録を依頼してください。
#   remedy_en: Ask the owner of the system to register the label.
_row := data.zt.layer.baseline.labels[input.resource.label.code]

# METADATA
# title: The column of the threat level / 警戒レベルごとの列
# custom:
#   control: SP 800-53 SI-5, RA-3
#   owner: security-policy
#   remedy_ja: 情報セキュリティの担当者に連絡してください。
#   remedy_en: Contact information security.
_level := _row.levels[input.situation.threat_level]

# METADATA
# title: Codes a request must prove / 証明が必要な要件
# description: >-
#   Label, situation and trust are demanded whatever the tables say, so that an unknown label or level demands the
#   impossible instead of nothing.
# scope: document
# custom:
#   control: SP 800-53 AC-3, AC-16
#   owner: security-policy
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "LABEL_UNKNOWN"

_required contains "SITUATION_UNKNOWN"

_required contains "TRUST_LOW"

_required contains code if some code in _row.reads

_required contains code if some code in _level.reads

_required contains code if {
	not _readonly
	some code in _row.writes
}

_required contains code if {
	not _readonly
	some code in _level.writes
}

_required contains "PHISHING_RESISTANT_REQUIRED" if {
	not _readonly
	not _ordinary_integrity
}

# METADATA
# title: The request only reads / 閲覧のみの要求
# custom:
#   control: SP 800-53 AC-6
#   owner: security-policy
#   remedy_ja: 閲覧のみで足りる場合は、編集せずに開いてください。
#   remedy_en: If reading is enough, open it without editing.
_readonly if input.request.write == false

# METADATA
# title: Damage by tampering would be small / 改ざんの影響が小さい情報（完全性1）
# custom:
#   control: SP 800-53 SI-7, RA-2
#   owner: security-policy
#   remedy_ja: 完全性2の情報を変更するには、フィッシングに強い方法でサインインしてください。
#   remedy_en: To change data of integrity 2, sign in with a phishing-resistant method.
_ordinary_integrity if input.resource.label.integrity == 1

# METADATA
# title: What is demanded, neither proven nor waived / 満たされていない要件
# description: A grant that waives TRUST_LOW lowers the threshold; it does not lift it.
# custom:
#   control: SP 800-53 AC-3
#   owner: security-policy
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := (_open - (_granted - {"TRUST_LOW"})) - _excused

# METADATA
# title: What is demanded and not proven / 証明されていない要件
# custom:
#   control: SP 800-53 AC-3
#   owner: security-policy
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_open := (_required - checks.passed) - _passed

# METADATA
# title: Codes that signed grants waive here / 承認された例外で免除される要件
# custom:
#   control: SP 800-53 AC-3(10), CP-2
#   owner: security-policy
#   remedy_ja: 例外の承認を、承認者に依頼してください。
#   remedy_en: Ask the approvers for an exception.
_granted contains code if {
	input.grants != []
	some code in grants.waived(
		input.grants,
		input.situation.continuity,
		input.resource.label.rank,
		input.request.write,
		input.time,
	)
	code in _row.waivable
}

# METADATA
# title: Unknown facts that a grant excuses / 例外で免除される未確認の事実
# description: What was seen to be bad is not excused; that takes a grant that names it.
# custom:
#   control: SP 800-53 AC-3(10), CP-2
#   owner: security-policy
#   remedy_ja: 例外の承認を、承認者に依頼してください。
#   remedy_en: Ask the approvers for an exception.
_excused contains code if {
	"REPORT_INCOMPLETE" in _granted
	some code in _open
	_reported(code) == "REPORT_INCOMPLETE"
}

# METADATA
# title: The trust score needed / 必要な信頼スコア
# description: Out of reach while label or threat level are unknown.
# scope: document
# custom:
#   control: NIST SP 800-207 3.3.1
#   owner: security-policy
#   remedy_ja: 端末の状態を再送信するか、より強い方法でサインインしてください。
#   remedy_en: Send a new device report or sign in with a stronger method.
default _threshold := 1000

_threshold := _level.threshold if not "TRUST_LOW" in _granted

_threshold := _row.waived_threshold if "TRUST_LOW" in _granted

# METADATA
# title: What must be enforced on the way out / 許可に伴う義務
# description: Each relaxation is proven; whatever cannot be proven keeps the obligation.
# scope: document
# custom:
#   control: SP 800-53 AC-4, AC-16, MP-6
#   owner: security-policy
#   remedy_ja: 管理された端末を使うと、保存などの制限が軽くなります。
#   remedy_en: On a managed device fewer restrictions apply.
_obligations contains id if some id in _row.obligations

_obligations contains id if {
	some id in _row.unmanaged
	not checks.managed
}

_obligations contains id if {
	some id in _level.obligations
	not _closed_channel
}

_obligations contains id if {
	some id in _row.export
	not input.resource.attributes.export == false
}

_obligations contains id if {
	some caveat in input.resource.label.caveats
	some id in data.zt.layer.baseline.caveats[caveat].obligations
}

_obligations contains "notify_owner" if count(_open & _granted) > 0

_obligations contains "notify_owner" if count(_excused) > 0

_obligations contains "notify_owner" if {
	"TRUST_LOW" in _granted
	input.trust.score < _level.threshold
}

# METADATA
# title: The code shown for an unmet requirement / 表示する理由コード
# description: A fact that is unknown rather than bad asks for a report.
# scope: document
# custom:
#   control: SP 800-53 SI-11
#   owner: security-policy
#   remedy_ja: 端末の状態を再送信してください。
#   remedy_en: Send a new device report.
_reported(code) := "REPORT_INCOMPLETE" if {
	code in data.zt.layer.baseline.evidence
	not code in refuted.codes
	not code in secret.refuted
}

_reported(code) := code if code in refuted.codes

_reported(code) := code if code in secret.refuted

_reported(code) := code if not code in data.zt.layer.baseline.evidence

# METADATA
# title: The request comes from the closed network / 閉域網からの要求
# custom:
#   control: SP 800-53 SC-7, AC-4
#   owner: security-policy
#   remedy_ja: 閉域ネットワークの端末から利用してください。
#   remedy_en: Use a terminal on the closed network.
_closed_channel if input.request.channel in data.zt.layer.baseline.closed_channels
