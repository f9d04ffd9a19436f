"""Quicker bodies for OPA's JSON reader and writer, as Wasm text: eight bytes at a time where nothing is escaped.

As in `wasm_quick_values`, everything that is not the common case is left to OPA's own body, `$slow`, which begins anew.
The reader's state, from `wasm/src/json.h` of OPA 1.20.2, in bytes:

    reader +0 text; +4 its length; +8, +12 where the last token begins and ends; +16 where it reads
    writer +0 buffer; +4 where it writes; +8 size of the buffer
"""

from __future__ import annotations

from typing import Final

from zt_engine.adapters.wasm_quick_values import INTEGER

_MOST_DIGITS: Final = 9
"""OPA's arithmetic takes only the low 32 bits of a number that is held as an integer."""


def _each(byte: int) -> str:
    return f"(i64.const {byte * 0x0101010101010101:#x})"


def _below(number: str, least: int) -> str:
    """The top bit of each byte that is below `least`; bytes above the first such one may be marked wrongly."""
    return f"(i64.and (i64.sub {number} {_each(least)}) (i64.xor {number} (i64.const -1)))"


def _is(byte: int) -> str:
    return _below(f"(i64.xor (local.get $x) {_each(byte)})", 1)


_ESCAPED: Final = f"(i64.or {_below('(local.get $x)', 32)} (i64.or {_is(34)} {_is(92)}))"
_NOT_PRINTABLE: Final = f"(i64.or (local.get $x) (i64.add (local.get $x) {_each(1)}))"
"""Above 126: such a string is decoded character by character."""

_STRING: Final = f"""
(local.set $p (i32.add (local.get $p) (i32.const 1)))
(local.set $a (local.get $p))
(local.set $e (i32.sub (local.get $m) (i32.const 8)))
(loop $more
  (br_if $other (i32.gt_u (local.get $p) (local.get $e)))
  (local.set $x (i64.load align=1 (local.get $p)))
  (local.set $y (i64.and {_each(0x80)} (i64.or {_ESCAPED} {_NOT_PRINTABLE})))
  (if (i64.eqz (local.get $y)) (then
    (local.set $p (i32.add (local.get $p) (i32.const 8)))
    (br $more))))
(local.set $p (i32.add (local.get $p) (i32.wrap_i64 (i64.shr_u (i64.ctz (local.get $y)) (i64.const 3)))))
(br_if $other (i32.ne (i32.load8_u (local.get $p)) (i32.const 34)))
(i32.store offset=8 (local.get $o) (local.get $a))
(i32.store offset=12 (local.get $o) (local.get $p))
(i32.store offset=16 (local.get $o) (i32.add (local.get $p) (i32.const 1)))
(return (i32.const 6))"""

_INTEGER: Final = """
(local.set $a (local.get $p))
(loop $digit
  (local.set $p (i32.add (local.get $p) (i32.const 1)))
  (br_if $other (i32.ge_u (local.get $p) (local.get $m)))
  (local.set $t (i32.load8_u (local.get $p)))
  (br_if $digit (i32.le_u (i32.sub (local.get $t) (i32.const 48)) (i32.const 9))))
(br_if $other (i32.and
  (i32.ne (local.get $t) (i32.const 44))
  (i32.ne (i32.or (local.get $t) (i32.const 32)) (i32.const 125))))
(i32.store offset=8 (local.get $o) (local.get $a))
(i32.store offset=12 (local.get $o) (local.get $p))
(i32.store offset=16 (local.get $o) (local.get $p))
(return (i32.const 5))"""
"""Digits up to a comma or a closing bracket; the two brackets differ in one bit."""

_SIGNS: Final = "".join(
    f"(local.set $n (i32.const {token})) (br_if $sign (i32.eq (local.get $t) (i32.const {ord(sign)})))"
    for sign, token in ((",", 12), (":", 13), ("{", 8), ("}", 9), ("[", 10), ("]", 11))
)

LEX_READ: Final = f"""
(block $other
  (local.set $p (i32.load offset=16 (local.get $o)))
  (local.set $m (i32.add (i32.load (local.get $o)) (i32.load offset=4 (local.get $o))))
  (br_if $other (i32.ge_u (local.get $p) (local.get $m)))
  (local.set $t (i32.load8_u (local.get $p)))
  (if (i32.eq (local.get $t) (i32.const 34)) (then {_STRING}))
  (block $sign
    {_SIGNS}
    (br_if $other (i32.gt_u (i32.sub (local.get $t) (i32.const 49)) (i32.const 8)))
    {_INTEGER})
  (i32.store offset=16 (local.get $o) (i32.add (local.get $p) (i32.const 1)))
  (return (local.get $n)))
(call $slow (local.get $o))"""

PARSE_TOKEN: Final = f"""
(block $other
  (br_if $other (i32.ne (local.get $t) (i32.const 5)))
  (local.set $p (i32.load offset=8 (local.get $o)))
  (local.set $n (i32.sub (i32.load offset=12 (local.get $o)) (local.get $p)))
  (br_if $other (i32.gt_u (i32.sub (local.get $n) (i32.const 1)) (i32.const {_MOST_DIGITS - 1})))
  (loop $digit
    (local.set $q (i32.sub (i32.load8_u (local.get $p)) (i32.const 48)))
    (br_if $other (i32.gt_u (local.get $q) (i32.const 9)))
    (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 10)) (i64.extend_i32_u (local.get $q))))
    (local.set $p (i32.add (local.get $p) (i32.const 1)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br_if $digit (local.get $n)))
  (local.set $a (call $opa_malloc (i32.const 24)))
  (i32.store16 (local.get $a) {INTEGER})
  (i64.store offset=8 (local.get $a) (local.get $x))
  (return (local.get $a)))
(call $slow (local.get $o) (local.get $t))"""
"""A short natural number becomes an integer at once; OPA keeps its text, and reads it at each comparison."""

_COPY: Final = """
(if (i32.ge_u (local.get $m) (i32.const 8)) (then
  (loop $eight
    (i64.store align=1 (local.get $q) (i64.load align=1 (local.get $p)))
    (local.set $m (i32.sub (local.get $m) (i32.const 8)))
    (br_if $copied (i32.eqz (local.get $m)))
    (if (i32.lt_u (local.get $m) (i32.const 8)) (then
      (i64.store align=1 (i32.add (local.get $q) (local.get $m))
        (i64.load align=1 (i32.add (local.get $p) (local.get $m))))
      (br $copied)))
    (local.set $q (i32.add (local.get $q) (i32.const 8)))
    (local.set $p (i32.add (local.get $p) (i32.const 8)))
    (br $eight))))
(if (i32.ge_u (local.get $m) (i32.const 4)) (then
  (i32.store align=1 (local.get $q) (i32.load align=1 (local.get $p)))
  (local.set $m (i32.sub (local.get $m) (i32.const 4)))
  (i32.store align=1 (i32.add (local.get $q) (local.get $m))
    (i32.load align=1 (i32.add (local.get $p) (local.get $m))))
  (br $copied)))
(loop $one
  (br_if $copied (i32.eqz (local.get $m)))
  (i32.store8 (local.get $q) (i32.load8_u (local.get $p)))
  (local.set $q (i32.add (local.get $q) (i32.const 1)))
  (local.set $p (i32.add (local.get $p) (i32.const 1)))
  (local.set $m (i32.sub (local.get $m) (i32.const 1)))
  (br $one))"""

PARSE_STRING: Final = f"""
(block $other
  (br_if $other (i32.ne (local.get $t) (i32.const 6)))
  (br_if $other (i32.lt_s (local.get $n) (i32.const 0)))
  (local.set $b (call $opa_malloc (local.get $n)))
  (local.set $q (local.get $b))
  (local.set $m (local.get $n))
  (block $copied {_COPY})
  (local.set $a (call $opa_malloc (i32.const 12)))
  (i32.store16 (local.get $a) (i32.const 260))
  (i32.store offset=4 (local.get $a) (local.get $n))
  (i32.store offset=8 (local.get $a) (local.get $b))
  (return (local.get $a)))
(call $slow (local.get $t) (local.get $p) (local.get $n))"""

EMIT_STRING: Final = f"""
(block $other
  (local.set $n (i32.load offset=4 (local.get $k)))
  (local.set $q (i32.load offset=4 (local.get $o)))
  (br_if $other (i32.gt_u (local.get $n) (i32.const 65536)))
  (br_if $other (i32.gt_u
    (i32.add (i32.sub (local.get $q) (i32.load (local.get $o))) (i32.add (local.get $n) (i32.const 3)))
    (i32.load offset=8 (local.get $o))))
  (i32.store8 (local.get $q) (i32.const 34))
  (local.set $q (i32.add (local.get $q) (i32.const 1)))
  (local.set $p (i32.load offset=8 (local.get $k)))
  (block $short (loop $eight
    (br_if $short (i32.lt_u (local.get $n) (i32.const 8)))
    (local.set $x (i64.load align=1 (local.get $p)))
    (br_if $other (i64.ne (i64.const 0) (i64.and {_each(0x80)} {_ESCAPED})))
    (i64.store align=1 (local.get $q) (local.get $x))
    (local.set $p (i32.add (local.get $p) (i32.const 8)))
    (local.set $q (i32.add (local.get $q) (i32.const 8)))
    (local.set $n (i32.sub (local.get $n) (i32.const 8)))
    (br $eight)))
  (block $end (loop $one
    (br_if $end (i32.eqz (local.get $n)))
    (local.set $t (i32.load8_u (local.get $p)))
    (br_if $other (i32.or (i32.lt_u (local.get $t) (i32.const 32))
      (i32.or (i32.eq (local.get $t) (i32.const 34)) (i32.eq (local.get $t) (i32.const 92)))))
    (i32.store8 (local.get $q) (local.get $t))
    (local.set $p (i32.add (local.get $p) (i32.const 1)))
    (local.set $q (i32.add (local.get $q) (i32.const 1)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br $one)))
  (i32.store8 (local.get $q) (i32.const 34))
  (i32.store offset=4 (local.get $o) (i32.add (local.get $q) (i32.const 1)))
  (return (i32.const 0)))
(call $slow (local.get $o) (local.get $k))"""
"""What is already written before something has to be escaped is written again: where it writes moves at the end."""
