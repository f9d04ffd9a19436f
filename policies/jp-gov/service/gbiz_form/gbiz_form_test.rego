package zt.layer.service.gbiz_form_test

import data.zt.layer.service.gbiz_form
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := gbiz_form.result with input as input_
}

# role of the account, level of the route, whether it suffices
test_account_levels[note] if {
	some tc in [
		["gbiz.entry", "gbiz.entry", true],
		["gbiz.entry", "gbiz.member", false],
		["gbiz.entry", "gbiz.prime", false],
		["gbiz.member", "gbiz.member", true],
		["gbiz.member", "gbiz.prime", false],
		["gbiz.prime", "gbiz.prime", true],
		["gbiz.staff", "gbiz.prime", true],
		["gbiz.gold", "gbiz.entry", false],
		["gbiz.prime", "gbiz.gold", false],
		["gbiz.prime", null, false],
	]
	note := concat(" on ", [tc[0], json.marshal(tc[1])])
	result := _decide({"subject": {"roles": [tc[0]]}, "resource": {"attributes": {"account": tc[1]}}})
	result.allow == tc[2]
	fixtures.codes(result) == {code | some code in ["ACCOUNT_LEVEL_REQUIRED"]; tc[2] == false}
}

test_an_empty_input_is_denied if _decide({}).allow == false
