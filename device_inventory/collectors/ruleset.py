"""What a packet filter does with a connection nobody asked for: pure, from what `nft` and `iptables-save` print.

Only rules without a condition decide that. A rule for one port, one network or one interface is an exception, and an
exception says nothing about the default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from device_inventory.collectors.unseen import broken

Inbound = Literal["drop", "reject", "allow"]

_ORDER: Final[tuple[Inbound, ...]] = ("drop", "reject", "allow")  # best first, as the catalogue has it
_FAMILIES: Final = {"ip": ("ip", "inet"), "ip6": ("ip6", "inet")}
_SILENT: Final = frozenset({"counter", "log", "comment", "notrack", "quota"})
_DEPTH: Final = 16
_Chains = Mapping[tuple[str, str, str], Sequence[Sequence[Mapping[str, Any]]]]


def worst(found: Iterable[Inbound]) -> Inbound:
    """IPv4 that drops is no help when IPv6 accepts."""
    return max(found, key=_ORDER.index)


def nft_inbound(text: str, family: Literal["ip", "ip6"]) -> Inbound:
    """Judge `nft -j list ruleset` for one family of addresses; NotObserved `error` when it makes no sense."""
    try:
        items = json.loads(text)["nftables"]
        chains = [item["chain"] for item in items if "chain" in item]
        rules: dict[tuple[str, str, str], list[Sequence[Mapping[str, Any]]]] = {}
        for item in items:
            if "rule" in item:
                rule = item["rule"]
                rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule["expr"])
        found: list[Inbound] = [
            _chain(rules, (chain["family"], chain["table"], chain["name"]), chain.get("policy", "accept"))
            for chain in chains
            if chain.get("hook") == "input" and chain["family"] in _FAMILIES[family]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise broken("the answer of `nft` is malformed") from None
    # A packet has to pass every chain, so the strictest of them decides.
    return min(found, key=_ORDER.index, default="allow")


def _chain(rules: _Chains, name: tuple[str, str, str], policy: str) -> Inbound:
    verdict = _walk(rules, name, 0) or policy
    return "drop" if verdict == "drop" else "reject" if verdict == "reject" else "allow"


def _walk(rules: _Chains, name: tuple[str, str, str], depth: int) -> str | None:
    """The verdict on a packet that meets no condition; None when the chain hands it back."""
    if depth > _DEPTH:
        raise ValueError("chains without an end")
    for expression in rules.get(name, ()):
        for statement in expression:
            (word, value), *_ = statement.items()
            if word in _SILENT:
                continue
            if word in ("accept", "drop", "reject"):
                return word
            if word == "return":
                return None
            if word in ("jump", "goto"):
                verdict = _walk(rules, (*name[:2], value["target"]), depth + 1)
                if verdict is not None or word == "goto":
                    return verdict
            break  # a condition, or something that is no verdict
    return None


def iptables_inbound(text: str) -> Inbound:
    """Judge what `iptables-save -t filter` prints."""
    policies: dict[str, str] = {}
    rules: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        words = line.split()
        if line.startswith(":") and len(words) >= 2:
            policies[words[0][1:]] = words[1]
        elif line.startswith("-A ") and len(words) >= 2:
            rules.setdefault(words[1], []).append(words[2:])
    if "INPUT" not in policies:
        raise broken("the answer of `iptables-save` is malformed")
    verdict = _follow(rules, "INPUT", 0) or policies["INPUT"]
    return "drop" if verdict == "DROP" else "reject" if verdict == "REJECT" else "allow"


def _follow(rules: Mapping[str, list[list[str]]], chain: str, depth: int) -> str | None:
    if depth > _DEPTH:
        raise broken("the chains of `iptables-save` have no end")
    for words in rules.get(chain, ()):
        # Without a condition a rule begins with its target.
        if len(words) < 2 or words[0] not in ("-j", "-g"):
            continue
        target = words[1]
        if target in ("ACCEPT", "DROP", "REJECT"):
            return target
        if target == "RETURN":
            return None
        if target in rules:
            verdict = _follow(rules, target, depth + 1)
            if verdict is not None or words[0] == "-g":
                return verdict
    return None
