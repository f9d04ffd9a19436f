"""What `pip` and `pipx` install is everything the program needs: nothing is read from a checkout beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from device_inventory.agent.state import Held, Home, State

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


def needed(package: Distribution, extra: str = "") -> Iterator[Distribution]:
    """Yield what a package requires with one of its extras, and what that requires."""
    for line in package.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            found = distribution(requirement.name)
            yield found
            for further in ("", *requirement.extras):
                yield from needed(found, further)


@pytest.fixture(scope="module")
def with_agent(installed: Path) -> Path:
    """An environment with what `zt-engine[agent]` requires and nothing else, into which pip installs the wheel.

    What is required lies here already; without an index pip refuses to install if any of it were missing.
    """
    folder = installed.parent / "environment"
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    package = PathDistribution(next(installed.glob("*.dist-info")))
    for one in {found.name: found for found in needed(package, "agent")}.values():
        # A package that is shared among distributions, and whatever lies outside, is linked once or not at all.
        for name in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(one.locate_file(name))
    (wheel,) = installed.parent.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", folder, "install", "--quiet", "--no-index", "--no-compile"]
    subprocess.run([*pip, f"zt-engine[agent] @ {wheel.as_uri()}"], check=True, timeout=100, cwd=folder)
    return folder


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


def test_the_extra_of_the_agent_alone_is_enough_for_zt_agent(with_agent: Path) -> None:
    def ran(*command: str | Path) -> subprocess.CompletedProcess[str]:
        words = [str(with_agent / "bin" / command[0]), *map(str, command[1:])]
        environment = {"HOME": str(with_agent), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        return subprocess.run(
            words, capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=with_agent
        )

    home = Home(with_agent / "home")
    home.prepare()
    held = Held(device_id="d1", certificate="", chain="", x5t="", not_before=0, not_after=1, protection="file")
    home.save(State(url="https://control.example", held=held))

    nothing = ran("zt", "agent", "status", "--lang", "en")
    enrolled = ran("zt", "agent", "status", "--home", home.path, "--offline", "--json")
    parts = ran("python", "-c", "import pkcs11, importlib.util as u; print(u.find_spec('sqlalchemy'))")

    assert (nothing.returncode, nothing.stdout) == (1, "This machine is not enrolled.\n"), nothing.stderr
    assert (enrolled.returncode, json.loads(enrolled.stdout)["device_id"]) == (1, "d1"), enrolled.stderr
    assert parts.stdout == "None\n", parts.stderr
