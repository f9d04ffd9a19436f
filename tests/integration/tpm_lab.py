"""TPMs in software: swtpm processes with certificates of a maker, and the agent's side in its own environment."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.peers import ROOT, find_peer

CHILD = Path(__file__).with_name("tpm_child.py")


def needed() -> None:
    """Fail in CI and skip elsewhere when this machine has no TPM in software."""
    missing = [name for name in ("swtpm", "swtpm_localca", "tpm2-tools", "tpm2-pytss") if find_peer(name) is None]
    if missing:
        if os.environ.get("CI"):
            pytest.fail(f"missing: {', '.join(missing)}")
        pytest.skip(reason=f"missing: {', '.join(missing)}")


class Maker:
    """Makes TPMs, each with an endorsement certificate that leads to this maker's CA."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "ca").mkdir()
        (folder / "localca.conf").write_text(
            f"statedir = {folder}/ca\n"
            f"signingkey = {folder}/ca/signkey.pem\n"
            f"issuercert = {folder}/ca/issuercert.pem\n"
            f"certserial = {folder}/ca/certserial\n"
        )
        (folder / "localca.options").write_text(
            "--platform-manufacturer Test\n--platform-version 1\n--platform-model 1\n"
        )
        (folder / "setup.conf").write_text(
            "create_certs_tool = swtpm_localca\n"
            f"create_certs_tool_config = {folder}/localca.conf\n"
            f"create_certs_tool_options = {folder}/localca.options\n"
        )

    @property
    def roots(self) -> bytes:
        """The CAs that issue this maker's certificates."""
        return (self.folder / "ca/issuercert.pem").read_bytes() + (
            self.folder / "ca/swtpm-localca-rootca-cert.pem"
        ).read_bytes()

    def make(self, name: str, *, certified: bool = True) -> Tpm:
        state = self.folder / name
        state.mkdir()
        command = ["swtpm_setup", "--tpm2", "--tpmstate", str(state), "--config", str(self.folder / "setup.conf")]
        command += ["--create-ek-cert"] if certified else ["--createek"]
        done = subprocess.run([*command, "--overwrite"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return Tpm(state)


class Tpm:
    """One TPM that runs, on free loopback ports, until `close`."""

    def __init__(self, state: Path) -> None:
        self.folder = state
        self._run()

    def _run(self) -> None:
        # tss expects the control channel one above the data channel.
        for _ in range(50):
            self.port = free_pair()
            command = [
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}", "--flags", "startup-clear",
                "--server", f"type=tcp,port={self.port},bindaddr=127.0.0.1",
                "--ctrl", f"type=tcp,port={self.port + 1},bindaddr=127.0.0.1",
                "--pid", f"file={self.folder}/pid",
            ]  # fmt: skip
            (self.folder / "pid").unlink(missing_ok=True)
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if self._listens():
                return
        pytest.fail("swtpm does not start")

    def _listens(self) -> bool:
        """Whether it came up; another process may have taken the port in between."""
        while self._process.poll() is None:
            # Written once both sockets are open; a connection to look would be taken for the client's.
            if (self.folder / "pid").exists():
                return True
            try:
                self._process.wait(0.02)
            except subprocess.TimeoutExpired:
                pass
        return False

    @property
    def tcti(self) -> str:
        return f"swtpm:host=127.0.0.1,port={self.port}"

    def extend(self, *registers: int) -> None:
        """Measure something into registers, as firmware does."""
        digest = "ab" * 32
        words = [f"{register}:sha256={digest}" for register in registers]
        self.tool("tpm2_pcrextend", *words)

    def tool(self, *command: str) -> str:
        done = subprocess.run(
            [*command, "-T", self.tcti], cwd=self.folder, capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def reboot(self) -> None:
        self.close()
        self._run()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def free_pair() -> int:
    """A port that is free, as the one above it is."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


class Agent:
    """The agent's side, in a process of its own; `challenge` is the control plane's answer to a pair of keys."""

    def __init__(
        self,
        folder: Path,
        tpm: Tpm,
        challenge: Callable[[Mapping[str, Any]], Mapping[str, str]],
        *kinds: str,
    ) -> None:
        self._challenge = challenge
        python = find_peer("tpm2-pytss")
        assert python is not None
        environment = {"PYTHONPATH": str(ROOT), "TSS2_LOG": "all+none", "PATH": os.environ["PATH"]}
        self._process = subprocess.Popen(
            [str(python), str(CHILD), str(folder), tpm.tcti, *kinds],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def do(self, command: str, **named: str) -> dict[str, Any]:
        """Run one command, and whatever it has to ask meanwhile."""
        answer = self._ask({"do": command, **named})
        while "challenge" in answer:
            try:
                reply = dict(self._challenge(answer["challenge"]))
            except Exception as error:
                reply = {"refused": str(error)}
            answer = self._ask(reply)
        return answer

    def statement(self, command: str, *, nonce: str, about: str) -> dict[str, Any]:
        answer = self.do(command, nonce=nonce, about=about)
        assert "statement" in answer, answer
        return answer["statement"]

    def _ask(self, message: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self.close()
            pytest.fail("the agent's side has ended")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()
