"""A control plane believes what its offline root signs, as its sidecars do: whose releases and approvals count."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.publishing_support import KEY, PEOPLE, bundle_of, record_of, signatures
from tests.running_control import Running
from tests.sidecar_support import wait_for
from zt_engine.adapters.approvals import approve
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.adapters.trust_document import TrustHandout, approver_entry, bundle_entry
from zt_engine.core.release import write_release
from zt_engine.core.trust_root import TrustDocument, seal_trust

ROOT, FOREIGN = StreamKey.generate(), StreamKey.generate()
NOW = int(time.time())
NAMED = ("yamada", "suzuki")


def entries(*people: str) -> dict[str, Any]:
    keys = {
        person: PEOPLE[person].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for person in people
    }
    return dict(approver_entry(person, pem, where="") for person, pem in keys.items())


def sign(running: Running, version: int, *people: str, key: StreamKey = ROOT, root: StreamKey = ROOT) -> str:
    """Put a document where the control plane reads it, as `zt control sign-trust` does."""
    document = TrustDocument(
        tenant="default", version=version, approvers=entries(*people),
        bundle_keys={KEY.key_id: bundle_entry(KEY.public().pem().encode(), where="")},
    )  # fmt: skip
    path = running.settings.path(running.settings.control.trust_file)
    sealed = seal_trust(document, key)
    new = path.with_name("new.json")
    new.write_bytes(msgspec.json.encode(TrustHandout(dict(root.jwk), sealed)))
    os.replace(new, path)
    return sealed


def reload(running: Running) -> bool:
    """What SIGHUP does."""
    done: bool = running.thread.run(running.program.reload(running.config))
    return done


def call(running: Running, method: str, path: str, body: object = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {running.key}", "Idempotency-Key": os.urandom(12).hex()}
    content = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
    if content is not None and not isinstance(body, bytes):
        headers["Content-Type"] = "application/json"
    return httpx.request(method, running.url + path, content=content, headers=headers, trust_env=False, timeout=60)


def grant(running: Running, *people: str) -> int:
    record = {
        "id": "g1", "kind": "break_glass", "subjects": ["tanaka"], "services": ["portal"], "ceiling": 200,
        "not_before": NOW, "not_after": NOW + 3600, "reason": "typhoon",
    }  # fmt: skip
    signed = record | {"approvals": [approve(PEOPLE[person], "grant", record) for person in people]}
    return call(running, "PUT", "/v1/situation/grants/g1", signed).status_code


def continuity(running: Running, *people: str) -> int:
    record = {"id": "c1", "not_before": NOW, "not_after": NOW + 3600, "reason": "earthquake"}
    signed = record | {"approvals": [approve(PEOPLE[person], "continuity", record) for person in people]}
    return call(running, "PUT", "/v1/situation/continuity/c1", signed).status_code


def lowering(running: Running, *people: str) -> int:
    call(running, "PUT", "/v1/situation/threat-level", {"threat_level": 3, "reason": "summit"})
    record = {"tenant": "default", "previous": 3, "threat_level": 1, "expires_at": NOW + 3600}
    approvals = [approve(PEOPLE[person], "threat_level", record) for person in people]
    body = {key: record[key] for key in ("threat_level", "previous", "expires_at")}
    return call(
        running, "PUT", "/v1/situation/threat-level", body | {"reason": "over", "approvals": approvals}
    ).status_code


def approved(running: Running) -> Mapping[str, int]:
    """What becomes of what yamada and suzuki signed."""
    return {what.__name__: what(running, *NAMED) for what in (grant, continuity, lowering)}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "zt") as one:
        yield one


def test_whoever_the_root_names_approves_at_once_and_after_a_restart(tmp_path: Path) -> None:
    with Running(tmp_path / "zt") as running:
        assert grant(running, *NAMED) == 422
        sign(running, 1, *NAMED)
        wait_for(lambda: running.program.parts.trust.handout() is not None, "the document, without a signal")

        assert approved(running) == {"grant": 200, "continuity": 200, "lowering": 200}
        assert lowering(running, "yamada") == 422

        sign(running, 2, "sato", "suzuki")
        assert reload(running)
        assert approved(running) == {"grant": 422, "continuity": 422, "lowering": 422}

        running.settings.path(running.settings.control.trust_file).unlink()
        assert reload(running)
    with Running(tmp_path / "zt") as again:
        assert approved(again) == {"grant": 422, "continuity": 422, "lowering": 422}
        assert grant(again, "sato", "suzuki") == 200


def test_a_release_is_signed_and_approved_by_those_the_root_names(running: Running) -> None:
    raw = bundle_of("1")
    release = record_of(raw, 1, not_before=NOW - 60, not_after=NOW + 86_400, approvals_needed=2)

    def submit(*people: str) -> tuple[int, str]:
        assert call(running, "PUT", f"/v1/bundles/{release.bundle_digest}", raw).is_success
        body = {"record": write_release(release, KEY), "approvals": signatures(release, *people)}
        answer = call(running, "POST", "/v1/releases", body)
        return answer.status_code, answer.json().get("code", "")

    assert submit(*NAMED) == (422, "BUNDLE_KEY_UNKNOWN")
    assert call(running, "GET", "/v1/releases/next").json()["approvals"] == 0
    sign(running, 1, *NAMED)
    assert reload(running)

    assert call(running, "GET", "/v1/releases/next").json()["approvals"] == 2
    assert submit("yamada", "sato") == (422, "APPROVAL_KEY_UNKNOWN")
    assert submit(*NAMED) == (201, "")


@pytest.mark.parametrize("what", ["an older version", "the same version", "another key", "another root", "no document"])
def test_what_the_root_did_not_sign_next_changes_nothing_and_is_not_handed_on(running: Running, what: str) -> None:
    held = sign(running, 2, *NAMED)
    assert reload(running)
    match what:
        case "an older version":
            sign(running, 1, "sato", "suzuki")
        case "the same version":
            sign(running, 2, "sato", "suzuki")
        case "another key":
            sign(running, 3, "sato", "suzuki", key=FOREIGN)
        case "another root":
            sign(running, 3, "sato", "suzuki", key=FOREIGN, root=FOREIGN)
        case "no document":
            running.settings.path(running.settings.control.trust_file).write_bytes(b"{")

    assert not reload(running)

    assert grant(running, *NAMED) == 200
    assert grant(running, "sato", "suzuki") == 422
    handed = running.program.parts.trust.handout()
    assert handed is not None
    assert handed.document == held


def test_without_a_known_one_a_document_that_is_none_keeps_the_control_plane_from_starting(tmp_path: Path) -> None:
    with Running(tmp_path / "zt") as running:
        path = running.settings.path(running.settings.control.trust_file)
    path.write_bytes(b"{}")

    with pytest.raises(Exception, match="required field") as refused:
        Running(tmp_path / "zt")

    assert "TRUST_DOCUMENT" in [problem.code for problem in refused.value.problems]  # type: ignore[attr-defined]


def test_the_pinned_root_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(FOREIGN.public_pem())
    pinned = f'\n[control_plane]\nroot_file = "{tmp_path / "root.pem"}"\n'
    with Running(tmp_path / "zt", more=pinned) as running:
        sign(running, 1, *NAMED)
        assert not reload(running)
        sign(running, 1, *NAMED, key=FOREIGN, root=FOREIGN)
        assert reload(running)

        assert grant(running, *NAMED) == 200


def test_approvers_added_to_the_settings_are_asked_from_the_next_signal_on(running: Running) -> None:
    assert grant(running, *NAMED) == 422
    for person in NAMED:
        pem = PEOPLE[person].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (running.config.parent / f"{person}.pub.pem").write_bytes(pem)
    named = ", ".join(f'{{person = "{person}", key = "{person}.pub.pem"}}' for person in NAMED)
    before = running.config.read_text()
    running.config.write_text(before.replace("[policy]\n", f"[policy]\napprovers = [{named}]\n", 1))

    assert reload(running)
    assert approved(running) == {"grant": 200, "continuity": 200, "lowering": 200}
    running.config.write_text(before)
    assert reload(running)
    assert continuity(running, *NAMED) == 422


def test_settings_that_do_not_read_take_nobody_out(running: Running) -> None:
    running.config.write_text(running.config.read_text() + "\n[policy\n")

    assert not reload(running)
