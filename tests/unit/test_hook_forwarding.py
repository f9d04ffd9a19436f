"""The gates of Caddy's and Traefik's hooks, and the texts that are printed for them, without sockets."""

from __future__ import annotations

import base64
import os
import re
import stat
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.bootstrap.caddy_hook import caddy_site, key_copy, write_key_copy
from zt_engine.bootstrap.traefik_hook import traefik_config
from zt_engine.config import Proxy, Settings, Sidecar
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.sidecar.hooks import caddy, traefik
from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.caddy import CaddyHook
from zt_engine.sidecar.hooks.caddyfile import CaddySite
from zt_engine.sidecar.hooks.caddyfile import render as render_caddyfile
from zt_engine.sidecar.hooks.certificates import MAX_BASE64_BYTES, ForwardedCertificates
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, key_digest
from zt_engine.sidecar.hooks.headers import Family, judge
from zt_engine.sidecar.hooks.reading import HeaderHook
from zt_engine.sidecar.hooks.traefik import TraefikHook
from zt_engine.sidecar.hooks.traefik_config import TraefikConfig, dotted, render_dynamic, render_static

KEY = b"0123456789abcdef"
NAME = "front.proxy.internal"
FORWARDED = {
    b"Host": b"portal.example",
    b"X-Forwarded-Uri": b"/cases/1?x",
    b"X-Forwarded-Method": b"GET",
    b"X-Forwarded-Host": b"portal.example",
    b"X-Forwarded-Proto": b"https",
    b"X-Forwarded-Port": b"443",
    b"X-Forwarded-For": b"203.0.113.7",
}
CADDY = FORWARDED | {b"Zt-Request-Id": b"0123-4567", b"Zt-Pep-Key": KEY}
TRAEFIK = FORWARDED | {b"X-Forwarded-Server": b"front", b"X-Real-Ip": b"203.0.113.7"}
CERTIFICATE = DevDeviceCa(now=1_790_000_000).issue("laptop-1", now=1_790_000_000)
BASE64 = b"".join(CERTIFICATE.pem.splitlines()[1:-1])


def caddy_hook() -> CaddyHook:
    return CaddyHook(
        Credentials([Credential("front", hook="caddy", channel="open", proof="key", key_digests=(key_digest(KEY),))])
    )


def traefik_hook() -> TraefikHook:
    names = frozenset({NAME})
    return TraefikHook(Credentials([Credential("front", hook="traefik", channel="open", proof="mtls", names=names)]))


def ask(hook: HeaderHook, headers: dict[bytes, bytes], *, extra: tuple[bytes, ...] = (), rest: bytes = b"") -> Any:
    peer = (NAME,) if hook.name == "traefik" else None
    sent, who = hook.read({**headers, b"": b""}, (*headers, *extra), peer, rest=rest)
    return hook.prove(sent, who)


HOOKS = pytest.mark.parametrize(("hook", "headers"), [(caddy_hook(), CADDY), (traefik_hook(), TRAEFIK)])


@HOOKS
def test_what_the_proxy_sets_is_an_access_request(hook: HeaderHook, headers: dict[bytes, bytes]) -> None:
    asked = ask(hook, {**headers, b"Authorization": b"Bearer a"})

    assert (asked.hook, asked.method, asked.target.url) == (hook.name, "GET", "https://portal.example/cases/1")
    assert (asked.client_ip, asked.authorization, asked.client_cert) == ("203.0.113.7", b"Bearer a", b"")


@HOOKS
@pytest.mark.parametrize("name", [name for name in FORWARDED if name != b"Host"])
def test_h1_what_is_missing_is_taken_from_nowhere_else(
    hook: HeaderHook, headers: dict[bytes, bytes], name: bytes
) -> None:
    fewer = {other: value for other, value in headers.items() if other != name}

    with pytest.raises(InputError) as refused:
        ask(hook, fewer)

    assert refused.value.code == "HOOK_HEADER_MISSING"


@HOOKS
@pytest.mark.parametrize(
    ("names", "code"),
    [
        ((b"x-forwarded-uri",), "HEADER_DOUBLED"), ((b"X_Forwarded_Uri",), "HEADER_RESERVED"),
        ((b"X-Original-URI",), "HEADER_RESERVED"), ((b"Zt.Subject",), "HEADER_RESERVED"),
        ((b"X-HTTP-Method",), "METHOD_OVERRIDE"), ((b"Transfer-Encoding",), "HOOK_FRAMING"),
        ((b"Authorization", b"authorization"), "HEADER_DOUBLED"), ((b"X-Forwarded-Prefix",), "HEADER_RESERVED"),
    ],
)  # fmt: skip
def test_h9_h10_a_name_that_could_be_read_twice_is_refused(
    hook: HeaderHook, headers: dict[bytes, bytes], names: tuple[bytes, ...], code: str
) -> None:
    with pytest.raises(InputError) as refused:
        ask(hook, headers, extra=names)

    assert refused.value.code == code


@pytest.mark.parametrize("value", [BASE64, b":" + BASE64 + b":"])
def test_a_certificate_in_base64_becomes_the_very_pem(value: bytes) -> None:
    escaped = ask(caddy_hook(), {**CADDY, b"Client-Cert": value}).client_cert

    assert escaped == CERTIFICATE.escaped
    assert unquote_to_bytes(escaped) == CERTIFICATE.pem


def test_of_a_chain_the_first_certificate_is_the_clients() -> None:
    asked = ask(traefik_hook(), {**TRAEFIK, b"X-Forwarded-Tls-Client-Cert": BASE64 + b",AAAA"})

    assert asked.client_cert == CERTIFICATE.escaped


@pytest.mark.parametrize(
    ("value", "code"),
    [(b"A", "CERT_MALFORMED"), (b"AAAA AAAA", "CERT_MALFORMED"), (b"%41", "CERT_MALFORMED"),
     (b"A" * (MAX_BASE64_BYTES + 4), "CERT_TOO_LARGE")],
)  # fmt: skip
def test_what_is_no_certificate_is_refused(value: bytes, code: str) -> None:
    for hook, headers in ((caddy_hook(), {**CADDY, b"Client-Cert": value}),
                          (traefik_hook(), {**TRAEFIK, b"X-Forwarded-Tls-Client-Cert": value})):  # fmt: skip
        with pytest.raises(InputError) as refused:
            ask(hook, headers)
        assert refused.value.code == code


def test_an_empty_certificate_is_none() -> None:
    assert ask(caddy_hook(), {**CADDY, b"Client-Cert": b""}).client_cert == b""
    assert ask(caddy_hook(), {**CADDY, b"Client-Cert": b"::"}).client_cert == b""
    assert ask(traefik_hook(), {**TRAEFIK, b"X-Forwarded-Tls-Client-Cert": b""}).client_cert == b""


@given(st.binary(max_size=4000))
def test_invariant_a_der_certificate_comes_back_whole(der: bytes) -> None:
    escaped = ForwardedCertificates().of(base64.b64encode(der))

    lines = unquote_to_bytes(escaped).splitlines()
    assert base64.b64decode(b"".join(lines[1:-1])) == der
    assert re.fullmatch(rb"(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})*", escaped)


def test_what_caddy_appends_is_never_read() -> None:
    asked = ask(caddy_hook(), CADDY, rest=b"?X-Forwarded-Uri=/public&method=POST")

    assert (asked.target.path, asked.method) == ("/cases/1", "GET")


def test_a_websocket_is_asked_about_under_the_scheme_it_began_with() -> None:
    schemes = [ask(traefik_hook(), {**TRAEFIK, b"X-Forwarded-Proto": value}).target.scheme for value in (b"ws", b"wss")]

    assert schemes == ["http", "https"]
    with pytest.raises(InputError, match="scheme"):
        ask(caddy_hook(), {**CADDY, b"X-Forwarded-Proto": b"ws"})


def test_traefiks_questions_have_numbers_of_the_sidecars_own() -> None:
    hook = traefik_hook()
    numbers = {ask(hook, TRAEFIK).request_id for _ in range(20)}

    assert len(numbers) == 20 and all(re.fullmatch("[0-9a-f]{32}", number) for number in numbers)
    with pytest.raises(InputError) as refused:
        ask(hook, {**TRAEFIK, b"Zt-Request-Id": b"chosen"})
    assert refused.value.code == "HEADER_RESERVED"


NAMES = st.sampled_from(
    [*FORWARDED, *CADDY, *TRAEFIK, b"X-Original-URI", b"x_forwarded_uri", b"Client-Cert",
     b"X-Forwarded-Tls-Client-Cert", b"Upgrade", b"Expect", b"Content-Length",
     b"Authorization", b"DPoP", b"Cookie", b"Accept", b"\xff", b"Zt.Subject"]
)  # fmt: skip
VALUES = st.one_of(st.sampled_from([*CADDY.values(), BASE64, b"", b"ws", b"/a/../b"]), st.binary(max_size=40))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=24))
def test_invariant_1_whatever_is_sent_is_a_request_of_one_family_or_refused(lines: list[tuple[bytes, bytes]]) -> None:
    headers = dict(lines)
    repeated = [name for number, (name, _) in enumerate(lines) if name in {item[0] for item in lines[:number]}]
    for hook in (caddy_hook(), traefik_hook()):
        try:
            asked = ask(hook, headers, extra=tuple(repeated))
        except InputError:
            continue
        assert not any(name.lower().startswith(b"x-original") for name in headers)
        assert asked.target.raw_path.encode() == headers[
            next(name for name in headers if name.lower() == b"x-forwarded-uri")
        ].partition(b"?")[0]  # fmt: skip


# -- the texts


SITE = CaddySite(
    proxy="front", server_names=("portal.example",), listen=("443",), sidecar=("unix//run/zt/sidecar.sock",),
    backend="127.0.0.1:8080", key_file="/etc/zt/pep.key", certificate="/etc/tls/portal.pem",
    certificate_key="/etc/tls/portal.key", device_cas="/etc/zt/device-cas.pem", enforces=("no_store",),
)  # fmt: skip
TRAEFIK_CONFIG = TraefikConfig(
    proxy="front", server_names=("portal.example", "www.example"), listen=":443", sidecar="sidecar.internal:9443",
    backend="127.0.0.1:8080", sidecar_ca="/etc/zt/ca.pem", client_certificate="/etc/zt/front.pem",
    client_key="/etc/zt/front.key", folder="/etc/traefik/dynamic", certificate="/etc/tls/portal.pem",
    certificate_key="/etc/tls/portal.key", device_cas="/etc/zt/device-cas.pem", enforces=("no_store", "watermark"),
)  # fmt: skip


def with_(base: Any, **values: Any) -> Any:
    return type(base)(**{name: getattr(base, name) for name in base.__struct_fields__} | values)


@pytest.mark.parametrize("value", ["a b", "a\nb", 'a"b', "a{b}", "a`b", "a\\b", "$x", "a;b", "", "a'b"])
@pytest.mark.parametrize(
    "field", ["proxy", "backend", "certificate", "device_cas", "server_names", "sidecar", "listen"]
)
def test_no_value_ends_a_string_or_begins_a_directive(value: str, field: str) -> None:
    for base, render in ((SITE, render_caddyfile), (TRAEFIK_CONFIG, render_dynamic)):
        several = isinstance(getattr(base, field), tuple)
        if field in ("certificate", "device_cas"):
            if not value:
                continue
            value = "/" + value if value != "a b" else "/a'b"
        with pytest.raises(ConfigError) as refused:
            render(with_(base, **{field: (value,) if several else value}))
        assert refused.value.problems[0].code == "CONFIG_VALUE"


def test_every_identity_header_is_named_and_none_is_cleared_afterwards() -> None:
    text = render_caddyfile(SITE)
    config = yaml.safe_load(render_dynamic(TRAEFIK_CONFIG))
    (question,) = [item["forwardAuth"] for item in config["http"]["middlewares"].values() if "forwardAuth" in item]

    for name in ("Zt-Decision", *IDENTITY_HEADERS):
        assert name in text.partition("copy_headers ")[2].partition("\n")[0].split()
        assert name in question["authResponseHeaders"]
        assert f"header_up -{name}\n" not in text.partition("reverse_proxy")[2]


def test_what_was_upgraded_ends_after_an_hour_where_caddy_can_end_it() -> None:
    backend = render_caddyfile(SITE).rpartition("reverse_proxy ")[2]

    assert "\t\t\tstream_timeout 1h\n" in backend


UPGRADES = ("", "websocket", "WebSocket", "h2c", "other/1.0", "websocke", "websockets", "websocket, h2c", "webs0cket")
"""Of these, WebSocket and none at all are routed."""


def test_the_printed_yaml_says_what_it_should() -> None:
    dynamic, static = yaml.safe_load(render_dynamic(TRAEFIK_CONFIG)), yaml.safe_load(render_static(TRAEFIK_CONFIG))
    (router,) = dynamic["http"]["routers"].values()
    middlewares = dynamic["http"]["middlewares"]
    entry = static["entryPoints"]["zt"]

    rule, _, upgrade = router["rule"].partition(" && !HeaderRegexp(`Upgrade`, `")
    assert rule == "(Host(`portal.example`) || Host(`www.example`)) && !Method(`TRACE`)"
    other = re.compile(upgrade.removesuffix("`)"))
    assert [text for text in UPGRADES if other.search(text) is None] == ["", "websocket", "WebSocket"]
    assert [name.rpartition("-")[2] for name in router["middlewares"]] == [
        "client",
        "certificate",
        "question",
        "backend",
    ]
    assert middlewares[router["middlewares"][0]]["headers"]["customRequestHeaders"]["X-Forwarded-Port"] == "443"
    assert entry["forwardedHeaders"] == {"insecure": False, "trustedIPs": []}
    assert entry["http"]["underscoreHeadersStrategy"] == "reject"
    assert TRAEFIK_CONFIG.unenforced == ("watermark",) and SITE.unenforced == ()


def test_dotted_names_are_all_of_them() -> None:
    assert dotted(["Zt-Max-Label"]) == ("Zt-Max.Label", "Zt.Max-Label", "Zt.Max.Label")


@pytest.mark.parametrize("family", [caddy.FAMILY, traefik.FAMILY])
def test_no_family_tolerates_a_body(family: Family) -> None:
    assert "transfer-encoding" not in family.tolerated
    assert judge([b"Host", b"Trailer"], family).refusal == "HOOK_FRAMING"


def test_one_site_has_one_port() -> None:
    for listen in (("443", "8443"), ("443", "127.0.0.1:443")):
        with pytest.raises(ConfigError):
            render_caddyfile(with_(SITE, listen=listen))


def test_a_site_to_be_imported_has_no_global_options() -> None:
    text = render_caddyfile(with_(SITE, alone=False))

    assert "admin off" not in text and "respond 421" not in text and "forward_auth" in text


# -- settings


def settings(folder: Path, proxy: Proxy, **sidecar: Any) -> Settings:
    return Settings(base=folder, proxies=(proxy,), sidecar=Sidecar(**sidecar))


def test_the_copy_of_the_key_is_for_its_owner_alone_and_written_when_it_changes(tmp_path: Path) -> None:
    key = tmp_path / "pep.key"
    key.write_text("k" * 32)
    key.chmod(0o600)
    proxy = Proxy(name="front", hook="caddy", key_file=Path("pep.key"))
    chosen = settings(tmp_path, proxy)

    first, again = write_key_copy(chosen, proxy), write_key_copy(chosen, proxy)
    os.chmod(key_copy(chosen, Path("pep.key")), 0o644)
    loose = write_key_copy(chosen, proxy)

    assert again is None
    assert first is not None
    assert first == loose == tmp_path / "pep.caddy.key"
    assert first.read_text() == "k" * 32
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_settings_for_another_proxy_print_nothing(tmp_path: Path) -> None:
    nginx = Proxy(name="front", hook="nginx", key_file=Path("pep.key"))
    named = Proxy(name="front", hook="caddy", certificate_names=(NAME,))
    path = tmp_path / "x"
    for proxy in (nginx, named):
        with pytest.raises(ConfigError) as refused:
            caddy_site(settings(tmp_path, proxy), proxy, server_names=["portal.example"])
        assert refused.value.problems[0].code == "PROXY_HOOK_OTHER"
    with pytest.raises(ConfigError) as refused:
        traefik_config(settings(tmp_path, nginx), nginx, sidecar_ca=path, client_certificate=path, client_key=path)
    assert refused.value.problems[0].code == "PROXY_HOOK_OTHER"


def test_traefik_is_told_an_address_that_it_can_verify(tmp_path: Path) -> None:
    proxy = Proxy(name="front", hook="traefik", certificate_names=(NAME,))
    path = tmp_path / "x"
    files = {"tls_certificate": path, "tls_key": path, "tls_client_ca": path}
    made = {"sidecar_ca": path, "client_certificate": path, "client_key": path, "server_names": ["portal.example"]}

    somewhere = settings(tmp_path, proxy, tls_listen=("0.0.0.0:9443",), **files)
    here = settings(tmp_path, proxy, tls_listen=("0.0.0.0:9443", "127.0.0.1:9443"), **files)

    with pytest.raises(ConfigError) as refused:
        traefik_config(somewhere, proxy, **made)
    assert refused.value.problems[0].code == "CONFIG_LISTEN"
    assert traefik_config(here, proxy, **made).sidecar == "127.0.0.1:9443"
    assert traefik_config(somewhere, proxy, sidecar="sidecar.internal:9443", **made).sidecar == "sidecar.internal:9443"
