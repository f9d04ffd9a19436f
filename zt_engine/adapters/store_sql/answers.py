"""Idempotency keys and the answers that were given under them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, insert, select

from zt_engine.adapters.store_sql.columns import Name
from zt_engine.adapters.store_sql.session import THIS_TENANT, Session
from zt_engine.adapters.store_sql.tables import answers
from zt_engine.ports.inventory import RememberedAnswer

_get: Final = select(answers.c.request_digest, answers.c.status, answers.c.body).where(
    answers.c.tenant == THIS_TENANT,
    answers.c.actor == bindparam("actor", type_=Name()),
    answers.c.key == bindparam("key", type_=Name()),
)
_put: Final = insert(answers)


class SqlAnswers:
    """The remembered answers of a tenant."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, actor: str, key: str) -> RememberedAnswer | None:
        """Return the answer this actor got under this key, as long as it was not pruned."""
        row = self._session.first(_get, actor=actor, key=key)
        return (
            None
            if row is None
            else RememberedAnswer(request_digest=row.request_digest, status=row.status, body=bytes(row.body))
        )

    def put(self, actor: str, key: str, answer: RememberedAnswer, *, expires_at: int) -> None:
        """Remember an answer in the transaction of the change itself; STORE_CONFLICT when there is one already."""
        self._session.insert(
            _put,
            {
                "actor": actor,
                "key": key,
                "request_digest": answer.request_digest,
                "status": answer.status,
                "body": answer.body,
                "expires_at": expires_at,
            },
        )
