"""Labels fit their width, lose no letter, and never crash on any text."""

import hypothesis.strategies as st
from hypothesis import given

from nstcore.contact_sheet.page import legible, text_width, wrap

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789._-,=", min_size=1, max_size=80)


@given(NAMES, st.integers(20, 300), st.integers(9, 40))
def test_lines_fit_and_nothing_is_lost(name: str, width: int, size: int) -> None:
    lines = wrap(name, width, size)
    assert "".join(lines) == name
    assert all(text_width(line, size) <= width or len(line) == 1 for line in lines)


@given(st.text(max_size=60), st.integers(1, 4))
def test_any_text_can_be_shown(text: str, limit: int) -> None:
    lines = wrap(text, 120, 14, limit=limit)
    assert 1 <= len(lines) <= limit
    assert all(text_width(line, 14) <= 120 for line in lines)
    assert all(char.isprintable() for char in "".join(lines))


def test_breaks_come_after_separators() -> None:
    width = text_width("a_rather_long_", 14)
    assert wrap("a_rather_long_name-of,things", width, 14) == [
        "a_rather_long_",
        "name-of,",
        "things",
    ]


def test_a_limit_ends_in_an_ellipsis() -> None:
    lines = wrap("one two three four five six seven", 60, 14, limit=2)
    assert len(lines) == 2
    assert lines[-1].endswith("…")


def test_letters_that_the_font_lacks_degrade() -> None:
    assert legible("Übung") == "Übung"
    assert legible("Dvořák ő\n日") == "Dvorák o ?" or legible("ő") == "o"
    assert legible("日本") == "??"
    assert legible("a\u0301") == "á"
    assert "\n" not in legible("a\nb\x00")
