"""`zt control run` for real: an installation that `zt init` made, over sockets, from its start to its last answer."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from device_inventory.serial import serial_hash
from tests.control_support import TENANT, held_key
from tests.hook_support import LoopThread
from tests.integration.est_server import server_certificate
from tests.running_control import NOW, Running
from tests.sidecar_support import wait_for
from tests.store_support import enrollment
from tests.stream_server import free_port
from zt_engine.adapters.dev_issuer import DevIssuer
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap.control import ControlProgram
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.cli.main import app as commands
from zt_engine.config import load_control
from zt_engine.core.errors import ConfigError, InputError

AUDIENCE = "https://control.example"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("control") / "zt") as one:
        yield one


# -- serving


def test_it_serves_whoever_has_the_key_that_init_made_and_nobody_else(running: Running) -> None:
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        known = client.get("/v1/whoami", headers={"Authorization": f"Bearer {running.key}"})
        unknown = client.get("/v1/whoami")
        alive = client.get("/healthz")

    assert (known.status_code, known.json()["role"]) == (200, "owner")
    assert unknown.status_code == 401
    assert alive.json()["status"] == "ok"
    assert "server" not in known.headers


def test_nothing_of_it_is_readable_for_others(running: Running) -> None:
    secrets = ["keys/admin.key", "keys/stream.pem", "keys/device-ca.passphrase", "control/admins.json", "control/zt.db"]

    modes = {name: (running.folder / name).stat().st_mode & 0o077 for name in secrets}

    assert modes == dict.fromkeys(secrets, 0)
    assert running.key not in (running.folder / "control/admins.json").read_text(encoding="ascii")


def test_an_administrators_token_opens_what_its_role_may(tmp_path: Path) -> None:
    idp = DevIssuer("https://idp.example", audience=AUDIENCE)
    (tmp_path / "jwks.json").write_bytes(idp.jwks())
    more = f"""
[[issuers]]
issuer = "{idp.issuer}"
audiences = ["https://portal.example"]
algorithms = ["{idp.algorithm}"]
jwks = "{tmp_path / "jwks.json"}"

[administrators]
issuer = "{idp.issuer}"
audience = "{AUDIENCE}"
roles_claim = "zt_roles"
approver = ["chiefs"]
"""

    def status(method: str, path: str, roles: list[str], audience: str = AUDIENCE) -> int:
        token = idp.mint("yamada", now=time.time(), zt_roles=roles, aud=audience)
        headers = {"Authorization": f"Bearer {token.decode()}", "Idempotency-Key": "k" * 16}
        return httpx.request(
            method, plane.url + path, headers=headers, json={"reason": "x"}, trust_env=False
        ).status_code

    with Running(tmp_path / "zt", more=more) as plane:
        plane.put()
        answers = [
            status("GET", "/v1/whoami", ["chiefs"]),
            status("GET", "/v1/whoami", ["clerks"]),
            status("GET", "/v1/whoami", ["chiefs"], "https://portal.example"),
            status("POST", "/v1/devices/laptop-1/revoke", ["chiefs"]),
            status("POST", "/v1/devices/laptop-1/quarantine", ["chiefs"]),
        ]
        audited = plane.zt("show", "laptop-1", "--json")

    assert answers == [200, 401, 401, 403, 200]
    assert json.loads(audited.stdout)["events"][0]["actor"] == f"person:{idp.issuer}|yamada"


def test_it_speaks_tls_and_refuses_to_serve_the_network_without_it(tmp_path: Path) -> None:
    ca, certificate, key = server_certificate(tmp_path, NOW)
    os.chmod(key, 0o600)
    folder = tmp_path / "zt"
    install(folder, Choices(pack="corp", language="en", control_listen=f"127.0.0.1:{free_port()}"), now=NOW)
    config = folder / "zt.toml"
    tls = f'cert_file = "{certificate}"\nkey_file = "{key}"\nca_file = "{ca}"\n'
    config.write_text(config.read_text(encoding="utf-8") + tls, encoding="utf-8")
    context = ssl.create_default_context(cafile=str(ca))

    with capture_logs() as logged, Running(folder) as plane:
        secure = httpx.get(f"{plane.url}/healthz", verify=context, trust_env=False)
        listed = plane.zt("list", "--json")

        def renewed(*files: Path) -> bool:
            for old, new in zip((key, certificate), files, strict=False):
                old.write_bytes(new.read_bytes())
            done: bool = plane.thread.run(plane.program.reload(config))
            return done

        other = tmp_path / "other"
        other.mkdir()
        next_ca, next_certificate, next_key = server_certificate(other, NOW)
        assert not renewed(next_key)  # which does not fit the certificate that is there
        assert httpx.get(f"{plane.url}/healthz", verify=context, trust_env=False).is_success
        stream = folder / "keys/stream.pem"
        announced = stream.read_bytes()
        stream.write_bytes(StreamKey.generate().pem())
        assert not renewed(next_key, next_certificate)  # of what is refused nothing is taken up
        assert httpx.get(f"{plane.url}/healthz", verify=context, trust_env=False).is_success
        stream.write_bytes(announced)
        assert renewed(next_key, next_certificate)
        context = ssl.create_default_context(cafile=str(next_ca))
        assert httpx.get(f"{plane.url}/healthz", verify=context, trust_env=False).is_success

    assert plane.url.startswith("https:")
    assert "control.ca_not_sent" in [one["event"] for one in logged]
    assert "max-age" in secure.headers["strict-transport-security"]
    assert (listed.exit_code, json.loads(listed.stdout)) == (0, [])
    text = config.read_text(encoding="utf-8").replace(tls, "").replace("127.0.0.1", "0.0.0.0")
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="TLS only"):
        load_control(config, {})


def test_a_stop_answers_what_was_asked(tmp_path: Path) -> None:
    """The second half of a body that comes after the stop is read, done and answered; then nobody listens any more."""
    with_body = b"Serial number,Last check-in\nSN-1,2026-01-01 00:00:00\n"
    plane = Running(tmp_path / "zt")
    plane.put(serial_hash=serial_hash("SN-1"))
    address = ("127.0.0.1", int(plane.url.rpartition(":")[2]))
    stopping = threading.Thread(target=plane.close)
    with socket.create_connection(address, timeout=30) as connection:
        head = (
            f"POST /v1/imports/intune HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {plane.key}\r\n"
            f"Content-Type: text/csv\r\nContent-Length: {len(with_body)}\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(head.encode())
        # The server asks for the body when the application does: it is in the middle of the request now.
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(with_body[:40])
        stopping.start()
        wait_for(lambda: plane.program.stopping, "the stop")
        connection.sendall(with_body[40:])
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    stopping.join()

    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["loaded"] == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_a_place_that_is_taken_is_a_fault_that_says_so(running: Running) -> None:
    second = ControlProgram(running.settings)
    thread = LoopThread()
    try:
        with pytest.raises(ConfigError) as taken:
            thread.run(second.start())
    finally:
        thread.run(second.stop())
        thread.close()

    assert taken.value.code == "CONFIG_LISTEN"


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "zt"
    install(folder, Choices(pack="corp", language="en"), now=NOW)
    for name in ("keys/stream.pem", "control/admins.json"):
        (folder / name).unlink()
    (folder / "keys/device-ca.passphrase").write_text("another one, long enough\n", encoding="ascii")

    with pytest.raises(ConfigError) as refused:
        ControlProgram(load_control(folder / "zt.toml", {}))

    assert {problem.code for problem in refused.value.problems} == {
        "STREAM_KEY_INVALID", "ADMINS_FILE", "CA_PASSPHRASE_WRONG",
    }  # fmt: skip


# -- the commands


def test_the_commands_do_to_devices_what_they_say(running: Running) -> None:
    running.put(device_id="cli-1", name="ThinkPad", keys=(held_key("cli-1", not_after=int(NOW) + 900),))

    listed = running.zt("list", "--search", "think")
    changed = running.zt("quarantine", "cli-1", "-m", "odd")
    shown = running.zt("show", "cli-1")
    again = running.zt("quarantine", "cli-1", "-m", "odd")
    released = running.zt("release", "cli-1", "-m", "fine", "--json")

    assert "cli-1" in listed.output
    assert changed.stdout == "cli-1: quarantined\n"
    assert "device.quarantined" in shown.output
    assert "odd" in shown.output
    assert (again.exit_code, again.exception.code) == (1, "DEVICE_EVENT_REFUSED")  # type: ignore[union-attr]
    assert json.loads(released.stdout)["status"] == "active"


def test_each_operation_has_a_command_that_says_how_the_device_is_afterwards(running: Running) -> None:
    running.put(device_id="cli-2", status="enrolled", approval_required=True, keys=(held_key("cli-2"),), owner="x")
    steps = (
        ("approve", "active"), ("transfer", "quarantined", "suzuki"), ("lost", "lost"), ("recover", "quarantined"),
        ("end", "quarantined", "2099-03-31"), ("revoke", "revoked"), ("retire", "retired"),
    )  # fmt: skip

    done = [(name, running.zt(name, "cli-2", *more, "-m", name, "--json")) for name, _, *more in steps]

    assert [(name, json.loads(answer.stdout)["status"]) for name, answer in done] == [step[:2] for step in steps]
    assert json.loads(running.zt("list", "--status", "retired", "--json").stdout)[0]["id"] == "cli-2"
    assert running.zt("lost", "cli-2", "-m", "late").exit_code == 1


def test_an_invitation_is_made_and_an_export_loaded_by_command(running: Running, tmp_path: Path) -> None:
    export = tmp_path / "devices.csv"
    export.write_text("Serial number,Last check-in\nnone-such,2026-01-01 00:00:00\n", encoding="utf-8")

    invited = running.zt("invite", "tanaka", "--issuer", "https://idp.example", "--json")
    loaded = running.zt("import", str(export), "--source", "intune")

    assert json.loads(invited.stdout)["subject"] == "tanaka"
    assert "/enroll#code=" in json.loads(invited.stdout)["link"]
    assert "ENROLL_CLOSED" in invited.stderr, "nobody can use it where no issuer is configured"
    assert (loaded.exit_code, "1 not loaded" in loaded.output) == (1, True)


def test_a_key_is_added_used_and_taken_out_while_it_runs(running: Running) -> None:
    control = ["control", "admin-key"]
    place = ["--config", str(running.config), "--lang", "en"]
    added = CliRunner().invoke(commands, [*control, "add", "sato", "--role", "viewer", *place])
    key = running.folder / "keys/sato.key"
    seen = CliRunner().invoke(
        commands, ["device", "--config", str(running.config), "--key", str(key), "list", "--json"]
    )
    removed = CliRunner().invoke(commands, [*control, "remove", "sato", *place])
    gone = CliRunner().invoke(commands, ["device", "--config", str(running.config), "--key", str(key), "list"])

    assert [added.exit_code, seen.exit_code, removed.exit_code] == [0, 0, 0]
    assert key.stat().st_mode & 0o077 == 0
    assert gone.exception.code == "AUTH_REFUSED"  # type: ignore[union-attr]


def test_options_of_the_group_may_stand_behind_the_subcommand(running: Running) -> None:
    words = ["device", "list", "--json", "--config", str(running.config), "--lang=en"]
    behind = CliRunner().invoke(commands, words)
    before = running.zt("list", "--json")
    told = CliRunner().invoke(commands, ["device", "list", "--help"])

    assert (behind.exit_code, behind.stdout) == (0, before.stdout)
    assert "--config" in told.stdout


def test_a_device_is_named_by_how_no_other_one_begins(running: Running) -> None:
    one, two = "0b9f3c1e-1111-4abc-8def-000000000001", "0b9f3c1e-2222-4abc-8def-000000000002"
    for id_ in (one, two):
        running.put(device_id=id_, keys=(held_key(id_),))
    quarantined = running.zt("quarantine", "0b9f3c1e-1", "-m", "odd")
    doubtful = running.zt("revoke", "0b9f", "-m", "stolen")

    assert (quarantined.exit_code, quarantined.stdout) == (0, f"{one}: quarantined\n")
    assert isinstance(doubtful.exception, InputError)
    assert doubtful.exception.code == "ID_AMBIGUOUS"


def test_enrollments_are_found_and_shown_in_the_terminal(running: Running) -> None:
    one, two = "4d1f0c1e-1111-4abc-8def-000000000001", "4d1f0c1e-2222-4abc-8def-000000000002"
    with running.program.parts.store.writing(TENANT) as tx:
        tx.enrollments.put(enrollment(one, tenant=TENANT, state="waiting", device_id="pc-of-enrollment"))
        tx.enrollments.put(enrollment(two, tenant=TENANT, state="refused"))

    listed = running.zt("enrollments", "--state", "open", "-s", "PC-OF")
    of_device = json.loads(running.zt("enrollments", "--device", "pc-of-enrollment", "--json").stdout)
    over = json.loads(
        running.zt("enrollments", "--state", "finished", "--person", of_device[0]["person"], "--json").stdout
    )
    nobody = running.zt("enrollments", "--person", "nobody")
    shown = running.zt("enrollment", "4d1f0c1e-1")
    doubtful = running.zt("enrollment", "4d1f0c1e")

    assert one in listed.stdout
    assert two not in listed.stdout
    assert ([found["id"] for found in of_device], [found["id"] for found in over]) == ([one], [two])
    assert nobody.stdout == "No enrollments.\n"
    assert (shown.exit_code, one in shown.stdout, "waiting" in shown.stdout) == (0, True, True)
    assert getattr(doubtful.exception, "code", "") == "ID_AMBIGUOUS"


def test_an_invitation_is_listed_and_withdrawn_in_the_terminal(running: Running) -> None:
    made = json.loads(running.zt("invite", "suzuki", "--issuer", "https://idp.example", "--json").stdout)
    withdrawn = running.zt("withdraw", made["id"][:13], "--reason", "the wrong person")
    listed = running.zt("invitations")

    assert withdrawn.stdout == f"{made['id']}: withdrawn\n"
    assert made["id"] in listed.stdout


@pytest.mark.parametrize(
    ("words", "legal"),
    [
        (("list", "--status", "lots"), "quarantined"),
        (("list", "--ownership", "mine"), "byod"),
        (("enrollments", "--state", "lots"), "finished"),
        (("invite", "sato", "--ownership", "mine"), "byod"),
        (("invite", "sato", "--kind", "alien"), "contractor"),
        (("import", "x.csv", "--source", "excel"), "intune"),
    ],
)
def test_a_value_that_is_none_is_refused_with_those_there_are(
    running: Running, words: tuple[str, ...], legal: str
) -> None:
    answer = running.zt(*words)

    assert answer.exit_code == 2
    assert f"'{legal}'" in answer.output
