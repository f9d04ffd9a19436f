"""What the documentation shows is true of the code: links, files, tests, settings, codes, metrics, commands."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from zt_engine.bootstrap.installation import Choices, configuration
from zt_engine.bootstrap.packs import pack_names
from zt_engine.config import Section, Settings
from zt_engine.core.effect_names import OBLIGATIONS
from zt_engine.pages.registry import registry
from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.meters import Meters, MetersCollector

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ENDING = r"(?:py|toml|md|yaml|yml|json|rego|sh|j2|txt|html)"


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def table(page: str, heading: str) -> dict[str, list[str]]:
    """The rows of the first table below a heading: first cell without back-ticks -> the other cells."""
    section = text(page).split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip().strip("`"): [cell.strip() for cell in row[1:]] for row in rows}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_exist(page: Path) -> None:
    """A path with a known first folder is meant literally; a test may be named with it."""
    folders = "zt_engine|device_inventory|policies|tests|benchmarks|docs|requirements"
    missing = []
    pattern = rf"`((?:{folders})/[\w./-]+\.{ENDING})(?:::(\w+))?`"
    for path, test in re.findall(pattern, page.read_text(encoding="utf-8")):
        if not (ROOT / path).is_file():
            missing.append(path)
        elif test and not re.search(rf"^\s*(?:async )?def {test}\(", text(path), re.MULTILINE):
            missing.append(f"{path}::{test}")

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_codes_that_are_named_exist(page: Path) -> None:
    known = set(registry())
    for reasons in (ROOT / "policies").glob("*/reasons.yaml"):
        known |= set(YAML(typ="safe").load(reasons.read_text(encoding="utf-8")))
    prose = re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`", page.read_text(encoding="utf-8"))

    known |= environment()

    unknown = {word for word in prose if word not in known and not word.startswith("ZT_")}

    assert unknown == set()


@cache
def environment() -> frozenset[str]:
    """The environment variables that anything here reads."""
    sources = [path for folder in ("zt_engine", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    pattern = r'(?:environ(?:\.get)?[\[(]|envvar=)"([A-Z_]+)"'
    return frozenset(word for path in sources for word in re.findall(pattern, path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_that_are_shown_exist_with_their_options(page: Path) -> None:
    """Every `zt` and `make` in a console block is one that can be typed."""
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    wrong = []
    for block in blocks(page, "console"):
        for line in re.findall(r"^\$ ((?:.*\\\n)*.*)", block, re.MULTILINE):
            for part in re.split(r"&&|[|;&]", re.sub(r"\s#.*", "", line).replace("\\\n", " ")):
                words = shlex.split(part)
                words = words[next((at for at, word in enumerate(words) if "=" not in word), 0) :]
                if words[:1] == ["make"]:
                    wrong += [word for word in words[1:] if "=" not in word and word not in targets]
                elif words[:1] == ["zt"]:
                    wrong += [f"{line}: {fault}" for fault in unusable(words[1:])]

    assert wrong == []


def unusable(words: list[str]) -> Iterator[str]:
    """What of a command line the commands do not know."""
    from zt_engine.cli.main import app

    command: Any = typer.main.get_command(app)
    for word in words:
        if hasattr(command, "get_command"):
            found = command.get_command(None, word)
            if found is None:
                yield word
                return
            command = found
        elif word.startswith("--"):
            options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            if word.partition("=")[0] not in options:
                yield word


def test_every_page_can_be_found_from_the_index() -> None:
    index = set(re.findall(r"\]\(([^)#]+)", text("docs/index.md")))
    pages = {named(page).removeprefix("docs/") for page in PAGES if named(page).startswith("docs/")}

    missing = {page for page in pages if not page.startswith("adr/0") and page not in index} - {"index.md"}

    assert missing == set()


def test_every_picture_is_shown_and_every_page_that_people_meet_has_one() -> None:
    gallery = (ROOT / "docs/screens.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"screenshots/([\w-]+)\.png", gallery))
    made = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/browser").glob("test_*.py"))

    pictures = {path.stem for path in (ROOT / "docs/screenshots").glob("*.png")}
    elsewhere = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert shown <= pictures and not [name for name in pictures if f"screenshots/{name}.png" not in elsewhere]
    for name in shown:  # a test takes each, under this name or put together from its parts
        stem = re.sub(r"-(?:ja|en)(?:-.*)?$", "", name)
        assert stem in made or stem.partition("-")[2] in made, name
    journey = ("invitation", "notice", "install", "waiting", "left", "approval", "welcome")
    assert {f"enroll-{page}" for page in journey} <= {name.rpartition("-")[0] for name in shown}


def test_every_decision_record_is_listed() -> None:
    listed = set(re.findall(r"\]\((\d{4}-[^)]+)\)", text("docs/adr/README.md")))

    assert listed == {path.name for path in (ROOT / "docs" / "adr").glob("0*.md")}


# --- settings


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Heading of the documentation -> the section of the settings it describes."""
    for name, field in Settings.model_fields.items():
        candidates = (field.annotation, *get_args(field.annotation))
        for section in candidates:
            if isinstance(section, type) and issubclass(section, Section):
                yield (f"`[{name}]`" if section is field.annotation else f"`[[{name}]]`"), section


def default_of(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined or field.is_required():
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    if isinstance(value, dict):
        return "`{}`"
    return f"`{value}`" if isinstance(value, int | float) else f'`"{value}"`'


@pytest.mark.parametrize(("heading", "section"), [pytest.param(*pair, id=pair[0]) for pair in sections()])
def test_every_setting_is_described_with_its_default(heading: str, section: type[Section]) -> None:
    described = {name: cells[0] for name, cells in table("docs/configuration.md", heading).items()}

    assert described == {name: default_of(field) for name, field in section.model_fields.items()}


def test_every_setting_is_used() -> None:
    """A setting that nothing reads is a promise that nothing keeps."""
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "zt_engine").rglob("*.py")
        if path.parent != ROOT / "zt_engine" / "config"
    )
    unused = [
        f"{heading}.{name}"
        for heading, section in sections()
        for name in section.model_fields
        if not re.search(rf"\.{name}\b", sources)
    ]

    assert unused == []


def test_the_configuration_that_init_writes_is_read_without_a_fault(tmp_path: Path) -> None:
    text = configuration(Choices(pack="corp", issuer="https://idp.example"), "bundle-1")

    Settings.model_validate(tomllib.loads(text))


# --- names that other programs rely on


def test_every_metric_is_described() -> None:
    described = set(table("docs/operations.md", "Metrics"))
    source = text("zt_engine/bootstrap/sidecar_gauges.py") + text("zt_engine/bootstrap/control_gauges.py")
    metrics = list(MetersCollector(Meters(), {}).collect())
    counted = {metric.name + ("_total" if metric.type == "counter" else "") for metric in metrics}
    gauges = set(re.findall(r'"(zt_[a-z_]+)": \(', source))

    assert described == counted | gauges


def test_every_obligation_of_the_packs_is_described() -> None:
    described = set(table("docs/obligations.md", "The obligations of the packs"))

    assert pack_obligations() <= described
    assert described == OBLIGATIONS


def pack_obligations() -> set[str]:
    found: set[str] = set()
    for pack in pack_names():
        folder = ROOT / "policies" / pack
        for path in folder.rglob("data.yaml"):
            found.update(duties(YAML(typ="safe").load(path.read_text(encoding="utf-8"))))
        for path in folder.rglob("*.rego"):
            if not path.name.endswith("_test.rego"):
                source = path.read_text(encoding="utf-8")
                found.update(re.findall(r'_obligations contains "(\w+)"', source))
                found.update(re.findall(r'_obligations contains \{"id": "(\w+)"', source))
    return found


def duties(node: object) -> Iterator[str]:
    """Every text in a list under a key that holds obligations."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"obligations", "unmanaged", "export"} and isinstance(value, list):
                yield from value
            else:
                yield from duties(value)
    elif isinstance(node, list):
        for item in node:
            yield from duties(item)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(text("pyproject.toml"))
    reasons = text("docs/adr/0002-dependencies.md")
    wanted = [*project["project"]["dependencies"]]
    wanted += [item for extra in project["project"]["optional-dependencies"].values() for item in extra]
    wanted = [item for item in wanted if not item.startswith("zt-engine[")]  # extras that stand for others
    wanted += [item for group in project["dependency-groups"].values() for item in group]
    names = {re.split(r"[<>=!\[ ]", item, maxsplit=1)[0].lower() for item in wanted}

    assert {name for name in names if f"`{name}`" not in reasons.lower()} == set()


def test_the_extra_all_is_every_extra_but_the_one_that_is_compiled_where_it_is_installed() -> None:
    extras = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]
    others = sorted(extras.keys() - {"all", "tpm"})

    assert extras["all"] == [f"zt-engine[{','.join(others)}]"]
    assert {f"`{name}`" for name in extras if f"| `{name}` |" not in text("docs/adr/0002-dependencies.md")} == set()


def test_every_identity_header_is_described_for_backends() -> None:
    described = set(re.findall(r"^\| `([\w-]+)` \|", text("docs/backends.md"), re.MULTILINE))

    assert described == {"Zt-Decision", *IDENTITY_HEADERS}
