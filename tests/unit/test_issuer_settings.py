"""Which issuer is home: the only one or the one that says so, and no two people have one name."""

from __future__ import annotations

from pathlib import Path

import pytest

from zt_engine.bootstrap.identity import home_issuer, issuer_configs
from zt_engine.config import Settings, load
from zt_engine.core.errors import ConfigError

OURS, PARTNER = "https://idp.example", "https://idp.partner.example"


def settings(tmp_path: Path, *issuers: tuple[str, str]) -> Settings:
    tables = [
        f'[[issuers]]\nissuer = "{name}"\naudiences = ["a"]\njwks = "jwks.json"\n{more}\n' for name, more in issuers
    ]
    path = tmp_path / "zt.toml"
    path.write_text('[[proxies]]\nname = "front"\nsocket_uids = [33]\n' + "".join(tables))
    return load(path, {})


def test_without_issuers_there_is_no_home(tmp_path: Path) -> None:
    found = settings(tmp_path)

    assert (home_issuer(found), issuer_configs(found)) == ("", ())


@pytest.mark.parametrize("more", ["", "home = true", "home = false"])
def test_a_single_issuer_is_home(tmp_path: Path, more: str) -> None:
    (config,) = issuer_configs(settings(tmp_path, (OURS, more)))

    assert config.mapping.home == OURS


def test_of_several_issuers_all_know_which_is_home(tmp_path: Path) -> None:
    configs = issuer_configs(settings(tmp_path, (PARTNER, ""), (OURS, "home = true")))

    assert [config.mapping.home for config in configs] == [OURS, OURS]


@pytest.mark.parametrize(
    ("issuers", "code", "where"),
    [
        (((OURS, ""), (PARTNER, "")), "ISSUER_HOME", "issuers[0]"),
        (((OURS, "home = true"), (PARTNER, "home = true")), "ISSUER_HOME", "issuers[1]"),
        (((OURS, "home = true"), (OURS, "")), "ISSUER_TWICE", "issuers[1]"),
        (((OURS, "home = true"), ("partner", "")), "ISSUER_FOREIGN", "issuers[1]"),
        (((OURS, "home = true"), (f"{PARTNER}|x", "")), "ISSUER_FOREIGN", "issuers[1]"),
    ],
)
def test_issuers_that_could_give_two_people_one_name_are_a_fault(
    tmp_path: Path, issuers: tuple[tuple[str, str], ...], code: str, where: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        issuer_configs(settings(tmp_path, *issuers))

    assert [(problem.code, problem.where) for problem in caught.value.problems] == [(code, where)]


# -- approvers


@pytest.mark.parametrize("text", ['["keys/yamada.pub.pem"]', '[{person = " ", key = "k"}]', '[{person = "yamada"}]'])
def test_an_approver_is_a_person_with_a_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "zt.toml"
    path.write_text(f'[[proxies]]\nname = "front"\nsocket_uids = [33]\n[policy]\napprovers = {text}\n')

    with pytest.raises(ConfigError):
        load(path, {})


def test_the_environment_names_no_approvers(tmp_path: Path) -> None:
    path = tmp_path / "zt.toml"
    path.write_text('[[proxies]]\nname = "front"\nsocket_uids = [33]\n')

    with pytest.raises(ConfigError) as caught:
        load(path, {"ZT_POLICY__APPROVERS": "a.pem"})

    assert [problem.code for problem in caught.value.problems] == ["CONFIG_UNKNOWN_KEY"]
