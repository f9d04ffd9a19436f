"""The root helper as a program on a real Unix socket, with those who ask as they should and those who do not.

The tests run it as whoever runs them; in service it is root.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from device_inventory.claims import read_helper_claims
from device_inventory.collectors import ask_helper as client
from device_inventory.collectors.ask_helper import HelperError, ask_helper, helper_key, helper_serial
from device_inventory.collectors.helper_facts import HelperFacts
from device_inventory.collectors.helper_key import HelperKey, load_or_make_key
from device_inventory.collectors.linux import HELPER_FACTS, SLOW_FACTS
from device_inventory.collectors.root_helper import (
    MAX_CONNECTIONS,
    MAX_OF_ONE_USER,
    MAX_REQUEST,
    RootHelper,
    listening,
    main,
)
from tests.device_trees import DAY, LISTED_DATE, NOW, Tree, ubuntu_luks

ME = os.geteuid()


class Running:
    """A helper in a thread, about a machine in a folder, with a clock of its own."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.socket = folder / "s"
        self.tree = ubuntu_luks(folder / "machine")
        self.now = NOW
        self.facts = HelperFacts(lambda now: self.tree.machine(now=now))
        self.key = load_or_make_key(folder / "state")
        self.helper = RootHelper(
            listening(self.socket), key=self.key, facts=self.facts, clock=lambda: float(self.now), **options
        )
        self._thread = threading.Thread(target=self.helper.serve)
        self._thread.start()

    def stop(self) -> None:
        self.helper.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def statement(self, nonce: str = "nonce-of-16-bytes", device: str = "dev-1") -> dict[str, Any]:
        return checked(ask_helper(self.socket, nonce, device, uid=ME), helper_key(self.socket, uid=ME))


def checked(statement: str, jwk: dict[str, str]) -> dict[str, Any]:
    """The claims, after the check that whoever receives a statement makes."""
    assert jwt.get_unverified_header(statement)["typ"] == "zt-helper+jwt"
    return jwt.decode(statement, jwt.PyJWK(jwk).key, algorithms=["ES256"], options={"verify_iat": False})


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    held = Running(tmp_path)
    yield held
    held.stop()


def raw(path: Path, content: bytes, *, finish: bool = False) -> bytes:
    """What comes back for these bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        try:
            connection.sendall(content)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            while part := connection.recv(65_536):
                answer += part
        except (BrokenPipeError, ConnectionResetError):
            return b""
        return answer


# What it says


def test_a_statement_is_signed_and_about_what_was_asked(running: Running) -> None:
    claims = running.statement("n" * 22, "dev-1")

    assert (claims["nonce"], claims["device"], claims["iat"]) == ("n" * 22, "dev-1", NOW)
    # Before the slow facts were looked for, nothing is said of them.
    assert claims["facts"].keys() == HELPER_FACTS - SLOW_FACTS
    assert claims["facts"]["disk.encrypted"] == {"status": "observed", "value": True, "collected_at": NOW}
    assert read_helper_claims(claims).unknown == ()


def test_it_speaks_of_the_machine_and_of_no_session(running: Running) -> None:
    assert running.statement()["facts"].keys().isdisjoint({"screenlock.enabled", "user.is_admin", "agent.version"})


def test_a_statement_that_was_changed_has_no_signature(running: Running) -> None:
    header, payload, signature = ask_helper(running.socket, "n" * 22, "dev-1", uid=ME).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "==="))
    claims["facts"]["disk.encrypted"]["value"] = False
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()

    with pytest.raises(jwt.InvalidSignatureError):
        checked(f"{header}.{forged}.{signature}", running.key.jwk())


def test_the_serial_number_leaves_as_a_hash(running: Running) -> None:
    serial = helper_serial(running.socket, uid=ME)

    assert len(serial) == 64
    assert serial == running.statement()["facts"]["device.serial_hash"]["value"]
    running.tree.file("/sys/class/dmi/id/product_serial", "None\n")
    running.now += 60
    assert helper_serial(running.socket, uid=ME) == ""


def test_one_look_answers_a_flood_of_questions_and_grows_old_at_once(running: Running) -> None:
    running.statement()
    running.tree.file("/proc/sys/kernel/tainted", "4096\n")

    assert running.statement()["facts"]["kernel.taint"]["value"] == 0
    running.now += 6
    assert running.statement()["facts"]["kernel.taint"]["value"] == 4096


def test_slow_facts_are_looked_for_when_they_may_have_changed(running: Running) -> None:
    name = "patch.pending_security"
    assert name not in running.statement()["facts"]

    security_list(running.tree)
    assert running.facts.look_slowly(NOW)
    assert not running.facts.look_slowly(NOW + 600)
    running.now += 700
    assert running.statement()["facts"][name] == {"status": "observed", "value": 0, "collected_at": NOW}
    os.utime(running.tree.place("/var/lib/dpkg/status"), (NOW, NOW))
    assert running.facts.look_slowly(NOW + 1200)
    assert running.facts.look_slowly(NOW + 1200 + DAY)


def security_list(tree: Tree) -> None:
    tree.file("/var/lib/dpkg/status", "")
    tree.file("/var/lib/apt/lists/x_noble-security_InRelease", f"Suite: noble-security\nDate: {LISTED_DATE}\n")
    tree.says("apt-pending", "")


# Who asks what


@pytest.mark.parametrize(
    "request_",
    [
        b"", b"\n", b"{}\n", b"[]\n", b"null\n", b"1\n", b'"facts"\n', b"\xff\xfe\n", b"{\n", b"[" * 900 + b"\n",
        b'{"verb": "facts"}\n',
        b'{"verb": "shell", "command": "id"}\n',
        b'{"verb": "facts", "nonce": 1, "device": "x"}\n',
        b'{"verb": "facts", "nonce": "", "device": "x"}\n',
        b'{"verb": "facts", "nonce": "a b", "device": "x"}\n',
        b'{"verb": "facts", "nonce": "a\\n", "device": "x"}\n',
        b'{"verb": "facts", "nonce": "a", "device": "x", "facts": {}}\n',
        b'{"verb": "facts", "nonce": "' + b"a" * 300 + b'", "device": "x"}\n',
        b'{"verb": "serial", "path": "/etc/shadow"}\n',
        b'{"verb": "public-key", "private": true}\n',
        b'{"verb": ["facts"]}\n',
        b'{"verb": "serial"}',
        b'{"verb": "serial"}\n{"verb": "serial"}',
    ],
)  # fmt: skip
def test_any_other_question_is_refused(request_: bytes, running: Running) -> None:
    assert json.loads(raw(running.socket, request_, finish=True)) == {"error": "HELPER_REQUEST"}
    assert running.statement()["device"] == "dev-1"


def test_a_question_that_is_too_long_is_refused_before_it_ends(running: Running) -> None:
    answer = raw(running.socket, b'{"verb": "' + b"a" * (MAX_REQUEST * 64))

    assert answer in (b"", b'{"error":"HELPER_REQUEST"}\n')
    assert running.statement()["device"] == "dev-1"


def test_whoever_sends_nothing_is_let_go_after_a_while(running: Running) -> None:
    assert json.loads(raw(running.socket, b'{"verb"')) == {"error": "HELPER_REQUEST"}


def test_whoever_leaves_at_once_or_reads_nothing_takes_nothing_along(running: Running) -> None:
    for _ in range(3 * MAX_CONNECTIONS):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(running.socket))

    assert eventually(running)["device"] == "dev-1"


def test_one_user_has_so_many_questions_at_once_and_is_told(running: Running) -> None:
    with ExitStack() as held:
        for _ in range(MAX_OF_ONE_USER):
            connection = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.connect(str(running.socket))
        with pytest.raises(HelperError) as caught:
            ask_helper(running.socket, "n" * 22, "dev-1", uid=ME)

    assert caught.value.code == "HELPER_BUSY"
    assert eventually(running)["device"] == "dev-1"


def eventually(running: Running) -> dict[str, object]:
    """A statement, as soon as the connections before are let go of."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return running.statement()
        except HelperError as error:
            if error.code != "HELPER_BUSY" or time.monotonic() > deadline:
                raise


def test_a_flood_from_many_sides_ends_in_answers_and_refusals_only(running: Running) -> None:
    answers: list[str] = []

    def ask() -> None:
        for number in range(12):
            try:
                answers.append(checked(ask_helper(running.socket, f"n-{number}", "d", uid=ME), jwk)["nonce"])
            except HelperError as error:
                answers.append(error.code)

    jwk = helper_key(running.socket, uid=ME)
    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(answers) == 144
    assert {answer for answer in answers if not answer.startswith("n-")} <= {"HELPER_BUSY"}
    assert eventually(running)["device"] == "dev-1"


def test_only_the_users_that_were_named_may_ask(tmp_path: Path) -> None:
    held = Running(tmp_path, users=frozenset({ME + 1}))
    try:
        # Whoever runs the helper, and root, may always ask.
        assert held.statement()["device"] == "dev-1"
        assert [held.helper._may(uid) for uid in (0, ME + 1, ME + 2, 65_534)] == [True, True, False, False]
    finally:
        held.stop()


def test_services_and_nobody_may_not_ask(running: Running) -> None:
    wanted = {1000: True, 60_000: True, 1_200_000_001: True, 33: False, 999: False, 61_184: False, 65_534: False}
    wanted.pop(ME, None)

    assert {uid: running.helper._may(uid) for uid in wanted} == wanted


# Whom the agent asks


@contextmanager
def impostor(path: Path, answer: bytes) -> Iterator[None]:
    """Somebody who took the helper's place, and says this once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(10)


def test_no_helper_is_absent(tmp_path: Path) -> None:
    with pytest.raises(HelperError) as caught:
        ask_helper(tmp_path / "none", "n", "d", uid=ME)
    assert caught.value.code == "HELPER_ABSENT"


def test_a_socket_nobody_listens_at_is_absent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nobody:
        nobody.bind(str(tmp_path / "s"))

    with pytest.raises(HelperError) as caught:
        ask_helper(tmp_path / "s", "n", "d", uid=ME)
    assert caught.value.code == "HELPER_ABSENT"


@pytest.mark.parametrize("kind", ["file", "link", "other"])
def test_a_socket_that_is_not_the_helpers_is_foreign(kind: str, running: Running, tmp_path: Path) -> None:
    path, uid = running.socket, ME
    if kind == "file":
        path = tmp_path / "file"
        path.write_text("")
    elif kind == "link":
        path = tmp_path / "link"
        path.symlink_to(running.socket)
    else:
        uid = ME + 1

    with pytest.raises(HelperError) as caught:
        ask_helper(path, "n", "d", uid=uid)
    assert caught.value.code == "HELPER_FOREIGN"


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\n", b"null\n", b"[]\n", b'{"ok": null}\n', b'{"ok": 1}\n', b'{"ok": "a.b"}\n', b'{"ok": "a.!.c"}\n',
        b'{"ok": "a.e30.c"}\n', b'{"error": "ROOT"}\n', b"x" * (client.MAX_ANSWER + 10), b"\xff\n", b"[" * 5000 + b"\n",
        b'{"ok": "a.' + base64.b64encode(b'{"nonce": "other", "device": "d"}') + b'.c"}\n',
    ],
)  # fmt: skip
def test_an_answer_of_another_shape_is_refused(answer: bytes, tmp_path: Path) -> None:
    with impostor(tmp_path / "s", answer), pytest.raises(HelperError) as caught:
        ask_helper(tmp_path / "s", "n", "d", uid=ME)
    assert caught.value.code == "HELPER_ANSWER"


def test_a_helper_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        with pytest.raises(HelperError) as caught:
            ask_helper(tmp_path / "s", "n", "d", uid=ME)
    assert caught.value.code == "HELPER_SILENT"


# Its key


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    first, second = (load_or_make_key(tmp_path / "state") for _ in range(2))

    assert first.jwk() == second.jwk()
    assert (tmp_path / "state" / "helper.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["helper.pem"]
    assert "PRIVATE" not in repr(first)


@pytest.mark.parametrize("flaw", ["mode", "link", "folder", "noise", "kind"])
def test_a_key_others_may_know_or_that_is_none_is_refused(flaw: str, tmp_path: Path) -> None:
    load_or_make_key(tmp_path)
    path = tmp_path / "helper.pem"
    if flaw == "mode":
        path.chmod(0o640)
    elif flaw == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif flaw == "folder":
        path.unlink()
        path.mkdir()
    else:
        other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(b"noise" if flaw == "noise" else other)

    with pytest.raises(HelperError) as caught:
        load_or_make_key(tmp_path)
    assert caught.value.code == "HELPER_KEY"


def test_two_helpers_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    keys: list[HelperKey] = []
    threads = [threading.Thread(target=lambda: keys.append(load_or_make_key(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len({json.dumps(key.jwk()) for key in keys}) == 1
    assert len(keys) == 8


# The program


AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def started(folder: Path, *, descriptor: int | None = None) -> subprocess.Popen[bytes]:
    """The helper as its own process; with a descriptor as systemd would hand it over."""
    words = ["-m", "device_inventory.collectors.root_helper", "--state", str(folder / "state")]
    words += ["--socket", str(folder / "s")]
    if descriptor is None:
        return subprocess.Popen([sys.executable, *words])
    return subprocess.Popen([sys.executable, "-c", AS_SYSTEMD, str(descriptor), *words], pass_fds=[descriptor])


def until_it_answers(path: Path, process: subprocess.Popen[bytes]) -> dict[str, object]:
    deadline = time.monotonic() + 30
    while True:
        try:
            return checked(ask_helper(path, "n" * 22, "dev-1", uid=ME), helper_key(path, uid=ME))
        except HelperError as error:
            if error.code != "HELPER_ABSENT" or time.monotonic() > deadline or process.poll() is not None:
                raise


def test_the_program_answers_about_this_very_machine_and_stops_when_told(tmp_path: Path) -> None:
    process = started(tmp_path)
    try:
        claims = until_it_answers(tmp_path / "s", process)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(20)

    assert claims["facts"]["kernel.release"]["value"] == os.uname().release
    assert status == 0


def test_systemd_may_hand_the_socket_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "systemd"))
        listener.listen(8)
        process = started(tmp_path, descriptor=listener.fileno())
        try:
            claims = until_it_answers(tmp_path / "systemd", process)
        finally:
            process.terminate()
            process.wait(20)

        assert claims["device"] == "dev-1"
        assert not (tmp_path / "s").exists()
        # It is still systemd's to listen at: whoever asks now waits for the next start.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting:
            waiting.connect(str(tmp_path / "systemd"))


def test_a_helper_that_was_killed_starts_again_at_the_same_place(tmp_path: Path) -> None:
    first = started(tmp_path)
    until_it_answers(tmp_path / "s", first)
    key = helper_key(tmp_path / "s", uid=ME)
    first.kill()
    first.wait(20)
    second = started(tmp_path)
    try:
        until_it_answers(tmp_path / "s", second)
        again = helper_key(tmp_path / "s", uid=ME)
    finally:
        second.terminate()
        second.wait(20)

    assert again == key


def test_a_place_that_is_taken_by_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")

    with pytest.raises(SystemExit) as caught:
        main(["--socket", str(tmp_path / "s"), "--state", str(tmp_path / "state")])
    assert "HELPER_SOCKET" in str(caught.value)
    assert (tmp_path / "s").read_text() == "precious"


def test_no_argument_reaches_a_command() -> None:
    """There are three options, and what they hold is a place, a place and a number."""
    with pytest.raises(SystemExit):
        main(["--user", "root; id"])
