"""What was changed in the control plane: who, what, before and after. Written in the transaction of the change."""

from __future__ import annotations

import msgspec


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `before` and `after` are JSON objects without secrets; empty where there was or is nothing."""

    at: int
    actor: str
    """`admin:NAME`, `person:ISSUER|SUB`, `device:ID`, `sidecar:ID`, `import:NAME` or `system`."""
    action: str
    """`noun.past_verb`, e.g. `device.revoked`."""
    object: str
    """`kind:id`."""
    reason: str = ""
    before: bytes = b""
    after: bytes = b""
    seq: int = 0
    """Assigned by the store: gap-free per tenant, in commit order."""
