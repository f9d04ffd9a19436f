"""Reading `catalogue.yaml`: every fault at once, each with file and line; what cannot be read is never guessed.

A service is onboarded only with an owner, a date of review, a ceiling, channels and a label for every route: what is
not decided about data before it is served is never decided. The label of a route replaces the service's default, the
label of an object is joined to its route's. Nothing in the file may look like an individual number (個人番号): such a
number is not an identifier, and the law limits who may store it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence

from zt_engine.adapters.catalogue_labels import WORD, read_code, read_label, read_scheme
from zt_engine.adapters.catalogue_routes import check_compartments, read_defaults, read_route
from zt_engine.adapters.yaml_fields import MAX_PROBLEMS, Faults, Fields
from zt_engine.adapters.yaml_strict import YamlMap, read_yaml
from zt_engine.core.catalogue import Catalogue, ObjectRule, Rule, Service, with_compartments
from zt_engine.core.catalogue_compiler import compile_catalogue
from zt_engine.core.classification import Scheme
from zt_engine.core.errors import ConfigError
from zt_engine.core.route_matcher import decode_path

FORMAT = 1
CHANNELS = ("open", "closed", "lgwan", "gsn")
MAX_SERVICES = 1000

_REGO_WORDS = frozenset(
    {
        "as", "contains", "data", "default", "else", "every", "false", "if", "import", "in", "input", "not", "null",
        "package", "set", "some", "true", "with"
    }
)  # fmt: skip
_RESERVED = frozenset({"unlisted"})
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_OWNER = re.compile(r"\S(?:.{0,98}\S)?")
_TOP = frozenset({"catalogue", "version", "scheme", "labels", "caveats", "maps", "services", "objects"})
_SERVICE = frozenset(
    {
        "title", "owner", "review_at", "hosts", "channels", "ceiling", "label", "attributes", "enforces", "observe",
        "opaque", "routes"
    }
)  # fmt: skip
_PARTLY = frozenset({"CATALOGUE_CEILING", "CATALOGUE_AMBIGUOUS", "CATALOGUE_COMPARTMENT"})
"""What may be said about the rules that could be read, although others could not."""


def load_catalogue(text: str | bytes, *, where: str) -> Catalogue:
    """Read and compile a catalogue, or raise ConfigError with every fault in it."""
    faults = Faults(where, "CATALOGUE")
    if text and text[-1:] not in ("\n", b"\n"):
        # Half a file may read as a catalogue without its strictest rules; whoever edits in place is caught mid-line.
        last = text.count("\n") if isinstance(text, str) else text.count(b"\n")
        faults.add(
            "_INCOMPLETE", "the file does not end with a line break", last + 1, "write the rest of it, or end the line"
        )
        faults.raise_if_any()
    top = Fields(read_yaml(text, where=where), "the catalogue", _TOP, faults)
    for key in ("catalogue", "scheme", "labels", "services"):
        top.require(key, "every catalogue has it")
    if top.has("catalogue") and top.integer("catalogue", FORMAT, FORMAT) is None:
        faults.raise_if_any()
    scheme = read_scheme(top, faults)
    if not scheme.levels:
        faults.raise_if_any()
    services, rules = _services(top, scheme, faults)
    objects = _objects(top, {service.id: service for service in services}, scheme, faults)
    digest = hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()
    version = top.text("version") or digest[:12]
    try:
        catalogue = compile_catalogue(
            scheme=scheme, services=services, rules=rules, objects=objects, digest=digest, version=version
        )
    except ConfigError as error:
        if faults.problems:
            faults.problems += [problem for problem in error.problems if problem.code in _PARTLY]
        else:
            raise
    if faults.problems:
        faults.problems.sort(key=lambda problem: int(problem.where.rpartition(":")[2] or 0))
        raise ConfigError(tuple(faults.problems[:MAX_PROBLEMS]))
    return catalogue


def _services(top: Fields, scheme: Scheme, faults: Faults) -> tuple[list[Service], list[Rule]]:
    node = top.mapping("services")
    services: list[Service] = []
    rules: list[Rule] = []
    if node is None:
        return services, rules
    if not 0 < len(node.items) <= MAX_SERVICES:
        top.wrong("services", f"a mapping of 1 to {MAX_SERVICES} services")
    for name, item in node.items.items():
        line = node.lines[name]
        if WORD.fullmatch(name) is None or name in _REGO_WORDS or name in _RESERVED:
            hint = "lower-case letters, digits and `_`, and no word of Rego: it becomes part of a package's name"
            faults.add("_SERVICE_ID", f"`{name[:80]}` is no service id", line, hint)
        if not isinstance(item, YamlMap):
            faults.add("_VALUE", f"`services.{name[:80]}` is not a mapping", line)
            continue
        fields = Fields(item, f"services.{name}", _SERVICE, faults)
        service = _service(name, fields, line, scheme, faults)
        services.append(service)
        rules += _rules(service, fields, scheme, faults)
    return services, rules


def _service(name: str, fields: Fields, line: int, scheme: Scheme, faults: Faults) -> Service:
    fields.require("owner", "somebody answers for the labels of a service", "CATALOGUE_OWNER_MISSING")
    fields.require("review_at", "labels are looked at again", "CATALOGUE_REVIEW_MISSING")
    fields.require("ceiling", "say above which label nothing is served", "CATALOGUE_LABEL_MISSING")
    for key in ("hosts", "channels", "routes"):
        fields.require(key, "what is not listed is not served")
    title = fields.mapping("title")
    titles = Fields(title, f"{fields.name}.title", ("ja", "en"), faults) if title is not None else None
    node = fields.node("ceiling")
    ceiling = read_code(node, f"{fields.name}.ceiling", scheme, faults) if node is not None else None
    return Service(
        id=name,
        title_ja=(titles.text("ja") if titles is not None else None) or name,
        title_en=(titles.text("en") if titles is not None else None) or name,
        owner=fields.text("owner", _OWNER, "a name") or "",
        review_at=fields.instant("review_at", dates=True) or 0,
        hosts=_hosts(fields, faults),
        channels=fields.choices("channels", CHANNELS),
        # A ceiling that could not be read is a fault already; the highest rank keeps it from causing others.
        ceiling=ceiling.rank if ceiling is not None else max(scheme.ranks().values()),
        where=faults.at(line),
    )


def _hosts(fields: Fields, faults: Faults) -> tuple[str, ...]:
    """Read exact host names as `core.request` canonicalises them: no port, no wildcard, IPv6 without brackets."""
    hosts: list[str] = []
    for host in fields.texts("hosts"):
        name = _address(host)
        if name is None and _HOST.fullmatch(host) is None:
            hint = "lower case, no port, no wildcard; an IPv6 address is `[2001:db8::1]`, other scripts are `xn--`"
            faults.add("_HOST", f"`{host}` in `{fields.name}.hosts` is no host name", fields.line_of("hosts"), hint)
        elif (name or host) in hosts:
            faults.add("_DUPLICATE", f"`{host}` stands twice in `{fields.name}.hosts`", fields.line_of("hosts"))
        else:
            hosts.append(name or host)
    return tuple(hosts)


def _address(host: str) -> str | None:
    """Give an IPv6 literal in its compressed form; `None` for whatever is none."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return ipaddress.IPv6Address(bare).compressed if "%" not in bare else None
    except ValueError:
        return None


def _rules(service: Service, fields: Fields, scheme: Scheme, faults: Faults) -> list[Rule]:
    defaults = read_defaults(service, fields, scheme, faults)
    nodes = fields.sequence("routes")
    if fields.has("routes") and not nodes:
        fields.wrong("routes", "a list with at least one route")
    read = (read_route(node, f"{fields.name}.routes[{n}]", defaults, scheme, faults) for n, node in enumerate(nodes))
    return [rule for rule in read if rule is not None]


def _objects(top: Fields, services: Mapping[str, Service], scheme: Scheme, faults: Faults) -> Sequence[ObjectRule]:
    objects = []
    for number, node in enumerate(top.sequence("objects")):
        name = f"objects[{number}]"
        if not isinstance(node, YamlMap):
            faults.add("_VALUE", f"`{name}` is not a mapping", node.line)
            continue
        fields = Fields(node, name, ("service", "path", "label"), faults)
        fields.require("service", "an object belongs to a service")
        fields.require("path", "an object is found by its exact path")
        fields.require("label", "an object is listed for its label", "CATALOGUE_LABEL_MISSING")
        service, path, label_node = fields.text("service"), fields.text("path"), fields.node("label")
        if service is not None and service not in services:
            faults.add("_VALUE", f"`{name}.service` is `{service}`, which is no service", fields.line_of("service"))
            service = None
        if path is not None and (not path.startswith("/") or decode_path(path) is None):
            faults.add("_PATH", f"`{name}.path` `{path}` is no exact path", fields.line_of("path"))
            path = None
        label = read_label(label_node, f"{name}.label", scheme, faults) if label_node is not None else None
        if label is None or service is None or path is None:
            continue
        plain, compartments = label
        check_compartments(compartments, fields, faults)
        if any("{" in compartment for compartment in compartments):
            hint = "an object has one path; write its compartment out"
            faults.add("_VALUE", f"`{name}.label` names a parameter", fields.line_of("label"), hint)
        labelled = with_compartments(plain, list(compartments))
        objects.append(ObjectRule(service=service, path=path, label=labelled, where=faults.at(fields.line)))
    return objects
