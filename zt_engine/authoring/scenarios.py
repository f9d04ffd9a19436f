"""Scenarios: decision tables that people write. Who, from which device, for what, in which situation, when -> effect.

`_fixtures.yaml` names subjects, devices and situations; `like: NAME` takes over everything of another entry and changes
what is given, `facts` name by name. Ages are seconds before `at`. Reading is strict: a typing mistake in a test would
be a requirement nobody checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

import msgspec

from zt_engine.authoring.yaml_text import Plain, YamlText, read_yaml
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.core.instants import parse_instant

FIXTURES = "_fixtures.yaml"
NONE = "none"
BINDINGS = ("mtls", "dpop", "session", "none")

SUBJECT = frozenset(
    {"like", "type", "id", "issuer", "groups", "roles", "org", "nationality", "employment", "clearance", "compartments"}
    | {"amr", "acr", "auth_age", "valid_until", "status", "delegate"}
)
DEVICE = frozenset({"like", "id", "status", "ownership", "assigned", "key", "report_age", "method", "facts", "ceiling"})
FACT = frozenset({"value", "method", "age", "status"})
REQUEST = frozenset({"method", "url", "client_ip", "channel", "purpose", "enforces"})
SITUATION = frozenset({"like", "threat_level", "overlays", "grants", "revocations", "continuity"})
EXPECT = frozenset({"effect", "reasons", "obligations", "score", "threshold", "label"})
EFFECTS = ("allow", "step_up", "deny", "observe")
_DEFAULTS = frozenset({"subject", "device", "binding", "request", "situation", "at"})
_SCENARIO = _DEFAULTS | {"name", "source", "expect"}
_FIXTURES = frozenset({"defaults", "subjects", "devices", "situations"})

Entry = Mapping[str, Plain]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One request with everything around it, complete and in plain values. `device` None: no device is proven."""

    subject: Entry
    delegate: Entry | None
    device: Entry | None
    binding: str
    request: Entry
    situation: Entry
    at: int
    where: str


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A question and what its author expects; only the named members of `expect` are compared."""

    ja: str
    en: str
    source: str
    who: str
    question: Question
    expect: Entry

    def name(self, language: str) -> str:
        """The sentence that this scenario proves."""
        return self.ja if language == "ja" else self.en


def read_scenarios(folder: Path) -> tuple[Scenario, ...]:
    """Read every table of a pack's `scenarios` folder; ConfigError SCENARIO_MALFORMED carries every fault."""
    paths = sorted(folder.glob("*.yaml"))
    reading = _Reading()
    documents = [reading.document(path) for path in paths if path.name != FIXTURES]
    if folder.joinpath(FIXTURES).is_file():
        reading.fixtures(reading.document(folder / FIXTURES))
    found = [scenario for document in documents for scenario in reading.scenarios(document)]
    if reading.problems:
        raise ConfigError(tuple(reading.problems))
    return tuple(found)


def scenarios_in(files: Mapping[str, bytes]) -> tuple[Scenario, ...]:
    """Read tables as a bundle holds them, by their names there; ConfigError SCENARIO_MALFORMED."""
    reading = _Reading()
    read = {name: reading.text(raw, name) for name, raw in sorted(files.items())}
    tables = {name: document for name, document in read.items() if name.rpartition("/")[2] != FIXTURES}
    for name in read.keys() - tables.keys():
        reading.fixtures(read[name])
    found = [scenario for document in tables.values() for scenario in reading.scenarios(document)]
    if reading.problems:
        raise ConfigError(tuple(reading.problems))
    return tuple(found)


def read_question(
    path: Path,
    *,
    fixtures: Path | None = None,
    named: Mapping[str, Mapping[str, Entry]] | None = None,
    defaults: Entry | None = None,
) -> Question:
    """Read one question from a file of its own, a scenario without its expectation; SCENARIO_MALFORMED has every fault.

    Its names are those of a fixtures file, or of `named`: kind (`subjects`, `devices`, `situations`) to name to entry.
    """
    reading = _Reading()
    document = reading.document(path)
    if fixtures is not None and fixtures.is_file():
        reading.fixtures(reading.document(fixtures))
    reading.named.update(named or {})
    reading.defaults = {**reading.defaults, **(defaults or {})}
    if not reading.problems:
        try:
            return reading.question(_known(_mapping(document.value, "the file"), _SCENARIO), document.at())
        except _Fault as fault:
            reading.fault(str(fault), _place(document, fault.key), fault.hint)
    raise ConfigError(tuple(reading.problems))


def _place(document: YamlText, key: str) -> str:
    """The line of a key that is wrong, wherever in the document it stands; else the document's first line."""
    paths = (path for path in document.lines if path and path[-1] == key)
    return document.at(*min(paths, key=len, default=()))


class _Fault(Exception):
    def __init__(self, message: str, hint: str = "", key: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.key = key


class _Reading:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.defaults: Entry = {}
        self.named: dict[str, Entry] = {}

    def document(self, path: Path) -> YamlText:
        try:
            raw = path.read_bytes()
        except OSError:
            raw = b"\xff"
        return self.text(raw, str(path))

    def text(self, raw: bytes, where: str) -> YamlText:
        try:
            return read_yaml(raw.decode("utf-8"), where=where, code="SCENARIO_MALFORMED")
        except ConfigError as error:
            self.problems.extend(error.problems)
        except UnicodeDecodeError:
            self.fault("cannot be read as UTF-8", where)
        return YamlText(where=where, value={}, lines={})

    def fault(self, message: str, where: str, hint: str = "") -> None:
        self.problems.append(Problem(code="SCENARIO_MALFORMED", message=message, where=where, hint=hint))

    def fixtures(self, document: YamlText) -> None:
        """Take the named entries, and resolve each once so that its own faults are reported at its own line."""
        try:
            top = _known(_mapping(document.value, "the file"), _FIXTURES)
            self.defaults = _known(_mapping(top.get("defaults", {}), "defaults"), _DEFAULTS)
        except _Fault as fault:
            self.fault(str(fault), document.at(), fault.hint)
            return
        for kind, known in (("subjects", SUBJECT), ("devices", DEVICE), ("situations", SITUATION)):
            entries = top.get(kind, {})
            self.named[kind] = entries if isinstance(entries, Mapping) else {}
            for name in self.named[kind]:
                try:
                    self.resolve(kind, name, known)
                except _Fault as fault:
                    self.fault(f"`{name}`: {fault}", document.at(kind, name), fault.hint)

    def scenarios(self, document: YamlText) -> Iterator[Scenario]:
        top = document.value if isinstance(document.value, Mapping) else {}
        entries = top.get("scenarios", [])
        if set(top) - {"scenarios"} or not isinstance(entries, list):
            self.fault("a table is one list `scenarios`", document.at(), "`scenarios:`, and below it `- name: ...`")
            return
        for index, entry in enumerate(entries):
            try:
                yield self.scenario(entry, document.at("scenarios", index))
            except _Fault as fault:
                self.fault(str(fault), document.at("scenarios", index), fault.hint)

    def scenario(self, entry: Plain, where: str) -> Scenario:
        given = _known(_mapping(entry, "a scenario"), _SCENARIO)
        names = _known(_mapping(given.get("name"), "name"), frozenset({"ja", "en"}))
        ja, en = names.get("ja"), names.get("en")
        if not isinstance(ja, str) or not isinstance(en, str) or not ja.strip() or not en.strip():
            raise _Fault("`name` has `ja` and `en`")
        question = self.question(given, where)
        return Scenario(
            ja=ja,
            en=en,
            source=str(given.get("source", "")),
            who=str(question.subject.get("id", question.subject.get("type", ""))),
            question=question,
            expect=_expected(given.get("expect")),
        )

    def question(self, given: Entry, where: str) -> Question:
        subject = self.resolve("subjects", self.value(given, "subject", {"type": "anonymous"}), SUBJECT)
        if subject is None:
            raise _Fault("`subject` is a subject; who has none is {type: anonymous}", key="subject")
        device = self.resolve("devices", self.value(given, "device", NONE), DEVICE)
        situation = self.resolve("situations", self.value(given, "situation", {}), SITUATION) or {}
        return Question(
            subject=subject,
            delegate=self.resolve("subjects", subject["delegate"], SUBJECT) if subject.get("delegate") else None,
            device=device,
            binding=self.binding(given, device),
            request=self.request(given),
            situation={"threat_level": 0, **situation},
            at=self.instant(given),
            where=where,
        )

    def value(self, given: Entry, key: str, default: Plain) -> Plain:
        return given[key] if key in given else self.defaults.get(key, default)

    def resolve(self, kind: str, value: Plain, known: frozenset[str], path: tuple[str, ...] = ()) -> Entry | None:
        """Follow names and `like`; facts are merged name by name, everything else is replaced."""
        if value is None or value == NONE:
            return None
        if isinstance(value, str):
            if value in path:
                raise _Fault(f"`{value}` is like itself")
            entries = self.named.get(kind, {})
            if value not in entries:
                raise _Fault(f"there is no `{value}` among the {kind}", _meant(value, entries), kind[:-1])
            return self.resolve(kind, entries[value], known, (*path, value))
        entry = _known(_mapping(value, kind), known)
        _check_facts(entry)
        like = entry.get("like")
        own = {key: item for key, item in entry.items() if key != "like"}
        if like is None:
            return own
        base = self.resolve(kind, like, known, path) if isinstance(like, str) else None
        if base is None:
            raise _Fault("`like` names another entry")
        facts = {**_mapping(base.get("facts", {}), "facts"), **_mapping(own.get("facts", {}), "facts")}
        return {**base, **own, **({"facts": facts} if facts else {})}

    def binding(self, given: Entry, device: Entry | None) -> str:
        """The scenario's word, else the device's key, else the default; without a device nothing can be proven."""
        fallback = NONE if device is None else device.get("key", self.defaults.get("binding", NONE))
        binding = given.get("binding", fallback)
        if binding not in BINDINGS:
            raise _Fault(f"`binding` is one of {', '.join(BINDINGS)}", key="binding")
        return str(binding)

    def request(self, given: Entry) -> Entry:
        defaults = _mapping(self.defaults.get("request", {}), "request")
        request = _known({**defaults, **_mapping(given.get("request"), "request")}, REQUEST)
        url = request.get("url")
        if not isinstance(url, str) or not url.startswith(("https://", "http://")):
            raise _Fault("`request.url` is a whole URL", key="request")
        return request

    def instant(self, given: Entry) -> int:
        at = parse_instant(str(self.value(given, "at", "")))
        if at is None:
            raise _Fault("`at` is an instant with its offset, such as 2026-11-20T10:00:00+09:00", key="at")
        return at


def _expected(value: Plain) -> Entry:
    expect = _known(_mapping(value, "expect"), EXPECT)
    if expect.get("effect") not in EFFECTS:
        raise _Fault(f"`expect.effect` is one of {', '.join(EFFECTS)}")
    for key in ("reasons", "obligations"):
        items = expect.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise _Fault(f"`expect.{key}` is a list of words")
    return expect


def _check_facts(entry: Entry) -> None:
    for name, fact in _mapping(entry.get("facts", {}), "facts").items():
        if isinstance(fact, Mapping):
            try:
                _known(fact, FACT)
            except _Fault as fault:
                raise _Fault(f"fact `{name}`: {fault}", fault.hint, fault.key) from None


def _mapping(value: Plain, what: str) -> Entry:
    if not isinstance(value, Mapping):
        raise _Fault(f"`{what}` is missing or no mapping")
    return value


def _known(entry: Entry, known: frozenset[str]) -> Entry:
    for key in entry:
        if key not in known:
            raise _Fault(f"unknown key `{key}`", _meant(key, known), key)
    return entry


def _meant(word: str, known: Mapping[str, Plain] | frozenset[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(known))}"[:300]
