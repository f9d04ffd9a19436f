"""`net.cidr_*` that are not inside the compiled policy; no name is ever looked up."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from zt_engine.adapters.rego_builtins.operands import RefusedError, builtin, limit, string
from zt_engine.adapters.rego_values import RegoSet, Value, sorted_pairs

_MAX_BLOCKS: Final = 2_000
_MAX_PAIRS: Final = 20_000
_MAX_ADDRESSES: Final = 1_024
_MAPPED: Final = 0xFFFF << 32
_PREFIX: Final = re.compile(r"[0-9]{1,3}")


class _Block(NamedTuple):
    """An address range in the 128-bit space; IPv4 lies in its mapped block (RFC 4291, 2.5.5.2), as in OPA."""

    v4: bool
    first: int
    last: int


def _address(text: str) -> tuple[bool, int] | None:
    """An address as Go reads one: no zone, no leading zeros; an IPv4-mapped IPv6 address is IPv4."""
    try:
        found = ipaddress.ip_address(text) if "%" not in text and len(text) < 64 else None
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return (found.ipv4_mapped is not None, int(found))
    return None if found is None else (True, int(found) + _MAPPED)


def _cidr(text: str) -> _Block | None:
    """A block in CIDR notation; host bits are dropped."""
    host, slash, prefix = text.partition("/")
    address = _address(host)
    if not slash or address is None or not _PREFIX.fullmatch(prefix):
        return None
    size = 128 if ":" in host else 32
    if int(prefix) > size:
        return None
    span = (1 << (size - int(prefix))) - 1
    first = address[1] & ~span
    return _Block(address[0] and span < 1 << 32, first, first | span)


def _block_operand(value: Value, position: int) -> _Block:
    block = _cidr(string(value, position))
    if block is None:
        raise RefusedError(f"operand {position}: invalid CIDR address")
    return block


@builtin("net.cidr_is_valid")
def cidr_is_valid(text: Value) -> Value:
    """False for what is no string, too."""
    return isinstance(text, str) and _cidr(text) is not None


def _spelled(v4: bool, first: int, prefix: int) -> str:
    return f"{_text(v4, first)}/{prefix}"


def _text(v4: bool, number: int) -> str:
    return str(ipaddress.IPv4Address(number - _MAPPED) if v4 else ipaddress.IPv6Address(number))


def _members(value: Value, position: int) -> Iterator[tuple[Value, Value]]:
    """(CIDR, what names it in the result): the element itself, its index or its key."""
    match value:
        case str():
            yield value, value
            return
        case list():
            named: list[tuple[Value, Value]] = list(enumerate(value))
        case RegoSet():
            named = [(item, item) for item in value]
        case dict():
            named = sorted_pairs(value)
        case _:
            return
    for name, item in named:
        if isinstance(item, list):
            if not item:
                raise RefusedError(f"operand {position}: element must be string or non-empty array")
            yield item[0], name
        elif isinstance(item, str):
            yield item, name
        else:
            raise RefusedError(f"operand {position}: element must be string or non-empty array")


def _point_or_block(value: Value) -> _Block:
    text = string(value, 1)
    address = _address(text)
    if address is not None:
        return _Block(address[0], address[1], address[1])
    block = _cidr(text)
    if block is None:
        raise RefusedError("not a valid textual representation of an IP address or CIDR")
    return block


@builtin("net.cidr_contains_matches")
def cidr_contains_matches(cidrs: Value, cidrs_or_ips: Value) -> Value:
    """The pairs of names for which the first contains the second."""
    outer, inner = list(_members(cidrs, 1)), list(_members(cidrs_or_ips, 2))
    limit(len(outer) * len(inner), _MAX_PAIRS, "pairs")
    if not outer or not inner:
        return RegoSet()
    blocks = [(_block_operand(text, 1), name) for text, name in outer]
    points = [(_point_or_block(text), name) for text, name in inner]
    return RegoSet(
        [
            [outer_name, inner_name]
            for block, outer_name in blocks
            for point, inner_name in points
            if block.v4 == point.v4 and block.first <= point.first and point.last <= block.last
        ]
    )


@builtin("net.cidr_expand")
def cidr_expand(cidr: Value) -> Value:
    """Every address of a small block."""
    block = _block_operand(cidr, 1)
    limit(block.last - block.first + 1, _MAX_ADDRESSES, "addresses")
    return RegoSet([_text(block.v4, number) for number in range(block.first, block.last + 1)])


def _class_prefix(number: int) -> int:
    """The mask of an IPv4 address by its class (RFC 791), which OPA gives to an address without a mask."""
    top = (number - _MAPPED) >> 24
    if top < 0x80:
        return 8
    return 16 if top < 0xC0 else 24


def _merge_operand(value: Value) -> tuple[_Block, str]:
    if not isinstance(value, str):
        raise RefusedError("element must be string")
    address = _address(value)
    if address is not None:
        v4, number = address
        if not v4:
            raise RefusedError("IPv6 invalid: needs prefix length")
        prefix = _class_prefix(number)
        span = (1 << (32 - prefix)) - 1
        return _Block(True, number & ~span, number | span), _spelled(True, number, prefix)
    block = _block_operand(value, 1)
    bits = (block.last - block.first + 1).bit_length() - 1
    return block, _spelled(block.v4, block.first, (32 if block.v4 else 128) - bits)


@builtin("net.cidr_merge")
def cidr_merge(blocks: Value) -> Value:
    """The smallest set of blocks that covers the same addresses; a block that touches no other stays as it was."""
    if not isinstance(blocks, list | RegoSet):
        raise RefusedError("operand must be an array")
    limit(len(blocks), _MAX_BLOCKS, "blocks")
    merged: list[tuple[_Block, str | None]] = []
    for block, spelling in sorted(map(_merge_operand, blocks), key=lambda pair: pair[0][1:]):
        previous = merged[-1][0] if merged else None
        if previous is not None and block.first <= previous.last + (previous.v4 == block.v4):
            merged[-1] = (previous._replace(last=max(previous.last, block.last)), None)
        else:
            merged.append((block, spelling))
    return RegoSet([text for block, spelling in merged for text in ([spelling] if spelling else _cover(block))])


def _cover(block: _Block) -> list[str]:
    """The fewest blocks that make up a range."""
    found: list[str] = []
    size = 32 if block.v4 else 128
    first = block.first
    while first <= block.last:
        low = min((first & -first).bit_length() - 1, size) if first else size
        bits = min(low, (block.last - first + 1).bit_length() - 1)
        found.append(_spelled(block.v4, first, size - bits))
        first += 1 << bits
    return found
