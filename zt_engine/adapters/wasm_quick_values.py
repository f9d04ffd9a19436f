"""Quicker bodies for OPA's `opa_malloc`, `opa_value_hash`, `opa_value_get` and `opa_value_compare`, as Wasm text.

Each answers the common case (strings, small allocations, integers) without calling anything, and calls `$slow`, OPA's
own body, for everything else. Hashes and orders are OPA's to the bit, since they decide what a set looks like. Where a
loop begins, and where a function does, the deadline is looked at: short strings are read without a loop.
Layouts, from `wasm/src/value.h` and `malloc.c` of OPA 1.20.2, in bytes:

    string  +0 type 4, or 8 in the module's own data; +4 length; +8 address        boolean +0 type 2 or 9; +1 value
    integer +0 type 3, +1 kind 1; +8 64-bit number                                 array +0 type 5; +4 items, +8 count
    object  +0 type 6; +4 buckets, +8 their count; an entry has key, value, next   set +0 type 7; an entry has key, next
    list of free blocks +4 their size; +16 the first; +20 the end                  block -12 size, -8, -4 neighbours
"""

from __future__ import annotations

from typing import Final

INTEGER: Final = "(i32.const 259)"
"""Type and kind of a number that is held as a 64-bit integer."""
_PRIME: Final = "(i32.const 16777619)"
_BASIS: Final = "(i32.const -2128831035)"

MALLOC: Final = """
(block $other
  (br_if $other (i32.gt_u (local.get $n) (i32.const 64)))
  (local.set $b (select (i32.const 119296) (i32.const 119328) (i32.le_u (local.get $n) (i32.const 16))))
  (if (i32.le_u (local.get $n) (i32.const 8)) (then
    (local.set $b (select (i32.const 119232) (i32.const 119264) (i32.le_u (local.get $n) (i32.const 4))))))
  (local.set $e (i32.load offset=16 (local.get $b)))
  (if (i32.eq (local.get $e) (i32.add (local.get $b) (i32.const 20))) (then
    (local.set $p (i32.load offset=119712 (i32.const 0)))
    (local.set $s (i32.load offset=4 (local.get $b)))
    (local.set $q (i32.add (local.get $p) (i32.add (local.get $s) (i32.const 12))))
    (br_if $other (i32.ge_u (local.get $q) (i32.load offset=119716 (i32.const 0))))
    (i32.store offset=119712 (i32.const 0) (local.get $q))
    (i32.store (local.get $p) (local.get $s))
    (i64.store offset=4 align=4 (local.get $p) (i64.const 0))
    (return (i32.add (local.get $p) (i32.const 12)))))
  (local.set $p (i32.load offset=8 (local.get $e)))
  (local.set $q (i32.load offset=4 (local.get $e)))
  (i32.store offset=4 (local.get $p) (local.get $q))
  (i32.store offset=8 (local.get $q) (local.get $p))
  (i64.store offset=4 align=4 (local.get $e) (i64.const 0))
  (return (i32.add (local.get $e) (i32.const 12))))
(call $slow (local.get $n))"""


def _is_string(value: str) -> str:
    """One of the two types of strings."""
    return f"(i32.and (i32.shr_u (i32.const 0x110) (i32.load8_u (local.get {value}))) (i32.const 1))"


def _bytes(count: int) -> str:
    """Take the next bytes at `$p` into the hash `$h`."""
    hashed = "(local.get $h)"
    for offset in range(count):
        hashed = f"(i32.xor (i32.mul {hashed} {_PRIME}) (i32.load8_u offset={offset} (local.get $p)))"
    return f"(local.set $h {hashed}) (local.set $p (i32.add (local.get $p) (i32.const {count})))"


_HASH_STRING: Final = f"""
(local.set $h {_BASIS})
(local.set $p (i32.load offset=8 (local.get $k)))
(local.set $n (i32.load offset=4 (local.get $k)))
(if (i32.ge_u (local.get $n) (i32.const 8)) (then (loop $eight
  {_bytes(8)}
  (local.set $n (i32.sub (local.get $n) (i32.const 8)))
  (br_if $eight (i32.ge_u (local.get $n) (i32.const 8))))))
(if (i32.and (local.get $n) (i32.const 4)) (then {_bytes(4)}))
(if (i32.and (local.get $n) (i32.const 2)) (then {_bytes(2)}))
(if (i32.and (local.get $n) (i32.const 1)) (then {_bytes(1)}))"""
"""The hash of the string `$k` (FNV-1, 32 bits) into `$h`."""


def _hash_double() -> str:
    """The hash of the eight bytes of `$x` into `$h`."""
    taken = (
        f"(local.set $h (i32.xor (i32.mul (local.get $h) {_PRIME})"
        f" (i32.and (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const {shift}))) (i32.const 255))))"
        for shift in range(0, 64, 8)
    )
    return f"(local.set $h {_BASIS})" + "".join(taken)


HASH: Final = f"""
(if {_is_string("$k")} (then {_HASH_STRING} (return (local.get $h))))
(if (i32.eq (i32.load16_u (local.get $k)) {INTEGER}) (then
  (local.set $x (i64.reinterpret_f64 (f64.convert_i64_s (i64.load offset=8 (local.get $k)))))
  {_hash_double()}
  (return (local.get $h))))
(call $slow (local.get $k))"""

_SAME_BYTES: Final = """
(if (i32.ge_u (local.get $n) (i32.const 8)) (then
  (loop $eight
    (br_if $next (i64.ne (i64.load align=1 (local.get $a)) (i64.load align=1 (local.get $b))))
    (local.set $n (i32.sub (local.get $n) (i32.const 8)))
    (br_if $same (i32.eqz (local.get $n)))
    (if (i32.lt_u (local.get $n) (i32.const 8)) (then
      (local.set $a (i32.add (local.get $a) (local.get $n)))
      (local.set $b (i32.add (local.get $b) (local.get $n)))
      (br_if $next (i64.ne (i64.load align=1 (local.get $a)) (i64.load align=1 (local.get $b))))
      (br $same)))
    (local.set $a (i32.add (local.get $a) (i32.const 8)))
    (local.set $b (i32.add (local.get $b) (i32.const 8)))
    (br $eight))))
(if (i32.ge_u (local.get $n) (i32.const 4)) (then
  (br_if $next (i32.ne (i32.load align=1 (local.get $a)) (i32.load align=1 (local.get $b))))
  (local.set $n (i32.sub (local.get $n) (i32.const 4)))
  (local.set $a (i32.add (local.get $a) (local.get $n)))
  (local.set $b (i32.add (local.get $b) (local.get $n)))
  (br_if $next (i32.ne (i32.load align=1 (local.get $a)) (i32.load align=1 (local.get $b))))
  (br $same)))
(loop $one
  (br_if $same (i32.eqz (local.get $n)))
  (br_if $next (i32.ne (i32.load8_u (local.get $a)) (i32.load8_u (local.get $b))))
  (local.set $a (i32.add (local.get $a) (i32.const 1)))
  (local.set $b (i32.add (local.get $b) (i32.const 1)))
  (local.set $n (i32.sub (local.get $n) (i32.const 1)))
  (br $one))"""
"""Go to `$same` when the `$n` bytes at `$a` and `$b` are equal and to `$next` when they are not; the last words overlap
those before them, so that nothing behind the strings is read."""


def _find(following: int, found: str) -> str:
    """Look the string `$k` up in the object or set `$o`; 0 when it is not in it."""
    return f"""
(br_if $other (i32.eqz {_is_string("$k")}))
(local.set $m (i32.sub (i32.load offset=8 (local.get $o)) (i32.const 1)))
(br_if $other (i32.lt_s (local.get $m) (i32.const 0)))
(br_if $other (i32.and (local.get $m) (i32.add (local.get $m) (i32.const 1))))
{_HASH_STRING}
(local.set $e (i32.load (i32.add (i32.load offset=4 (local.get $o))
  (i32.shl (i32.and (local.get $h) (local.get $m)) (i32.const 2)))))
(loop $chain
  (if (i32.eqz (local.get $e)) (then (return (i32.const 0))))
  (block $next
    (block $same
      (local.set $q (i32.load (local.get $e)))
      (br_if $same (i32.eq (local.get $q) (local.get $k)))
      (br_if $next (i32.eqz {_is_string("$q")}))
      (local.set $n (i32.load offset=4 (local.get $q)))
      (br_if $next (i32.ne (local.get $n) (i32.load offset=4 (local.get $k))))
      (local.set $a (i32.load offset=8 (local.get $q)))
      (local.set $b (i32.load offset=8 (local.get $k)))
      {_SAME_BYTES})
    (return {found}))
  (local.set $e (i32.load offset={following} (local.get $e)))
  (br $chain))
unreachable"""


GET: Final = f"""
(block $other
  (br_if $other (i32.eqz (local.get $o)))
  (br_if $other (i32.eqz (local.get $k)))
  (local.set $t (i32.load8_u (local.get $o)))
  (if (i32.eq (local.get $t) (i32.const 6)) (then {_find(8, "(i32.load offset=4 (local.get $e))")}))
  (if (i32.eq (local.get $t) (i32.const 7)) (then {_find(4, "(local.get $q)")}))
  (br_if $other (i32.ne (local.get $t) (i32.const 5)))
  (br_if $other (i32.ne (i32.load16_u (local.get $k)) {INTEGER}))
  (local.set $x (i64.load offset=8 (local.get $k)))
  (if (i64.ge_u (local.get $x) (i64.load32_u offset=8 (local.get $o))) (then (return (i32.const 0))))
  (return (i32.load offset=4 (i32.add (i32.load offset=4 (local.get $o))
    (i32.shl (i32.wrap_i64 (local.get $x)) (i32.const 3))))))
(call $slow (local.get $o) (local.get $k))"""

_COMPARE_STRINGS: Final = """
(local.set $h (i32.load offset=4 (local.get $k)))
(local.set $t (i32.load offset=4 (local.get $q)))
(local.set $m (select (local.get $h) (local.get $t) (i32.lt_u (local.get $h) (local.get $t))))
(local.set $a (i32.load offset=8 (local.get $k)))
(local.set $b (i32.load offset=8 (local.get $q)))
(block $short (br_if $short (i32.lt_u (local.get $m) (i32.const 8))) (loop $eight
  (local.set $x (i64.xor (i64.load align=1 (local.get $a)) (i64.load align=1 (local.get $b))))
  (br_if $short (i64.ne (local.get $x) (i64.const 0)))
  (local.set $a (i32.add (local.get $a) (i32.const 8)))
  (local.set $b (i32.add (local.get $b) (i32.const 8)))
  (local.set $m (i32.sub (local.get $m) (i32.const 8)))
  (br_if $eight (i32.ge_u (local.get $m) (i32.const 8)))))
(block $equal (loop $one
  (br_if $equal (i32.eqz (local.get $m)))
  (local.set $p (i32.load8_u (local.get $a)))
  (local.set $n (i32.load8_u (local.get $b)))
  (if (i32.ne (local.get $p) (local.get $n)) (then
    (return (select (i32.const -1) (i32.const 1) (i32.lt_u (local.get $p) (local.get $n))))))
  (local.set $a (i32.add (local.get $a) (i32.const 1)))
  (local.set $b (i32.add (local.get $b) (i32.const 1)))
  (local.set $m (i32.sub (local.get $m) (i32.const 1)))
  (br $one)))
(return (i32.sub (i32.gt_u (local.get $h) (local.get $t)) (i32.lt_u (local.get $h) (local.get $t))))"""


def _type_of(value: str, into: str) -> str:
    """The type, the same for a value in the module's own data."""
    return f"""
(local.set {into} (i32.load8_u (local.get {value})))
(local.set {into} (select (i32.const 4) (local.get {into}) (i32.eq (local.get {into}) (i32.const 8))))
(local.set {into} (select (i32.const 2) (local.get {into}) (i32.eq (local.get {into}) (i32.const 9))))"""


COMPARE: Final = f"""
(if (i32.eq (local.get $k) (local.get $q)) (then (return (i32.const 0))))
(block $other
  (br_if $other (i32.eqz (local.get $k)))
  (br_if $other (i32.eqz (local.get $q)))
  (if (i32.and {_is_string("$k")} {_is_string("$q")}) (then {_COMPARE_STRINGS}))
  {_type_of("$k", "$h")}
  {_type_of("$q", "$t")}
  (if (i32.ne (local.get $h) (local.get $t)) (then
    (return (select (i32.const -1) (i32.const 1) (i32.lt_u (local.get $h) (local.get $t))))))
  (if (i32.eq (local.get $h) (i32.const 2)) (then
    (return (i32.sub (i32.load8_u offset=1 (local.get $k)) (i32.load8_u offset=1 (local.get $q))))))
  (br_if $other (i32.ne (i32.load16_u (local.get $k)) {INTEGER}))
  (br_if $other (i32.ne (i32.load16_u (local.get $q)) {INTEGER}))
  (local.set $x (i64.load offset=8 (local.get $k)))
  (local.set $y (i64.load offset=8 (local.get $q)))
  (return (i32.sub (i64.gt_s (local.get $x) (local.get $y)) (i64.lt_s (local.get $x) (local.get $y)))))
(call $slow (local.get $k) (local.get $q))"""
