"""What `zt init` writes as examples in comments is valid once the marks are taken away."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from zt_engine.adapters.approvals import read_approvers
from zt_engine.adapters.catalogue_yaml import load_catalogue
from zt_engine.bootstrap.installation import Choices, install
from zt_engine.bootstrap.publishing_ground import believed_keys, source_of
from zt_engine.bootstrap.publishing_sources import FolderSource
from zt_engine.bootstrap.wiring import approver_pems
from zt_engine.bootstrap.workbench import read_key
from zt_engine.cli.main import app
from zt_engine.config import load, load_control
from zt_engine.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation whose examples were taken up, with the approvers' keys that docs/publishing.md makes."""
    folder = tmp_path_factory.mktemp("init") / "zt"
    install(folder, Choices(pack="corp"), now=time.time())
    config = folder / "zt.toml"
    text = config.read_text()
    for begins, ends in (("# approvers = [", "# ]\n"), ("# [publishing]", "\n\n")):
        start = text.index(begins)
        end = text.index(ends, start) + len(ends)
        text = text[:start] + re.sub(r"^# ", "", text[start:end], flags=re.MULTILINE) + text[end:]
    config.write_text(text)
    for person in ("yamada", "suzuki"):
        public = Ed25519PrivateKey.generate().public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"keys/approver-{person}.pem").write_bytes(pem)
    return folder


def test_the_approvers_of_the_example_are_read_by_sidecar_and_control_plane(installed: Path) -> None:
    for settings in (load(installed / "zt.toml"), load_control(installed / "zt.toml")):
        approvers = read_approvers(approver_pems(settings))

        assert sorted(one.person for one in approvers.values()) == ["suzuki", "yamada"]


def test_the_example_of_publishing_signs_with_a_key_that_is_believed_and_follows_a_folder(installed: Path) -> None:
    settings = load_control(installed / "zt.toml")
    wanted = settings.publishing
    assert wanted.key_file is not None
    key = read_key(settings.path(wanted.key_file), None)
    source = source_of(settings)

    assert believed_keys(settings)[key.key_id].pem() == key.public().pem()
    assert settings.path(wanted.admin_key_file).is_file()
    assert isinstance(source, FolderSource)
    assert source.folder == installed / "policies/acme"


def test_every_setting_in_a_comment_is_one_that_holds_beside_all_the_others(tmp_path: Path) -> None:
    install(tmp_path / "zt", Choices(pack="corp"), now=time.time())
    config = tmp_path / "zt/zt.toml"
    text = re.sub(r"^# (?=\[|\]| *\{|\w+ = )", "", config.read_text(), flags=re.MULTILINE)
    config.write_text(text)

    settings, control = load(config, {}), load_control(config, {})

    assert re.findall(r"^#.*", text, re.MULTILINE) == text.splitlines()[:1], "what is left says how it is run"
    (issuer,) = (one.issuer for one in settings.issuers)
    assert {control.sign_in.issuer, control.administrators.issuer, control.enrollment.issuer} == {issuer}
    assert settings.sidecar.browser_listen and control.sign_in.key_file and control.administrators.approver
    assert len({control.sign_in.client_id, control.enrollment.client_id}) == 2, "the agent is a client of its own"


def test_the_issuer_that_was_chosen_stands_in_the_comments_too(tmp_path: Path) -> None:
    install(tmp_path / "zt", Choices(pack="corp", issuer="https://sso.my.example"), now=time.time())

    assert set(re.findall(r"^#? ?issuer = (\S+)", (tmp_path / "zt/zt.toml").read_text(), re.MULTILINE)) == {
        '"https://sso.my.example"'
    }


def test_a_host_of_ones_own_stands_in_the_catalogue_at_its_service_and_nowhere_else(tmp_path: Path) -> None:
    hosts = ("wiki=wiki.my.example", "wiki=notes.my.example", "crm.corp.example")
    install(tmp_path / "zt", Choices(pack="corp", hosts=hosts), now=time.time())
    catalogue = load_catalogue((tmp_path / "zt/policy/catalogue.yaml").read_bytes(), where="catalogue.yaml")

    assert {"wiki.my.example", "notes.my.example", "crm.corp.example"} <= set(catalogue.hosts)
    assert "wiki.corp.example" not in catalogue.hosts
    assert catalogue.match("notes.my.example", "GET", "/pages/home").service == "wiki"
    (proxy,) = load(tmp_path / "zt/zt.toml", {}).proxies
    assert proxy.hosts == ("wiki.my.example", "notes.my.example", "crm.corp.example")


def test_a_service_that_the_pack_has_not_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="INIT_SERVICE") as refused:
        install(tmp_path / "zt", Choices(pack="corp", hosts=("intranet=wiki.my.example",)), now=time.time())

    assert "wiki" in refused.value.hint and not (tmp_path / "zt").exists()


@pytest.mark.parametrize("host", ["", "wiki.my.example:8443", "Wiki.my.example", "*.my.example"])
def test_a_host_that_the_catalogue_could_not_have_leaves_nothing_behind(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="CATALOGUE_"):
        install(tmp_path / "zt", Choices(pack="corp", hosts=(f"wiki={host}",)), now=time.time())

    assert not (tmp_path / "zt").exists()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_what_is_printed_fits_what_was_given(tmp_path: Path, language: str) -> None:
    def printed(name: str, *words: str) -> str:
        result = CliRunner().invoke(app, ["init", str(tmp_path / name), "--pack", "corp", "--lang", language, *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    plain = printed("a")
    assert "[[issuers]]" in plain and "browser_listen" not in plain
    known = printed("b", "--issuer", "https://idp.example", "--host", "wiki.my.example", "--host", "crm=crm.my.example")
    assert "[[issuers]]" not in known and "browser_listen" in known and "[sign_in]" in known
    assert "wiki.my.example" in known and "crm.my.example" not in known
    for page in re.findall(r"docs/[a-z-]+\.md", known):
        assert (ROOT / page).is_file()
    for said in (plain, known):
        places = [said.index(word) for word in ("zt sidecar run", "zt up", "sidecar.started", "[enrollment]", "invite")]
        assert places == sorted(places)
    assert known.index("zt up") < known.index("[sign_in]") < known.index("[enrollment]")


def test_even_without_a_umask_nobody_else_may_write_an_installation_or_read_its_secrets(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        install(tmp_path / "zt", Choices(pack="corp"), now=time.time())
    finally:
        os.umask(before)
    made = [tmp_path / "zt", *(tmp_path / "zt").rglob("*")]
    secret = [
        path for path in made if path.parent.name in ("keys", "control", "device-ca") and ".pub." not in path.name
    ]

    assert len(secret) >= 8
    assert [path for path in made if path.stat().st_mode & 0o022] == []
    assert [path for path in secret if path.stat().st_mode & 0o077] == []


def test_no_two_installations_share_a_key(installed: Path, tmp_path: Path) -> None:
    install(tmp_path / "zt", Choices(pack="corp"), now=time.time())

    ours, theirs = (
        {path.read_bytes() for path in (folder / "keys").iterdir()} for folder in (tmp_path / "zt", installed)
    )
    assert len(ours) >= 8
    assert ours & theirs == set()
