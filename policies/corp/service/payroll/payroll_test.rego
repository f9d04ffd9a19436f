package zt.layer.service.payroll_test

import data.zt.layer.service.payroll
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := payroll.result with input as input_
}

_change := object.union(fixtures.write("C2", 200), {
	"subject": {"roles": ["payroll.clerk"]},
	"resource": {"service": "payroll", "attributes": {"action": "payroll.change", "object": "/employees/17/salary"}},
})

_approved(approvers) := {"grants": [fixtures.approval("payroll.change", "/employees/17/salary", approvers)]}

_program := {"subject": {"type": "workload", "id": "payroll-run", "roles": ["payroll.system"]}}

test_payroll[note] if {
	some note, tc in {
		"read by the office": {"change": {"request": {"write": false}}, "want": set()},
		"read by others": {"change": {"request": {"write": false}, "subject": {"roles": []}}, "want": {"ROLE_REQUIRED"}},
		"roles of the wrong type": {
			"change": {"request": {"write": false}, "subject": {"roles": null}},
			"want": {"ROLE_REQUIRED"},
		},
		"changed alone": {"change": {}, "want": {"DUAL_CONTROL_REQUIRED"}},
		"changed with one approval": {"change": _approved(["sato"]), "want": {"DUAL_CONTROL_REQUIRED"}},
		"changed with two approvals": {"change": _approved(["sato", "suzuki"]), "want": set()},
		"approved by oneself": {"change": _approved(["tanaka", "sato"]), "want": {"DUAL_CONTROL_REQUIRED"}},
		"a program alone": {"change": _program, "want": {"DUAL_CONTROL_REQUIRED"}},
		"a program with two approvals": {
			"change": object.union(_program, _approved(["sato", "suzuki"])),
			"want": set(),
		},
		"a route without an action": {
			"change": object.union(_approved(["sato", "suzuki"]), {"resource": {"attributes": {"action": ""}}}),
			"want": {"DUAL_CONTROL_REQUIRED"},
		},
		"a change that does not say so": {"change": {"request": {"write": null}}, "want": {"DUAL_CONTROL_REQUIRED"}},
	}
	fixtures.codes(_decide(object.union(_change, tc.change))) == tc.want
}

test_a_delegate_cannot_approve if {
	bot := {"subject": {"delegate": {"type": "workload", "id": "bot", "clearance": 200, "compartments": []}}}
	result := _decide(object.union(object.union(_change, bot), _approved(["bot", "sato"])))
	fixtures.codes(result) == {"DUAL_CONTROL_REQUIRED"}
}

test_an_empty_input_is_denied if {
	fixtures.codes(_decide({})) == {"ROLE_REQUIRED", "DUAL_CONTROL_REQUIRED"}
}
