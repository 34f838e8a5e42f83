"""Markdown as it comes: the same spans however it is cut, nothing lost, nothing held for long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.cli.chatting.markup import Markup, Span

CASES = {
    "plain text": [("plain text", "")],
    "a **bold** word": [("a ", ""), ("bold", "strong"), (" word", "")],
    "a *slanted* word": [("a ", ""), ("slanted", "emphasis"), (" word", "")],
    "__both__ and _one_": [("both", "strong"), (" and ", ""), ("one", "emphasis")],
    "***both***": [("both", "strong emphasis")],
    "**a `b` c**": [("a ", "strong"), ("b", "strong code"), (" c", "strong")],
    "~~gone~~ ~one~": [("gone", "struck"), (" ~one~", "")],
    "`code` and ``a ` b``": [("code", "code"), (" and ", ""), ("a ` b", "code")],
    "snake_case_name": [("snake_case_name", "")],
    "2 * 3 * 4": [("2 * 3 * 4", "")],
    "2*3*4": [("2*3*4", "")],
    "f(**kwargs)": [("f(**kwargs)", "")],
    "**open": [("**open", "")],
    "`open": [("`open", "")],
    r"\*not\* \a": [(r"*not* \a", "")],
    "[words](http://x.y)": [("words", "link"), (" (http://x.y)", "")],
    "[1] and [words] (x)": [("[1] and [words] (x)", "")],
    "# A *big* one": [("A ", "heading"), ("big", "heading emphasis"), (" one", "heading")],
    "#hashtag": [("#hashtag", "")],
    "- one\n* two": [("-", "marker"), (" one\n", ""), ("-", "marker"), (" two", "")],
    "  + three": [("  ", ""), ("-", "marker"), (" three", "")],
    "12. twelve": [("12.", "marker"), (" twelve", "")],
    "1984 was": [("1984 was", "")],
    "> said": [("> ", "marker"), ("said", "quote")],
    "---": [("---", "marker")],
    "- - -": [("- - -", "marker")],
    "| a | *b* |": [("| a | *b* |", "row")],
    "```python\nx = **2\n```\n*y*": [
        ("```python", "fence"),
        ("\n", ""),
        ("x = **2", "block:python"),
        ("\n", ""),
        ("```", "fence"),
        ("\n", ""),
        ("y", "emphasis"),
    ],
    "~~~\n```\n~~~": [
        ("~~~", "fence"),
        ("\n", ""),
        ("```", "block"),
        ("\n", ""),
        ("~~~", "fence"),
    ],
    "````\n```\n````": [
        ("````", "fence"),
        ("\n", ""),
        ("```", "block"),
        ("\n", ""),
        ("````", "fence"),
    ],
    "```\nnever closed": [("```", "fence"), ("\n", ""), ("never closed", "block")],
    "* ": [("* ", "")],
    "": [],
}


def joined(spans: list[Span]) -> list[tuple[str, str]]:
    """Neighbours of one style as one, and their styles as words."""
    out: list[tuple[str, str]] = []
    for span in spans:
        style = " ".join(span.styles) + (f":{span.language}" if span.language else "")
        if out and out[-1][1] == style:
            out[-1] = (out[-1][0] + span.text, style)
        elif span.text:
            out.append((span.text, style))
    return out


def shown(text: str, size: int) -> list[tuple[str, str]]:
    markup = Markup()
    spans = [s for n in range(0, len(text), size) for s in markup.feed(text[n : n + size])]
    return joined([*spans, *markup.end()])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("text", "wanted"), CASES.items())
def test_markdown_is_shown_the_same_however_it_comes(
    text: str, wanted: list[tuple[str, str]], size: int
) -> None:
    assert shown(text, size) == wanted


MARKED = st.text(alphabet="ab *_`~#->|[]()\\\n1.", max_size=60)


@given(MARKED, st.integers(1, 9))
def test_no_text_is_shown_otherwise_when_it_comes_in_pieces(text: str, size: int) -> None:
    assert shown(text, size) == shown(text, max(1, len(text)))


@given(MARKED)
def test_nothing_but_marks_is_ever_left_out(text: str) -> None:
    out = "".join(piece for piece, _ in shown(text, 3))
    assert out.count("\n") == text.count("\n")
    letters = re.compile(r"[ab1.|]")
    assert letters.findall(out) == letters.findall(text)


@given(st.text(max_size=80))
def test_code_is_shown_as_it_is(text: str) -> None:
    code = text.replace("```", "").replace("\r", "")
    out = "".join(piece for piece, _ in shown(f"```\n{code}\n```", 2))
    assert out == f"```\n{code}\n```"


@pytest.mark.parametrize("held", ["**", "`", "[", "*a ", "__x"])
def test_a_span_that_never_ends_is_not_held_back_for_ever(held: str) -> None:
    markup = Markup()
    text = "before " + held + "word " * 150
    out = "".join(span.text for span in markup.feed(text))
    assert len(out) > 300


def test_plain_words_go_out_as_they_come() -> None:
    markup = Markup()
    for word in ("The ", "capital ", "is ", "Lima"):
        assert "".join(span.text for span in markup.feed(word)) == word


def test_code_goes_out_as_it_comes() -> None:
    markup = Markup()
    list(markup.feed("```py\n"))
    for word in ("def ", "f(", "x)", ":\n", "    return"):
        assert "".join(span.text for span in markup.feed(word)) == word
