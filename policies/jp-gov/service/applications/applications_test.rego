package zt.layer.service.applications_test

import data.zt.layer.service.applications
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := applications.result with input as input_
}

_form := object.union(fixtures.write("C1", 100), {
	"subject": {"employment": "applicant", "amr": ["sc"], "acr": "", "auth_age": 3600},
	"resource": {"service": "applications", "attributes": {"card_sign_in": true, "payment": false}},
})

test_applications[note] if {
	some note, tc in {
		"signed in with a card": {"change": {}, "want": set()},
		"signed in with a card, by acr": {"change": {"subject": {"amr": [], "acr": "sc"}}, "want": set()},
		"signed in with a password": {"change": {"subject": {"amr": ["pwd"]}}, "want": {"CARD_SIGN_IN_REQUIRED"}},
		"a guide that anybody may read": {
			"change": {"subject": {"amr": []}, "resource": {"attributes": {"card_sign_in": false}}},
			"want": set(),
		},
		"a payment an hour after the sign-in": {
			"change": {"resource": {"attributes": {"payment": true}}},
			"want": {"PAYMENT_REAUTH_REQUIRED"},
		},
		"a payment after a fresh sign-in": {
			"change": {"subject": {"auth_age": 300}, "resource": {"attributes": {"payment": true}}},
			"want": set(),
		},
		"a sign-in of unknown age": {
			"change": {"subject": {"auth_age": null}, "resource": {"attributes": {"payment": true}}},
			"want": {"PAYMENT_REAUTH_REQUIRED"},
		},
		"a route that says nothing": {
			"change": {"subject": {"amr": []}, "resource": {"attributes": {"card_sign_in": null, "payment": null}}},
			"want": {"CARD_SIGN_IN_REQUIRED", "PAYMENT_REAUTH_REQUIRED"},
		},
	}
	fixtures.codes(_decide(object.union(_form, tc.change))) == tc.want
}

test_step_up_says_what_to_ask_for if {
	_decide({}).unmet == [
		{"code": "CARD_SIGN_IN_REQUIRED", "acr": "sc"},
		{"code": "PAYMENT_REAUTH_REQUIRED", "max_age": 300},
	]
}
