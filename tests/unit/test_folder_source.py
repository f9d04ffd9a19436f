"""The policy folder: read what changed, believe only what its owner alone can have written."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from zt_engine.adapters import folder_records, folder_source, owned_files
from zt_engine.adapters.folder_records import RECORD_GRACE
from zt_engine.adapters.folder_source import SINGLE_FILES, FolderSource

NOW = 1_790_000_000.0
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policy"
    for path in (made, made / "devices", made / "subjects"):
        path.mkdir(mode=0o700)
    for name in SINGLE_FILES:
        put(made / name, name.encode())
    put(made / "devices/laptop-1.json", device("laptop-1"))
    put(made / "devices/laptop-2.json", device("laptop-2"))
    return made


def put(path: Path, content: bytes) -> None:
    """Write a file as it should be: whole, under another name, and renamed into place."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(content)
    draft.chmod(0o600)
    draft.rename(path)


def device(device_id: str, **fields: object) -> bytes:
    record = {
        "tenant": "default", "device_id": device_id, "version": 1, "status": "active", "ownership": "corp",
        "assigned": [], "keys": [], "boot_id": "b", "report_received_at": int(NOW), "facts": {}, **fields,
    }  # fmt: skip
    return json.dumps(record).encode()


def source(folder: Path) -> FolderSource:
    return FolderSource(folder, wait=lambda _: None)


def devices(reader: FolderSource, now: float = NOW) -> list[str]:
    return sorted(record.device_id for record in reader.records(now)[0].devices)


def record_codes(reader: FolderSource, now: float = NOW) -> list[str]:
    return [problem.code for problem in reader.records(now)[1]]


def single_codes(reader: FolderSource) -> list[str]:
    return [problem.code for problem in reader.singles()[1]]


# Reading.


def test_everything_is_read_once_and_then_only_what_changed(folder: Path) -> None:
    reader = source(folder)
    first, problems = reader.singles()
    again = reader.singles()
    put(folder / "trust.yaml", b"other")

    assert (sorted(first), problems, again) == (sorted(SINGLE_FILES), (), ({}, ()))
    assert reader.singles() == ({"trust.yaml": b"other"}, ())
    reader.forget("trust.yaml")
    assert reader.singles() == ({"trust.yaml": b"other"}, ())


def test_a_record_that_did_not_change_is_not_opened_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = source(folder)
    before = reader.records(NOW)[0]
    put(folder / "devices/laptop-2.json", device("laptop-2", version=2))
    opened: list[str] = []
    real = owned_files.read_owned

    def counted(name: str, *, limit: int, within: int | None = None) -> tuple[bytes, os.stat_result]:
        opened.append(name)
        return real(name, limit=limit, within=within)

    monkeypatch.setattr(folder_records, "read_owned", counted)
    after = reader.records(NOW)[0]

    assert opened == ["laptop-2.json"]
    assert [record.version for record in after.devices] == [1, 2]
    assert after.devices[0] is before.devices[0]


def test_a_change_is_told_until_it_was_taken_up(folder: Path) -> None:
    reader = source(folder)
    first = reader.changes(NOW)[0]
    put(folder / "devices/laptop-2.json", device("laptop-2", version=2))
    (folder / "devices/laptop-1.json").unlink()
    both = reader.changes(NOW)[0].devices
    reader.taken()

    assert sorted(first.devices) == ["laptop-1", "laptop-2"]
    assert both["laptop-1"] is None
    assert (both["laptop-2"].version, reader.changes(NOW)[0].devices) == (2, {})


def test_of_named_files_only_these_and_the_refused_ones_are_looked_at(folder: Path) -> None:
    reader = source(folder)
    put(folder / "devices/laptop-1.json", b"{")
    assert [problem.code for problem in reader.changes(NOW)[1]] != []
    reader.taken()
    put(folder / "devices/laptop-1.json", device("laptop-1", version=7))
    put(folder / "devices/laptop-2.json", device("laptop-2", version=8))
    put(folder / "devices/laptop-3.json", device("laptop-3"))

    found, problems = reader.changes(NOW, {"devices/laptop-3.json"})

    assert (sorted(found.devices), problems) == (["laptop-1", "laptop-3"], ())


def test_whatever_is_written_the_changes_lead_to_what_a_first_look_finds(folder: Path) -> None:
    """Three hundred rounds of writes, doubles, faults and removals, some of them named and some found by a scan."""
    chance, reader, held = random.Random(7), source(folder), {}
    names = [f"{letter}.json" for letter in "abcde"]
    for _ in range(300):
        touched = set()
        for name in chance.sample(names, chance.randint(1, 3)):
            path = folder / "devices" / name
            touched.add(f"devices/{name}")
            match chance.randrange(4):
                case 0:
                    path.unlink(missing_ok=True)
                case 1:
                    put(path, b"{")
                case _:
                    put(path, device(f"laptop-{chance.randrange(4)}", version=chance.randrange(9)))
        changes = reader.changes(NOW, touched if chance.random() < 0.7 else None)[0].devices
        if chance.random() < 0.3:
            continue  # nobody took it up; it is told again
        reader.taken()
        held |= changes
        held = {one: record for one, record in held.items() if record is not None}

        assert held == reader._devices.in_force
    now = NOW + RECORD_GRACE
    assert {record.device_id: record for record in reader.records(now)[0].devices} == {
        record.device_id: record for record in source(folder).records(now)[0].devices
    }


def test_a_file_that_is_gone_is_missed_and_found_again(folder: Path) -> None:
    reader = source(folder)
    reader.singles()
    (folder / "trust.yaml").rename(folder / "away")
    missed = single_codes(reader)
    (folder / "away").rename(folder / "trust.yaml")

    assert missed == ["FOLDER_FILE_MISSING"]
    assert list(reader.singles()[0]) == ["trust.yaml"]


def test_a_folder_that_is_not_there_says_so_of_every_file(tmp_path: Path) -> None:
    reader = source(tmp_path / "none")

    assert single_codes(reader) == ["FOLDER_FILE_MISSING"] * len(SINGLE_FILES)
    assert record_codes(reader) == ["FOLDER_UNREADABLE"]


def test_a_text_that_is_still_being_written_waits(folder: Path) -> None:
    reader = FolderSource(folder, wait=lambda _: (folder / "trust.yaml").write_bytes(b"whole") and None)  # type: ignore[arg-type, func-returns-value]
    (folder / "trust.yaml").write_bytes(b"ha")
    first = reader.singles()[0]
    settled = source(folder).singles()[0]

    assert "trust.yaml" not in first
    assert settled["trust.yaml"] == b"whole"


# Believing.


def linked(path: Path) -> None:
    """Put a link in its place, to the same content, which anybody may exchange."""
    elsewhere = path.parents[1] / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def given_away(path: Path) -> None:
    os.chown(path, 12345, 12345)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def opened_to_all(path: Path) -> None:
    path.chmod(path.stat().st_mode | 0o022)


FLAWED = [
    pytest.param(linked, "FOLDER_NOT_REGULAR", id="link"),
    pytest.param(given_away, "FOLDER_OWNER", id="owner", marks=needs_root),
    pytest.param(opened_to_all, "FOLDER_WRITABLE", id="writable"),
]
FLAWED_FILE = [*FLAWED, pytest.param(piped, "FOLDER_NOT_REGULAR", id="pipe")]
Spoil = Callable[[Path], None]


@pytest.mark.parametrize(("spoil", "code"), FLAWED_FILE)
@pytest.mark.parametrize("name", SINGLE_FILES)
def test_a_single_file_that_others_could_have_written_is_refused(
    folder: Path, name: str, spoil: Spoil, code: str
) -> None:
    reader = source(folder)
    reader.singles()
    spoil(folder / name)
    known, new = reader.singles(), source(folder).singles()

    assert known[0] == {}
    assert name not in new[0]
    for _, problems in (known, new):
        assert [(problem.code, problem.where) for problem in problems] == [(code, str(folder / name))]


@pytest.mark.parametrize(("spoil", "code"), FLAWED_FILE)
def test_a_record_that_others_could_have_written_is_refused(folder: Path, spoil: Spoil, code: str) -> None:
    reader = source(folder)
    assert devices(reader) == ["laptop-1", "laptop-2"]
    spoil(folder / "devices/laptop-1.json")

    assert record_codes(reader) == [code]
    assert devices(reader, NOW + RECORD_GRACE) == ["laptop-2"]
    assert devices(source(folder)) == ["laptop-2"]


@pytest.mark.parametrize(("spoil", "code"), FLAWED)
def test_a_folder_of_records_that_others_could_have_filled_is_refused(folder: Path, spoil: Spoil, code: str) -> None:
    reader = source(folder)
    reader.records(NOW)
    spoil(folder / "devices")

    assert record_codes(reader) == [code]
    assert devices(reader) == []


@pytest.mark.parametrize(("spoil", "code"), FLAWED)
def test_the_folder_itself_is_looked_at_in_the_same_way(folder: Path, spoil: Spoil, code: str) -> None:
    reader = source(folder)
    spoil(folder)

    assert (single_codes(reader), record_codes(reader)) == ([code], [code])
    assert (reader.singles()[0], devices(reader)) == ({}, [])


def test_a_folder_that_the_settings_reach_through_a_link_is_followed_once(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    reader = source(link)
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")

    assert single_codes(reader) == []
    assert reader.folder == folder


def test_a_file_in_place_of_a_folder_is_no_folder(folder: Path) -> None:
    (folder / "subjects").rmdir()
    put(folder / "subjects", b"")

    assert record_codes(source(folder)) == ["FOLDER_NOT_REGULAR"]


@pytest.mark.parametrize("swap", ["link", "writable"])
def test_what_is_exchanged_after_it_was_looked_at_is_refused_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    real = owned_files.look

    def looked(name: str, *, within: int | None = None) -> os.stat_result:
        status = real(name, within=within)
        if name == "situation.json":
            (linked if swap == "link" else opened_to_all)(folder / name)
        return status

    monkeypatch.setattr(folder_source, "look", looked)
    texts, problems = source(folder).singles()

    assert "situation.json" not in texts
    assert [problem.code for problem in problems] == ["FOLDER_NOT_REGULAR" if swap == "link" else "FOLDER_WRITABLE"]


def test_a_file_above_the_limit_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_source, "MAX_FILE", 20)
    put(folder / "situation.json", b" " * 21)

    assert single_codes(source(folder)) == ["FOLDER_TOO_LARGE"]


def test_a_file_that_grows_while_it_is_read_is_refused(folder: Path) -> None:
    """The size that was looked at says nothing: what counts is what was read."""
    with pytest.raises(owned_files.UnownedError, match="larger than"):
        owned_files.read_owned("/proc/self/status", limit=10)  # its size is said to be 0


def test_no_descriptor_is_left_open(folder: Path) -> None:
    reader = source(folder)
    linked(folder / "situation.json")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        reader.singles()
        reader.records(NOW)

    assert len(os.listdir("/proc/self/fd")) == before
