"""Our client at an identity provider: how it proves itself, and which description of a provider it believes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from zt_engine.adapters.provider_oidc import ASSERTION_SECONDS, ASSERTION_TYPE, ClientProof, OidcProvider
from zt_engine.core.errors import ConfigError, UnavailableError, ZtError

NOW = 1_790_000_000.0
ISSUER = "https://idp.example"
DESCRIBED = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
    "token_endpoint": f"{ISSUER}/token",
    "end_session_endpoint": f"{ISSUER}/end",
}


class Wire:
    """A provider behind HTTP: what it was sent, and what it answers."""

    def __init__(self, described: Any = DESCRIBED) -> None:
        self.described = described if isinstance(described, bytes) else json.dumps(described).encode()
        self.sent: list[dict[str, Any]] = []
        self.answer = 200, b'{"id_token": "t", "refresh_token": "r"}'

    def send(self, method: str, url: str, *, seconds: float, **more: Any) -> tuple[int, bytes]:
        if url.endswith("/.well-known/openid-configuration"):
            return 200, self.described
        self.sent.append({"method": method, "url": url, **more})
        return self.answer


def provider(proof: ClientProof, wire: Wire) -> OidcProvider:
    made = OidcProvider(ISSUER, proof=proof, scopes=("offline_access",), now=lambda: NOW)
    made.close()
    made._client = wire  # type: ignore[assignment]
    return made


def key_file(folder: Path, key: Any) -> Path:
    path = folder / "client.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(ec.generate_private_key(ec.SECP256R1()), "ES256"), (ed25519.Ed25519PrivateKey.generate(), "EdDSA")],
)
def test_with_a_key_the_client_signs_a_short_word_for_this_provider_and_each_is_another(
    tmp_path: Path, key: Any, algorithm: str
) -> None:
    wire = Wire()
    client = provider(ClientProof("portal", key_file=key_file(tmp_path, key)), wire)
    for _ in range(2):
        client.exchange("code", verifier="v", redirect_uri="https://portal.example/.zt/callback")

    said = []
    for sent in wire.sent:
        form, headers = sent["data"], sent["headers"]
        assert (form["client_id"], form["client_assertion_type"]) == ("portal", ASSERTION_TYPE)
        assert "client_secret" not in form and "authorization" not in {name.lower() for name in headers}
        assert jwt.get_unverified_header(form["client_assertion"])["alg"] == algorithm
        options = {"verify_exp": False, "verify_iat": False}
        said.append(
            jwt.decode(form["client_assertion"], key.public_key(), [algorithm], audience=ISSUER, options=options)  # type: ignore[arg-type]
        )
    assert all((one["iss"], one["sub"]) == ("portal", "portal") for one in said)
    assert all(one["exp"] - one["iat"] == ASSERTION_SECONDS and one["iat"] == NOW for one in said)
    assert said[0]["jti"] != said[1]["jti"]


def test_a_secret_is_read_anew_for_each_use_so_that_it_may_rotate(tmp_path: Path) -> None:
    file, wire = tmp_path / "client.secret", Wire()
    client = provider(ClientProof("por tal", secret_file=file), wire)
    for secret in ("one:secret", "another"):
        file.write_text(f"{secret}\n")
        client.refresh("r0")
    file.unlink()
    with pytest.raises(UnavailableError, match="SIGN_IN_PROVIDER"):
        client.refresh("r0")

    shown = [sent["headers"] for sent in wire.sent]
    # RFC 6749, 2.3.1: both are form-encoded before they are joined.
    assert [basic(headers) for headers in shown] == ["por+tal:one%3Asecret", "por+tal:another"]
    assert all("client_assertion" not in sent["data"] for sent in wire.sent)


def basic(headers: dict[str, str]) -> str:
    found = next(value for name, value in headers.items() if name.lower() == "authorization")
    return base64.b64decode(found.removeprefix("Basic ")).decode()


@pytest.mark.parametrize("content", [b"", b"no key", ec.SECP384R1, "missing"])
def test_a_key_that_signs_nothing_here_is_a_fault_of_the_settings(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "client.pem"
    if content is ec.SECP384R1:
        key_file(tmp_path, ec.generate_private_key(content()))
    elif isinstance(content, bytes):
        path.write_bytes(content)

    with pytest.raises(ConfigError, match="CONFIG_FILE"):
        ClientProof("portal", key_file=path)


@pytest.mark.parametrize(
    "described",
    [
        {**DESCRIBED, "issuer": "https://evil.example"},
        {**DESCRIBED, "issuer": f"{ISSUER}/"},
        {**DESCRIBED, "token_endpoint": "http://idp.example/token"},
        {**DESCRIBED, "authorization_endpoint": "javascript:alert(1)"},
        {**DESCRIBED, "authorization_endpoint": "https:///authorize"},
        {**DESCRIBED, "token_endpoint": "https://user@evil.example/token"},
        {**DESCRIBED, "authorization_endpoint": f"{ISSUER}/authorize#at"},
        {**DESCRIBED, "end_session_endpoint": "http://idp.example/end"},
        {"issuer": ISSUER},
        b"<!doctype html><title>Maintenance</title>",
        b"[]",
    ],
)
def test_a_description_of_somebody_else_or_of_an_unsafe_place_is_not_believed(described: Any) -> None:
    wire = Wire(described)
    with pytest.raises(UnavailableError, match="SIGN_IN_PROVIDER"):
        ask(provider(ClientProof("portal"), wire))

    assert wire.sent == []


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, b"<!doctype html><title>Maintenance</title>", "SIGN_IN_PROVIDER"),
        (200, b'{"id_token": 7}', "SIGN_IN_PROVIDER"),
        (500, b"", "SIGN_IN_PROVIDER"),
        (429, b'{"error": "invalid_grant"}', "SIGN_IN_PROVIDER"),
        (400, b"<html>", "SIGN_IN_PROVIDER"),
        (400, b'{"error": "invalid_grant"}', "SIGN_IN_CODE"),
        (401, b'{"error": "invalid_client"}', "SIGN_IN_CLIENT"),
    ],
)
def test_whatever_answers_in_place_of_a_token_signs_nobody_in(status: int, body: bytes, code: str) -> None:
    wire = Wire()
    wire.answer = status, body
    with pytest.raises(ZtError) as refused:
        provider(ClientProof("portal"), wire).exchange("code", verifier="v", redirect_uri="https://portal.example/")

    assert refused.value.code == code
    assert wire.sent[0]["data"]["code_verifier"] == "v"


def ask(client: OidcProvider) -> str:
    return client.authorization_url(
        redirect_uri="https://portal.example/.zt/callback", state="s", nonce="n", challenge="c", acr_values="mfa",
        max_age=300,
    )  # fmt: skip


def test_a_browser_is_sent_where_the_description_says_with_everything_that_is_asked_for() -> None:
    location = urlsplit(ask(provider(ClientProof("portal"), Wire())))

    assert f"{location.scheme}://{location.netloc}{location.path}" == f"{ISSUER}/authorize"
    assert dict(parse_qsl(location.query)) == {
        "tenant": "1", "response_type": "code", "client_id": "portal", "state": "s", "nonce": "n",
        "redirect_uri": "https://portal.example/.zt/callback", "scope": "openid offline_access",
        "code_challenge": "c", "code_challenge_method": "S256", "acr_values": "mfa", "max_age": "300",
    }  # fmt: skip
