"""The firewall as it was meant and as it is loaded, and who listens behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_inventory.collectors.linux import collect
from device_inventory.collectors.ruleset import iptables_inbound, nft_inbound
from device_inventory.collectors.unseen import NotObserved
from tests.device_trees import TCP_HEADER, Tree, micro_vm, plain_debian, rhel, ubuntu_luks

ESTABLISHED = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
LOOPBACK = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}
COUNTER = {"counter": {"packets": 0, "bytes": 0}}
ACCEPT, DROP, REJECT, RETURN = {"accept": None}, {"drop": None}, {"reject": {"type": "icmpx"}}, {"return": None}
TO_Z, OFF_TO_Z = {"jump": {"target": "z"}}, {"goto": {"target": "z"}}
IPV6 = "fe80000000000000000000000000abcd 02 40 20 80 eth0\n"


def chain(name: str = "input", *, family: str = "inet", policy: str | None = "accept") -> dict[str, object]:
    base = {"hook": "input", "type": "filter", "prio": 0, "policy": policy} if policy else {}
    return {"chain": {"family": family, "table": "filter", "name": name, **base}}


def rule(*expression: object, name: str = "input", family: str = "inet") -> dict[str, object]:
    return {"rule": {"family": family, "table": "filter", "chain": name, "expr": list(expression)}}


def ruleset(*items: object) -> str:
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *items]})


def user(tree: Tree) -> tuple[object, object]:
    found = collect(tree.machine())
    assert found["firewall.default_inbound"].status == "not_collected"
    return found["firewall.enabled"].status, found["firewall.enabled"].value


def root(tree: Tree) -> tuple[object, object]:
    found = collect(tree.machine(), scope="root")
    return found["firewall.enabled"].value, found["firewall.default_inbound"].value


# What was meant


def test_a_user_sees_what_was_meant_and_never_what_is_loaded(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.says("nft", ruleset(chain(policy="drop")))

    assert user(tree) == ("observed", True)
    assert "nft" not in tree.asked


def test_ufw_whose_unit_is_active_and_that_was_not_enabled_is_off(tmp_path: Path) -> None:
    tree = ubuntu_luks(tmp_path)
    tree.file("/etc/ufw/ufw.conf", "# ENABLED=yes\nENABLED=no\n")

    assert user(tree) == ("observed", False)


@pytest.mark.parametrize(
    ("rules", "enabled"),
    [
        ("chain input { policy accept; }", False),
        ("chain input { policy drop; }", True),
        ("# chain input { policy drop; }", False),
        ('include "/etc/nftables.d/*.nft"', True),
        ("tcp dport 22 accept\nreject with icmpx type admin-prohibited", True),
    ],
)
def test_nftables_as_it_is_delivered_accepts_everything(rules: str, enabled: bool, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/etc/nftables.conf", rules)

    assert user(tree) == ("observed", enabled)


def test_firewalld_is_on_when_it_is_active(tmp_path: Path) -> None:
    assert user(rhel(tmp_path)) == ("observed", True)


def test_no_service_that_is_known_is_no_proof_that_there_is_no_firewall(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.active()

    assert user(tree) == ("not_collected", None)


def test_without_systemd_nothing_is_known_of_intentions(tmp_path: Path) -> None:
    assert user(micro_vm(tmp_path)) == ("not_collected", None)


def test_an_answer_of_systemctl_with_too_few_lines_is_an_error(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.says("units", "active\n")

    assert collect(tree.machine())["firewall.enabled"].status == "error"


# What is loaded


@pytest.mark.parametrize(
    ("items", "inbound"),
    [
        ([], "allow"),
        ([chain()], "allow"),
        ([chain(policy="drop")], "drop"),
        ([chain(policy="drop"), rule(ACCEPT)], "allow"),
        ([chain(policy="drop"), rule(COUNTER, ACCEPT)], "allow"),
        ([chain(policy="drop"), rule(ESTABLISHED, ACCEPT), rule(LOOPBACK, ACCEPT)], "drop"),
        ([chain(), rule(ESTABLISHED, ACCEPT), rule(LOOPBACK, ACCEPT), rule(COUNTER, REJECT)], "reject"),
        ([chain(), rule(ESTABLISHED, ACCEPT), rule({"log": {"prefix": "x"}}, DROP)], "drop"),
        ([chain(), rule(ESTABLISHED, DROP)], "allow"),
        ([chain(), rule({"limit": {"rate": 1}}, ACCEPT), rule(DROP)], "drop"),
        ([chain(), rule(TO_Z), rule(DROP, name="z")], "drop"),
        ([chain(policy="drop"), rule(OFF_TO_Z), rule(ACCEPT, name="z")], "allow"),
        ([chain(policy="drop"), rule(TO_Z), rule(RETURN, name="z"), rule(ACCEPT, name="z")], "drop"),
        ([chain(), rule(OFF_TO_Z), rule(RETURN, name="z"), rule(DROP)], "allow"),
        ([chain(), rule(LOOPBACK, TO_Z), rule(DROP, name="z")], "allow"),
        ([chain(), chain("second", policy="drop")], "drop"),
        ([chain(family="bridge", policy="drop")], "allow"),
        ([chain(family="netdev", policy="drop")], "allow"),
    ],
)  # fmt: skip
def test_what_meets_no_condition_decides(items: list[object], inbound: str, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.says("nft", ruleset(*items))

    assert root(tree) == (inbound != "allow", inbound)


def test_ipv4_that_drops_is_no_help_when_ipv6_accepts(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.says("nft", ruleset(chain(family="ip", policy="drop")))

    assert root(tree) == (True, "drop")
    tree.file("/proc/net/if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n")
    assert root(tree) == (True, "drop")
    tree.file("/proc/net/if_inet6", IPV6)
    assert root(tree) == (False, "allow")


def test_rules_of_the_older_kind_count_where_the_kernel_has_any(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.says("nft", ruleset())
    tree.says("iptables", "*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n")

    assert root(tree) == (False, "allow")
    tree.file("/proc/net/ip_tables_names", "nat\nfilter\n")
    assert root(tree) == (True, "drop")


@pytest.mark.parametrize(
    ("text", "inbound"),
    [
        (":INPUT ACCEPT [0:0]\n", "allow"),
        (":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n", "drop"),
        (":INPUT DROP [0:0]\n-A INPUT -j ACCEPT\n", "allow"),
        (":INPUT ACCEPT [0:0]\n-A INPUT -j REJECT --reject-with icmp-host-prohibited\n", "reject"),
        (":INPUT ACCEPT [0:0]\n:in - [0:0]\n-A INPUT -j in\n-A in -p icmp -j ACCEPT\n-A in -j DROP\n", "drop"),
        (":INPUT ACCEPT [0:0]\n:in - [0:0]\n-A INPUT -j in\n-A in -j RETURN\n-A in -j DROP\n", "allow"),
        (":INPUT ACCEPT [0:0]\n:in - [0:0]\n-A INPUT -g in\n-A INPUT -j DROP\n-A in -p icmp -j ACCEPT\n", "allow"),
    ],
)
def test_iptables_is_judged_in_the_same_way(text: str, inbound: str) -> None:
    assert iptables_inbound(f"*filter\n{text}COMMIT\n") == inbound


@pytest.mark.parametrize("status", [1, None])
def test_root_without_nft_knows_nothing(status: int | None, tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    if status:
        tree.says("nft", "", status)
    found = collect(tree.machine(), scope="root")

    assert found["firewall.enabled"].status == found["firewall.default_inbound"].status == "not_collected"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"nftables": [1]}', '{"nftables": [{"chain": {"hook": "input"}}]}', "[" * 100_000,
     ruleset(chain(), rule("x")), ruleset(chain(), rule({})),
     ruleset(chain(), rule({"jump": {"target": "input"}}))],
)  # fmt: skip
def test_an_answer_of_nft_that_makes_no_sense_is_an_error(text: str) -> None:
    with pytest.raises(NotObserved) as caught:
        nft_inbound(text, "ip")
    assert caught.value.status == "error"


@pytest.mark.parametrize("text", ["", "*nat\nCOMMIT\n", ":INPUT ACCEPT [0:0]\n-A INPUT -j INPUT\n"])
def test_an_answer_of_iptables_that_makes_no_sense_is_an_error(text: str) -> None:
    with pytest.raises(NotObserved):
        iptables_inbound(text)


_statements = st.sampled_from([ACCEPT, DROP, REJECT, RETURN, ESTABLISHED, LOOPBACK, COUNTER])


@given(st.lists(st.lists(_statements, min_size=1, max_size=3), max_size=6), st.sampled_from(["accept", "drop"]))
def test_a_firewall_that_begins_by_accepting_is_never_called_closed(rules: list[list[object]], policy: str) -> None:
    """Whatever stands before: an unconditional accept in front of everything else opens it."""
    opened = ruleset(chain(policy=policy), rule(ACCEPT), *(rule(*expression) for expression in rules))

    assert nft_inbound(opened, "ip") == "allow"


# Who listens


@pytest.mark.parametrize(
    ("tcp", "tcp6", "found"),
    [
        ("", "", ()),
        ("   0: 00000000:0016 00000000:0000 0A 00000000:00000000\n", "", ("ssh",)),
        ("   0: 0100007F:0016 00000000:0000 0A 00000000:00000000\n", "", ()),
        ("   0: 00000000:0016 0200A8C0:1234 01 00000000:00000000\n", "", ()),
        ("   0: 0200A8C0:0D3D 00000000:0000 0A 00000000:00000000\n", "", ("rdp",)),
        ("", "   0: 00000000000000000000000000000000:170C 00000000000000000000000000000000:0000 0A 0:0\n", ("vnc",)),
        ("", "   0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0\n", ()),
        ("", "   0: 0000000000000000FFFF00000100007F:0016 00000000000000000000000000000000:0000 0A 0:0\n", ()),
        ("", "   0: 0000000000000000FFFF000000000000:0016 00000000000000000000000000000000:0000 0A 0:0\n", ("ssh",)),
        ("   0: 00000000:01BB 00000000:0000 0A 00000000:00000000\n", "", ()),
    ],
)
def test_remote_control_counts_where_others_can_reach_it(
    tcp: str, tcp6: str, found: tuple[str, ...], tmp_path: Path
) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/proc/net/tcp", TCP_HEADER + tcp)
    tree.file("/proc/net/tcp6", TCP_HEADER + tcp6)

    assert collect(tree.machine())["listening.remote_admin"].value == found


def test_a_table_of_another_shape_is_an_error_and_a_very_long_one_is_none(tmp_path: Path) -> None:
    tree = plain_debian(tmp_path)
    tree.file("/proc/net/tcp", f"{TCP_HEADER}nonsense\n")
    assert collect(tree.machine())["listening.remote_admin"].status == "error"

    rows = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000\n"
    rows += "   1: 0200A8C0:9C40 0200A8C0:01BB 01 00000000:00000000 00:00000000 00000000  1000        0 1 1\n" * 20_000
    tree.file("/proc/net/tcp", TCP_HEADER + rows)
    assert collect(tree.machine())["listening.remote_admin"].value == ("ssh",)


def test_a_kernel_without_ipv6_has_one_table(tmp_path: Path) -> None:
    assert collect(plain_debian(tmp_path).machine())["listening.remote_admin"].value == ()
    assert collect(micro_vm(tmp_path / "b").machine())["listening.remote_admin"].status == "not_collected"
