"""Where the rules come from that proxies name in `rego`."""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from zt_engine.config.section import Section


class Rego(Section):
    """The policy of proxies with `rego`: a bundle that runs in this process, or a running OPA that holds it."""

    bundle: Path = Path("rego.tar.gz")
    """What `zt authzen build` makes, signed with a key of `policy.keys`."""
    opa_url: str = ""
    """Instead of the bundle: `http://127.0.0.1:8181`, `unix:///run/opa.sock` or an https URL."""
    opa_revision: str = ""
    """The revision of the bundle that OPA answers from; what it says by any other is refused."""

    @model_validator(mode="after")
    def _opa_is_pinned(self) -> Rego:
        if bool(self.opa_url) != bool(self.opa_revision):
            raise ValueError("`opa_url` and `opa_revision` belong together")
        return self
