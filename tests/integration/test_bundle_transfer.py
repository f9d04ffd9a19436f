"""A release and a decision log, carried in a file to a site without a connection: all of it believed, or none of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.control_support import Control
from tests.log_support import KEY as LOG_KEY
from tests.log_support import event, open_log
from tests.publisher_office import KEY, Office, remembered, version
from zt_engine.adapters.bundle_signing import BundleSigningKey
from zt_engine.adapters.transfer_file import Content, TransferFile, measured, write_transfer
from zt_engine.bootstrap import publishing
from zt_engine.bootstrap.transferring import Imported, export_transfer, import_transfer
from zt_engine.cli import audit, bundle, publish
from zt_engine.core.bundle_signature import sign
from zt_engine.core.errors import ZtError
from zt_engine.core.transfer import INDEX, TRANSFER_TYPE, Carried, TransferIndex, read_index, write_index

THEIRS = BundleSigningKey.generate("site-2")
BELIEVED = {THEIRS.key_id: THEIRS.public()}
LOWERED = {
    "catalogue.yaml": ('label: {code: Confidential, audience: ["group:sales", "group:support"]}', "label: Internal")
}


class Sites:
    """An exporting site of two releases with a decision log, and what it exported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.one, self.both, self.other = (folder / name for name in ("one.zt", "both.zt", "other.zt"))
        self.log = folder / "source"
        self.log.mkdir()
        log = open_log(self.log, segment_bytes=600)
        for number in range(9):
            log.append(event(f"d{number}"))
            log.flush()
        log.tick()
        log.close()
        for tenant in ("default", "ministry"):
            with Control(tenant=tenant) as control:
                office = Office(control, key=THEIRS)
                office.publisher.publish(version("1", key=THEIRS))
                if tenant == "ministry":
                    self.export(office, self.other)
                    continue
                self.export(office, self.one)
                office.publisher.publish(version("2", key=THEIRS))
                self.export(office, self.both, since=1, log=True)

    def export(self, office: Office, out: Path, *, since: int | None = None, log: bool = False) -> None:
        places = (self.log / "checkpoints",) if log else ()
        export_transfer(
            office.publisher, out, since=since, log=self.log / "log" if log else None, checkpoints=places
        )  # fmt: skip


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "weakenings", remembered)
        yield Sites(tmp_path_factory.mktemp("sites"))


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    monkeypatch.setattr(publishing, "weakenings", remembered)
    with Control() as control:
        yield Office(control)


@pytest.fixture
def take(office: Office, tmp_path: Path) -> Callable[..., Imported]:
    def taken(path: Path, *, as_tenant: str | None = None, believed: Any = BELIEVED) -> Imported:
        return import_transfer(path, office.publisher, believed, as_tenant=as_tenant, folder=tmp_path / "in")

    return taken


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(ZtError) as refused:
        work()
    return refused.value.code


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_imported_release_is_this_sites_own_and_a_second_import_changes_nothing(
    office: Office, sites: Sites, take: Callable[..., Imported], tmp_path: Path
) -> None:
    first = take(sites.both)
    held = files(tmp_path / "in")
    record = office.reader.record(1)
    office.publisher.publish(version("own"))
    again = take(sites.both)

    assert (first.key_id, first.seq, first.published.seq, first.published.state) == ("site-2", 2, 1, "released")
    assert record.author == "tanaka <- default#2"  # and read under this site's key: it knows no other
    assert (again.again, again.published.seq, again.new_files) == (True, 1, ())
    assert [one["seq"] for one in office.plane.history()] == [2, 1]
    assert files(tmp_path / "in") == held


def test_the_log_that_came_along_verifies_where_it_was_put(
    sites: Sites, take: Callable[..., Imported], tmp_path: Path
) -> None:
    done = take(sites.both)
    public = tmp_path / "log.pub"
    public.write_bytes(LOG_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    place = tmp_path / "in"
    words = [str(place / "log"), "--checkpoints", str(place / "checkpoints"), "--key", str(public), "--lang", "en"]
    found = CliRunner().invoke(audit.app, ["verify", *words])

    assert len(done.new_files) > 2
    assert found.exit_code == 0, found.output
    assert "Nothing that is anchored was changed" in found.output


def test_a_log_that_lies_here_already_only_grows_and_another_one_is_not_written_over(
    office: Office, sites: Sites, take: Callable[..., Imported], tmp_path: Path
) -> None:
    segment = min((sites.log / "log").glob("decisions-*"))
    place = tmp_path / "in/log" / segment.name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"{}\n")
    differs = refusal(lambda: take(sites.both))
    place.unlink()
    place.symlink_to(tmp_path / "elsewhere")
    linked = refusal(lambda: take(sites.both))
    place.unlink()
    nothing = [files(tmp_path / "in"), office.plane.history()]
    place.write_bytes(segment.read_bytes()[:100])
    take(sites.both)

    assert (differs, linked, nothing) == ("TRANSFER_LOG_DIFFERS", "TRANSFER_LOG_DIFFERS", [{}, []])
    assert place.read_bytes() == segment.read_bytes()


def test_only_a_site_that_is_believed_is_imported_from(
    office: Office, sites: Sites, take: Callable[..., Imported]
) -> None:
    impostor = BundleSigningKey.generate("site-2")

    assert refusal(lambda: take(sites.one, believed={})) == "BUNDLE_KEY_UNKNOWN"
    assert refusal(lambda: take(sites.one, believed={KEY.key_id: KEY.public()})) == "BUNDLE_KEY_UNKNOWN"
    assert refusal(lambda: take(sites.one, believed={"site-2": impostor.public()})) == "BUNDLE_SIGNATURE"
    assert office.plane.history() == []


def test_another_tenants_release_is_taken_only_for_the_tenant_that_is_named(
    office: Office, sites: Sites, take: Callable[..., Imported]
) -> None:
    assert refusal(lambda: take(sites.other)) == "TRANSFER_TENANT"
    assert refusal(lambda: take(sites.other, as_tenant="ministry")) == "TRANSFER_TENANT"
    assert refusal(lambda: take(sites.one, as_tenant="ministry")) == "TRANSFER_TENANT"
    assert office.plane.history() == []
    assert take(sites.other, as_tenant="default").published.state == "released"
    assert office.reader.record(1).tenant == "default"


def test_what_weakens_waits_for_this_sites_people_whoever_released_it_there(
    office: Office, take: Callable[..., Imported], tmp_path: Path
) -> None:
    with Control() as control:
        there = Office(control, approvers=False, key=THEIRS)
        there.publisher.publish(version("2", LOWERED, key=THEIRS))
        export_transfer(there.publisher, tmp_path / "low.zt", since=None, log=None, checkpoints=())
    office.publisher.publish(version("1"))
    first, again = take(tmp_path / "low.zt"), take(tmp_path / "low.zt")
    for person in ("yamada", "suzuki"):
        office.approve(2, person)

    assert (first.published.state, first.published.lacking) == ("waiting", 2)
    assert (again.again, again.published.state, again.published.seq) == (True, "waiting", 2)
    assert [one["state"] for one in office.plane.history()] == ["released", "released"]


def test_a_file_that_lay_around_brings_back_nothing_that_was_replaced(
    office: Office, sites: Sites, take: Callable[..., Imported]
) -> None:
    take(sites.both)

    assert refusal(lambda: take(sites.one)) == "TRANSFER_OLD"
    assert len(office.plane.history()) == 1


def test_a_release_that_has_ended_is_not_given_another_life(
    office: Office, sites: Sites, take: Callable[..., Imported]
) -> None:
    office.control.clock.advance(31 * publishing.DAY)

    assert refusal(lambda: take(sites.one)) == "BUNDLE_EXPIRED"


def opened(path: Path) -> tuple[bytes, TransferIndex, dict[str, bytes]]:
    with TransferFile(path) as file:
        raw = file.index()
        _, index = read_index(raw, BELIEVED)
        file.verify(index)
        return raw, index, {member.name: file.content(member.name) for member in index.members}


@settings(
    max_examples=60,
    phases=(Phase.generate,),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(at=st.integers(min_value=0, max_value=2**40), flip=st.integers(min_value=1, max_value=255), cut=st.booleans())
def test_no_byte_of_a_transfer_may_change_or_be_missing(
    sites: Sites, tmp_path: Path, at: int, flip: int, cut: bool
) -> None:
    whole = sites.both.read_bytes()
    place = at % 4096 if at % 2 else at % len(whole)
    changed = whole[:place] if cut else whole[:place] + bytes((whole[place] ^ flip,)) + whole[place + 1 :]
    (tmp_path / "changed.zt").write_bytes(changed)

    assert refusal(lambda: opened(tmp_path / "changed.zt"))


def test_nothing_may_follow_a_transfer_and_no_link_leads_to_one(sites: Sites, tmp_path: Path) -> None:
    (tmp_path / "longer.zt").write_bytes(sites.one.read_bytes() + b"x")
    (tmp_path / "link.zt").symlink_to(sites.one)
    os.mkfifo(tmp_path / "pipe.zt")

    assert refusal(lambda: opened(tmp_path / "longer.zt")) == "TRANSFER_MALFORMED"
    assert refusal(lambda: opened(tmp_path / "link.zt")) == "TRANSFER_FILE"
    assert refusal(lambda: opened(tmp_path / "pipe.zt")) == "TRANSFER_MALFORMED"
    assert refusal(lambda: opened(tmp_path)) == "TRANSFER_MALFORMED"


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "log/../../decisions-x", "log/.lock", "log/reserve", "notes.txt", INDEX]
)
def test_a_believed_key_names_no_member_that_a_transfer_does_not_have(sites: Sites, tmp_path: Path, name: str) -> None:
    _, index, contents = opened(sites.one)
    held: dict[str, Content] = {**contents, name: b"x"}
    out = tmp_path / "odd.zt"
    odd = TransferIndex(
        tenant=index.tenant, made_at=0, releases=index.releases,
        members=tuple(measured(one, content) for one, content in held.items()),
    )  # fmt: skip

    assert refusal(lambda: write_index(odd, THEIRS)) == "TRANSFER_MALFORMED"
    write_transfer(out, signed_anyway(odd), [(member, held[member.name]) for member in odd.members])
    assert refusal(lambda: opened(out)) == "TRANSFER_MALFORMED"


def signed_anyway(index: TransferIndex) -> bytes:
    """As an exporter signs who checks nothing."""
    return sign(msgspec.json.encode(index), THEIRS, kind=TRANSFER_TYPE).encode()


def test_an_index_that_claims_too_much_is_refused_before_any_of_it_is_read(sites: Sites) -> None:
    _, index, _ = opened(sites.one)
    large = tuple(type(member)(member.name, 1 << 30, member.sha256) for member in index.members)
    claims = TransferIndex(tenant="default", made_at=0, releases=index.releases, members=large)
    many = TransferIndex(
        tenant="default", made_at=0, releases=index.releases,
        members=tuple(type(index.members[0])(f"log/{number}", 0, "0" * 64) for number in range(5000)),
    )  # fmt: skip
    twice = TransferIndex(tenant="default", made_at=0, releases=(*index.releases, *index.releases), members=large)
    absent = TransferIndex(tenant="default", made_at=0, releases=(Carried(9, "0" * 64),), members=index.members)

    assert refusal(lambda: read_index(signed_anyway(claims), BELIEVED)) == "TRANSFER_TOO_LARGE"
    for odd in (many, twice, absent):
        token = signed_anyway(odd)
        assert refusal(partial(read_index, token, BELIEVED)) == "TRANSFER_MALFORMED"


def test_the_commands_carry_a_release_from_one_site_to_another(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pems = {"site-1.pem": KEY.pem(), "site-2.pem": THEIRS.pem(), "site-2.pub.pem": THEIRS.public().pem().encode()}
    for name, pem in pems.items():
        (tmp_path / name).write_bytes(pem)
    config = tmp_path / "zt.toml"
    config.write_text('[publishing]\nkey_file = "site-1.pem"\nauthor = "tanaka"\n')
    monkeypatch.setattr("zt_engine.cli.publish.time.time", office.control.clock.now)
    out = str(tmp_path / "site.zt")

    def call(at: Office, *words: str) -> Any:
        monkeypatch.setattr(publish, "plane_of", lambda *_: contextlib.nullcontext(at.plane))
        return CliRunner().invoke(bundle.app, [*words, "--config", str(config), "--lang", "en"])

    with Control() as control:
        there = Office(control, key=THEIRS)
        there.publisher.publish(version("1", key=THEIRS))
        exported = call(there, "export", out, "--key", str(tmp_path / "site-2.pem"))
    unbelieved = call(office, "import", out)
    config.write_text(config.read_text() + 'import_keys = ["site-2.pub.pem"]\n')
    first, again = call(office, "import", out), call(office, "import", out)

    assert exported.exit_code == 0, (exported.output, exported.exception)
    assert "releases 1 of default" in exported.output
    assert (unbelieved.exit_code, first.exit_code, again.exit_code) == (1, 0, 0), first.output
    assert "import_keys" in unbelieved.stderr
    assert "release 1 of default, signed by site-2" in first.output
    assert "release 1 is in force" in first.output
    assert "imported already, as release 1 here" in again.output
