# METADATA
# title: Online applications and payment of fees / オンライン申請と手数料の支払い
# description: >-
#   Applying takes a sign-in with a public-key card, paying takes a fresh one.
# custom:
#   control: SP 800-53 IA-2(12), IA-11, デジタル庁 本人確認ガイドライン
#   owner: service-owner
package zt.layer.service.applications

import data.zt.lib.posture
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
	"unmet": report.entries(_unmet, data.zt.layer.service.applications.asks),
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
# description: Demanded unless the route says that it does without.
# scope: document
# custom:
#   control: SP 800-53 AC-3
#   owner: service-owner
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
_required contains "CARD_SIGN_IN_REQUIRED" if not input.resource.attributes.card_sign_in == false

_required contains "PAYMENT_REAUTH_REQUIRED" if not input.resource.attributes.payment == false

# METADATA
# title: Signed in with a public-key card / 公的個人認証によるサインイン
# scope: document
# custom:
#   control: SP 800-53 IA-2(12)
#   owner: service-owner
#   remedy_ja: マイナンバーカードでサインインしてください。
#   remedy_en: Sign in with your public-key card.
_passed contains "CARD_SIGN_IN_REQUIRED" if input.subject.acr in data.zt.layer.service.applications.card

_passed contains "CARD_SIGN_IN_REQUIRED" if {
	some method in input.subject.amr
	method in data.zt.layer.service.applications.card
}

# METADATA
# title: Signed in a moment ago / 直前にサインインしている
# custom:
#   control: SP 800-53 IA-11
#   owner: service-owner
#   remedy_ja: お支払いの前に、もう一度サインインしてください。
#   remedy_en: Sign in again before you pay.
_passed contains "PAYMENT_REAUTH_REQUIRED" if {
	posture.within(input.subject.auth_age, data.zt.layer.service.applications.payment_age)
}
