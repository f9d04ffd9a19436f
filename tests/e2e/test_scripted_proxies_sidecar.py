"""A whole sidecar behind HAProxy and Apache."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.proxied_sidecar import SidecarContract, World, serving

KINDS = ("haproxy", "apache")


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[World]:
    with serving(request.param, tmp_path_factory.mktemp(request.param), opa) as made:
        yield made


class TestSidecar(SidecarContract):
    """HAProxy tries four times for half a second; httpd's patience of 30 s is its own."""

    def test_the_key_stands_in_no_printed_text(self, world: World) -> None:
        texts = [
            path for path in world.folder.rglob("*") if path.suffix in (".cfg", ".lua") or path.name == "httpd.conf"
        ]

        assert texts and not [path for path in texts if world.sandbox.pep_key in path.read_text()]
        for include in world.sandbox.folder.glob("keys/*.apache.conf"):
            assert include.stat().st_mode & 0o077 == 0

    def test_h5_a_sidecar_that_is_stopped_killed_and_started_again_lets_nobody_pass(self, world: World) -> None:
        self.is_not_let_past_a_broken_sidecar(world, silent=1 if world.kind == "haproxy" else 0, gone=2)

    def test_a_wrong_key_of_the_proxy_opens_nothing(self, world: World) -> None:
        key = b"x" * 32
        if world.kind == "haproxy":
            wrong = {world.sandbox.folder / "keys/pep.key": key}
        else:
            include = next(world.sandbox.folder.glob("keys/*.apache.conf"))
            wrong = {include: b'SetEnvIfExpr "true" ZT_PEP_KEY=%b\n' % key}

        self.opens_nothing(world, wrong, frozenset({403, 503}))
