"""A control plane that goes by another address now: who takes that up, and what others are told."""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec
import pytest
import structlog

from zt_engine.adapters.stream_http import UNPROVEN
from zt_engine.adapters.stream_keys import StreamKey
from zt_engine.bootstrap.control_link import interrupted
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.bootstrap.joining import KEY, MEMBERSHIP, Member, Membership, keep_membership, read_member
from zt_engine.bootstrap.one_machine import readdress
from zt_engine.bootstrap.serving_stream import read_stream_key
from zt_engine.config import load, load_control
from zt_engine.core.errors import UnavailableError

BEFORE, AFTER = "http://127.0.0.1:9443", "http://127.0.0.1:9553"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation whose control plane was `BEFORE` when its sidecar joined, and is `AFTER` now."""
    folder = tmp_path_factory.mktemp("one-machine") / "zt"
    install(folder, Choices(pack="corp", control_listen=AFTER.removeprefix("http://")), now=time.time())
    return folder


def joined(site: Path, key: StreamKey) -> Member:
    """Write down that the sidecar joined the control plane that has this key."""
    settings = load(site / "zt.toml", {})
    told = Membership(
        id=settings.sidecar.id,
        tenant=settings.sidecar.tenant,
        audience=BEFORE,
        stream_keys={key.key_id: key.jwk},
        device_cas="",
        version=7.0,
        root={"kty": "OKP"},
        trust="what the root signed",
    )
    member = Member(told, StreamKey.generate(), settings.path(settings.control_plane.state))
    member.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (member.folder / KEY).write_bytes(member.key.pem())
    (member.folder / KEY).chmod(0o600)
    keep_membership(member)
    return member


def started(site: Path, **environment: str) -> Membership:
    """Do what `zt up` does before it starts the sidecar, and return what the sidecar then goes by."""
    settings = load(site / "zt.toml", environment)
    readdress(settings, load_control(site / "zt.toml", {}))
    return read_member(settings).membership


def own(site: Path) -> StreamKey:
    return read_stream_key(site / "keys/stream.pem")


def test_a_sidecar_speaks_to_its_own_control_plane_by_the_address_of_now_and_stays_who_it_was(site: Path) -> None:
    member = joined(site, own(site))

    assert started(site) == msgspec.structs.replace(member.membership, audience=AFTER)
    assert (member.folder / KEY).read_bytes() == member.key.pem()
    assert (member.folder / MEMBERSHIP).stat().st_mode & 0o777 == 0o600
    assert started(site).audience == AFTER


def test_what_another_control_plane_admitted_is_not_touched_and_the_log_names_the_folder(site: Path) -> None:
    member = joined(site, StreamKey.generate())

    with structlog.testing.capture_logs() as said:
        assert started(site) == member.membership

    assert [(one["event"], one["where"]) for one in said] == [("sidecar.joined_elsewhere", str(member.folder))]


def test_a_key_of_the_same_name_is_not_the_same_control_plane(site: Path) -> None:
    member = joined(site, own(site))
    forged = msgspec.structs.replace(member.membership, stream_keys={own(site).key_id: StreamKey.generate().jwk})
    keep_membership(Member(forged, member.key, member.folder))

    assert started(site) == forged


@pytest.mark.parametrize("key", ["own", "another"])
def test_an_address_that_the_settings_of_the_sidecar_name_still_holds(site: Path, key: str) -> None:
    member = joined(site, own(site) if key == "own" else StreamKey.generate())

    with structlog.testing.capture_logs() as said:
        assert started(site, ZT_CONTROL_PLANE__URL=f"https://other.example,{BEFORE}/") == member.membership

    assert said == []


def test_a_sidecar_that_is_not_let_in_is_told_once_which_folder_it_is_about_and_what_to_do(site: Path) -> None:
    member = joined(site, own(site))
    refusal = UnavailableError("STREAM_REFUSED", f"`{AFTER}` answers 401", hint=UNPROVEN)

    with structlog.testing.capture_logs() as said:
        fault = interrupted(refusal, member, before=None)
        assert interrupted(refusal, member, before=fault) == fault

    (line,) = said
    assert (line["code"], line["where"], fault.where) == ("STREAM_REFUSED", str(member.folder), str(member.folder))
    assert line["hint"] == fault.hint and re.search(f"`{BEFORE}`.*`url`.*zt sidecar join TOKEN", fault.hint)


def test_a_control_plane_that_is_busy_has_nobody_join_again(site: Path) -> None:
    busy = UnavailableError("STREAM_REFUSED", f"`{AFTER}` answers 503", hint="7")

    fault = interrupted(busy, joined(site, own(site)), before=None)

    assert (fault.where, fault.hint) == ("", "")
