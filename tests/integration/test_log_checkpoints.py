"""Checkpoints leave the log's folder: a second directory, the syslog socket, and what happens when these fail."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.log_support import KEY, KEYS, Clock, audit, event, open_log
from zt_engine.adapters.log_checkpoints import (
    CheckpointKeys,
    DirectorySink,
    SyslogSink,
    load_public_key,
    load_signing_key,
)
from zt_engine.adapters.log_reader import read_checkpoints, read_log
from zt_engine.authoring.audit import verify
from zt_engine.core.decision_log import parse_checkpoint
from zt_engine.core.errors import ConfigError, InputError


class BrokenSink:
    """A sink whose place is gone."""

    def put(self, chain: str, line: bytes) -> None:
        raise OSError("gone")

    def close(self) -> None:
        return


def lines_in(root: Path) -> list[bytes]:
    return [line for _, line in read_checkpoints([root / "checkpoints"])]


def test_each_tick_signs_what_is_new_and_nothing_when_nothing_is(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    counts = []
    for name in ("a", "", "b", ""):
        if name:
            log.append(event(name))
            log.flush()
        log.tick()
        counts.append(len(lines_in(tmp_path)))

    assert counts == [1, 1, 2, 2]
    assert log.checkpoint_lag == 0
    log.close()


def test_what_is_signed_names_algorithm_and_key(tmp_path: Path) -> None:
    open_log(tmp_path).close()

    signed = parse_checkpoint(lines_in(tmp_path)[-1])

    assert signed is not None
    assert (signed.value.alg, signed.value.sidecar, signed.value.count) == ("Ed25519", "s1", 2)
    assert KEYS.verify(signed)


def test_old_pieces_of_the_second_directory_are_cut_off_and_the_audit_still_agrees(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    sink = DirectorySink(tmp_path / "checkpoints", log_folder=tmp_path / "log", piece_bytes=1000, keep=2)
    log = open_log(tmp_path, sinks=[sink], segment_bytes=4096)
    for number in range(60):
        log.append(event(f"d{number}"))
        log.flush()
        log.tick()
    log.close()

    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert (audit(tmp_path).faults, audit(tmp_path).unanchored) == ((), 0)


def test_a_checkpoint_reaches_the_syslog_socket_and_proves_the_log_from_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "devlog"))
        daemon.settimeout(5)
        log = open_log(tmp_path, sinks=[SyslogSink(tmp_path / "devlog")])
        log.append(event("a"))
        log.flush()
        log.close()
        datagram = daemon.recv(65536)
    (tmp_path / "messages").write_bytes(b"Nov 22 cron[1]: nothing\n" + datagram.replace(b"<86>", b"Nov 22 h ") + b"\n")

    report = verify(read_log([tmp_path / "log"]), read_checkpoints([tmp_path / "messages"]), genuine=KEYS.verify)

    assert datagram.startswith(b"<86>zt-engine: zt.checkpoint {")
    assert (report.faults, report.unanchored) == ((), 0)


def test_one_sink_that_works_is_enough_and_the_other_is_counted(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    good = DirectorySink(tmp_path / "checkpoints", log_folder=tmp_path / "log")
    log = open_log(tmp_path, sinks=[BrokenSink(), good])

    log.tick()

    assert (log.checkpoint_lag, log.checkpoint_failures) == (0, 1)
    log.close()


def test_without_any_working_sink_the_lag_grows_and_decisions_go_on(tmp_path: Path) -> None:
    log = open_log(tmp_path, sinks=[BrokenSink()])
    log.append(event("a"))
    log.flush()

    log.tick()

    assert (log.state, log.checkpoint_lag) == ("ok", 2)
    log.close()


def test_a_syslog_socket_that_is_not_there_is_a_failure_and_no_crash(tmp_path: Path) -> None:
    log = open_log(tmp_path, sinks=[SyslogSink(tmp_path / "nobody")])

    log.tick()

    assert log.checkpoint_failures == 1
    log.close()


def test_a_directory_that_vanished_is_a_failure_until_it_is_back(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    sink = DirectorySink(tmp_path / "checkpoints", log_folder=tmp_path / "log")
    (tmp_path / "checkpoints").rmdir()
    with pytest.raises(FileNotFoundError):
        sink.put("c", b"{}")

    (tmp_path / "checkpoints").mkdir()
    sink.put("c", b"{}")
    sink.close()

    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_the_thread_signs_by_itself(tmp_path: Path) -> None:
    log = open_log(tmp_path, clock=Clock())
    log.start(every=0.001)
    log.append(event("a"))
    log.flush()

    while log.checkpoint_lag:
        pass

    log.close()
    assert (audit(tmp_path).faults, audit(tmp_path).unanchored) == ((), 0)


def test_a_waiting_record_wakes_the_loop(tmp_path: Path) -> None:
    log, woken = open_log(tmp_path), []
    log.start(lambda: woken.append(True), every=60)

    log.note("trust", "ab" * 32)

    assert woken == [True]
    log.close()


def test_the_second_directory_must_exist_and_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "log/in").mkdir(parents=True)

    with pytest.raises(ConfigError, match="LOG_CHECKPOINT_FOLDER_MISSING"):
        DirectorySink(tmp_path / "none", log_folder=tmp_path / "log")
    with pytest.raises(ConfigError, match="LOG_CHECKPOINT_FOLDER_INSIDE"):
        DirectorySink(tmp_path / "log/in", log_folder=tmp_path / "log")


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_keys_are_read_from_pem_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(private_pem(KEY))
    (tmp_path / "key").chmod(0o600)
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "pub").write_bytes(public)
    open_log(tmp_path).close()

    signed = parse_checkpoint(lines_in(tmp_path)[-1])

    assert signed is not None
    assert load_signing_key(tmp_path / "key").public_key() == KEY.public_key()
    assert CheckpointKeys([load_public_key(tmp_path / "pub")]).verify(signed)


def test_a_signing_key_that_others_may_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(private_pem(KEY))
    (tmp_path / "key").chmod(0o640)

    with pytest.raises(ConfigError, match="group or others may use this key"):
        load_signing_key(tmp_path / "key")


def test_keys_of_another_kind_and_files_that_are_no_keys_are_refused(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    (tmp_path / "ec").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "ecpub").write_bytes(pem)
    (tmp_path / "text").write_text("no key", encoding="utf-8")

    for name in ("ec", "text", "absent"):
        with pytest.raises(ConfigError, match="LOG_KEY_INVALID"):
            load_signing_key(tmp_path / name)
    for name in ("ecpub", "text", "absent"):
        with pytest.raises(ConfigError, match="LOG_KEY_INVALID"):
            load_public_key(tmp_path / name)


def test_places_without_checkpoints_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="LOG_FOLDER_UNREADABLE"):
        list(read_checkpoints([tmp_path / "none"]))
    with pytest.raises(InputError, match="LOG_FOLDER_UNREADABLE"):
        read_log([tmp_path / "none"])
