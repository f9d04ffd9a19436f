"""The applications of the documentation behind their own servers: what is served, and what never reaches a view."""

from __future__ import annotations

import json
import runpy
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embed.conftest import Office
from tests.embed.servers import example, get, send, served
from tests.sidecar_support import HEALTHY, logged, verified
from zt_engine.adapters.dev_issuer import DevProver

SERVERS = [("fastapi_app.py", "uvicorn"), ("django_app.py", "gunicorn")]


class Server:
    """An address, and Tanaka, whose laptop proves possession of its key instead of showing a certificate."""

    def __init__(self, office: Office, address: tuple[str, int]) -> None:
        self.sandbox = office.sandbox
        self.address = address
        self._prover = DevProver()
        now = office.sandbox.now
        keys = [{"jkt": self._prover.jkt, "not_after": int(now) + 86_400}]
        office.sandbox.device("laptop-1", assigned=["tanaka"], facts=HEALTHY, keys=keys)
        self._token = office.sandbox.issuer.mint(
            "tanaka", now=now, lifetime=900, jkt=self._prover.jkt, auth_time=int(now) - 60, acr="phr",
            amr=["hwk", "user"],
        )  # fmt: skip

    def send(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        return send(self.address, raw)

    def person(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Ask as Tanaka."""
        url = f"http://portal.example{path}"
        # A proof from before the engine started counts for nothing, and it may have started in this very second.
        proof = self._prover.prove(token=self._token, method="GET", url=url, now=time.time() + 1)
        return self.send(get(path.encode(), b"Authorization: DPoP " + self._token, b"DPoP: " + proof))


@pytest.fixture(scope="module", params=SERVERS, ids=["asgi", "wsgi"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    office = Office(folder / "zt", opa)
    office.engine.close()
    found = Server(office, ("", 0))
    with served(*request.param, office.sandbox.config, folder) as address:
        found.address = address
        assert found.send(get(b"/"))[0] == 200  # gunicorn listens before its worker has loaded anything
        yield found
    assert verified(office.sandbox).faults == ()


def test_what_is_open_is_served_to_everybody(server: Server) -> None:
    code, _, body = server.send(get(b"/"))

    assert (code, json.loads(body)) == (200, {"hello": "everybody"})


def test_nobody_is_told_to_sign_in_before_the_view_is_called(server: Server) -> None:
    code, head, body = server.send(get(b"/cases/1"))

    assert code == 401
    assert head["www-authenticate"].startswith("Bearer")
    assert json.loads(body)["code"] == "AUTH_REQUIRED"


def test_a_browser_gets_a_page_in_its_language(server: Server) -> None:
    code, head, body = server.send(get(b"/cases/1", b"Accept: text/html", b"Accept-Language: ja"))

    assert (code, head["content-language"], b'lang="ja"' in body) == (401, "ja", True)


def test_a_person_on_her_laptop_is_served_and_the_view_knows_who_she_is(server: Server) -> None:
    code, head, body = server.person("/cases/1")

    assert (code, json.loads(body)["for"], head["zt-label"]) == (200, "tanaka", "C2")


def test_an_answer_above_the_granted_label_never_leaves(server: Server) -> None:
    code, head, body = server.person("/cases/sealed")

    assert (code, json.loads(body)["code"], "zt-label" in head) == (403, "LATE_DENY", False)
    event = next(found for found in logged(server.sandbox) if found["reasons"] == ["LATE_DENY"])
    allowed = next(found for found in logged(server.sandbox) if found["request_id"] == event["request_id"])
    assert (allowed["effect"], event["effect"], event["subject"]) == ("allow", "deny", "tanaka")


@pytest.mark.parametrize(
    "target", [b"/x/../cases/1", b"//cases/1", b"/cases%2f1", b"/%63ases/1", b"/cases/1;x", b"/cases/%2e%2e/notes/a"]
)
def test_a_target_with_two_readings_is_refused(server: Server, target: bytes) -> None:
    code, _, body = server.send(get(target))

    assert code in (400, 403, 404)
    assert code != 403 or json.loads(body)["code"] in ("PATH_AMBIGUOUS", "ROUTE_UNKNOWN")
    assert b"case" not in body


@pytest.mark.parametrize(
    "header", [b"Zt-Subject: suzuki", b"Zt_Subject: suzuki", b"X-HTTP-Method-Override: DELETE", b"Zt-Label: C0"]
)
def test_a_name_that_only_the_engine_may_set_is_refused_or_never_seen(server: Server, header: bytes) -> None:
    code, _, body = server.send(get(b"/", header))

    # gunicorn drops names with an underscore before anybody sees them, so the request is without the header.
    assert code == 403 or (b"_" in header and code in (200, 400) and b"suzuki" not in body)


def test_a_header_that_moves_the_path_is_no_way_around(server: Server) -> None:
    code, _, body = server.send(get(b"/cases/1", b"SCRIPT_NAME: /cases", b"PATH_INFO: /"))

    assert code in (400, 401, 403)
    assert b"everybody" not in body


def test_doubled_hosts_are_refused(server: Server) -> None:
    code, _, _ = server.send(get(b"/", b"Host: other.example"))

    assert code in (400, 403)


def test_an_unknown_host_is_refused(server: Server) -> None:
    code, _, _ = server.send(get(b"/", host=b"other.example"))

    assert code == 403


def test_the_example_of_the_engine_alone_says_what_it_says(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ask.py").write_text(example("ask.py"))
    office.engine.close()
    monkeypatch.setenv("ZT_CONFIG", str(office.sandbox.config))
    runpy.run_path(str(tmp_path / "ask.py"))

    assert capsys.readouterr().out == "401 AUTH_REQUIRED\n"
    assert logged(office.sandbox)
