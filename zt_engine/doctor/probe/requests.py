"""The requests, byte for byte. All of them only read, and none carries a credential: nothing may pass."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from zt_engine.doctor.probe.target import Target

NOBODY = "/zt-doctor-nothing-here"
"""A path that no hook has: what answers here is no hook."""

HOOKS = (
    "/v1/hooks/nginx", "/v1/hooks/traefik", "/v1/hooks/caddy", "/v1/hooks/envoy", "/v1/hooks/haproxy",
    "/v1/pages/denied", "/_zt", "/_zt/auth", "/_zt/denied", "/metrics", "/readyz",
)  # fmt: skip
IDENTITIES = ("Zt-Subject", "Zt_Subject", "Zt.Subject", "ZT-SUBJECT", "Zt-Decision", "Zt_Decision", "Zt-Trust")
"""Names under which a backend could believe a client, with what some servers fold onto them."""

PLACES = (
    "X-Original-URI", "X-Original-URL", "X-Forwarded-Uri", "X_Forwarded_Uri", "X.Forwarded.Uri", "X-Rewrite-URL",
    "X-Forwarded-Path", "X-Envoy-Original-Path", "X-Forwarded-Prefix",
)  # fmt: skip
"""Names under which a hook could believe that a public path is asked for."""

OTHERS = (
    "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1;host=localhost;proto=https",
    "X-Forwarded-Host: localhost", "X-Forwarded-Method: OPTIONS", "X-HTTP-Method-Override: OPTIONS",
    "Zt-Client-Verify: SUCCESS", "X-Forwarded-Client-Cert: By=a;Subject=b", "X-Envoy-Internal: true",
    "X-Envoy-Auth-Failure-Mode-Allowed: true", "User-Agent: kube-probe/1.30", "User-Agent: ELB-HealthChecker/2.0",
    "User-Agent: GoogleHC/1.0", "Connection: close, Zt-Subject, Authorization", "Upgrade: websocket",
    "Authorization: Bearer a\r\nAuthorization: Bearer b", "Cookie: session=%00",
)  # fmt: skip


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and the code of the finding if it passes."""

    code: str
    says: str
    raw: bytes
    path: str = ""
    """The path that is meant: a redirect to it has tidied up and let nobody through."""


def baseline(target: Target) -> Probe:
    """The protected path, asked for plainly."""
    return _probe("PROBE_OPEN", target, target.protected)


def control(target: Target) -> Probe:
    """A path where nothing is."""
    return _probe("", target, NOBODY)


def nothing(target: Target) -> Probe:
    """A name in the public folder that is not there: some applications answer all of them alike."""
    return _probe("", target, f"{target.public.rstrip('/')}/zt-doctor")


def hooks(target: Target) -> Iterator[Probe]:
    """Where a hook could be reached."""
    for path in HOOKS:
        yield _probe("PROBE_HOOK_REACHABLE", target, path)


def twins(target: Target) -> Probe:
    """Two hosts."""
    return _probe("PROBE_HOST_PASSED", target, target.protected, "Host: zt-doctor.invalid")


def stranger(target: Target) -> Probe:
    """A host that nobody serves."""
    return _probe("PROBE_HOST_PASSED", target, target.protected, host="zt-doctor.invalid")


def attempts(target: Target) -> Iterator[Probe]:
    """Every way past a decision that can be seen from outside."""
    yield from _paths(target)
    for name in IDENTITIES:
        yield _probe("PROBE_HEADER_PASSED", target, target.protected, f"{name}: zt-doctor")
    for name in PLACES:
        yield _probe("PROBE_HEADER_PASSED", target, target.protected, f"{name}: {target.public}")
    for line in OTHERS:
        yield _probe("PROBE_HEADER_PASSED", target, target.protected, line)
    yield _probe("PROBE_HOST_PASSED", target, f"http://zt-doctor.invalid{target.protected}")
    for method in ("HEAD", "get", "OPTIONS", "TRACE"):
        yield _probe("PROBE_METHOD_PASSED", target, target.protected, method=method)
    preflight = "Origin: https://zt-doctor.invalid\r\nAccess-Control-Request-Method: GET"
    yield _probe("PROBE_METHOD_PASSED", target, target.protected, preflight, method="OPTIONS")


def _paths(target: Target) -> Iterator[Probe]:
    public = target.public.rstrip("/")
    rest = target.protected.lstrip("/")
    first = f"%{ord(rest[0]):02x}{rest[1:]}" if rest else "%2e"
    base = f"{public}/zt-doctor"
    forms = (
        f"/{target.protected}", f"/.{target.protected}", f"/{first}", f"/%2f{rest}", f"/%5c{rest}",
        f"{base}/..{'/..' * public.count('/')}/{rest}", f"{base}/%2e%2e{'/%2e%2e' * public.count('/')}/{rest}",
        f"{base}/..%2f{'..%2f' * public.count('/')}{rest}", f"{base}/..;/{rest}", f"{base}/..\\{rest}",
        f"{base}/%252e%252e/{rest}", f"{base}/..%c0%af{rest}", f"{target.protected};a=b", f"{target.protected}%00",
        f"{target.protected}%20", f"{target.protected}/.", f"{target.protected}#a", f"{target.protected}%23a",
        f"{target.protected}%3f", f"{base}#/../../{rest}", target.protected.upper(),
    )  # fmt: skip
    for form in dict.fromkeys(forms):
        if form != target.protected:
            yield _probe("PROBE_PATH_PASSED", target, form)


def _probe(code: str, target: Target, path: str, more: str = "", *, method: str = "GET", host: str = "") -> Probe:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or target.host}"]
    named = more.lower()
    if more:
        lines.append(more)
    if not named.startswith("user-agent"):
        lines.append("User-Agent: zt-doctor")
    lines.append("Accept: application/problem+json")
    if not named.startswith("connection"):
        lines.append("Connection: Upgrade" if named.startswith("upgrade") else "Connection: close")
    says = f"{method} {path}" + (f" with `{more.splitlines()[0]}`" if more else "") + (f" of `{host}`" if host else "")
    raw = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return Probe(code=code, says=says, raw=raw, path=target.protected)
