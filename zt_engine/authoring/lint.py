"""What OPA's own checker cannot know: our codes, our annotations, and what compiled Rego answers otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from zt_engine.authoring.pack import Pack
from zt_engine.authoring.rego_ast import Module, Rule
from zt_engine.core.bundle_hash import Json, Number, parse
from zt_engine.core.errors import Problem

_CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+", re.ASCII)
"""A machine-readable code. Two words at least, so that `GET` and `C2` are none."""

_INTEGER = re.compile(r"-?[0-9]+", re.ASCII)
_BILINGUAL = re.compile(r"\s*\S.*? / .*?\S\s*")


def check_reasons(pack: Pack, modules: Sequence[Module]) -> Iterator[Problem]:
    """Yield every code that a layer may name and `reasons.yaml` does not, and the other way round."""
    used: dict[str, str] = {}
    for module in modules:
        for text, where in module.terms("string"):
            if _CODE.fullmatch(text):
                used.setdefault(text, where)
    for name, raw in pack.data.items():
        for text in _texts(parse(raw, where=name)):
            if _CODE.fullmatch(text):
                used.setdefault(text, pack.where[name])
    for code in sorted(set(used) - set(pack.reasons)):
        hint = "add it with its kind and its texts; a decision with an unknown code is a denial"
        yield Problem(code="REASON_UNKNOWN", message=f"`{code}` is not in reasons.yaml", where=used[code], hint=hint)
    for code in sorted(set(pack.reasons) - set(used)):
        where = pack.reasons_at[code]
        if _CODE.fullmatch(code) is None:
            hint = "upper case, two words or more, joined by _"
            yield Problem(code="REASON_MALFORMED", message=f"`{code}` is no code", where=where, hint=hint)
        else:
            yield Problem(code="REASON_UNUSED", message=f"no rule and no data names `{code}`", where=where)


def check_metadata(modules: Sequence[Module]) -> Iterator[Problem]:
    """Yield every rule without title, control and remedies; `scope: document` covers every rule of a name."""
    documented = {
        (module.package, rule.name)
        for module in modules
        for rule in module.rules()
        if any(note.get("scope") == "document" for note in rule.annotations)
    }
    for module in modules:
        for rule in module.rules():
            covered = (module.package, rule.name) in documented
            if rule.annotations:
                yield from _incomplete(rule)
            elif not covered:
                yield Problem(
                    code="RULE_METADATA_MISSING",
                    message=f"the rule `{rule.name}` has no METADATA",
                    where=rule.where,
                    hint="title: English / 日本語; custom: control, remedy_ja, remedy_en",
                )


def check_divergences(pack: Pack, modules: Sequence[Module]) -> Iterator[Problem]:
    """Yield the named constructs that OPA and the compiled module would answer differently."""
    documents = {tuple(name.split("/")[:-1]): parse(raw, where=name) for name, raw in pack.data.items()}
    for module in modules:
        for ref in module.refs():
            if ref.head == "data" and _indexes_an_object(ref.constant, documents):
                yield _diverges("integer_index_into_object", ref.where, 'write the key as text: x["2"]')
        for number, where in module.terms("number"):
            if isinstance(number, float):
                yield _diverges("float_last_digit", where, "use integers: points, seconds, thousandths")
        for name, arguments, where in module.calls():
            if name == "json.marshal":
                yield _diverges("json_marshal_key_order", where, "compare values, not their JSON text")
            elif name == "div":
                yield _diverges("float_last_digit", where, "compare products instead of quotients")
            elif name == "glob.match" and arguments and "?" in str(arguments[0].get("value")):
                yield _diverges("glob_question_mark_non_ascii", where, "use `*`, or compare the text itself")
    for path, document in documents.items():
        where = pack.where["/".join((*path, "data.json"))]
        if any(_INTEGER.fullmatch(key) for key in _keys(document)):
            yield _diverges("integer_index_into_object", where, "a key that reads as a number: use a list, or a word")
        if any(_INTEGER.fullmatch(number) is None for number in _numbers(document)):
            yield _diverges("float_last_digit", where, "use integers: points, seconds, thousandths")


def _incomplete(rule: Rule) -> Iterator[Problem]:
    for note in rule.annotations:
        custom = note.get("custom") or {}
        missing = [key for key in ("control", "remedy_ja", "remedy_en") if not str(custom.get(key) or "").strip()]
        if not _BILINGUAL.fullmatch(str(note.get("title") or "")):
            missing.insert(0, "title (English / 日本語)")
        if missing:
            message = f"the METADATA of `{rule.name}` lacks {', '.join(missing)}"
            yield Problem(code="RULE_METADATA_MISSING", message=message, where=rule.where)


def _diverges(name: str, where: str, hint: str) -> Problem:
    message = f"{name}: OPA and the module answer differently"
    return Problem(code="REGO_DIVERGENCE", message=message, where=where, hint=hint)


def _indexes_an_object(constant: Sequence[object], documents: Mapping[tuple[str, ...], Json]) -> bool:
    """Whether a number is used as a key of a data object (on which OPA finds the text of the number)."""
    for depth, key in enumerate(constant):
        if isinstance(key, int | float) and not isinstance(key, bool):
            return any(isinstance(_at(documents, path, constant[:depth]), Mapping) for path in documents)
    return False


def _at(documents: Mapping[tuple[str, ...], Json], path: tuple[str, ...], wanted: Sequence[object]) -> Json:
    """What a document holds at a path, None when the path lies elsewhere."""
    value: Json = documents[path]
    if len(wanted) < len(path):
        return value if path[: len(wanted)] == tuple(wanted) else None
    if tuple(wanted[: len(path)]) != path:
        return None
    for key in wanted[len(path) :]:
        if not isinstance(value, Mapping) or not isinstance(key, str) or key not in value:
            return None
        value = value[key]
    return value


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str) and not isinstance(value, Number):
        yield value


def _keys(value: Json) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _numbers(value: Json) -> Iterator[Number]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, Number):
        yield value
