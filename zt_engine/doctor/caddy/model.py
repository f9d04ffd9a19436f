"""Sites, and in the order in which Caddy runs them: what asks, what answers, what changes the path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import msgspec

from zt_engine.doctor.addresses import host_of, stays_here
from zt_engine.doctor.directive import Directive

GROUPS = frozenset({"route", "handle", "handle_path"})
CONTENT = frozenset({"reverse_proxy", "php_fastcgi", "file_server", "acme_server", "metrics", "invoke"})
PATHS = frozenset({"rewrite", "uri", "handle_path"})
_ORDER = {name: index for index, name in enumerate(("rewrite", "uri", "forward_auth", "request_header"))}
_EVERYTHING = frozenset({"", "*", "/*"})


class Step(msgspec.Struct, frozen=True, eq=False):
    """A directive that runs, whether everybody who comes here was asked about, and by which question."""

    directive: Directive
    question: Directive | None


class Site:
    """One block of addresses."""

    def __init__(self, block: Directive) -> None:
        self.block = block
        self.addresses = [word.rstrip(",") for word in (block.name, *block.args) if word.rstrip(",")]
        self.steps = list(_run(block.block or [], None, sort=True, matched={}))

    @cached_property
    def questions(self) -> list[Directive]:
        """The `forward_auth` of a site."""
        return [step.directive for step in self.steps if is_question(step.directive)]

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        binds = [address for item in self.block.inside("bind") for address in item.args]
        if binds:
            return all(stays_here(address) for address in binds)
        return all(stays_here(address) for address in self.addresses)

    @property
    def plain(self) -> list[str]:
        """The addresses at which clients speak plain HTTP."""
        if any(self.block.inside("tls")):
            return [address for address in self.addresses if address.startswith("http://")]
        return [address for address in self.addresses if _is_plain(address)]

    @property
    def errors(self) -> list[Directive]:
        """What runs when something failed."""
        return [line for item in self.block.inside("handle_errors") for line in flat(item.block or [])]


def _is_plain(address: str) -> bool:
    if "://" in address:
        return address.startswith("http://")
    port = address.rsplit(":", 1)[1] if ":" in address and not address.endswith("]") else ""
    return port == "80" or (bool(port) and port != "443" and not host_of(address))


class CaddyConfig:
    """Global options and sites."""

    def __init__(self, top: Sequence[Directive]) -> None:
        self.options = [line for item in top if not item.name for line in flat(item.block or [])]
        named = [item for item in top if item.name and item.block is not None and not item.name.startswith("&")]
        self.sites = [Site(item) for item in named]
        self.routes = [item for item in top if item.name.startswith("&")]

    @cached_property
    def questions(self) -> list[Directive]:
        """Every `forward_auth`."""
        return [item for site in self.sites for item in site.questions]

    @cached_property
    def sidecars(self) -> frozenset[str]:
        """The addresses that are asked."""
        return frozenset(address for item in self.questions for address in upstreams(item))

    @cached_property
    def backends(self) -> frozenset[str]:
        """The addresses behind a question."""
        steps = (step for site in self.sites for step in site.steps if step.question is not None)
        return frozenset(
            address
            for step in steps
            if step.directive.name == "reverse_proxy" and not is_question(step.directive)
            for address in upstreams(step.directive)
        )


def is_question(item: Directive) -> bool:
    """`forward_auth`, or the `reverse_proxy` that it is short for."""
    if item.name == "forward_auth":
        return True
    return item.name == "reverse_proxy" and any(item.inside("handle_response")) and any(item.inside("rewrite"))


def upstreams(item: Directive) -> list[str]:
    """The addresses of a proxy, without scheme."""
    found = [word for word in item.args if not word.startswith(("@", "/", "*")) or word.startswith("//")]
    found += [word for line in item.inside("to") for word in line.args]
    return [word.split("://", 1)[-1] for word in found]


def matcher_of(item: Directive) -> str:
    """The first word if it says which requests are meant."""
    return item.first if item.first.startswith(("@", "/")) or item.first == "*" else ""


def _run(
    block: Sequence[Directive], asked: Directive | None, *, sort: bool, matched: dict[str, Directive]
) -> Iterator[Step]:
    """Yield the steps of a block in the order in which they run; outside `route` Caddy puts the question before."""
    items = sorted(block, key=lambda item: _ORDER.get(item.name, len(_ORDER))) if sort else block
    matched = dict(matched)
    for item in items:
        matcher = matcher_of(item)
        by = asked or matched.get(matcher)
        yield Step(item, by)
        if is_question(item):
            if matcher in _EVERYTHING:
                asked = asked or item
            else:
                matched[matcher] = item
        elif item.name in GROUPS:
            inner = list(_run(item.block or [], by, sort=item.name != "route", matched=matched))
            yield from inner
            if item.name == "route" and not matcher and asked is None:
                # A question in a group that everybody runs through holds for what comes after it as well.
                asked = next((step.directive for step in inner if _forflat(step, item)), None)


def _forflat(step: Step, group: Directive) -> bool:
    return (
        is_question(step.directive)
        and matcher_of(step.directive) in _EVERYTHING
        and step.directive in (group.block or ())
    )


def flat(block: Sequence[Directive]) -> Iterator[Directive]:
    """Yield the lines of a block and of the blocks in it."""
    for item in block:
        yield item
        yield from flat(item.block or [])
