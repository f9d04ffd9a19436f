"""The action that asks: does its answer count, and what holds when it does not come?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zt_engine.doctor.addresses import stays_here
from zt_engine.doctor.directive import Directive
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.haproxy.model import HaproxyConfig, Section, gate, parts
from zt_engine.doctor.names import listed

_STOPS = frozenset({"deny", "reject", "tarpit", "return", "redirect", "silent-drop"})
_REFUSE = "http-request deny deny_status 403 unless { var(txn.zt_ok) -m bool }"
_FALSE = re.compile(r"bool\((?:false|0)\)|int\(0\)|str\((?:false|0|)\)")


def final(config: HaproxyConfig) -> Iterator[Finding]:
    """The rule behind the question. An action with an error in it is skipped, and the request goes on."""
    for section in config.asking:
        rules = section.rules
        for question in config.questions(section):
            after = rules[rules.index(question) + 1 :]
            gates = [(rule, found) for rule in after if rule.first in _STOPS and (found := gate(section, rule))]
            if not gates:
                yield Finding("DOCTOR_FINAL_DENY", question.place, "no rule refuses what was not allowed", _REFUSE)
                continue
            whole = [(rule, found) for rule, found in gates if found[1]]
            rule, (variable, alone, tested) = (whole or gates)[-1]
            if not alone:
                yield Finding("DOCTOR_ROUTE_OPEN", rule.place, "refuses only some of what was not allowed", _REFUSE)
            if not tested:
                detail = f"`-m found` also holds when `{variable}` is false"
                yield Finding("DOCTOR_FINAL_DENY", rule.place, detail, _REFUSE)
            yield from _status(rule)
            yield from _default(config, section, question, variable)
            for other in rules:
                if other.first == "allow":
                    yield Finding("DOCTOR_ROUTE_OPEN", other.place, "`allow` ends the rules before the refusal")
                elif other is rule:
                    break


def _status(rule: Directive) -> Iterator[Finding]:
    done, _, _ = parts(rule)
    status = next((done[at + 1] for at, word in enumerate(done[:-1]) if word in {"deny_status", "status", "code"}), "")
    if rule.first == "redirect" or status[:1] in {"2", "3"} or (rule.first == "return" and not status):
        yield Finding("DOCTOR_STATUS_CHANGED", rule.place, f"`{' '.join(done)}` in place of a refusal", _REFUSE)


def _default(config: HaproxyConfig, section: Section, question: Directive, variable: str) -> Iterator[Finding]:
    """What the variable says before anybody has answered."""
    if variable.partition(".")[0] in {"sess", "proc"}:
        detail = f"`{variable}` outlives the request: an allow holds for the next one"
        yield Finding("DOCTOR_LUA_DEFAULT", question.place, detail, "txn.zt_ok")
        return
    before = section.rules[: section.rules.index(question)]
    for rule in before:
        done, kind, _ = parts(rule)
        if not kind and done and done[0] == f"set-var({variable})" and _FALSE.fullmatch(" ".join(done[1:])):
            return
        if not kind and done == [f"unset-var({variable})"]:
            return
    script = config.script(question)
    if script is not None and script.starts_refused(variable):
        return
    place = question.place
    if script is not None and (found := script.sets(variable)) is not None:
        place = script.place(found.start())
    detail = f"`{variable}` is not made false before the question"
    yield Finding("DOCTOR_LUA_DEFAULT", place, detail, f"http-request set-var({variable}) bool(false)")


def script(config: HaproxyConfig) -> Iterator[Finding]:
    """How the Lua file asks."""
    asking = [item for section in config.asking for rule in config.questions(section) if (item := config.script(rule))]
    for item in {id(item): item for item in asking}.values():
        asks = item.asks
        if asks is not None and re.search(r"\btimeout\b", item.text) is None:
            detail = "the question has no `timeout`"
            yield Finding("DOCTOR_TIMEOUT", item.place(asks.start()), detail, "timeout = 500")
        if re.search(r"\b200\b", item.text) is None:
            place = item.place(asks.start() if asks is not None else 0)
            yield Finding("DOCTOR_LUA_DEFAULT", place, "nothing compares the status with 200")
        for scheme, address, place in item.addresses:
            if scheme != "https" and not stays_here(address):
                yield Finding("DOCTOR_HOOK_PLAINTEXT", place, f"asked over plain HTTP at {address}")
    for section in config.sections:
        for line in section.of("server") if section.name in config.asked else ():
            address = "".join(line.args[1:2])
            if "ssl" not in line.args and not stays_here(address):
                yield Finding("DOCTOR_HOOK_PLAINTEXT", line.place, f"asked over plain HTTP at {address}")


def exposed(config: HaproxyConfig) -> Iterator[Finding]:
    """Ways of clients to the sidecar, and to HAProxy's own administration."""
    asked = {address for item in config.scripts if item.asks for _, address, _ in item.addresses}
    for section in config.entrances:
        for line in section.backends:
            servers = [
                "".join(server.args[1:2])
                for item in config.backends.get(line.first, ())
                for server in item.of("server")
            ]
            if line.first in config.asked or asked.intersection(servers):
                yield Finding("DOCTOR_HOOK_EXPOSED", line.place, f"`{line.first}` is the sidecar")
    for line in config.globals:
        if line.name == "stats" and line.first == "socket" and not stays_here("".join(line.args[1:2])):
            yield Finding("DOCTOR_ADMIN_EXPOSED", line.place, f"`stats socket {line.args[1] if line.args[1:] else ''}`")
    for section in config.sections:
        stats = [line for line in section.lines if line.name == "stats"]
        binds = [line.first for line in section.lines if line.name == "bind"]
        shown = [line for line in stats if line.first in {"enable", "uri", "admin"}]
        if shown and not any(line.first == "auth" for line in stats) and not all(stays_here(item) for item in binds):
            yield Finding("DOCTOR_ADMIN_EXPOSED", shown[0].place, "statistics without `stats auth`")


def waits(config: HaproxyConfig) -> Iterator[Finding]:
    """A client that says nothing and is waited for."""
    for section in config.asking:
        if section.kind == "backend":
            continue
        have = {line.first for line in section.of("timeout")}
        wrong = [f"timeout {name}" for name in ("client", "http-request") if name not in have]
        if wrong:
            yield Finding("DOCTOR_TIMEOUT", section.place, f"not set: {listed(wrong)}", "timeout http-request 10s")


RULES = (final, script, exposed, waits)
