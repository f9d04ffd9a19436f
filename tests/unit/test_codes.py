"""Every machine-readable code is registered once, in both languages, and every registered code is one that is used.

Codes are found in the sources by their looks: a text of upper-case words joined by `_` that stands by itself. What
looks like a code and is none is listed here, one by one.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from zt_engine.core.decision import KINDS
from zt_engine.pages.registry import registry

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("zt_engine", "device_inventory")
REGISTRY = ROOT / "zt_engine" / "pages" / "codes"

CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
SUFFIX = re.compile(r"(?:_[A-Z][A-Z0-9]*)+")
"""A code whose first word is the kind of file it is about: `_VALUE` becomes CATALOGUE_VALUE."""
NO_CODES = frozenset(
    {
        "LC_ALL",
        "LC_MESSAGES",
        "LISTEN_PID",
        "XDG_STATE_HOME",
        "ZT_CONFIG",
        "PATH_INFO",
        "REQUEST_METHOD",
        "CORPUS_TOKEN",
        "CORPUS_HEADER",
        "STRICT_DNS",
        "UNIQUE_ID",
        # Meta-variables of CGI (RFC 3875) and what servers add to them.
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "RAW_URI",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "REQUEST_URI",
        "SCRIPT_NAME",
        "SERVER_PORT",
    }
)
META = re.compile(r"(?:HTTP|SSL|X|ZT)_[A-Z_]+")
"""Headers and TLS members as CGI spells them, and those of our own that a printed configuration sets."""
"""Names of environment variables, and of CGI's."""


@cache
def constants() -> tuple[tuple[str, str], ...]:
    """Every text of the packages that is neither prose nor a name of `__all__`, with where it stands."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [(text, f"{path.relative_to(ROOT)}:{line}") for text, line in texts(tree)]
    return tuple(found)


def texts(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Texts that are code: what stands alone as a statement is prose, what stands in `__all__` is a name."""
    skipped: set[int] = set()
    for node in ast.walk(tree):  # parents come before their children
        if isinstance(node, ast.Expr):
            skipped.add(id(node.value))
        elif isinstance(node, ast.Assign) and "__all__" in map(ast.unparse, node.targets):
            skipped.update(map(id, ast.walk(node)))
        elif isinstance(node, ast.Constant) and id(node) not in skipped:
            if isinstance(node.value, str):
                yield node.value, node.lineno
            elif isinstance(node.value, bytes):
                yield node.value.decode("latin-1"), node.lineno


@cache
def prefixes() -> frozenset[str]:
    """The first words that files give their codes: `Faults(where, "CATALOGUE")`."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "zt_engine").rglob("*.py")]
    return frozenset(word for source in sources for word in re.findall(r'\bFaults\(\w+, "([A-Z]+)"\)', source))


@cache
def pack_codes() -> frozenset[str]:
    """The codes that layers of the packs name; each pack registers its own in `reasons.yaml`."""
    files = (ROOT / "policies").glob("*/reasons.yaml")
    return frozenset(code for path in files for code in YAML(typ="safe").load(path.read_text(encoding="utf-8")))


def used() -> dict[str, str]:
    """Code -> where it stands by itself."""
    found = {
        text: where
        for text, where in constants()
        if CODE.fullmatch(text) and text not in NO_CODES and not META.fullmatch(text)
    }
    for text, where in constants():
        if SUFFIX.fullmatch(text):
            found.update({prefix + text: where for prefix in prefixes() if begins(prefix, where)})
    return found


def begins(prefix: str, where: str) -> bool:
    """Whether codes of a file may begin so: those of `catalogue_*.py` with CATALOGUE, of what all share with any."""
    family = Path(where.partition(":")[0]).stem.partition("_")[0]
    return family.upper() == prefix or family.upper() not in prefixes()


def test_every_code_that_is_used_is_registered() -> None:
    missing = {code: where for code, where in used().items() if code not in registry() and code not in pack_codes()}

    assert missing == {}


def test_every_registered_code_is_used() -> None:
    named = {code for text, _ in constants() for code in CODE.findall(text)}
    for path in (ROOT / "policies").rglob("*.rego"):
        if not path.name.endswith("_test.rego"):
            named.update(CODE.findall(path.read_text(encoding="utf-8")))
    for path in (ROOT / "zt_engine" / "pages" / "templates").iterdir():
        named.update(CODE.findall(path.read_text(encoding="utf-8")))

    assert sorted(set(registry()) - named - used().keys()) == []


def test_every_code_speaks_both_languages() -> None:
    silent = [
        name
        for name, entry in registry().items()
        if entry.kind not in KINDS
        or not entry.ja.endswith("。")
        or not entry.en.endswith((".", "?"))
        or bool(entry.hint_ja.strip()) != bool(entry.hint_en.strip())
    ]

    assert silent == []


def test_no_code_is_in_two_files() -> None:
    names = [
        name for path in sorted(REGISTRY.glob("*.toml")) for name in tomllib.loads(path.read_text(encoding="utf-8"))
    ]

    assert len(names) == len(set(names)) == len(registry())


def test_a_command_to_paste_is_one_of_ours() -> None:
    """A command that does not exist is worse than none."""
    from typer.main import get_command

    from zt_engine.cli.main import app

    root = get_command(app)
    broken = []
    for name, entry in registry().items():
        words = entry.command.split()
        if words[:1] == ["zt"]:
            command = root
            for word in words[1:]:
                if not hasattr(command, "get_command"):
                    break
                command = command.get_command(None, word)
                if command is None:
                    broken.append(f"{name}: {entry.command}")
                    break

    assert broken == []


def test_the_search_sees_a_code_however_it_is_written() -> None:
    """The search is itself tested: what it overlooks would not be missed."""
    source = (
        '"""IN_PROSE"""\n'
        '__all__ = ["IN_EXPORTS"]\n'
        'raise InputError("ONE_CODE" if doubled else "TWO_CODE", "text")\n'
        'Problem(code="THREE_CODE", message="not A_CODE by itself")\n'
        'answer = b"FOUR_CODE"\n'
    )
    found = [text for text, _ in texts(ast.parse(source)) if CODE.fullmatch(text)]

    assert sorted(found) == ["FOUR_CODE", "ONE_CODE", "THREE_CODE", "TWO_CODE"]
