# A healthy person on a healthy laptop, reading; tests change one thing at a time.
package zt.lib.fixtures_test

observed(value, method) := {"status": "observed", "value": value, "method": method, "confidence": 1000}

unknown := {"status": "not_collected", "value": null, "method": "signed_agent", "confidence": 0}

assurance := {"pwd": 1, "otp": 2, "mfa": 2, "sc": 3, "hwk": 3, "phr": 3, "phrh": 4}

facts := {
	"device.key_protection": observed("attested_hw", "attested"),
	"disk.encrypted": observed(true, "mdm_server"),
	"os.supported": observed(true, "signed_agent"),
	"vuln.kev_overdue": observed([], "signed_agent"),
	"vuln.kev_open": observed([], "signed_agent"),
	"integrity.rooted": observed(false, "signed_agent"),
	"edr.running": observed(true, "signed_agent"),
	"av.realtime": observed(true, "signed_agent"),
	"boot.secure_boot": observed(true, "attested"),
	"boot.measured": observed(true, "attested"),
	"user.is_admin": observed(false, "signed_agent"),
	"mdm.enrolled": observed(true, "mdm_server"),
}

# The resource of a test: a label of this code and rank, in a service that may carry it.
resource(code, rank) := {
	"service": "portal",
	"service_ceiling": 900,
	"state": null,
	"attributes": {"ismap": true, "bulk": false},
	"label": {
		"code": code,
		"rank": rank,
		"integrity": 1,
		"caveats": [],
		"compartments": [],
		"rel_to": [],
		"audience": [],
		"purpose": [],
	},
}

read(code, rank) := {
	"version": 1,
	"request": {
		"method": "GET",
		"host": "portal.example",
		"path": "/cases/123",
		"route": "/cases/{case_id}",
		"write": false,
		"params": {"case_id": "123"},
		"client_ip": "203.0.113.7",
		"channel": "open",
		"hook": "nginx",
		"purpose": null,
	},
	"subject": {
		"type": "user",
		"id": "tanaka",
		"issuer": "https://idp.example",
		"groups": ["staff"],
		"roles": [],
		"org": "mofa",
		"nationality": "JPN",
		"amr": ["hwk"],
		"acr": "phr",
		"auth_age": 120,
		"compartments": ["case:123"],
		"clearance": 400,
		"employment": "regular",
		"valid_until": null,
		"binding": "mtls",
		"delegate": null,
	},
	"device": {
		"id": "laptop-1",
		"status": "active",
		"ownership": "corp",
		"assigned": true,
		"key_protection": "attested_hw",
		"report_age": 60,
		"facts": facts,
	},
	"resource": resource(code, rank),
	"trust": {
		"score": 98,
		"best": 100,
		"after_step_up": 98,
		"pillars": {"device": 96, "subject": 99, "context": 100},
	},
	"grants": [],
	"situation": {"threat_level": 0, "overlays": [], "continuity": false},
	"enforces": ["no_store"],
	"tick_start": 1789999995,
	"time": 1790000000,
}

write(code, rank) := object.union(read(code, rank), {"request": {"method": "POST", "write": true}})

anonymous := {"subject": {
	"type": "anonymous",
	"id": "",
	"issuer": "",
	"groups": [],
	"roles": [],
	"org": "",
	"nationality": "",
	"amr": [],
	"acr": "",
	"auth_age": null,
	"compartments": [],
	"clearance": 0,
	"employment": "",
	"valid_until": null,
	"binding": "none",
	"delegate": null,
}}

no_device := {"device": {
	"id": "",
	"status": "unknown",
	"ownership": "unknown",
	"assigned": false,
	"key_protection": "",
	"report_age": null,
	"facts": {name: unknown | some name, _ in facts},
}}

# The codes of a result, as a set.
codes(result) := {entry.code | some entry in result.unmet}

# The obligations of a result, as a set.
duties(result) := {obligation.id | some obligation in result.obligations}

# A grant that is good for the whole of the fixtures' tick.
grant(kind, waives) := {"id": "g1", "kind": kind, "ceiling": 200, "waives": waives, "not_after": 1790003600}

approval(action, path, approvers) := object.union(
	grant("approval", []),
	{"action": action, "object": path, "approvers": approvers},
)
