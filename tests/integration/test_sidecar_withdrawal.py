"""A key that is taken out of the settings vouches for nothing more: not for the bundle, not for the grants in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bundles import compiled
from tests.sidecar_support import PUBLIC, InProcess, edit, in_process, installation
from zt_engine.adapters.approvals import approve
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.bootstrap.sandbox import Sandbox
from zt_engine.core.bundle import sign_bundle

NEW = BundleSigningKey.generate("new")
YAMADA = Ed25519PrivateKey.generate()
SATO = Ed25519PrivateKey.generate()
ONLY_SATO = 'approvers = [{person = "sato", key = "keys/sato.pub.pem"}]'
APPROVERS = ONLY_SATO.replace("[", '[{person = "yamada", key = "keys/yamada.pub.pem"}, ')


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def site(tmp_path: Path, opa: str) -> Sandbox:
    sandbox = installation(tmp_path / "zt", opa)
    sandbox.write("keys/new.pub.pem", NEW.public().pem().encode())
    sandbox.write("keys/yamada.pub.pem", public_pem(YAMADA))
    sandbox.write("keys/sato.pub.pem", public_pem(SATO))
    edit(sandbox, "zt.toml", (bundle_keys(sandbox), f"{bundle_keys(sandbox)}\n{APPROVERS}"))
    return sandbox


@pytest.fixture
def program(site: Sandbox) -> Iterator[InProcess]:
    publish_grants(site)
    with in_process(site) as running:
        yield running


def bundle_keys(site: Sandbox) -> str:
    return f'keys = ["keys/{site.bundle_key.key_id}.pub.pem"]'


def publish_grants(site: Sandbox) -> None:
    """One grant approved by Yamada, one by Sato."""
    grants = []
    for name, key in (("g-yamada", YAMADA), ("g-sato", SATO)):
        record: dict[str, object] = {
            "id": name, "kind": "exception", "subjects": ["tanaka"], "services": ["portal"], "ceiling": 200,
            "not_before": int(site.now) - 60, "not_after": int(site.now) + 86_400, "waives": [],
        }  # fmt: skip
        grants.append({**record, "approvals": [approve(key, "grant", record)]})
    site.situation(grants=grants, revocations=[{"kind": "device", "key": "laptop-9", "until": None}])


def reload(program: InProcess, *changes: tuple[str, str]) -> None:
    edit(program.sandbox, "zt.toml", *changes)
    assert program.thread.run(program.program.reload(program.sandbox.config))


def grants(program: InProcess) -> list[str]:
    situation = program.program.replica.situation
    assert situation is not None
    return [grant.id for grant in situation.grants]


def ready(program: InProcess) -> bool:
    return bool(program.program.readiness()["ready"])


def test_a_bundle_whose_key_was_taken_out_decides_nothing_until_another_arrives(
    program: InProcess, site: Sandbox, opa: str
) -> None:
    old = bundle_keys(site)
    assert (program.ask(PUBLIC).status, ready(program)) == (200, True)

    reload(program, (old, 'keys = ["keys/new.pub.pem"]'))
    withdrawn = program.ask(PUBLIC)

    assert (withdrawn.status, withdrawn.reason, ready(program)) == (403, "BUNDLE_KEY_WITHDRAWN", False)
    assert program.ask("https://unknown.example/").reason == "BUNDLE_KEY_WITHDRAWN"
    assert {"BUNDLE_KEY_UNKNOWN", "BUNDLE_KEY_WITHDRAWN"} <= set(program.problems())

    site.write("policy/bundle.tar.gz", sign_bundle(compiled(opa), NEW))
    program.refresh()

    assert (program.ask(PUBLIC).status, ready(program), program.problems()) == (200, True, [])


def test_a_bundle_is_withdrawn_although_its_file_is_gone(program: InProcess, site: Sandbox) -> None:
    (site.folder / "policy/bundle.tar.gz").unlink()
    program.refresh()
    assert program.ask(PUBLIC).status == 200

    reload(program, (bundle_keys(site), 'keys = ["keys/new.pub.pem"]'))

    assert program.ask(PUBLIC).reason == "BUNDLE_KEY_WITHDRAWN"


def test_another_key_under_the_same_name_is_another_key(program: InProcess, site: Sandbox) -> None:
    site.write(f"keys/{site.bundle_key.key_id}.pub.pem", NEW.public().pem().encode())

    reload(program)

    assert program.ask(PUBLIC).reason == "BUNDLE_KEY_WITHDRAWN"


def test_a_withdrawn_bundle_counts_again_when_its_key_does(program: InProcess, site: Sandbox) -> None:
    old = bundle_keys(site)
    reload(program, (old, 'keys = ["keys/new.pub.pem"]'))
    assert program.ask(PUBLIC).reason == "BUNDLE_KEY_WITHDRAWN"

    reload(program, ('keys = ["keys/new.pub.pem"]', old))

    assert (program.ask(PUBLIC).status, program.problems()) == (200, [])


def test_a_key_is_replaced_without_a_refusal_when_the_new_bundle_is_there_already(
    program: InProcess, site: Sandbox, opa: str
) -> None:
    site.write("policy/bundle.tar.gz", sign_bundle(compiled(opa), NEW))
    program.refresh()
    assert (program.ask(PUBLIC).status, program.problems()) == (200, ["BUNDLE_KEY_UNKNOWN"])

    reload(program, (bundle_keys(site), 'keys = ["keys/new.pub.pem"]'))

    assert (program.ask(PUBLIC).status, program.problems()) == (200, [])


def test_grants_of_an_approver_who_was_taken_out_end_with_the_reload(program: InProcess) -> None:
    assert grants(program) == ["g-sato", "g-yamada"]

    reload(program, (APPROVERS, ONLY_SATO))

    assert grants(program) == ["g-sato"]
    assert program.problems() != []


@pytest.mark.parametrize("broken", ["gone", "garbage", "writable"])
def test_they_end_although_the_situation_cannot_be_read_any_more(
    program: InProcess, site: Sandbox, broken: str
) -> None:
    path = site.folder / "policy/situation.json"
    if broken == "gone":
        path.unlink()
    elif broken == "garbage":
        site.write("policy/situation.json", b"{")
    else:
        path.chmod(0o666)
    program.refresh()
    assert grants(program) == ["g-sato", "g-yamada"]

    reload(program, (APPROVERS, ONLY_SATO))

    assert grants(program) == ["g-sato"]
    assert program.program.replica.situation is not None
    assert program.program.replica.situation.revoked["device"]  # what tightens stays


def test_they_end_although_the_folder_cannot_be_read_at_all(program: InProcess, site: Sandbox) -> None:
    def fails() -> None:
        raise RuntimeError("a fault of ours")

    program.program.follower._source.singles = fails  # type: ignore[method-assign, assignment]
    edit(site, "zt.toml", (APPROVERS, ONLY_SATO))
    edit(site, "zt.toml", (bundle_keys(site), 'keys = ["keys/new.pub.pem"]'))

    with pytest.raises(RuntimeError):
        program.thread.run(program.program.reload(site.config))

    assert grants(program) == ["g-sato"]
    assert program.ask(PUBLIC).reason == "BUNDLE_KEY_WITHDRAWN"
