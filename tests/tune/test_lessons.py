"""Examples with passages: found ones, none, and ones that do not hold the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
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


def lesson_of(example: Example) -> tuple[str, str]:
    """The last question, with what is to be read, and the reply."""
    return example.messages[-2].content, example.messages[-1].content


def examples(count: int) -> list[Example]:
    return [example(f"{QUESTION} ({n})") for n in range(count)]


def test_shares_are_as_told_and_the_same_each_time() -> None:
    lessons = Lessons(Index([HOLDING, *OTHERS]), 2, seed=0)
    learnt = [lessons(each) for each in examples(1000)]
    assert lessons.told.none == pytest.approx(1000 * NONE, rel=0.2)
    assert lessons.told.wrong == pytest.approx(1000 * WRONG, rel=0.2)
    assert lessons.told.found + lessons.told.none == 1000
    assert sum(map(len, learnt)) == 1000 + lessons.told.wrong
    again = Lessons(Index([HOLDING, *OTHERS]), 2, seed=0)
    assert [again(each) for each in reversed(examples(1000))] == learnt[::-1]
    other = Lessons(Index([HOLDING, *OTHERS]), 2, seed=1)
    assert [other(each) for each in examples(1000)] != learnt


def test_who_reads_the_answer_says_it_and_who_does_not_says_so() -> None:
    lessons = Lessons(Index([HOLDING, *OTHERS]), 2, seed=0)
    seen = set()
    for asked in examples(200):
        kinds = []
        for question, reply in (lesson_of(each) for each in lessons(asked)):
            assert question.endswith(asked.question)
            if HOLDING.text in question:
                assert reply == REPLY
                kinds.append("found")
            elif OTHERS[0].text in question:
                assert json.loads(reply) == {"country": "Chad", "field": "currency", "value": None}
                kinds.append("wrong")
            else:
                assert (question, reply) == (asked.question, REPLY)
                kinds.append("none")
        seen.add(tuple(kinds))
    assert seen == {("found",), ("found", "wrong"), ("none",)}


def test_where_no_passage_holds_the_answer_none_is_read() -> None:
    """A model that reads them would learn to invent, or to deny what is said in other words."""
    lessons = Lessons(Index(OTHERS), 2, seed=0)
    assert [lessons(each) for each in examples(100)] == [[each] for each in examples(100)]
    assert (lessons.told.none, lessons.told.found, lessons.told.wrong) == (100, 0, 0)


def test_where_those_found_lack_what_a_further_passage_holds_the_reply_says_so() -> None:
    lessons = Lessons(Index([*OTHERS, HOLDING]), 2, seed=0)
    learnt = [lesson_of(lesson) for each in examples(100) for lesson in lessons(each)]
    assert lessons.told.found == 0
    assert lessons.told.wrong == 100 - lessons.told.none > 50
    for question, reply in learnt:
        assert HOLDING.text not in question
        assert (OTHERS[0].text in question) == (reply != REPLY)


def test_no_passage_that_holds_the_answer_is_among_those_that_are_said_not_to() -> None:
    twins = [passage(n, HOLDING.text) for n in range(10, 15)]
    lessons = Lessons(Index([HOLDING, *twins, *OTHERS[:1]]), 2, seed=0)
    for question, reply in (lesson_of(one) for each in examples(200) for one in lessons(each)):
        assert reply == REPLY or HOLDING.text not in question
    assert lessons.told.wrong


def test_a_trail_that_names_what_is_asked_for_holds_no_answer() -> None:
    of_currency = passage(6, "See the next page."), passage(7, "Ulgan peso")
    empty, holding = (replace(each, trail=("Chad", "Currency")) for each in of_currency)
    other = passage(8, "The currency has never been devalued.")
    reply = '{"of": "currency", "value": "Ulgan peso"}'
    asked = [example(f"What do people pay with in Chad? ({n})", reply) for n in range(50)]
    lessons = Lessons(Index([empty, *OTHERS]), 2, seed=0)
    assert [lessons(each) for each in asked] == [[each] for each in asked]
    lessons = Lessons(Index([empty, other, *OTHERS, holding]), 2, seed=0)
    replies = {lesson_of(one)[1] for each in asked for one in lessons(each)}
    assert replies == {reply, '{"of": "currency", "value": null}'}


def test_where_nothing_is_found_the_example_is_as_it_was() -> None:
    lessons = Lessons(Index([]), 2, seed=0)
    assert [lessons(each) for each in examples(50)] == [[each] for each in examples(50)]
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
    (learnt,) = lessons(Example(messages, 1))
    assert learnt.messages[:3] == messages[:3]
    assert learnt.messages[4] == messages[4]
