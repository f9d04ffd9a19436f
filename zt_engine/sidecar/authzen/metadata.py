"""The metadata document of the decision point (section 2.5 of the reference; AuthZEN 1.0 section 9)."""

from __future__ import annotations

import msgspec

from zt_engine.sidecar.authzen.wire import What

WELL_KNOWN = b"/.well-known/authzen-configuration"
EVALUATION = b"/access/v1/evaluation"
EVALUATIONS = b"/access/v1/evaluations"
SEARCHES: dict[bytes, What] = {
    b"/access/v1/search/subject": "subject",
    b"/access/v1/search/resource": "resource",
    b"/access/v1/search/action": "action",
}


def document(identifier: str) -> bytes:
    """Return the document."""
    found = {
        "policy_decision_point": identifier,
        "access_evaluation_endpoint": identifier + EVALUATION.decode(),
        "access_evaluations_endpoint": identifier + EVALUATIONS.decode(),
    }
    found |= {f"search_{what}_endpoint": identifier + path.decode() for path, what in SEARCHES.items()}
    return msgspec.json.encode(found)
