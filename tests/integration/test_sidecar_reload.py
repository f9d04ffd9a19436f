"""Settings, keys, policy and records change while requests flow: what is good is taken up, and nobody is refused."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import compiled
from tests.sidecar_support import (
    CASE,
    NOTE,
    PUBLIC,
    Client,
    InProcess,
    Load,
    Process,
    ask,
    edit,
    in_process,
    installation,
    laptop,
    question,
    raw_request,
    running,
    wait_for,
)
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.bootstrap.sandbox import Sandbox

NEW_KEY = "n" * 64
OTHER_ISSUER = """
[[issuers]]
issuer = "https://other.example"
audiences = ["a"]
jwks = "http://127.0.0.1:9/jwks"

[policy]
"""


def reload(process: Process, count: int = 1, *, refused: bool = False) -> None:
    """Send SIGHUP, and wait until the settings were read so often."""
    process.signal(signal.SIGHUP)
    process.said("config.refused" if refused else "config.reloaded", count)


# -- settings, by SIGHUP ----------------------------------------------------------------------------------------------


def test_a_proxy_key_rotates_without_a_refused_request(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with running(sandbox) as process:
        old = question(sandbox, PUBLIC)
        load = Load(process.address, old)
        load.more()

        (sandbox.folder / "keys/pep.key").rename(sandbox.folder / "keys/old-pep.key")
        sandbox.write("keys/pep.key", NEW_KEY.encode())
        edit(
            sandbox,
            "zt.toml",
            ('key_file = "keys/pep.key"', 'key_file = "keys/pep.key"\nprevious_key_file = "keys/old-pep.key"'),
        )
        reload(process)
        load.more()
        load.stop()
        assert ask(sandbox, process.address, PUBLIC).status == 200
        edit(sandbox, "zt.toml", ('previous_key_file = "keys/old-pep.key"', ""))
        reload(process, 2)

        assert load.faults == []
        assert ask(sandbox, process.address, PUBLIC).status == 200
        client = Client(process.address)
        assert client.send(old).status == 401
        client.close()


def test_a_file_with_faults_leaves_the_settings_as_they_were_and_names_every_fault(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with running(sandbox) as process:
        load = Load(process.address, question(sandbox, PUBLIC))
        edit(sandbox, "zt.toml", ('channel = "open"', 'chanel = "open"'), ('language = "ja"', 'language = "fr"'))
        reload(process, 2, refused=True)
        line = (sandbox.folder / "zt.toml").read_text().partition("chanel")[0].count("\n") + 1
        edit(
            sandbox,
            "zt.toml",
            ('chanel = "open"', 'channel = "open"'),
            ('language = "fr"', 'language = "ja"'),
            ('key_file = "keys/pep.key"', 'key_file = "keys/none.key"'),
            ('jwks = "keys/jwks.json"', 'jwks = "http://idp.example/jwks"'),
        )
        reload(process, 4, refused=True)
        load.more()
        load.stop()
        refused = process.events("config.refused")

        assert [(event["code"], Path(event["where"]).name) for event in refused[:2]] == [
            ("CONFIG_VALUE", "zt.toml:6"),
            ("CONFIG_UNKNOWN_KEY", f"zt.toml:{line}"),
        ]
        assert refused[1]["hint"] == "did you mean `channel`?"
        assert {event["code"] for event in refused[2:]} == {"CONFIG_FILE", "KEYS_URL"}
        assert load.faults == []
        assert ask(sandbox, process.address, PUBLIC).status == 200
        assert process.events("config.reloaded") == []


def test_what_only_a_restart_can_change_is_said_and_the_rest_is_taken_up(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with running(sandbox) as process:
        edit(
            sandbox,
            "zt.toml",
            ('listen = ["127.0.0.1:0"]', 'listen = ["127.0.0.1:1"]'),
            ('language = "ja"', 'language = "en"'),
            ('dir = "log"', 'dir = "log"\nquota_mib = 4096'),
            ("[policy]", "[limits]\nheaders = 16\n\n[policy]"),
        )
        reload(process)
        waiting = process.said("config.needs_restart")["settings"]
        client = Client(process.address)
        page = client.send(
            raw_request(
                "/v1/pages/denied",
                [("Accept", "text/html"), ("Zt-Reason", "PATH_AMBIGUOUS"), ("Zt-Pep-Key", sandbox.pep_key)],
            )
        )
        client.close()
        crowded = ask(sandbox, process.address, PUBLIC, more=[(f"X-{number}", "") for number in range(10)])

        assert sorted(waiting) == ["log.quota_mib", "sidecar.listen"]
        assert b'lang="en"' in page.body
        assert crowded.reason == "HOOK_TOO_LARGE"
        assert ask(sandbox, process.address, PUBLIC).status == 200


def test_issuers_come_and_go_and_an_unchanged_one_keeps_its_keys(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    device = laptop(sandbox)
    token = sandbox.token("tanaka", device=device)
    with running(sandbox) as process:
        load = Load(process.address, question(sandbox, token=token, device=device))
        load.more()
        edit(
            sandbox,
            "zt.toml",
            (
                "\n[policy]\n",
                OTHER_ISSUER,
            ),
            ('\nissuer = "https://idp.example"', '\nissuer = "https://idp.example"\nhome = true'),
        )
        # The file is gone as well: what was read from it before is better than nothing.
        (sandbox.folder / "keys/jwks.json").rename(sandbox.folder / "keys/jwks.away")
        reload(process)
        load.more()
        load.stop()
        (sandbox.folder / "keys/jwks.away").rename(sandbox.folder / "keys/jwks.json")
        edit(sandbox, "zt.toml", ('issuer = "https://idp.example"', 'issuer = "https://new.example"'))
        reload(process, 2)

        assert load.faults == []
        assert ask(sandbox, process.address, token=token, device=device).reason == "TOKEN_ISSUER_UNKNOWN"


def test_a_bundle_key_that_is_no_longer_named_signs_nothing_more(tmp_path: Path, opa: str) -> None:
    sandbox = installation(tmp_path / "zt", opa)
    with running(sandbox) as process:
        name = next(path.name for path in (sandbox.folder / "keys").glob("bundle-*.pub.pem"))
        (sandbox.folder / "keys" / name).rename(sandbox.folder / "keys/other.pub.pem")
        edit(sandbox, "zt.toml", (f'keys = ["keys/{name}"]', 'keys = ["keys/other.pub.pem"]'))
        reload(process)
        process.said("folder.refused", 2)

        codes = {event["code"] for event in process.events("folder.refused")}
        assert codes == {"BUNDLE_KEY_UNKNOWN", "BUNDLE_KEY_WITHDRAWN"}
        assert ask(sandbox, process.address, PUBLIC).reason == "BUNDLE_KEY_WITHDRAWN"


# -- by themselves, under load ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, opa: str) -> Sandbox:
    return installation(tmp_path_factory.mktemp("reload") / "zt", opa)


@pytest.fixture
def program(site: Sandbox):
    laptop(site)
    with in_process(site) as running_program:
        yield running_program


def status(program: InProcess, url: str, **how) -> int:
    return program.ask(url, **how).status


def test_every_kind_of_change_is_taken_up_by_itself_and_no_request_is_refused(
    program: InProcess, site: Sandbox, opa: str
) -> None:
    """One load that must never see anything but 200, and beside it the effect of each change."""
    device = laptop(site)
    second = laptop(site, "laptop-2")
    load = Load(program.address, question(site, PUBLIC))

    # a catalogue edit
    text = (site.folder / "policy/catalogue.yaml").read_text()
    assert status(program, NOTE) == 401
    site.write(
        "policy/catalogue.yaml",
        text.replace(
            "path: /notes/*, methods: [GET, HEAD]", "path: /notes/*, methods: [GET, HEAD], label: C0"
        ).encode(),
    )
    wait_for(lambda: status(program, NOTE) == 200, "the catalogue")
    load.more()

    # a trust edit: nothing reaches the threshold of C2 any more
    asks = {"token": site.token("tanaka", device=device), "device": device}
    assert status(program, CASE, **asks) == 200
    trust = (site.folder / "policy/trust.yaml").read_text()
    edit(
        site,
        "policy/trust.yaml",
        ("  signed_agent: 850", "  signed_agent: 450"),
        ("  signed_agent: 95 ", "  signed_agent: 79 "),
    )
    wait_for(lambda: status(program, CASE, **asks) != 200 or program.problems(), "the trust file")
    assert program.problems() == []
    site.write("policy/trust.yaml", trust.encode())
    wait_for(lambda: status(program, CASE, **asks) == 200, "the trust file of before")
    load.more()

    # a bundle
    revision = program.program.authorizer.policy.revision
    site.publish(compiled(opa, edits=(("_required := set() if _rank == 0", "_required := set() if _rank <= 0"),)))
    wait_for(lambda: program.program.authorizer.policy.revision != revision, "the bundle")
    load.more()

    # a device's record
    laptop(site, status="quarantined", version=2)
    wait_for(lambda: program.ask(CASE, **asks).reason == "DEVICE_REQUIRED", "the device's record")
    laptop(site, version=3)
    wait_for(lambda: status(program, CASE, **asks) == 200, "the device's record")
    load.more()

    # a revocation, and its end
    site.situation(revocations=[{"kind": "device", "key": "laptop-1", "until": None}])
    wait_for(lambda: program.ask(CASE, **asks).reason == "DEVICE_REVOKED", "the revocation")
    site.situation()
    wait_for(lambda: status(program, CASE, **asks) == 200, "the end of the revocation")
    load.more()

    # the issuer's keys: a new one is there within a second, an old one gone
    retired = site.issuer.key_id
    site.issuer.rotate()
    site.issuer.retire(retired)
    site.write("keys/jwks.json", site.issuer.jwks())
    wait_for(lambda: program.ask(CASE, **asks).reason == "TOKEN_KEY_UNKNOWN", "the key to go")
    assert status(program, CASE, token=site.token("tanaka", device=device), device=device) == 200
    load.more()

    # the device CAs
    asks = {"token": site.token("tanaka", device=second), "device": second}
    assert status(program, CASE, **asks) == 200
    site.write("policy/device-cas.pem", DevDeviceCa(now=site.now).pem)
    wait_for(lambda: program.ask(CASE, **asks).reason == "CERT_UNTRUSTED", "the other CA")
    site.write("policy/device-cas.pem", site.authority.pem)
    wait_for(lambda: status(program, CASE, **asks) == 200, "the first CA")
    load.more()

    load.stop()
    assert load.faults == []


def test_a_folder_that_vanishes_and_returns_is_followed_again(program: InProcess, site: Sandbox) -> None:
    policy, away = site.folder / "policy", site.folder / "policy.away"
    policy.rename(away)
    wait_for(lambda: "FOLDER_FILE_MISSING" in program.problems(), "the folder to be missed")
    assert status(program, PUBLIC) == 200

    away.rename(policy)
    wait_for(lambda: program.problems() == [], "the folder to be found")
    site.situation(threat_level=2)
    wait_for(lambda: program.program.replica.situation.threat_level == 2, "the situation")
    site.situation()


def test_a_failure_inside_does_not_end_the_following(program: InProcess, site: Sandbox) -> None:
    source = program.program.follower._source
    real = source.singles

    def fails() -> Any:
        source.singles = real  # type: ignore[method-assign]
        raise RuntimeError("a fault of ours")

    source.singles = fails  # type: ignore[method-assign]
    site.situation(threat_level=3)

    wait_for(lambda: program.program.replica.situation.threat_level == 3, "the situation")
    site.situation()
    assert os.path.exists(site.folder)
