# METADATA
# title: How a layer says what is unmet / 満たされていない要件の伝え方
# custom:
#   control: SP 800-53 SI-11
#   owner: security-policy
package zt.lib.report

# METADATA
# title: The entries of a layer's `unmet`, with the sign-in that would help / 未達の要件の一覧
# description: >-
#   `asks` says, for a code, which acr and max_age (seconds) to ask for.
# custom:
#   control: RFC 9470
#   owner: security-policy
#   remedy_ja: 表示された要件を満たしてください。
#   remedy_en: Meet the requirements shown.
entries(codes, asks) := [object.union({"code": code}, object.get(asks, code, {})) | some code in codes]
