"""What counts as the same head: the same bytes but for the request id, from the same user, and nothing else."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hook_support import hook_request
from zt_engine.core.request import is_request_id
from zt_engine.sidecar.authorize import Memory
from zt_engine.sidecar.hooks.credentials import Peer
from zt_engine.sidecar.hooks.reading import ID_LINE
from zt_engine.sidecar.repeats import STEP, Repeats

HEAD = hook_request()
ID = b"00112233445566778899aabbccddeeff"
MEMORY = cast("Memory", object())


def kept(*heads: bytes, uid: int | None = None) -> Repeats:
    repeats = Repeats()
    for head in heads:
        repeats.keep(head, uid, MEMORY)
    return repeats


def with_id(number: bytes) -> bytes:
    return HEAD.replace(ID, number)


@given(st.binary(max_size=140) | st.text("aZ09-_", max_size=140).map(str.encode))
def test_any_good_request_id_is_the_same_head_and_no_other(number: bytes) -> None:
    found = kept(HEAD).find(with_id(number), None)

    good = is_request_id(number)
    assert (found == (MEMORY, number)) == good
    assert (found is None) == (not good)


@given(st.data())
def test_one_byte_more_less_or_other_anywhere_else_is_another_head(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(HEAD) - 1))
    byte = data.draw(st.binary(min_size=1, max_size=1))
    inside = HEAD.index(ID) <= at < HEAD.index(ID) + len(ID)
    changed = data.draw(
        st.sampled_from([HEAD[:at] + byte + HEAD[at:], HEAD[:at] + HEAD[at + 1 :], HEAD[:at] + byte + HEAD[at + 1 :]])
    )
    found = kept(HEAD).find(changed, None)

    assert found is None or inside or at == HEAD.index(ID) + len(ID) or changed == HEAD
    if found is not None:
        number = found[1]
        assert changed == with_id(number) and is_request_id(number)


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_whatever_is_found_is_the_kept_bytes_with_another_id(before: bytes, behind: bytes) -> None:
    """Also for bytes that are no head at all, and that have the line of the id twice or cut in two."""
    repeats = kept(HEAD)
    for tried in (before + HEAD + behind, before + ID_LINE + behind, HEAD[: len(before)] + HEAD[len(behind) :]):
        found = repeats.find(tried, None)

        assert found is None or tried == with_id(found[1])


def test_a_head_is_known_only_for_the_user_who_sent_it() -> None:
    for mine, others in ((None, (0, 33)), (33, (None, 0, 34)), (0, (None, 33))):
        repeats = kept(HEAD, uid=mine)

        assert repeats.find(HEAD, mine) == (MEMORY, ID)
        assert [repeats.find(HEAD, uid) for uid in others] == [None] * len(others)


@pytest.mark.parametrize("peer", [0, 33, ("proxy.example",), ("a", "b")])
@pytest.mark.parametrize("line", [ID_LINE, b""])
def test_no_bytes_before_or_behind_a_head_make_it_that_of_a_user_who_did_not_send_it(peer: Peer, line: bytes) -> None:
    repeats = Repeats(line)
    repeats.keep(HEAD, peer, MEMORY)
    names = [b"%b%a%b" % (one, peer, other) for one in (b"", b"\n") for other in (b"", b"\n")]

    assert repeats.find(HEAD, peer) is not None
    assert [said for name in names for said in (name + HEAD, HEAD + name) if repeats.find(said, None) is not None] == []


def test_half_a_head_and_two_heads_are_no_head() -> None:
    repeats = kept(HEAD)

    assert repeats.find(HEAD + HEAD, None) is None
    assert [cut for cut in range(len(HEAD)) if repeats.find(HEAD[:cut], None) is not None] == []


def test_a_head_whose_id_stands_under_another_spelling_is_not_kept() -> None:
    odd = HEAD.replace(b"Zt-Request-Id", b"zt-request-id")

    assert kept(odd).find(odd, None) is None
    assert len(kept(odd)) == 0


def test_many_heads_of_one_person_share_their_end_and_all_of_them_are_bounded() -> None:
    repeats: Any = Repeats(end_bytes=20_000, head_bytes=20_000)
    for number in range(200):
        repeats.keep(hook_request(X_Original_URI=b"/%d" % number), None, MEMORY)
        repeats.keep(hook_request(Authorization=b"Bearer %d" % number), None, MEMORY)

    assert len(repeats._ends) < 40
    assert 10 < len(repeats) < 40
    assert repeats.find(hook_request(X_Original_URI=b"/199"), None) is not None
    assert repeats.find(hook_request(X_Original_URI=b"/0"), None) is None


def test_an_end_that_was_forgotten_comes_back_under_another_name() -> None:
    """Or a head that was kept for one end could be found behind another."""
    repeats: Any = Repeats(end_bytes=1, head_bytes=1 << 20)
    repeats.keep(HEAD, None, MEMORY)
    other = hook_request(Authorization=b"Bearer other")
    repeats._ends._half = 1 << 20
    repeats.keep(other, None, MEMORY)

    assert repeats.find(HEAD, None) is None
    assert repeats.find(other, None) == (MEMORY, ID)


def test_after_clearing_nothing_is_known() -> None:
    repeats = kept(HEAD)
    repeats.clear()

    assert (repeats.find(HEAD, None), len(repeats)) == (None, 0)


def test_ends_that_differ_in_no_sampled_byte_are_told_apart_and_the_later_one_is_kept() -> None:
    at = HEAD.index(b"\r\n", HEAD.index(ID_LINE) + len(ID_LINE)) + STEP + 1
    other = HEAD[:at] + bytes([HEAD[at] ^ 1]) + HEAD[at + 1 :]
    repeats = kept(HEAD)

    assert repeats.find(other, None) is None
    repeats.keep(other, None, MEMORY)
    assert repeats.find(other, None) == (MEMORY, ID)
    assert repeats.find(HEAD, None) is None
    repeats.keep(HEAD, None, MEMORY)
    assert repeats.find(HEAD, None) == (MEMORY, ID)
