"""What a policy may use: OPA's capabilities file, cut down to what the Wasm engine offers.

`capabilities.json` beside this module is generated and shipped; `opa build`, `opa test` and `opa check` refuse with
file and line whatever is not in it, so that a missing built-in is found by the author and not at load. No host may be
reached. The keywords that must be imported (`and`, `or`, `not` with a body) are OPA's own. Generate it with
`opa capabilities --current | python -m zt_engine.adapters.capabilities > zt_engine/adapters/capabilities.json`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

import msgspec

from zt_engine.adapters.rego_builtins import REGISTRY

INSIDE_WASM: Final = frozenset(
    """
    abs all and any array.concat array.flatten array.reverse array.slice base64.decode base64.encode
    base64.is_valid base64url.decode base64url.encode bits.and bits.lsh bits.negate bits.or bits.rsh bits.xor
    ceil concat contains count div endswith eq equal floor format_int glob.match graph.reachable gt gte indexof
    internal.member_2 internal.member_3 internal.template_string intersection is_array is_boolean is_null
    is_number is_object is_set is_string json.filter json.is_valid json.marshal json.remove json.unmarshal lower
    lt lte max min minus mul neq net.cidr_contains net.cidr_intersects net.cidr_overlap numbers.range
    object.filter object.get object.keys object.remove object.union object.union_n or plus print product
    re_match regex.find_all_string_submatch_n regex.is_valid regex.match rego.metadata.chain rego.metadata.rule
    rem replace round set_diff sort split startswith strings.replace_n strings.reverse substring sum to_number
    trim trim_left trim_prefix trim_right trim_space trim_suffix type_name union upper walk
    """.split()  # noqa: SIM905 -- a list of a hundred names reads better without quotes
)
"""The built-ins that OPA 1.20.2 compiles into the module itself."""

_MEMBERS: Final = ("name", "decl", "infix", "relation", "deprecated")
_PROSE: Final = frozenset({"description", "name"})


def _without_prose(declaration: object) -> object:
    """A declaration without the descriptions and names of its operands."""
    if isinstance(declaration, Mapping):
        kept = {key: _without_prose(value) for key, value in declaration.items() if key not in _PROSE}
        return dict(sorted(kept.items()))
    return [_without_prose(item) for item in declaration] if isinstance(declaration, list) else declaration


def capabilities(current: bytes) -> bytes:
    """Return OPA's own capabilities, as `opa capabilities --current` prints them, cut down to what is offered."""
    found = msgspec.json.decode(current, type=dict[str, object])
    builtins = found["builtins"]
    if not isinstance(builtins, list):
        raise TypeError("not a capabilities file")
    offered = INSIDE_WASM | REGISTRY.keys()
    kept = [
        {key: _without_prose(item[key]) if key == "decl" else item[key] for key in _MEMBERS if key in item}
        for item in builtins
        if item["name"] in offered
    ]
    kept_as_is = {key: found[key] for key in ("features", "future_keywords")}
    rest = msgspec.json.encode({**kept_as_is, "allow_net": []})
    lines = b",\n".join(map(msgspec.json.encode, kept))
    return b'{"builtins": [\n' + lines + b"\n],\n" + rest.removeprefix(b"{") + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(capabilities(sys.stdin.buffer.read()))
