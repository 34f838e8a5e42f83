"""Blocks become passages: joined, cut, and cleaned; tokens are counted by the script."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.documents.cutting import is_between_words, pieces
from edgeproxy.documents.passage import Block
from edgeproxy.documents.passages import OVERLAP, SIZE, Sizing, passages
from edgeproxy.documents.sizes import DENSE, LATIN, LEAST, MOST, OTHER, Ratios, calibrate

RATIOS = Ratios()


def texts(*blocks: Block, size: int = SIZE) -> list[str]:
    return [cut.text for cut in passages(blocks, Sizing(size))]


def sentences(count: int) -> str:
    source = random.Random(count)
    return " ".join(
        "Word " + " ".join(f"word{source.randrange(10**6)}" for _ in range(8)) + "."
        for _ in range(count)
    )


def test_neighbours_under_one_trail_are_joined_until_the_size_is_reached() -> None:
    blocks = [Block("x" * 200, ("a",), f"line {n}") for n in range(7)]
    found = list(passages(blocks, Sizing(160)))
    assert [len(cut.text) for cut in found] == [602, 602, 200]
    assert [cut.place for cut in found] == ["line 0", "line 3", "line 6"]
    assert {cut.trail for cut in found} == {("a",)}


def test_short_fields_under_different_trails_stay_by_themselves() -> None:
    blocks = [Block("1.2 million", ("Chad", name)) for name in ("area", "people", "army")]
    assert texts(*blocks) == ["1.2 million"] * 3


def test_what_is_empty_is_left_out() -> None:
    assert texts(Block(""), Block(" \n\t "), Block("a"), Block("\n")) == ["a"]


def test_what_no_index_can_hold_is_replaced() -> None:
    block = Block("a\0b \ud800 c", ("t\udfff",), "p\0")
    [cut] = passages([block], Sizing())
    assert cut == (("t\ufffd",), "p\ufffd", "a\ufffdb \ufffd c")


def test_a_long_paragraph_is_cut_at_sentence_ends_with_an_overlap() -> None:
    text = sentences(60)
    found = texts(Block(text))
    assert len(found) > 5
    assert all(RATIOS.tokens(part) <= SIZE * 1.25 for part in found)
    assert all(part.endswith(".") and part.startswith("Word ") for part in found)
    for number, other in enumerate(found[1:]):
        one = found[number]
        common = next(n for n in range(len(one), -1, -1) if one.endswith(other[:n]))
        assert 0 < RATIOS.tokens(other[:common]) <= OVERLAP
    assert covers(text, RATIOS, SIZE)


def covers(text: str, ratios: Ratios, size: int) -> bool:
    """Whether nothing but spaces lies between the pieces of `text`."""
    done = 0
    for begin, end in pieces(text, ratios, size, size * OVERLAP / SIZE):
        assert begin < end
        assert end > done
        if text[done:begin].strip():
            return False
        done = end
    return done == len(text) or not text[done:].strip()


@pytest.mark.parametrize("sign", ["。", "！", "？"])
def test_chinese_is_cut_at_its_sentence_ends(sign: str) -> None:
    text = ("这是一个句子" * 4 + sign) * 40
    found = texts(Block(text))
    assert len(found) > 1
    assert all(part.endswith(sign) for part in found)
    assert covers(text, RATIOS, SIZE)


def test_thai_is_cut_between_characters_with_their_signs() -> None:
    text = "ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอนน้ำ" * 60
    found = texts(Block(text))
    assert len(found) > 1
    for part in found:
        assert not unicodedata.category(part[0]).startswith("M")
        assert part[0] != "ำ"
        assert part[-1] not in "เแโใไ"


@pytest.mark.parametrize("unit", ["e\u0301", "👩\u200d👩\u200d👧", "👍🏽", "\u1112\u1161\u11ab"])
def test_characters_of_several_code_points_stay_whole(unit: str) -> None:
    text = unit * 20_000
    for begin, end in pieces(f"{text} {text}", RATIOS, 64, 12):
        for place in (begin, end):
            assert place % len(unit) == 0 or (place - len(text) - 1) % len(unit) == 0


def test_a_word_is_cut_only_where_it_is_longer_than_several_passages() -> None:
    long = "x" * 1500
    assert any(part == long for part in texts(Block(f"{sentences(20)} {long} {sentences(20)}")))
    assert len(texts(Block("x" * 100_000))) > 30


@given(
    st.text(st.sampled_from("ab. \n。字ก็\u0301é👍\u200dжж"), max_size=3000),
    st.integers(16, 64),
)
def test_no_text_is_lost_and_no_word_is_cut(text: str, size: int) -> None:
    assert covers(text, RATIOS, size)
    longest = max(map(len, text.split()), default=0)
    for begin, end in pieces(text, RATIOS, size, size / 5):
        if longest < size:
            assert is_between_words(text, begin) or begin == 0
            assert is_between_words(text, end)


def test_a_very_long_text_takes_time_in_proportion() -> None:
    """Every character is looked at a few times at most; else this would not end."""
    for text in ("a" * 3_000_000, "a. " * 1_000_000, "字" * 2_000_000, "\u0301" * 1_000_000):
        assert sum(1 for _ in pieces(text, RATIOS, SIZE, OVERLAP)) > 100


def test_tokens_go_by_the_script() -> None:
    assert RATIOS.tokens("a" * 40) == 40 / LATIN
    assert RATIOS.tokens("é" * 40) == 40 / LATIN
    assert RATIOS.tokens("字" * 30) == 30 / DENSE
    assert RATIOS.tokens("ก" * 30) == 30 / DENSE
    assert RATIOS.tokens("ж" * 50) == 50 / OTHER
    assert RATIOS.tokens("a" * 40 + "字" * 30) == 40 / LATIN + 30 / DENSE
    assert RATIOS.tokens("") == 0


def test_a_sample_says_how_many_characters_a_token_has() -> None:
    found = calibrate(["abcd efgh " * 500, "字" * 5000], lambda text: len(text) // 2)
    assert found.latin == pytest.approx(2)
    assert found.dense == pytest.approx(2)
    assert found.other == OTHER


def test_a_foolish_count_is_not_believed() -> None:
    sample = ["abcd efgh " * 500]
    assert calibrate(sample, lambda text: 0).latin == MOST
    assert calibrate(sample, lambda text: 10**9).latin == LEAST
    assert calibrate([], len) == Ratios()
