"""The part of `catalogue.yaml` that says what a service's routes are."""

from __future__ import annotations

import re

from msgspec import Struct

from zt_engine.adapters.catalogue_labels import COMPARTMENT, WORD, read_label
from zt_engine.adapters.catalogue_names import individual_number
from zt_engine.adapters.yaml_fields import MAX_ITEMS, Faults, Fields, as_text
from zt_engine.adapters.yaml_strict import YamlList, YamlMap, YamlNode, YamlScalar
from zt_engine.core.catalogue import Attribute, Observe, Rule, Service
from zt_engine.core.classification import RANK_C2, Label, Scheme
from zt_engine.core.route_matcher import Template, TemplateError, parse_template

_METHOD = re.compile(r"[A-Z]{1,32}")
_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_ACTION = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")
_NEVER_SERVED = frozenset({"CONNECT", "TRACE"})
_ALWAYS_WRITE = frozenset({"PUT", "PATCH", "DELETE"})
_OBLIGATION = "an obligation's id"
_ROUTE = frozenset(
    {
        "path", "methods", "label", "compartments", "write", "opaque", "state", "attributes", "enforces", "observe",
        "assertion", "action"
    }
)  # fmt: skip


class Defaults(Struct, frozen=True, kw_only=True):
    """What a service says once for all its routes; `labelled` even if its label could not be read."""

    service: Service
    label: tuple[Label, tuple[str, ...]] | None
    labelled: bool
    attributes: dict[str, Attribute]
    enforces: tuple[str, ...]
    observe: Observe | None
    opaque: bool


def read_defaults(service: Service, fields: Fields, scheme: Scheme, faults: Faults) -> Defaults:
    """Read what the routes of a service take over from it."""
    node = fields.node("label")
    return Defaults(
        service=service,
        label=read_label(node, f"{fields.name}.label", scheme, faults) if node is not None else None,
        labelled=node is not None,
        attributes=_attributes(fields, faults),
        enforces=fields.texts("enforces", WORD, _OBLIGATION),
        observe=_observe(fields, faults),
        opaque=fields.truth("opaque") or False,
    )


def read_route(node: YamlNode, name: str, defaults: Defaults, scheme: Scheme, faults: Faults) -> Rule | None:
    """Read one route; `None` when too much of it is wrong to compare it with others."""
    if not isinstance(node, YamlMap):
        faults.add("_VALUE", f"`{name}` is not a mapping", node.line)
        return None
    fields = Fields(node, name, _ROUTE, faults)
    for key in ("path", "methods"):
        fields.require(key, "what is not listed is not served")
    template = _template(fields, faults)
    methods = _methods(fields, faults)
    labelled = _label(fields, defaults, scheme, faults)
    compartments = fields.texts("compartments", COMPARTMENT, "a name such as `case:{case_id}`")
    write = _write(fields, methods, faults)
    observe = _observe(fields, faults)
    attributes = {**defaults.attributes, **_attributes(fields, faults)}
    enforces = tuple(sorted({*defaults.enforces, *fields.texts("enforces", WORD, _OBLIGATION)}))
    state = fields.text("state", WORD, "a name such as `registered`")
    action = fields.text("action", _ACTION, "a name such as `payroll.change`")
    assertion, opaque = fields.truth("assertion"), fields.truth("opaque")
    if template is None or not methods or labelled is None:
        return None
    label, labelled_compartments = labelled
    check_compartments((*labelled_compartments, *compartments), fields, faults)
    if observe is not None and label.rank > RANK_C2:
        text = f"`{name}` is {label.code}; nothing above C2 (rank {RANK_C2}) is merely observed"
        faults.add("CATALOGUE_OBSERVE", text, fields.line_of("observe"), "remove `observe`")
    return Rule(
        service=defaults.service.id,
        template=template,
        methods=methods,
        label=label,
        channels=defaults.service.channels,
        ceiling=defaults.service.ceiling,
        compartments=tuple(dict.fromkeys((*labelled_compartments, *compartments))),
        write=write,
        opaque=defaults.opaque if opaque is None else opaque,
        state=state,
        attributes=attributes,
        enforces=enforces,
        observe=observe or defaults.observe,
        assertion=assertion or False,
        action=action or "",
        where=faults.at(fields.line),
    )


def _template(fields: Fields, faults: Faults) -> Template | None:
    path = fields.text("path", expected="a path such as `/cases/{case_id}`")
    if path is None:
        return None
    try:
        template = parse_template(path)
    except TemplateError as error:
        faults.add("_PATH", f"`{fields.name}.path` `{path}`: {error}", fields.line_of("path"))
        return None
    for _, parameter in template.captures:
        if individual_number(parameter):
            _refuse_number(f"the parameter `{parameter}`", fields.line_of("path"), faults)
    return template


def _methods(fields: Fields, faults: Faults) -> tuple[str, ...]:
    methods = fields.texts("methods", _METHOD, "a method in upper case")
    for method in methods:
        if method in _NEVER_SERVED:
            text = f"`{fields.name}.methods` has {method}, which no route serves"
            faults.add("_VALUE", text, fields.line_of("methods"), "remove it")
    return methods


def _label(fields: Fields, defaults: Defaults, scheme: Scheme, faults: Faults) -> tuple[Label, tuple[str, ...]] | None:
    node = fields.node("label")
    if node is not None:
        return read_label(node, f"{fields.name}.label", scheme, faults)
    if not defaults.labelled:
        hint = "give the route a label, or its service a default"
        faults.add("CATALOGUE_LABEL_MISSING", f"`{fields.name}` has no label", fields.line, hint)
    return defaults.label


def _write(fields: Fields, methods: tuple[str, ...], faults: Faults) -> bool | None:
    write = fields.truth("write")
    always = sorted(_ALWAYS_WRITE.intersection(methods))
    if write is False and always:
        text = f"`{fields.name}` says that {always[0]} does not write"
        faults.add("_VALUE", text, fields.line_of("write"), "only a POST may be declared to read")
    return write


def check_compartments(compartments: tuple[str, ...], fields: Fields, faults: Faults) -> None:
    """Refuse a compartment whose kind is named after the individual number."""
    for compartment in compartments:
        if individual_number(compartment.partition(":")[0]):
            _refuse_number(f"the compartment `{compartment}`", fields.line, faults)


def _attributes(fields: Fields, faults: Faults) -> dict[str, Attribute]:
    node = fields.mapping("attributes")
    found: dict[str, Attribute] = {}
    if node is None:
        return found
    if len(node.items) > MAX_ITEMS:
        fields.wrong("attributes", f"a mapping of at most {MAX_ITEMS} entries")
        return found
    for key, item in node.items.items():
        line = node.lines[key]
        value = _attribute(item)
        if individual_number(key):
            _refuse_number(f"the attribute `{key}`", line, faults)
        elif WORD.fullmatch(key) is None:
            faults.add("_VALUE", f"`{key[:80]}` is no attribute's name", line, "lower-case letters, digits and `_`")
        elif value is None:
            hint = "a text, an integer, `true`, `false`, or a list of these"
            faults.add("_VALUE", f"`{fields.name}.attributes.{key}` has no value a policy can read", line, hint)
        else:
            found[key] = value
    return found


def _attribute(node: YamlNode) -> Attribute | None:
    if isinstance(node, YamlScalar):
        return as_text(node) if isinstance(node.value, str) else node.value
    if not isinstance(node, YamlList) or len(node.items) > MAX_ITEMS:
        return None
    values: list[bool | int | str] = []
    for item in node.items:
        value = _attribute(item) if isinstance(item, YamlScalar) else None
        if value is None or isinstance(value, tuple):
            return None
        values.append(value)
    return tuple(values)


def _observe(fields: Fields, faults: Faults) -> Observe | None:
    node = fields.mapping("observe")
    if node is None:
        return None
    inner = Fields(node, f"{fields.name}.observe", ("until", "codes"), faults)
    inner.require("until", "onboarding ends on a day that is known beforehand", "CATALOGUE_OBSERVE")
    until = inner.instant("until")
    codes = inner.texts("codes", _REASON, "a reason code such as `TRUST_LOW`")
    return Observe(until=until, codes=tuple(sorted(codes))) if until is not None else None


def _refuse_number(what: str, line: int, faults: Faults) -> None:
    hint = "identify people by the subject of their token; the individual number has no place here"
    faults.add("CATALOGUE_INDIVIDUAL_NUMBER", f"{what} is named after the individual number", line, hint)
