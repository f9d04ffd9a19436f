"""What `pip` and `pipx` install is everything the program needs: nothing is read from a checkout beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ZT = "import sys; from zt_engine.cli import main; sys.argv[0] = 'zt'; main()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked where nothing else of ours is."""
    folder = tmp_path_factory.mktemp("package")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(build, check=True, timeout=100, cwd=folder)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def run(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "HOME": str(site.parent)}
    return subprocess.run(
        [sys.executable, "-c", ZT, *words],
        capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=site.parent,
    )  # fmt: skip


def test_every_file_of_the_packages_is_in_it(installed: Path) -> None:
    ours = {
        path.relative_to(ROOT)
        for package in ("zt_engine", "device_inventory")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {path for path in ours if not (installed / path).is_file()} == set()


def test_it_runs_from_there(installed: Path) -> None:
    where = subprocess.run(
        [sys.executable, "-c", "import zt_engine; print(zt_engine.__file__)"],
        capture_output=True, text=True, check=True, cwd=installed.parent,
        env={**os.environ, "PYTHONPATH": str(installed)},
    ).stdout  # fmt: skip
    made = run(installed, "init", str(installed.parent / "site-1"), "--pack", "jp-gov")
    keys = run(installed, "control", "admin-key", "list", "--config", str(installed.parent / "site-1/zt.toml"))
    agent = run(installed, "agent", "status", "--home", str(installed.parent / "agent"), "--lang", "en")

    assert where.startswith(str(installed))
    assert made.returncode == 0, made.stderr
    assert keys.stdout.startswith("owner\towner")
    assert (agent.returncode, "not enrolled" in agent.stdout + agent.stderr) == (1, True)
