"""Routers with the chain of middlewares that a request passes, and the entry points it comes through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from zt_engine.doctor.addresses import host_of
from zt_engine.doctor.trees.node import Node

MAX_CHAIN = 100


class Router:
    """One router, with everything that applies to it."""

    def __init__(self, name: str, node: Node, config: TraefikConfig) -> None:
        self.name = name
        self.node = node
        self.entry_points = config.entries_of(node)
        named = [item for entry in self.entry_points for item in entry.get("http", "middlewares").texts]
        self.chain = list(config.expanded([*named, *node.get("middlewares").texts]))
        self.unknown = [item for item in node.get("middlewares").texts if _bare(item) not in config.middlewares]
        self.services = config.urls(node.get("service").text)

    @cached_property
    def question(self) -> Node | None:
        """The first `forwardAuth` of the chain."""
        return next((item.get("forwardAuth") for item in self.chain if item.get("forwardAuth").present), None)

    @property
    def before(self) -> list[Node]:
        """The middlewares that a request passes before anybody is asked."""
        found: list[Node] = []
        for item in self.chain:
            if item.get("forwardAuth").present:
                break
            found.append(item)
        return found

    @property
    def redirects(self) -> bool:
        """Whether nothing comes from here but another address."""
        names = ("redirectScheme", "redirectRegex")
        return self.node.get("service").text == "noop@internal" or any(
            item.get(name).present for item in self.chain for name in names
        )


class TraefikConfig:
    """All files of one Traefik."""

    def __init__(self, roots: Sequence[Node]) -> None:
        self.roots = roots
        self.entry_points = dict(self._pairs("entryPoints"))
        self.middlewares = dict(self._pairs("http", "middlewares"))
        self._services = dict(self._pairs("http", "services"))
        self.routers = [Router(name, node, self) for name, node in self._pairs("http", "routers")]

    def _pairs(self, *path: str) -> Iterator[tuple[str, Node]]:
        for root in self.roots:
            yield from root.get(*path).pairs

    def entries_of(self, router: Node) -> list[Node]:
        """The entry points of a router: those it names, else those that are default, else all."""
        names = router.get("entryPoints").texts
        if names:
            return [self.entry_points[name] for name in names if name in self.entry_points]
        default = [node for node in self.entry_points.values() if node.get("asDefault").true]
        return default or list(self.entry_points.values())

    def expanded(self, names: Sequence[str]) -> Iterator[Node]:
        """Yield the middlewares of these names, chains taken apart."""
        waiting = list(reversed(names))
        for _ in range(MAX_CHAIN):
            if not waiting:
                return
            node = self.middlewares.get(_bare(waiting.pop()))
            if node is None:
                continue
            waiting.extend(reversed(node.get("chain", "middlewares").texts))
            yield node

    def urls(self, service: str) -> list[str]:
        """`host:port` of the servers of a service, weighted and mirrored ones included."""
        found: list[str] = []
        waiting, seen = [_bare(service)], set[str]()
        while waiting:
            name = waiting.pop()
            node = self._services.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            found += [authority(item.get("url").text) for item in node.get("loadBalancer", "servers").elements]
            waiting += [_bare(item.get("name").text) for item in node.get("weighted", "services").elements]
            waiting += [_bare(node.get("mirroring", "service").text), _bare(node.get("failover", "service").text)]
        return found

    @cached_property
    def protected(self) -> list[Router]:
        """The routers that ask."""
        return [router for router in self.routers if router.question is not None]

    @cached_property
    def questions(self) -> list[Node]:
        """Each `forwardAuth` there is, also one that no router uses yet."""
        return [node.get("forwardAuth") for node in self.middlewares.values() if node.get("forwardAuth").present]

    @cached_property
    def entries(self) -> list[tuple[str, Node]]:
        """The entry points through which requests come that are asked about; without any such router, all."""
        used = {id(entry) for router in self.protected for entry in router.entry_points}
        return [(name, node) for name, node in self.entry_points.items() if id(node) in used or not self.protected]

    @cached_property
    def sidecars(self) -> frozenset[str]:
        """`host:port` of those who are asked."""
        return frozenset(authority(item.get("address").text) for item in self.questions)


def authority(url: str) -> str:
    """`host:port` of an address, with the port that a scheme stands for."""
    rest = url.split("://", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1].lower()
    if rest.rsplit("]", 1)[-1].count(":") == 0:
        rest += ":443" if url.startswith("https") else ":80"
    return rest if host_of(url) else url


def _bare(name: str) -> str:
    return name.split("@", 1)[0] if not name.endswith("@internal") else name
