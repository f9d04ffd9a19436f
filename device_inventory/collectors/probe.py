"""One look at a machine: which facts it answers, in which pass, and what becomes of a look that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from device_inventory.collectors.machine import MAX_TEXT, Collected, Found, Scope
from device_inventory.collectors.unseen import NotObserved
from device_inventory.facts import CATALOGUE, FactKind, FactValue

MAX_ITEMS = 256


class Probe(Struct, frozen=True, kw_only=True):
    """`look` answers all of `facts`, or raises and then says the same of each of them."""

    facts: tuple[str, ...]
    look: Callable[[Any], Found]
    scopes: tuple[Scope, ...] = ("user", "root")
    """A look at a session is no business of root's; one that needs rights is none of a user's."""
    slow: bool = False


def ask(probe: Probe, source: object) -> Iterator[tuple[str, Collected]]:
    """Every fact of the probe and no other, each with a value of its type or with the reason why there is none."""
    answers: Found = {}
    trouble = Collected("error", None, "the collector said nothing of it")
    try:
        answers = probe.look(source)
    except NotObserved as reason:
        trouble = Collected(reason.status, None, reason.detail)
    except FileNotFoundError as error:
        trouble = Collected("not_collected", None, f"there is no `{error.filename}`")
    except PermissionError as error:
        trouble = Collected("not_collected", None, f"`{error.filename}` may not be read")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is these facts that are not known
        trouble = Collected("error", None, f"the collector failed with {type(error).__name__}")
    for name in probe.facts:
        yield name, _checked(CATALOGUE[name], answers.get(name, trouble))


def _checked(kind: FactKind, answer: Collected) -> Collected:
    if answer.status == "observed" and not _fits(kind, answer.value):
        return Collected("error", None, "the collector found a value of the wrong type")
    return answer


def _fits(kind: FactKind, value: FactValue) -> bool:
    match kind.type, value:
        case "boolean", bool():
            return True
        case (("count" | "instant" | "number"), int()):
            return not isinstance(value, bool) and 0 <= value < 2**53
        case "choice", str():
            return value in kind.choices
        case "text", str():
            return 0 < len(value) <= MAX_TEXT and value.isprintable()
        case "list", tuple():
            return len(value) <= MAX_ITEMS and all(0 < len(item) <= MAX_TEXT and item.isprintable() for item in value)
    return False
