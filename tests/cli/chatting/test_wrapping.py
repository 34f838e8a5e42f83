"""Lines broken between words: the same however the text comes, and nothing lost but blanks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.cli.chatting.wrapping import Wrapping, cells_of


def wrapped(text: str, width: int, size: int = 1000) -> str:
    wrapping = Wrapping(lambda: width)
    pieces = [text[n : n + size] for n in range(0, len(text), size)]
    out = [part for piece in pieces for part, _ in wrapping.feed(piece, None)]
    return "".join([*out, *(part for part, _ in wrapping.rest())])


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("one two three four", "one two\nthree four"),
        ("one two\n\nthree four five", "one two\n\nthree four\nfive"),
        ("  one two three", "  one two\nthree"),
        ("abcdefghijklm no", "abcdefghijklm no"),
        ("日本語の テキスト", "日本語の\nテキスト"),
        ("one  ", "one  "),
        ("", ""),
    ],
)
def test_lines_are_broken_between_words(text: str, wanted: str, size: int) -> None:
    assert wrapped(text, 10, size) == wanted


TEXT = st.text(alphabet="ab \n日", max_size=80)


@given(TEXT, st.integers(1, 9), st.integers(4, 12))
def test_however_it_comes_it_is_the_same(text: str, size: int, width: int) -> None:
    assert wrapped(text, width, size) == wrapped(text, width)


@given(TEXT, st.integers(4, 12))
def test_words_stay_and_lines_fit(text: str, width: int) -> None:
    out = wrapped(text, width)
    assert out.split() == text.split()
    for line in out.split("\n"):
        if len(line.split()) > 1 and max(map(cells_of, line.split())) <= width:
            assert cells_of(line.rstrip()) <= width


def test_what_is_to_stay_is_not_broken() -> None:
    wrapping = Wrapping(lambda: 10)
    code = "x = [1, 2, 3, 4, 5, 6, 7]"
    assert list(wrapping.feed(code, "s", breaks=False)) == [(code, "s")]
    assert list(wrapping.feed("word", None)) == []
    assert list(wrapping.rest()) == [("word", None)]
