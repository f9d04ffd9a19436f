"""What the settings say of AuthZEN callers and of the TLS they are met with, read from files and checked."""

from __future__ import annotations

import ssl

from zt_engine.bootstrap.identity import secret_file
from zt_engine.config import Settings
from zt_engine.config.authzen import AuthzenPep
from zt_engine.core.errors import ConfigError, Problem
from zt_engine.sidecar.authzen.peps import Pep
from zt_engine.sidecar.hooks.credentials import key_digest


def authzen_callers(settings: Settings) -> tuple[Pep, ...]:
    """Return every caller; raises ConfigError for faulty key files, and for a key or certificate of two."""
    found: list[Pep] = []
    problems: list[Problem] = []
    for caller in settings.authzen.peps:
        try:
            found.append(_caller(settings, caller))
        except ConfigError as error:
            problems += error.problems
    for number, one in enumerate(found):
        for other in found[:number]:
            same = set(one.key_digests) & set(other.key_digests)
            if same or (one.certificate and one.certificate == other.certificate):
                what = "key" if same else "certificate"
                message = f"`{other.name}` and `{one.name}` share one {what}"
                problems.append(Problem(code="PROXY_PROOF_SHARED", message=message, where="authzen.peps"))
    if problems:
        raise ConfigError(tuple(problems))
    return tuple(found)


def _caller(settings: Settings, caller: AuthzenPep) -> Pep:
    files = [path for path in (caller.key_file, caller.previous_key_file) if path is not None]
    return Pep(
        name=caller.name,
        proof="mtls" if caller.certificate else "key",
        key_digests=tuple(key_digest(secret_file(settings.path(path))) for path in files),
        certificate=caller.certificate,
        hosts=frozenset(caller.hosts),
        services=frozenset(caller.services),
        types=frozenset(caller.types),
        subject_types=frozenset(caller.subject_types),
        amr=frozenset(caller.amr),
        acr=frozenset(caller.acr),
        statements=frozenset(caller.statements),
        channel=caller.channel,
        enforces=tuple(caller.enforces),
        context=caller.context,
        searches=caller.searches,
    )


def authzen_tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS of the listener, None where it has none; raises ConfigError CONFIG_FILE, CONFIG_TLS."""
    wanted = settings.authzen
    if wanted.certificate_file is None or wanted.certificate_key_file is None:
        return None
    secret_file(settings.path(wanted.certificate_key_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.path(wanted.certificate_file), settings.path(wanted.certificate_key_file))
        if wanted.client_ca_file is not None:
            # INVARIANT: a handshake without a certificate of a caller ends here.
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(settings.path(wanted.client_ca_file))
    except OSError as error:  # ssl.SSLError is one
        hint = "PEM files, and `certificate_key_file` belongs to the first certificate of `certificate_file`"
        problem = Problem(code="CONFIG_TLS", message=str(error), where="authzen.certificate_file", hint=hint)
        raise ConfigError((problem,)) from None
    return context
