"""The location that asks: who can reach it, what it tells the sidecar, how long it waits, what it remembers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zt_engine.doctor.addresses import stays_here
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import CERTIFICATE, HOOK_PATH, listed
from zt_engine.doctor.nginx.model import Level, NginxConfig, authority, uri_part

SENT = {
    "X-Original-URI": "$request_uri",
    "X-Original-Method": "$request_method",
    "X-Original-Host": "$host",
    "X-Original-Proto": "$scheme",
    "X-Original-Port": "$server_port",
    "X-Real-IP": "$remote_addr",
}
"""What the hook believes, and where nginx has it from; anything else is what a client wrote."""

LONGEST = 5.0
"""Seconds after which a wait is none that anybody meant."""

_CREDENTIAL = re.compile(r"\$\{?(?:http_authorization|http_cookie|http_dpop|cookie_\w+|ssl_client_\w+)")
_KEY_PARTS = {
    "`$request_uri`": r"\$\{?request_uri",
    "`$request_method`": r"\$\{?request_method",
    "`$host`": r"\$\{?(?:http_)?host\b",
}
_OPEN_PATHS = ("/access/", "/.well-known/")
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w|M|y)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "M": 2592000.0, "y": 31536000.0}


def exposed(config: NginxConfig) -> Iterator[Finding]:
    """The hook, within reach of clients."""
    for server in config.servers:
        for level in config.locations(server):
            handler = level.handler
            if level.internal or handler is None or not handler.args or _hidden(level):
                continue
            asks = HOOK_PATH in level.uri or uri_part(handler.args[0]).startswith(HOOK_PATH)
            known = config.sidecars.intersection(config.addresses(handler.args[0]))
            spared = level.uri.startswith(_OPEN_PATHS) or _for_proxies(config, server)
            to_sidecar = (asks or known) and not spared
            if not to_sidecar and id(level) not in config.questions:
                continue
            detail = f"`location {' '.join(level.directive.args) if level.directive else ''}` is not `internal`"
            yield Finding("DOCTOR_HOOK_EXPOSED", level.place, detail, "internal;")


def _for_proxies(config: NginxConfig, server: Level) -> bool:
    """A server of its own in front of the sidecar, for proxies that show a certificate or are on this machine."""
    listens = [item.args[0] for item in server.own.get("listen", ()) if item.args]
    local = bool(listens) and all(stays_here(address) for address in listens)
    return not config.protects(server) and (local or server.value("ssl_verify_client") == "on")


def _hidden(level: Level) -> bool:
    """`deny all` hides a location from clients and not from nginx, whose own questions skip it."""
    rules = [(item.name, item.args[:1]) for item in (*level.own.get("allow", ()), *level.own.get("deny", ()))]
    return ("deny", ("all",)) in rules and all(stays_here(args[0]) for name, args in rules if name == "allow" and args)


def body(config: NginxConfig) -> Iterator[Finding]:
    """A body that is announced and never comes."""
    for level in config.questions.values():
        if level.value("proxy_method") == "HEAD" or "proxy_pass" not in level.own:
            continue
        wrong = []
        if level.value("proxy_pass_request_body") != "off":
            wrong.append("`proxy_pass_request_body off`")
        if headers(level).get("content-length") != "":
            wrong.append('`proxy_set_header Content-Length ""`')
        if wrong:
            write = 'proxy_pass_request_body off; proxy_set_header Content-Length "";'
            yield Finding("DOCTOR_BODY_UNHANDLED", level.place, f"missing: {', '.join(wrong)}", write)


def cached(config: NginxConfig) -> Iterator[Finding]:
    """An answer for one client that the next one gets."""
    for level in config.questions.values():
        cache = level.one("proxy_cache")
        if cache is None or cache.args[:1] == ("off",):
            continue
        found = level.one("proxy_cache_key")
        key = " ".join(found.args) if found is not None else "$scheme$proxy_host$uri$is_args$args"
        lacks = [name for name, pattern in _KEY_PARTS.items() if re.search(pattern, key) is None]
        if _CREDENTIAL.search(key) is None:
            lacks.insert(0, "the credential")
        if lacks:
            yield Finding("DOCTOR_AUTH_CACHED", cache.place, f"the key lacks {', '.join(lacks)}", "proxy_cache off;")


def told(config: NginxConfig) -> Iterator[Finding]:
    """What the sidecar is told, and by whom."""
    for level in config.questions.values():
        sent = headers(level)
        wrong = [name for name, value in SENT.items() if not _vouched(sent.get(name.lower()))]
        uri = sent.get("x-original-uri") or ""
        if "x-original-uri" in sent and "request_uri" not in uri and "X-Original-URI" not in wrong:
            wrong.insert(0, "X-Original-URI")
        if wrong and "proxy_pass" in level.own:
            write = " ".join(f"proxy_set_header {name} {SENT[name]};" for name in wrong)
            yield Finding("DOCTOR_HOOK_HEADERS", level.place, f"not set by nginx: {listed(wrong)}", write)
        lacks = [name for name in CERTIFICATE if not _overwritten(sent.get(name.lower()))]
        if lacks and "proxy_pass" in level.own:
            write = "proxy_set_header Zt-Client-Verify $ssl_client_verify; "
            write += "proxy_set_header Zt-Client-Cert $ssl_client_escaped_cert;"
            yield Finding("DOCTOR_CLIENT_CERT", level.place, f"not set by nginx: {listed(lacks)}", write)


def headers(level: Level, directive: str = "proxy_set_header") -> dict[str, str]:
    """Return the headers that are set where a request is passed on: lower-case name -> value."""
    return {item.args[0].lower(): item.args[1] for item in level.many(directive) if len(item.args) > 1}


def _overwritten(value: str | None) -> bool:
    return value is not None and "$http_" not in value


def _vouched(value: str | None) -> bool:
    return bool(value) and _overwritten(value)


def waits(config: NginxConfig) -> Iterator[Finding]:
    """How long a client waits for a sidecar that does not answer."""
    for level in config.questions.values():
        wrong = [
            name
            for name in ("proxy_connect_timeout", "proxy_read_timeout")
            if "proxy_pass" in level.own and not 0 < seconds(level.value(name)) <= LONGEST
        ]
        if wrong:
            write = "proxy_connect_timeout 250ms; proxy_read_timeout 500ms;"
            yield Finding("DOCTOR_TIMEOUT", level.place, f"not set, or over {LONGEST:g} s: {listed(wrong)}", write)


def seconds(text: str) -> float:
    """Return a duration of nginx, `1m 30s` as well; 0 for what is none."""
    return sum(int(number[:9]) * _UNITS[unit or "s"] for number, unit in _DURATION.findall(text))


def plaintext(config: NginxConfig) -> Iterator[Finding]:
    """Tokens and the proxy's key on a network."""
    for level in config.questions.values():
        handler = level.own.get("proxy_pass", (None,))[-1]
        if handler is None or not handler.args or not handler.args[0].startswith("http://"):
            continue
        away = [address for address in config.addresses(handler.args[0]) if not stays_here(address)]
        if away:
            detail = f"`{authority(handler.args[0])}` is asked over plain HTTP at {listed(away)}"
            yield Finding("DOCTOR_HOOK_PLAINTEXT", handler.place, detail, "proxy_pass https://...;")


RULES = (exposed, body, cached, told, waits, plaintext)
