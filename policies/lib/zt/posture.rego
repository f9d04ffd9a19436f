# METADATA
# title: What a fact about a device proves / 端末の事実が何を証明するか
# description: >-
#   A fact is an envelope (status, value, method, confidence). Only an observed, good, still fresh value from a method
#   that an unprivileged user cannot write proves anything; absence is never a good value.
# custom:
#   control: NIST SP 800-207 3.3, SP 800-53 CA-7
#   owner: security-policy
package zt.lib.posture

# METADATA
# title: A good value, observed, fresh, from the agent, the device management or the hardware / 良い値が信頼できる方法で確認された
# custom:
#   control: SP 800-53 CA-7
#   owner: security-policy
#   remedy_ja: 管理エージェントから端末の状態を送信してください。
#   remedy_en: Send a report from the managed agent.
proven(fact, good) if {
	fact.value == good
	fact.status == "observed"
	fact.confidence > 0
	_by_agent_or_better(fact.method)
}

# METADATA
# title: The same, but only from device management or the hardware itself / 端末管理サーバーまたはハードウェアによる証明
# custom:
#   control: SP 800-53 CA-7, SR-4
#   owner: security-policy
#   remedy_ja: 端末管理に登録された端末を使ってください。
#   remedy_en: Use a device that is under device management.
proven_independently(fact, good) if {
	fact.value == good
	fact.status == "observed"
	fact.confidence > 0
	_beyond_the_device(fact.method)
}

# METADATA
# title: A good value that is proven, or that came with the device's own report / 端末の報告に含まれる良い値
# description: >-
#   For facts that fade within hours while the report as a whole may be a day old: the requirement REPORT_STALE, not
#   the fact's own freshness, limits the age of what a report says. Whoever uses this must require REPORT_STALE as well.
# scope: document
# custom:
#   control: SP 800-53 CA-7
#   owner: security-policy
#   remedy_ja: 管理エージェントから端末の状態を送信してください。
#   remedy_en: Send a report from the managed agent.
reported(fact, good) if proven(fact, good)

reported(fact, good) if {
	fact.value == good
	fact.status == "observed"
	_with_the_report(fact.method)
}

# METADATA
# title: The value was observed and is not the good one / 良くない値が確認された
# description: Says why a fact is unproven. A refuted fact stays refuted however old it is; an unknown one asks for a report.
# custom:
#   control: SP 800-53 CA-7
#   owner: security-policy
#   remedy_ja: 端末の設定を直してから、状態を再送信してください。
#   remedy_en: Fix the setting, then send a new report.
refuted(fact, good) if {
	fact.status == "observed"
	fact.value != good
}

# METADATA
# title: A good value that only the user vouches for / 本人の申告だけによる値
# custom:
#   control: SP 800-53 CA-7
#   owner: security-policy
#   remedy_ja: 管理エージェントを導入した端末を使ってください。
#   remedy_en: Use a device with the managed agent.
refuted(fact, good) if {
	fact.status == "observed"
	fact.value == good
	_hearsay(fact.method)
}

# METADATA
# title: An age that is known and within its limit / 経過時間が分かっていて期限内
# description: The lower bound also refuses null, which Rego orders before every number.
# custom:
#   control: SP 800-53 CA-7
#   owner: security-policy
#   remedy_ja: 状態を再送信するか、もう一度サインインしてください。
#   remedy_en: Send a new report or sign in again.
within(age, limit) if {
	age >= 0
	age <= limit
}

# METADATA
# title: Methods an unprivileged user cannot write / 一般権限では書き換えられない方法
# scope: document
# custom:
#   control: SP 800-53 CA-7, SR-4
#   owner: security-policy
#   remedy_ja: 管理エージェントまたは端末管理に登録してください。
#   remedy_en: Register with the managed agent or with device management.
_by_agent_or_better("attested")

_by_agent_or_better("mdm_server")

_by_agent_or_better("signed_agent")

# METADATA
# title: Methods by which a device reports about itself / 端末自身の報告による方法
# scope: document
# custom:
#   control: SP 800-53 CA-7
#   owner: security-policy
#   remedy_ja: 管理エージェントから端末の状態を送信してください。
#   remedy_en: Send a report from the managed agent.
_with_the_report("attested")

_with_the_report("signed_agent")

# METADATA
# title: Methods the device itself cannot forge / 端末自身では偽れない方法
# scope: document
# custom:
#   control: SP 800-53 CA-7, SR-4
#   owner: security-policy
#   remedy_ja: 管理エージェントまたは端末管理に登録してください。
#   remedy_en: Register with the managed agent or with device management.
_beyond_the_device("attested")

_beyond_the_device("mdm_server")

# METADATA
# title: Methods that are a person's word / 本人の申告による方法
# scope: document
# custom:
#   control: SP 800-53 CA-7, SR-4
#   owner: security-policy
#   remedy_ja: 管理エージェントまたは端末管理に登録してください。
#   remedy_en: Register with the managed agent or with device management.
_hearsay("self_report")

_hearsay("declared")
