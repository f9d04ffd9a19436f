"""The gate of the nginx hook, and the text of the block, without sockets."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zt_engine.bootstrap.identity import proxy_credentials
from zt_engine.bootstrap.nginx_hook import find_proxy, key_include, nginx_block, write_key_include
from zt_engine.config import Proxy, Settings, Sidecar
from zt_engine.core.errors import ConfigError, InputError
from zt_engine.sidecar.hooks.answers import IDENTITY_HEADERS, Identity, allow_head
from zt_engine.sidecar.hooks.credentials import Credential, Credentials, key_digest
from zt_engine.sidecar.hooks.headers import RESERVED_NAMES, Layouts, judge
from zt_engine.sidecar.hooks.nginx import FAMILY, NginxHook
from zt_engine.sidecar.hooks.snippet import NginxBlock, backend_cleared, hook_cleared, key_line, render

KEY = b"0123456789abcdef"
ME = Credential(name="front", hook="nginx", channel="open", proof="key", key_digests=(key_digest(KEY),))
SENT = {
    b"Host": b"zt-sidecar",
    b"X-Original-URI": b"/cases/1?x",
    b"X-Original-Method": b"GET",
    b"X-Original-Host": b"portal.example",
    b"X-Original-Proto": b"https",
    b"X-Original-Port": b"443",
    b"X-Real-IP": b"203.0.113.7",
    b"Zt-Request-Id": b"0123456789abcdef",
    b"Zt-Pep-Key": KEY,
}


def ask(
    headers: dict[bytes, bytes], *, credential: Credential = ME, uid: int | None = None, extra: tuple[bytes, ...] = ()
):
    hook = NginxHook(Credentials([credential]))
    sent, who = hook.read({**headers, b"": b""}, (*headers, *extra), uid)
    return hook.prove(sent, who)


def code_of(headers: dict[bytes, bytes], **options: object) -> str:
    with pytest.raises(InputError) as refused:
        ask(headers, **options)
    return refused.value.code


# -- reading


def test_the_documented_headers_are_an_access_request() -> None:
    request = ask({**SENT, b"Authorization": b"Bearer a", b"DPoP": b"b"})

    assert (request.method, request.target.url) == ("GET", "https://portal.example/cases/1")
    assert (request.client_ip, request.authorization, request.dpop) == ("203.0.113.7", b"Bearer a", b"b")
    assert (request.pep, request.proof, request.channel) == ("front", "key", "open")


@pytest.mark.parametrize("name", [n for n in SENT if n not in (b"Host", b"Zt-Pep-Key")])
def test_a_missing_mandatory_header_is_refused_and_nothing_stands_in_for_it(name: bytes) -> None:
    without = {key: value for key, value in SENT.items() if key != name}

    assert code_of({**without, b"X-Note": b"/public"}) == "HOOK_HEADER_MISSING"


@pytest.mark.parametrize("name", [b"X-Forwarded-Uri", b"X-Original-URL", b"x_original_uri", b"X.Original.Uri"])
def test_a_second_header_family_is_never_read(name: bytes) -> None:
    assert code_of({**SENT, name: b"/public"}) == "HEADER_RESERVED"


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES - {"x-real-ip"}))
def test_a_reserved_name_is_refused(name: str) -> None:
    assert code_of({**SENT, name.encode(): b"x"}) == "HEADER_RESERVED"


@given(st.sampled_from(FAMILY.known), st.data())
def test_every_other_spelling_of_a_header_we_read_is_refused(name: str, data: st.DataObject) -> None:
    swap = st.sampled_from(["-", "_", "."])
    alias = "".join(data.draw(swap) if char == "-" else char for char in name)
    alias = "".join(char.upper() if data.draw(st.booleans()) else char for char in alias)
    names = [*(n.decode() for n in SENT), alias]

    layout = judge([n.encode() for n in names], FAMILY)

    taken = alias.lower() in {n.decode().lower() for n in SENT}
    if alias.lower() == name and not taken:
        assert layout.refusal == ""
    else:
        assert layout.refusal in ("HEADER_DOUBLED", "HEADER_RESERVED")


@given(st.lists(st.binary(max_size=12), max_size=12))
def test_any_list_of_names_is_judged(names: list[bytes]) -> None:
    assert judge(names, FAMILY).refusal in (
        "HEADER_INVALID", "HEADER_DOUBLED", "HEADER_RESERVED", "METHOD_OVERRIDE", "HOOK_FRAMING", "HOOK_HEADER_MISSING",
    )  # fmt: skip


def test_names_that_clients_invent_are_not_remembered_without_bound() -> None:
    layouts = Layouts(FAMILY)
    for number in range(3000):
        layouts.of((*SENT, b"X-%d" % number))

    assert len(layouts._known) <= 1024


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({b"X-Original-Method": b"get"}, "METHOD_AMBIGUOUS"),
        ({b"X-Original-Proto": b"ftp"}, "SCHEME_UNKNOWN"),
        ({b"X-Original-Port": b"0"}, "HOST_AMBIGUOUS"),
        ({b"X-Original-Host": b"a,b"}, "HOST_AMBIGUOUS"),
        ({b"X-Real-IP": b"unix:"}, "ADDRESS_INVALID"),
        ({b"X-Real-IP": b"10.0.0.1, 10.0.0.2"}, "ADDRESS_INVALID"),
        ({b"Zt-Request-Id": b"a b"}, "REQUEST_ID_INVALID"),
        ({b"Authorization": b"Bearer a,Bearer b"}, "HEADER_DOUBLED"),
        ({b"DPoP": b"a\xff"}, "HEADER_INVALID"),
        ({b"DPoP": b" a"}, "HEADER_INVALID"),
        ({b"Authorization": b"Bearer  a"}, "HEADER_INVALID"),
        ({b"Authorization": b"Bearer a "}, "HEADER_INVALID"),
        ({b"Authorization": b" Bearer a"}, "HEADER_INVALID"),
        ({b"Authorization": b" "}, "HEADER_INVALID"),
        ({b"Authorization": b"Bearer a\x0b"}, "HEADER_INVALID"),
        ({b"Authorization": b"Bearer " + b"a" * 17_000}, "TOKEN_TOO_LARGE"),
        ({b"Zt-Client-Verify": b"SUCCESS"}, "CERT_UNVERIFIED"),
        ({b"Zt-Client-Verify": b"FAILED:expired", b"Zt-Client-Cert": b"x"}, "CERT_UNVERIFIED"),
        ({b"Zt-Client-Verify": b"NONE", b"Zt-Client-Cert": b"x"}, "CERT_UNVERIFIED"),
        ({b"Zt-Client-Cert": b"x"}, "CERT_UNVERIFIED"),
        ({b"Content-Length": b"00"}, "HOOK_FRAMING"),
    ],
)
def test_a_value_that_proves_nothing_is_refused(change: dict[bytes, bytes], code: str) -> None:
    assert code_of({**SENT, **change}) == code


def test_what_a_hook_remembers_is_bounded_in_number_and_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zt_engine.sidecar.hooks.reading.MAX_TARGET_BYTES", 1500)
    monkeypatch.setattr("zt_engine.sidecar.hooks.reading.MAX_ADDRESSES", 3)
    hook = NginxHook(Credentials([ME]))

    def prove(uri: bytes, address: bytes = b"203.0.113.7") -> str:
        headers = {**SENT, b"X-Original-URI": uri, b"X-Real-IP": address, b"": b""}
        sent, who = hook.read(headers, tuple(SENT), None)
        return hook.prove(sent, who).target.path

    paths = [prove(b"/%d" % number, b"10.0.0.%d" % number) for number in range(10)]

    assert paths == [f"/{number}" for number in range(10)]
    assert (len(hook._prover._targets), len(hook._prover._addresses)) == (2, 2)
    assert prove(b"/" + b"a" * 300) == "/" + "a" * 300
    assert hook._prover._targets.get((b"/9", b"portal.example", b"https", b"443")) is not None


def test_a_url_may_hold_commas() -> None:
    assert ask({**SENT, b"X-Original-URI": b"/a,b?c,d"}).target.path == "/a,b"


# -- who asks


def test_invariant_14_a_proxy_speaks_for_its_own_hosts_only() -> None:
    bound = Credential(
        name="p",
        hook="nginx",
        channel="open",
        proof="key",
        key_digests=(key_digest(KEY),),
        hosts=frozenset({"a.example"}),
    )

    assert code_of(SENT, credential=bound) == "HOST_FOREIGN"


@pytest.mark.parametrize("key", [b"", b"wrong", KEY + b"x", KEY.upper()])
def test_without_its_key_a_proxy_is_nobody(key: bytes) -> None:
    assert code_of({**SENT, b"Zt-Pep-Key": key}) == "PEP_UNKNOWN"


def test_a_stranger_learns_nothing_of_the_rules_about_headers() -> None:
    stranger = {**SENT, b"Zt-Pep-Key": b"wrong", b"Zt-Subject": b"root"}
    nameless = {name: value for name, value in SENT.items() if name in (b"Host", b"X-Real-IP")}

    assert code_of(stranger) == code_of(nameless) == "PEP_UNKNOWN"
    assert code_of(SENT, extra=(b"Zt-Pep-Key",)) == "PEP_UNKNOWN"


def test_a_key_of_another_hook_does_not_count() -> None:
    other = Credential(name="t", hook="traefik", channel="open", proof="key", key_digests=(key_digest(KEY),))

    assert code_of(SENT, credential=other) == "PEP_UNKNOWN"


HOOKS = ("nginx", "caddy", "traefik", "envoy", "envoy_grpc", "haproxy", "apache")


@pytest.mark.parametrize("hook", HOOKS)
def test_invariant_14_what_a_proxy_shows_opens_its_own_hook_and_none_of_another_proxy(hook: str) -> None:
    own = Credential(
        name="p", hook=hook, channel="open", proof="key", key_digests=(key_digest(KEY),), uids=frozenset({7}),
        names=frozenset({"front"}),
    )  # fmt: skip
    known = Credentials([own])
    for key, peer in ((KEY, None), (b"", 7), (b"", ("front",))):
        assert known.of(key, hook=hook, peer=peer) is own
        for other in set(HOOKS) - {hook}:
            with pytest.raises(InputError, match="credential"):
                known.of(key, hook=other, peer=peer)


def proxies(tmp_path: Path, *entries: dict[str, object]) -> Settings:
    for name, key in (("a", KEY), ("same", KEY + b"\n"), ("b", b"f" * 32), ("c", b"c" * 32)):
        (tmp_path / name).write_bytes(key)
        (tmp_path / name).chmod(0o600)
    return Settings(proxies=tuple(Proxy.model_validate(entry) for entry in entries), base=tmp_path)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ({"key_file": "a"}, {"key_file": "a"}),
        ({"key_file": "a"}, {"key_file": "same"}),
        ({"key_file": "a"}, {"key_file": "b", "previous_key_file": "same"}),
        ({"key_file": "b", "previous_key_file": "a"}, {"key_file": "same"}),
        ({"key_file": "b", "previous_key_file": "a"}, {"key_file": "c", "previous_key_file": "same"}),
        ({"socket_uids": [33]}, {"socket_uids": [34, 33]}),
    ],
)
def test_two_proxies_are_never_known_by_the_same(
    tmp_path: Path, outer: dict[str, object], inner: dict[str, object]
) -> None:
    config = proxies(tmp_path, {"name": "outer", **outer}, {"name": "inner", "channel": "closed", **inner})

    with pytest.raises(ConfigError, match="PROXY_PROOF_SHARED") as refused:
        proxy_credentials(config)

    assert "`outer` and `inner` share" in refused.value.problems[0].message
    assert KEY.decode() not in str(refused.value)


def test_proxies_with_keys_and_users_of_their_own_are_told_apart(tmp_path: Path) -> None:
    config = proxies(
        tmp_path,
        {"name": "outer", "key_file": "a", "previous_key_file": "same"},
        {"name": "inner", "key_file": "b", "channel": "closed"},
        {"name": "one", "socket_uids": [33]},
        {"name": "other", "socket_uids": [34], "channel": "closed"},
    )

    known = Credentials(proxy_credentials(config))

    assert known.of(KEY, hook="nginx", peer=33).name == "outer"
    assert known.of(b"f" * 32, hook="nginx", peer=None).name == "inner"
    assert [known.of(b"", hook="nginx", peer=uid).name for uid in (33, 34)] == ["one", "other"]


# -- what is answered


def test_an_allow_names_every_identity_header_once_in_visible_ascii() -> None:
    who = Identity.of(subject="田中 太郎\r\nZt-Trust: 100", device="", groups=["情報課", "a,b"])
    head = allow_head(who, label="C2", trust=77, obligations="", assertion="")

    lines = head.split(b"\r\n")
    names = [line.partition(b":")[0].decode() for line in lines[1:]]
    assert all(names.count(name) == 1 for name in (*IDENTITY_HEADERS, "Zt-Decision", "Content-Length"))
    assert head.isascii() and b"\r\nZt-Trust: 77\r\n" in head
    assert b"Zt-Groups: %E6%83%85%E5%A0%B1%E8%AA%B2,a%2Cb\r\n" in head


def test_identity_beyond_4_kib_leaves_the_groups_out_instead_of_cutting_the_list() -> None:
    long, short = (Identity.of(subject="s", device="", groups=["g" * 50] * number) for number in (200, 20))

    assert b"Zt-Groups: \r\n" in allow_head(long, label="C1", trust=1, obligations="", assertion="")
    assert b"Zt-Groups: g" in allow_head(short, label="C1", trust=1, obligations="", assertion="")
    assert b"Zt-Groups: \r\n" in allow_head(short, label="C1", trust=1, obligations="o" * 4096, assertion="")


# -- the block

BLOCK = NginxBlock(
    proxy="front",
    server_names=("portal.example",),
    listen=("127.0.0.1:8000",),
    sidecar=("127.0.0.1:9191",),
    backend="127.0.0.1:8080",
    key_include="/etc/zt/pep.nginx.conf",
)


def replaced(**change: object) -> NginxBlock:
    return NginxBlock(**{name: change.get(name, getattr(BLOCK, name)) for name in BLOCK.__struct_fields__})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("proxy", "a;b"),
        ("server_names", ("a.example; return 200",)),
        ("server_names", ("$host",)),
        ("server_names", ("_",)),
        ("server_names", ("*.example",)),
        ("server_names", ()),
        ("listen", ("80;",)),
        ("sidecar", ("evil.example:80/path",)),
        ("sidecar", ()),
        ("backend", "http://127.0.0.1:8080/"),
        ("backend", "127.0.0.1:8080; }"),
        ("backend", "unix:relative.sock"),
        ("key_include", '/etc/x"; }'),
        ("key_include", "/etc/$x"),
        ("certificate", "/etc/*.pem"),
        ("certificate_key", "/etc/key.pem"),
        ("device_cas", "/etc/{x}"),
    ],
)
def test_a_value_that_nginx_would_read_as_syntax_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match="CONFIG_VALUE"):
        render(replaced(**{field: value}))


def test_every_reserved_header_is_set_or_removed_on_the_way_to_the_backend() -> None:
    text = render(BLOCK).lower()
    backend = text[: text.index("location /")]

    owned = RESERVED_NAMES | {name.lower() for name in IDENTITY_HEADERS} | {"zt-decision", "zt-reason", "zt-label"}
    owned |= {name for name in FAMILY.known if name.startswith(("x-", "zt-"))}
    assert [name for name in owned if backend.count(f"proxy_set_header {name} ") != 1] == []


def test_identity_headers_go_to_the_hook_as_the_client_sent_them() -> None:
    cleared = {name.lower() for name in hook_cleared()}

    assert cleared.isdisjoint(name.lower() for name in IDENTITY_HEADERS)
    assert {"x-forwarded-for", "forwarded", "transfer-encoding", "upgrade", "expect"} <= cleared
    assert {"proxy", "zt-pep-key", "zt-client-cert"} <= {name.lower() for name in backend_cleared()}


def test_the_key_never_stands_in_the_block() -> None:
    assert KEY.decode() not in render(BLOCK)
    assert key_line(KEY) == f'proxy_set_header Zt-Pep-Key "{KEY.decode()}";\n'


@pytest.mark.parametrize("key", [b"", b"short", b'0123456789abcdef"', b"0123456789abcdef$", b"0123456789abcde\n0"])
def test_a_key_that_nginx_would_read_as_syntax_is_refused(key: bytes) -> None:
    with pytest.raises(ConfigError, match="CONFIG_VALUE"):
        key_line(key)


@given(st.binary(max_size=40).filter(lambda key: len(key) >= 16))
def test_any_key_makes_one_directive_or_a_refusal(key: bytes) -> None:
    try:
        line = key_line(key)
    except ConfigError:
        return

    assert line.count(";") == line.count("\n") == 1 and "$" not in line and "\\" not in line


def test_a_unix_socket_needs_no_key_and_a_certificate_switches_tls_on() -> None:
    text = render(
        replaced(
            sidecar=("unix:/run/zt/sidecar.sock",), key_include="", certificate="/c.pem", certificate_key="/k.pem",
            device_cas="/ca.pem", listen=("443", "[::]:443"),
        )
    )  # fmt: skip

    assert "server unix:/run/zt/sidecar.sock max_fails=0;" in text
    assert "include" not in text.replace("includes", "")
    assert 'proxy_set_header Zt-Pep-Key "";' in text
    assert "listen 443 ssl;" in text and "listen [::]:443 ssl;" in text
    assert "ssl_verify_client optional;" in text


def test_the_block_says_which_obligations_it_cannot_carry_out() -> None:
    block = replaced(enforces=("no_store", "watermark"))

    assert block.unenforced == ("watermark",)
    assert '"no-store"' in render(block) and "Cache-Control" in render(block)
    assert "_cache_control" not in render(BLOCK)


# -- from settings


def settings(tmp_path: Path, *, listen: tuple[str, ...] = ("127.0.0.1:9191",), **proxy: object) -> Settings:
    (tmp_path / "pep.key").write_bytes(KEY + b"\n")
    (tmp_path / "pep.key").chmod(0o600)
    entry = {"name": "front", "key_file": Path("pep.key"), **proxy}
    return Settings(sidecar=Sidecar(listen=listen), proxies=(Proxy.model_validate(entry),), base=tmp_path)


def test_the_block_of_settings_includes_a_file_beside_the_key(tmp_path: Path) -> None:
    config = settings(tmp_path, hosts=("portal.example",))
    proxy = find_proxy(config, None)

    block = nginx_block(config, proxy)
    written = write_key_include(config, proxy)

    assert block.key_include == str(tmp_path / "pep.nginx.conf") == str(written)
    assert block.server_names == ("portal.example",)
    assert (tmp_path / "pep.nginx.conf").read_bytes() == key_line(KEY).encode()
    assert stat.S_IMODE((tmp_path / "pep.nginx.conf").stat().st_mode) == 0o600


def test_the_include_is_written_again_only_when_the_key_or_its_mode_changed(tmp_path: Path) -> None:
    config = settings(tmp_path)
    proxy = find_proxy(config, "front")
    include = key_include(config, Path("pep.key"))

    assert write_key_include(config, proxy) == include
    assert write_key_include(config, proxy) is None
    include.chmod(0o644)
    assert write_key_include(config, proxy) == include
    (tmp_path / "pep.key").write_bytes(b"f" * 32)
    assert write_key_include(config, proxy) == include
    assert b"f" * 32 in include.read_bytes()


def test_a_proxy_known_by_user_id_needs_a_unix_socket(tmp_path: Path) -> None:
    by_uid = {"key_file": None, "socket_uids": (os.getuid(),), "hosts": ("portal.example",)}

    with pytest.raises(ConfigError, match="CONFIG_LISTEN"):
        nginx_block(settings(tmp_path, **by_uid), find_proxy(settings(tmp_path, **by_uid), None))
    config = settings(tmp_path, listen=("127.0.0.1:9191", "unix:/run/zt.sock"), **by_uid)
    block = nginx_block(config, find_proxy(config, None))

    assert (block.sidecar, block.key_include) == (("unix:/run/zt.sock",), "")


CATALOGUE = """\
catalogue: 1
scheme: test
labels: {L0: {rank: 0, ja: 公開, en: Public}, L3: {rank: 300, ja: 極秘, en: Top}}
services:
  papers:
    title: {ja: 文書, en: Papers}
    owner: a
    review_at: 2027-04-01
    hosts: [papers.example, files.example]
    channels: [open]
    ceiling: L3
    label: L3
    routes: [{path: /*, methods: [GET]}]
"""
OPEN = """\
  website:
    title: {ja: 広報, en: Website}
    owner: a
    review_at: 2027-04-01
    hosts: [www.example]
    channels: [open]
    ceiling: L0
    label: L0
    routes: [{path: /*, methods: [GET]}]
"""


def with_catalogue(tmp_path: Path, text: str, **proxy: object) -> Settings:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/catalogue.yaml").write_text(text, encoding="utf-8")
    return settings(tmp_path, **proxy)


def hosts_of(config: Settings, **options: Any) -> tuple[str, ...]:
    return nginx_block(config, find_proxy(config, None), **options).server_names


def refusal_of(config: Settings, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        hosts_of(config, **options)
    return refused.value


def test_the_only_service_of_a_catalogue_needs_no_choice(tmp_path: Path) -> None:
    assert hosts_of(with_catalogue(tmp_path, CATALOGUE)) == ("papers.example", "files.example")


def test_one_backend_is_never_that_of_two_services(tmp_path: Path) -> None:
    config = with_catalogue(tmp_path, CATALOGUE + OPEN)

    for options in (
        {},
        {"server_names": ["papers.example", "www.example"]},
        {"service": "website", "server_names": ["papers.example"]},
        {"service": "website", "server_names": ["PAPERS.example"]},
    ):
        refused = refusal_of(config, **options)
        assert refused.problems[0].code == "SERVICE_AMBIGUOUS"
        assert refused.problems[0].hint == "--service papers or website"


def test_a_service_or_a_host_of_it_is_chosen(tmp_path: Path) -> None:
    config = with_catalogue(tmp_path, CATALOGUE + OPEN)

    assert hosts_of(config, service="papers") == ("papers.example", "files.example")
    assert hosts_of(config, server_names=["files.example"]) == ("files.example",)
    assert hosts_of(config, service="papers", server_names=["files.example"]) == ("files.example",)


def test_a_proxy_with_hosts_of_its_own_gets_no_others(tmp_path: Path) -> None:
    config = with_catalogue(tmp_path, CATALOGUE + OPEN, hosts=("files.example",))

    assert hosts_of(config) == hosts_of(config, service="papers") == ("files.example",)
    assert refusal_of(config, service="website").problems[0].code == "SERVICE_UNKNOWN"
    assert refusal_of(config, server_names=["www.example"]).problems[0].code == "SERVER_NAME_UNKNOWN"


def test_a_host_that_may_yet_become_that_of_another_service_is_refused(tmp_path: Path) -> None:
    config = with_catalogue(tmp_path, CATALOGUE)

    for name in ("new.example", "*.example", "_", "x.papers.example"):
        assert refusal_of(config, server_names=[name]).problems[0].code == "SERVER_NAME_UNKNOWN"


def test_whose_a_host_is_is_never_guessed(tmp_path: Path) -> None:
    assert refusal_of(settings(tmp_path)).problems[0].code == "SERVER_NAME_UNKNOWN"
    with pytest.raises(ConfigError, match="LABEL_UNMAPPED"):
        hosts_of(with_catalogue(tmp_path, CATALOGUE.replace("label: L3", "label: L4")))


@pytest.mark.parametrize("name", ["other", "Front"])
def test_an_unknown_proxy_is_named_with_those_that_exist(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="PROXY_UNKNOWN") as refused:
        find_proxy(settings(tmp_path), name)

    assert "front" in refused.value.hint
