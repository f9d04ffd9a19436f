"""Is everybody asked about, does a refusal stay one, and who is listening in?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zt_engine.doctor.addresses import stays_here, trusts_everybody
from zt_engine.doctor.finding import Finding
from zt_engine.doctor.names import BROWSER_PATH, HOOK_PATH
from zt_engine.doctor.traefik.model import Router, TraefikConfig

_HOSTS = re.compile(r"\((?:Host\(`[^`]*`\)(?: \|\| )?)+\)")


def routers(config: TraefikConfig) -> Iterator[Finding]:
    """Routers that ask nobody, and routers to the sidecar itself."""
    for router in config.routers:
        if router.redirects:
            continue
        to_sidecar = config.sidecars.intersection(router.services)
        if to_sidecar and not _authzen(router.node.get("rule").text):
            place = router.node.get("service").place
            yield Finding(
                "DOCTOR_HOOK_EXPOSED", place, f"router `{router.name}` leads to {', '.join(sorted(to_sidecar))}"
            )
        elif HOOK_PATH in router.node.get("rule").text:
            yield Finding("DOCTOR_HOOK_EXPOSED", router.node.place, f"router `{router.name}` matches `{HOOK_PATH}`")
        elif router.question is None and not to_sidecar and not _signs_in(config, router):
            detail = f"router `{router.name}` has no `forwardAuth`"
            if router.unknown:
                detail += f"; `{router.unknown[0]}` is not in these files"
            code = "DOCTOR_ROUTE_OPEN" if config.protected else "DOCTOR_NO_HOOK"
            yield Finding(code, router.node.place, detail)


def _signs_in(config: TraefikConfig, router: Router) -> bool:
    """Whether a router is the one where people sign in, which leads to nothing behind a question."""
    rule = _HOSTS.sub("", router.node.get("rule").text)
    behind = {address for other in config.protected for address in other.services}
    return (
        "||" not in rule
        and f"PathPrefix(`{BROWSER_PATH}`)" in rule.split(" && ")
        and behind.isdisjoint(router.services)
    )


def _authzen(rule: str) -> bool:
    return "/access/" in rule or "/.well-known/" in rule


def refusals(config: TraefikConfig) -> Iterator[Finding]:
    """What becomes of a refusal."""
    for question in config.questions:
        address = question.get("authSigninURL")
        if address.present:
            detail = f"`authSigninURL` turns a 401 into a redirect to {address.text}"
            yield Finding("DOCTOR_STATUS_CHANGED", address.place, detail)
    for router in config.protected:
        for item in router.before:
            for status, value in item.get("errors", "statusRewrites").pairs:
                if _covers_refusal(status) and value.text not in {"401", "403"}:
                    detail = f"`statusRewrites` makes {status} a {value.text}"
                    yield Finding("DOCTOR_STATUS_CHANGED", value.place, detail)


def _covers_refusal(status: str) -> bool:
    low, _, high = status.partition("-")
    if not low.isdigit() or (high and not high.isdigit()):
        return False
    return any(int(low[:4]) <= code <= int((high or low)[:4]) for code in (401, 403))


def trusted(config: TraefikConfig) -> Iterator[Finding]:
    """A client that names its own address, host or path."""
    for name, entry in config.entries:
        for kind in ("forwardedHeaders", "proxyProtocol"):
            insecure = entry.get(kind, "insecure")
            if insecure.true:
                yield Finding("DOCTOR_FORWARDED_TRUSTED", insecure.place, f"`{kind}.insecure` of entry point `{name}`")
            networks = entry.get(kind, "trustedIPs")
            wide = [network for network in networks.texts if trusts_everybody(network)]
            if wide:
                yield Finding("DOCTOR_FORWARDED_TRUSTED", networks.place, f"{wide[0]} is everybody")


def listeners(config: TraefikConfig) -> Iterator[Finding]:
    """Tokens in plain text on a network."""
    for router in config.protected:
        if router.node.get("tls").present or _has_key(router.node, "tls"):
            continue
        for entry in router.entry_points:
            address = entry.get("address")
            encrypted = _has_key(entry.get("http"), "tls") or entry.get("http", "redirections").present
            if not encrypted and not stays_here(address.text):
                detail = f"router `{router.name}` has no `tls` at {address.text}"
                yield Finding("DOCTOR_PLAINTEXT", address.place, detail)
    for question in config.questions:
        address = question.get("address")
        if address.text.startswith("http://") and not stays_here(address.text):
            yield Finding("DOCTOR_HOOK_PLAINTEXT", address.place, f"{address.text} is asked over plain HTTP")
        skip = question.get("tls", "insecureSkipVerify")
        if skip.true:
            yield Finding("DOCTOR_HOOK_PLAINTEXT", skip.place, "`insecureSkipVerify` asks whoever answers")
        if not address.present:
            yield Finding("DOCTOR_HOOK_MISSING", question.place, "`forwardAuth` without `address`")


def _has_key(node: object, name: str) -> bool:
    """Whether a key is there, also without a value: `tls: {}`."""
    return any(key.lower() == name for key, _ in getattr(node, "pairs", ()))


def administration(config: TraefikConfig) -> Iterator[Finding]:
    """Traefik's own interface, open to everybody."""
    for root in config.roots:
        insecure = root.get("api", "insecure")
        address = config.entry_points.get("traefik")
        if insecure.true and (address is None or not stays_here(address.get("address").text)):
            yield Finding("DOCTOR_ADMIN_EXPOSED", insecure.place, "`api.insecure`", "insecure: false")


def waits(config: TraefikConfig) -> Iterator[Finding]:
    """A client that says nothing and is waited for. The question itself has 30 s in Traefik, fixed."""
    for name, entry in config.entries:
        limit = entry.get("transport", "respondingTimeouts", "readTimeout")
        if limit.text in {"0", "0s"}:
            yield Finding("DOCTOR_TIMEOUT", limit.place, f"entry point `{name}` waits for ever", "readTimeout: 60s")


RULES = (routers, refusals, trusted, listeners, administration, waits)
