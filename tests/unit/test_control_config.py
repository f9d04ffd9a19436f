"""The settings of a control plane: the same file, every fault at once, and nothing unsafe by oversight."""

from __future__ import annotations

from pathlib import Path

import pytest

from zt_engine.config import load, load_control
from zt_engine.core.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "zt.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as refused:
        load_control(path, {})
    return [(problem.code, problem.message) for problem in refused.value.problems]


def test_a_machine_that_runs_nothing_else_needs_no_proxy(tmp_path: Path) -> None:
    path = write(tmp_path, "[control]\n")

    settings = load_control(path, {})

    assert settings.database_url == f"sqlite:///{tmp_path / 'control/zt.db'}"
    assert settings.control.public_url == "http://127.0.0.1:9443"
    with pytest.raises(ConfigError):
        load(path, {})


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[control]\nlisten = "0.0.0.0:9443"\n', "TLS only"),
        ('[control]\nlisten = "[::]:9443"\n', "TLS only"),
        ('[control]\nlisten = "nowhere"\n', "no address with a port"),
        ('[control]\ncert_file = "a.pem"\n', "go together"),
        ('[control]\nurl = "http://control.example"\n', "by https"),
        ('[control]\ndatabase = "postgresql+psycopg://zt:hunter2@db/zt"\n', "password does not belong here"),
        ('[enrollment]\nissuer = "https://idp.example"\n', "go together"),
        ('[enrollment]\nattestation = "required"\n', "tpm_roots"),
        ('[certificate_authority]\nurl = "http://ca.example/est"\nca_file = "ca.pem"\n', "reached by https"),
        ('[certificate_authority]\nurl = "https://ca.example/est"\n', "by which CA"),
        ('[certificate_authority]\nurl = "https://ca.example/est"\nca_file = "ca.pem"\n', "know who asks"),
        ('[certificate_authority]\nurl = "https://ca.example/est"\nca_file = "ca.pem"\nuser = "zt"\n', "goes with"),
        ('[administrators]\naudience = "zt"\n', "go together"),
        ('[administrators]\nissuer = "https://idp.example"\naudience = "zt"\n', "none of `[[issuers]]`"),
    ],
)
def test_what_would_be_unsafe_or_half_done_is_refused(tmp_path: Path, text: str, part: str) -> None:
    found = faults(write(tmp_path, text))

    assert any(part in message for _, message in found), found
    assert "hunter2" not in str(found)


def test_every_fault_of_every_section_is_said_at_once_with_what_was_meant(tmp_path: Path) -> None:
    text = '[control]\nlisten = "x"\ninvitation_hour = 3\n[enrollment]\ncertificate_hours = 99\n'

    with pytest.raises(ConfigError) as refused:
        load_control(write(tmp_path, text), {"ZT_CONTROL__DATABSE": "x"})

    said = [(problem.code, problem.where.rpartition(":")[2], problem.hint) for problem in refused.value.problems]
    assert ("CONFIG_UNKNOWN_KEY", "environment", "did you mean `ZT_CONTROL__DATABASE`?") in said
    assert ("CONFIG_UNKNOWN_KEY", "3", "did you mean `invitation_hours`?") in said
    assert {where for _, where, _ in said} == {"environment", "2", "3", "5"}


def test_a_setting_may_come_from_the_environment(tmp_path: Path) -> None:
    settings = load_control(
        write(tmp_path, "[control]\n"),
        {"ZT_CONTROL__LISTEN": "127.0.0.1:1", "ZT_CONTROL__FACTS": "disk.encrypted,os.family"},
    )

    assert settings.control.public_url == "http://127.0.0.1:1"
    assert settings.control.facts == ("disk.encrypted", "os.family")
