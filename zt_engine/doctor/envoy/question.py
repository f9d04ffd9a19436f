"""The filter that asks: what happens without an answer, how long it waits, whose headers the backend believes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from zt_engine.doctor.addresses import stays_here
from zt_engine.doctor.envoy.model import EnvoyConfig, Manager, cluster_of, is_question, kind, service_of, targets
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import BROWSER_PATH, HOOK_PATH, IDENTITY, listed
from zt_engine.doctor.trees.node import Node

LONGEST = 5.0
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s")
_OFF = frozenset({"ExtAuthzPerRoute", "FilterConfig"})


def failing(config: EnvoyConfig) -> Iterator[Finding]:
    """What happens when nobody answers."""
    for item in _questions(config):
        allow = item.get("typed_config", "failure_mode_allow")
        if allow.true:
            yield Finding("DOCTOR_FAIL_OPEN", allow.place, "`failure_mode_allow: true`", "failure_mode_allow: false")
        status = item.get("typed_config", "status_on_error", "code")
        if status.present and not _is_refusal(status):
            detail = f"`status_on_error: {status.text}` when the sidecar fails"
            yield Finding("DOCTOR_STATUS_CHANGED", status.place, detail)
    for manager in config.asking:
        for mapper in manager.config.get("local_reply_config", "mappers").elements:
            status = mapper.get("status_code")
            if status.present and not _is_refusal(status):
                detail = f"`local_reply_config` answers {status.text} instead"
                yield Finding("DOCTOR_STATUS_CHANGED", status.place, detail)


def _texts(nodes: Iterable[Node]) -> list[str]:
    return [item.text for item in nodes]


def _is_refusal(status: Node) -> bool:
    return re.fullmatch(r"[45]\d\d|[A-Z]\w+", status.text) is not None and status.text.lower() != "ok"


def off(config: EnvoyConfig) -> Iterator[Finding]:
    """Filters and routes where the question is switched off."""
    for item in _questions(config):
        if item.get("disabled").true:
            yield Finding("DOCTOR_AUTH_OFF", item.get("disabled").place, "the `ext_authz` filter is `disabled`")
        share = item.get("typed_config", "filter_enabled", "default_value", "numerator")
        if (
            item.get("typed_config", "filter_enabled").present
            and not item.get("typed_config", "deny_at_disable").present
        ):
            detail = f"`filter_enabled` asks about {share.text or '0'} in a hundred or so, and can change at run time"
            yield Finding("DOCTOR_AUTH_OFF", item.get("typed_config", "filter_enabled").place, detail)
    for manager, host, route in config.routes():
        if manager is not None and not manager.questions:
            continue
        if route.get("redirect").present or route.get("direct_response").present:
            continue
        if route.get("match", "prefix").text == BROWSER_PATH and config.behind.isdisjoint(_texts(targets(route))):
            continue
        tables = [config.get("typed_per_filter_config") for config in (route, host)]
        tables += [item.get("typed_per_filter_config") for item in _weighted(route)]
        for table in tables:
            for name, per_route in table.pairs:
                if per_route.get("disabled").true and (kind(per_route) in _OFF or "ext_authz" in name):
                    if kind(per_route) == "FilterConfig" and "authz" not in name:
                        continue
                    detail = f"`{name}` is `disabled` for a route"
                    yield Finding("DOCTOR_AUTH_OFF", per_route.get("disabled").place, detail)


def _weighted(route: Node) -> list[Node]:
    return route.get("route", "weighted_clusters", "clusters").elements


def absent(config: EnvoyConfig) -> Iterator[Finding]:
    """Listeners that ask nobody."""
    behind = {name.text for manager in config.asking for name in _clusters(manager)} - config.sidecars
    for manager in config.managers:
        if manager.questions:
            continue
        for name in _clusters(manager):
            if not config.asking:
                yield Finding("DOCTOR_NO_HOOK", name.place, f"`{name.text}` is reached without `ext_authz`")
            elif name.text in behind:
                detail = f"`{name.text}` is also reached through a listener that asks the sidecar"
                yield Finding("DOCTOR_SERVER_OPEN", name.place, detail)


def _clusters(manager: Manager) -> list[Node]:
    return [name for host in manager.virtual_hosts for route in host.get("routes").elements for name in targets(route)]


def exposed(config: EnvoyConfig) -> Iterator[Finding]:
    """Routes of clients to the sidecar, and the administration of Envoy itself."""
    for _, _, route in config.routes():
        for name in targets(route):
            path = route.get("match", "prefix").text or route.get("match", "path").text
            known = name.text in config.sidecars and not path.startswith(("/access/", "/.well-known/"))
            if known or path.startswith(HOOK_PATH):
                yield Finding("DOCTOR_HOOK_EXPOSED", name.place, f"a route leads to `{name.text}`")
    for root in config.roots:
        address = root.get("admin", "address", "socket_address", "address")
        if address.present and not stays_here(address.text):
            yield Finding("DOCTOR_ADMIN_EXPOSED", address.place, f"`admin` listens at {address.text}", "127.0.0.1")


def identity(config: EnvoyConfig) -> Iterator[Finding]:
    """Identity that a client wrote itself; over gRPC the sidecar's answer says what is overwritten."""
    for item in _questions(config):
        service = item.get("typed_config", "http_service")
        if not service.present:
            continue
        answer = service.get("authorization_response")
        allowed = answer.get("allowed_upstream_headers")
        patterns = allowed.get("patterns").elements
        lacks = [name for name in IDENTITY if not any(_matches(pattern, name.lower()) for pattern in patterns)]
        if lacks:
            place = (allowed if allowed.present else service).place
            detail = f"{len(lacks)} of {len(IDENTITY)} not in `allowed_upstream_headers`: {listed(lacks)}"
            yield Finding("DOCTOR_IDENTITY_UNSET", place, detail, "{prefix: zt-}")
        for pattern in answer.get("allowed_upstream_headers_to_append", "patterns").elements:
            if any(_matches(pattern, name.lower()) for name in IDENTITY):
                detail = "`allowed_upstream_headers_to_append` leaves the client's value in front"
                yield Finding("DOCTOR_IDENTITY_UNSET", pattern.place, detail)


def _matches(pattern: Node, name: str) -> bool:
    """Envoy compares with the lower-case name, so an upper-case pattern matches nothing unless it ignores case."""
    fold = str.lower if pattern.get("ignore_case").true else str
    exact, prefix = fold(pattern.get("exact").text), fold(pattern.get("prefix").text)
    suffix, contains = fold(pattern.get("suffix").text), fold(pattern.get("contains").text)
    if exact:
        return name == exact
    if prefix:
        return name.startswith(prefix)
    if suffix:
        return name.endswith(suffix)
    if contains:
        return contains in name
    regex = pattern.get("safe_regex", "regex").text
    try:
        return 0 < len(regex) < 200 and re.fullmatch(regex, name) is not None
    except (re.error, RecursionError, OverflowError):
        return False


def waits(config: EnvoyConfig) -> Iterator[Finding]:
    """How long a client waits for a sidecar that does not answer."""
    for item in _questions(config):
        service = service_of(item)
        server = service.get("server_uri")
        timeout = server.get("timeout") if server.present else service.get("timeout")
        found = _DURATION.fullmatch(timeout.text)
        if service.present and not (found is not None and 0 < float(found[1]) <= LONGEST):
            place = timeout.place if timeout.present else service.place
            yield Finding("DOCTOR_TIMEOUT", place, f"`timeout` not set, or over {LONGEST:g} s", "timeout: 0.5s")


def plaintext(config: EnvoyConfig) -> Iterator[Finding]:
    """Tokens on a network, from clients or to the sidecar."""
    for manager in config.asking:
        for address in manager.addresses if not manager.encrypted else ():
            if address.present and not stays_here(address.text):
                detail = f"a listener at {address.text} without `transport_socket`"
                yield Finding("DOCTOR_PLAINTEXT", address.place, detail)
    for name in sorted(config.sidecars):
        cluster = config.clusters.get(name)
        if cluster is not None and not cluster.get("transport_socket").present:
            for address in config.leaves(name):
                detail = f"`{name}` is asked at {address.text} without `transport_socket`"
                yield Finding("DOCTOR_HOOK_PLAINTEXT", address.place, detail)
    for item in _questions(config):
        service = service_of(item)
        target = service.get("google_grpc", "target_uri")
        encrypted = service.get("google_grpc", "channel_credentials", "ssl_credentials").present
        if target.present and not encrypted and not stays_here(target.text):
            yield Finding("DOCTOR_HOOK_PLAINTEXT", target.place, f"{target.text} is asked without TLS")
        if not service.present:
            yield Finding("DOCTOR_HOOK_MISSING", item.place, "`ext_authz` names neither HTTP nor gRPC service")
        elif cluster_of(service).present and config.clusters and cluster_of(service).text not in config.clusters:
            detail = f"no cluster `{cluster_of(service).text}`"
            yield Finding("DOCTOR_HOOK_MISSING", cluster_of(service).place, detail)


def _questions(config: EnvoyConfig) -> Iterator[Node]:
    for manager in config.asking:
        for item in manager.config.get("http_filters").elements:
            if is_question(item):
                yield item


RULES = (failing, off, absent, exposed, identity, waits, plaintext)
