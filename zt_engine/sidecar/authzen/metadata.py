"""The metadata document of the decision point (section 2.5 of the reference; AuthZEN 1.0 section 9)."""

from __future__ import annotations

import msgspec

WELL_KNOWN = b"/.well-known/authzen-configuration"
EVALUATION = b"/access/v1/evaluation"
EVALUATIONS = b"/access/v1/evaluations"
SEARCHES = {b"/access/v1/search/" + what: what.decode() for what in (b"subject", b"resource", b"action")}


def document(identifier: str, *, searches: bool) -> bytes:
    """Return the document; an endpoint that nobody may use is left out."""
    found = {
        "policy_decision_point": identifier,
        "access_evaluation_endpoint": identifier + EVALUATION.decode(),
        "access_evaluations_endpoint": identifier + EVALUATIONS.decode(),
    }
    if searches:
        found |= {f"search_{what}_endpoint": identifier + path.decode() for path, what in SEARCHES.items()}
    return msgspec.json.encode(found)
