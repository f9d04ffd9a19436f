package zt.layer.baseline_test

import data.zt.layer.baseline
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := baseline.result with input as input_ with data.zt.assurance as fixtures.assurance
}

_changed(input_, change) := _decide(object.union(input_, change))

_labels := data.zt.layer.baseline.labels

_internal := fixtures.read("Internal", 100)

_confidential := fixtures.read("Confidential", 200)

_restricted := fixtures.read("Restricted", 300)

_own_device := {"device": {"ownership": "byod", "facts": {"mdm.enrolled": fixtures.unknown}}}

_code := {"subject": {"amr": ["pwd", "otp"], "acr": ""}}

test_thresholds_rise_by_five_a_level_up_to_a_hundred[label] if {
	some label, base in {"Internal": 10, "Confidential": 60, "Restricted": 80}
	[column.threshold | some column in _labels[label].levels] == [min([100, base + shift]) | some shift in [0, 5, 10, 15, 20]]
}

test_a_higher_label_demands_everything_a_lower_one_does[note] if {
	some note, pair in {
		"Internal": ["Internal", "Public"],
		"Confidential": ["Confidential", "Internal"],
		"Restricted": ["Restricted", "Confidential"],
	}
	{code | some code in _labels[pair[1]].reads} - {code | some code in _labels[pair[0]].reads} == set()
	every index, column in _labels[pair[0]].levels {
		column.threshold >= _labels[pair[1]].levels[index].threshold
	}
}

test_a_higher_threat_level_demands_everything_a_lower_one_does[label] if {
	some label, row in _labels
	every index, column in array.slice(row.levels, 1, 5) {
		before := row.levels[index]
		{code | some code in before.writes} - {code | some code in column.writes} == set()
		object.get(before, "report_age", 0) >= object.get(column, "report_age", 0)
		[before.byod, column.byod] in [[true, true], [true, false], [false, false]]
	}
}

test_a_healthy_request_is_allowed[note] if {
	some note, tc in {
		"Public, anonymous": {
			"input": object.union(object.union(fixtures.read("Public", 0), fixtures.anonymous), {"trust": {"score": 0}}),
			"threshold": 0,
			"duties": set(),
		},
		"Internal from a browser": {
			"input": object.union(object.union(_internal, fixtures.no_device), {"trust": {"score": 15}}),
			"threshold": 10,
			"duties": set(),
		},
		"Confidential": {"input": _confidential, "threshold": 60, "duties": {"no_store"}},
		"Confidential on one's own device": {
			"input": object.union(_confidential, _own_device),
			"threshold": 60,
			"duties": {"no_store", "no_download", "watermark"},
		},
		"Confidential that nobody may copy": {
			"input": object.union(_confidential, {"resource": {"label": {"caveats": ["no_copy"]}}}),
			"threshold": 60,
			"duties": {"no_store", "no_download"},
		},
		"Confidential by a program with a key": {
			"input": object.union(_confidential, {"subject": {"type": "workload", "amr": [], "acr": ""}}),
			"threshold": 60,
			"duties": {"no_store"},
		},
		"Restricted": {
			"input": _restricted,
			"threshold": 80,
			"duties": {"no_store", "no_download", "watermark", "notify_owner"},
		},
	}
	result := _decide(tc.input)
	result.allow == true
	result.unmet == []
	result.threshold == tc.threshold
	fixtures.duties(result) == tc.duties
}

test_unmet[note] if {
	some note, tc in {
		"Public, changed anonymously": {
			"input": fixtures.write("Public", 0),
			"change": fixtures.anonymous,
			"want": {"AUTH_REQUIRED"},
		},
		"Public, important, changed after a code": {
			"input": fixtures.write("Public", 0),
			"change": object.union(_code, {"resource": {"label": {"integrity": 2}}}),
			"want": {"PHISHING_RESISTANT_REQUIRED"},
		},
		"Public, important, changed by a program": {
			"input": fixtures.write("Public", 0),
			"change": {
				"subject": {"type": "workload", "amr": [], "acr": ""},
				"resource": {"label": {"integrity": 2}},
			},
			"want": set(),
		},
		"Internal, a password": {
			"input": _internal,
			"change": {"subject": {"amr": ["pwd"], "acr": ""}},
			"want": {"MFA_REQUIRED"},
		},
		"Internal, lost": {"input": _internal, "change": {"device": {"status": "lost"}}, "want": {"DEVICE_LOST"}},
		"Internal, a caveat nobody knows": {
			"input": _internal,
			"change": {"resource": {"label": {"caveats": ["eyes_only"]}}},
			"want": {"CAVEAT_NOT_MET"},
		},
		"Confidential, being enrolled": {
			"input": _confidential,
			"change": {"device": {"status": "enrolled"}},
			"want": {"DEVICE_NOT_ENROLLED"},
		},
		"Confidential, no key": {
			"input": _confidential,
			"change": {"device": {"key_protection": "none"}},
			"want": {"DEVICE_NOT_ENROLLED"},
		},
		"Confidential, an owner nobody knows": {
			"input": _confidential,
			"change": {"device": {"ownership": "unknown"}},
			"want": {"BYOD_CEILING"},
		},
		"Confidential, one's own device at alert": {
			"input": _confidential,
			"change": object.union(_own_device, {"situation": {"threat_level": 2}}),
			"want": {"BYOD_CEILING"},
		},
		"Confidential, changed after a code at alert": {
			"input": fixtures.write("Confidential", 200),
			"change": object.union(_code, {"situation": {"threat_level": 2}}),
			"want": {"PHISHING_RESISTANT_REQUIRED"},
		},
		"Confidential, unencrypted": {
			"input": _confidential,
			"change": {"device": {"facts": {"disk.encrypted": fixtures.observed(false, "signed_agent")}}},
			"want": {"DISK_NOT_ENCRYPTED"},
		},
		"Confidential, encryption unknown": {
			"input": _confidential,
			"change": {"device": {"facts": {"disk.encrypted": fixtures.unknown}}},
			"want": {"REPORT_INCOMPLETE"},
		},
		"Confidential, an old report": {
			"input": _confidential,
			"change": {"device": {"report_age": 86401}},
			"want": {"REPORT_STALE"},
		},
		"Confidential, too little trust": {
			"input": _confidential,
			"change": {"trust": {"score": 59}},
			"want": {"TRUST_LOW"},
		},
		"Confidential, an exception": {
			"input": _confidential,
			"change": {"device": {"report_age": 86401}, "grants": [fixtures.grant("exception", ["REPORT_STALE"])]},
			"want": set(),
		},
		"Confidential, an exception that nobody may give": {
			"input": _confidential,
			"change": {
				"subject": {"amr": ["pwd"], "acr": ""},
				"grants": [fixtures.grant("exception", ["MFA_REQUIRED"])],
			},
			"want": {"MFA_REQUIRED"},
		},
		"Restricted, a code": {"input": _restricted, "change": _code, "want": {"PHISHING_RESISTANT_REQUIRED"}},
		"Restricted, a sign-in of yesterday": {
			"input": _restricted,
			"change": {"subject": {"auth_age": 28801}},
			"want": {"REAUTH_REQUIRED"},
		},
		"Restricted, one's own device": {
			"input": _restricted,
			"change": {"device": {"ownership": "byod"}},
			"want": {"BYOD_CEILING", "DEVICE_NOT_MANAGED"},
		},
		"Restricted, an exception": {
			"input": _restricted,
			"change": {"device": {"report_age": 86401}, "grants": [object.union(
				fixtures.grant("exception", ["REPORT_STALE"]),
				{"ceiling": 300},
			)]},
			"want": {"REPORT_STALE"},
		},
		"a label nobody knows": {
			"input": fixtures.read("Secret", 500),
			"change": {},
			"want": {"LABEL_UNKNOWN", "SITUATION_UNKNOWN", "TRUST_LOW"},
		},
		"a level that does not exist": {
			"input": _internal,
			"change": {"situation": {"threat_level": 7}},
			"want": {"SITUATION_UNKNOWN", "TRUST_LOW"},
		},
	}
	fixtures.codes(_changed(tc.input, tc.change)) == tc.want
}

test_breaking_the_glass_lowers_the_threshold_and_tells_the_owner if {
	result := _changed(_confidential, {"trust": {"score": 15}, "grants": [fixtures.grant("break_glass", ["TRUST_LOW"])]})
	result.allow == true
	result.threshold == 10
	"notify_owner" in fixtures.duties(result)
}

test_an_exception_that_is_used_tells_the_owner if {
	result := _changed(_confidential, {
		"device": {"report_age": 86401},
		"grants": [fixtures.grant("exception", ["REPORT_STALE"])],
	})
	"notify_owner" in fixtures.duties(result)
}

test_step_up_says_what_to_ask_for if {
	_changed(_restricted, {"subject": {"amr": [], "acr": "", "auth_age": null}}).unmet == [
		{"code": "MFA_REQUIRED", "acr": "mfa"},
		{"code": "PHISHING_RESISTANT_REQUIRED", "acr": "phr"},
		{"code": "REAUTH_REQUIRED", "max_age": 28800},
	]
}

test_an_empty_input_is_denied if {
	result := _decide({})
	result.allow == false
	result.threshold == 1000
}
