"""The one invariant: nothing protected is executed without an allow for that very resource, method, host and identity.

Every reading counts. If any of the ways in which a stack may understand a request names something else than what was
allowed, the request got past, whether or not this stack would have picked that reading.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.request import canonical_path, unescape
from zt_engine.corpus.execution import Allow, Execution, Witness
from zt_engine.corpus.probe import Expect


class Outcome(enum.StrEnum):
    """What came of a probe."""

    REFUSED = "refused"
    EXACT = "exact"
    NOT_APPLICABLE = "not applicable"
    VIOLATED = "VIOLATED"
    UNSERVED = "unserved"
    """An ordinary request was refused: nothing got past, but the run proves little."""


class Scope(msgspec.Struct, frozen=True):
    """What is protected, by its first segments."""

    protected: tuple[str, ...]
    public: str

    def protects(self, resource: str) -> bool:
        """Whether any spelling of this path that a system may fold lies below a protected path."""
        path = resource.lower()
        prefixes = map(str.lower, self.protected)
        return any(path == prefix or path.startswith((prefix + "/", prefix + ";")) for prefix in prefixes)


class Permitted(msgspec.Struct, frozen=True, kw_only=True):
    """What one step may execute, its placeholders filled."""

    expect: Expect
    method: str = ""
    path: str = ""
    host: str = ""
    subject: str = ""
    device: str = ""
    """Empty: any."""
    identity: str = "zt-subject"
    """The header a backend knows the client by."""
    written: Mapping[str, frozenset[str]] = {}
    """Identity that the client wrote: name as a stack may fold it -> values."""


def faults(
    permitted: Permitted,
    executed: Iterable[Execution],
    scope: Scope,
    witness: Witness | None,
    *,
    lossy: bool = False,
) -> Iterator[str]:
    """Yield what is wrong with what one step led to; nothing when the invariant holds.

    `lossy`: identity headers may be absent altogether, which a backend takes for a refusal.
    """
    for execution in executed:
        where = f"{execution.stack} executed {'|'.join(execution.methods)} {execution.target}"
        if permitted.expect is Expect.REFUSED:
            yield f"{where}, which was to be refused"
            continue
        for text in _unlike(permitted, execution, scope, lossy=lossy):
            yield f"{where}: {text}"
        if witness is not None:
            for text in unallowed(execution, scope, witness, lossy=lossy):
                yield f"{where}: {text}"


def written(message: bytes) -> Mapping[str, frozenset[str]]:
    """Return the headers of a message under the names that stacks may fold them to, empty values left out."""
    found: dict[str, set[str]] = {}
    for line in re.split(rb"[\r\n]+", message)[1:]:
        name, _, value = line.decode("latin-1").partition(":")
        if value.strip():
            found.setdefault(re.sub(r"[-_. \t]+", "-", name.strip().lower()), set()).add(value.strip())
    return {name: frozenset(values) for name, values in found.items()}


def _unlike(permitted: Permitted, execution: Execution, scope: Scope, *, lossy: bool) -> Iterator[str]:
    """Compare with what the probe may execute: that needs no decision log."""
    for resource in _relevant(execution, scope, permitted.path):
        if resource != permitted.path:
            yield f"reads `{resource}`, where `{permitted.path}` was asked for"
    for method in set(execution.methods) - {permitted.method}:
        yield f"the method is `{method}`, and {permitted.method} was asked for"
    for host in set(execution.hosts) - {permitted.host}:
        yield f"the host is `{host}`, and `{permitted.host}` was asked for"
    subject = execution.said(permitted.identity)
    if subject != permitted.subject and not (lossy and permitted.identity not in execution.identity):
        yield f"takes the client for `{subject}`, who is `{permitted.subject}`"
    device = execution.said("zt-device")
    if permitted.device and device != permitted.device and not (lossy and "zt-device" not in execution.identity):
        yield f"takes the device for `{device}`, which is `{permitted.device}`"
    for name, values in permitted.written.items():
        for value in values & {part.strip() for part in execution.said(name).split(",")}:
            yield f"`{name}` is `{value}`, which the client wrote"


def unallowed(execution: Execution, scope: Scope, witness: Witness, *, lossy: bool = False) -> Iterator[str]:
    """Compare with the allow whose id came along: every request that arrives has one, and it says the same.

    Where the id can be lost as well, it is an allow for this path, which has the probe's id in it.
    """
    try:
        path = canonical_path(_path(execution.target))
    except InputError as error:
        yield f"no decision is possible about this path: {error}"
        return
    digest = witness.digest(path)
    lost = lossy and "zt-decision" not in execution.identity
    allow = witness.allow_of_path(digest) if lost else witness.allow(execution.said("zt-decision"))
    if allow is None:
        yield f"there is no allow `{execution.said('zt-decision')}`"
        return
    if digest != allow.path_digest:
        yield f"the allow `{allow.decision}` is about another path"
    decided = unescape(path).decode()
    for resource in _relevant(execution, scope, decided):
        if resource != decided:
            yield f"reads `{resource}`, and `{decided}` was allowed"
    for method in set(execution.methods) - {allow.method}:
        yield f"the method is `{method}`, and {allow.method} was allowed"
    for host in set(execution.hosts) - {allow.host}:
        yield f"the host is `{host}`, and `{allow.host}` was allowed"
    yield from _misnamed(execution, allow, lossy=lossy)


def _misnamed(execution: Execution, allow: Allow, *, lossy: bool) -> Iterator[str]:
    expected = {
        "zt-subject": allow.subject,
        "zt-device": allow.device,
        "zt-max-label": allow.label,
        "zt-trust": allow.trust,
    }
    for name, value in expected.items():
        if execution.said(name) != value and not (lossy and name not in execution.identity):
            yield f"`{name}` is `{execution.said(name)}`, and the decision says `{value}`"


def _relevant(execution: Execution, scope: Scope, decided: str) -> Iterator[str]:
    """Yield the readings that could do harm: what is protected, and the stack's own reading of anything."""
    for at, resource in enumerate(dict.fromkeys(execution.resources)):
        if at == 0 or scope.protects(resource):
            yield resource


def _path(target: str) -> bytes:
    raw = target.encode("latin-1", "replace").partition(b"?")[0]
    if raw.startswith((b"http://", b"https://")):
        raw = b"/" + raw.split(b"://", 1)[1].partition(b"/")[2]
    return raw
