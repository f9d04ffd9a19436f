"""The whole of it, in processes: `zt control run` behind TLS, an identity provider, `zt agent` that was sent a link.

Once with a key in a file, and once with a key in a TPM (in software) that the control plane demands proof of.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from device_inventory.agent.spool import Spool, write_spool
from device_inventory.agent.state import Home
from tests import forked
from tests.forked import Forked
from tests.integration import tpm_lab
from tests.peers import ROOT, find_peer
from zt_engine.adapters.clock_system import SystemClock
from zt_engine.bootstrap.demo_provider import CLIENT, DemoProvider
from zt_engine.bootstrap.demo_tls import write_server_certificate

CLOCK = SystemClock()
ZT = "from zt_engine.cli import main; main()"
BROWSER = """#!{python}
import sys, urllib.request
urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(sys.argv[1], timeout=20).read()
"""
CONTROL = """
[[issuers]]
issuer = "{issuer}"
audiences = ["https://portal.example"]
algorithms = ["ES256"]
jwks = "{issuer}/jwks"

[control]
listen = "127.0.0.1:{port}"
url = "https://localhost:{port}"
database = "sqlite:///control/zt.db"
cert_file = "{chain}"
key_file = "{key}"
ca_file = "{ca}"

[enrollment]
issuer = "{issuer}"
client_id = "{client}"
{more}
"""


class Installation:
    """A control plane that runs, and a person with a machine."""

    def __init__(self, folder: Path, *, more: str = "", python: str = sys.executable) -> None:
        self.folder = folder
        self.python = python
        self.provider = DemoProvider(CLOCK, person="tanaka")
        self.environment = {
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin:/usr/sbin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": f"{ROOT}:{sysconfig.get_paths()['purelib']}",
            "TSS2_LOG": "all+none",
        }
        (folder / "bin").mkdir()
        browser = folder / "bin/xdg-open"
        browser.write_text(BROWSER.format(python=sys.executable))
        browser.chmod(0o755)
        self.config = folder / "zt" / "zt.toml"
        self._configure(more)

    def _configure(self, more: str) -> None:
        self.run(sys.executable, "init", str(self.config.parent), "--pack", "corp", "--host", "portal.example")
        ca, certificate, key = write_server_certificate(self.folder / "tls", ["localhost"], now=CLOCK.now())
        chain = self.folder / "tls/chain.pem"
        chain.write_bytes(certificate.read_bytes() + ca.read_bytes())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        written = self.config.read_text().split("[control]")[0]
        self.config.write_text(
            written
            + CONTROL.format(
                issuer=self.provider.issuer, client=CLIENT, port=port, chain=chain, key=key, ca=ca, more=more
            )
        )

    def __enter__(self) -> Self:
        self.provider.__enter__()
        words = ["control", "run", "--config", str(self.config)]
        self._control = Forked(words, env=self.environment, stderr=subprocess.PIPE, text=True)
        assert self._control.stderr is not None
        for line in self._control.stderr:
            if "control.started" in line:
                self.already_looked()
                return self
        pytest.fail("the control plane does not start")

    def __exit__(self, *_: object) -> None:
        self._control.terminate()
        self._control.communicate(timeout=30)
        self.provider.__exit__()

    def run(self, python: str, *words: str) -> tuple[int, str, str]:
        if python == sys.executable:
            return forked.run(list(words), env=self.environment)
        done = subprocess.run(
            [python, "-c", ZT, *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=100,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def already_looked(self) -> None:
        """Let the slow look of the day have been: which updates wait takes many seconds to find out."""
        home = Home(self.folder / ".local/state/zt-agent")
        home.prepare()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        write_spool(home, Spool(boot_id=boot_id, slow_at=int(CLOCK.now())))

    def agent(self, *words: str) -> tuple[int, str, str]:
        return self.run(self.python, "agent", *words)

    def invite(self) -> str:
        """Return the link that a person is sent."""
        _, out, err = self.run(sys.executable, "device", "--config", str(self.config), "invite", "tanaka")
        found = re.search(r"https://localhost\S+", out)
        assert found is not None, err
        return found[0]

    def shown(self, device_id: str) -> dict:
        """Return what the control plane holds of a device."""
        words = ("device", "--config", str(self.config), "show", device_id, "--json")
        return json.loads(self.run(sys.executable, *words)[1])


def device_of(out: str) -> str:
    found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", out)
    assert found is not None, out
    return found[0]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path) as made:
        yield made


def test_a_person_who_was_sent_a_link_enrolls_reports_and_reports_it_lost(installation: Installation) -> None:
    link = installation.invite()
    status, out, err = installation.agent("enroll", link, "--yes")
    device_id = device_of(out)
    used = installation.agent("enroll", link, "--yes", "--again")
    shown = json.loads(installation.agent("status", "--json")[1])

    assert (status, err) == (0, "")
    assert "Enrolled." in out
    assert installation.shown(device_id)["status"] == "active"
    # What is enrolled is not given up for an invitation that is none.
    assert "INVITE_USED" in used[2]
    assert shown["device_id"] == device_id

    _, out, _ = installation.agent("enroll", installation.invite(), "--yes", "--again")
    second = device_of(out)
    assert installation.agent("lost", "--yes")[0] == 0
    assert installation.shown(second)["status"] == "lost"
    refused = installation.agent("report", "--quick")
    assert refused[0] == 2
    assert "AUTH_DEVICE_STATUS" in refused[2]


def test_a_key_in_a_tpm_is_proven_to_be_there_from_the_first_command_on(tmp_path: Path) -> None:
    tpm_lab.needed()
    maker = tpm_lab.Maker(tmp_path / "maker")
    tpm = maker.make("chip")
    tpm.extend(0, 1, 2, 3, 4, 5, 6, 7)
    roots = tmp_path / "roots.pem"
    roots.write_bytes(maker.roots)
    python = find_peer("tpm2-pytss")
    more = f'attestation = "required"\ntpm_roots = "{roots}"'
    (tmp_path / "person").mkdir()
    try:
        with Installation(tmp_path / "person", more=more, python=str(python)) as made:
            refused = made.agent("enroll", made.invite(), "--yes", "--key", "file")
            status, out, err = made.agent("enroll", "--yes", "--key", "tpm", "--tpm", tpm.tcti)
            shown = made.shown(device_of(out)) if status == 0 else {}
    finally:
        tpm.close()

    assert "AGENT_ATTESTATION_REQUIRED" in refused[2]
    assert (status, err) == (0, "")
    assert shown["keys"][0]["protection"] == "attested_hw"
    assert shown["sources"]["quote"]["facts"]["boot.measured"]["method"] == "attested"
