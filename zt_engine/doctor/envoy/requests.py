"""What Envoy makes of a request before it asks and before it passes it on."""

from __future__ import annotations

from collections.abc import Iterator

from zt_engine.doctor.envoy.model import EnvoyConfig
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import listed
from zt_engine.doctor.trees.node import Node

_SLASHES = frozenset({"reject_request", "unescape_and_redirect"})
_UNDERSCORES = frozenset({"reject_request", "drop_header"})
_CERTIFICATES = frozenset({"", "sanitize", "sanitize_set"})
_REWRITES = ("prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite")


def path(config: EnvoyConfig) -> Iterator[Finding]:
    """One spelling of a path for the sidecar and the backend."""
    for manager in config.asking:
        hcm = manager.config
        wrong = [name for name in ("normalize_path", "merge_slashes") if not hcm.get(name).true]
        if _word(hcm.get("path_with_escaped_slashes_action")) not in _SLASHES:
            wrong.append("path_with_escaped_slashes_action")
        if wrong:
            write = "normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: REJECT_REQUEST"
            yield Finding("DOCTOR_PATH_UNHARDENED", hcm.place, f"not set: {listed(wrong)}", write)


def spellings(config: EnvoyConfig) -> Iterator[Finding]:
    """Header names that a backend folds onto ours."""
    for manager in config.asking:
        action = manager.config.get("common_http_protocol_options", "headers_with_underscores_action")
        if _word(action) not in _UNDERSCORES:
            place = action.place if action.present else manager.config.place
            detail = "`headers_with_underscores_action` lets `Zt_Subject` through"
            yield Finding("DOCTOR_HEADER_ALIASES", place, detail, "headers_with_underscores_action: REJECT_REQUEST")


def trusted(config: EnvoyConfig) -> Iterator[Finding]:
    """A client that names its own address, or its own certificate."""
    for manager in config.asking:
        hcm = manager.config
        remote = hcm.get("use_remote_address")
        if not remote.true and not hcm.get("original_ip_detection_extensions").present:
            place = remote.place if remote.present else hcm.place
            detail = "without `use_remote_address` the client's `X-Forwarded-For` is believed"
            yield Finding("DOCTOR_FORWARDED_TRUSTED", place, detail, "use_remote_address: true")
        details = hcm.get("forward_client_cert_details")
        if _word(details) not in _CERTIFICATES:
            detail = f"`forward_client_cert_details: {details.text}` keeps the client's `X-Forwarded-Client-Cert`"
            write = "forward_client_cert_details: SANITIZE_SET"
            yield Finding("DOCTOR_CLIENT_CERT", details.place, detail, write)


def rewrites(config: EnvoyConfig) -> Iterator[Finding]:
    """Another path for the backend than for the sidecar."""
    for manager, _, route in config.routes():
        if manager is not None and not manager.questions:
            continue
        for name in _REWRITES:
            found = route.get("route", name)
            if found.present and not (found.text and found.text == route.get("match", "prefix").text):
                yield Finding("DOCTOR_PATH_CHANGED", found.place, f"`{name}` changes the path that was authorised")


def upgrades(config: EnvoyConfig) -> Iterator[Finding]:
    """A client that chooses the protocol: behind an h2c tunnel nobody is asked about anything."""
    actions = [route.get("route") for manager, _, route in config.routes() if manager is None or manager.questions]
    for place in (*(manager.config for manager in config.asking), *actions):
        for item in place.get("upgrade_configs").elements:
            named = item.get("upgrade_type")
            if named.present and named.text.lower() != "websocket" and item.get("enabled").scalar is not False:
                detail = f"`upgrade_type: {named.text}` is a tunnel past the question"
                yield Finding("DOCTOR_UPGRADE_OPEN", named.place, detail, "upgrade_type: websocket")


def _word(node: Node) -> str:
    return node.text.lower()


RULES = (path, spellings, trusted, rewrites, upgrades)
