"""What was authorised is what the backend gets: path, names of headers, identity, and who is listening in."""

from __future__ import annotations

from collections.abc import Iterator

from zt_engine.doctor.addresses import stays_here, trusts_everybody
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import IDENTITY, listed, missing
from zt_engine.doctor.nginx.model import Level, NginxConfig, uri_part
from zt_engine.doctor.nginx.question import headers

_SETTERS = {
    "proxy_pass": "proxy_set_header",
    "grpc_pass": "grpc_set_header",
    "fastcgi_pass": "fastcgi_param",
    "uwsgi_pass": "uwsgi_param",
    "scgi_pass": "scgi_param",
}
_ONLY_WEBSOCKET = "map $http_upgrade $websocket { ~*^websocket$ websocket; } proxy_set_header Upgrade $websocket;"


def path(config: NginxConfig) -> Iterator[Finding]:
    """Another path for the backend than for the sidecar."""
    for level in config.protected:
        for item in level.own.get("proxy_pass", ()):
            part = uri_part(item.args[0]) if item.args else ""
            if part and not part.startswith("$request_uri"):
                detail = f"`{part}` takes the place of the path that was authorised, and decodes the rest"
                yield Finding("DOCTOR_PATH_CHANGED", item.place, detail, f"proxy_pass {item.args[0][: -len(part)]};")
    for server in config.servers:
        for level in (server, *server.below()) if config.protects(server) else ():
            for item in level.own.get("rewrite", ()):
                if item.args[2:3] not in {("redirect",), ("permanent",)} and "://" not in "".join(item.args[1:2]):
                    yield Finding("DOCTOR_PATH_CHANGED", item.place, "`rewrite` changes the path that was authorised")


def slashes(config: NginxConfig) -> Iterator[Finding]:
    """`merge_slashes off` is right where the whole server asks, and a way around where only some locations do."""
    partly = [server for server in config.servers if config.protects(server) and not _whole(config, server)]
    for server in partly:
        found = server.one("merge_slashes")
        if found is not None and found.args[:1] == ("off",):
            detail = "`//admin` is not in `location /admin`, and only some locations ask"
            yield Finding("DOCTOR_PATH_UNHARDENED", found.place, detail, "merge_slashes on;")


def _whole(config: NginxConfig, server: Level) -> bool:
    if not server.asks:
        return False
    return all(
        level.asks or level.internal or not level.serves or id(level) in config.questions or config.signs_in(level)
        for level in config.locations(server)
    )


def alias(config: NginxConfig) -> Iterator[Finding]:
    """`location /files` with `alias /srv/files/`: `/files../x` is `/srv/x`."""
    for level in config.levels:
        if level.kind != "location" or level.modifier not in {"", "^~"} or level.uri.endswith("/"):
            continue
        for item in level.own.get("alias", ()):
            if item.args and item.args[0].endswith("/") and not level.named:
                detail = f"`{level.uri}../` leaves `{item.args[0]}`"
                yield Finding("DOCTOR_ALIAS_TRAVERSAL", item.place, detail, f"location {level.uri}/ {{")


def spellings(config: NginxConfig) -> Iterator[Finding]:
    """Header names that a backend folds onto ours."""
    for level in config.levels:
        for name, unsafe in (("underscores_in_headers", "on"), ("ignore_invalid_headers", "off")):
            for item in level.own.get(name, ()):
                if item.args[:1] == (unsafe,):
                    safe = "off" if unsafe == "on" else "on"
                    detail = f"`{name} {unsafe}` lets `Zt_Subject` or `Zt.Subject` through"
                    yield Finding("DOCTOR_HEADER_ALIASES", item.place, detail, f"{name} {safe};")


def identity(config: NginxConfig) -> Iterator[Finding]:
    """Identity that a client wrote itself."""
    for level in config.protected:
        for handler, setter in _SETTERS.items():
            if handler not in level.own or level.value(handler.replace("_pass", "_pass_request_headers")) == "off":
                continue
            found = headers(level, setter)
            kept = {name for name, value in found.items() if "$http_" not in value}
            if setter.endswith("_param"):
                kept = {name.removeprefix("http_").replace("_", "-") for name in kept}
            lacks = missing(kept)
            if lacks:
                write = f"{setter} {lacks[0]} ${lacks[0].lower().replace('-', '_')};"
                if setter.endswith("_param"):
                    write = f"{setter} HTTP_{lacks[0].upper().replace('-', '_')} ${lacks[0].lower().replace('-', '_')};"
                detail = f"{len(lacks)} of {len(IDENTITY)} not overwritten: {listed(lacks)}"
                yield Finding("DOCTOR_IDENTITY_UNSET", level.own[handler][-1].place, detail, write)


def listeners(config: NginxConfig) -> Iterator[Finding]:
    """Tokens in plain text on a network."""
    for server in config.servers:
        if server.kind != "server" or not config.protects(server):
            continue
        listens = server.own.get("listen", ())
        if not listens:
            detail = "without `listen` nginx takes port 80 of every address"
            yield Finding("DOCTOR_PLAINTEXT", server.place, detail, "listen 443 ssl;")
        for item in listens:
            encrypted = {"ssl", "quic"}.intersection(item.args) or server.value("ssl") == "on"
            if not encrypted and item.args and not stays_here(item.args[0]):
                yield Finding(
                    "DOCTOR_PLAINTEXT", item.place, f"`listen {item.args[0]}` has no `ssl`", "listen 443 ssl;"
                )


def trusted(config: NginxConfig) -> Iterator[Finding]:
    """A client that names its own address."""
    for level in config.levels:
        for item in level.own.get("set_real_ip_from", ()):
            if item.args and trusts_everybody(item.args[0]):
                yield Finding("DOCTOR_FORWARDED_TRUSTED", item.place, f"`{item.args[0]}` is everybody")


def upgrades(config: NginxConfig) -> Iterator[Finding]:
    """A client that chooses the protocol: behind an h2c tunnel nobody is asked about anything."""
    for level in config.protected:
        if "proxy_pass" not in level.own:
            continue
        found = headers(level, "proxy_set_header")
        if "$http_upgrade" in found.get("upgrade", "") and found.get("connection", "close") not in {"close", ""}:
            detail = "`Upgrade $http_upgrade` passes `h2c` and any other protocol"
            yield Finding("DOCTOR_UPGRADE_OPEN", level.own["proxy_pass"][-1].place, detail, _ONLY_WEBSOCKET)


RULES = (path, slashes, alias, spellings, identity, listeners, trusted, upgrades)
