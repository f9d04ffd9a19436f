package zt.layer.ministry_test

import data.zt.layer.ministry
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := ministry.result with input as input_
}

_changed(input_, change) := _decide(object.union(input_, change))

_c1 := fixtures.read("C1", 100)

_c2 := fixtures.read("C2", 200)

# Monday 2026-11-23, 10:00 in Japan.
_monday := 1795395600

_at(time) := {"tick_start": time - 5, "time": time}

_robot := object.union(
	object.union(fixtures.read("C1", 100), _at(_monday)),
	{
		"subject": {"type": "workload", "id": "rpa-leave", "employment": "", "amr": [], "acr": ""},
		"device": {"id": "rpa-host-1"},
		"resource": {"service": "attendance"},
	},
)

test_the_result_has_the_one_legal_shape if {
	_decide(_c2) == {"allow": true, "unmet": [], "obligations": [], "threshold": 0}
}

test_employment[note] if {
	some note, tc in {
		"a regular member of staff": {"input": _c2, "change": {}, "want": set()},
		"a regular member of staff, top secret": {"input": fixtures.read("C3-TS", 400), "change": {}, "want": set()},
		"on a fixed term": {
			"input": _c2,
			"change": {"subject": {"employment": "fixed_term", "valid_until": 1800000000}},
			"want": set(),
		},
		"on a fixed term without an end": {
			"input": _c2,
			"change": {"subject": {"employment": "fixed_term"}},
			"want": {"EMPLOYMENT_TERM_MISSING"},
		},
		"on a fixed term, secret": {
			"input": fixtures.read("C3-S", 300),
			"change": {"subject": {"employment": "fixed_term", "valid_until": 1800000000}},
			"want": {"EMPLOYMENT_NOT_ADMITTED"},
		},
		"seconded": {
			"input": fixtures.read("C3-S", 300),
			"change": {"subject": {"employment": "seconded", "valid_until": 1800000000}},
			"want": set(),
		},
		"no employment on record": {
			"input": _c1,
			"change": {"subject": {"employment": ""}},
			"want": {"EMPLOYMENT_NOT_ADMITTED", "EMPLOYMENT_TERM_MISSING"},
		},
		"an employment of the wrong type": {
			"input": _c1,
			"change": {"subject": {"employment": null}},
			"want": {"EMPLOYMENT_NOT_ADMITTED", "EMPLOYMENT_TERM_MISSING"},
		},
		"an end date of the wrong type": {
			"input": _c1,
			"change": {"subject": {"employment": "external", "valid_until": false}},
			"want": {"EMPLOYMENT_TERM_MISSING"},
		},
		"an applicant in a service for staff": {
			"input": _c1,
			"change": {"subject": {"employment": "applicant"}},
			"want": {"EMPLOYMENT_NOT_ADMITTED"},
		},
		"an applicant in a service for applicants": {
			"input": _c1,
			"change": {"subject": {"employment": "applicant"}, "resource": {"attributes": {"open_to": ["applicant"]}}},
			"want": set(),
		},
		"an applicant and sensitive data": {
			"input": _c2,
			"change": {"subject": {"employment": "applicant"}, "resource": {"attributes": {"open_to": ["applicant"]}}},
			"want": {"EMPLOYMENT_NOT_ADMITTED"},
		},
		"anybody, published data": {"input": fixtures.read("C0", 0), "change": fixtures.anonymous, "want": set()},
		"anybody changing published data": {
			"input": fixtures.write("C0", 0),
			"change": fixtures.anonymous,
			"want": {"EMPLOYMENT_NOT_ADMITTED", "EMPLOYMENT_TERM_MISSING"},
		},
	}
	fixtures.codes(_changed(tc.input, tc.change)) == tc.want
}

test_external_experts_see_a_watermark_on_sensitive_data[note] if {
	some note, tc in {
		"C1": {"input": _c1, "want": set()},
		"C2": {"input": _c2, "want": {"watermark"}},
	}
	expert := {"subject": {"employment": "external", "valid_until": 1800000000}}
	fixtures.duties(_changed(tc.input, expert)) == tc.want
}

test_hosting[note] if {
	some note, tc in {
		"a listed service": {"input": fixtures.write("C2", 200), "attributes": {}, "want": set()},
		"an unlisted service": {
			"input": fixtures.write("C2", 200),
			"attributes": {"ismap": false},
			"want": {"HOSTING_NOT_LISTED"},
		},
		"an unlisted service, reading": {"input": _c2, "attributes": {"ismap": false}, "want": set()},
		"an unlisted service, C1": {"input": fixtures.write("C1", 100), "attributes": {"ismap": false}, "want": set()},
		"our own machine room": {
			"input": fixtures.write("C2", 200),
			"attributes": {"ismap": false, "on_premises": true},
			"want": set(),
		},
		"a listing of the wrong type": {
			"input": fixtures.write("C2", 200),
			"attributes": {"ismap": "yes"},
			"want": {"HOSTING_NOT_LISTED"},
		},
	}
	fixtures.codes(_changed(tc.input, {"resource": {"attributes": tc.attributes}})) == tc.want
}

test_bots_that_act_for_people[note] if {
	some note, tc in {
		"a registered bot": {"id": "chatbot", "service": "portal", "want": set()},
		"a registered bot elsewhere": {"id": "chatbot", "service": "payroll", "want": {"DELEGATE_NOT_REGISTERED"}},
		"an unknown bot": {"id": "spybot", "service": "portal", "want": {"DELEGATE_NOT_REGISTERED"}},
	}
	delegate := {"type": "workload", "id": tc.id, "clearance": 400, "compartments": []}
	change := {"subject": {"delegate": delegate}, "resource": {"service": tc.service}}
	fixtures.codes(_changed(_c1, change)) == tc.want
}

test_robots[note] if {
	some note, tc in {
		"in its hours": {"change": {}, "want": set()},
		"an unknown robot": {
			"change": {"subject": {"id": "rpa-new"}},
			"want": {"ROBOT_NOT_REGISTERED", "ROBOT_ON_OTHER_HOST", "ROBOT_OUTSIDE_HOURS"},
		},
		"in another service": {"change": {"resource": {"service": "payroll"}}, "want": {"ROBOT_NOT_REGISTERED"}},
		"on another host": {"change": {"device": {"id": "laptop-1"}}, "want": {"ROBOT_ON_OTHER_HOST"}},
		"the tick that opens, begun before": {"change": {"tick_start": 1795384798, "time": 1795384803}, "want": {"ROBOT_OUTSIDE_HOURS"}},
		"the first whole tick": {"change": {"tick_start": 1795384800, "time": 1795384805}, "want": set()},
		"the last whole tick": {"change": {"tick_start": 1795427995, "time": 1795428000}, "want": set()},
		"the tick that closes": {"change": {"tick_start": 1795427996, "time": 1795428001}, "want": {"ROBOT_OUTSIDE_HOURS"}},
		"on a Sunday": {"change": _at(1795309200), "want": {"ROBOT_OUTSIDE_HOURS"}},
		"on a Saturday": {"change": _at(1795827600), "want": {"ROBOT_OUTSIDE_HOURS"}},
		"on a Friday": {"change": _at(1795136400), "want": set()},
		"at a time of the wrong type": {"change": {"time": null}, "want": {"ROBOT_OUTSIDE_HOURS"}},
		"a type nobody knows": {
			"change": {"subject": {"type": "thing"}},
			"want": {
				"EMPLOYMENT_NOT_ADMITTED",
				"EMPLOYMENT_TERM_MISSING",
				"ROBOT_NOT_REGISTERED",
				"ROBOT_ON_OTHER_HOST",
				"ROBOT_OUTSIDE_HOURS",
			},
		},
	}
	fixtures.codes(_changed(_robot, tc.change)) == tc.want
}

test_a_robot_that_never_sleeps if {
	pipeline := object.union(_robot, {
		"subject": {"id": "etl-platform"},
		"device": {"id": "etl-host-1"},
		"resource": {"service": "data_platform"},
	})
	_changed(pipeline, _at(1795309200)).allow
}

test_grants[note] if {
	some note, tc in {
		"longer hours for once": {
			"change": {"grants": [fixtures.grant("exception", ["ROBOT_OUTSIDE_HOURS"])]},
			"want": set(),
		},
		"another host": {
			"change": {
				"device": {"id": "laptop-1"},
				"grants": [fixtures.grant("exception", ["ROBOT_OUTSIDE_HOURS", "ROBOT_ON_OTHER_HOST"])],
			},
			"want": {"ROBOT_ON_OTHER_HOST"},
		},
		"secrets": {
			"change": {
				"resource": {"label": {"code": "C3-S", "rank": 300}},
				"grants": [object.union(fixtures.grant("exception", ["ROBOT_OUTSIDE_HOURS"]), {"ceiling": 300})],
			},
			"want": {"ROBOT_OUTSIDE_HOURS"},
		},
	}
	sunday := object.union(_robot, {"tick_start": 1789871400, "time": 1789871405})
	fixtures.codes(_changed(sunday, tc.change)) == tc.want
}

test_an_empty_input_is_denied if {
	result := _decide({})
	result.allow == false
	count(result.unmet) > 0
}
