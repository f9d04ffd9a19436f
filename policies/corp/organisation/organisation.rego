# METADATA
# title: Organisation layer of the corp pack / 組織の層（corp）
# description: Employees, contractors, partners and customers, programs and assistants. Only tightens the baseline.
# custom:
#   control: ISO/IEC 27001 A.5.16, A.5.18
#   owner: security-team
package zt.layer.organisation

import data.zt.lib.report

# METADATA
# title: The organisation's answer / 組織の判定
# custom:
#   control: NIST SP 800-207 3.3
#   owner: security-team
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
result := {
	"allow": count(_unmet) == 0,
	"unmet": report.entries(_unmet, {}),
	"obligations": [{"id": id} | some id in _obligations],
	"threshold": 0,
}

# METADATA
# title: What is demanded and not proven / 満たされていない要件
# custom:
#   control: ISO/IEC 27001 A.5.15
#   owner: security-team
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_unmet := _required - _passed

# METADATA
# title: Codes a request must prove to the organisation / 組織が求める要件
# description: Each group is demanded unless the request is proven to be outside of it.
# scope: document
# custom:
#   control: ISO/IEC 27001 A.5.16
#   owner: security-team
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "EMPLOYMENT_NOT_ADMITTED" if not _public_read

_required contains "EMPLOYMENT_TERM_MISSING" if not _public_read

_required contains "DELEGATE_NOT_REGISTERED" if not _direct

_required contains "PROGRAM_NOT_REGISTERED" if not _person

# METADATA
# title: Published data is read / 公開情報の閲覧
# custom:
#   control: ISO/IEC 27001 A.5.12
#   owner: security-team
#   remedy_ja: サインインしてください。
#   remedy_en: Sign in.
_public_read if {
	input.resource.label.rank == 0
	input.request.write == false
}

# METADATA
# title: Nobody acts on somebody's behalf / 代理なし
# custom:
#   control: RFC 8693
#   owner: security-team
#   remedy_ja: 代理で動くサービスの登録を確認してください。
#   remedy_en: Check the registration of the service that acts for you.
_direct if input.subject.delegate == null

# METADATA
# title: A person, known or not / 人による要求
# scope: document
# custom:
#   control: ISO/IEC 27001 A.5.16
#   owner: security-team
#   remedy_ja: プログラムの登録を確認してください。
#   remedy_en: Check the registration of the program.
_person if input.subject.type == "user"

_person if input.subject.type == "anonymous"

# METADATA
# title: The row of the kind of person / 利用者種別の行
# custom:
#   control: ISO/IEC 27001 A.5.16
#   owner: human-resources
#   remedy_ja: 人事に登録を確認してください。
#   remedy_en: Ask human resources about your record.
_kind := data.zt.layer.organisation.people[input.subject.employment]

# METADATA
# title: Data below the sensitive rank / 社外秘より下の区分
# description: The lower bound refuses null, which Rego orders before every number.
# custom:
#   control: ISO/IEC 27001 A.5.12
#   owner: security-team
#   remedy_ja: システムの担当者に、区分の確認を依頼してください。
#   remedy_en: Ask the owner of the system to check the label.
_ordinary_rank if {
	input.resource.label.rank >= 0
	input.resource.label.rank < data.zt.layer.organisation.sensitive_rank
}

# METADATA
# title: Obligations of a kind of person / 利用者種別に伴う義務
# description: An unknown kind loses nothing here, it is refused as a requirement.
# custom:
#   control: ISO/IEC 27001 A.5.19
#   owner: security-team
#   remedy_ja: 透かしを表示できるサービスを使ってください。
#   remedy_en: Use a service that can show a watermark.
_obligations contains id if {
	not _ordinary_rank
	some id in _kind.obligations
}

# METADATA
# title: Staff whose kind covers the data / 社員・委託先の種別で扱えるデータ
# custom:
#   control: ISO/IEC 27001 A.5.18
#   owner: human-resources
#   remedy_ja: 人事に登録を確認してください。
#   remedy_en: Ask human resources about your record.
_passed contains "EMPLOYMENT_NOT_ADMITTED" if {
	_kind.staff == true
	_kind.ceiling >= input.resource.label.rank
}

# METADATA
# title: Others, where the service is open to them / 社外に開かれたサービス
# custom:
#   control: ISO/IEC 27001 A.5.19
#   owner: service-owner
#   remedy_ja: このサービスの対象者か確認してください。
#   remedy_en: Check whether this service is meant for you.
_passed contains "EMPLOYMENT_NOT_ADMITTED" if {
	_kind.ceiling >= input.resource.label.rank
	input.subject.employment in input.resource.attributes.open_to
}

# METADATA
# title: A program is admitted by its own register / プログラムは登録簿で判定
# custom:
#   control: ISO/IEC 27001 A.5.16
#   owner: security-team
#   remedy_ja: プログラムの登録を確認してください。
#   remedy_en: Check the registration of the program.
_passed contains "EMPLOYMENT_NOT_ADMITTED" if input.subject.type == "workload"

# METADATA
# title: No end date is needed / 期限の登録が要らない種別
# custom:
#   control: ISO/IEC 27001 A.6.5
#   owner: human-resources
#   remedy_ja: 人事に契約期間の登録を依頼してください。
#   remedy_en: Ask human resources to register the end of your contract.
_passed contains "EMPLOYMENT_TERM_MISSING" if _kind.term == false

# METADATA
# title: The end of the contract is on record / 契約期間が登録されている
# custom:
#   control: ISO/IEC 27001 A.6.5
#   owner: human-resources
#   remedy_ja: 人事に契約期間の登録を依頼してください。
#   remedy_en: Ask human resources to register the end of your contract.
_passed contains "EMPLOYMENT_TERM_MISSING" if {
	_kind.term == true
	input.subject.valid_until > 0
}

# METADATA
# title: A program has no contract / プログラムに契約期間はない
# custom:
#   control: ISO/IEC 27001 A.5.16
#   owner: security-team
#   remedy_ja: プログラムの登録を確認してください。
#   remedy_en: Check the registration of the program.
_passed contains "EMPLOYMENT_TERM_MISSING" if input.subject.type == "workload"

# METADATA
# title: The assistant may act for people in this service / このサービスで代理が認められたアシスタント
# custom:
#   control: RFC 8693
#   owner: service-owner
#   remedy_ja: アシスタントの管理者に登録を依頼してください。
#   remedy_en: Ask the assistant's owner to register it.
_passed contains "DELEGATE_NOT_REGISTERED" if {
	input.resource.service in data.zt.layer.organisation.assistants[input.subject.delegate.id].services
}

# METADATA
# title: The program is registered for this service and runs on its own host / 登録されたサービスとホストで動くプログラム
# custom:
#   control: ISO/IEC 27001 A.5.16, A.8.20
#   owner: service-owner
#   remedy_ja: 登録されたホストから、登録されたサービスだけを使ってください。
#   remedy_en: Run the program on its registered host, for its registered services.
_passed contains "PROGRAM_NOT_REGISTERED" if {
	program := data.zt.layer.organisation.programs[input.subject.id]
	input.resource.service in program.services
	input.device.id in program.hosts
}
