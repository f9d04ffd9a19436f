"""Where a policy compiled to Wasm answers otherwise than OPA itself: data for the linter and the conformance run.

`zt policy check` refuses what it can see in the source (`lint`); the rest is documented and named in the conformance
table. Source: OPA 1.20.2, its conformance vectors run against both.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Divergence(msgspec.Struct, frozen=True):
    """One named difference; `lint` says whether the check can refuse the construct in a source."""

    name: str
    construct: str
    opa: str
    wasm: str
    lint: Literal["refuse", "warn", "none"]
    instead: str


DIVERGENCES = (
    Divergence(
        name="integer_index_into_object",
        construct="data.x[2] where data.x is an object",
        opa='finds the key "2"',
        wasm="undefined",
        lint="refuse",
        instead='write the key as a string: data.x["2"]',
    ),
    Divergence(
        name="json_marshal_key_order",
        construct="json.marshal of an object",
        opa="keys in order of their text",
        wasm="keys in order of insertion into a hash table",
        lint="refuse",
        instead="compare values, not their JSON text",
    ),
    Divergence(
        name="float_last_digit",
        construct="arithmetic on numbers with a fraction",
        opa="64-bit float arithmetic rounded to print",
        wasm="decimal arithmetic; the last digit may differ",
        lint="warn",
        instead="use integers: points, seconds, thousandths",
    ),
    Divergence(
        name="glob_question_mark_non_ascii",
        construct="glob.match with `?` against non-ASCII text",
        opa="false: `?` is one byte of the text",
        wasm="true: `?` is one character",
        lint="refuse",
        instead="use `*`, or compare the text itself",
    ),
    Divergence(
        name="iteration_order",
        construct="the order in which `some`, walk and comprehensions visit objects and sets",
        opa="sorted",
        wasm="the order of a hash table",
        lint="none",
        instead="build sets, or sort() what must have an order",
    ),
    Divergence(
        name="replace_of_empty_text",
        construct='replace(x, "", y)',
        opa="puts y between all characters",
        wasm="never ends: the deadline cuts it off and the request is denied",
        lint="refuse",
        instead="replace only what is not empty",
    ),
    Divergence(
        name="number_beyond_float",
        construct="arithmetic whose result is beyond 1e308",
        opa="writes all digits",
        wasm="writes an exponent",
        lint="none",
        instead="stay within 64-bit integers",
    ),
    Divergence(
        name="format_int_beyond_64_bits",
        construct="format_int of an integer over 64 bits",
        opa="formats integers of any size",
        wasm="traps, which denies",
        lint="none",
        instead="keep such numbers as strings",
    ),
    Divergence(
        name="builtin_error_is_undefined",
        construct="a built-in inside the module that is given a value of the wrong type or range",
        opa="an error, which strict built-in errors turn into a refusal",
        wasm="undefined",
        lint="none",
        instead="prove positive requirements, so that undefined denies",
    ),
)
