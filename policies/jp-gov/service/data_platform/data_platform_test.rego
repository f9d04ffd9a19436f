package zt.layer.service.data_platform_test

import data.zt.layer.service.data_platform
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := data_platform.result with input as input_
}

_view := fixtures.read("C1", 100)

_bulk := {"resource": {"attributes": {"bulk": true}}}

test_bulk_export_takes_a_role[note] if {
	some note, tc in {
		"a view": {"change": {}, "want": set()},
		"an export": {"change": _bulk, "want": {"ROLE_REQUIRED"}},
		"an export by an analyst": {"change": object.union(_bulk, {"subject": {"roles": ["data.analyst"]}}), "want": set()},
		"a route that says nothing": {"change": {"resource": {"attributes": {"bulk": null}}}, "want": {"ROLE_REQUIRED"}},
		"roles of the wrong type": {"change": object.union(_bulk, {"subject": {"roles": "data.analyst"}}), "want": {"ROLE_REQUIRED"}},
	}
	fixtures.codes(_decide(object.union(_view, tc.change))) == tc.want
}

test_how_much_may_leave[note] if {
	some note, tc in {
		"a managed device": {"change": {}, "want": {{"id": "max_rows", "value": 10000}}},
		"one's own device": {
			"change": {"device": {"ownership": "byod"}},
			"want": {{"id": "max_rows", "value": 200}, {"id": "no_download"}},
		},
		"no device": {
			"change": fixtures.no_device,
			"want": {{"id": "max_rows", "value": 200}, {"id": "no_download"}},
		},
	}
	{duty | some duty in _decide(object.union(_view, tc.change)).obligations} == tc.want
}

test_an_empty_input_is_denied if _decide({}).allow == false
