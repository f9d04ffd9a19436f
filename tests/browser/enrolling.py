"""What a person does to enroll a device: presses in a browser, and one command on the machine."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page

from tests.peers import ROOT
from tests.sidecar_support import wait_for

BROWSER = """#!/bin/sh
printf '%s\\n' "$1" > {handed}.new && mv {handed}.new {handed}
"""
"""What the agent calls to open a browser: it hands the address to the Chromium of the test."""


class Agent:
    """The agent on a machine, as the person runs it: one command, and what it asks answered with yes."""

    def __init__(self, folder: Path, command: str, language: str) -> None:
        folder.mkdir(parents=True)
        programs = folder / "bin"
        programs.mkdir()
        self._handed = folder / "handed"
        self._write(programs / "xdg-open", BROWSER.format(handed=shlex.quote(str(self._handed))))
        self._write(
            programs / "zt", f"#!/bin/sh\nexec {sys.executable} -c 'from zt_engine.cli import main; main()' \"$@\"\n"
        )
        self._environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "LANG": {"ja": "ja_JP.UTF-8", "en": "C.UTF-8"}[language],
        }
        self._process = self._start(command)

    def _start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=self._environment["HOME"],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def report(self) -> None:
        """Report once more, as the page says; without asking for updates again, which takes a machine seconds."""
        process = self._start("zt agent report --quick")
        said, _ = process.communicate(timeout=120)
        assert process.returncode in (0, 1), said

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def address(self) -> str:
        """Where it wants the person to sign in."""
        wait_for(lambda: self._handed.exists() or self._process.poll() is not None, "an address", seconds=60)
        assert self._handed.exists(), self._process.communicate()[0]
        return self._handed.read_text().strip()

    def finish(self) -> str:
        """Answer its question, and wait until it is done."""
        said, _ = self._process.communicate("y\n", timeout=120)
        assert self._process.returncode == 0, said
        return said


class Clicks:
    """Counts what a person presses."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self, page: Page, name: str) -> None:
        self.done.append(name)
        page.get_by_role("button", name=name, exact=True).or_(page.get_by_role("link", name=name, exact=True)).click()
