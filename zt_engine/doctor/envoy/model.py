"""Listeners, what asks in them, and where clusters lead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import msgspec

from zt_engine.doctor.addresses import stays_here
from zt_engine.doctor.names import BROWSER_PATH
from zt_engine.doctor.trees.node import Node


def kind(node: Node) -> str:
    """The last word of `@type`."""
    return node.get("@type").text.rsplit(".", 1)[-1]


class Manager(msgspec.Struct, frozen=True, eq=False):
    """An HTTP connection manager with the listener and the filter chain around it."""

    config: Node
    listener: Node
    chain: Node

    @property
    def questions(self) -> list[Node]:
        """The filters that ask."""
        return [item for item in self.config.get("http_filters").elements if is_question(item)]

    @property
    def virtual_hosts(self) -> list[Node]:
        """The hosts of its own routes."""
        return self.config.get("route_config", "virtual_hosts").elements

    @property
    def encrypted(self) -> bool:
        """Whether clients speak TLS to it."""
        return self.chain.get("transport_socket").present

    @property
    def addresses(self) -> Iterator[Node]:
        """Where it listens."""
        yield socket_of(self.listener.get("address"))
        for more in self.listener.get("additional_addresses").elements:
            yield socket_of(more.get("address"))


def is_question(item: Node) -> bool:
    """Whether an HTTP filter is `ext_authz`."""
    return kind(item.get("typed_config")) == "ExtAuthz" or "ext_authz" in item.get("name").text


def socket_of(address: Node) -> Node:
    """The host or path of an address; absent for an internal one."""
    host = address.get("socket_address", "address")
    return host if host.present else address.get("pipe", "path")


class EnvoyConfig:
    """All documents of one Envoy."""

    def __init__(self, roots: Sequence[Node]) -> None:
        self.roots = roots
        resources = [item for root in roots for item in root.get("resources").elements]
        listeners = [item for root in roots for item in root.get("static_resources", "listeners").elements]
        listeners += [item for item in (*resources, *roots) if item.get("filter_chains").elements]
        clusters = [item for root in roots for item in root.get("static_resources", "clusters").elements]
        clusters += [item for item in (*resources, *roots) if kind(item) == "Cluster"]
        self.clusters = {item.get("name").text: item for item in clusters}
        self.managers = [manager for listener in listeners for manager in _managers(listener)]
        self.route_tables = [item for item in resources if kind(item) == "RouteConfiguration"]

    def routes(self) -> Iterator[tuple[Manager | None, Node, Node]]:
        """Yield (manager, virtual host, route); routes of files belong to every manager that asks for them."""
        for manager in self.managers:
            for host in manager.virtual_hosts:
                for route in host.get("routes").elements:
                    yield manager, host, route
        for table in self.route_tables:
            for host in table.get("virtual_hosts").elements:
                for route in host.get("routes").elements:
                    yield None, host, route

    @cached_property
    def asking(self) -> list[Manager]:
        """The managers that ask."""
        return [manager for manager in self.managers if manager.questions]

    @cached_property
    def sidecars(self) -> frozenset[str]:
        """The names of clusters that are asked."""
        found = (service_of(item) for manager in self.asking for item in manager.questions)
        return frozenset(cluster_of(item).text for item in found if cluster_of(item).present)

    @cached_property
    def behind(self) -> frozenset[str]:
        """The names of clusters that routes lead to, but for the one where people sign in."""
        return frozenset(
            item.text
            for _, _, route in self.routes()
            for item in targets(route)
            if route.get("match", "prefix").text != BROWSER_PATH
        )

    def leaves(self, cluster: str) -> list[Node]:
        """The endpoints of a cluster that are not on this machine."""
        node = self.clusters.get(cluster)
        if node is None:
            return []
        endpoints = [
            socket_of(item.get("endpoint", "address"))
            for group in node.get("load_assignment", "endpoints").elements
            for item in group.get("lb_endpoints").elements
        ]
        return [item for item in endpoints if item.present and not stays_here(item.text)]


def service_of(question: Node) -> Node:
    """`http_service` or `grpc_service` of a question."""
    config = question.get("typed_config")
    service = config.get("http_service")
    return service if service.present else config.get("grpc_service")


def cluster_of(service: Node) -> Node:
    """The name of the cluster that a service is."""
    name = service.get("server_uri", "cluster")
    return name if name.present else service.get("envoy_grpc", "cluster_name")


def targets(route: Node) -> list[Node]:
    """The clusters that a route leads to."""
    action = route.get("route")
    weighted = [item.get("name") for item in action.get("weighted_clusters", "clusters").elements]
    return [item for item in (action.get("cluster"), *weighted) if item.present]


def _managers(listener: Node) -> Iterator[Manager]:
    for chain in (*listener.get("filter_chains").elements, listener.get("default_filter_chain")):
        for item in chain.get("filters").elements:
            config = item.get("typed_config")
            if kind(config) == "HttpConnectionManager" or "http_connection_manager" in item.get("name").text:
                yield Manager(config, listener, chain)
