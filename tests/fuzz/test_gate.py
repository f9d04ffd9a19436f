"""Properties of the gate: idempotent, one reading for every stack, and no error but its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.gate import check, check_names, check_path, check_target, check_words
from tests.peers import ROOT
from zt_engine.corpus.probe import packaged
from zt_engine.corpus.wire import compose

SPELLINGS = (
    r"/ // /. /.. . %2e %2f %5c \ ; ;a=1 ? # %23 %00 %25 %252e %25zz a A %61 %7e é %C3%A9 %c3%a9 e%CC%81 %ff %zz + ~"
)
PIECES = st.sampled_from(SPELLINGS.split(" "))
PATHS = st.lists(PIECES, max_size=10).map(lambda pieces: ("/" + "".join(pieces)).encode())
HOSTS = st.text(alphabet="aZ09.-:[]@,_ %é\t/", max_size=20).map(str.encode)
SEPARATED = st.sampled_from(["-", "_", ".", " "])
NAMED = "zt Zt x X forwarded original uri subject host authorization http"
WORDS = st.sampled_from(NAMED.split(" "))
NAMES = st.lists(
    st.lists(WORDS, min_size=1, max_size=4).flatmap(
        lambda words: st.lists(SEPARATED, min_size=len(words), max_size=len(words)).map(
            lambda signs: "".join(w + s for w, s in zip(words, signs, strict=True)).rstrip("-_. ").encode()
        )
    ),
    max_size=6,
)


@given(PATHS)
def test_an_accepted_path_has_one_reading_and_stays_as_it_is(raw: bytes) -> None:
    check_path(raw)


@given(st.text(alphabet="abvéを秘-~!$&'()*+,=:@", min_size=1, max_size=12))
def test_ordinary_names_are_accepted_however_they_are_escaped(name: str) -> None:
    raw = b"/vault/" + quote(name, safe="~!$&'()*+,=:@").encode()

    assert check_path(raw) == raw


@given(PATHS, HOSTS)
def test_asking_again_about_a_target_changes_nothing(uri: bytes, host: bytes) -> None:
    check_target(uri, host)
    check_target(uri + b"?x=/..", b"portal.example")
    check_target(b"https://" + host + uri, host)


@given(st.one_of(HOSTS, st.binary(max_size=20), st.ip_addresses().map(lambda address: str(address).encode())))
def test_hosts_methods_and_addresses_stay_what_they_became(raw: bytes) -> None:
    check_words(raw)


@given(NAMES)
def test_no_accepted_list_of_names_folds_onto_what_the_engine_owns(names: list[bytes]) -> None:
    check_names([b"Host", b"X-Forwarded-Uri", b"Zt-Request-Id", *names])


@given(st.binary(max_size=80))
def test_any_bytes_are_judged(data: bytes) -> None:
    check(data)


def test_every_target_of_the_corpus_is_judged() -> None:
    values = {name: f"/{name}" for probe in packaged() for name in probe.placeholders}
    for probe in packaged():
        for step in probe.steps:
            line = compose(step.send, values).partition(b"\r\n")[0].split(b" ")
            check_target(line[1] if len(line) > 1 else b"", b"portal.example")


def fuzzing_python() -> Path | None:
    """An interpreter that has atheris: this one, or that of an environment of its own."""
    apart = ROOT / ".cache/fuzz-venv/bin/python"
    if importlib.util.find_spec("atheris") is not None:
        return Path(sys.executable)
    return apart if os.access(apart, os.X_OK) else None


def test_the_fuzzer_finds_nothing_in_a_short_run(tmp_path: Path) -> None:
    python = fuzzing_python()
    if python is None:
        pytest.skip(reason="no atheris on this machine: it is optional")
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for probe in packaged():
        (seeds / probe.id).write_text("\n".join(step.send.split(" ")[1] for step in probe.steps if " " in step.send))
    command = [str(python), "-m", "tests.fuzz.run", str(seeds), "-runs=20000", "-max_len=200", "-seed=1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}

    result = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=100,
        check=False,
    )

    assert result.returncode == 0, result.stderr[-2000:]
