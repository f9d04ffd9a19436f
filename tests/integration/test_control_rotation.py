"""A device CA is followed by another while the control plane runs: a real process, its signal, what it then signs."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from tests.csr import make_csr
from tests.est_support import opened
from tests.forked import Forked
from tests.stream_server import free_port
from zt_engine.adapters.ca_keys import read_passphrase, rotate_authority
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.cli.main import app as commands
from zt_engine.config import load_control

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """`zt control run` of a new installation."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "zt.toml"
        install(folder, Choices(pack="corp", language="en", control_listen=f"127.0.0.1:{free_port()}"), now=time.time())
        (folder / "policy/bundle.tar.gz").unlink()  # compiling it would be most of the start, and nobody asks it here
        self.settings = load_control(self.config, {})
        self.url = self.settings.control.public_url
        self.key = (folder / "keys/admin.key").read_text().strip()
        words = ["control", "run", "--config", str(self.config)]
        self.process = Forked(words, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True)
        self.told("control.started")

    def told(self, event: str) -> dict[str, Any]:
        """Read its log up to an event."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if f'"{event}"' in line:
                found: dict[str, Any] = json.loads(line)
                return found
        pytest.fail(f"it ended without `{event}`")

    def reload(self) -> None:
        """Have it read its CAs again."""
        self.process.send_signal(signal.SIGHUP)
        self.told("device_cas.reloaded")

    def published(self) -> list[x509.Certificate]:
        """The CAs that sidecars and EST clients are told."""
        answer = httpx.get(f"{self.url}/.well-known/est/cacerts", trust_env=False)
        return opened(base64.b64decode(answer.content))

    def device(self, number: int) -> x509.Certificate:
        """Enroll a robot, and return its certificate."""
        body = {"subject": f"robot-{number}", "issuer": "https://idp.example", "ownership": "corp", "kind": "robot"}
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": f"robot-{number}-0123456789"}
        made = httpx.post(f"{self.url}/v1/invitations", json=body, headers=headers, trust_env=False).json()
        csr = x509.load_pem_x509_csr(make_csr()).public_bytes(Encoding.DER)
        answer = httpx.post(
            f"{self.url}/.well-known/est/simpleenroll",
            content=base64.encodebytes(csr),
            headers={"Content-Type": "application/pkcs10"},
            auth=(made["id"], made["code"]),
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return opened(base64.b64decode(answer.content))[0]


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One for all tests of this file: what one of them leaves behind has to be fit for the next."""
    one = Process(tmp_path_factory.mktemp("rotation") / "zt")
    yield one
    one.process.terminate()
    one.process.communicate(timeout=30)
    assert one.process.returncode == 0


def signer(device: x509.Certificate, authorities: list[x509.Certificate]) -> x509.Certificate:
    """The one CA among those that signed a certificate."""

    def signed(ca: x509.Certificate) -> bool:
        try:
            device.verify_directly_issued_by(ca)
        except Exception:
            return False
        return True

    (found,) = [ca for ca in authorities if signed(ca)]
    return found


def test_a_ca_that_cannot_be_read_leaves_those_of_before_in_use(control: Process) -> None:
    folder = control.settings.path(control.settings.control.device_cas)
    before = control.published()
    (folder / "broken.pem").write_text("no certificate")
    control.process.send_signal(signal.SIGHUP)
    refused = control.told("device_cas.refused")
    (folder / "broken.pem").unlink()

    assert str(refused["code"]).startswith("DEVICE_CA_")
    assert control.published() == before
    assert signer(control.device(4), before) in before


def test_while_two_cas_overlap_both_are_believed_and_the_new_one_signs_only_after(control: Process) -> None:
    (old,) = control.published()
    first = control.device(1)

    made = CliRunner().invoke(commands, ["control", "rotate-ca", "--config", str(control.config), "--lang", "en"])
    before = control.published()
    control.reload()
    overlapping = control.published()
    second = control.device(2)

    assert made.exit_code == 0, made.output
    assert before == [old]
    assert len(overlapping) == 2
    assert signer(first, overlapping) == signer(second, overlapping) == old

    # One that needs no overlap any more.
    control_settings = control.settings.control
    rotate_authority(
        control.settings.path(control_settings.device_cas),
        name="Device CA",
        passphrase=read_passphrase(control.settings.path(control_settings.passphrase_file)),
        now=time.time(),
        overlap=0,
    )
    control.reload()
    third = control.device(3)
    after = control.published()

    assert signer(third, after) not in overlapping
    assert signer(first, after) == signer(second, after) == old  # what it signed stays good until it ends
