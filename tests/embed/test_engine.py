"""The engine as a library: the decisions a proxy would get, without one."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.embed.conftest import EMBEDDED, Office
from tests.sidecar_support import installation, logged, verified
from zt_engine import Engine
from zt_engine.core.errors import ConfigError
from zt_engine.embed import Asked, Ruling, ZeroTrustWSGI
from zt_engine.embed.wsgi import asked_of


def asked(office: Office, target: bytes = b"/cases/1", *, person: bool = True, **fields: Any) -> Asked:
    headers: list[tuple[bytes, bytes]] = [(b"host", b"portal.example")]
    if person:
        headers.append((b"authorization", office.authorization.encode()))
    headers += fields.pop("more", [])
    return Asked(
        **{
            "method": "GET",
            "target": target,
            "headers": tuple(headers),
            "scheme": "https",
            "address": "203.0.113.7",
            "certificate": office.certificate if person else b"",
            **fields,
        }
    )


def test_a_person_on_her_laptop_is_allowed_and_named(office: Office) -> None:
    ruling = office.engine.decide(asked(office))

    assert ruling.allowed
    assert (ruling.status, ruling.subject, ruling.device, ruling.label) == (200, "tanaka", "laptop-1", "C2")
    assert ruling.trust > 0


def test_nobody_is_asked_to_sign_in_and_told_how(office: Office) -> None:
    ruling = office.engine.decide(asked(office, person=False))

    assert (ruling.allowed, ruling.status, ruling.subject) == (False, 401, "")
    assert ("WWW-Authenticate", 'Bearer realm="zt"') in ruling.headers
    assert ruling.reason.encode() in ruling.body


def test_every_decision_is_in_the_log_under_its_id_and_the_log_proves_itself(office: Office) -> None:
    allowed, denied = office.engine.decide(asked(office)), office.engine.decide(asked(office, b"/secret"))

    found = {event["decision_id"]: event for event in logged(office.sandbox)}
    assert found[allowed.decision_id]["effect"] == "allow"
    assert found[denied.decision_id]["reasons"][0] == denied.reason
    assert found[allowed.decision_id]["hook"] == "embedded"
    assert found[allowed.decision_id]["request_id"] == allowed.request_id
    assert verified(office.sandbox).faults == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"target": b"/pub/../cases/1"}, "PATH_AMBIGUOUS"),
        ({"target": b""}, "PATH_AMBIGUOUS"),
        ({"target": b"http://other.example/cases/1", "scheme": "http"}, "HOST_AMBIGUOUS"),
        ({"method": "get"}, "METHOD_AMBIGUOUS"),
        ({"scheme": "ftp"}, "SCHEME_UNKNOWN"),
        ({"address": "nowhere"}, "ADDRESS_INVALID"),
        ({"more": [(b"Zt-Subject", b"suzuki")]}, "HEADER_RESERVED"),
        ({"more": [(b"zt_subject", b"suzuki")]}, "HEADER_RESERVED"),
        ({"more": [(b"host", b"other.example")]}, "HEADER_DOUBLED"),
        ({"more": [(b"x-http-method-override", b"DELETE")]}, "METHOD_OVERRIDE"),
        ({"request_id": "a b"}, "REQUEST_ID_INVALID"),
        ({"certificate": b"no certificate"}, "CERT_MALFORMED"),
    ],
)
def test_what_has_two_readings_is_refused(office: Office, change: dict[str, Any], code: str) -> None:
    target = change.pop("target", b"/cases/1")
    ruling = office.engine.decide(asked(office, target, **change))

    assert (ruling.allowed, ruling.reason) == (False, code)


def test_a_prefix_from_a_client_s_header_does_not_make_another_path_of_an_open_one(office: Office) -> None:
    # As gunicorn builds it for a neighbour, such as a proxy on this machine, with `--forwarder-headers` as it comes.
    environ = {
        "REQUEST_METHOD": "GET", "RAW_URI": "/notes/cases/1", "SCRIPT_NAME": "/notes", "PATH_INFO": "/cases/1",
        "HTTP_SCRIPT_NAME": "/notes", "HTTP_HOST": "portal.example", "wsgi.url_scheme": "https",
        "REMOTE_ADDR": "203.0.113.7",
    }  # fmt: skip

    assert office.engine.decide(asked_of(environ)).reason == "HEADER_RESERVED"


@pytest.mark.parametrize("target", [{}, {"RAW_URI": ""}, {"RAW_URI": "/pub"}, {"REQUEST_URI": "/pub/../cases/1"}])
def test_a_server_that_hands_over_no_raw_target_or_another_one_is_refused(
    office: Office, target: dict[str, str]
) -> None:
    environ = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/cases/1", "HTTP_HOST": "portal.example",
        "wsgi.url_scheme": "https", "REMOTE_ADDR": "203.0.113.7", **target,
    }  # fmt: skip

    assert office.engine.decide(asked_of(environ)).reason == "PATH_AMBIGUOUS"


def test_what_an_outer_proxy_says_of_the_client_is_neither_believed_nor_refused(office: Office) -> None:
    assert office.engine.decide(asked(office, more=[(b"x-forwarded-for", b"10.0.0.1")])).allowed
    assert not office.engine.decide(asked(office, more=[(b"x_forwarded_for", b"10.0.0.1")])).allowed


@pytest.mark.parametrize(
    ("page", "code"), [(b"https://portal.example", "SESSION_UNKNOWN"), (b"https://evil.example", "SESSION_CROSS_SITE")]
)
def test_a_change_by_cookie_comes_from_a_page_of_this_site(office: Office, page: bytes, code: str) -> None:
    more = [(b"cookie", b"__Host-zt-session=" + b"a" * 43), (b"origin", page)]
    ruling = office.engine.decide(asked(office, person=False, method="POST", more=more))

    assert (ruling.allowed, ruling.reason) == (False, code)


def test_many_threads_may_ask_at_the_same_time(office: Office) -> None:
    with ThreadPoolExecutor(8) as pool:
        rulings: list[Ruling] = list(
            pool.map(lambda number: office.engine.decide(asked(office, b"/cases/%d" % number)), range(400))
        )

    assert all(ruling.allowed for ruling in rulings)
    assert len({ruling.decision_id for ruling in rulings}) == 400


def test_a_label_above_the_granted_one_is_denied_late_and_one_below_is_not(office: Office) -> None:
    question = asked(office)
    ruling = office.engine.decide(question)

    assert office.engine.late(question, ruling, ("C1", "C2")).result() is None
    denial = office.engine.late(question, ruling, ("C1", "C3")).result()
    unknown = office.engine.late(question, ruling, ("no such label",)).result()

    assert denial is not None
    assert unknown is not None
    assert (denial.allowed, denial.status, denial.reason) == (False, 403, "LATE_DENY")
    event = next(found for found in logged(office.sandbox) if found["decision_id"] == denial.decision_id)
    assert (event["request_id"], event["subject"], event["label"]) == (ruling.request_id, "tanaka", "C2")


def test_a_ruling_is_not_mistaken_for_a_yes(office: Office) -> None:
    with pytest.raises(TypeError, match="allowed"):
        bool(office.engine.decide(asked(office, b"/secret")))


def test_a_closed_engine_denies(tmp_path: Path, opa: str) -> None:
    office = Office(tmp_path / "zt", opa)
    assert office.engine.decide(asked(office)).allowed
    office.engine.close()

    assert not office.engine.decide(asked(office)).allowed
    assert verified(office.sandbox).faults == ()
    office.engine.close()


def test_whoever_asks_while_the_engine_closes_is_answered(tmp_path: Path, opa: str) -> None:
    office = Office(tmp_path / "zt", opa)
    asking = threading.Barrier(5)
    answered: list[Ruling] = []

    def ask() -> None:
        asking.wait()
        while True:
            futures = [office.engine.submit(asked(office)) for _ in range(20)]
            rulings = [future.result(20) for future in futures]
            answered.extend(rulings)
            if not rulings[-1].allowed:
                return

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    asking.wait()
    office.engine.close()
    for thread in threads:
        thread.join(30)

    assert not any(thread.is_alive() for thread in threads)
    assert {ruling.reason for ruling in answered if not ruling.allowed} <= {"INTERNAL_ERROR", "LOG_UNAVAILABLE"}


def test_an_engine_that_came_along_with_a_fork_denies_instead_of_waiting_for_ever(office: Office) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            told = office.engine.submit(asked(office)).result(5).reason
            office.engine.close()
            os.write(writing, told.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told_by_child:
        assert told_by_child.read() == "INTERNAL_ERROR"
    os.waitpid(child, 0)

    assert office.engine.decide(asked(office)).allowed


def test_a_policy_that_changes_counts_at_the_next_question(tmp_path: Path, opa: str) -> None:
    office = Office(tmp_path / "zt", opa)
    with office.engine as engine:
        assert engine.decide(asked(office)).allowed
        office.sandbox.situation(
            revocations=[{"kind": "device", "key": "laptop-1", "until": int(office.sandbox.now) + 3600}]
        )
        while (ruling := engine.decide(asked(office))).allowed:
            pass

    assert ruling.reason.startswith("DEVICE")


def test_settings_without_a_table_for_this_process_are_refused(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with pytest.raises(ConfigError, match="EMBEDDED_UNKNOWN"):
        Engine.open(sandbox.config)

    twice = EMBEDDED + EMBEDDED.replace('"app"', '"other"')
    sandbox.write("zt.toml", (sandbox.folder / "zt.toml").read_bytes() + twice.encode())
    with pytest.raises(ConfigError, match="EMBEDDED_UNKNOWN"):
        Engine.open(sandbox.config)
    with Engine.open(sandbox.config, proxy="other") as engine:
        assert engine.readiness()["ready"] is True


def test_after_a_late_deny_nothing_of_the_application_begins_anything(office: Office) -> None:
    begun: list[str] = []
    written: list[bytes] = []

    def application(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for label in ("C3", "C3", "C2"):
            start_response("200 OK", [("Zt-Label", label)])
        return [b"sealed"]

    def start(status: str, _headers: list[tuple[str, str]], _info: Any = None) -> Any:
        begun.append(status)
        return written.append

    environ = {
        "REQUEST_METHOD": "GET", "RAW_URI": "/cases/1", "SCRIPT_NAME": "", "PATH_INFO": "/cases/1",
        "wsgi.url_scheme": "https", "REMOTE_ADDR": "203.0.113.7", "HTTP_HOST": "portal.example",
        "HTTP_AUTHORIZATION": office.authorization, "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_CERT": office.certificate.decode(),
    }  # fmt: skip
    body = b"".join(ZeroTrustWSGI(application, office.engine)(environ, start))

    assert (begun, body) == (["403 Forbidden"], b"")
    assert b"LATE_DENY" in written[0]
