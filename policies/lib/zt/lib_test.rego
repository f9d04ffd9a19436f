package zt.lib.lib_test

import data.zt.lib.assurance
import data.zt.lib.checks
import data.zt.lib.fixtures_test as fixtures
import data.zt.lib.grants
import data.zt.lib.posture
import data.zt.lib.refuted
import data.zt.lib.report

_every := {
	"AUTH_REQUIRED",
	"SUBJECT_EXPIRED",
	"CLEARANCE_TOO_LOW",
	"DELEGATE_CEILING",
	"SERVICE_CEILING_EXCEEDED",
	"COMPARTMENT_MISSING",
	"AUDIENCE_RESTRICTED",
	"NOT_RELEASABLE",
	"PURPOSE_REQUIRED",
	"DEVICE_NOT_ASSIGNED",
	"DISK_NOT_ENCRYPTED",
	"OS_UNSUPPORTED",
	"KEV_OVERDUE",
	"INTEGRITY_BROKEN",
	"PROTECTION_OFF",
}

test_a_healthy_request_proves_everything if checks.passed == _every with input as fixtures.read("C2", 200)

test_an_empty_input_proves_nothing if {
	checks.passed == set() with input as {}
	not checks.managed with input as {}
	assurance.level == 0 with input as {}
	refuted.codes == set() with input as {}
}

# What is unproven after one change to the healthy request.
test_one_change_leaves_unproven[note] if {
	some note, tc in {
		"nobody signed in": {"change": {"subject": {"type": "anonymous"}}, "want": {"AUTH_REQUIRED"}},
		"a user without an id": {"change": {"subject": {"id": ""}}, "want": {"AUTH_REQUIRED"}},
		"a type that does not exist": {"change": {"subject": {"type": "robot"}}, "want": {"AUTH_REQUIRED"}},
		"a type of the wrong type": {"change": {"subject": {"type": true}}, "want": {"AUTH_REQUIRED"}},
		"a workload": {"change": {"subject": {"type": "workload"}}, "want": set()},
		"a workload without an id": {"change": {"subject": {"type": "workload", "id": ""}}, "want": {"AUTH_REQUIRED"}},
		"an end date to come": {"change": {"subject": {"valid_until": 1790000001}}, "want": set()},
		"an end date that is now": {"change": {"subject": {"valid_until": 1790000000}}, "want": {"SUBJECT_EXPIRED"}},
		"an end date of the wrong type": {"change": {"subject": {"valid_until": false}}, "want": {"SUBJECT_EXPIRED"}},
		"a low clearance": {"change": {"subject": {"clearance": 199}}, "want": {"CLEARANCE_TOO_LOW"}},
		"a clearance of null": {"change": {"subject": {"clearance": null}}, "want": {"CLEARANCE_TOO_LOW"}},
		"a low ceiling": {"change": {"resource": {"service_ceiling": 100}}, "want": {"SERVICE_CEILING_EXCEEDED"}},
		"a ceiling of null": {"change": {"resource": {"service_ceiling": null}}, "want": {"SERVICE_CEILING_EXCEEDED"}},
		"a compartment held": {"change": _label({"compartments": ["case:123"]}), "want": set()},
		"a compartment too many": {
			"change": _label({"compartments": ["case:123", "case:9"]}),
			"want": {"COMPARTMENT_MISSING"},
		},
		"compartments of the wrong type": {
			"change": {"subject": {"compartments": null}, "resource": {"label": {"compartments": ["case:123"]}}},
			"want": {"COMPARTMENT_MISSING"},
		},
		"an audience by organisation": {"change": _label({"audience": ["org:mofa"]}), "want": set()},
		"an audience by group": {"change": _label({"audience": ["group:staff"]}), "want": set()},
		"an audience by name": {"change": _label({"audience": ["subject:tanaka"]}), "want": set()},
		"another audience": {
			"change": _label({"audience": ["org:meti", "group:other", "subject:sato", "staff"]}),
			"want": {"AUDIENCE_RESTRICTED"},
		},
		"an audience of nobody": {"change": _label({"audience": ["!nobody"]}), "want": {"AUDIENCE_RESTRICTED"}},
		"an audience of null": {"change": _label({"audience": null}), "want": {"AUDIENCE_RESTRICTED"}},
		"no organisation, an audience of none": {
			"change": {"subject": {"org": ""}, "resource": {"label": {"audience": ["org:"]}}},
			"want": {"AUDIENCE_RESTRICTED"},
		},
		"no id, an audience of none": {
			"change": {"subject": {"id": ""}, "resource": {"label": {"audience": ["subject:"]}}},
			"want": {"AUDIENCE_RESTRICTED", "AUTH_REQUIRED"},
		},
		"releasable to the nationality": {"change": _label({"rel_to": ["JPN"]}), "want": set()},
		"releasable to the organisation": {"change": _label({"rel_to": ["mofa"]}), "want": set()},
		"releasable to others": {"change": _label({"rel_to": ["USA", "GBR"]}), "want": {"NOT_RELEASABLE"}},
		"no nationality": {
			"change": {"subject": {"nationality": "", "org": ""}, "resource": {"label": {"rel_to": ["", "USA"]}}},
			"want": {"NOT_RELEASABLE"},
		},
		"a purpose that is declared": {
			"change": {"request": {"purpose": "audit"}, "resource": {"label": {"purpose": ["audit"]}}},
			"want": set(),
		},
		"a purpose that is missing": {"change": _label({"purpose": ["audit"]}), "want": {"PURPOSE_REQUIRED"}},
		"one purpose of two": {
			"change": {"request": {"purpose": "audit"}, "resource": {"label": {"purpose": ["audit", "research"]}}},
			"want": {"PURPOSE_REQUIRED"},
		},
		"a delegate with the rights": {
			"change": {"subject": {"delegate": _bot(200, ["case:123"])}, "resource": {"label": {"compartments": ["case:123"]}}},
			"want": set(),
		},
		"a delegate of lower clearance": {"change": {"subject": {"delegate": _bot(100, [])}}, "want": {"DELEGATE_CEILING"}},
		"a delegate outside the compartment": {
			"change": {"subject": {"delegate": _bot(400, [])}, "resource": {"label": {"compartments": ["case:123"]}}},
			"want": {"DELEGATE_CEILING"},
		},
		"a delegate of the wrong type": {"change": {"subject": {"delegate": "bot"}}, "want": {"DELEGATE_CEILING"}},
		"a colleague's laptop, key proven": {"change": {"device": {"assigned": false}}, "want": set()},
		"a colleague's laptop, DPoP": {
			"change": {"device": {"assigned": false}, "subject": {"binding": "dpop"}},
			"want": set(),
		},
		"a stolen token on a colleague's laptop": {
			"change": {"device": {"assigned": false}, "subject": {"binding": "none"}},
			"want": {"DEVICE_NOT_ASSIGNED"},
		},
		"a cookie on a colleague's laptop": {
			"change": {"device": {"assigned": false}, "subject": {"binding": "session"}},
			"want": {"DEVICE_NOT_ASSIGNED"},
		},
		"one's own laptop": {"change": {"subject": {"binding": "none"}}, "want": set()},
		"a shared computer": {
			"change": {"device": {"assigned": false, "ownership": "shared"}, "subject": {"binding": "none"}},
			"want": set(),
		},
		"assigned as text": {
			"change": {"device": {"assigned": "true"}, "subject": {"binding": "none"}},
			"want": {"DEVICE_NOT_ASSIGNED"},
		},
		"antivirus instead of EDR": {"change": _fact("edr.running", fixtures.unknown), "want": set()},
		"EDR instead of antivirus": {"change": _fact("av.realtime", fixtures.unknown), "want": set()},
		"neither EDR nor antivirus": {
			"change": {"device": {"facts": {"edr.running": fixtures.unknown, "av.realtime": fixtures.unknown}}},
			"want": {"PROTECTION_OFF"},
		},
	}
	input_ := object.union(fixtures.read("C2", 200), tc.change)
	_every - checks.passed == tc.want with input as input_
}

# A fact proves something only when it was observed, is good, still fresh, and not a person's word.
test_a_fact[note] if {
	some note, tc in {
		"attested": {"fact": fixtures.observed(true, "attested"), "want": ["proven", "reported", "independent"]},
		"by device management": {"fact": fixtures.observed(true, "mdm_server"), "want": ["proven", "reported", "independent"]},
		"by the agent": {"fact": fixtures.observed(true, "signed_agent"), "want": ["proven", "reported"]},
		"by self-report": {"fact": fixtures.observed(true, "self_report"), "want": ["refuted"]},
		"as declared": {"fact": fixtures.observed(true, "declared"), "want": ["refuted"]},
		"by a method nobody knows": {"fact": fixtures.observed(true, "rumour"), "want": []},
		"bad": {"fact": fixtures.observed(false, "attested"), "want": ["refuted"]},
		"bad and stale": {
			"fact": object.union(fixtures.observed(false, "attested"), {"confidence": 0}),
			"want": ["refuted"],
		},
		"good and stale, in the report": {
			"fact": object.union(fixtures.observed(true, "signed_agent"), {"confidence": 0}),
			"want": ["reported"],
		},
		"good and stale, attested in the report": {
			"fact": object.union(fixtures.observed(true, "attested"), {"confidence": 0}),
			"want": ["reported"],
		},
		"good and stale, from device management": {
			"fact": object.union(fixtures.observed(true, "mdm_server"), {"confidence": 0}),
			"want": [],
		},
		"good without confidence": {
			"fact": {"status": "observed", "value": true, "method": "mdm_server"},
			"want": [],
		},
		"good with a confidence of null": {
			"fact": {"status": "observed", "value": true, "method": "mdm_server", "confidence": null},
			"want": [],
		},
		"of the wrong type": {"fact": fixtures.observed("true", "attested"), "want": ["refuted"]},
		"not collected": {"fact": fixtures.unknown, "want": []},
		"an error": {"fact": object.union(fixtures.unknown, {"status": "error"}), "want": []},
		"not collected, but with a value": {
			"fact": object.union(fixtures.observed(true, "attested"), {"status": "not_collected"}),
			"want": [],
		},
		"a bare value": {"fact": true, "want": []},
	}
	_verdict(tc.fact) == {word | some word in tc.want}
}

test_every_fact_is_explained_when_bad if {
	bad := {"device": {"facts": {
		"disk.encrypted": fixtures.observed(false, "mdm_server"),
		"os.supported": fixtures.observed(false, "signed_agent"),
		"vuln.kev_overdue": fixtures.observed(["CVE-2023-4863"], "signed_agent"),
		"integrity.rooted": fixtures.observed(true, "signed_agent"),
		"edr.running": fixtures.observed(false, "signed_agent"),
		"av.realtime": fixtures.observed(false, "signed_agent"),
	}}}
	want := {"DISK_NOT_ENCRYPTED", "OS_UNSUPPORTED", "KEV_OVERDUE", "INTEGRITY_BROKEN", "PROTECTION_OFF"}
	refuted.codes == want with input as object.union(fixtures.read("C2", 200), bad)
	_every - checks.passed == want with input as object.union(fixtures.read("C2", 200), bad)
}

test_an_age[note] if {
	some note, tc in {
		"zero": {"age": 0, "want": true},
		"at the limit": {"age": 60, "want": true},
		"above the limit": {"age": 61, "want": false},
		"negative": {"age": -1, "want": false},
		"null": {"age": null, "want": false},
		"text": {"age": "1", "want": false},
		"true": {"age": true, "want": false},
	}
	_within(tc.age, 60) == tc.want
}

test_managed[note] if {
	some note, tc in {
		"issued and enrolled": {"change": {}, "want": true},
		"one's own, enrolled": {"change": {"device": {"ownership": "byod"}}, "want": false},
		"issued, not enrolled": {"change": _fact("mdm.enrolled", fixtures.unknown), "want": false},
	}
	input_ := object.union(fixtures.read("C2", 200), tc.change)
	_managed(input_) == tc.want
}

test_the_sign_in_level_is_the_highest[note] if {
	some note, tc in {
		"password": {"subject": {"amr": ["pwd"], "acr": ""}, "want": 1},
		"password and code": {"subject": {"amr": ["pwd", "otp"], "acr": ""}, "want": 2},
		"by acr": {"subject": {"amr": ["pwd"], "acr": "phr"}, "want": 3},
		"unknown names": {"subject": {"amr": ["magic"], "acr": "gold"}, "want": 0},
		"wrong types": {"subject": {"amr": null, "acr": 3}, "want": 0},
	}
	assurance.level == tc.want with input as {"subject": tc.subject} with data.zt.assurance as fixtures.assurance
}

test_without_a_table_every_sign_in_is_level_zero if {
	assurance.level == 0 with input as fixtures.read("C2", 200) with data.zt.assurance as {}
}

test_a_grant_waives[note] if {
	some note, tc in {
		"an exception": {"grant": {}, "args": [false, false], "want": {"REPORT_STALE"}},
		"an exception, writing": {"grant": {}, "args": [false, true], "want": {"REPORT_STALE"}},
		"breaking the glass": {"grant": {"kind": "break_glass"}, "args": [false, true], "want": {"REPORT_STALE"}},
		"continuity, reading": {"grant": {"kind": "continuity"}, "args": [true, false], "want": {"REPORT_STALE"}},
		"continuity, writing": {"grant": {"kind": "continuity"}, "args": [true, true], "want": set()},
		"continuity that nobody declared": {"grant": {"kind": "continuity"}, "args": [false, false], "want": set()},
		"an approval": {"grant": {"kind": "approval"}, "args": [true, false], "want": set()},
		"a kind nobody knows": {"grant": {"kind": "favour"}, "args": [true, false], "want": set()},
		"a low ceiling": {"grant": {"ceiling": 199}, "args": [false, false], "want": set()},
		"until the tick ends": {"grant": {"not_after": 1790000000}, "args": [false, false], "want": {"REPORT_STALE"}},
		"until within the tick": {"grant": {"not_after": 1789999999}, "args": [false, false], "want": set()},
		"waives of the wrong type": {"grant": {"waives": "REPORT_STALE"}, "args": [false, false], "want": set()},
	}
	granted := [object.union(fixtures.grant("exception", ["REPORT_STALE"]), tc.grant)]
	grants.waived(granted, tc.args[0], 200, tc.args[1], 1790000000) == tc.want
}

test_an_approval[note] if {
	some note, tc in {
		"by two others": {"grant": {}, "want": true},
		"by one other": {"grant": {"approvers": ["sato"]}, "want": false},
		"by the requester and one other": {"grant": {"approvers": ["tanaka", "sato"]}, "want": false},
		"by one other, twice": {"grant": {"approvers": ["sato", "sato"]}, "want": false},
		"by the requester and two others": {"grant": {"approvers": ["tanaka", "sato", "suzuki"]}, "want": true},
		"of another action": {"grant": {"action": "payroll.delete"}, "want": false},
		"of another object": {"grant": {"object": "/pay/2"}, "want": false},
		"that has expired": {"grant": {"not_after": 1789999999}, "want": false},
		"that is an exception": {"grant": {"kind": "exception"}, "want": false},
	}
	granted := [object.union(fixtures.approval("payroll.change", "/pay/1", ["sato", "suzuki"]), tc.grant)]
	_approved(granted, "payroll.change") == tc.want
}

test_an_action_without_a_name_is_never_approved if {
	granted := [fixtures.approval("", "/pay/1", ["sato", "suzuki"])]
	not grants.approved(granted, "", "/pay/1", {"tanaka"}, 1790000000)
}

test_entries_say_what_to_ask_for if {
	asks := {"MFA_REQUIRED": {"acr": "mfa"}, "REAUTH_REQUIRED": {"max_age": 60}}
	report.entries({"MFA_REQUIRED", "REAUTH_REQUIRED", "DEVICE_LOST"}, asks) == [
		{"code": "DEVICE_LOST"},
		{"code": "MFA_REQUIRED", "acr": "mfa"},
		{"code": "REAUTH_REQUIRED", "max_age": 60},
	]
}

_label(change) := {"resource": {"label": change}}

_fact(name, fact) := {"device": {"facts": {name: fact}}}

_bot(clearance, compartments) := {
	"type": "workload",
	"id": "chatbot",
	"clearance": clearance,
	"compartments": compartments,
}

_verdict(fact) := {word |
	some word, holds in {
		"proven": _holds([1 | posture.proven(fact, true)]),
		"reported": _holds([1 | posture.reported(fact, true)]),
		"independent": _holds([1 | posture.proven_independently(fact, true)]),
		"refuted": _holds([1 | posture.refuted(fact, true)]),
	}
	holds
}

_holds(found) := count(found) == 1

_within(age, limit) := _holds([1 | posture.within(age, limit)])

_managed(input_) := _holds([1 | checks.managed with input as input_])

_approved(granted, action) := _holds([1 | grants.approved(granted, action, "/pay/1", {"tanaka"}, 1790000000)])
