"""The settings: every fault at once, with file, line, key and what was probably meant; nothing that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.bootstrap.installation import Choices, configuration
from zt_engine.config import Settings, load
from zt_engine.core.errors import ConfigError, Problem

GOOD = """\
[sidecar]
listen = ["127.0.0.1:0"]

[[proxies]]
name = "front"
key_file = "keys/pep.key"

[[proxies]]
name = "back"
socket_uids = [33]
channel = "closed"

[[issuers]]
issuer = "https://idp.example"
audiences = ["https://portal.example"]
jwks = "keys/jwks.json"
"""


def read(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    path = tmp_path / "zt.toml"
    path.write_text(text)
    return load(path, environ or {})


def faults(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text, environ)
    return list(refused.value.problems)


def test_the_file_that_init_writes_is_good(tmp_path: Path) -> None:
    settings = read(tmp_path, configuration(Choices(pack="corp"), "bundle-1"))

    assert settings.proxies[0].channel == "open"
    assert settings.path(settings.log.dir) == tmp_path / "log"


def test_an_absolute_path_stays_and_a_relative_one_starts_at_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD)

    assert settings.path(Path("/etc/x")) == Path("/etc/x")
    assert settings.path(Path("x")) == tmp_path / "x"


def test_every_fault_is_reported_at_once_with_its_line_and_a_guess(tmp_path: Path) -> None:
    text = GOOD.replace("listen", "listn").replace('channel = "closed"', 'channel = "closd"').replace("jwks", "jwsk")

    found = faults(tmp_path, text)

    seen = {(problem.code, problem.where.rpartition(":")[2], problem.hint) for problem in found}
    assert seen == {
        ("CONFIG_UNKNOWN_KEY", "2", "did you mean `listen`?"),
        ("CONFIG_VALUE", "11", "did you mean `closed`?"),
        ("CONFIG_UNKNOWN_KEY", "16", "did you mean `jwks`?"),  # and not that `jwks` is missing
    }
    assert all(problem.where.startswith(f"{tmp_path}/zt.toml:") for problem in found)


@pytest.mark.parametrize(
    ("text", "code", "line", "named"),
    [
        ("", "CONFIG_MISSING_KEY", None, "`proxies` is required"),
        ("[sidecar\n", "CONFIG_SYNTAX", "1", ""),
        (GOOD.replace("127.0.0.1:0", "0.0.0.0:9191"), "CONFIG_LISTEN", "2", "`0.0.0.0:9191` is not a loopback address"),
        (GOOD.replace("127.0.0.1:0", "{9191}"), "CONFIG_LISTEN", "2", "`{9191}` is no address with a port"),
        (GOOD.replace('"closed"', '"opne"'), "CONFIG_VALUE", "11", "is `opne`; one of open, closed, lgwan, gsn"),
        (GOOD + "\n[log]\nsegment_mib = 0\n", "CONFIG_VALUE", "19", "`log.segment_mib` is `0`: "),
        (GOOD + "\n[sidcar]\n", "CONFIG_UNKNOWN_KEY", "18", "`sidcar`"),
        (GOOD + "\n[log]\nquota_mib = 1\n", "CONFIG_VALUE", "19", "`log.quota_mib`"),
        (GOOD + '\n[log]\nquota_mib = "many"\n', "CONFIG_VALUE", "19", "`log.quota_mib`"),
        (GOOD.replace('"back"', '"front"'), "CONFIG_VALUE", "4", "two proxies have the same name"),
        (GOOD.replace('"back"', '"Back!"'), "CONFIG_VALUE", "9", "`proxies.1.name`"),
        (GOOD.replace("socket_uids = [33]\n", ""), "CONFIG_VALUE", "8", "`socket_uids` or `certificate_names`"),
        (GOOD.replace("socket_uids", 'key_file = "k"\nsocket_uids'), "CONFIG_VALUE", "8", "one of them"),
        (GOOD.replace('["https://portal.example"]', "[]"), "CONFIG_VALUE", "15", "`issuers.0.audiences`"),
    ],
)
def test_a_fault_names_its_place(tmp_path: Path, text: str, code: str, line: str | None, named: str) -> None:
    (problem,) = faults(tmp_path, text)

    assert problem.code == code
    assert named in problem.message
    assert problem.where == str(tmp_path / "zt.toml") + (f":{line}" if line else "")


def test_no_proxy_at_all_is_a_fault(tmp_path: Path) -> None:
    (problem,) = faults(tmp_path, "proxies = []")

    assert (problem.code, problem.where.rpartition(":")[2]) == ("CONFIG_VALUE", "1")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "none.toml", {})

    (problem,) = refused.value.problems
    assert (problem.code, problem.hint) == ("CONFIG_UNREADABLE", "make one with `zt init DIR`")


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zt.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "zt.toml", {})

    assert refused.value.code == "CONFIG_SYNTAX"


# -- the environment --------------------------------------------------------------------------------------------------


def test_the_environment_overrides_a_setting(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        GOOD,
        {
            "ZT_SIDECAR__ID": "sidecar-2",
            "ZT_SIDECAR__LISTEN": "127.0.0.1:1,[::1]:1",
            "ZT_LIMITS__HEADERS": "20",
            "ZT_LOG__SYSLOG": "/dev/log",
            "ZT_CONFIG": "zt.toml",
            "PATH": "/bin",
        },
    )

    assert (settings.sidecar.id, settings.sidecar.listen) == ("sidecar-2", ("127.0.0.1:1", "[::1]:1"))
    assert (settings.limits.headers, settings.log.syslog) == (20, Path("/dev/log"))


@pytest.mark.parametrize(
    ("environ", "code", "hint"),
    [
        ({"ZT_SIDECAR__IDD": "x"}, "CONFIG_UNKNOWN_KEY", "did you mean `ZT_SIDECAR__ID`?"),
        ({"ZT_PROXIES__NAME": "x"}, "CONFIG_UNKNOWN_KEY", ""),
        ({"ZT_LIMITS__HEADERS": "many"}, "CONFIG_VALUE", ""),
        ({"ZT_SIDECAR__ID": ""}, "CONFIG_VALUE", ""),
    ],
)
def test_a_zt_name_that_is_no_setting_or_has_no_good_value_is_refused(
    tmp_path: Path, environ: dict[str, str], code: str, hint: str
) -> None:
    (problem,) = faults(tmp_path, GOOD, environ)

    assert (problem.code, problem.hint) == (code, hint)


def test_a_fault_of_the_environment_is_not_looked_for_in_the_file(tmp_path: Path) -> None:
    found = faults(tmp_path, GOOD, {"ZT_SIDECAR__LISTN": "x", "ZT_LIMITS__HEADERS": "1"})

    assert [(problem.where.rpartition("/")[2], problem.code) for problem in found] == [
        ("environment", "CONFIG_UNKNOWN_KEY"),
        ("environment", "CONFIG_VALUE"),
    ]


def test_a_section_that_is_no_table_is_refused_also_when_a_variable_sets_something_in_it(tmp_path: Path) -> None:
    (problem,) = faults(tmp_path, "sidecar = 3\n" + GOOD.partition("\n\n")[2], {"ZT_SIDECAR__ID": "x"})

    assert (problem.code, problem.where.rpartition(":")[2]) == ("CONFIG_VALUE", "1")


@given(st.text(max_size=60) | st.text(alphabet='[]=\n"abc.{},0 ', max_size=60))
def test_whatever_the_text_it_is_read_or_refused_by_name(text: str) -> None:
    path = Path("/tmp/zt-test-config.toml")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load(path, {})
    except ConfigError as refused:
        assert all(problem.code.startswith("CONFIG_") for problem in refused.problems)
    finally:
        path.unlink()
