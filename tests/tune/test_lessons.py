"""Examples with passages: found ones, none, and ones that do not hold the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeproxy.documents.passage import Passage
from edgeproxy.documents.search import Found
from edgeproxy.prompts.messages import Message
from edgeproxy.tune.examples import Example
from edgeproxy.tune.lessons import NONE, NOT_THERE, WRONG, Lessons, not_there

QUESTION = "What is the currency of Chad?"
REPLY = '{"country": "Chad", "field": "currency", "value": "Ulgan peso"}'


def passage(number: int, text: str) -> Passage:
    return Passage(number, Path("chad.txt"), number, ("Chad",), f"line {number}", text)


HOLDING = passage(1, "The currency is the Ulgan peso.")
OTHERS = [passage(n, f"Chad's lake number {n} is deep.") for n in range(2, 6)]


class Index:
    """Finds these passages for whatever is asked."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = passages

    def __call__(self, messages: Sequence[Message], count: int | None = None) -> Sequence[Found]:
        return [Found(each, 1.0, ()) for each in self.passages[: count or 2]]


def example(question: str = QUESTION, reply: str = REPLY) -> Example:
    return Example((Message("user", question), Message("assistant", reply)), 1)


def examples(count: int) -> list[Example]:
    return [example(f"{QUESTION} ({n})") for n in range(count)]


def test_shares_are_as_told_and_the_same_each_time() -> None:
    lessons = Lessons(Index([HOLDING, *OTHERS]), 2, seed=0)
    learnt = [lessons(each) for each in examples(1000)]
    assert lessons.told.none == pytest.approx(1000 * NONE, rel=0.2)
    assert lessons.told.wrong == pytest.approx(1000 * WRONG, rel=0.3)
    assert lessons.told.found + lessons.told.none + lessons.told.wrong == 1000
    again = Lessons(Index([HOLDING, *OTHERS]), 2, seed=0)
    assert [again(each) for each in reversed(examples(1000))] == learnt[::-1]
    other = Lessons(Index([HOLDING, *OTHERS]), 2, seed=1)
    assert [other(each) for each in examples(1000)] != learnt


def test_who_reads_the_answer_says_it_and_who_does_not_says_so() -> None:
    lessons = Lessons(Index([HOLDING, *OTHERS]), 2, seed=0)
    seen = set()
    for asked in examples(200):
        question, reply = (message.content for message in lessons(asked).messages)
        assert question.endswith(asked.question)
        if HOLDING.text in question:
            assert reply == REPLY
            seen.add("found")
        elif OTHERS[0].text in question:
            assert json.loads(reply) == {"country": "Chad", "field": "currency", "value": None}
            seen.add("wrong")
        else:
            assert (question, reply) == (asked.question, REPLY)
            seen.add("none")
    assert seen == {"found", "wrong", "none"}


def test_where_no_passage_holds_the_answer_no_reply_is_changed() -> None:
    lessons = Lessons(Index(OTHERS), 2, seed=0)
    assert {lessons(each).messages[-1].content for each in examples(100)} == {REPLY}
    assert lessons.told.wrong == 0


def test_where_nothing_is_found_the_example_is_as_it_was() -> None:
    lessons = Lessons(Index([]), 2, seed=0)
    assert [lessons(each) for each in examples(50)] == examples(50)
    assert lessons.told.found == 0


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        (REPLY, REPLY.replace('"Ulgan peso"', "null")),
        ('["Ulgan peso", "Chad"]', '[null, "Chad"]'),
        ("It is the Ulgan peso.", NOT_THERE),
        ('{"value": "dollar"}', NOT_THERE),
        ("{ no JSON", NOT_THERE),
    ],
)
def test_what_one_says_who_has_not_read_it(reply: str, wanted: str) -> None:
    assert not_there(reply, [HOLDING], QUESTION) == wanted


def test_numbers_become_null_too() -> None:
    held = passage(1, "It has 1,250 wells.")
    assert not_there('{"wells": 1250}', [held], "How many wells?") == '{"wells": null}'


def test_a_system_message_and_earlier_turns_stay() -> None:
    messages = (
        Message("system", "Be brief."),
        Message("user", "Hello?"),
        Message("assistant", "Hello."),
        Message("user", QUESTION),
        Message("assistant", REPLY),
    )
    lessons = Lessons(Index([HOLDING]), 2, seed=0)
    learnt = lessons(Example(messages, 1)).messages
    assert learnt[:3] == messages[:3]
    assert learnt[4] == messages[4]
