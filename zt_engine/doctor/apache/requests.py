"""What Apache makes of a request, an identity and a refusal; who listens in."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from zt_engine.doctor.addresses import stays_here, trusts_everybody
from zt_engine.doctor.apache.model import ApacheConfig, Host, flat, rewrites
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import IDENTITY, listed, missing

LONGEST = 300
_CERTIFICATES = frozenset({"client-cert", "x-forwarded-client-cert", "zt-client-cert"})


def provider(config: ApacheConfig) -> Iterator[Finding]:
    """The authorizer itself."""
    for line in config.definitions:
        if not stays_here(line.args[2]):
            detail = f"`{line.args[2]}`: FastCGI has no encryption"
            yield Finding("DOCTOR_HOOK_PLAINTEXT", line.place, detail)
    for line in config.all:
        if line.name != "authnzfcgicheckauthnprovider" or line.first.lower() == "none":
            continue
        words = [word.lower() for word in line.args]
        if "off" in [words[at + 1] for at, word in enumerate(words[:-1]) if word == "authoritative"]:
            detail = "`Authoritative Off`: when it refuses, others are tried"
            yield Finding("DOCTOR_FAIL_OPEN", line.place, detail, "Authoritative On")
        if line.first.lower() not in config.providers:
            yield Finding("DOCTOR_HOOK_MISSING", line.place, f"no provider `{line.first}` is defined")


def identity(config: ApacheConfig) -> Iterator[Finding]:
    """Identity, or a certificate, that a client wrote itself."""
    for host in config.hosts:
        if not host.asking:
            continue
        lines = [line for line in flat(host.lines) if line.name == "requestheader"]
        known = [line.args[1] for line in lines if _overwrites(line)]
        lacks = missing(known)
        if lacks:
            detail = f"{len(lacks)} of {len(IDENTITY)} neither set nor unset: {listed(lacks)}"
            name = lacks[0].upper().replace("-", "_")
            write = f'RequestHeader set {lacks[0]} "%{{{name}}}e"'
            yield Finding("DOCTOR_IDENTITY_UNSET", host.asking[0].place, detail, write)


def certificate(config: ApacheConfig) -> Iterator[Finding]:
    """A certificate that a client wrote itself, where the backend could expect one of httpd."""
    for host in config.hosts:
        verify = [line for line in flat(host.lines) if line.name == "sslverifyclient" and line.first.lower() != "none"]
        lines = [line for line in flat(host.lines) if line.name == "requestheader"]
        known = {line.args[1].lower() for line in lines if _overwrites(line)}
        if host.asking and verify and not known & _CERTIFICATES:
            detail = "`SSLVerifyClient`, and `Client-Cert` is neither set nor unset"
            yield Finding("DOCTOR_CLIENT_CERT", verify[0].place, detail, "RequestHeader unset Client-Cert")


def _overwrites(line: Directive) -> bool:
    action = line.first.lower()
    rest = line.args[3:] if action == "set" else line.args[2:]
    conditional = any(word.lower().startswith(("env=", "expr=")) for word in rest)
    if len(line.args) < 2 or conditional or action not in {"set", "unset"}:
        return False
    return action == "unset" or "%{http_" not in " ".join(line.args[2:]).lower()


def paths(config: ApacheConfig) -> Iterator[Finding]:
    """Another path for the backend than for the sidecar, or two readings of one."""
    for host in config.hosts:
        for line in flat(host.lines):
            word = line.first.lower()
            if line.name == "allowencodedslashes" and word in {"on", "nodecode"}:
                detail = f"`AllowEncodedSlashes {line.first}` passes `%2f`"
                yield Finding("DOCTOR_PATH_UNHARDENED", line.place, detail, "AllowEncodedSlashes Off")
            elif line.name == "mergeslashes" and word == "off" and not _whole(host):
                detail = "`MergeSlashes Off`: `//admin` is not in `<Location /admin>`"
                yield Finding("DOCTOR_PATH_UNHARDENED", line.place, detail, "MergeSlashes On")
            elif line.name == "httpprotocoloptions" and "unsafe" in {item.lower() for item in line.args}:
                yield Finding(
                    "DOCTOR_HEADER_ALIASES", line.place, "`HttpProtocolOptions Unsafe`", "HttpProtocolOptions Strict"
                )
            elif host.asking and rewrites(line):
                yield Finding("DOCTOR_PATH_CHANGED", line.place, f"`RewriteRule {' '.join(line.args[:2])}`")
        for path, target, line in host.passes() if host.asking else ():
            if line.name == "proxypass" and _moves(path, target):
                detail = f"`{path}` becomes `{urlsplit(_url(target)).path or '/'}` at the backend"
                yield Finding("DOCTOR_PATH_CHANGED", line.place, detail)


def _whole(host: Host) -> bool:
    """Whether every path of a host is asked about, so that no spelling is in another section."""
    section = host.deciding("/")
    return section is not None and section.asks


def _moves(path: str, target: str) -> bool:
    try:
        there = urlsplit(_url(target)).path
    except ValueError:
        return False
    return there.rstrip("/") != path.rstrip("/") or (there.endswith("/") != path.endswith("/") and there != "")


def _url(target: str) -> str:
    return target.split("|", 1)[-1]


def refusals(config: ApacheConfig) -> Iterator[Finding]:
    """What becomes of a refusal."""
    for host in config.hosts:
        for line in flat(host.lines) if host.asking else ():
            if line.name == "errordocument" and line.first in {"401", "403"} and "://" in "".join(line.args[1:2])[:9]:
                detail = f"a {line.first} becomes a redirect to {line.args[1]}"
                yield Finding("DOCTOR_ERROR_LEAVES", line.place, detail, f"ErrorDocument {line.first} /_zt/denied")


def listeners(config: ApacheConfig) -> Iterator[Finding]:
    """Tokens in plain text on a network; clients that are waited for."""
    for host in config.hosts:
        if host.asking and not host.encrypted:
            for address, line in host.addresses:
                yield Finding("DOCTOR_PLAINTEXT", line.place, f"{address} without `SSLEngine on`", "SSLEngine on")
        for line in host.lines if host.asking else ():
            number = "".join(character for character in line.first if character.isdigit())[:9]
            if line.name in {"timeout", "proxytimeout"} and not 0 < int(number or 0) <= LONGEST:
                yield Finding("DOCTOR_TIMEOUT", line.place, f"`{line.name} {line.first}`", "Timeout 60")
            elif line.name == "requestreadtimeout" and any(
                word.lower() in {"header=0", "header=0,"} for word in line.args
            ):
                yield Finding(
                    "DOCTOR_TIMEOUT", line.place, "`RequestReadTimeout header=0`", "RequestReadTimeout header=10"
                )
        yield from _trusted(host)


def _trusted(host: Host) -> Iterator[Finding]:
    """A client that names its own address: without a list mod_remoteip believes everybody."""
    lines = list(flat(host.lines)) if host.asking else []
    lists = [line for line in lines if line.name.startswith(("remoteiptrustedproxy", "remoteipinternalproxy"))]
    for line in lists:
        wide = [word for word in line.args if trusts_everybody(word)]
        if wide:
            yield Finding("DOCTOR_FORWARDED_TRUSTED", line.place, f"`{wide[0]}` is everybody")
    for line in lines:
        if line.name == "remoteipheader" and not lists:
            detail = "`RemoteIPHeader` without `RemoteIPTrustedProxy` or `RemoteIPInternalProxy`"
            yield Finding("DOCTOR_FORWARDED_TRUSTED", line.place, detail)


def upgrades(config: ApacheConfig) -> Iterator[Finding]:
    """A client that chooses the protocol: behind an h2c tunnel nobody is asked about anything."""
    for host in config.hosts:
        if not host.asking or any(_takes_upgrade(line) for line in flat(host.lines)):
            continue
        for _, _, line in host.passes():
            wanted = [word.split("=", 1)[1] for word in line.args if word.lower().startswith("upgrade=")]
            if any(word.lower() not in {"websocket", "none"} for word in wanted):
                detail = f"`upgrade={wanted[-1]}` passes more than WebSocket"
                yield Finding("DOCTOR_UPGRADE_OPEN", line.place, detail, "upgrade=websocket")


def _takes_upgrade(line: Directive) -> bool:
    return line.name == "requestheader" and [word.lower() for word in line.args[:2]] == ["unset", "upgrade"]


RULES = (provider, identity, certificate, paths, refusals, listeners, upgrades)
