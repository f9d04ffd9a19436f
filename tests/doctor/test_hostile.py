"""A hostile file ends in a report that says so: no exception, no hang, no memory without end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zt_engine.doctor.check import CHECKS, check
from zt_engine.doctor.finding import Report
from zt_engine.doctor.sources import MAX_BYTES
from zt_engine.pages.registry import registry

CONFIGURATIONS = Path(__file__).parent / "configurations"
GOOD = sorted(CONFIGURATIONS.glob("*/good*"))
KINDS = sorted(CHECKS)
REFUSALS = {"DOCTOR_UNREADABLE", "DOCTOR_SYNTAX", "DOCTOR_TOO_LARGE", "DOCTOR_KIND_UNKNOWN"}


def sane(report: Report) -> bool:
    """Every code speaks, every line is one."""
    codes = {finding.code for finding in report.findings} | {problem.code for problem in report.unreadable}
    return codes <= registry().keys() and all(finding.place.line >= 1 for finding in report.findings)


def refused(report: Report) -> set[str]:
    assert sane(report) and report.status == 2
    return {problem.code for problem in report.unreadable}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.parametrize("kind", KINDS)
def test_ten_megabytes_are_too_much(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "big.conf"
    path.write_bytes(b"a b;\n" * (2 << 20))

    assert refused(check([str(path)], kind)) == {"DOCTOR_TOO_LARGE"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "unit",
    ["x {\n", "{", "[", '{"a":', "- ", "<If a>\n", "a \\\n", '"', "'", "${", "a: {b: ", "(", "(a) {\nimport a\n"],
)
def test_deep_nesting_and_unfinished_text_end(kind: str, unit: str, tmp_path: Path) -> None:
    path = tmp_path / "deep.conf"
    path.write_text(unit * 20_000, encoding="utf-8")

    assert sane(check([str(path)], kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("raw", [b"\x00\x01\x02", b"\x7fELF\x02\x01\x01\x00", b"\xff\xfe\x00a"])
def test_a_binary_file_is_no_configuration(kind: str, raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "binary.conf"
    path.write_bytes(raw * 100)

    assert refused(check([str(path)], kind)) == {"DOCTOR_UNREADABLE"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.conf"
    os.mkfifo(pipe)

    for path in (pipe, tmp_path, Path("/dev/zero"), tmp_path / "missing"):
        assert refused(check([str(path)], kind)) == {"DOCTOR_UNREADABLE"}


@pytest.mark.parametrize("text", ["", "\n", "hello world\n", "1", "null", "[]", "{}", '"a"'])
@pytest.mark.parametrize("kind", [None, *KINDS])
def test_an_empty_or_odd_file_is_survived(kind: str | None, text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_text(text, encoding="utf-8")

    assert sane(check([str(path)], kind))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("nginx", "server { include %s; }"),
        ("apache", "<Location />\nInclude %s\n</Location>"),
        ("caddy", "a.example {\nimport %s\n}"),
    ],
)
def test_a_file_that_includes_itself_ends(kind: str, text: str, tmp_path: Path) -> None:
    for name, other in (("a.conf", "b.conf"), ("b.conf", "a.conf")):
        (tmp_path / name).write_text(text % other, encoding="utf-8")

    assert refused(check([str(tmp_path / "a.conf")], kind)) == {"DOCTOR_SYNTAX"}


def test_a_snippet_that_imports_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "Caddyfile"
    path.write_text("(a) {\n" + "import a\n" * 9 + "}\nsite.example {\nimport a\n}\n", encoding="utf-8")

    assert refused(check([str(path)])) <= {"DOCTOR_SYNTAX", "DOCTOR_TOO_LARGE"}


def test_a_lua_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text("global\n    lua-load gone.lua\n", encoding="utf-8")

    assert refused(check([str(path)])) == {"DOCTOR_UNREADABLE"}


def test_includes_that_multiply_end(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.conf").write_text(f"a {{ include {number + 1}.conf; }}\n" * 8, encoding="utf-8")
    (tmp_path / "12.conf").write_text("a b;\n" * 8, encoding="utf-8")

    assert refused(check([str(tmp_path / "0.conf")], "nginx")) == {"DOCTOR_TOO_LARGE"}


def test_a_variable_that_doubles_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "apache.conf"
    path.write_text("Define a x\n" + "Define a ${a}${a}\n" * 60, encoding="utf-8")

    assert refused(check([str(path)])) == {"DOCTOR_TOO_LARGE"}


@pytest.mark.parametrize(
    ("kind", "unit"),
    [
        ("nginx", "server { location /%d { auth_request /q; proxy_pass http://b; } }\n"),
        ("apache", "<Location /a%d>\nRequire ZT\nProxyPass http://b/\n</Location>\n"),
        ("apache", "<VirtualHost *:%d>\nProxyPass / http://b/\n</VirtualHost>\n"),
        ("haproxy", "frontend f%d\n mode http\n default_backend b%d\nbackend b%d\n server a 127.0.0.1:1\n"),
        ("caddy", "a%d {\nforward_auth b\nreverse_proxy c\n}\n"),
    ],
)
def test_very_many_of_one_thing_end(kind: str, unit: str, tmp_path: Path) -> None:
    """What compares each with each would still be at it when the test is given up."""
    path = tmp_path / "many"
    path.write_text("".join(unit.replace("%d", str(number)) for number in range(2500)), encoding="utf-8")

    assert sane(check([str(path)], kind))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_configuration_with_pieces_torn_out_or_doubled_is_survived(data: st.DataObject, place: Path) -> None:
    """Cut, double and exchange pieces of safe configurations, and put odd marks between them."""
    base = data.draw(st.sampled_from(GOOD))
    text = base.read_text(encoding="utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 400)))
        odd = data.draw(
            st.sampled_from(["", "{", "}", ";", '"', "'", "\\", "\n", "#", "$", "=", "[", "]", ":", "&a ", "*a"])
        )
        text = text[:start] + odd + data.draw(st.sampled_from(["", text[start:end] * 2])) + text[end:]
    path = place / base.name
    path.write_text(text, encoding="utf-8")

    assert sane(check([str(path)], base.parent.name))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=400), kind=st.sampled_from(KINDS))
def test_random_bytes_are_survived(raw: bytes, kind: str, place: Path) -> None:
    path = place / "random"
    path.write_bytes(raw)

    assert sane(check([str(path)], kind))


def test_the_limit_is_one_that_a_real_configuration_never_meets() -> None:
    assert all(path.stat().st_size < MAX_BYTES / 100 for path in GOOD)
