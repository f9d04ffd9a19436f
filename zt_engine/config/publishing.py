"""The section of whoever publishes policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from zt_engine.config.section import Name, Section


class ServiceOwner(Section):
    """Who answers for one service, and may publish its layer and its part of the catalogue and nothing else."""

    service: Name
    keys: Annotated[tuple[Path, ...], Field(min_length=1)]
    """SSH public keys that sign the owner's commits."""


class Publishing(Section):
    """How this machine publishes policy, `zt policy publish` and `zt policy watch`; no sidecar reads it."""

    key_file: Path | None = None
    """The private bundle key (PEM); its name without `.pem` is its id. The control plane never has it."""
    admin_key_file: Path = Path("keys/admin.key")
    """How the publisher is known to the control plane."""
    url: str = ""
    """The control plane; by default the one of `[control]`."""
    ca_file: Path | None = None
    import_keys: tuple[Path, ...] = ()
    """Public bundle keys of other sites whose releases `zt bundle import` takes; a key's id is as in `policy.keys`."""
    author: str = ""
    days: Annotated[int, Field(ge=1, le=366)] = 30
    """How long a release holds; `zt policy watch` renews one when a third of it is left."""
    folder: Path | None = None
    """The pack that `zt policy watch` follows; or `repository`."""
    repository: Path | None = None
    """A git repository, bare or with a working tree; only what is committed counts."""
    ref: Annotated[str, Field(pattern=r"^refs/[A-Za-z0-9][A-Za-z0-9._/-]{0,200}$")] = "refs/heads/main"
    pack: str = ""
    """The pack's folder in the repository; with `lib` and `schemas` beside it."""
    state: Path = Path("state/publishing")
    """What was published last, so that a rewritten branch is noticed."""
    poll_seconds: Annotated[int, Field(ge=1, le=3600)] = 5
    owners: tuple[ServiceOwner, ...] = ()
    maintainers: tuple[Path, ...] = ()
    """SSH public keys that sign every other commit, where there are `owners`."""

    @model_validator(mode="after")
    def _is_whole(self) -> Publishing:
        if self.folder is not None and self.repository is not None:
            raise ValueError("`folder` or `repository`, not both")
        if self.owners and self.repository is None:
            raise ValueError("`owners` are known by the commits of a `repository`")
        if bool(self.owners) != bool(self.maintainers):
            raise ValueError("`owners` and `maintainers` go together: every commit is somebody's")
        if ".." in Path(self.pack).parts or Path(self.pack).is_absolute():
            raise ValueError("`pack` is a folder inside the repository")
        return self
