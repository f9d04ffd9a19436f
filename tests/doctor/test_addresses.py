"""Does an address leave the machine; does a list of networks trust everybody?"""

from __future__ import annotations

import pytest

from zt_engine.doctor.addresses import stays_here, trusts_everybody

HERE = [
    "127.0.0.1", "127.0.0.1:80", "127.8.9.1:80", "[::1]:443", "::1", "localhost:8080", "http://localhost/x",
    "https://127.0.0.1:9191/v1", "fcgi://127.0.0.1:9010/", "unix:/run/a.sock", "unix//run/a.sock", "unix@name",
    "http://unix:/run/a.sock:/x", "/run/a.sock", "@name", "abns@name", "http://[::1]:80/",
]  # fmt: skip
AWAY = [
    "80", ":80", "*:80", "0.0.0.0:80", "[::]:80", "10.0.0.5:9191", "http://10.0.0.5", "https://10.0.0.5/unix:/",
    "sidecar:9191", "http://sidecar.example", "http://portal.example", "localhost.example:80", "//evil", "",
    "http://127.0.0.1@evil.example/", "127.0.0.1.example",
]  # fmt: skip


@pytest.mark.parametrize("address", HERE)
def test_an_address_of_this_machine(address: str) -> None:
    assert stays_here(address)


@pytest.mark.parametrize("address", AWAY)
def test_an_address_that_others_reach_or_that_nobody_can_know(address: str) -> None:
    assert not stays_here(address)


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "*", "2000::/3"])
def test_a_network_that_is_everybody(network: str) -> None:
    assert trusts_everybody(network)


@pytest.mark.parametrize("network", ["10.0.0.0/8", "192.0.2.7", "104.16.0.0/13", "fd00::/16", "private_ranges", "lb"])
def test_a_network_of_ones_own(network: str) -> None:
    assert not trusts_everybody(network)
