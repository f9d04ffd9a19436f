package zt.layer.service.source_code_test

import data.zt.layer.service.source_code
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := source_code.result with input as input_
}

_push := object.union(fixtures.write("Confidential", 200), {
	"subject": {"roles": ["engineer"]},
	"resource": {"service": "source_code", "attributes": {"release": false}},
})

_release := {"resource": {"attributes": {"release": true, "action": "code.release", "object": "/releases/7"}}}

_approved(approvers) := {"grants": [fixtures.approval("code.release", "/releases/7", approvers)]}

test_source_code[note] if {
	some note, tc in {
		"a push": {"change": {}, "want": set()},
		"a push by sales": {"change": {"subject": {"roles": ["sales"]}}, "want": {"ROLE_REQUIRED"}},
		"roles of the wrong type": {"change": {"subject": {"roles": null}}, "want": {"ROLE_REQUIRED"}},
		"a release alone": {"change": _release, "want": {"DUAL_CONTROL_REQUIRED"}},
		"a release with two approvals": {
			"change": object.union(_release, _approved(["sato", "suzuki"])),
			"want": set(),
		},
		"a release approved by oneself": {
			"change": object.union(_release, _approved(["tanaka", "suzuki"])),
			"want": {"DUAL_CONTROL_REQUIRED"},
		},
		"a route that says nothing": {
			"change": {"resource": {"attributes": {"release": null}}},
			"want": {"DUAL_CONTROL_REQUIRED"},
		},
	}
	fixtures.codes(_decide(object.union(_push, tc.change))) == tc.want
}

test_an_empty_input_is_denied if {
	fixtures.codes(_decide({})) == {"ROLE_REQUIRED", "DUAL_CONTROL_REQUIRED"}
}
