"""The key of the stream is followed by another while sidecars are asked: nobody is refused, and nothing is missed."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from tests.running_control import Running
from tests.sidecar_support import in_process, wait_for
from tests.stream_server import Plane, Site
from zt_engine.adapters.stream_http import StreamClient
from zt_engine.adapters.stream_keys import StreamKey, statement
from zt_engine.bootstrap import control_parts
from zt_engine.bootstrap.joining import read_member
from zt_engine.bootstrap.serving_stream import rekey
from zt_engine.config import load
from zt_engine.core.errors import InputError
from zt_engine.core.stream import StatusAnswer
from zt_engine.core.stream_signing import unseal

FOREIGN = StreamKey.generate()


@pytest.fixture
def site(tmp_path: Path, opa: str) -> Site:
    return Site(tmp_path, opa)


def test_the_stream_s_key_is_followed_by_another_and_no_request_is_refused(site: Site) -> None:
    following = StreamKey.generate()
    with site.followed() as plane:
        rotate(site, plane, following)
        # What it kept was signed with a key that is believed no more: it is told anew.
        with in_process(site.sandbox) as again:
            control = again.program.control
            wait_for(lambda: control is not None and control.connected, "the stream")
            assert site.asked(again) != "200"


def rotate(site: Site, plane: Plane, following: StreamKey) -> None:
    with in_process(site.sandbox) as sidecar:
        control, before = sidecar.program.control, plane.key
        assert control is not None

        def known(*keys: StreamKey) -> bool:
            assert site.asked(sidecar) == "200"
            return set(control.member.membership.stream_keys) == {key.key_id for key in keys}

        def taken(keys: list[StreamKey]) -> bool:
            try:
                rekey(plane.plane, keys)
            except InputError as error:
                assert error.code == "STREAM_KEY_NEEDED"
                return False
            return True

        with pytest.raises(InputError, match="STREAM_KEY_UNANNOUNCED"):
            rekey(plane.plane, [following, before])
        rekey(plane.plane, [before, following])
        control.updates.set()
        wait_for(lambda: known(before, following), "the key that is to come")

        with pytest.raises(InputError, match="STREAM_KEY_UNANNOUNCED"):
            rekey(plane.plane, [following])
        rekey(plane.plane, [following, before])
        seen = plane.origin.hub.watermark
        wait_for(lambda: known(before, following) and plane.origin.hub.watermark != seen, "a watermark of the new key")

        wait_for(lambda: taken([following]), "what the sidecar believes to be known")
        control.updates.set()
        wait_for(lambda: known(following), "the end of the key before")
        with pytest.raises(InputError, match="STREAM_KEY_UNANNOUNCED"):
            rekey(plane.plane, [FOREIGN, following])
        plane.revoke("laptop-1")
        wait_for(lambda: site.asked(sidecar) != "200", "the revocation")
        assert control.connected
        assert control.fault is None


def test_a_sidecar_that_heard_of_the_next_key_only_when_it_signed_follows_all_the_same(site: Site) -> None:
    following = StreamKey.generate()
    with site.followed() as plane, in_process(site.sandbox) as sidecar:
        control, before = sidecar.program.control, plane.key
        assert control is not None

        rekey(plane.plane, [before, following])
        rekey(plane.plane, [following, before])

        wait_for(lambda: set(control.member.membership.stream_keys) == {before.key_id, following.key_id}, "both keys")
        wait_for(lambda: control.connected and control.fault is None, "the stream")
        plane.revoke("laptop-1")
        wait_for(lambda: site.asked(sidecar) != "200", "the revocation")


def test_a_key_stays_for_as_long_as_a_sidecar_that_is_heard_knows_no_other(site: Site) -> None:
    following = StreamKey.generate()
    with site.followed() as plane:
        before = plane.key
        said = {"nonce": "n" * 16, "applied_seq": 0}

        def heard(*known: StreamKey) -> None:
            member = read_member(load(site.sandbox.config, {}))
            told = member.membership
            proof = statement(member.key, sidecar=told.id, audience=told.audience, now=time.time())
            client = StreamClient([plane.address], statement=lambda: proof)
            plane.thread.run(client.status(said, known=[key.key_id for key in known]))
            plane.thread.run(client.close())

        rekey(plane.plane, [before, following])
        heard(before)
        rekey(plane.plane, [following, before])
        with pytest.raises(InputError, match=r"STREAM_KEY_NEEDED.*edge-1"):
            rekey(plane.plane, [following])
        assert set(plane.origin.keys.believed) == {before.key_id, following.key_id}
        heard(before, following)
        rekey(plane.plane, [following])
        assert set(plane.origin.keys.believed) == {following.key_id}


def test_the_settings_name_the_keys_and_a_signal_takes_them_up_in_their_order(tmp_path: Path) -> None:
    with Running(tmp_path / "zt") as running:
        before, following = running.program.parts.stream_keys[0], StreamKey.generate()
        path = tmp_path / "zt/keys/next.pem"
        path.write_bytes(following.pem())
        os.chmod(path, 0o600)
        text = running.config.read_text(encoding="utf-8")

        def taken(signs: str, *others: str) -> bool:
            named = f'stream_key_file = "keys/{signs}.pem"\nother_stream_keys = {[f"keys/{one}.pem" for one in others]}'
            kept = re.sub(r"^(stream_key_file|other_stream_keys) = .*\n", "", text, flags=re.MULTILINE)
            changed = re.sub(r"^(\[control\].*)$", lambda found: f"{found[1]}\n{named}", kept, flags=re.MULTILINE)
            running.config.write_text(changed, encoding="utf-8")
            done: bool = running.thread.run(running.program.reload(running.config))
            return done

        def signs(key: StreamKey) -> bool:
            raw = running.program.origin.sign(StatusAnswer(tenant="default", nonce="n", now=1.0))
            try:
                return unseal(raw, StatusAnswer, {key.key_id: key.public()}, tenant="default").nonce == "n"
            except InputError:
                return False

        assert not taken("next", "stream")  # nobody was told of it
        assert signs(before)
        assert taken("stream", "next")
        assert signs(before)
        assert not taken("next")  # what is under way would be refused
        assert taken("next", "stream")
        assert signs(following)
        assert taken("next")
        assert set(running.program.origin.keys.believed) == {following.key_id}
    with Running(tmp_path / "zt") as again:
        assert again.program.parts.stream_keys[0].key_id == following.key_id


def test_of_two_signals_in_a_row_the_settings_that_were_written_last_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, may_go_on, own_signers = threading.Event(), threading.Event(), control_parts.own_signers

    def slow(settings: Any) -> Any:
        if not began.is_set():
            began.set()
            may_go_on.wait(10)
        return own_signers(settings)

    monkeypatch.setattr("zt_engine.bootstrap.control.own_signers", slow)
    with Running(tmp_path / "zt") as running:
        program, before, following = running.program, running.program.parts.stream_keys[0], StreamKey.generate()
        path = tmp_path / "zt/keys/next.pem"
        path.write_bytes(following.pem())
        os.chmod(path, 0o600)

        first = asyncio.run_coroutine_threadsafe(program.reload(running.config), running.thread.loop)
        assert began.wait(10)
        text = running.config.read_text(encoding="utf-8")
        other = r'\1\nother_stream_keys = ["keys/next.pem"]'
        named = re.sub(r"^(\[control\].*)$", other, text, flags=re.MULTILINE)
        running.config.write_text(named, encoding="utf-8")
        second = asyncio.run_coroutine_threadsafe(program.reload(running.config), running.thread.loop)
        wait([second], timeout=0.5)  # one that does not wait for the other ends in this time
        may_go_on.set()

        assert first.result(10)
        assert second.result(10)
        assert set(program.origin.keys.believed) == {before.key_id, following.key_id}
