"""Each seed breaks one thing in a safe configuration: exactly that is found, on its line, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.peers import ROOT
from zt_engine.doctor.check import CHECKS, check
from zt_engine.pages.registry import registry

NO_FINDINGS = {"DOCTOR_UNREADABLE", "DOCTOR_SYNTAX", "DOCTOR_TOO_LARGE", "DOCTOR_KIND_UNKNOWN"}
"""Exit status 2: what could not be read."""
HERE = Path(__file__).parent / "configurations"


def seeds() -> list[Any]:
    found = []
    for path in sorted(HERE.glob("*/seeds*.yaml")):
        for seed in YAML(typ="safe").load(path.read_text(encoding="utf-8")):
            found.append(pytest.param(path.parent, seed, id=f"{path.parent.name}: {seed['name']}"))
    return found


def good(folder: Path, named: str | None = None) -> Path:
    return folder / named if named else next(folder.glob("good.*"))


@pytest.mark.parametrize("path", sorted(HERE.glob("*/good*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_safe_configuration_has_no_findings(path: Path) -> None:
    report = check([str(path)])

    assert (report.findings, report.unreadable) == ((), ())
    assert report.proxy == path.parent.name


@pytest.mark.parametrize("path", sorted(HERE.glob("*/good*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_line_ends_and_a_mark_of_another_system_change_nothing(path: Path, tmp_path: Path) -> None:
    for file in path.parent.glob("*.lua"):
        (tmp_path / file.name).write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    copy = tmp_path / path.name
    copy.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))

    report = check([str(copy)])

    assert (report.proxy, report.findings, report.unreadable) == (path.parent.name, (), ())


@pytest.mark.parametrize(
    "seed", [item.values[1] for item in seeds() if item.values[0].name == "nginx"], ids=lambda seed: seed["name"]
)
def test_nginx_on_one_line_means_the_same(seed: dict[str, Any], tmp_path: Path) -> None:
    text = changed(good(HERE / "nginx").read_text(encoding="utf-8"), {seed["old"]: seed["new"], **seed.get("also", {})})
    path = tmp_path / "nginx.conf"
    path.write_text(" ".join(re.sub(r"(?m)(?:^|(?<= ))#.*$", "", text).split()), encoding="utf-8")

    assert {finding.code for finding in check([str(path)]).findings} == set(seed["finds"])


def changed(text: str, pieces: dict[str, str]) -> str:
    for old, new in pieces.items():
        assert old in text, f"good has no {old!r}"
        text = text.replace(old, new, 1)
    return text


@pytest.mark.parametrize(("folder", "seed"), seeds())
def test_a_seed_is_found_exactly(folder: Path, seed: dict[str, Any], tmp_path: Path) -> None:
    base = good(folder, seed.get("base"))
    pieces = {seed["old"]: seed["new"]} if "old" in seed else {}
    broken = tmp_path / base.name
    broken.write_text(changed(base.read_text(encoding="utf-8"), pieces | seed.get("also", {})), encoding="utf-8")
    for beside in folder.glob("*.lua"):
        text = changed(beside.read_text(encoding="utf-8"), seed.get("script", {}))
        (tmp_path / beside.name).write_text(text, encoding="utf-8")

    report = check([str(broken)])

    found = {item.code: Path(item.place.file).read_text().splitlines()[item.place.line - 1] for item in report.findings}
    assert report.unreadable == ()
    assert set(found) == set(seed["finds"]), report.findings
    for code, part in seed["finds"].items():
        assert part in found[code], report.findings
    assert seed.get("partly") or len(report.findings) == len(seed["finds"]), report.findings


@pytest.mark.parametrize("kind", sorted(CHECKS))
def test_every_finding_about_a_proxy_has_a_seed(kind: str) -> None:
    sources = (ROOT / "zt_engine" / "doctor" / kind).glob("*.py")
    found = {code for path in sources for code in re.findall(r'"(DOCTOR_\w+)"', path.read_text(encoding="utf-8"))}

    seeded = {code for item in seeds() if item.values[0].name == kind for code in item.values[1]["finds"]}

    assert seeded == found - NO_FINDINGS


def test_every_code_of_the_page_is_found_in_some_proxy() -> None:
    named = {name for name in registry() if name.startswith("DOCTOR_")}

    assert {code for item in seeds() for code in item.values[1]["finds"]} == named - NO_FINDINGS
