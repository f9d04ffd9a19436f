"""The firewall: to an ordinary user what was meant, to root what is loaded.

A user may not look at what the kernel has loaded. What the services' configuration means to do is an observation of
`firewall.enabled` all the same, with the little weight of a self-report; `firewall.default_inbound` is root's to see.
"""

from __future__ import annotations

import re
from typing import Final

from device_inventory.collectors.machine import Collected, Found, Machine, seen, unknown
from device_inventory.collectors.probe import Probe
from device_inventory.collectors.ruleset import Inbound, iptables_inbound, nft_inbound, worst
from device_inventory.collectors.services import active
from device_inventory.collectors.unseen import NotObserved, absent

ENABLED: Final = "firewall.enabled"
INBOUND: Final = "firewall.default_inbound"

_OTHERS: Final = ("firewalld", "netfilter-persistent", "iptables", "shorewall", "ferm")
_NFTABLES: Final = ("/etc/nftables.conf", "/etc/sysconfig/nftables.conf")


def _meant(machine: Machine) -> Found:
    return {ENABLED: _intent(machine), INBOUND: unknown("what is loaded only root can see")}


def _intent(machine: Machine) -> Collected:
    running = active(machine)
    for name in _OTHERS:
        if name in running:
            return seen(True, f"`{name}` is active")
    refused = []
    if "ufw" in running:
        # The unit is active on every system that has it, whether or not it was told to do anything.
        if re.search(r"^ENABLED=[\"']?yes\b", machine.text("/etc/ufw/ufw.conf"), re.MULTILINE):
            return seen(True, "`ufw` is enabled")
        refused.append("`ufw` is not enabled")
    if "nftables" in running:
        if _filters(machine):
            return seen(True, "`nftables` is active")
        refused.append("the rules of `nftables` accept everything")
    if refused:
        return seen(False, ", ".join(refused))
    # Another program may have loaded rules: that none of these is active does not show that there are none.
    return unknown("no firewall service known here is active")


def _filters(machine: Machine) -> bool:
    """Whether the configuration turns anything away: as it is delivered it accepts everything."""
    for path in _NFTABLES:
        try:
            text = machine.optional(path)
        except PermissionError:
            return True
        if text is not None:
            plain = re.sub(r"#.*", "", text)
            return re.search(r"\b(?:drop|reject|include)\b", plain) is not None
    return True


def _loaded(machine: Machine) -> Found:
    inbound = worst([_family(machine, "ip"), *([_family(machine, "ip6")] if _speaks_ipv6(machine) else [])])
    return {
        ENABLED: seen(inbound != "allow", "" if inbound != "allow" else "what is loaded lets connections in"),
        INBOUND: seen(inbound),
    }


def _family(machine: Machine, family: str) -> Inbound:
    found: list[Inbound] = []
    trouble: NotObserved | None = None
    try:
        answer = machine.run("nft")
        if answer.status != 0:
            raise absent("`nft` may not list the rules")
        found.append(nft_inbound(answer.text, "ip6" if family == "ip6" else "ip"))
    except NotObserved as reason:
        trouble = reason
    # The older half of the kernel keeps its rules where `nft` does not see them.
    tables = "ip6_tables_names" if family == "ip6" else "ip_tables_names"
    if "filter" in (machine.optional(f"/proc/net/{tables}") or "").split():
        found.append(iptables_inbound(machine.run("ip6tables" if family == "ip6" else "iptables").text))
    if not found:
        assert trouble is not None
        raise trouble
    # A packet has to pass both.
    return min(found, key=("drop", "reject", "allow").index)


def _speaks_ipv6(machine: Machine) -> bool:
    """Whether any interface but the loopback has an IPv6 address."""
    lines = (machine.optional("/proc/net/if_inet6", limit=1 << 20) or "").splitlines()
    return any(not line.endswith(" lo") for line in lines)


PROBES: Final = (
    Probe(facts=(ENABLED, INBOUND), look=_meant, scopes=("user",)),
    Probe(facts=(ENABLED, INBOUND), look=_loaded, scopes=("root",)),
)
