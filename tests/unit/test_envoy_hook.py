"""What the hook of Envoy reads over HTTP, and what its configuration lets through."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.hook_support import KEY, credential
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.sidecar.hooks.credentials import Credentials
from zt_engine.sidecar.hooks.envoy import EnvoyHook, forwarded_certificate
from zt_engine.sidecar.hooks.envoy_config import EnvoyConfig, asked_headers, key_line, render
from zt_engine.sidecar.hooks.headers import METHOD_OVERRIDES, RESERVED_NAMES, RESERVED_PREFIXES

FIELDS = {
    b"host": b"portal.example",
    b"content-length": b"0",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-port": b"443",
    b"x-real-ip": b"203.0.113.7",
    b"x-request-id": b"b467db65-0602-4ffe-a02c-b9960aaa3d76",
    b"zt-pep-key": KEY,
    b"authorization": b"Bearer a.b.c",
}
PEM = b"-----BEGIN%20CERTIFICATE-----%0AMIIB%2B%2F%3D%0A-----END%20CERTIFICATE-----%0A"
CONFIG = EnvoyConfig(
    proxy="front", hosts=("portal.example",), listen=("127.0.0.1:8000",), sidecar=("127.0.0.1:9191",),
    backend="127.0.0.1:8080", keyed=True, enforces=("no_store",),
)  # fmt: skip
NAMES = st.sampled_from(
    sorted(
        {b"x-original-uri", b"x-forwarded-uri", b"zt-subject", b"zt.subject", b"x_real_ip", b"client-cert", b"cookie"}
        | set(FIELDS)
        | {b"x-forwarded-client-cert", b"x-envoy-original-path", b"forwarded", b"accept"}
    )
)


def hook() -> EnvoyHook:
    return EnvoyHook(Credentials((credential(hook="envoy"),)))


def read(lines: list[tuple[bytes, bytes]], rest: bytes = b"/cases/1", method: bytes = b"GET") -> object:
    headers = {**dict(lines), b"": b""}
    one = hook()
    sent, who = one.read(headers, tuple(name for name, _ in lines), None, method=method, rest=rest)
    return one.prove(sent, who)


def test_the_path_behind_ours_is_the_path_that_was_asked_for() -> None:
    request = read(list(FIELDS.items()), rest=b"/cases/1?next=/v1/hooks/envoy")

    assert (request.target.path, request.target.host, request.target.port) == ("/cases/1", "portal.example", 443)  # type: ignore[attr-defined]
    assert (request.method, request.client_ip, request.client_cert) == ("GET", "203.0.113.7", b"")  # type: ignore[attr-defined]


@given(st.lists(st.tuples(NAMES, st.binary(max_size=30)), max_size=6), st.binary(max_size=40), st.binary(max_size=8))
def test_no_list_of_headers_makes_it_read_another_family_or_break(
    more: list[tuple[bytes, bytes]], rest: bytes, method: bytes
) -> None:
    lines = [*FIELDS.items(), *more]
    try:
        request = read(lines, rest=rest, method=method)
    except InputError:
        return

    assert request.target.host == "portal.example"  # type: ignore[attr-defined]
    assert {name for name, _ in more} <= {b"cookie", b"accept", b"x-forwarded-client-cert"}
    assert rest.startswith((b"/", b"https://"))


def test_a_certificate_counts_in_the_one_form_that_envoy_writes() -> None:
    element = b'Hash=%b;Cert="%b"' % (b"a" * 64, PEM)

    assert forwarded_certificate(element) == forwarded_certificate(b"By=spiffe://x/y;" + element) == PEM
    assert forwarded_certificate(b"") == b""


@pytest.mark.parametrize(
    "value",
    [
        b'Hash=%b;Cert="%b",Hash=%b;Cert="%b"' % (b"a" * 64, PEM, b"b" * 64, PEM),
        b'Cert="%b"' % PEM,
        b'Hash=%b;Cert=""' % (b"a" * 64),
        b'Hash=%b;Cert="%b";URI=spiffe://x' % (b"a" * 64, PEM),
        b"Hash=" + b"a" * 64,
    ],
)
def test_a_certificate_in_another_form_is_refused(value: bytes) -> None:
    with pytest.raises(InputError, match="CERT_UNVERIFIED"):
        forwarded_certificate(value)


@given(st.sampled_from(sorted(RESERVED_NAMES | METHOD_OVERRIDES | {p + "x" for p in RESERVED_PREFIXES})), st.data())
def test_every_spelling_of_a_reserved_name_is_shown_to_the_sidecar(name: str, data: st.DataObject) -> None:
    spelled = re.sub("-", lambda _: data.draw(st.sampled_from("-._")), name)

    for grpc in (False, True):
        asked = asked_headers(grpc=grpc)
        assert any(spelled == value if kind == "exact" else spelled.startswith(value) for kind, value in asked)


@pytest.mark.parametrize("grpc", [False, True])
def test_the_configuration_fails_closed_and_reads_paths_one_way(grpc: bool) -> None:
    keyed = not grpc
    sidecar = ("unix:/run/zt/grpc.sock",) if grpc else CONFIG.sidecar
    text = render(EnvoyConfig(**{**_fields(), "grpc": grpc, "keyed": keyed, "sidecar": sidecar}))

    document = yaml.safe_load(text)
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    question = manager["http_filters"][0]["typed_config"]
    assert "admin" not in document
    assert question["failure_mode_allow"] is False and question["validate_mutations"] is True
    assert manager["normalize_path"] is manager["merge_slashes"] is manager["use_remote_address"] is True
    assert manager["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert manager["common_http_protocol_options"]["headers_with_underscores_action"] == "REJECT_REQUEST"
    assert question.get("encode_raw_headers", False) is grpc
    assert ("grpc_service" in question, "http_service" in question) == (grpc, not grpc)


@pytest.mark.parametrize("enforces", [(), ("no_store",)])
def test_whatever_leads_to_the_backend_ends_with_the_session(enforces: tuple[str, ...]) -> None:
    document = yaml.safe_load(render(EnvoyConfig(**{**_fields(), "session": 77, "enforces": enforces})))

    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    routes = [route["route"] for host in manager["route_config"]["virtual_hosts"] for route in host["routes"]
              if "route" in route]  # fmt: skip
    assert routes and all(route["max_stream_duration"] == {"max_stream_duration": "77s"} for route in routes)


@pytest.mark.parametrize(
    "change",
    [
        {"proxy": "front\nadmin: {}"},
        {"hosts": ('a"]', )},
        {"hosts": ("*",)},
        {"hosts": ()},
        {"listen": ("8000",)},
        {"listen": ("127.0.0.1:0",)},
        {"listen": ("unix:/run/x",)},
        {"sidecar": ("sidecar.example:9191",)},
        {"backend": 'a"b:80'},
        {"backend": "unix:/run/%x"},
        {"certificate": "/etc/tls/a.pem"},
        {"certificate": '/etc/"', "certificate_key": "/etc/k"},
        {"device_cas": "/etc/cas.pem"},
        {"client_certificate": "/etc/c.pem"},
        {"session": 0},
    ],
)  # fmt: skip
def test_a_value_that_would_be_read_as_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="CONFIG_VALUE"):
        render(EnvoyConfig(**{**_fields(), **change}))


def test_a_key_that_the_environment_cannot_carry_is_refused() -> None:
    assert key_line(KEY) == f"ZT_PEP_KEY={KEY.decode()}\n"
    with pytest.raises(ConfigError, match="CONFIG_VALUE"):
        key_line(b"a key with\na second line, and blanks")


def _fields() -> dict[str, object]:
    return {name: getattr(CONFIG, name) for name in CONFIG.__struct_fields__}
