"""`zt decide` of a sidecar that has joined: what it last kept of its control plane decides, and that is said."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.bundles import compiled
from tests.release_support import published, seq_of, tell
from tests.sidecar_support import CASE, PUBLIC, edit, in_process, wait_for
from tests.stream_server import Plane, Site, enrolled
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.cli.main import app

HERS = (
    "subject: {like: tanaka, acr: phr, amr: [hwk], auth_age: 60}\ndevice: laptop-1\n"
    f'request: {{method: GET, url: "{CASE}"}}\n'
)
ANYBODY = f'request: {{method: GET, url: "{PUBLIC}"}}\n'


def zt(site: Site, question: str, *words: str) -> Any:
    path = site.folder / "question.yaml"
    path.write_text(question, encoding="utf-8")
    arguments = ["decide", str(path), "--config", str(site.sandbox.config), *words]
    return CliRunner().invoke(app, arguments, env={"LANG": "C.UTF-8", "COLUMNS": "200"})


def decided(site: Site, question: str = HERS) -> dict[str, Any]:
    result = zt(site, question, "--json")
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def what(answer: dict[str, Any]) -> str:
    return str((answer["decision"]["reasons"] or [answer["decision"]["effect"]])[0])


def kept(site: Site) -> dict[str, bytes]:
    folder = site.sandbox.folder / "state"
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_answer_is_the_sidecar_s_before_and_after_a_revocation_and_says_how_old_it_is(
    site: Site, plane: Plane
) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"
        wait_for(lambda: what(decided(site)) == "allow", "what it kept")
        before = decided(site)

        plane.lose("laptop-1")
        wait_for(lambda: site.asked(sidecar) == "DEVICE_REVOKED", "the denial", seconds=5)
        wait_for(lambda: what(decided(site)) == "DEVICE_REVOKED", "the same of what it kept")

    assert before["kept"]["sidecar"] == "edge-1"
    assert before["kept"]["control_plane"] == f"http://127.0.0.1:{site.port}"
    assert (before["kept"]["release"], before["kept"]["seq"] > 0) == (0, True)
    assert before["kept"]["watermark_age"] < 60


def test_both_languages_say_that_the_control_plane_was_not_asked(site: Site, plane: Plane) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"
        wait_for(lambda: what(decided(site)) == "allow", "what it kept")
        english, japanese = (zt(site, HERS, "--lang", language).stdout for language in ("en", "ja"))

    assert "not asked now" in english
    assert "policy folder" in english
    assert "問い合わせていません" in japanese


def test_files_of_the_folder_about_devices_and_people_are_not_looked_at(site: Site, plane: Plane) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"
        wait_for(lambda: what(decided(site)) == "allow", "what it kept")
        site.sandbox.subject("tanaka", status="suspended")
        site.sandbox.situation(threat_level=4, revocations=[{"kind": "device", "key": "laptop-1", "until": None}])

        assert what(decided(site)) == "allow"


def test_what_a_device_was_registered_for_ends_what_it_is_good_for(site: Site, plane: Plane) -> None:
    plane.put(enrolled("laptop-2", "A" * 43, now=int(time.time()), ceiling=100))
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"
        wait_for(lambda: what(decided(site)) == "allow", "what it kept")

        other = decided(site, HERS.replace("laptop-1", "laptop-2"))

    assert what(other) == "DEVICE_CEILING"


def test_the_release_that_was_kept_decides_and_is_named(site: Site, plane: Plane, opa: str) -> None:
    strict = compiled(opa, edits=(('"threshold": 0', '"threshold": 1000'),))
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"
        wait_for(lambda: what(decided(site)) == "allow", "what it kept")

        tell(plane, *published(strict, site.sandbox.bundle_key, seq=1))
        wait_for(lambda: seq_of(sidecar) == 1, "the release", seconds=10)
        wait_for(lambda: what(decided(site)) == "TRUST_LOW", "the same of what it kept")

        assert site.asked(sidecar) == "TRUST_LOW"
        assert decided(site)["kept"]["release"] == 1


def test_a_lease_that_is_over_denies_as_the_sidecar_does_and_opens_what_needs_none(
    site: Site, plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"
        wait_for(lambda: what(decided(site)) == "allow", "what it kept")

    class Later(SystemClock):
        def __init__(self) -> None:
            super().__init__()
            now, elapsed = self.now, self.elapsed
            self.now, self.elapsed = (lambda: now() + 65), (lambda: elapsed() + 65)

    monkeypatch.setattr("zt_engine.bootstrap.deciding_ground.SystemClock", Later)

    assert what(decided(site)) == "STALE_POLICY"
    assert what(decided(site, ANYBODY)) == "allow"


def test_nothing_is_written_and_what_does_not_verify_opens_nothing(site: Site, plane: Plane) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"
        plane.lose("laptop-1")
        wait_for(lambda: what(decided(site)) == "DEVICE_REVOKED", "what it kept")
    batches = site.sandbox.folder / "state/control-plane/replica/batches.jws"
    raw = bytearray(batches.read_bytes())
    raw[len(raw) // 2] ^= 1
    batches.write_bytes(raw)
    before = kept(site)

    assert what(decided(site)) != "allow"
    assert kept(site) == before


def test_settings_without_the_address_as_zt_up_leaves_them_are_decided_on_what_was_kept(
    site: Site, plane: Plane
) -> None:
    with in_process(site.sandbox) as sidecar:
        assert site.asked(sidecar) == "200"
        wait_for(lambda: what(decided(site)) == "allow", "what it kept")
    edit(site.sandbox, "zt.toml", (f'url = ["http://127.0.0.1:{site.port}"]\n', ""))

    assert decided(site)["kept"]["sidecar"] == "edge-1"


def test_one_that_names_a_control_plane_and_has_not_joined_is_refused_like_the_sidecar(site: Site) -> None:
    result = zt(site, HERS)

    assert result.exit_code == 2
    assert "SIDECAR_NOT_JOINED" in result.stderr
