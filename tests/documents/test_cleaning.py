"""Nothing of a document reaches a terminal raw."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from edgeproxy.documents.cleaning import clean, one_line
from tests.helpers.document_files import blocks_of

NASTY = "a\x1b[31mb\x1b]0;title\x07c\x9b1md\u202ee\U000e0041f\0g\ud800h\u200bi\x7fj"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain\n\ttext é 漢", "plain\n\ttext é 漢"),
        (NASTY, "abc1mdefg\ufffdhij"),
        ("a\r\nb\rc\x0cd\u2028e\x85f", "a\nb\nc\nd\ne\nf"),
        ("می\u200cخواهم 👩\u200d👩", "می\u200cخواهم 👩\u200d👩"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
        ("\x1b" * 5, ""),
        ("co\xadoperate", "cooperate"),
    ],
)
def test_control_and_invisible_characters_go(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\u2764\ufe0f\u200d\U0001f525", "\u2764\ufe0f\u200d\U0001f525"),
        ("a\ufe0f\ufe01\ufe02b", "a\ufe0fb"),
        ("a\u200d\u200c\u200d\u200cb", "a\u200db"),
        ("a\ufe03\u200d\ufe04\u200d\ufe05b", "a\ufe03\u200db"),
        ("a\u200c\u200b\u200c\u200b\u200cb", "a\u200cb"),
        ("a\u3164\uffa0\u034f\u115f\u1160\u17b4\u17b5b", "ab"),
    ],
)
def test_nothing_is_spelled_in_what_nobody_sees(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    assert clean(cleaned) == cleaned


def test_every_character_is_safe_or_gone() -> None:
    for code in range(0x110000):
        if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp"):
            safe = ("ab", "a\nb", "a\tb", "a\ufffdb") if code != 0x1B else ("a",)
            assert clean(f"a{chr(code)}b") in safe, hex(code)


def test_one_line_has_single_spaces() -> None:
    assert one_line(" a\n\n b\t\x1b[1mc ") == "a b c"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "x\x1b[31m\u202ey"),
        ("a.md", "# x\x1b[31m\u202ey\n\nz\x1b[0m"),
        ("a.html", "<title>&#x202e;x&#27;</title><h1>x\x1b[31m</h1><p>y&#x202e;&#x9b;"),
        ("a.csv", "x\x1b[31m,y\u202e\n1\x9b,22222222222222\x07\n"),
        ("a.json", '{"x\\u001b[31m\\u202e": {"y\\u009b": "z\\u0007\\ud800"}}'),
        ("a.jsonl", '{"x\\u001b[31m\\u202e": {"y\\u009b": "z\\u0007\\ud800"}}'),
    ],
)
def test_no_part_of_a_block_holds_any(tmp_path: Path, name: str, text: str) -> None:
    found = blocks_of(tmp_path, name, text)
    assert found
    for block in found:
        for part in (block.text, *block.trail, block.place):
            assert part == clean(part)
            part.encode()
