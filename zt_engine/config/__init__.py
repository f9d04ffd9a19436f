"""Settings: one TOML file, read once, every fault at once, into frozen values. Secrets are file paths.

The environment may override a setting as `ZT_<SECTION>__<KEY>`; a `ZT_` name that is no setting is refused, because a
misspelt setting must not mean its default.
"""

from zt_engine.config.addresses import UNIX, Address, check_plane_url, parse_listen
from zt_engine.config.control import Control
from zt_engine.config.reading import CONFIG_NAME, load, load_control
from zt_engine.config.section import Section
from zt_engine.config.settings import ControlSettings, Settings
from zt_engine.config.sidecar import Issuer, Policy, Proxy, Sidecar

__all__ = [
    "CONFIG_NAME",
    "UNIX",
    "Address",
    "Control",
    "ControlSettings",
    "Issuer",
    "Policy",
    "Proxy",
    "Section",
    "Settings",
    "Sidecar",
    "check_plane_url",
    "load",
    "load_control",
    "parse_listen",
]
