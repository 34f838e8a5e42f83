"""Bytes to text and stop strings: nothing may depend on where the stream is cut."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.decode.text import StopStrings, Utf8, spans
from edgeproxy.errors import UsageError

# One to four bytes a character; a combining mark; a family joined by invisible characters.
TEXTS = (
    "plain",
    "é",
    "€",
    "𝄞",
    "naïve €5 𝄞𝄞",
    "日本語",
    "e\u0301",
    "👨‍👩‍👧",
    "\x00\x7f\x80\uffff",
    "a\ufffdb",
)


def decoded(parts: Iterable[bytes]) -> str:
    decoder = Utf8()
    return "".join(decoder.push(part) for part in parts) + decoder.flush()


def stopped(parts: Iterable[str], stops: Iterable[str]) -> tuple[str, bool]:
    stop = StopStrings(tuple(stops))
    text = "".join(stop.push(part) for part in parts) + stop.flush()
    return text, stop.stopped


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_every_cut_in_two(text: str) -> None:
    data = text.encode()
    for cut in range(len(data) + 1):
        assert decoded([data[:cut], data[cut:]]) == text
    assert decoded(bytes([byte]) for byte in data) == text


@pytest.mark.parametrize("text", TEXTS)
def test_half_a_character_is_held_back(text: str) -> None:
    decoder, data, shown = Utf8(), text.encode(), ""
    for n, byte in enumerate(data, 1):
        shown += decoder.push(bytes([byte]))
        assert shown == data[:n].decode(errors="ignore")


@given(st.binary(max_size=12), st.lists(st.integers(0, 12)))
def test_damaged_bytes_decode_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    parts = [data[a:b] for a, b in pairwise(edges)]
    assert decoded(parts) == data.decode(errors="replace")


def test_an_unfinished_character_becomes_a_replacement_character() -> None:
    decoder = Utf8()
    assert decoder.push("€".encode()[:2]) == ""
    assert decoder.flush() == "\ufffd"


def test_flushing_begins_anew() -> None:
    decoder = Utf8()
    decoder.push("€".encode()[:2])
    decoder.flush()
    assert decoder.push(b"a") == "a"


def test_text_before_a_stop_string_is_kept_and_the_rest_dropped() -> None:
    assert stopped(["one\nUser: two"], ["\nUser:"]) == ("one", True)


def test_a_stop_string_is_found_across_pieces() -> None:
    assert stopped(["one\n", "Us", "er", ": two", " three"], ["\nUser:"]) == ("one", True)


def test_what_only_began_like_a_stop_string_is_given_back() -> None:
    assert stopped(["one\nUs", "ual"], ["\nUser:"]) == ("one\nUsual", False)
    assert stopped(["one\nUse"], ["\nUser:"]) == ("one\nUse", False)


def test_only_the_possible_beginning_of_a_stop_string_is_held_back() -> None:
    stop = StopStrings(["abc"])
    assert stop.push("xxab") == "xx"
    assert stop.push("d") == "abd"
    assert stop.push("aab") == "a"
    assert stop.push("c") == ""
    assert stop.stopped


def test_without_stop_strings_nothing_is_held_back() -> None:
    assert StopStrings().push("anything") == "anything"


def test_after_a_stop_string_nothing_more_is_shown() -> None:
    stop = StopStrings(["."])
    assert stop.push("a.b") == "a"
    assert stop.push("c") == ""
    assert stop.flush() == ""


@pytest.mark.parametrize("stops", [[""], ["a", ""]])
def test_an_empty_stop_string_is_refused(stops: list[str]) -> None:
    with pytest.raises(UsageError, match="empty"):
        StopStrings(stops)


letters = st.text("ab\n", max_size=20)
some_stops = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


@given(st.lists(letters, max_size=8), some_stops)
def test_pushes_in_any_cut_equal_one_push(parts: list[str], stops: list[str]) -> None:
    assert stopped(parts, stops) == stopped(["".join(parts)], stops)
    assert stopped("".join(parts), stops) == stopped(["".join(parts)], stops)


@given(letters, some_stops)
def test_the_text_shown_is_what_stands_before_the_first_complete_stop(
    text: str, stops: list[str]
) -> None:
    shown, found = stopped([text], stops)
    matches = [m for s in stops for m in re.finditer(f"(?={re.escape(s)})", text)]
    assert found == bool(matches)
    if not found:
        assert shown == text
        return
    end = min(text.find(s) + len(s) for s in stops if s in text)
    assert text.startswith(shown)
    assert any(text[len(shown) : end] == s for s in stops)
    assert not any(s in text[: end - 1] for s in stops)


# Where each piece stands


@given(st.text(max_size=12), st.lists(st.integers(0, 48)))
def test_a_piece_has_the_characters_that_its_bytes_make(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    owners = [n for n, character in enumerate(text) for _ in character.encode()]
    for (first, end), (start, stop) in zip(
        spans(data[a:b] for a, b in pairwise(edges)), pairwise(edges), strict=True
    ):
        assert set(range(first, end)) == set(owners[start:stop])


@given(st.binary(max_size=12), st.lists(st.integers(0, 12)))
def test_pieces_of_damaged_bytes_cover_the_text(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[a:b] for a, b in pairwise(edges)]
    found = spans(parts)
    assert {n for start, end in found for n in range(start, end)} == set(range(len(decoded(parts))))
    assert [start for start, _ in found] == sorted(start for start, _ in found)
