"""Whoever has the same commit and the same key makes the same bundle, wherever and whenever."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.integration.test_publishing_sources import Repository
from tests.peers import ROOT
from tests.publisher_office import KEY
from zt_engine.adapters.git_tree import GitTree

BUILD = """
import hashlib, json, sys
from pathlib import Path
from zt_engine.bootstrap.workbench import Workbench, read_key
built = Workbench(sys.argv[1]).build(Path(sys.argv[2]), key=read_key(Path(sys.argv[3]), None))
print(json.dumps([hashlib.sha256(built.raw).hexdigest(), built.bundle.content_digest]))
"""


def test_the_same_commit_and_key_make_the_same_bundle_in_another_folder_and_process(opa: str, tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    for name in ("corp", "lib", "schemas"):
        shutil.copytree(ROOT / "policies" / name, repository.folder / "policies" / name)
    commit = repository.commit({"README.md": "policies"})
    key = tmp_path / "site-1.pem"
    key.write_bytes(KEY.pem())
    made = []
    for name, seed, zone in (("a", "1", "UTC"), ("a longer folder/b", "2", "Asia/Tokyo")):
        out = tmp_path / name
        GitTree(repository.folder).export(commit, "policies/corp", out)
        for number, path in enumerate(sorted(out.rglob("*"), reverse=name == "a")):
            os.utime(path, (number, number))
        words = [sys.executable, "-c", BUILD, opa, str(out / "policies/corp"), str(key)]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, cwd=out, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        made.append(json.loads(done.stdout))

    assert made[0] == made[1]
    assert made[0][0] != hashlib.sha256(b"").hexdigest()
