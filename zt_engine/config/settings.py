"""The whole file, as a sidecar and as a control plane reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, field_validator

from zt_engine.config.authzen import Authzen
from zt_engine.config.control import Administrators, CertificateAuthority, Control, Enrollment, SignIn
from zt_engine.config.publishing import Publishing
from zt_engine.config.rego import Rego
from zt_engine.config.section import Section
from zt_engine.config.sidecar import Assertion, ControlPlane, Issuer, Limits, Log, Policy, Proxy, Sidecar


class Settings(Section):
    """The whole file."""

    sidecar: Sidecar = Sidecar()
    limits: Limits = Limits()
    proxies: Annotated[tuple[Proxy, ...], Field(min_length=1)]
    issuers: tuple[Issuer, ...] = ()
    policy: Policy = Policy()
    log: Log = Log()
    assertion: Assertion = Assertion()
    control_plane: ControlPlane = ControlPlane()
    control: Control = Control()
    certificate_authority: CertificateAuthority = CertificateAuthority()
    enrollment: Enrollment = Enrollment()
    sign_in: SignIn = SignIn()
    administrators: Administrators = Administrators()
    publishing: Publishing = Publishing()
    authzen: Authzen = Authzen()
    rego: Rego = Rego()
    base: Path = Path()
    """The folder of the file; relative paths start here. Not a setting."""

    @field_validator("proxies")
    @classmethod
    def _distinct(cls, proxies: tuple[Proxy, ...]) -> tuple[Proxy, ...]:
        names = [proxy.name for proxy in proxies]
        if len(set(names)) != len(names):
            raise ValueError("two proxies have the same name")
        return proxies

    def path(self, relative: Path) -> Path:
        """Return a path of the file as a path of this process."""
        return relative if relative.is_absolute() else self.base / relative


SettingsT = TypeVar("SettingsT", bound=Settings)


class ControlSettings(Settings):
    """The same file as a control plane reads it: a machine that runs nothing else has no proxies."""

    proxies: tuple[Proxy, ...] = ()

    @property
    def database_url(self) -> str:
        """The database, with the path of a file made absolute."""
        kind, marker, path = self.control.database.partition("sqlite:///")
        if kind or not marker or not path or path.startswith("/"):
            return self.control.database
        return f"sqlite:///{self.path(Path(path))}"
