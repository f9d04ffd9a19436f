"""`json.patch` (RFC 6902), extended by OPA to sets and to paths that are arrays."""

from __future__ import annotations

import re
from typing import Final

from zt_engine.adapters.rego_builtins.operands import (
    RefusedError,
    array,
    builtin,
    int64,
    limit,
)
from zt_engine.adapters.rego_values import MAX_DEPTH, Key, RegoSet, Value, equal, key_of, type_name, value_of

_MAX_OPERATIONS: Final = 500
_MAX_WORK: Final = 2_000_000
_MAX_ADDED: Final = 50_000
_INDEX: Final = re.compile(r"[+-]?[0-9]{1,18}(?:\.0*)?")


def _path(value: Value) -> list[Value]:
    """A JSON pointer, with any number of leading slashes, or an array of segments."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise RefusedError(f"a path must be a string or an array of segments but got {type_name(value)}")
    if not value:
        return []
    return [part.replace("~1", "/").replace("~0", "~") for part in value.lstrip("/").split("/")]


def _index(segment: Value, length: int) -> int:
    if isinstance(segment, str):
        if segment == "-":
            return length
        if not _INDEX.fullmatch(segment) or (segment.startswith("0") and segment != "0"):
            raise RefusedError("invalid string for indexing")
        return int(segment.partition(".")[0])
    found = int64(segment)
    if found is None:
        raise RefusedError("invalid type for indexing")
    return found


class _Patch:
    """Each edit copies the containers along its path; what they copy is counted and capped.

    What is added is counted in full, since copying a document into itself doubles it without copying a thing.
    """

    def __init__(self) -> None:
        self.work = 0
        self.added_size = 0

    def grow(self, value: Value) -> None:
        self.added_size += 1
        limit(self.added_size, _MAX_ADDED, "added members")
        match value:
            case dict():
                for key, item in value.items():
                    self.grow(value_of(key))
                    self.grow(item)
            case list() | RegoSet():
                for item in value:
                    self.grow(item)

    def copied(self, size: int) -> None:
        self.work += size + 1
        limit(self.work, _MAX_WORK, "copied members")

    def get(self, target: Value, path: list[Value]) -> Value:
        for segment in path:
            target = self.child(target, segment)
        return target

    def child(self, target: Value, segment: Value) -> Value:
        self.copied(0)
        match target:
            case dict():
                key = key_of(segment)
                if key not in target:
                    raise RefusedError("path does not exist in object")
                return target[key]
            case list():
                at = _index(segment, len(target))
                if not 0 <= at < len(target):
                    raise RefusedError("path does not exist in array")
                return target[at]
            case RegoSet():
                if segment not in target:
                    raise RefusedError("path does not exist in set")
                return segment
        raise RefusedError("expected composite type")

    def edit(self, target: Value, path: list[Value], value: Value | None, *, remove: bool) -> Value:
        """The target with one member added or removed at the path."""
        limit(len(path), MAX_DEPTH, "levels")
        segment = path[0]
        if len(path) > 1:
            inner = self.edit(self.child(target, segment), path[1:], value, remove=remove)
            return self.replaced(target, segment, inner)
        return self.removed(target, segment) if remove else self.added(target, segment, value)

    def replaced(self, target: Value, segment: Value, inner: Value) -> Value:
        match target:
            case dict():
                self.copied(len(target))
                return {**target, key_of(segment): inner}
            case list():
                self.copied(len(target))
                at = _index(segment, len(target))
                return [*target[:at], inner, *target[at + 1 :]]
            case RegoSet():
                self.copied(len(target))
                return RegoSet([*(item for item in target if not equal(item, segment)), inner])
        raise RefusedError("expected composite type")

    def added(self, target: Value, segment: Value, value: Value) -> Value:
        match target:
            case dict():
                self.copied(len(target))
                return {**target, key_of(segment): value}
            case list():
                self.copied(len(target))
                at = _index(segment, len(target))
                if not 0 <= at <= len(target):
                    raise RefusedError("index for array insertion out of bounds")
                return [*target[:at], value, *target[at:]]
            case RegoSet():
                self.copied(len(target))
                if not equal(segment, value):
                    raise RefusedError("set key does not equal value to be inserted")
                return RegoSet([*target, value])
        raise RefusedError("expected composite type")

    def removed(self, target: Value, segment: Value) -> Value:
        match target:
            case dict():
                self.child(target, segment)
                self.copied(len(target))
                wanted = key_of(segment)
                return {key: item for key, item in target.items() if key != wanted}
            case list():
                at = _index(segment, len(target))
                if not 0 <= at < len(target):
                    raise RefusedError("index for array delete out of bounds")
                self.copied(len(target))
                return [*target[:at], *target[at + 1 :]]
            case RegoSet():
                self.child(target, segment)
                self.copied(len(target))
                return RegoSet([item for item in target if not equal(item, segment)])
        raise RefusedError("expected composite type")

    def insert(self, target: Value, path: list[Value], value: Value) -> Value:
        self.grow(value)
        return self.edit(target, path, value, remove=False) if path else value

    def apply(self, target: Value, operation: dict[str | Key, Value]) -> Value:
        name, path = _attribute(operation, "op"), _path(_attribute(operation, "path"))
        match name:
            case "add":
                return self.insert(target, path, _attribute(operation, "value"))
            case "remove":
                return self.delete(target, path)
            case "replace":
                value = _attribute(operation, "value")
                return self.insert(self.delete(target, path), path, value) if path else value
            case "move":
                source = _path(_attribute(operation, "from"))
                chunk = self.get(target, source)
                return self.insert(self.delete(target, source), path, chunk) if source else self.rooted(path, chunk)
            case "copy":
                return self.insert(target, path, self.get(target, _path(_attribute(operation, "from"))))
            case "test":
                if not equal(self.get(target, path), _attribute(operation, "value")):
                    raise RefusedError("a tested value differs")
                return target
        raise RefusedError("unrecognized op")

    def rooted(self, path: list[Value], chunk: Value) -> Value:
        """Moving the whole document leaves nothing to move it into."""
        if path:
            raise RefusedError("a document cannot be moved into itself")
        return chunk

    def delete(self, target: Value, path: list[Value]) -> Value:
        if not path:
            raise RefusedError("the document itself cannot be removed")
        return self.edit(target, path, None, remove=True)


def _attribute(operation: dict[str | Key, Value], name: str) -> Value:
    if name not in operation:
        raise RefusedError(f"missing required attribute '{name}'")
    return operation[name]


@builtin("json.patch")
def patch(target: Value, operations: Value) -> Value:
    """The document after all operations, or a refusal if one of them does not apply."""
    listed = array(operations, 2)
    limit(len(listed), _MAX_OPERATIONS, "operations")
    working = _Patch()
    for operation in listed:
        if not isinstance(operation, dict):
            raise RefusedError("must be an array of JSON-Patch objects, but at least one element is not an object")
        target = working.apply(target, operation)
    return target
