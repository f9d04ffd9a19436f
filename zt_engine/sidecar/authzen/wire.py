"""AuthZEN messages: bodies that have one reading become questions, everything else is refused with what is wrong.

Unknown members are ignored, as the specification demands; known ones of a wrong type are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

import msgspec

from zt_engine.core.errors import InputError
from zt_engine.core.strict_json import read_object

MAX_BODY = 64 * 1024
MAX_EVALUATIONS = 512
"""Of one batch. A larger one is refused as a whole: it would keep the others waiting."""

Json = Mapping[str, object]
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
What = Literal["subject", "resource", "action"]
SEMANTICS = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")
PARTS = ("subject", "resource", "action", "context")
NOTHING: Json = {}

_encode = msgspec.json.Encoder(order="sorted").encode


class Entity(NamedTuple):
    """A subject, a resource or an action (whose `id` is its name)."""

    type: str
    id: str
    properties: Json


class Question(NamedTuple):
    """Who wants to do what with what, under which circumstances."""

    subject: Entity
    resource: Entity
    action: Entity
    context: Json

    def document(self) -> Json:
        """Return the question as a rule reads it, without what the specification does not know."""
        return {
            "subject": spelled(self.subject),
            "resource": spelled(self.resource),
            "action": {"name": self.action.id, "properties": self.action.properties},
            "context": self.context,
        }


class Search(NamedTuple):
    """A question with one unknown: `what` says which."""

    what: What
    subject: Entity
    resource: Entity
    action: Entity
    context: Json

    def about(self, identity: str) -> Question:
        """Return the question about one candidate."""
        parts = {"subject": self.subject, "resource": self.resource, "action": self.action}
        parts[self.what] = parts[self.what]._replace(id=identity)
        return Question(**parts, context=self.context)


class Batch(NamedTuple):
    """Several questions; an item that is none stands as the error it is."""

    items: list[Question | InputError]
    semantic: Semantic


def read_body(raw: bytes) -> Json:
    """Return the body, or raise InputError AUTHZEN_BODY."""
    if not raw:
        raise malformed("the body is empty")
    try:
        return read_object(raw)
    except ValueError as error:
        raise malformed(f"the body is {error}" if str(error).startswith("not") else f"the body: {error}") from None


def read_question(body: Json, defaults: Json = NOTHING) -> Question:
    """Return the question in `body`; a member it lacks is the whole one of `defaults` (there is no merging below)."""
    return Question(
        entity(_part(body, defaults, "subject"), "subject"),
        entity(_part(body, defaults, "resource"), "resource"),
        action(_part(body, defaults, "action")),
        context(body if "context" in body else defaults),
    )


def read_batch(body: Json) -> Question | Batch:
    """Return the questions of a batch, or the only one, where `evaluations` is absent or empty."""
    items = body.get("evaluations", [])
    semantic = _semantic(body)
    if not isinstance(items, list):
        raise malformed("`evaluations` is no array")
    if not items:
        return read_question(body)
    if len(items) > MAX_EVALUATIONS:
        raise malformed(f"`evaluations` has {len(items)} items, {MAX_EVALUATIONS} are allowed")
    for name in PARTS:
        if not isinstance(body.get(name, NOTHING), dict):
            raise malformed(f"`{name}` is no object")
    return Batch([_item(item, body, number) for number, item in enumerate(items)], semantic)


def read_search(body: Json, what: What) -> Search:
    """Return a search; what is looked for needs its type alone, and an action nothing."""
    return Search(
        what,
        entity(body.get("subject"), "subject", without_id=what == "subject"),
        entity(body.get("resource"), "resource", without_id=what == "resource"),
        Entity("", "", NOTHING) if what == "action" else action(body.get("action")),
        context(body),
    )


def _item(item: object, defaults: Json, number: int) -> Question | InputError:
    if not isinstance(item, dict):
        raise malformed(f"`evaluations[{number}]` is no object")
    try:
        return read_question(item, defaults)
    except InputError as error:
        return error


def _semantic(body: Json) -> Semantic:
    options = body.get("options", NOTHING)
    if not isinstance(options, dict):
        raise malformed("`options` is no object")
    semantic = options.get("evaluations_semantic", SEMANTICS[0])
    if semantic not in SEMANTICS:
        raise malformed(f"`options.evaluations_semantic` is none of {', '.join(SEMANTICS)}")
    return cast("Semantic", semantic)


def _part(body: Json, defaults: Json, name: str) -> object:
    return body[name] if name in body else defaults.get(name)


def entity(value: object, name: str, *, without_id: bool = False) -> Entity:
    """Read a subject or resource; `without_id` for what a search looks for, whose id is ignored."""
    if not isinstance(value, dict):
        raise malformed(f"`{name}` is missing" if value is None else f"`{name}` is no object")
    identity = "" if without_id else _text(value, name, "id")
    return Entity(_text(value, name, "type"), identity, _properties(value, name))


def action(value: object) -> Entity:
    """Read an action."""
    if not isinstance(value, dict):
        raise malformed("`action` is missing" if value is None else "`action` is no object")
    return Entity("", _text(value, "action", "name"), _properties(value, "action"))


def context(body: Json) -> Json:
    """Read a context, empty where there is none."""
    value = body.get("context", NOTHING)
    if not isinstance(value, dict):
        raise malformed("`context` is no object")
    return value


def _text(value: Json, name: str, key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str):
        raise malformed(f"`{name}.{key}` is missing" if text is None else f"`{name}.{key}` is no string")
    return text


def _properties(value: Json, name: str) -> Json:
    properties = value.get("properties", NOTHING)
    if not isinstance(properties, dict):
        raise malformed(f"`{name}.properties` is no object")
    return properties


def spelled(known: Entity) -> Json:
    """Return a subject or resource as it was sent."""
    return {"type": known.type, "id": known.id, "properties": known.properties}


def encoded(value: object) -> bytes:
    """Return JSON with sorted members: equal values have equal bytes."""
    return _encode(value)


def malformed(message: str) -> InputError:
    """Return the error of a body that is no question."""
    return InputError("AUTHZEN_BODY", message)
