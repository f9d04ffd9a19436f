"""What a directive means where: levels that inherit, locations, which one asks the sidecar and which one answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Place
from zt_engine.doctor.names import BROWSER_PATH

HANDLERS = ("proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass")
CONTENT = (*HANDLERS, "root", "alias", "try_files", "autoindex", "stub_status", "dav_methods", "content_by_lua_block")
_LEVELS = frozenset({"http", "server", "location", "if", "limit_except"})


class Level:
    """A block that inherits from the one around it."""

    def __init__(self, directive: Directive | None, block: list[Directive], parent: Level | None) -> None:
        self.directive = directive
        self.parent = parent
        self.kind = directive.name if directive is not None else "main"
        self.own: dict[str, list[Directive]] = {}
        self.children: list[Level] = []
        for item in block:
            if item.block is None:
                self.own.setdefault(item.name, []).append(item)
            elif item.name in _LEVELS:
                self.children.append(Level(item, item.block, self))

    @property
    def place(self) -> Place:
        """Where the block begins."""
        return self.directive.place if self.directive is not None else Place("", 1)

    def one(self, name: str) -> Directive | None:
        """Return the directive that holds here, from the nearest level that has it."""
        found = self.many(name)
        return found[-1] if found else None

    def many(self, name: str) -> list[Directive]:
        """Return all directives of a name; a level that has one of its own inherits none."""
        level: Level | None = self
        while level is not None:
            if name in level.own:
                return level.own[name]
            level = level.parent
        return []

    def value(self, name: str) -> str:
        """Return the first argument of what holds here, or nothing."""
        found = self.one(name)
        return found.args[0] if found is not None and found.args else ""

    def below(self) -> Iterator[Level]:
        """Yield the levels inside, outermost first."""
        for child in self.children:
            yield child
            yield from child.below()

    @property
    def server(self) -> Level | None:
        """The server around this level."""
        level: Level | None = self
        while level is not None and level.kind != "server":
            level = level.parent
        return level

    @property
    def uri(self) -> str:
        """The last word of `location = /x`."""
        return self.directive.args[-1] if self.directive is not None and self.directive.args else ""

    @property
    def modifier(self) -> str:
        """`=`, `~`, `~*`, `^~` or nothing."""
        return self.directive.args[0] if self.directive is not None and len(self.directive.args) > 1 else ""

    @property
    def named(self) -> bool:
        """Whether only nginx itself comes here: `location @name`."""
        return self.kind == "location" and self.uri.startswith("@")

    @property
    def internal(self) -> bool:
        """Whether no client can ask for it."""
        level: Level | None = self
        while level is not None and level.kind in {"location", "if"}:
            if "internal" in level.own or level.named:
                return True
            level = level.parent
        return False

    @property
    def asks(self) -> str:
        """The address of the question that holds here; empty when nobody is asked."""
        target = self.value("auth_request")
        return "" if target == "off" else target

    @property
    def handler(self) -> Directive | None:
        """What passes requests on from here; handlers are not inherited, except into `if`."""
        for name in HANDLERS:
            if name in self.own:
                return self.own[name][-1]
        if self.kind in {"if", "limit_except"} and self.parent is not None:
            return self.parent.handler
        return None

    @property
    def serves(self) -> bool:
        """Whether a client gets content here, and not only a refusal or another address."""
        if "deny" in self.own and "allow" not in self.own and self.own["deny"][-1].args[:1] == ("all",):
            return False
        if "return" in self.own:  # a redirect, a refusal, a fixed text: no backend and no file
            return False
        if self.kind == "location":
            return True
        return any(name in self.own for name in CONTENT)


class NginxConfig:
    """All servers of a configuration, and what they share."""

    def __init__(self, directives: list[Directive]) -> None:
        self.root = Level(None, directives, None)
        self._resolved: dict[tuple[int, str], Level | None] = {}
        self._upstreams: dict[str, list[str]] = {}
        for block in _blocks(directives):
            if block.name == "upstream" and block.args and block.block is not None:
                addresses = [item.args[0] for item in block.block if item.name == "server" and item.args]
                self._upstreams.setdefault(block.args[0], []).extend(addresses)

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """Every level, the file itself first."""
        return (self.root, *self.root.below())

    @cached_property
    def servers(self) -> tuple[Level, ...]:
        """The servers; a file of bare locations counts as one."""
        found = tuple(level for level in self.levels if level.kind == "server")
        bare = tuple(
            level
            for level in self.levels
            if level.kind in {"main", "http"} and any(child.kind == "location" for child in level.children)
        )
        return found + bare

    def locations(self, server: Level) -> Iterator[Level]:
        """Yield the locations of a server, and the `if` blocks that pass requests on themselves."""
        for level in server.below():
            if level.kind == "location" or (level.kind == "if" and any(name in level.own for name in HANDLERS)):
                yield level

    @cached_property
    def questions(self) -> Mapping[int, Level]:
        """The locations that ask the sidecar, by identity."""
        found: dict[int, Level] = {}
        for server in self.servers:
            for level in (server, *server.below()):
                target = self.question(server, level.asks) if level.asks else None
                if target is not None:
                    found[id(target)] = target
        return found

    def question(self, server: Level, uri: str) -> Level | None:
        """Return the location of a question; None when there is none that would pass it on to anybody."""
        target = self.resolve(server, uri)
        if target is None or target.handler is None or (target.uri == "/" and uri != "/"):
            return None
        return target

    @cached_property
    def protected(self) -> tuple[Level, ...]:
        """Every level of a client's requests where the sidecar is asked, servers included."""
        return tuple(
            level
            for server in self.servers
            for level in (server, *self.locations(server))
            if level.asks and not level.internal and id(level) not in self.questions
        )

    @cached_property
    def backends(self) -> frozenset[str]:
        """The addresses that stand behind the question."""
        passes = (level.handler for level in self.protected)
        return frozenset(address for item in passes if item and item.args for address in self.addresses(item.args[0]))

    def protects(self, server: Level) -> bool:
        """Whether anything in a server asks."""
        return id(server) in self._asking

    @cached_property
    def _asking(self) -> frozenset[int]:
        return frozenset(
            id(server) for server in self.servers if any(level.asks for level in (server, *server.below()))
        )

    def resolve(self, server: Level, uri: str) -> Level | None:
        """Return the location that nginx takes for a fixed address; expressions are not tried."""
        known = (id(server), uri)
        if known not in self._resolved:
            self._resolved[known] = self._resolve(server, uri.split("?", 1)[0])
        return self._resolved[known]

    def _resolve(self, server: Level, path: str) -> Level | None:
        best: Level | None = None
        for level in server.below():
            if level.kind != "location":
                continue
            if level.uri == path and (level.modifier in {"=", ""} or level.named):
                if level.modifier == "=" or level.named:
                    return level
                best = level
            elif (
                level.modifier in {"", "^~"}
                and path.startswith(level.uri)
                and not level.named
                and (best is None or len(level.uri) > len(best.uri))
            ):
                best = level
        return best

    def addresses(self, url: str) -> list[str]:
        """Return where a `..._pass` goes: the servers of an upstream, else the address itself."""
        name = authority(url)
        return self._upstreams.get(name) or [name]

    def signs_in(self, level: Level) -> bool:
        """Whether a location is the one where people sign in, which leads to nothing behind a question."""
        item = level.handler
        place = (level.modifier, level.uri) == ("^~", BROWSER_PATH)
        return place and item is not None and self.backends.isdisjoint(self.addresses(item.args[0]))

    @cached_property
    def sidecars(self) -> frozenset[str]:
        """The addresses that are asked."""
        passes = (level.handler for level in self.questions.values())
        return frozenset(address for item in passes if item and item.args for address in self.addresses(item.args[0]))


def authority(url: str) -> str:
    """Return `host:port` or the name of an upstream, without scheme, path and variables after it."""
    rest = url.split("://", 1)[-1]
    if rest.startswith("unix:"):
        return rest.rsplit(":", 1)[0] if rest.count(":") > 1 else rest
    return rest.split("/", 1)[0].split("$", 1)[0] if not rest.startswith("$") else rest


def uri_part(url: str) -> str:
    """Return what `proxy_pass` puts in place of the path, or nothing."""
    rest = url.split("://", 1)[-1]
    if rest.startswith("unix:"):
        return rest.rsplit(":", 1)[1] if rest.count(":") > 1 else ""
    return rest[rest.index("/") :] if "/" in rest else rest[rest.index("$") :] if "$" in rest else ""


def _blocks(directives: list[Directive]) -> Iterator[Directive]:
    for item in directives:
        if item.block is not None:
            yield item
            if item.name in {"http", "stream"}:
                yield from _blocks(item.block)
