# The rules of a records application, the same as in records.yaml; everything they need to know is in the question.
package records

_subject := input.subject.properties

_record := input.resource.properties

_action := input.action.name

_staff if _subject.role in {"staff", "lead", "auditor"}

_owns if _record.owner == input.subject.id

_leads if {
	_subject.role == "lead"
	_subject.unit == _record.unit
}

_shared if input.subject.id in _record.shared_with

_takes_part if _record.project in _subject.projects

_cleared if _record.classification <= _subject.clearance

_near if _subject.region in _record.regions

_open if _record.state != "closed"

# Viewing
allow if {
	_action == "view"
	_staff
	_record.classification == 0
}

allow if {
	_action == "view"
	_owns
	_cleared
}

allow if {
	_action == "view"
	_leads
	_cleared
}

allow if {
	_action == "view"
	_shared
	_cleared
	_near
}

allow if {
	_action == "view"
	_takes_part
	_cleared
	_near
	_subject.mfa
}

allow if {
	_action == "view"
	_subject.role == "auditor"
	_subject.mfa
	_subject.managed
}

# Editing
allow if {
	_action == "edit"
	_owns
	_open
	_cleared
	_subject.mfa
}

allow if {
	_action == "edit"
	_leads
	_record.state == "draft"
	_cleared
	_subject.mfa
}

allow if {
	_action == "edit"
	_shared
	_takes_part
	_open
	_cleared
	_subject.managed
}

# Approving: never one's own
allow if {
	_action == "approve"
	_leads
	not _owns
	_record.state == "filed"
	_subject.mfa
}

allow if {
	_action == "approve"
	_subject.role == "auditor"
	not _owns
	_record.state == "filed"
	_record.classification >= 2
	_subject.managed
}

# Sharing
allow if {
	_action == "share"
	_owns
	_record.classification < 2
}

allow if {
	_action == "share"
	_leads
	_cleared
	_near
	_subject.managed
}

# Deleting
allow if {
	_action == "delete"
	_owns
	_record.state == "draft"
}

allow if {
	_action == "delete"
	_leads
	_record.state == "closed"
	_subject.mfa
	_subject.managed
}
