"""Who issues device certificates: the control plane's own CA, or another one that speaks EST.

The CAs another one publishes are kept on disk: while it cannot be reached nothing is issued, and everything that was
stays known, here and at the sidecars.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import structlog

from zt_engine.adapters.ca_est_client import EstCertificateAuthority, EstSettings
from zt_engine.adapters.ca_keys import Authority as SigningAuthority
from zt_engine.adapters.ca_keys import load_authorities, read_passphrase
from zt_engine.adapters.ca_x509 import X509CertificateAuthority
from zt_engine.adapters.owned_files import UnownedError, read_owned
from zt_engine.config import ControlSettings
from zt_engine.core.errors import ConfigError, Problem, UnavailableError

log = structlog.get_logger()

Authority = X509CertificateAuthority | EstCertificateAuthority

PUBLISHED = "published-elsewhere.pem"
MAX_BYTES = 1 << 20


def open_authority(settings: ControlSettings) -> Authority:
    """Return the authority of the settings, its CAs read; ConfigError with every fault.

    A CA elsewhere that cannot be reached keeps nobody from starting: what it published before counts until it can.
    """
    elsewhere = settings.certificate_authority
    if not elsewhere.url:
        return X509CertificateAuthority(_own(settings))
    authority = EstCertificateAuthority(_est(settings))
    try:
        refresh(settings, authority)
    except UnavailableError as error:
        log.warning("device_ca.unreachable", code=error.code, problem=error.message, where=elsewhere.url)
        held = _remembered(settings)
        if held:
            authority.adopt(held)
    return authority


def refresh(settings: ControlSettings, authority: Authority) -> None:
    """Read the CAs again; what fails (ConfigError, UnavailableError) leaves those of before in use."""
    if isinstance(authority, X509CertificateAuthority):
        authority.replace(_own(settings))
        return
    authority.refresh()
    _remember(settings, authority.authorities())


def _own(settings: ControlSettings) -> Sequence[SigningAuthority]:
    control = settings.control
    passphrase = read_passphrase(settings.path(control.passphrase_file))
    return load_authorities(settings.path(control.device_cas), passphrase=passphrase)


def _est(settings: ControlSettings) -> EstSettings:
    held = settings.certificate_authority
    files = {
        name: None if path is None else settings.path(path)
        for name, path in (
            ("trusted", held.ca_file),
            ("certificate", held.cert_file),
            ("key", held.key_file),
            ("password_file", held.password_file),
        )
    }
    missing = [path for path in files.values() if path is not None and not path.is_file()]
    if missing:
        raise ConfigError(
            tuple(Problem(code="CONFIG_FILE", message="no such file", where=str(path)) for path in missing)
        )
    trusted = files.pop("trusted")
    assert trusted is not None
    return EstSettings(url=held.url, cacerts_url=held.cacerts_url, user=held.user, trusted=trusted, **files)


def _published(settings: ControlSettings) -> Path:
    return settings.path(settings.control.device_cas) / PUBLISHED


def _remember(settings: ControlSettings, pem: bytes) -> None:
    path = _published(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(pem)
    fresh.replace(path)


def _remembered(settings: ControlSettings) -> bytes:
    try:
        return read_owned(_published(settings), limit=MAX_BYTES)[0]
    except (OSError, UnownedError):
        return b""
