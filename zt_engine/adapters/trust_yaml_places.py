"""The `locations` and `hours` of a trust file: listed networks, and the hours in which work is expected."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from zt_engine.adapters.trust_yaml_reader import TrustReader
from zt_engine.adapters.yaml_strict import YamlNode
from zt_engine.core.trust_model import FULL, UNLISTED, Network, Window

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ID: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])")
_OFFSET: Final = re.compile(r"([+-])(0[0-9]|1[0-4]):([0-5][0-9])")

Networks = dict[tuple[int, int], dict[int, str]]


def read_locations(reader: TrustReader, node: YamlNode) -> tuple[Mapping[str, int], tuple[Network, ...]]:
    """`[{id, networks: [...], value?}]` -> goodness by location id, and the networks, longest prefix first."""
    values: dict[str, int] = {}
    found: Networks = {}
    for item in reader.items(node, "locations"):
        members = reader.members(item, "location", required=("id", "networks"), optional=("value",))
        if not {"id", "networks"} <= members.keys():
            continue
        name = reader.text(members["id"], "id")
        if not _ID.fullmatch(name) or name == UNLISTED:
            reader.report(
                "TRUST_VALUE", members["id"].line, f"`{name}` is no location id: lower case, and not `{UNLISTED}`"
            )
        elif name in values:
            reader.report("TRUST_DUPLICATE", members["id"].line, f"location `{name}` appears twice")
        value = reader.integer(members["value"], f"{name}.value", least=0, most=FULL) if "value" in members else FULL
        values[name] = value
        for entry in reader.items(members["networks"], f"{name}.networks"):
            _network(reader, entry, name, found)
    networks = tuple(
        Network(version=version, shift=shift, locations=MappingProxyType(locations))
        for (version, shift), locations in sorted(found.items(), key=lambda item: item[0][1])
    )
    return MappingProxyType(values), networks


def _network(reader: TrustReader, node: YamlNode, location: str, found: Networks) -> None:
    text = reader.text(node, f"{location}.networks")
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        if text:
            reader.report("TRUST_NETWORK", node.line, f"`{text}` is no network: {str(error).lower()}")
        return
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        reader.report("TRUST_NETWORK", node.line, f"`{text}` is IPv4 in disguise: write it as IPv4")
        return
    shift = network.max_prefixlen - network.prefixlen
    number = int(network.network_address) >> shift
    other = found.setdefault((network.version, shift), {}).setdefault(number, location)
    if other != location:
        reader.report("TRUST_NETWORK", node.line, f"`{text}` belongs to location `{other}` already")


def read_windows(reader: TrustReader, node: YamlNode) -> tuple[Window, ...]:
    """`[{offset: "+09:00", days: [mon, ...], from: "08:00", to: "20:00"}]`."""
    return tuple(window for item in reader.items(node, "hours") if (window := _window(reader, item)) is not None)


def _window(reader: TrustReader, node: YamlNode) -> Window | None:
    members = reader.members(node, "hours", required=("offset", "days", "from", "to"))
    if len(members) < 4:
        return None
    sign = _OFFSET.fullmatch(reader.text(members["offset"], "offset"))
    if sign is None:
        reader.report("TRUST_VALUE", members["offset"].line, "`offset` must look like +09:00")
    opens = _clock(reader, members["from"], "from")
    closes = _clock(reader, members["to"], "to")
    if opens is not None and closes is not None and opens >= closes:
        reader.report("TRUST_RANGE", members["to"].line, "`to` must be later than `from`; a night is two windows")
    days = _days(reader, reader.items(members["days"], "days"))
    if sign is None or opens is None or closes is None:
        return None
    east = int(sign[2]) * 3_600 + int(sign[3]) * 60
    return Window(offset=-east if sign[1] == "-" else east, days=days, opens=opens, closes=closes)


def _days(reader: TrustReader, nodes: Sequence[YamlNode]) -> frozenset[int]:
    days: set[int] = set()
    for node in nodes:
        day = DAYS.index(reader.word(node, "days", DAYS))
        if day in days:
            reader.report("TRUST_DUPLICATE", node.line, f"`{DAYS[day]}` appears twice")
        days.add(day)
    return frozenset(days)


def _clock(reader: TrustReader, node: YamlNode, name: str) -> int | None:
    match = _CLOCK.fullmatch(reader.text(node, name))
    seconds = int(match[1]) * 3_600 + int(match[2]) * 60 if match else None
    if seconds is None or seconds > 86_400:
        reader.report("TRUST_VALUE", node.line, f"`{name}` must be a time of day such as 08:30, at most 24:00")
        return None
    return seconds
