"""A whole sidecar behind Caddy and Traefik."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.proxied_sidecar import SidecarContract, World, serving
from tests.proxies.asking import Inside

KINDS = ("caddy", "traefik")


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, opa: str) -> Iterator[World]:
    with serving(request.param, tmp_path_factory.mktemp(request.param), opa) as made:
        yield made


class TestSidecar(SidecarContract):
    """Caddy waits for half a second for a silent sidecar; Traefik's patience of 30 s is its own."""

    def test_the_key_stands_in_no_printed_text(self, world: World) -> None:
        texts = [path for path in world.folder.rglob("*") if path.name in ("Caddyfile", "traefik.yaml", "portal.yaml")]

        assert texts and not [path for path in texts if world.sandbox.pep_key in path.read_text()]
        for copy in world.sandbox.folder.glob("keys/*.caddy.key"):
            assert copy.stat().st_mode & 0o077 == 0

    def test_h5_a_sidecar_that_is_stopped_killed_and_started_again_lets_nobody_pass(self, world: World) -> None:
        self.is_not_let_past_a_broken_sidecar(world, silent=5 if world.kind == "caddy" else 0, gone=5)

    def test_a_wrong_key_or_certificate_of_the_proxy_opens_nothing(self, world: World, tmp_path: Path) -> None:
        if world.kind == "caddy":
            wrong = {next(world.sandbox.folder.glob("keys/*.caddy.key")): b"x" * 32}
        else:
            other = Inside(tmp_path / "other").front
            wrong = {
                world.folder / "inside/front.crt": other.certificate.read_bytes(),
                world.folder / "inside/front.key": other.key.read_bytes(),
            }

        self.opens_nothing(world, wrong, frozenset({401, 500}))
