"""Virtual hosts, the sections that apply in them, and which of them decides about a path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from zt_engine.doctor.addresses import host_of, stays_here
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.sources import fault

_BUILT_IN = frozenset(
    {
        "all", "dbm-file-group", "dbm-group", "env", "expr", "file-group", "file-owner", "forward-dns", "group", "host",
        "ip", "ldap-attribute", "ldap-dn", "ldap-filter", "ldap-group", "ldap-search", "ldap-user", "local", "method",
        "not", "ssl", "ssl-verify-client", "user", "valid-user", "dbd-group", "dbd-login", "dbd-logout",
    }
)  # fmt: skip
"""What `Require` knows by itself; anything else is an authorizer that some file defines."""

MAX_WORK = 2_000_000
"""Sections that have to be compared with each other."""

GROUPS = frozenset({"requireall", "requireany", "requirenone"})
_EVERYTHING = re.compile(r"\^?(?:/|/?\.\*|/\.\*)?\$?")
_AUTHORITY = re.compile(r"[a-z+]+://([^/\s|]+)", re.IGNORECASE)


class Section:
    """A `<Location>` or its like."""

    def __init__(self, directive: Directive, providers: frozenset[str]) -> None:
        self.kind = directive.name
        self.place = directive.place
        self.lines = directive.block or []
        self.regex = self.kind.endswith("match") or directive.first == "~"
        self.path = directive.args[-1] if directive.args else "/"
        self._providers = providers

    @property
    def requires(self) -> list[Directive]:
        """Its own `Require` lines and groups of them, also those for some methods only."""
        found = [line for line in self.lines if line.name == "require" or line.name in GROUPS]
        limits = [line for line in self.lines if line.name in {"limit", "limitexcept"}]
        return found + [inner for line in limits for inner in line.block or () if inner.name == "require"]

    def demands(self, line: Directive) -> bool:
        """Whether a `Require` line or group holds only when the sidecar allows."""
        if line.name == "require":
            return line.first.lower() in self._providers or (line.first.lower() == "valid-user" and self.checks)
        inner = [self.demands(item) for item in line.block or () if item.name == "require" or item.name in GROUPS]
        if line.name == "requireall":
            return any(inner)
        return line.name == "requireany" and bool(inner) and all(inner)

    @property
    def checks(self) -> bool:
        """Whether the sidecar also says who somebody is."""
        return any(line.name in {"authnzfcgicheckauthnprovider", "luahookcheckuserid"} for line in self.lines)

    @property
    def mentions(self) -> bool:
        """Whether the sidecar is asked in some way at all."""
        return (
            self.checks
            or any(line.name == "luahookauthchecker" for line in self.lines)
            or any(line.name == "require" and line.first.lower() in self._providers for line in flat(self.lines))
        )

    @property
    def asks(self) -> bool:
        """Whether nobody passes without the sidecar: bare `Require` lines are alternatives."""
        if any(line.name == "luahookauthchecker" for line in self.lines):
            return True
        return bool(self.requires) and all(self.demands(line) for line in self.requires)

    @property
    def merging(self) -> str:
        """`and`, `or` or `off`: what becomes of the conditions around it."""
        return next((line.first.lower() for line in self.lines if line.name == "authmerging"), "off")

    def covers(self, path: str) -> bool:
        """Whether all of a path lies in it."""
        if self.kind == "proxy":
            return self.path == "*"
        if not self.kind.startswith("location"):
            return False
        if self.regex:
            return _EVERYTHING.fullmatch(self.path) is not None
        own = self.path.rstrip("/")
        return own in {"", path} or path.startswith(own + "/")


class Host:
    """One virtual host with what it has from the server around it, or the server itself."""

    def __init__(self, directive: Directive | None, lines: Sequence[Directive], config: ApacheConfig) -> None:
        self.directive = directive
        self.own = lines
        self.config = config
        around = config.lines if directive is not None else []
        self.lines = [*around, *lines]
        bare = [line for line in lines if line.block is None or line.name in GROUPS or line.name.startswith("limit")]
        self.sections = [Section(line, config.providers) for line in self.lines if line.block is not None]
        if len(self.sections) ** 2 > MAX_WORK:
            raise fault("DOCTOR_TOO_LARGE", "too many sections in one host", str(self.sections[0].place))
        if any(line.name == "require" for line in flat(bare)):
            # A `.htaccess`, or the lines of a section whose brackets stand in another file.
            place = next(line.place for line in flat(bare) if line.name == "require")
            self.sections.insert(0, Section(Directive("location", ("/",), place, bare), config.providers))

    @cached_property
    def asking(self) -> list[Section]:
        """The sections that ask, however badly."""
        return [item for item in self.sections if item.mentions or item.asks]

    def deciding(self, path: str) -> Section | None:
        """The section whose conditions hold for a path: the last one that has any."""
        found = [item for item in self.sections if item.covers(path) and (item.requires or item.asks)]
        for item in reversed(found):
            if item.merging != "and" or item.asks:
                return item
        return found[0] if found else None

    def passes(self) -> Iterator[tuple[str, str, Directive]]:
        """Yield (path, target, line) of every `ProxyPass` and of rewrites that proxy."""
        for line in self.own:
            if line.name in {"proxypass", "proxypassmatch"} and len(line.args) > 1 and line.args[1] != "!":
                path = "/" if line.name == "proxypassmatch" else line.first
                yield path, line.args[1], line
            elif line.name == "rewriterule" and "P" in _flags(line) and len(line.args) > 1:
                yield "/", line.args[1], line
        for item in self.own:
            if item.block is None or not item.name.startswith("location"):
                continue
            section = Section(item, self.config.providers)
            for line in item.block:
                if line.name in {"proxypass", "proxypassmatch"} and line.args and line.first != "!":
                    target = line.args[1] if line.first.startswith("/") and line.args[1:] else line.first
                    yield ("/" if section.regex else section.path), target, line

    @property
    def encrypted(self) -> bool:
        """Whether clients speak TLS to it."""
        return any(line.name == "sslengine" and line.first.lower() == "on" for line in self.lines)

    @property
    def addresses(self) -> list[tuple[str, Directive]]:
        """Where it listens, as far as that leaves the machine."""
        listens = [line for line in self.config.lines if line.name == "listen" and line.args]
        if self.directive is None:
            return [(line.first, line) for line in listens if "https" not in line.args and not stays_here(line.first)]
        found = []
        for address in self.directive.args:
            port = address.rsplit(":", 1)[-1]
            local = [line.first for line in listens if line.first.rsplit(":", 1)[-1] == port]
            anywhere = host_of(address) in {"*", "_default_", "0.0.0.0", "::"}  # noqa: S104
            if not stays_here(address) and not (anywhere and local and all(stays_here(item) for item in local)):
                found.append((address, self.directive))
        return found


class ApacheConfig:
    """All of one httpd."""

    def __init__(self, lines: Sequence[Directive]) -> None:
        self.lines = [line for line in lines if line.name != "virtualhost"]
        self.all = list(flat(lines))
        named = [line for line in self.all if line.name in {"authnzfcgidefineprovider", "luaauthzprovider"}]
        self.definitions = [line for line in named if line.name == "authnzfcgidefineprovider" and len(line.args) > 2]
        self.providers = frozenset(
            line.args[1].lower() if line.name == "authnzfcgidefineprovider" else line.first.lower()
            for line in named
            if len(line.args) > 1
        ) | {line.first.lower() for line in self.all if line.name == "require" and line.first.lower() not in _BUILT_IN}
        named_hosts = [line for line in lines if line.name == "virtualhost"]
        if (len(named_hosts) + 1) * (len(self.lines) + 1) > MAX_WORK:
            raise fault("DOCTOR_TOO_LARGE", "too many virtual hosts for so many lines around them", str(lines[0].place))
        hosts = [Host(line, line.block or [], self) for line in named_hosts]
        server = Host(None, self.lines, self)
        self.hosts = [*hosts, server] if not hosts or any(server.passes()) else hosts

    @cached_property
    def backends(self) -> frozenset[str]:
        """The addresses behind a section that asks."""
        return frozenset(authority(target) for host in self.hosts if host.asking for _, target, _ in host.passes())

    @cached_property
    def asked(self) -> bool:
        """Whether anything asks anywhere."""
        return any(host.asking for host in self.hosts)

    @cached_property
    def sidecars(self) -> frozenset[str]:
        """The addresses of authorizers."""
        return frozenset(authority(line.args[2]) for line in self.definitions)


def authority(url: str) -> str:
    """`host:port` of an address, or the socket before `|`."""
    if url.lower().startswith("unix:"):
        return url.split("|", 1)[0]
    found = _AUTHORITY.match(url)
    return found[1].lower() if found is not None else url


def flat(lines: Sequence[Directive]) -> Iterator[Directive]:
    """Yield lines and the lines in their sections."""
    for line in lines:
        yield line
        yield from flat(line.block or [])


def _flags(line: Directive) -> set[str]:
    """The flags of a rewrite, without values: `[R=302,L]` is R and L."""
    text = line.args[2].strip("[]") if len(line.args) > 2 else ""
    return {part.split("=", 1)[0].strip() for part in text.split(",")}


def rewrites(line: Directive) -> bool:
    """Whether a `RewriteRule` changes a path and answers nothing itself."""
    target = "".join(line.args[1:2])
    return (
        line.name == "rewriterule" and target not in {"-", ""} and not _flags(line) & {"R", "redirect", "F", "G", "P"}
    )
