# The same eight rules as records.yaml: everything they need to know is in the question.
package records

_subject := input.subject.properties

_record := input.resource.properties

_action := input.action.name

_owns if _record.owner == input.subject.id

_leads if {
	_subject.role == "lead"
	_subject.unit == _record.unit
}

allow if {
	_action == "view"
	_record.open
}

allow if {
	_action == "view"
	_owns
}

allow if {
	_action == "view"
	_leads
}

allow if {
	_action == "view"
	_subject.role == "auditor"
}

allow if {
	_action == "edit"
	_owns
	_record.state != "closed"
}

allow if {
	_action == "edit"
	_leads
	_record.state == "draft"
}

allow if {
	_action == "delete"
	_leads
	_record.state == "closed"
}

allow if {
	_action == "delete"
	_owns
	_record.state == "draft"
}
