"""The judge: what gets past is seen in every reading, and what is as allowed is no fault."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
import pytest

from zt_engine.corpus.execution import Allow, Execution
from zt_engine.corpus.probe import Expect
from zt_engine.corpus.verdict import Permitted, Scope, faults, written

SCOPE = Scope(protected=("/vault",), public="/pub")
MAY = Permitted(expect=Expect.EITHER, method="GET", path="/vault/1", host="app.example", subject="tanaka")
WHO: Mapping[str, str] = {
    "zt-subject": "tanaka",
    "zt-device": "",
    "zt-max-label": "C1",
    "zt-trust": "15",
    "zt-decision": "d1",
}


class Log:
    """One allow, for GET /vault/1 by tanaka."""

    def __init__(self, **fields: str) -> None:
        path = {"path_digest": self.digest(b"/vault/1")}
        known = {
            "decision": "d1",
            "method": "GET",
            "host": "app.example",
            "subject": "tanaka",
            "label": "C1",
            "trust": "15",
        }
        self.known = Allow(**{**known, **path, **fields})

    def allow(self, decision: str) -> Allow | None:
        return self.known if decision == self.known.decision else None

    def allow_of_path(self, digest: str) -> Allow | None:
        return self.known if digest == self.known.path_digest else None

    def digest(self, path: bytes) -> str:
        return hashlib.sha256(path).hexdigest()


def executed(**fields: object) -> Execution:
    ordinary = {"methods": ("GET",), "hosts": ("app.example",), "resources": ("/vault/1",), "identity": WHO}
    return Execution(**{"stack": "wsgi", "target": "/vault/1", **ordinary, **fields})


def judged(
    execution: Execution, *, permitted: Permitted = MAY, log: Log | None = None, lossy: bool = False
) -> list[str]:
    return list(faults(permitted, [execution], SCOPE, log or Log(), lossy=lossy))


def test_what_was_allowed_and_is_executed_is_no_fault() -> None:
    assert judged(executed()) == []
    assert judged(executed(target="/vault/1?x=/pub")) == []
    assert judged(executed(target="http://app.example/vault/1")) == []


def test_whatever_is_executed_although_it_was_to_be_refused_is_a_fault() -> None:
    assert judged(executed(), permitted=Permitted(expect=Expect.REFUSED)) != []


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"resources": ("/vault/1", "/vault/2")}, "reads `/vault/2`"),
        ({"resources": ("/vault/1", "/VAULT/2")}, "reads `/VAULT/2`"),
        ({"resources": ("/vault/1/",)}, "reads `/vault/1/`"),
        ({"target": "/vault/2"}, "is about another path"),
        ({"target": "/vault/%31"}, "no decision is possible"),
        ({"target": "//vault/1"}, "no decision is possible"),
        ({"methods": ("GET", "DELETE")}, "the method is `DELETE`"),
        ({"hosts": ("app.example", "other.example")}, "the host is `other.example`"),
        ({"identity": {**WHO, "zt-subject": "minister"}}, "takes the client for `minister`"),
        ({"identity": {**WHO, "zt-subject": "tanaka,minister"}}, "takes the client for `tanaka,minister`"),
        ({"identity": {**WHO, "zt-device": "laptop-1"}}, "`zt-device` is `laptop-1`"),
        ({"identity": {**WHO, "zt-max-label": "C3-TS"}}, "`zt-max-label` is `C3-TS`"),
        ({"identity": {**WHO, "zt-trust": "100"}}, "`zt-trust` is `100`"),
        ({"identity": {**WHO, "zt-decision": "d2"}}, "there is no allow `d2`"),
        ({"identity": {}}, "takes the client for ``"),
    ],
)
def test_every_reading_that_differs_is_a_fault(fields: dict[str, object], fault: str) -> None:
    assert any(fault in text for text in judged(executed(**fields)))


@pytest.mark.parametrize(
    "fields", [{"method": "HEAD"}, {"host": "other.example"}, {"subject": "suzuki"}, {"label": "C0"}]
)
def test_an_allow_for_something_else_is_none(fields: dict[str, str]) -> None:
    assert judged(executed(), log=Log(**fields)) != []


def test_identity_may_be_lost_where_backends_refuse_that_but_never_changed() -> None:
    assert judged(executed(identity={}), lossy=True) == []
    assert judged(executed(identity={**WHO, "zt-subject": ""}), lossy=True) != []
    assert judged(executed(identity={"zt-subject": "minister"}), lossy=True) != []
    assert judged(executed(identity={}, target="/vault/2", resources=("/vault/2",)), lossy=True) != []


@pytest.mark.parametrize("name", ["Zt-Groups", "Zt_Groups", "zt.groups", "ZT GROUPS ", "Zt-Groups\t"])
def test_identity_that_the_client_wrote_is_a_fault_whatever_the_log_says_of_it(name: str) -> None:
    forged = written(f"GET / HTTP/1.1\r\n{name}: administrators\r\nZt-Device:\r\n\r\n".encode())
    permitted = msgspec.structs.replace(MAY, written=forged)

    assert judged(executed(identity={**WHO, "zt-groups": "staff"}), permitted=permitted) == []
    assert judged(executed(identity={**WHO, "zt-groups": "staff,administrators"}), permitted=permitted) != []


def test_a_reading_of_a_public_page_matters_when_it_is_protected() -> None:
    public = Permitted(expect=Expect.EITHER, method="GET", path="/pub/1", host="app.example")
    nobody = {**WHO, "zt-subject": ""}
    log = Log(subject="", path_digest=Log().digest(b"/pub/1"))

    fine = executed(target="/pub/1", resources=("/pub/1", "/elsewhere"), identity=nobody)
    past = executed(target="/pub/1", resources=("/pub/1", "/vault/1"), identity=nobody)

    assert judged(fine, permitted=public, log=log) == []
    assert judged(past, permitted=public, log=log) != []
