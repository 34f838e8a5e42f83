"""How much less likely parts of a reply are without a passage: sums, sources, words for them."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.documents.citing import cite
from edgeproxy.documents.left_out import (
    LEAST_DROP,
    Reliance,
    as_data,
    in_words,
    reliances,
    times,
    touched,
)
from edgeproxy.documents.passage import Passage

REPLY = 'The capital is Lima. It has 10 million people.\n\n- {"x": "é"}'


def passage(number: int, text: str) -> Passage:
    return Passage(number, Path(f"{number}.txt"), 0, (), "line 1", text)


LIMA, CHAD = passage(7, "The capital of Peru is Lima."), passage(9, "Chad has a lake.")


def cut(text: str, cuts: list[int]) -> list[tuple[int, int]]:
    return list(pairwise([0, *sorted(min(each, len(text)) for each in cuts), len(text)]))


texts = st.one_of(
    st.just(REPLY),
    st.just('{"country": "Peru", "capital": "Lima", "n": 10}'),
    st.just("| a | b |\n|---|---|\n| Lima | 10 |\n"),
    st.text("ab .\n{}é", max_size=30),
)


@given(texts, st.lists(st.integers(0, 60)))
def test_a_part_has_just_the_tokens_that_touch_it(text: str, cuts: list[int]) -> None:
    spans = cut(text, cuts)
    needed = touched(text, spans)
    # Each token's drop is a power of two, so that a sum tells which tokens are in it.
    drops = [float(2**n) for n in range(needed)]
    found = reliances(text, spans, [LIMA], drops, [[0.0] * needed])
    assert [(each.start, each.end) for each in found] == [(p.start, p.end) for p in cite(text, [])]
    counted = 0
    for each in found:
        mine = int(each.drop)
        counted |= mine
        for n, (start, end) in enumerate(spans):
            characters = set(range(start, end)) & set(range(each.start, each.end))
            assert bool(mine >> n & 1) == bool(characters)
    # No token that says something is left out where a reply is sentences.
    if text == REPLY:
        for n, (start, end) in enumerate(spans):
            assert (counted >> n & 1) or not text[start:end].strip(" \n-")


def test_drops_are_sums_of_differences_in_the_order_of_the_passages() -> None:
    spans = [(0, 4), (4, 20), (20, 46)]
    found = reliances(
        REPLY[:46],
        spans,
        [LIMA, CHAD],
        [-1.0, -0.5, -2.0],
        [[-1.5, -6.0, -2.0], [-1.0, -0.5, -1.0]],
    )
    assert [each.text for each in found] == ["The capital is Lima.", "It has 10 million people."]
    assert found[0].drops == pytest.approx((6.0, 0.0))
    assert found[1].drops == pytest.approx((0.0, -1.0))
    assert found[0].passage is LIMA
    assert found[0].drop == pytest.approx(6.0)
    assert found[1].passage is None


@pytest.mark.parametrize(
    ("drops", "source"),
    [
        ((LEAST_DROP, 0.0), LIMA),
        ((LEAST_DROP - 1e-9, 0.0), None),
        ((3.0, 4.0), CHAD),
        ((4.0, 4.0), LIMA),
        ((-9.0, 2.0), None),
        ((), None),
    ],
)
def test_a_source_is_the_largest_drop_above_the_threshold(
    drops: tuple[float, ...], source: Passage | None
) -> None:
    assert Reliance(0, 4, "Lima", (LIMA, CHAD)[: len(drops)], drops).passage is source


def test_without_scores_there_are_parts_without_drops() -> None:
    found = reliances(REPLY, [(0, len(REPLY))], [], [], [])
    assert [each.drops for each in found] == [()] * 3
    assert reliances("", [], [LIMA], [], [[]]) == []
    assert touched("... !", [(0, 5)]) == 0


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        (LEAST_DROP, "10 times"),
        (math.log(12.4), "12 times"),
        (math.log(40), "40 times"),
        (math.log(1287), "1,300 times"),
        (math.log(999_999), "1,000,000 times"),
        (math.log(1_000_001), "over a million times"),
        (5000.0, "over a million times"),
    ],
)
def test_a_drop_in_words(drop: float, said: str) -> None:
    assert times(drop) == said


def lines(drops: tuple[float, float], reply: str = "It is Lima.", asked: str = "") -> list[str]:
    parts = cite(reply, [LIMA, CHAD], asked)
    found = [Reliance(p.start, p.end, p.text, (LIMA, CHAD), drops) for p in parts]
    return in_words(found, parts)


def test_both_ways_agree_in_one_line() -> None:
    assert lines((math.log(40), 0.1)) == ["40 times less likely without [1]: It is Lima."]


def test_where_they_disagree_both_are_told() -> None:
    assert lines((0.0, math.log(40))) == [
        '[2] 9.txt, line 1: "Chad has a lake."',
        "40 times less likely without [2], but by its words from [1]: It is Lima.",
    ]
    assert lines((0.1, 0.2)) == [
        "by its words from [1], but about as likely without it: It is Lima."
    ]
    assert lines((math.log(40), 0.0), "It is Quito.") == [
        '[1] 7.txt, line 1: "The capital of Peru is Lima."',
        "40 times less likely without [1], but by its words from no document: It is Quito.",
    ]
    assert lines((0.0, 0.0), "It is Quito.") == []


def test_an_echo_disagrees_with_nothing() -> None:
    assert lines((math.log(40), 0.0), "Lima.", "Lima?")[-1] == (
        "40 times less likely without [1]: Lima."
    )


def test_lines_are_safe_for_a_terminal() -> None:
    nasty = passage(3, "Lima \x1b[31m\u202e\ud800 red")
    text = "It is\x1b[2J Lima\u202e."
    for line in in_words([Reliance(0, len(text), text, (nasty,), (9.0,))], []):
        assert line.isprintable()


def test_a_long_part_is_shortened() -> None:
    text = "Lima " * 1000
    (line,) = in_words([Reliance(0, len(text), text, (LIMA,), (9.0,))], [])[1:]
    assert len(line) < 300


def test_data_is_json() -> None:
    found = [Reliance(6, 10, "Lima", (LIMA, CHAD), (3.14159265, -0.5)), Reliance(0, 1, "x")]
    assert json.loads(json.dumps(as_data(found), allow_nan=False)) == [
        {
            "start": 6,
            "end": 10,
            "text": "Lima",
            "source": 7,
            "drops": [{"id": 7, "nats": 3.1416}, {"id": 9, "nats": -0.5}],
        },
        {"start": 0, "end": 1, "text": "x", "source": None, "drops": []},
    ]
