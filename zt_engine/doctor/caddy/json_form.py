"""Caddy's JSON, told as the Caddyfile that would have become it: one set of rules for both."""

from __future__ import annotations

from collections.abc import Sequence

from zt_engine.doctor.addresses import host_of
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.trees.node import Node

_PLAIN = {"rewrite": "rewrite", "file_server": "file_server", "error": "error", "metrics": "metrics"}


def site_blocks(root: Node) -> list[Directive]:
    """Return options and sites."""
    found: list[Directive] = []
    listen = root.get("admin", "listen")
    options: list[Directive] = []
    if listen.present and not root.get("admin", "disabled").true:
        options.append(Directive("admin", (listen.text,), listen.place))
    for _, server in root.get("apps", "http", "servers").pairs:
        ranges = server.get("trusted_proxies", "ranges")
        if ranges.present:
            options.append(Directive("trusted_proxies", ("static", *ranges.texts), ranges.place))
        found.extend(_sites(server))
    return [Directive("", (), root.place, options), *found]


def _sites(server: Node) -> list[Directive]:
    """Return a site for each host that a route of its own names, and one for the rest."""
    around: list[Directive] = []
    encrypted = server.get("tls_connection_policies")
    if encrypted.present:
        client = [item.get("client_authentication") for item in encrypted.elements]
        auth = [Directive("client_auth", (), item.place) for item in client if item.present]
        around.append(Directive("tls", (), encrypted.place, auth))
    listen = server.get("listen").texts or [":443"]
    if all(host_of(address) for address in listen):
        around.append(Directive("bind", tuple(listen), server.get("listen").place))
    errors = server.get("errors", "routes")
    if errors.present:
        around.append(Directive("handle_errors", (), errors.place, _routes(errors.elements)))
    shared = [route for route in server.get("routes").elements if not _hosts(route)]
    found = []
    for route in server.get("routes").elements:
        hosts = _hosts(route)
        if hosts:
            # What stands beside the hosts' own route holds for them as well, in the order of the file.
            mine = [item for item in server.get("routes").elements if item is route or item in shared]
            names = tuple(_address(host, listen[0], encrypted=encrypted.present) for host in hosts)
            found.append(_site(names, route, mine, around))
    if shared and not found:
        names = tuple(_address("", address, encrypted=encrypted.present) for address in listen)
        found.append(_site(names, server, shared, around))
    return found


def _site(names: tuple[str, ...], node: Node, routes: list[Node], around: list[Directive]) -> Directive:
    return Directive(names[0], names[1:], node.place, [*around, Directive("route", (), node.place, _routes(routes))])


def _hosts(route: Node) -> list[str]:
    return [host for item in route.get("match").elements for host in item.get("host").texts]


def _address(host: str, listen: str, *, encrypted: bool) -> str:
    port = listen.rsplit(":", 1)[-1]
    return f"{'https' if encrypted or port == '443' else 'http'}://{host or host_of(listen)}:{port}"


def _routes(routes: Sequence[Node]) -> list[Directive]:
    found: list[Directive] = []
    for route in routes:
        names = [name for item in route.get("match").elements for name, _ in item.pairs]
        paths = ",".join(path for item in route.get("match").elements for path in item.get("path").texts)
        matcher = () if set(names) <= {"host"} else (f"@{route.get('match').place.line}:{paths}",)
        handlers = [line for item in route.get("handle").elements for line in _handler(item)]
        for line in handlers:
            if line.name in ("reverse_proxy", "request_header"):
                line.args = (*matcher, *line.args)
        found.append(Directive("route", matcher, route.place, handlers))
    return found


def _handler(item: Node) -> list[Directive]:
    kind = item.get("handler").text
    place = item.get("handler").place
    if kind == "subroute":
        return _routes(item.get("routes").elements)
    if kind == "reverse_proxy":
        return [_proxy(item)]
    if kind == "headers":
        return [
            Directive("request_header", (f"-{name.text}",), name.place)
            for name in item.get("request", "delete").elements
        ]
    if kind == "static_response":
        return [Directive("respond", (item.get("status_code").text or "200",), place)]
    if kind == "rewrite" and not any(item.get(name).present for name in ("uri", "strip_path_prefix", "uri_substring")):
        return []
    return [Directive(_PLAIN[kind], (), place)] if kind in _PLAIN else []


def _proxy(item: Node) -> Directive:
    dials = tuple(up.get("dial").text for up in item.get("upstreams").elements)
    block = _headers(item.get("headers", "request"))
    transport = item.get("transport")
    inner = [
        Directive(name, (_duration(value),), value.place)
        for name, value in transport.pairs
        if name in {"dial_timeout", "response_header_timeout"}
    ]
    if transport.get("tls").present:
        inner.append(Directive("tls", (), transport.get("tls").place))
    block.append(Directive("transport", ("http",), transport.place, inner))
    trusted = item.get("trusted_proxies")
    if trusted.present:
        block.append(Directive("trusted_proxies", tuple(trusted.texts), trusted.place))
    rewrite = item.get("rewrite", "uri")
    question = False
    for response in item.get("handle_response").elements:
        codes = {code.text for code in response.get("match", "status_code").elements}
        if codes and all(code.startswith("2") for code in codes) and item.get("rewrite", "method").present:
            question = True
            names = [name for route in response.get("routes").elements for name in _set_names(route)]
            block.append(Directive("copy_headers", tuple(dict.fromkeys(names)), response.place))
        else:
            block.append(Directive("handle_response", (), response.place, _routes(response.get("routes").elements)))
    place = item.get("handler").place
    if question:
        return Directive("forward_auth", dials, place, [Directive("uri", (rewrite.text,), rewrite.place), *block])
    if rewrite.present:
        block.append(Directive("rewrite", (rewrite.text,), rewrite.place))
    return Directive("reverse_proxy", dials, place, block)


def _set_names(route: Node) -> list[str]:
    """The request headers that a route of a good answer sets, its own inner routes included."""
    names: list[str] = []
    for item in route.below():
        if item.get("handler").text == "headers":
            names += [name for name, _ in item.get("request", "set").pairs]
            names += item.get("request", "delete").texts
    return names


def _headers(request: Node) -> list[Directive]:
    found = [Directive("header_up", (name, *value.texts), value.place) for name, value in request.get("set").pairs]
    return found + [Directive("header_up", (f"-{item.text}",), item.place) for item in request.get("delete").elements]


def _duration(value: Node) -> str:
    """Caddy writes nanoseconds as a number, or a text as in a Caddyfile."""
    return f"{value.scalar / 1e9:.3f}s" if isinstance(value.scalar, int | float) else value.text
