"""What administrators write is read with the sidecars' own readers, so that nothing is announced that they refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from zt_engine.adapters.approvals import Approvers, verify_approvals
from zt_engine.adapters.situation_json import decode_situation
from zt_engine.adapters.subject_json import decode_subject
from zt_engine.core.approval import Approval
from zt_engine.core.errors import ConfigError
from zt_engine.core.identity import SubjectRecord
from zt_engine.ports.administration import RecordKind

NEEDED: Final = 2
_DOCUMENTS: Final[dict[RecordKind, bytes]] = {
    "overlay": b'{"threat_level":0,"overlays":[%b]}',
    "grant": b'{"threat_level":0,"grants":[%b]}',
    "revocation": b'{"threat_level":0,"revocations":[%b]}',
    "continuity": b'{"threat_level":0,"continuity":%b}',
}


class StrictRecords:
    """The `RecordReader`. Grants and declarations have to be approved by these approvers."""

    def __init__(self, approvers: Approvers) -> None:
        self._approvers = approvers

    def believe(self, approvers: Approvers) -> None:
        """Have these approve from now on, and nobody else."""
        self._approvers = approvers

    def subject(self, raw: bytes) -> SubjectRecord:
        """Return a subject's record; ConfigError SUBJECT_RECORD_*."""
        return decode_subject(raw, where="record")

    def check(self, kind: RecordKind, raw: bytes) -> None:
        """Refuse what sidecars would refuse or leave out; ConfigError with every fault.

        Codes: SITUATION_*, OVERLAY_*, GRANT_*, and APPROVAL_* when the approvals do not hold.
        """
        found = decode_situation(_DOCUMENTS[kind] % raw, where="record", approvers=self._approvers)
        if found.problems:
            raise ConfigError(found.problems)

    def lowering(self, record: Mapping[str, object], approvals: Sequence[Approval]) -> tuple[str, ...]:
        """Return the two people or more who approve that the threat level goes down; InputError APPROVAL_*.

        Nobody, where fewer than two are known who could.
        """
        if len({approver.person for approver in self._approvers.values()}) < NEEDED:
            return ()
        return verify_approvals("threat_level", record, approvals, approvers=self._approvers, needed=NEEDED)
