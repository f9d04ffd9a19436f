package zt.layer.service.genai_test

import data.zt.layer.service.genai
import data.zt.lib.fixtures_test as fixtures

_decide(input_) := result if {
	result := genai.result with input as input_
}

test_prompts[note] if {
	some note, tc in {
		"plain data": {"label": {}, "want": set()},
		"a caveat": {"label": {"caveats": ["no_forward"]}, "want": {"EXTERNAL_MODEL_FORBIDDEN"}},
		"a case file": {"label": {"compartments": ["case:123"]}, "want": {"EXTERNAL_MODEL_FORBIDDEN"}},
		"for one country": {"label": {"rel_to": ["JPN"]}, "want": {"EXTERNAL_MODEL_FORBIDDEN"}},
		"for one office": {"label": {"audience": ["org:mofa"]}, "want": {"EXTERNAL_MODEL_FORBIDDEN"}},
		"a label of the wrong type": {"label": {"caveats": null}, "want": {"EXTERNAL_MODEL_FORBIDDEN"}},
	}
	input_ := object.union(fixtures.write("C1", 100), {"resource": {"label": tc.label}})
	fixtures.codes(_decide(input_)) == tc.want
}

test_an_empty_input_is_denied if _decide({}).allow == false
