package zt.layer.organisation_test

import data.zt.layer.organisation
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := organisation.result with input as input_
}

_changed(input_, change) := _decide(object.union(object.union(input_, {"subject": {"employment": "employee"}}), change))

_internal := fixtures.read("Internal", 100)

_confidential := fixtures.read("Confidential", 200)

_restricted := fixtures.read("Restricted", 300)

_open := {"resource": {"attributes": {"open_to": ["customer", "partner"]}}}

test_the_result_has_the_one_legal_shape if {
	_changed(_confidential, {}) == {"allow": true, "unmet": [], "obligations": [], "threshold": 0}
}

test_people[note] if {
	some note, tc in {
		"an employee": {"input": _restricted, "change": {}, "want": set()},
		"a contractor": {
			"input": _confidential,
			"change": {"subject": {"employment": "contractor", "valid_until": 1800000000}},
			"want": set(),
		},
		"a contractor without an end": {
			"input": _confidential,
			"change": {"subject": {"employment": "contractor"}},
			"want": {"EMPLOYMENT_TERM_MISSING"},
		},
		"a contractor, Restricted": {
			"input": _restricted,
			"change": {"subject": {"employment": "contractor", "valid_until": 1800000000}},
			"want": {"EMPLOYMENT_NOT_ADMITTED"},
		},
		"a customer in the portal": {
			"input": _internal,
			"change": object.union(_open, {"subject": {"employment": "customer"}}),
			"want": set(),
		},
		"a customer elsewhere": {
			"input": _internal,
			"change": {"subject": {"employment": "customer"}},
			"want": {"EMPLOYMENT_NOT_ADMITTED"},
		},
		"a customer, Confidential": {
			"input": _confidential,
			"change": object.union(_open, {"subject": {"employment": "customer"}}),
			"want": {"EMPLOYMENT_NOT_ADMITTED"},
		},
		"nobody knows who": {
			"input": _internal,
			"change": {"subject": {"employment": ""}},
			"want": {"EMPLOYMENT_NOT_ADMITTED", "EMPLOYMENT_TERM_MISSING"},
		},
		"of the wrong type": {
			"input": _internal,
			"change": {"subject": {"employment": null}},
			"want": {"EMPLOYMENT_NOT_ADMITTED", "EMPLOYMENT_TERM_MISSING"},
		},
		"anybody, Public": {"input": fixtures.read("Public", 0), "change": fixtures.anonymous, "want": set()},
		"anybody changing Public": {
			"input": fixtures.write("Public", 0),
			"change": fixtures.anonymous,
			"want": {"EMPLOYMENT_NOT_ADMITTED", "EMPLOYMENT_TERM_MISSING"},
		},
	}
	fixtures.codes(_changed(tc.input, tc.change)) == tc.want
}

test_contractors_see_a_watermark_on_what_is_confidential[note] if {
	some note, tc in {
		"Internal": {"input": _internal, "want": set()},
		"Confidential": {"input": _confidential, "want": {"watermark"}},
	}
	fixtures.duties(_changed(tc.input, {"subject": {"employment": "contractor", "valid_until": 1800000000}})) == tc.want
}

test_assistants[note] if {
	some note, tc in {
		"where it is registered": {"id": "sales-copilot", "service": "crm", "want": set()},
		"elsewhere": {"id": "helpdesk-bot", "service": "crm", "want": {"DELEGATE_NOT_REGISTERED"}},
		"unknown": {"id": "spybot", "service": "crm", "want": {"DELEGATE_NOT_REGISTERED"}},
	}
	delegate := {"type": "workload", "id": tc.id, "clearance": 300, "compartments": []}
	change := {"subject": {"delegate": delegate}, "resource": {"service": tc.service}}
	fixtures.codes(_changed(_internal, change)) == tc.want
}

test_programs[note] if {
	some note, tc in {
		"on its host": {"change": {}, "want": set()},
		"on another host": {"change": {"device": {"id": "laptop-1"}}, "want": {"PROGRAM_NOT_REGISTERED"}},
		"in another service": {"change": {"resource": {"service": "payroll"}}, "want": {"PROGRAM_NOT_REGISTERED"}},
		"unknown": {"change": {"subject": {"id": "worm"}}, "want": {"PROGRAM_NOT_REGISTERED"}},
	}
	ci := object.union(_internal, {"device": {"id": "build-1"}, "resource": {"service": "source_code"}})
	program := {"subject": {"type": "workload", "id": "ci", "employment": ""}}
	fixtures.codes(_changed(object.union(ci, program), object.union(program, tc.change))) == tc.want
}

test_an_empty_input_is_denied if {
	result := _decide({})
	result.allow == false
	count(result.unmet) > 0
}
