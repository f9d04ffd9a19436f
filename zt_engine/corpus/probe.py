"""Probes: what is sent byte by byte, and what must hold. Read from YAML that people write.

A probe has one step or several. A step sends bytes and says what may be executed because of them: nothing (`refused`),
exactly one thing (`exact`), or nothing but that one thing (`either`, where proxies rightly differ).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from zt_engine.core.errors import ConfigError, Problem

CLASSES: Mapping[int, str] = {
    1: "path forms",
    2: "path and query",
    3: "forwarding headers",
    4: "aliases of names",
    5: "hop-by-hop deletion",
    6: "identity left over",
    7: "doubled values, host",
    8: "method",
    9: "malformed input",
    10: "hook reached directly",
    11: "cached decisions",
    12: "stale after a change",
    13: "special-case skips",
    14: "long connections",
    15: "administration open",
}
MIN_NOTE = 20
FRONTS = ("front", "device", "neighbour", "impostor")
LISTENERS = ("hook", "admin")

_ADVISORY = re.compile(r"none|(?:CVE-\d{4}-\d{4,7}|GHSA(?:-[23456789cfghjmpqrvwx]{4}){3}|[a-z0-9-]+#\d+)")
_HOLE = re.compile(r"(?<!\d)\{([a-z_]+)[|}]")
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class Expect(enum.StrEnum):
    """What must hold after a step."""

    REFUSED = "refused"
    EXACT = "exact"
    EITHER = "either"


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One message of a probe."""

    send: str
    expect: Expect
    executes: str = ""
    """For `exact` and `either`: `METHOD path`, the path as a backend reads it, decoded."""
    host: str = "{host}"
    subject: str = ""
    """Whom the backend may take the client for: empty, or the placeholder of an identity."""
    device: str = ""
    """The device the backend may take the client to be on; empty: whichever the allow says."""
    to: str = "front"
    """`front`: the proxy; `device`, `neighbour`, `impostor`: the proxy, over TLS with the client's certificate, another
    person's, or one of the client's names by an authority of nobody. `hook`, `admin`: the decision service's own
    listeners, past the proxy."""
    same: bool = False
    """On the connection of the step before, instead of a new one."""
    after: str = ""
    """`change`: after the world has changed (a person suspended, a route closed)."""
    over: str = ""
    """`h2`: as HTTP/2 in plain text, on the connection of the step before or with prior knowledge."""
    answers: int = 1
    patience: Annotated[float, msgspec.Meta(gt=0, le=10)] = 10.0
    """How long to wait for the answers; short for messages that are never completed."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt."""

    id: str
    number: int
    """Its class."""
    advisory: str
    note: str
    steps: tuple[Step, ...]
    needs: frozenset[str] = frozenset()

    @property
    def placeholders(self) -> frozenset[str]:
        """The names in braces that this probe uses."""
        texts = (
            text for step in self.steps for text in (step.send, step.executes, step.host, step.subject, step.device)
        )
        return frozenset(name for text in texts for name in _HOLE.findall(text))


@cache
def packaged() -> tuple[Probe, ...]:
    """Return the probes that are installed with the package; raises ConfigError CORPUS_PROBE with every fault."""
    folder = resources.files("zt_engine.corpus") / "probes"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".yaml")), key=lambda entry: entry.name)
    probes = [probe for file in files for probe in read_probes(file.read_text(encoding="utf-8"), where=file.name)]
    faults = [
        Problem(code="CORPUS_PROBE", message=f"the id `{probe.id}` is taken", where=probe.id)
        for at, probe in enumerate(probes)
        if any(other.id == probe.id for other in probes[:at])
    ]
    if faults:
        raise ConfigError(tuple(faults))
    return tuple(probes)


def read_probes(text: str, *, where: str) -> tuple[Probe, ...]:
    """Read one file; raises ConfigError CORPUS_PROBE with all that is wrong in it."""
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = where if mark is None else f"{where}:{mark.line + 1}"
        raise _refused((str(getattr(error, "problem", None) or error),), where) from None
    if not isinstance(document, dict) or not isinstance(document.get("probes"), list):
        raise _refused(("a file of probes is a mapping with a list `probes`",), where)
    number = document.get("class")
    if not isinstance(number, int) or number not in CLASSES:
        raise _refused((f"`class` is one of {min(CLASSES)} to {max(CLASSES)}",), where)
    found, faults = [], []
    for record in document["probes"]:
        try:
            found.append(_probe(record, number))
        except (ValueError, TypeError, msgspec.ValidationError) as error:
            name = record.get("id", "?") if isinstance(record, dict) else "?"
            faults.append(f"probe `{name}`: {error}")
    if faults:
        raise _refused(tuple(faults), where)
    return tuple(found)


def _probe(record: Any, number: int) -> Probe:
    if not isinstance(record, dict):
        raise TypeError("a probe is a mapping")
    fields = dict(record)
    name, advisory, note = (str(fields.pop(key, "")) for key in ("id", "advisory", "note"))
    needs = frozenset(map(str, fields.pop("needs", ())))
    steps = fields.pop("steps", None)
    if steps is not None and fields:
        raise ValueError(f"beside `steps` there is no `{next(iter(fields))}`")
    if _ID.fullmatch(name) is None:
        raise ValueError("`id` is lower-case words joined by `-`")
    if _ADVISORY.fullmatch(advisory) is None:
        raise ValueError("`advisory` is a CVE, a GHSA, `project#number` or `none`")
    if len(note) < MIN_NOTE:
        raise ValueError("`note` says what goes wrong where this is not refused")
    made = tuple(msgspec.convert(step, Step) for step in (steps if steps is not None else [fields]))
    for step in made:
        _check(step)
    return Probe(id=name, number=number, advisory=advisory, note=note, steps=made, needs=needs)


def _check(step: Step) -> None:
    if step.to not in (*FRONTS, *LISTENERS):
        raise ValueError(f"`to` is one of {', '.join((*FRONTS, *LISTENERS))}")
    if step.after not in ("", "change"):
        raise ValueError("`after` is `change`, or is not there")
    if step.over not in ("", "h2"):
        raise ValueError("`over` is `h2`, or is not there")
    if (step.expect is Expect.REFUSED) == bool(step.executes):
        raise ValueError("`executes` says what `exact` and `either` may execute, and `refused` has none")
    if step.executes and re.fullmatch(r"[A-Z]+ \S.*", step.executes) is None:
        raise ValueError("`executes` is `METHOD path`")


def of_classes(probes: tuple[Probe, ...]) -> Iterator[tuple[int, str, tuple[Probe, ...]]]:
    """Yield number, name and probes of each class."""
    for number, name in CLASSES.items():
        yield number, name, tuple(probe for probe in probes if probe.number == number)


def _refused(messages: tuple[str, ...], where: str) -> ConfigError:
    return ConfigError(tuple(Problem(code="CORPUS_PROBE", message=text, where=where) for text in messages))
