"""Resources of the types `http` and `route`: which request of which service they mean.

`http` is one address, canonical or refused as in a proxy's request. `route` is a route of the catalogue by its
template, whatever its parameters: it stands for every address below it, so it is decided only where they are all alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from zt_engine.core.errors import InputError
from zt_engine.core.request import RequestTarget, canonical_host, canonical_target
from zt_engine.sidecar.authzen.wire import Entity
from zt_engine.sidecar.policy import Policy

HTTP, ROUTE = "http", "route"
SCHEMES = {"http": b"80", "https": b"443"}
PARTS = ("scheme", "host", "path")


def target_of(resource: Entity) -> RequestTarget:
    """Return what a resource of the catalogue means; raises InputError, AUTHZEN_RESOURCE when it can mean two things.

    Its id is a URL, a path beside `properties.host`, or a name beside `properties.host` and `properties.path`.
    """
    said = {name: resource.properties[name] for name in PARTS if name in resource.properties}
    if not all(isinstance(value, str) for value in said.values()):
        raise _doubtful("`host`, `path` and `scheme` are texts")
    scheme, host, path = _named(resource.id)
    for name, value in (("scheme", scheme), ("host", host), ("path", path)):
        if value and said.setdefault(name, value) != value:
            raise _doubtful(f"`id` and `properties.{name}` say different things")
    if not (said.get("host") and said.get("path")):
        raise _doubtful("it names no host and path")
    scheme, host, path = (str(said.get(name, "https")) for name in PARTS)
    if scheme not in SCHEMES:
        raise InputError("SCHEME_UNKNOWN", "the scheme is neither `http` nor `https`")
    host_name, port = _split(host, SCHEMES[scheme])
    if resource.type == ROUTE:
        if not path.startswith("/") or not path.isascii():
            raise InputError("PATH_AMBIGUOUS", "the template of a route begins with a slash and is ASCII")
        if not (port.isdigit() and 0 < int(port[:6]) < 65536):
            raise InputError("HOST_AMBIGUOUS", "the port is no port number")
        return RequestTarget(scheme, canonical_host(host_name), int(port), path, path)
    return canonical_target(path.encode("utf-8", "replace"), host_name, scheme=scheme.encode("ascii"), port=port)


def _named(identity: str) -> tuple[str, str, str]:
    """Return scheme, host and path as far as an id says them."""
    scheme, marker, rest = identity.partition("://")
    if marker:
        host, slash, path = rest.partition("/")
        return scheme.lower(), host, slash + path or "/"
    return "", "", identity if identity.startswith("/") else ""


def _split(host: str, usual: bytes) -> tuple[bytes, bytes]:
    raw = host.encode("utf-8", "replace")
    name, colon, port = raw.rpartition(b":") if not raw.endswith(b"]") else (raw, b"", b"")
    return (name, port) if colon else (raw, usual)


def check_route(policy: Policy, target: RequestTarget, method: str) -> None:
    """Refuse a template that is no route of the catalogue, and one whose addresses may be decided differently."""
    resource = policy.places.of(target, method).resource
    if resource.route != target.path:
        raise InputError("ROUTE_UNKNOWN", "no route of the catalogue has this template")
    if not is_open(resource.route):
        return
    if policy.wanted.members & {"params", "path"} or not policy.wanted.cacheable:
        raise InputError("AUTHZEN_ROUTE_OPEN", "the policy reads the path: ask about an address")
    if any(item.service == resource.service for item in policy.places.catalogue.objects):
        raise InputError("AUTHZEN_ROUTE_OPEN", "objects of this service have labels of their own: ask about an address")


def is_open(template: str) -> bool:
    """Whether a route has more than one address."""
    return "{" in template or template.endswith("*")


def granted(hosts: frozenset[str], services: Iterable[str], *, host: str, service: str) -> bool:
    """Whether a caller may ask about a place."""
    return host in hosts or service in services


def _doubtful(message: str) -> InputError:
    return InputError("AUTHZEN_RESOURCE", message)
