"""Administrators: a key the server holds the digest of, or a token whose claim says the role. Nobody by accident."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.control_support import NOW
from zt_engine.adapters.admin_keys import (
    Administrators,
    AdminKey,
    AdminKeys,
    ClaimedRoles,
    OidcAdministrators,
    digest_of,
    make_key,
    read_admins,
    write_admins,
)
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.core.identity import VerifiedToken

ZEROS = b"0" * 64
ISSUER = "https://idp.example"


def stored(path: Path, **roles: str) -> dict[str, bytes]:
    made = {name: make_key() for name in roles}
    write_admins(path, tuple(AdminKey(name=n, role=roles[n], sha256=digest_of(made[n])) for n in roles))  # type: ignore[arg-type]
    return made


def test_a_key_is_known_by_its_digest_alone(tmp_path: Path) -> None:
    path = tmp_path / "admins.json"
    keys = stored(path, sato="approver")

    found = AdminKeys(path).verify(keys["sato"], now=NOW)

    assert (found.name, found.actor, found.role) == ("sato", "admin:sato", "approver")
    assert len(keys["sato"]) == len("zt-admin_") + 43
    assert keys["sato"].split(b"_", 1)[1] not in path.read_bytes()


@pytest.mark.parametrize(
    "change", [lambda key: key[:-1], lambda key: key + b"A", lambda key: key[:-1] + b"!", lambda _: b""]
)
def test_anything_else_is_nobodys(tmp_path: Path, change: Any) -> None:
    keys = stored(tmp_path / "admins.json", sato="owner")

    with pytest.raises(InputError) as refused:
        AdminKeys(tmp_path / "admins.json").verify(change(keys["sato"]), now=NOW)

    assert refused.value.code == "AUTH_REFUSED"
    assert "zt-admin" not in str(refused.value)


def test_a_key_that_was_taken_out_opens_nothing_from_the_next_request_on(tmp_path: Path) -> None:
    path = tmp_path / "admins.json"
    keys = stored(path, sato="owner", suzuki="viewer")
    admins = AdminKeys(path)
    admins.verify(keys["sato"], now=NOW)
    write_admins(path, tuple(one for one in read_admins(path) if one.name != "sato"))

    with pytest.raises(InputError):
        admins.verify(keys["sato"], now=NOW)
    assert admins.verify(keys["suzuki"], now=NOW).role == "viewer"


def test_nobody_is_an_administrator_by_what_a_file_once_said(tmp_path: Path) -> None:
    path = tmp_path / "admins.json"
    keys = stored(path, sato="owner")
    admins = AdminKeys(path)
    path.unlink()

    with pytest.raises(ConfigError) as gone:
        admins.verify(keys["sato"], now=NOW)
    assert gone.value.code == "ADMINS_FILE"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'[{"name":"a","role":"king","sha256":"%b"}]' % (b"0" * 64),
        b'[{"name":"a","role":"owner","sha256":"short"}]',
        b'[{"name":"a b","role":"owner","sha256":"%b"}]' % (b"0" * 64),
        b'[{"name":"a","role":"owner","sha256":"%b"},{"name":"a","role":"owner","sha256":"%b"}]' % (ZEROS, b"1" * 64),
        b'[{"name":"a","role":"owner","sha256":"%b"},{"name":"b","role":"owner","sha256":"%b"}]' % (ZEROS, ZEROS),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_it_should_be_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "admins.json"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(ConfigError) as refused:
        AdminKeys(path)
    assert refused.value.code == "ADMINS_FILE"


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "admins.json"
    stored(path, sato="owner")
    os.chmod(path, 0o662)

    with pytest.raises(ConfigError, match="may write"):
        AdminKeys(path)


class Tokens:
    """A `TokenVerifier` that believes everything, with these claims."""

    def __init__(self, **members: Any) -> None:
        self.members = members

    def verify(self, token: bytes, *, now: float) -> VerifiedToken:
        held = {
            "issuer": ISSUER, "subject": "yamada", "client_id": "cli", "claims": {}, "expires_at": NOW + 60,
            "not_before": NOW, "jti": "j", "key_id": "k", "x5t": "", "jkt": "", "session": "", "acr": "", "amr": (),
            "auth_time": None, "actor": None, "digest": "d",
        }  # fmt: skip
        return VerifiedToken(**(held | self.members))


def oidc(**members: Any) -> OidcAdministrators:
    roles: Any = {"viewer": ("zt-read",), "approver": ("zt-approve", "chiefs"), "owner": ("zt-own",)}
    return OidcAdministrators(
        Tokens(**members), roles=ClaimedRoles(ISSUER, claim="roles", roles=roles), home_issuer=ISSUER
    )


@pytest.mark.parametrize(
    ("held", "role"),
    [
        (["zt-read"], "viewer"),
        (["zt-read", "chiefs"], "approver"),
        ("zt-own", "owner"),
        (["zt-own", "zt-read"], "owner"),
    ],
)
def test_the_strongest_role_a_claim_names_is_the_administrators(held: Any, role: str) -> None:
    found = oidc(claims={"roles": held}).verify(b"token", now=NOW)

    assert (found.role, found.name, found.actor) == (role, "yamada", f"person:{ISSUER}|yamada")


@pytest.mark.parametrize("held", [None, [], "", "zt", ["ZT-OWN"], {"zt-own": 1}, [["zt-own"]], 7, True])
def test_a_token_without_a_role_gives_none(held: Any) -> None:
    with pytest.raises(InputError) as refused:
        oidc(claims={"roles": held}).verify(b"token", now=NOW)
    assert refused.value.code == "AUTH_REFUSED"


@pytest.mark.parametrize("members", [{"x5t": "a"}, {"jkt": "a"}])
def test_a_token_bound_to_a_key_nobody_proved_is_refused(members: dict[str, str]) -> None:
    with pytest.raises(InputError):
        oidc(claims={"roles": ["zt-own"]}, **members).verify(b"token", now=NOW)


def test_a_key_is_never_taken_for_a_token(tmp_path: Path) -> None:
    stored(tmp_path / "admins.json", sato="owner")
    both = Administrators(AdminKeys(tmp_path / "admins.json"), oidc(claims={"roles": ["zt-own"]}))

    assert both.verify(b"eyJ0b2tlbiJ9", now=NOW).name == "yamada"
    with pytest.raises(InputError):
        both.verify(make_key(), now=NOW)


def test_without_an_issuer_a_token_opens_nothing(tmp_path: Path) -> None:
    stored(tmp_path / "admins.json", sato="owner")

    with pytest.raises(InputError):
        Administrators(AdminKeys(tmp_path / "admins.json"), None).verify(b"eyJ0b2tlbiJ9", now=NOW)
