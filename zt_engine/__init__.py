"""Zero-trust access policy engine: an authorization sidecar for reverse proxies, and an engine for applications."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Engine"]

if TYPE_CHECKING:
    from zt_engine.bootstrap.embedding import Engine


def __getattr__(name: str) -> Any:
    """Load what is asked for: a command that needs no engine does not wait for one."""
    if name != "Engine":
        raise AttributeError(f"module `zt_engine` has no attribute `{name}`")
    from zt_engine.bootstrap.embedding import Engine  # noqa: PLC0415

    return Engine
