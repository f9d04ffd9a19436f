# METADATA
# title: Ministry layer of the jp-gov pack / 府省庁の層（jp-gov）
# description: >-
#   Employment, robots and bots, and where sensitive data may be put. Only tightens what the baseline allows.
# custom:
#   control: 政府機関等の対策基準 動的なアクセス制御, SP 800-53 AC-2
#   owner: ministry-ciso
package zt.layer.ministry

import data.zt.lib.grants
import data.zt.lib.report

# METADATA
# title: The ministry's answer / 府省庁の判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: ministry-ciso
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
result := {
	"allow": count(_unmet) == 0,
	"unmet": report.entries(_unmet, data.zt.layer.ministry.asks),
	"obligations": [{"id": id} | some id in _obligations],
	"threshold": 0,
}

# METADATA
# title: What is demanded, neither proven nor waived / 満たされていない要件
# custom:
#   control: SP 800-53 AC-3
#   owner: ministry-ciso
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := (_required - _passed) - _waived

# METADATA
# title: Codes a request must prove to the ministry / 府省庁が求める要件
# description: Each group is demanded unless the request is proven to be outside of it.
# scope: document
# custom:
#   control: SP 800-53 AC-2, AC-3
#   owner: ministry-ciso
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "EMPLOYMENT_NOT_ADMITTED" if not _public_read

_required contains "EMPLOYMENT_TERM_MISSING" if not _public_read

_required contains "HOSTING_NOT_LISTED" if {
	not _readonly
	not _ordinary_rank
}

_required contains "DELEGATE_NOT_REGISTERED" if not _direct

_required contains "ROBOT_NOT_REGISTERED" if not _person

_required contains "ROBOT_ON_OTHER_HOST" if not _person

_required contains "ROBOT_OUTSIDE_HOURS" if not _person

# METADATA
# title: Published data is read / 公開情報の閲覧
# custom:
#   control: SP 800-53 AC-22
#   owner: ministry-ciso
#   remedy_ja: サインインしてください。
#   remedy_en: Sign in.
_public_read if {
	input.resource.label.rank == 0
	_readonly
}

# METADATA
# title: The request only reads / 閲覧のみの要求
# custom:
#   control: SP 800-53 AC-6
#   owner: ministry-ciso
#   remedy_ja: 閲覧のみで足りる場合は、編集せずに開いてください。
#   remedy_en: If reading is enough, open it without editing.
_readonly if input.request.write == false

# METADATA
# title: Data below the sensitive rank / 要機密情報より下の区分
# description: The lower bound refuses null, which Rego orders before every number.
# custom:
#   control: SP 800-53 RA-2
#   owner: ministry-ciso
#   remedy_ja: 情報システムの担当者に、区分の確認を依頼してください。
#   remedy_en: Ask the owner of the system to check the label.
_ordinary_rank if {
	input.resource.label.rank >= 0
	input.resource.label.rank < data.zt.layer.ministry.sensitive_rank
}

# METADATA
# title: Nobody acts on somebody's behalf / 代理なし
# custom:
#   control: RFC 8693
#   owner: ministry-ciso
#   remedy_ja: 代理で動くサービスの登録を確認してください。
#   remedy_en: Check the registration of the service that acts for you.
_direct if input.subject.delegate == null

# METADATA
# title: A person, known or not / 人による要求
# scope: document
# custom:
#   control: SP 800-53 IA-2, IA-9
#   owner: ministry-ciso
#   remedy_ja: ロボットの登録を確認してください。
#   remedy_en: Check the registration of the robot.
_person if input.subject.type == "user"

_person if input.subject.type == "anonymous"

# METADATA
# title: Codes that signed grants waive here / 承認された例外で免除される要件
# custom:
#   control: SP 800-53 AC-3(10)
#   owner: ministry-ciso
#   remedy_ja: 例外の承認を、承認者に依頼してください。
#   remedy_en: Ask the approvers for an exception.
_waived contains code if {
	input.grants != []
	some code in grants.waived(
		input.grants,
		input.situation.continuity,
		input.resource.label.rank,
		input.request.write,
		input.time,
	)
	code in data.zt.layer.ministry.waivable
	input.resource.label.rank <= data.zt.layer.ministry.waiver_ceiling
}

# METADATA
# title: Obligations of employment / 任用区分に伴う義務
# description: An unknown employment loses nothing here, it is refused as a requirement.
# custom:
#   control: SP 800-53 PS-7
#   owner: ministry-ciso
#   remedy_ja: 透かしを表示できるサービスを使ってください。
#   remedy_en: Use a service that can show a watermark.
_obligations contains id if {
	not _ordinary_rank
	some id in _employment.obligations
}

# METADATA
# title: The row of the subject's employment / 任用区分の行
# custom:
#   control: SP 800-53 PS-7
#   owner: human-resources
#   remedy_ja: 人事担当に任用区分の登録を確認してください。
#   remedy_en: Ask human resources about your employment record.
_employment := data.zt.layer.ministry.employment[input.subject.employment]

# METADATA
# title: Staff whose employment covers the data / 職員の任用区分で扱えるデータ
# custom:
#   control: SP 800-53 PS-7, AC-3
#   owner: human-resources
#   remedy_ja: 人事担当に任用区分の登録を確認してください。
#   remedy_en: Ask human resources about your employment record.
_passed contains "EMPLOYMENT_NOT_ADMITTED" if {
	_employment.staff == true
	_employment.ceiling >= input.resource.label.rank
}

# METADATA
# title: Others, where the service is open to them / 職員以外に開かれたサービス
# custom:
#   control: SP 800-53 AC-3, AC-14
#   owner: service-owner
#   remedy_ja: このサービスの対象者か確認してください。
#   remedy_en: Check whether this service is meant for you.
_passed contains "EMPLOYMENT_NOT_ADMITTED" if {
	_employment.ceiling >= input.resource.label.rank
	input.subject.employment in input.resource.attributes.open_to
}

# METADATA
# title: A robot is admitted by its own register / ロボットは登録簿で判定
# custom:
#   control: SP 800-53 IA-9
#   owner: ministry-ciso
#   remedy_ja: ロボットの登録を確認してください。
#   remedy_en: Check the registration of the robot.
_passed contains "EMPLOYMENT_NOT_ADMITTED" if input.subject.type == "workload"

# METADATA
# title: An employment without a term / 期限のない任用
# custom:
#   control: SP 800-53 AC-2(3), PS-4
#   owner: human-resources
#   remedy_ja: 人事担当に任期の登録を依頼してください。
#   remedy_en: Ask human resources to register the end of your term.
_passed contains "EMPLOYMENT_TERM_MISSING" if _employment.term == false

# METADATA
# title: A term that is on record / 任期が登録されている
# custom:
#   control: SP 800-53 AC-2(3), PS-4
#   owner: human-resources
#   remedy_ja: 人事担当に任期の登録を依頼してください。
#   remedy_en: Ask human resources to register the end of your term.
_passed contains "EMPLOYMENT_TERM_MISSING" if {
	_employment.term == true
	input.subject.valid_until > 0
}

# METADATA
# title: A robot has hours instead of a term / ロボットは稼働時間で判定
# custom:
#   control: SP 800-53 IA-9
#   owner: ministry-ciso
#   remedy_ja: ロボットの登録を確認してください。
#   remedy_en: Check the registration of the robot.
_passed contains "EMPLOYMENT_TERM_MISSING" if input.subject.type == "workload"

# METADATA
# title: Sensitive data goes to listed cloud services / 要機密情報はISMAP登録サービスへ
# custom:
#   control: ISMAP, SP 800-53 SA-9
#   owner: ministry-ciso
#   remedy_ja: ISMAPに登録されたサービスを使ってください。
#   remedy_en: Use a service on the ISMAP list.
_passed contains "HOSTING_NOT_LISTED" if input.resource.attributes.ismap == true

# METADATA
# title: Or stays in the ministry's own rooms / または庁舎内のシステムへ
# custom:
#   control: SP 800-53 SA-9(5)
#   owner: ministry-ciso
#   remedy_ja: 庁舎内のシステムを使ってください。
#   remedy_en: Use a system in the ministry's own rooms.
_passed contains "HOSTING_NOT_LISTED" if input.resource.attributes.on_premises == true

# METADATA
# title: The bot may act for people in this service / このサービスで代理が認められたボット
# custom:
#   control: RFC 8693, SP 800-53 AC-6
#   owner: service-owner
#   remedy_ja: ボットの管理者に、このサービスでの登録を依頼してください。
#   remedy_en: Ask the bot's owner to register it for this service.
_passed contains "DELEGATE_NOT_REGISTERED" if {
	input.resource.service in data.zt.layer.ministry.delegates[input.subject.delegate.id].services
}

# METADATA
# title: The robot's row / ロボットの登録行
# custom:
#   control: SP 800-53 IA-9
#   owner: ministry-ciso
#   remedy_ja: ロボットの登録を確認してください。
#   remedy_en: Check the registration of the robot.
_robot := row if {
	input.subject.type == "workload"
	row := data.zt.layer.ministry.robots[input.subject.id]
}

# METADATA
# title: The robot is registered for this service / このサービスに登録されたロボット
# custom:
#   control: SP 800-53 IA-9, AC-6
#   owner: service-owner
#   remedy_ja: ロボットの管理者に、このサービスでの登録を依頼してください。
#   remedy_en: Ask the robot's owner to register it for this service.
_passed contains "ROBOT_NOT_REGISTERED" if input.resource.service in _robot.services

# METADATA
# title: The robot runs on its own host / 登録されたホストで動くロボット
# custom:
#   control: SP 800-53 IA-3, AC-3
#   owner: service-owner
#   remedy_ja: 登録されたホストからロボットを実行してください。
#   remedy_en: Run the robot on its registered host.
_passed contains "ROBOT_ON_OTHER_HOST" if input.device.id in _robot.hosts

# METADATA
# title: The robot runs within its hours / 稼働時間内のロボット
# description: Opening is judged by the start of the tick, closing by its end, so that no tick reaches outside.
# custom:
#   control: SP 800-53 AC-2(11)
#   owner: service-owner
#   remedy_ja: 登録された稼働時間内に実行してください。
#   remedy_en: Run the robot within its registered hours.
_passed contains "ROBOT_OUTSIDE_HOURS" if {
	some day in _robot.weekdays
	opening := (input.tick_start + data.zt.layer.ministry.week_offset) % 604800
	closing := opening + (input.time - input.tick_start)
	opening >= (day * 86400) + _robot.opens
	closing <= (day * 86400) + _robot.closes
}
