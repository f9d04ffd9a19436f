# METADATA
# title: Baseline / 基本
# description: What every request must prove.
# custom:
#   title_ja: 基本
#   title_en: Baseline
#   control: T-1
#   owner: platform
#   remedy_ja: 画面の案内に従ってください。
#   remedy_en: Follow the page.
package zt.layer.baseline

# METADATA
# title: The layer's answer / 層の答え
# custom:
#   title_ja: 答え
#   title_en: Answer
#   control: T-1
#   owner: platform
#   remedy_ja: 画面の案内に従ってください。
#   remedy_en: Follow the page.
result := {
	"allow": count(_unmet) == 0,
	"unmet": [_said[code] | some code in _unmet],
	"obligations": _obligations,
	"threshold": _threshold,
}

_said := {
	"AUTH_REQUIRED": {"code": "AUTH_REQUIRED"},
	"MFA_REQUIRED": {"code": "MFA_REQUIRED", "acr": "phr", "max_age": 3600},
	"DEVICE_REQUIRED": {"code": "DEVICE_REQUIRED"},
	"REPORT_STALE": {"code": "REPORT_STALE"},
	"TRUST_LOW": {"code": "TRUST_LOW"},
	"NOT_ALLOWED": {"code": "NOT_ALLOWED"},
}

_rank := input.resource.label.rank

_required := set() if _rank == 0

_required := {"AUTH_REQUIRED", "TRUST_LOW"} if _rank == 100

_required := {"AUTH_REQUIRED", "TRUST_LOW", "MFA_REQUIRED", "DEVICE_REQUIRED", "REPORT_STALE"} if _rank == 200

_required := {"NOT_ALLOWED"} if _rank > 200

_unmet := _required - _passed

_passed contains "AUTH_REQUIRED" if input.subject.type in {"user", "workload"}

_passed contains "MFA_REQUIRED" if {
	some method in input.subject.amr
	method in {"phr", "hwk", "otp"}
}

_passed contains "DEVICE_REQUIRED" if {
	input.device.status == "active"
	input.device.assigned
}

_passed contains "REPORT_STALE" if input.device.report_age <= 86400

_passed contains "TRUST_LOW" if input.trust.score >= _threshold

_threshold := 0 if _rank == 0

_threshold := 10 if _rank == 100

_threshold := 60 if _rank == 200

_threshold := 100 if _rank > 200

_obligations := [{"id": "no_store"}] if _rank >= 200

_obligations := [] if _rank < 200
