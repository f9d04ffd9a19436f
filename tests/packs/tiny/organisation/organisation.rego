# METADATA
# title: Organisation / 組織
# custom:
#   title_ja: 組織
#   title_en: Organisation
#   control: T-2
#   owner: platform
#   remedy_ja: 画面の案内に従ってください。
#   remedy_en: Follow the page.
package zt.layer.organisation

# METADATA
# title: Nothing more is asked / 追加の要求なし
# custom:
#   title_ja: 追加の要求なし
#   title_en: Nothing more
#   control: T-2
#   owner: platform
#   remedy_ja: 画面の案内に従ってください。
#   remedy_en: Follow the page.
result := {"allow": true, "unmet": [], "obligations": [], "threshold": 0}
