# METADATA
# title: How strong the sign-in is / サインインの強さ
# description: >-
#   `data.zt.assurance` maps every acr and amr value an issuer may send to a level; a value that is not in the map, and
#   a missing map, are level 0.
# custom:
#   control: SP 800-63B, RFC 9470
#   owner: security-policy
package zt.lib.assurance

# METADATA
# title: The highest level that acr and amr prove / 証明された最も高い水準
# custom:
#   control: SP 800-53 IA-2
#   owner: security-policy
#   remedy_ja: より強い方法でサインインしてください。
#   remedy_en: Sign in with a stronger method.
level := max(_levels)

# METADATA
# title: The levels of everything the token says about the sign-in / トークンが示す各方法の水準
# scope: document
# custom:
#   control: SP 800-53 IA-2
#   owner: security-policy
#   remedy_ja: より強い方法でサインインしてください。
#   remedy_en: Sign in with a stronger method.
_levels contains 0

_levels contains data.zt.assurance[input.subject.acr]

_levels contains data.zt.assurance[method] if some method in input.subject.amr
