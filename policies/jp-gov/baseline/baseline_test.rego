package zt.layer.baseline_test

import data.zt.layer.baseline
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := baseline.result with input as input_ with data.zt.assurance as fixtures.assurance
}

_changed(input_, change) := _decide(object.union(input_, change))

_labels := data.zt.layer.baseline.labels

# Secret papers are read in the closed network, the most secret ones at a terminal in an approved room.
_secret := object.union(fixtures.read("C3-S", 300), {"request": {"channel": "closed"}})

_top_secret := object.union(fixtures.read("C3-TS", 400), {
	"request": {"channel": "closed"},
	"device": {"id": "vault-terminal-1"},
	"subject": {"groups": ["list:treaty"]},
	"resource": {"attributes": {"named_list": "list:treaty", "export": false}},
})

_c2 := fixtures.read("C2", 200)

_own_device := {"device": {"ownership": "byod", "facts": {"mdm.enrolled": fixtures.unknown}}}

_from_agent_only := {"device": {"facts": {
	"disk.encrypted": fixtures.observed(true, "signed_agent"),
	"boot.secure_boot": fixtures.observed(true, "signed_agent"),
	"boot.measured": fixtures.observed(true, "signed_agent"),
}}}

# The table of labels itself

test_thresholds_rise_by_five_a_level_up_to_a_hundred[label] if {
	some label, base in {"C1": 10, "C2": 60, "C3-S": 85, "C3-TS": 95}
	[column.threshold | some column in _labels[label].levels] == [min([100, base + shift]) | some shift in [0, 5, 10, 15, 20]]
}

test_published_data_needs_no_trust_and_forbidden_data_cannot_have_enough if {
	{column.threshold | some column in _labels.C0.levels} == {0}
	{column.threshold | some column in _labels.CX.levels} == {1000}
}

test_a_higher_label_demands_everything_a_lower_one_does[note] if {
	some note, pair in {"C1 and C0": ["C1", "C0"], "C2": ["C2", "C1"], "C3-S": ["C3-S", "C2"], "C3-TS": ["C3-TS", "C3-S"]}
	_everything(pair[1]) - _everything(pair[0]) == set()
	every index, column in _labels[pair[0]].levels {
		column.threshold >= _labels[pair[1]].levels[index].threshold
	}
}

test_a_higher_threat_level_demands_everything_a_lower_one_does[label] if {
	some label, row in _labels
	every index, column in array.slice(row.levels, 1, 5) {
		before := row.levels[index]
		{code | some code in before.reads} - {code | some code in column.reads} == set()
		{code | some code in before.writes} - {code | some code in column.writes} == set()
		{id | some id in before.obligations} - {id | some id in column.obligations} == set()
		object.get(before, "report_age", 0) >= object.get(column, "report_age", 0)
		_number(before.byod) >= _number(column.byod)
	}
}

test_nothing_of_a_secret_can_be_waived if {
	{label | some label, row in _labels; row.rank > 200; count(row.waivable) > 0} == set()
}

# Decisions

test_a_healthy_request_is_allowed[note] if {
	some note, tc in {
		"C0": {"input": fixtures.read("C0", 0), "threshold": 0, "duties": set()},
		"C0, changing": {"input": fixtures.write("C0", 0), "threshold": 0, "duties": set()},
		"C0, anonymous": {
			"input": object.union(object.union(fixtures.read("C0", 0), fixtures.anonymous), {"trust": {"score": 0}}),
			"threshold": 0,
			"duties": set(),
		},
		"C1": {"input": fixtures.read("C1", 100), "threshold": 10, "duties": set()},
		"C1 from a browser": {
			"input": object.union(object.union(fixtures.read("C1", 100), fixtures.no_device), {"trust": {"score": 15}}),
			"threshold": 10,
			"duties": set(),
		},
		"C2": {"input": _c2, "threshold": 60, "duties": {"no_store"}},
		"C2, changing": {"input": fixtures.write("C2", 200), "threshold": 60, "duties": {"no_store"}},
		"C2 on one's own device": {
			"input": object.union(_c2, _own_device),
			"threshold": 60,
			"duties": {"no_store", "no_download", "watermark"},
		},
		"C2 by a robot with a key": {
			"input": object.union(_c2, {"subject": {"type": "workload", "amr": [], "acr": ""}}),
			"threshold": 60,
			"duties": {"no_store"},
		},
		"C3-S": {
			"input": _secret,
			"threshold": 85,
			"duties": {"no_store", "no_download", "watermark", "notify_owner"},
		},
		"C3-TS": {
			"input": _top_secret,
			"threshold": 95,
			"duties": {"no_store", "no_download", "watermark", "notify_owner"},
		},
	}
	result := _decide(tc.input)
	result.allow == true
	result.unmet == []
	result.threshold == tc.threshold
	fixtures.duties(result) == tc.duties
}

test_the_result_has_the_one_legal_shape if {
	_decide(_c2) == {"allow": true, "unmet": [], "obligations": [{"id": "no_store"}], "threshold": 60}
}

test_c0[note] if {
	some note, tc in {
		"anonymous change": {
			"input": object.union(fixtures.write("C0", 0), fixtures.anonymous),
			"want": {"AUTH_REQUIRED"},
		},
		"change from a lost device": {
			"input": object.union(fixtures.write("C0", 0), {"device": {"status": "lost"}}),
			"want": {"DEVICE_LOST"},
		},
		"important page changed after a password": {
			"input": object.union(fixtures.write("C0", 0), {
				"subject": {"amr": ["pwd"], "acr": ""},
				"resource": {"label": {"integrity": 2}},
			}),
			"want": {"PHISHING_RESISTANT_REQUIRED"},
		},
		"important page read": {
			"input": object.union(fixtures.read("C0", 0), {
				"subject": {"amr": ["pwd"], "acr": ""},
				"resource": {"label": {"integrity": 2}},
			}),
			"want": set(),
		},
		"a method that does not say whether it changes": {
			"input": object.union(object.union(fixtures.read("C0", 0), fixtures.anonymous), {"request": {"write": null}}),
			"want": {"AUTH_REQUIRED"},
		},
	}
	fixtures.codes(_decide(tc.input)) == tc.want
}

test_c1[note] if {
	some note, tc in {
		"nobody signed in": {
			"change": fixtures.anonymous,
			"want": {"AUTH_REQUIRED", "CLEARANCE_TOO_LOW"},
		},
		"lost": {"change": {"device": {"status": "lost"}}, "want": {"DEVICE_LOST"}},
		"revoked": {"change": {"device": {"status": "revoked"}}, "want": {"DEVICE_REVOKED"}},
		"quarantined": {"change": {"device": {"status": "quarantined"}}, "want": {"DEVICE_QUARANTINED"}},
		"retired": {"change": {"device": {"status": "retired"}}, "want": {"DEVICE_RETIRED"}},
		"a status nobody knows": {
			"change": {"device": {"status": "borrowed"}},
			"want": {"DEVICE_LOST", "DEVICE_REVOKED", "DEVICE_QUARANTINED", "DEVICE_RETIRED"},
		},
		"a status of the wrong type": {
			"change": {"device": {"status": null}},
			"want": {"DEVICE_LOST", "DEVICE_REVOKED", "DEVICE_QUARANTINED", "DEVICE_RETIRED"},
		},
		"a password only": {"change": {"subject": {"amr": ["pwd"], "acr": ""}}, "want": set()},
		"hardly any trust": {"change": {"trust": {"score": 9}}, "want": {"TRUST_LOW"}},
		"trust of null": {"change": {"trust": {"score": null}}, "want": {"TRUST_LOW"}},
		"a foreigner, for nationals only": {
			"change": {"subject": {"nationality": "FRA"}, "resource": {"label": {"caveats": ["nofor"]}}},
			"want": {"CAVEAT_NOT_MET"},
		},
		"a national, for nationals only": {"change": {"resource": {"label": {"caveats": ["nofor"]}}}, "want": set()},
		"a caveat nobody knows": {"change": {"resource": {"label": {"caveats": ["eyes_only"]}}}, "want": {"CAVEAT_NOT_MET"}},
		"caveats of the wrong type": {"change": {"resource": {"label": {"caveats": null}}}, "want": {"CAVEAT_NOT_MET"}},
	}
	fixtures.codes(_changed(fixtures.read("C1", 100), tc.change)) == tc.want
}

test_c2[note] if {
	some note, tc in {
		"a password only": {"change": {"subject": {"amr": ["pwd"], "acr": ""}}, "want": {"MFA_REQUIRED"}},
		"two factors": {"change": {"subject": {"amr": ["pwd", "otp"], "acr": ""}}, "want": set()},
		"a robot without a key": {
			"change": {"subject": {"type": "workload", "amr": [], "acr": "", "binding": "none"}},
			"want": {"MFA_REQUIRED"},
		},
		"a device being enrolled": {"change": {"device": {"status": "enrolled"}}, "want": {"DEVICE_NOT_ENROLLED"}},
		"a device without a key": {"change": {"device": {"key_protection": "none"}}, "want": {"DEVICE_NOT_ENROLLED"}},
		"a key of the wrong type": {"change": {"device": {"key_protection": null}}, "want": {"DEVICE_NOT_ENROLLED"}},
		"a stolen token on a colleague's laptop": {
			"change": {"device": {"assigned": false}, "subject": {"binding": "none"}},
			"want": {"DEVICE_NOT_ASSIGNED"},
		},
		"an owner nobody knows": {"change": {"device": {"ownership": "unknown"}}, "want": {"BYOD_CEILING"}},
		"an unencrypted disk": {
			"change": {"device": {"facts": {"disk.encrypted": fixtures.observed(false, "signed_agent")}}},
			"want": {"DISK_NOT_ENCRYPTED"},
		},
		"a disk nobody looked at": {
			"change": {"device": {"facts": {"disk.encrypted": fixtures.unknown}}},
			"want": {"REPORT_INCOMPLETE"},
		},
		"a disk that only the user vouches for": {
			"change": {"device": {"facts": {"disk.encrypted": fixtures.observed(true, "self_report")}}},
			"want": {"DISK_NOT_ENCRYPTED"},
		},
		"an overdue vulnerability": {
			"change": {"device": {"facts": {"vuln.kev_overdue": fixtures.observed(["CVE-2023-4863"], "signed_agent")}}},
			"want": {"KEV_OVERDUE"},
		},
		"a report at its limit": {"change": {"device": {"report_age": 86400}}, "want": set()},
		"a report of yesterday": {"change": {"device": {"report_age": 86401}}, "want": {"REPORT_STALE"}},
		"no report": {"change": {"device": {"report_age": null}}, "want": {"REPORT_STALE"}},
		"too little trust": {"change": {"trust": {"score": 59}}, "want": {"TRUST_LOW"}},
		"a caveat that nobody may copy": {"change": {"resource": {"label": {"caveats": ["no_copy"]}}}, "want": set()},
		"an integrity nobody defined": {"change": {"resource": {"label": {"integrity": 3}}}, "want": {"LABEL_UNKNOWN"}},
		"a rank that is not the label's": {
			"change": {"resource": {"label": {"rank": 150}}},
			"want": {"LABEL_UNKNOWN"},
		},
	}
	fixtures.codes(_changed(_c2, tc.change)) == tc.want
}

test_c2_changes[note] if {
	some note, tc in {
		"from one's own device": {"change": _own_device, "want": {"BYOD_READ_ONLY"}},
		"from a shared device": {"change": {"device": {"ownership": "shared"}}, "want": set()},
		"important data after two factors": {
			"change": {"subject": {"amr": ["pwd", "otp"], "acr": ""}, "resource": {"label": {"integrity": 2}}},
			"want": {"PHISHING_RESISTANT_REQUIRED"},
		},
		"important data by a robot with a key": {
			"change": {
				"subject": {"type": "workload", "amr": [], "acr": ""},
				"resource": {"label": {"integrity": 2}},
			},
			"want": set(),
		},
	}
	fixtures.codes(_changed(fixtures.write("C2", 200), tc.change)) == tc.want
}

test_c3[note] if {
	some note, tc in {
		"from the open network": {"change": {"request": {"channel": "open"}}, "want": {"CHANNEL_CLOSED_REQUIRED"}},
		"over LGWAN": {"change": {"request": {"channel": "lgwan"}}, "want": {"CHANNEL_CLOSED_REQUIRED"}},
		"a channel of the wrong type": {"change": {"request": {"channel": null}}, "want": {"CHANNEL_CLOSED_REQUIRED"}},
		"two factors": {
			"change": {"subject": {"amr": ["pwd", "otp"], "acr": ""}},
			"want": {"PHISHING_RESISTANT_REQUIRED"},
		},
		"a sign-in of two hours ago": {"change": {"subject": {"auth_age": 7200}}, "want": {"REAUTH_REQUIRED"}},
		"a sign-in of unknown age": {"change": {"subject": {"auth_age": null}}, "want": {"REAUTH_REQUIRED"}},
		"a key in a file": {
			"change": {"device": {"facts": {"device.key_protection": fixtures.observed("file", "signed_agent")}}},
			"want": {"HARDWARE_KEY_REQUIRED"},
		},
		"a key nobody looked at": {
			"change": {"device": {"facts": {"device.key_protection": fixtures.unknown}}},
			"want": {"REPORT_INCOMPLETE"},
		},
		"a key in hardware, says the agent": {
			"change": {"device": {"facts": {"device.key_protection": fixtures.observed("hw", "signed_agent")}}},
			"want": set(),
		},
		"facts from the agent only": {
			"change": _from_agent_only,
			"want": {"ENCRYPTION_UNATTESTED", "SECURE_BOOT_UNPROVEN"},
		},
		"secure boot off": {
			"change": {"device": {"facts": {"boot.secure_boot": fixtures.observed(false, "attested")}}},
			"want": {"SECURE_BOOT_UNPROVEN"},
		},
		"an open vulnerability": {
			"change": {"device": {"facts": {"vuln.kev_open": fixtures.observed(["CVE-2023-4863"], "signed_agent")}}},
			"want": {"KEV_OPEN"},
		},
		"an administrator": {
			"change": {"device": {"facts": {"user.is_admin": fixtures.observed(true, "signed_agent")}}},
			"want": {"ADMIN_SESSION"},
		},
		"one's own device": {"change": {"device": {"ownership": "byod"}}, "want": {"BYOD_CEILING"}},
		"a report of two hours ago": {"change": {"device": {"report_age": 3601}}, "want": {"REPORT_STALE"}},
		"too little trust": {"change": {"trust": {"score": 84}}, "want": {"TRUST_LOW"}},
	}
	fixtures.codes(_changed(_secret, tc.change)) == tc.want
}

test_c3_ts[note] if {
	some note, tc in {
		"a boot that only the agent vouches for": {
			"change": {"device": {"facts": {"boot.measured": fixtures.observed(true, "signed_agent")}}},
			"want": {"BOOT_UNATTESTED"},
		},
		"a boot that device management vouches for": {
			"change": {"device": {"facts": {"boot.measured": fixtures.observed(true, "mdm_server")}}},
			"want": {"REPORT_INCOMPLETE"},
		},
		"not on the list": {"change": {"subject": {"groups": ["staff"]}}, "want": {"NAMED_LIST_REQUIRED"}},
		"papers without a list": {
			"change": {"resource": {"attributes": {"named_list": null}}},
			"want": {"NAMED_LIST_REQUIRED"},
		},
		"another room": {"change": {"device": {"id": "laptop-1"}}, "want": {"ROOM_NOT_APPROVED"}},
		"a report of half an hour ago": {"change": {"device": {"report_age": 1800}}, "want": {"REPORT_STALE"}},
	}
	fixtures.codes(_changed(_top_secret, tc.change)) == tc.want
}

test_export_of_top_secret_papers_takes_two_people if {
	result := _changed(_top_secret, {"resource": {"attributes": {"export": true}}})
	"dual_control" in fixtures.duties(result)
}

test_what_must_not_be_here_is_never_opened if {
	result := _changed(fixtures.read("CX", 900), {"request": {"channel": "closed"}, "trust": {"score": 100}})
	result.allow == false
	fixtures.codes(result) == {"LABEL_FORBIDDEN", "TRUST_LOW"}
	fixtures.duties(result) == {"notify_owner"}
}

test_threat_levels[note] if {
	some note, tc in {
		"L0, report of 13 hours": {"level": 0, "input": _c2, "change": {"device": {"report_age": 46800}}, "want": set()},
		"L1, report of 13 hours": {
			"level": 1,
			"input": _c2,
			"change": {"device": {"report_age": 46800}},
			"want": {"REPORT_STALE"},
		},
		"L1, secret, report of 40 minutes": {
			"level": 1,
			"input": _secret,
			"change": {"device": {"report_age": 2400}},
			"want": {"REPORT_STALE"},
		},
		"L1, one's own device reads C2": {"level": 1, "input": _c2, "change": _own_device, "want": set()},
		"L2, one's own device reads C2": {"level": 2, "input": _c2, "change": _own_device, "want": {"BYOD_CEILING"}},
		"L2, one's own device reads C1": {
			"level": 2,
			"input": fixtures.read("C1", 100),
			"change": _own_device,
			"want": set(),
		},
		"L1, change of C2 after two factors": {
			"level": 1,
			"input": fixtures.write("C2", 200),
			"change": {"subject": {"amr": ["pwd", "otp"], "acr": ""}},
			"want": set(),
		},
		"L2, change of C2 after two factors": {
			"level": 2,
			"input": fixtures.write("C2", 200),
			"change": {"subject": {"amr": ["pwd", "otp"], "acr": ""}},
			"want": {"PHISHING_RESISTANT_REQUIRED"},
		},
		"L2, C2 read after two factors": {
			"level": 2,
			"input": _c2,
			"change": {"subject": {"amr": ["pwd", "otp"], "acr": ""}},
			"want": set(),
		},
		"L2, score 69": {"level": 2, "input": _c2, "change": {"trust": {"score": 69}}, "want": {"TRUST_LOW"}},
		"L3, score 75": {"level": 3, "input": _c2, "change": {"trust": {"score": 75}}, "want": set()},
		"L4, C2": {"level": 4, "input": _c2, "change": {}, "want": {"CONTINUITY_ROLE_REQUIRED"}},
		"L4, C2 by the continuity team": {
			"level": 4,
			"input": _c2,
			"change": {"subject": {"roles": ["continuity"]}},
			"want": set(),
		},
		"L4, C1": {"level": 4, "input": fixtures.read("C1", 100), "change": {}, "want": set()},
		"a level that does not exist": {"level": 5, "input": _c2, "change": {}, "want": {"SITUATION_UNKNOWN", "REPORT_STALE", "TRUST_LOW"}},
		"a level of null": {"level": null, "input": _c2, "change": {}, "want": {"SITUATION_UNKNOWN", "REPORT_STALE", "TRUST_LOW"}},
	}
	changed := object.union(object.union(tc.input, tc.change), {"situation": {"threat_level": tc.level}})
	fixtures.codes(_decide(changed)) == tc.want
}

test_downloads_stop_at_level_three_outside_the_closed_network[note] if {
	some note, tc in {
		"L2, open": {"level": 2, "channel": "open", "want": {"no_store"}},
		"L3, open": {"level": 3, "channel": "open", "want": {"no_store", "no_download"}},
		"L3, closed": {"level": 3, "channel": "closed", "want": {"no_store"}},
	}
	change := {"situation": {"threat_level": tc.level}, "request": {"channel": tc.channel}}
	fixtures.duties(_changed(_c2, change)) == tc.want
}

test_caveats_become_obligations[note] if {
	some note, tc in {
		"no copy": {"caveats": ["no_copy"], "want": {"no_store", "no_download"}},
		"no forward": {"caveats": ["no_forward"], "want": {"no_store", "no_download", "watermark"}},
		"encrypted": {"caveats": ["encrypt_required"], "want": {"no_store", "protect_on_download"}},
	}
	fixtures.duties(_changed(_c2, {"resource": {"label": {"caveats": tc.caveats}}})) == tc.want
}

test_grants[note] if {
	some note, tc in {
		"an exception for a late report": {
			"input": _c2,
			"change": {"device": {"report_age": 90000}, "grants": [fixtures.grant("exception", ["REPORT_STALE"])]},
			"want": set(),
			"told": true,
		},
		"an exception that was not needed": {
			"input": _c2,
			"change": {"grants": [fixtures.grant("exception", ["REPORT_STALE"])]},
			"want": set(),
			"told": false,
		},
		"an exception for something else": {
			"input": _c2,
			"change": {"device": {"report_age": 90000}, "grants": [fixtures.grant("exception", ["KEV_OVERDUE"])]},
			"want": {"REPORT_STALE"},
			"told": false,
		},
		"an exception that nobody may give": {
			"input": _c2,
			"change": {"device": {"status": "lost"}, "grants": [fixtures.grant("break_glass", ["DEVICE_LOST"])]},
			"want": {"DEVICE_LOST", "DEVICE_NOT_ENROLLED"},
			"told": false,
		},
		"an exception for a change": {
			"input": fixtures.write("C2", 200),
			"change": {"device": {"report_age": 90000}, "grants": [fixtures.grant("exception", ["REPORT_STALE"])]},
			"want": set(),
			"told": true,
		},
		"breaking the glass without trust": {
			"input": _c2,
			"change": {"trust": {"score": 15}, "grants": [fixtures.grant("break_glass", ["TRUST_LOW"])]},
			"want": set(),
			"told": true,
		},
		"breaking the glass with no trust at all": {
			"input": _c2,
			"change": {"trust": {"score": 5}, "grants": [fixtures.grant("break_glass", ["TRUST_LOW"])]},
			"want": {"TRUST_LOW"},
			"told": true,
		},
		"a loaner in a disaster": {
			"input": object.union(_c2, fixtures.no_device),
			"change": {
				"trust": {"score": 15},
				"grants": [fixtures.grant("continuity", _loaner)],
				"situation": {"continuity": true},
			},
			"want": set(),
			"told": true,
		},
		"a loaner in a disaster, changing": {
			"input": object.union(fixtures.write("C2", 200), fixtures.no_device),
			"change": {
				"trust": {"score": 15},
				"grants": [fixtures.grant("continuity", _loaner)],
				"situation": {"continuity": true},
			},
			"want": {
				"DEVICE_NOT_ENROLLED",
				"BYOD_CEILING",
				"BYOD_READ_ONLY",
				"REPORT_INCOMPLETE",
				"REPORT_STALE",
				"TRUST_LOW",
			},
			"told": false,
		},
		"a loaner with an unencrypted disk": {
			"input": object.union(object.union(_c2, fixtures.no_device), {"device": {"facts": {
				"disk.encrypted": fixtures.observed(false, "signed_agent"),
			}}}),
			"change": {
				"trust": {"score": 15},
				"grants": [fixtures.grant("continuity", _loaner)],
				"situation": {"continuity": true},
			},
			"want": {"DISK_NOT_ENCRYPTED"},
			"told": true,
		},
	}
	result := _changed(tc.input, tc.change)
	fixtures.codes(result) == tc.want
	_told(result) == tc.told
}

test_no_grant_reaches_a_secret if {
	grant := object.union(fixtures.grant("break_glass", ["REPORT_STALE", "TRUST_LOW"]), {"ceiling": 400})
	result := _changed(_secret, {"device": {"report_age": 90000}, "grants": [grant]})
	fixtures.codes(result) == {"REPORT_STALE"}
	result.threshold == 85
}

test_step_up_says_what_to_ask_for if {
	asked := _changed(_secret, {"subject": {"amr": ["pwd"], "acr": "", "auth_age": 7200}})
	asked.unmet == [
		{"code": "MFA_REQUIRED", "acr": "mfa"},
		{"code": "PHISHING_RESISTANT_REQUIRED", "acr": "phr"},
		{"code": "REAUTH_REQUIRED", "max_age": 3600},
	]
}

# Silence is strict: whatever is taken away from a healthy request, it is no longer allowed.
test_withholding_closes[note] if {
	some note, path in {
		"the request's channel, for a secret": ["request", "channel"],
		"the subject": ["subject"],
		"the subject's type": ["subject", "type"],
		"the device": ["device"],
		"the device's status": ["device", "status"],
		"the report's age": ["device", "report_age"],
		"the facts": ["device", "facts"],
		"the resource": ["resource"],
		"the label": ["resource", "label"],
		"the code": ["resource", "label", "code"],
		"the rank": ["resource", "label", "rank"],
		"the integrity": ["resource", "label", "integrity"],
		"the caveats": ["resource", "label", "caveats"],
		"the compartments": ["resource", "label", "compartments"],
		"the audience": ["resource", "label", "audience"],
		"the recipients": ["resource", "label", "rel_to"],
		"the purposes": ["resource", "label", "purpose"],
		"the ceiling": ["resource", "service_ceiling"],
		"the trust": ["trust"],
		"the situation": ["situation"],
		"the delegate": ["subject", "delegate"],
		"the end date": ["subject", "valid_until"],
	}
	result := _decide(json.remove(_secret, [path]))
	result.allow == false
	count(result.unmet) > 0
}

test_an_empty_input_is_denied if {
	result := _decide({})
	result.allow == false
	fixtures.codes(result) == {"LABEL_UNKNOWN", "SITUATION_UNKNOWN", "TRUST_LOW", "PHISHING_RESISTANT_REQUIRED"}
	result.threshold == 1000
}

test_every_code_of_the_table_can_be_met if {
	demanded := {code |
		some label, row in _labels
		label != "CX"
		some code in (_everything(label) | {code | some code in row.writes})
	}
	proven := (data.zt.lib.checks.passed | baseline._passed) | data.zt.layer.baseline.secret.passed with input as _top_secret
		with data.zt.assurance as fixtures.assurance
	demanded - proven == set()
}

_loaner := [
	"DEVICE_NOT_ENROLLED",
	"DEVICE_NOT_ASSIGNED",
	"BYOD_CEILING",
	"REPORT_INCOMPLETE",
	"REPORT_STALE",
	"TRUST_LOW",
]

_everything(label) := {code | some code in _labels[label].reads}

_number(true) := 1

_number(false) := 0

_told(result) := "notify_owner" in fixtures.duties(result)
