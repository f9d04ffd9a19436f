# METADATA
# title: Reference policy of the benchmarks
# description: >-
#   Frozen: a typical role and attribute policy, so that the speed of the engine can be compared over years while the
#   packs change. Do not edit; a change of this file makes every earlier figure of `rego_vs_opa_reference` worthless.
package reference

import data.reference.tables

default allow := false

allow if {
	count(violations) == 0
	some _ in granting
}

violations contains "anonymous" if input.subject.type == "anonymous"

violations contains "account" if not input.subject.status in {"active", "on_leave"}

violations contains "device" if not device_ok

violations contains "network" if {
	not input.request.network in tables.networks[input.resource.zone]
}

violations contains "mfa" if {
	tables.levels[input.resource.level].mfa
	not strong
}

violations contains "hours" if {
	input.resource.level == "restricted"
	not office_hours
}

violations contains label if {
	some label in input.resource.labels
	not label in input.subject.labels
}

strong if {
	some method in input.subject.amr
	tables.methods[method] >= 2
}

office_hours if {
	input.time.hour >= 7
	input.time.hour < 20
	not input.time.weekday in {0, 6}
}

device_ok if {
	input.device.managed
	every check in tables.levels[input.resource.level].checks {
		input.device.checks[check].ok == true
		input.device.checks[check].age < tables.max_age
	}
}

device_ok if {
	input.resource.level == "public"
}

granting contains role if {
	some role in roles
	some permission in tables.roles[role].permissions
	permission.service == input.resource.service
	input.request.method in permission.methods
	startswith(input.request.path, permission.prefix)
}

roles contains role if some role in input.subject.roles

roles contains inherited if {
	some role in input.subject.roles
	some inherited in tables.roles[role].includes
}

obligations contains {"id": id} if {
	some id in tables.levels[input.resource.level].obligations
}

obligations contains {"id": "watermark", "value": input.subject.id} if {
	input.resource.level in {"internal", "restricted"}
	not input.device.managed
}

risk := sum([weight |
	some name, weight in tables.risks
	input.signals[name]
])

result := {
	"allow": allow,
	"violations": [code | some code in violations],
	"obligations": [item | some item in obligations],
	"roles": [role | some role in granting],
	"risk": risk,
}
