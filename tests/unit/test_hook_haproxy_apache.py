"""The gates of HAProxy's and Apache's hooks, FastCGI, and the texts that are printed for both, without sockets."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.fastcgi_support import encoded
from zt_engine.adapters.dev_issuer import DevDeviceCa
from zt_engine.bootstrap.apache_hook import apache_block, key_include, write_key_include
from zt_engine.bootstrap.haproxy_hook import haproxy_block, write_lua
from zt_engine.config import Proxy, Settings, Sidecar
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.core.request import AccessRequest
from zt_engine.sidecar import fastcgi
from zt_engine.sidecar.hooks import apache_config, haproxy_config
from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS
from zt_engine.sidecar.hooks.apache import ApacheHook
from zt_engine.sidecar.hooks.apache_config import ApacheBlock
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, key_digest
from zt_engine.sidecar.hooks.haproxy import HaproxyHook
from zt_engine.sidecar.hooks.haproxy_config import HaproxyBlock
from zt_engine.sidecar.hooks.reading import Prover

KEY = b"0123456789abcdef"
CERTIFICATE = DevDeviceCa(now=1_790_000_000).issue("laptop-1", now=1_790_000_000)
BASE64 = b"".join(CERTIFICATE.pem.splitlines()[1:-1])
ASKED = {
    b"host": b"zt-sidecar", b"x-original-uri": b"/cases/1?x", b"x-original-method": b"GET",
    b"x-original-host": b"portal.example", b"x-original-proto": b"https", b"x-original-port": b"443",
    b"x-real-ip": b"203.0.113.7", b"zt-request-id": b"0123-4567", b"zt-pep-key": KEY,
}  # fmt: skip
PARAMS = {
    b"REQUEST_URI": b"/cases/1?x", b"REQUEST_METHOD": b"GET", b"ZT_HOST": b"portal.example", b"ZT_SCHEME": b"https",
    b"SERVER_PORT": b"443", b"REMOTE_ADDR": b"203.0.113.7", b"UNIQUE_ID": b"aw@qE-mv", b"ZT_PEP_KEY": KEY,
}  # fmt: skip


def known(hook: str) -> Credential:
    return Credential("front", hook=hook, channel="open", proof="key", key_digests=(key_digest(KEY),))


def from_haproxy(headers: dict[bytes, bytes], *more: bytes) -> AccessRequest:
    hook = HaproxyHook(Credentials([known("haproxy")]))
    sent, who = hook.read({**headers, b"": b""}, (*headers, *more), None)
    return hook.prove(sent, who)


def from_apache(params: dict[bytes, bytes]) -> AccessRequest:
    hook = ApacheHook(None, Credentials([]), None, None)  # type: ignore[arg-type]
    return Prover().prove("apache", hook.read(params), known("apache"))


def code_of(read: Any, *arguments: Any) -> str:
    with pytest.raises(InputError) as refused:
        read(*arguments)
    return refused.value.code


# -- HAProxy


def test_the_headers_of_the_action_are_an_access_request() -> None:
    request = from_haproxy({**ASKED, b"authorization": b"Bearer a", b"client-cert": b":" + BASE64 + b":"})

    assert (request.method, request.target.url) == ("GET", "https://portal.example/cases/1")
    assert (request.client_ip, request.authorization) == ("203.0.113.7", b"Bearer a")
    assert unquote_to_bytes(request.client_cert) == CERTIFICATE.pem


@pytest.mark.parametrize("value", [b"unverified", BASE64, b":", b"::", b":a:", b":!!!!:", b":" + BASE64])
def test_a_certificate_in_another_spelling_is_refused(value: bytes) -> None:
    assert code_of(from_haproxy, {**ASKED, b"client-cert": value}) == "CERT_MALFORMED"


@pytest.mark.parametrize("name", [b"zt-subject", b"x-forwarded-uri", b"forwarded", b"zt_pep_key", b"x.real.ip"])
def test_names_of_others_are_refused(name: bytes) -> None:
    assert code_of(from_haproxy, {**ASKED, name: b"x"}) == "HEADER_RESERVED"


@examples(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*ASKED, b"client-cert", b"authorization", b"dpop", b"cookie", b"x-forwarded-uri", b"a"]),
            st.binary(max_size=12),
        ),
        max_size=20,
    )
)
def test_no_list_of_headers_does_more_than_be_refused(lines: list[tuple[bytes, bytes]]) -> None:
    hook = HaproxyHook(Credentials([known("haproxy")]))
    headers = {**dict(lines), b"": b""}
    try:
        sent, who = hook.read(headers, tuple(name for name, _ in lines), None)
        request = hook.prove(sent, who)
    except InputError:
        return
    assert request.target.raw_path == headers[b"x-original-uri"].partition(b"?")[0].decode()


# -- Apache


def test_the_parameters_of_the_virtual_host_are_an_access_request() -> None:
    pem = CERTIFICATE.pem
    more = {b"HTTP_AUTHORIZATION": b"Bearer a", b"ZT_CLIENT_VERIFY": b"SUCCESS", b"ZT_CLIENT_CERT": pem}

    request = from_apache({**PARAMS, **more, b"HTTP_X_FORWARDED_FOR": b"192.0.2.1"})

    assert (request.method, request.target.url) == ("GET", "https://portal.example/cases/1")
    assert (request.client_ip, request.request_id) == ("203.0.113.7", "aw_qE-mv")
    assert unquote_to_bytes(request.client_cert) == pem


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"HTTP_ZT_SUBJECT", "HEADER_RESERVED"), (b"HTTP_X_FORWARDED_URI", "HEADER_RESERVED"),
        (b"HTTP_X_ORIGINAL_URI", "HEADER_RESERVED"), (b"HTTP_CLIENT_CERT", "HEADER_RESERVED"),
        (b"HTTP_X_HTTP_METHOD_OVERRIDE", "METHOD_OVERRIDE"), (b"ZT_FORGED", "HEADER_RESERVED"),
    ],
)  # fmt: skip
def test_what_a_client_may_not_send_is_refused(name: bytes, code: str) -> None:
    assert code_of(from_apache, {**PARAMS, name: b"x"}) == code


@pytest.mark.parametrize("name", [name for name in PARAMS if name != b"ZT_PEP_KEY"])
def test_every_parameter_of_the_family_has_to_be_there(name: bytes) -> None:
    assert code_of(from_apache, {key: value for key, value in PARAMS.items() if key != name}) == "HOOK_HEADER_MISSING"


@pytest.mark.parametrize(
    ("verify", "pem", "code"),
    [
        (b"NONE", CERTIFICATE.pem, "CERT_UNVERIFIED"), (b"", CERTIFICATE.pem, "CERT_UNVERIFIED"),
        (b"FAILED:expired", CERTIFICATE.pem, "CERT_UNVERIFIED"), (b"SUCCESS", b"", "CERT_UNVERIFIED"),
        (b"SUCCESS", b"x" * 20_000, "CERT_TOO_LARGE"), (b"SUCCESS", CERTIFICATE.pem * 2, "CERT_MALFORMED"),
    ],
)  # fmt: skip
def test_a_certificate_counts_only_with_httpds_verdict(verify: bytes, pem: bytes, code: str) -> None:
    assert code_of(from_apache, {**PARAMS, b"ZT_CLIENT_VERIFY": verify, b"ZT_CLIENT_CERT": pem}) == code


@examples(max_examples=40)
@given(st.dictionaries(st.sampled_from([*PARAMS, b"HTTP_COOKIE", b"HTTP_DPOP", b"HTTP_A"]), st.binary(max_size=12)))
def test_no_set_of_parameters_does_more_than_be_refused(params: dict[bytes, bytes]) -> None:
    try:
        request = from_apache({**PARAMS, **params})
    except InputError:
        return
    assert request.target.host == params.get(b"ZT_HOST", b"portal.example").decode().lower().partition(":")[0]


# -- FastCGI


def record(kind: int, content: bytes, *, number: int = 1, version: int = 1, padding: int = 0) -> bytes:
    return fastcgi.RECORD.pack(version, kind, number, len(content), padding) + content + bytes(padding)


BEGIN = record(fastcgi.BEGIN, b"\0\x02\0\0\0\0\0\0")
END_OF_PARAMS = record(fastcgi.PARAMS, b"")


@examples(max_examples=40)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=200), st.binary(max_size=300), max_size=12),
    st.lists(st.integers(1, 400), max_size=20),
    st.integers(0, 7),
)
def test_parameters_come_out_as_they_went_in_however_they_are_cut(
    params: dict[bytes, bytes], cuts: list[int], padding: int
) -> None:
    raw = encoded(params)
    records = [record(fastcgi.PARAMS, raw[at : at + 97], padding=padding) for at in range(0, len(raw), 97)]
    stream = BEGIN + b"".join(records) + END_OF_PARAMS
    reader, found, position = fastcgi.Reader(), None, 0
    for cut in [*cuts, len(stream)]:
        if position < len(stream):
            found = reader.feed(stream[position : position + cut])
            position += cut

    assert found is not None and fastcgi.pairs(found) == params


def read(stream: bytes) -> dict[bytes, bytes] | None:
    raw = fastcgi.Reader().feed(stream)
    return None if raw is None else fastcgi.pairs(raw)


@examples(max_examples=40)
@given(st.binary(max_size=400))
def test_no_bytes_do_more_than_be_refused(raw: bytes) -> None:
    for stream in (raw, BEGIN + raw, BEGIN + record(fastcgi.PARAMS, raw) + END_OF_PARAMS):
        try:
            found = read(stream)
        except InputError:
            continue
        assert found is None or encoded(found) or not found


REFUSED = {
    "another version": record(fastcgi.BEGIN, b"\0\x02\0\0\0\0\0\0", version=2),
    "a responder": record(fastcgi.BEGIN, b"\0\x01\0\0\0\0\0\0"),
    "a connection that stays": record(fastcgi.BEGIN, b"\0\x02\x01\0\0\0\0\0"),
    "no request number": record(fastcgi.BEGIN, b"\0\x02\0\0\0\0\0\0", number=0),
    "a short beginning": record(fastcgi.BEGIN, b"\0\x02"),
    "parameters first": record(fastcgi.PARAMS, b"\1\1ab"),
    "a second beginning": BEGIN + BEGIN,
    "another request": BEGIN + record(fastcgi.PARAMS, b"\1\1ab", number=2),
    "a body": BEGIN + record(fastcgi.STDIN, b"a"),
    "an abort": BEGIN + record(fastcgi.ABORT, b""),
    "half a pair": BEGIN + record(fastcgi.PARAMS, b"\5\5ab") + END_OF_PARAMS,
    "half a length": BEGIN + record(fastcgi.PARAMS, b"\x80") + END_OF_PARAMS,
    "a length beyond everything": BEGIN + record(fastcgi.PARAMS, b"\xff\xff\xff\xff\1ab") + END_OF_PARAMS,
    "a name that comes twice": BEGIN + record(fastcgi.PARAMS, b"\1\1ab\1\1ac") + END_OF_PARAMS,
    "too many": BEGIN + record(fastcgi.PARAMS, encoded({b"%d" % n: b"" for n in range(300)})) + END_OF_PARAMS,
    "too much": BEGIN + record(fastcgi.PARAMS, bytes(60_000)) * 2,
}


@pytest.mark.parametrize("stream", REFUSED.values(), ids=REFUSED)
def test_what_httpd_never_sends_is_refused(stream: bytes) -> None:
    assert code_of(read, stream) in ("HOOK_FRAMING", "HOOK_TOO_LARGE", "HEADER_DOUBLED")


@examples(max_examples=40)
@given(st.integers(1, 65535), st.integers(0, 140_000))
def test_an_answer_of_any_size_is_whole_and_ends(number: int, size: int) -> None:
    content, stream = b"x" * size, fastcgi.answer(number, b"x" * size)
    read, kinds = b"", []
    while stream:
        _, kind, who, count, padding = fastcgi.RECORD.unpack_from(stream)
        assert (who, padding) == (number, 0)
        kinds.append(kind)
        read += stream[8 : 8 + count] if kind == fastcgi.STDOUT else b""
        stream = stream[8 + count :]

    assert read == content and kinds[-2:] == [fastcgi.STDOUT, fastcgi.END]


# -- what is printed


def haproxy(**changes: Any) -> HaproxyBlock:
    return HaproxyBlock(
        **{
            "proxy": "front", "server_names": ("portal.example",), "listen": ("443", "[::]:443"),
            "sidecar": ("127.0.0.1:9191", "[::1]:9191", "unix:/run/zt.sock"), "backend": "127.0.0.1:8080",
            "lua": "/etc/haproxy/zt.lua", "key_file": "/etc/zt/pep.key", "certificate": "/etc/tls/a.pem",
            "device_cas": "/etc/zt/cas.pem", "enforces": ("no_store",),
        }
        | changes
    )  # fmt: skip


def apache(**changes: Any) -> ApacheBlock:
    return ApacheBlock(
        **{
            "proxy": "front", "server_names": ("portal.example",), "listen": ("*:443",), "sidecar": "127.0.0.1:9194",
            "backend": "127.0.0.1:8080", "key_include": "/etc/zt/pep.apache.conf", "certificate": "/etc/tls/a.pem",
            "certificate_key": "/etc/tls/a.key", "device_cas": "/etc/zt/cas.pem", "enforces": ("no_store",),
        }
        | changes
    )  # fmt: skip


def test_haproxy_denies_first_and_last() -> None:
    rules = [
        line.strip()
        for line in haproxy_config.render(haproxy()).splitlines()
        if line.strip().startswith("http-request ")
    ]

    assert rules[0] == "http-request set-var(txn.zt_ok) bool(false)"
    assert rules[-1] == "http-request deny deny_status 503 unless { var(txn.zt_ok) -m bool }"
    assert haproxy_config.render_lua(haproxy()).count('"txn.zt_ok", true') == 1


def test_what_was_upgraded_ends_when_nothing_moves_for_ten_minutes() -> None:
    defaults = haproxy_config.render(haproxy()).partition("\ndefaults")[2].partition("\nfrontend")[0]

    assert "\n    timeout tunnel 10m\n" in defaults


def test_both_overwrite_every_identity_header() -> None:
    for text in (haproxy_config.render(haproxy()), apache_config.render(apache())):
        for name in (*IDENTITY_HEADERS, "Zt-Decision", "Zt-Request-Id", "X-Forwarded-For", "X-Real-IP"):
            assert f" set-header {name} " in text or f"RequestHeader set {name} " in text


HOSTILE = ('a"b', "a\nb", "a b;c{", "$(a)", "%{a}", "a'b", "<b>", "a\\b", "")


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("key", ["proxy", "server_names", "listen", "sidecar", "backend"])
@pytest.mark.parametrize("kind", ["haproxy", "apache"])
def test_no_value_becomes_syntax(kind: str, key: str, value: str) -> None:
    single = key in ("proxy", "backend") or (kind == "apache" and key == "sidecar")
    changes = {key: value if single else (value,)}
    with pytest.raises(ConfigError):
        haproxy_config.render(haproxy(**changes)) if kind == "haproxy" else apache_config.render(apache(**changes))


@pytest.mark.parametrize("value", HOSTILE[:-1])
@pytest.mark.parametrize("key", ["lua", "key_file", "certificate", "device_cas", "user"])
def test_no_path_of_haproxy_becomes_syntax(key: str, value: str) -> None:
    with pytest.raises(ConfigError):
        haproxy_config.render(haproxy(**{key: value}))


@pytest.mark.parametrize("value", HOSTILE[:-1])
@pytest.mark.parametrize("key", ["key_include", "certificate", "certificate_key", "device_cas", "root", "modules"])
def test_no_path_of_apache_becomes_syntax(key: str, value: str) -> None:
    with pytest.raises(ConfigError):
        apache_config.render(apache(**{key: value}))


def settings(folder: Path, hook: str, **sidecar: Any) -> Settings:
    key = folder / "pep.key"
    key.write_bytes(KEY + b"\n")
    key.chmod(0o600)
    proxy = Proxy(name="front", hook=hook, key_file=key, hosts=("portal.example",))
    return Settings(base=folder, sidecar=Sidecar(**sidecar), proxies=(proxy,))


def test_the_action_is_written_once_and_holds_no_key(tmp_path: Path) -> None:
    made = settings(tmp_path, "haproxy")
    block = haproxy_block(made, made.proxies[0])

    assert write_lua(block) == Path(block.lua) and Path(block.lua).parent == tmp_path and write_lua(block) is None
    assert KEY.decode() not in Path(block.lua).read_text() + haproxy_config.render(block)


@pytest.mark.parametrize("proof", [{"key_file": Path("pep.key")}, {"key_file": None, "socket_uids": (101,)}])
def test_each_frontend_of_haproxy_has_an_action_in_a_file_of_its_own(tmp_path: Path, proof: dict[str, Any]) -> None:
    made = settings(tmp_path, "haproxy", listen=(f"unix:{tmp_path}/zt.sock",))
    front, edge = (
        Proxy(name=name, hook="haproxy", hosts=("portal.example", "wiki.example"), **proof)
        for name in ("front", "edge")
    )
    blocks = [
        haproxy_block(made, proxy, server_names=[host])
        for proxy, host in ((front, "portal.example"), (front, "wiki.example"), (edge, "wiki.example"))
    ]
    written = [write_lua(block) for block in blocks]

    assert len({*written}) == 3 and not [path for path in written if path is None or path.parent != tmp_path]
    for block in blocks:
        action = re.search(r"http-request lua\.(zt_\w+)", haproxy_config.render(block))
        assert action is not None and f'"{action[1]}"' in Path(block.lua).read_text()
        assert Path(block.lua).name.endswith(f".haproxy.{action[1]}.lua")


def test_the_action_stands_where_it_is_told_to(tmp_path: Path) -> None:
    made = settings(tmp_path, "haproxy")

    assert haproxy_block(made, made.proxies[0], lua=tmp_path / "mine.lua").lua == str(tmp_path / "mine.lua")


def test_the_include_of_apache_is_for_its_owner_alone(tmp_path: Path) -> None:
    made = settings(tmp_path, "apache", fastcgi_listen=("127.0.0.1:9194",))
    block = apache_block(made, made.proxies[0])
    include = key_include(made, made.proxies[0].key_file)

    assert write_key_include(made, made.proxies[0]) == include and write_key_include(made, made.proxies[0]) is None
    assert stat.S_IMODE(include.stat().st_mode) == 0o600 and KEY.decode() in include.read_text()
    assert KEY.decode() not in apache_config.render(block) and block.sidecar == "127.0.0.1:9194"


def test_apache_needs_a_fastcgi_listener_on_loopback(tmp_path: Path) -> None:
    made = settings(tmp_path, "apache")
    with pytest.raises(ConfigError) as refused:
        apache_block(made, made.proxies[0])
    assert refused.value.problems[0].code == "CONFIG_LISTEN"

    for elsewhere in ("0.0.0.0:9194", "unix:/run/zt.sock", "192.0.2.1:9194"):
        with pytest.raises(ValueError, match=r"loopback|no address"):
            Sidecar(fastcgi_listen=(elsewhere,))
