"""Text on a terminal: no line is too wide, nothing is lost, Japanese is not torn at its Latin letters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from zt_engine.cli.wrapping import wrapped

NOTICE = (
    "  - ディスクが暗号化されているかどうかです。(disk.encrypted) "
    "端末の紛失時に情報を守るために確認します。保存期間は30日です。"
)
WORDS = st.lists(
    st.one_of(st.text("abcdefgh.", min_size=1, max_size=12), st.text("端末の紛失暗号、。", min_size=1, max_size=30)),
    min_size=1,
    max_size=12,
)


def test_a_line_of_japanese_is_broken_where_it_ends_and_goes_on_behind_its_bullet() -> None:
    lines = list(wrapped(NOTICE, 40))

    assert lines[0].startswith("  - ディスク")
    assert all(cell_len(line) <= 42 for line in lines)
    assert cell_len(lines[0]) > 30
    assert all(line.startswith("    ") and not line.startswith("     ") for line in lines[1:])


def test_a_short_line_stays_as_it_is() -> None:
    assert list(wrapped("    $ zt agent report", 80)) == ["    $ zt agent report"]
    assert list(wrapped("", 80)) == [""]


@given(WORDS, st.integers(30, 100))
def test_nothing_is_lost_and_no_line_is_much_too_wide(words: list[str], width: int) -> None:
    text = " ".join(words)
    lines = list(wrapped(text, width))

    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cell_len(line) <= width or " " not in line.strip() for line in lines)
