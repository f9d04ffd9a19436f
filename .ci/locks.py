"""Are the lock files made from what pyproject.toml says today? `make lock` makes them again.

The digest covers exactly the tables that the locks are made from, so editing a lint rule does not ask for new locks.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIGEST = ROOT / "requirements" / "made-from.sha256"
LOCKS = {
    "base.txt": ["pyproject.toml"],
    "dev.txt": [
        *(word for extra in ("opa", "control", "agent") for word in ("--extra", extra)),
        *("--group", "dev", "pyproject.toml"),
    ],
    "tpm.txt": ["--extra", "tpm", "pyproject.toml"],  # compiled where it is installed: only with tpm2-tss at hand
    "go.txt": ["--group", "go"],
    "proxies.txt": ["--group", "proxies"],
    "fuzz.txt": ["--group", "fuzz"],
}


def wanted() -> str:
    """The digest of what the locks are made from, and of the locks: a line that was edited by hand shows."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = document["project"]
    inputs = {
        "build": document["build-system"]["requires"],
        "python": project["requires-python"],
        "base": project["dependencies"],
        "extras": project["optional-dependencies"],
        "groups": document["dependency-groups"],
        "locks": {
            name: hashlib.sha256((ROOT / "requirements" / name).read_bytes()).hexdigest() for name in sorted(LOCKS)
        },
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def lock(uv: str) -> None:
    """Resolve again, keeping the versions that are locked unless pyproject.toml rules them out."""
    for name, arguments in LOCKS.items():
        command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        command += ["--custom-compile-command", "make lock", *arguments, "-o", f"requirements/{name}"]
        subprocess.run(command, cwd=ROOT, check=True)
    DIGEST.write_text(wanted() + "\n", encoding="ascii")


def main() -> int:
    """`locks.py UV` makes the locks with that uv; without an argument it checks them."""
    if len(sys.argv) > 1:
        lock(sys.argv[1])
        return 0
    if not DIGEST.exists() or DIGEST.read_text(encoding="ascii").strip() != wanted():
        print("requirements/*.txt were not made from this pyproject.toml: run `make lock`", file=sys.stderr)
        return 1
    print("locks are fresh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
