package zt.layer.service.iims_test

import data.zt.layer.service.iims
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := iims.result with input as input_
}

_document(state, role, change) := object.union(fixtures.read("C2", 200), {
	"request": {"write": change},
	"subject": {"roles": [role]},
	"resource": {"service": "iims", "state": state, "attributes": {"action": "iims.act", "object": "/documents/7"}},
})

# state, role, whether the document is changed, what is unmet
test_state_role_verb[note] if {
	some tc in [
		["draft", "iims.author", false, set()],
		["draft", "iims.section", false, set()],
		["draft", "iims.approver", false, {"STATE_ROLE_REQUIRED"}],
		["draft", "iims.author", true, set()],
		["draft", "iims.section", true, {"STATE_ROLE_REQUIRED"}],
		["approving", "iims.approver", false, set()],
		["approving", "iims.author", false, set()],
		["approving", "iims.section", false, {"STATE_ROLE_REQUIRED"}],
		["approving", "iims.approver", true, set()],
		["approving", "iims.author", true, {"STATE_ROLE_REQUIRED"}],
		["registered", "iims.staff", false, set()],
		["registered", "iims.author", true, {"STATE_ROLE_REQUIRED", "RECORD_READ_ONLY"}],
		["registered", "iims.registrar", true, {"RECORD_READ_ONLY"}],
		["disposal", "iims.registrar", false, set()],
		["disposal", "iims.author", false, {"STATE_ROLE_REQUIRED"}],
		["disposal", "iims.registrar", true, {"DUAL_CONTROL_REQUIRED"}],
		["transfer", "iims.archivist", false, set()],
		["transfer", "iims.archivist", true, {"STATE_ROLE_REQUIRED", "RELEASE_REQUIRED"}],
		["transfer", "iims.registrar", true, {"RELEASE_REQUIRED"}],
		["shredded", "iims.registrar", false, {"STATE_ROLE_REQUIRED"}],
		[
			"shredded", "iims.registrar", true,
			{"STATE_ROLE_REQUIRED", "RECORD_READ_ONLY", "DUAL_CONTROL_REQUIRED", "RELEASE_REQUIRED"},
		],
		[null, "iims.registrar", false, {"STATE_ROLE_REQUIRED"}],
		["draft", "", false, {"STATE_ROLE_REQUIRED"}],
	]
	note := concat(" ", [json.marshal(tc[0]), tc[1], {true: "changes", false: "reads"}[tc[2]]])
	fixtures.codes(_decide(_document(tc[0], tc[1], tc[2]))) == tc[3]
}

test_two_other_people_dispose_of_a_record[note] if {
	some note, tc in {
		"two others": {"approvers": ["sato", "suzuki"], "delegate": null, "want": set()},
		"the registrar and one other": {"approvers": ["tanaka", "suzuki"], "delegate": null, "want": {"DUAL_CONTROL_REQUIRED"}},
		"the bot that acts and one other": {
			"approvers": ["chatbot", "suzuki"],
			"delegate": {"type": "workload", "id": "chatbot", "clearance": 200, "compartments": []},
			"want": {"DUAL_CONTROL_REQUIRED"},
		},
	}
	input_ := object.union(_document("disposal", "iims.registrar", true), {
		"subject": {"delegate": tc.delegate},
		"grants": [fixtures.approval("iims.act", "/documents/7", tc.approvers)],
	})
	fixtures.codes(_decide(input_)) == tc.want
}

test_a_released_record_may_be_transferred if {
	released := {"resource": {"label": {"code": "C1", "rank": 100}}}
	_decide(object.union(_document("transfer", "iims.registrar", true), released)).allow
}

test_a_rank_of_the_wrong_type_is_not_released if {
	odd := {"resource": {"label": {"rank": null}}}
	result := _decide(object.union(_document("transfer", "iims.registrar", true), odd))
	fixtures.codes(result) == {"RELEASE_REQUIRED"}
}

test_an_empty_input_is_denied if {
	result := _decide({})
	result.allow == false
	count(result.unmet) == 4
}
