"""Reading `signals.yaml`: which signals tighten what by themselves, every fault at once, each with file and line.

A rule can only tighten (the effects are those of overlays), and never for longer than its `ttl` without the control
plane. One source's word does not close everything to everybody: a rule about the tenant or a service is no risk, and
neither denies, lowers a ceiling, nor asks for so much that hardly anybody has it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, get_args

from zt_engine.adapters.yaml_fields import Faults, Fields
from zt_engine.adapters.yaml_strict import YamlMap, YamlNode, YamlScalar, read_yaml
from zt_engine.core.effect_names import EffectNames
from zt_engine.core.signals import CLOSING, LEVELS, MIN_DWELL, MIN_HOLD, Risk, Rule, Rules, ScopeKind, Switch
from zt_engine.core.situation import Effect
from zt_engine.core.situation_words import parse_effect

MAX_RULES: Final = 100
MAX_EFFECTS: Final = 4
MAX_NUMBER: Final = 1_000_000
MAX_SAMPLES: Final = 20
LONGEST: Final = 72 * 3600
_SHORTEST_TTL: Final = 600
_SCOPES: Final[tuple[ScopeKind, ...]] = get_args(ScopeKind)
_WIDE: Final = ("tenant", "service")
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WIDE_PLUS: Final = 20
"""How much more trust may be asked of everybody: what a medium risk costs. Labels ask for 100 points at most."""
_WIDE_AGE: Final = 3_600
"""How fresh reports of everybody's devices may have to be at most: some go by unheard, and sleep takes longer."""
_BY_HAND: Final = "ask for more instead (acr, threshold up to +20, obligation), or declare it by hand"
_DURATION: Final = re.compile(r"([1-9][0-9]{0,3})([smh])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_HINT: Final = "docs/situation.md shows what each key may hold"
_WHOM: Final = f"it says whom it is about: {', '.join(_SCOPES)}"
_COMMON: Final = ("id", "signal", "scope", "dwell", "hold", "ttl", "severity")
_SWITCH: Final = frozenset({*_COMMON, "enter", "exit", "samples", "effects"})
_RISK: Final = frozenset({*_COMMON, "gate"})


def load_signals(text: str | bytes, *, where: str, names: EffectNames | None = None) -> Rules:
    """Return the rules of a file; ConfigError SIGNALS_* and YAML_* with every fault.

    `names` are those that released policies know; None: nothing is released, and none is looked up.
    """
    root = read_yaml(text, where=where)
    faults = Faults(where, "SIGNALS")
    top = Fields(root, "signals.yaml", {"switches", "risks"}, faults)
    switches, risks = (_maps(top, key, faults) for key in ("switches", "risks"))
    rules: list[Rule] = [_switch(node, faults, names) for node in switches]
    rules += [_risk(node, faults, names) for node in risks]
    seen: set[str] = set()
    for node, rule in sorted(zip((*switches, *risks), rules, strict=True), key=lambda pair: pair[0].line):
        if rule.id and rule.id in seen:
            faults.add("_DUPLICATE", f"there are two rules `{rule.id}`", node.lines.get("id", node.line))
        seen.add(rule.id)
    if len(rules) > MAX_RULES:
        faults.add("_VALUE", f"there are {len(rules)} rules; at most {MAX_RULES} are read", root.line)
    faults.problems = [one if one.hint else replace(one, hint=_HINT) for one in faults.problems]
    faults.raise_if_any()
    return Rules(rules)


def _maps(top: Fields, key: str, faults: Faults) -> Sequence[YamlMap]:
    found: list[YamlMap] = []
    for node in top.sequence(key):
        if isinstance(node, YamlMap):
            found.append(node)
        else:
            faults.add("_VALUE", f"an entry of `{key}` is no mapping", node.line)
    return found


class _Common:
    """What both kinds of rules have."""

    def __init__(self, node: YamlMap, known: frozenset[str], faults: Faults, names: EffectNames | None) -> None:
        self._names = names
        self.fields = fields = Fields(node, "rule", known, faults)
        self._faults = faults
        for key, why in (("id", "it begins the ids of its overlays"), ("signal", "it is about one"), ("scope", _WHOM)):
            fields.require(key, why)
        self.id = fields.text("id", _ID, "small letters, digits and `-`, 40 at most") or ""
        self.signal = fields.text("signal", _KIND, "small letters, digits and `_`") or ""
        scope = fields.text("scope", re.compile("|".join(_SCOPES)), f"one of {', '.join(_SCOPES)}")
        self.scope: ScopeKind = next((one for one in _SCOPES if one == scope), "subject")
        self.severity = fields.text("severity") or ""
        self.dwell = self._seconds("dwell", MIN_DWELL, MIN_DWELL)
        self.hold = self._seconds("hold", MIN_HOLD, MIN_HOLD)

    def ttl(self, default: int) -> int:
        return self._seconds("ttl", default, _SHORTEST_TTL)

    def effects(self, key: str) -> tuple[str, ...]:
        """Read effects of overlays, those that one source's word may have on so many."""
        self.fields.require(key, "a rule without any does nothing")
        found = self.fields.texts(key)
        line = self.fields.line_of(key)
        if len(found) > MAX_EFFECTS:
            self._faults.add("_VALUE", f"`{key}` has more than {MAX_EFFECTS} entries", line)
        for text in found:
            effect = parse_effect(text)
            if effect is None:
                hint = "deny, ceiling:R, threshold:+N, acr:L, report_age:SECONDS or obligation:ID"
                self._faults.add("_VALUE", f"`{text[:80]}` is no effect", line, hint)
            elif self.scope in _WIDE and _shuts_out(effect):
                self.wide(text, line)
            if effect is not None and self._names is not None and (instead := self._names.unknown(effect)) is not None:
                what = f"no released policy knows the {effect.kind} `{effect.name[:80]}`"
                self._faults.add("_NAME", what, line, instead)
        return found

    def wide(self, what: str, line: int) -> None:
        """Report what would be in the hands of one source."""
        text = f"`{what[:80]}` for `{self.scope}`: one source would close it to everybody"
        self._faults.add("_WIDE", text, line, _BY_HAND)

    def _seconds(self, key: str, default: int, least: int) -> int:
        if not self.fields.has(key):
            return default
        text = self.fields.text(key, _DURATION, "a length of time such as 15m or 4h")
        match = _DURATION.fullmatch(text or "")
        if match is None:
            return default
        seconds = int(match[1]) * _SECONDS[match[2]]
        if not least <= seconds <= LONGEST:
            self.fields.wrong(key, f"from {least // 60}m to {LONGEST // 3600}h")
        return seconds


def _switch(node: YamlMap, faults: Faults, names: EffectNames | None) -> Switch:
    common = _Common(node, _SWITCH, faults, names)
    fields = common.fields
    for key in ("enter", "exit"):
        fields.require(key, "what goes up and down around one number would fire again and again")
    levels = _is_word(fields.node("enter"))
    enter, exit_ = (_threshold(fields, key, levels=levels) for key in ("enter", "exit"))
    if fields.has("enter") and fields.has("exit") and exit_ >= enter:
        faults.add("_VALUE", "`exit` is not below `enter`", fields.line_of("exit"))
    return Switch(
        id=common.id,
        signal=common.signal,
        scope=common.scope,
        enter=enter,
        exit=exit_,
        levels=levels,
        effects=common.effects("effects"),
        samples=fields.integer("samples", 1, MAX_SAMPLES) or 1,
        dwell=common.dwell,
        hold=common.hold,
        ttl=common.ttl(3_600),
        severity=common.severity,
    )


def _risk(node: YamlMap, faults: Faults, names: EffectNames | None) -> Risk:
    common = _Common(node, _RISK, faults, names)
    if common.scope in _WIDE:
        common.wide("risks", common.fields.line_of("scope"))  # a high one asks for 60 points more
    return Risk(
        id=common.id,
        signal=common.signal,
        scope=common.scope,
        gate=common.effects("gate"),
        dwell=common.dwell,
        hold=common.hold,
        ttl=common.ttl(86_400),
        severity=common.severity,
    )


def _shuts_out(effect: Effect) -> bool:
    return (
        effect.kind in CLOSING
        or (effect.kind == "threshold" and effect.number > _WIDE_PLUS)
        or (effect.kind == "report_age" and effect.number < _WIDE_AGE)
    )


def _is_word(node: YamlNode | None) -> bool:
    return isinstance(node, YamlScalar) and isinstance(node.value, str)


def _threshold(fields: Fields, key: str, *, levels: bool) -> int:
    if not levels:
        return fields.integer(key, 0, MAX_NUMBER) or 0
    word = fields.text(key, re.compile("|".join(LEVELS)), f"one of {', '.join(LEVELS)}, as `enter` is a level")
    return next((rank for rank, level in enumerate(LEVELS) if level == word), 0)
