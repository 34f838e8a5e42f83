"""What all judges have in common, and the corners of each: no reply is too strange to be judged."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.errors import UsageError
from edgeproxy.measure.judging import JUDGES, Fields, judge
from edgeproxy.measure.judging.json_fields import first_object
from edgeproxy.text.numbers import numbers

CHOICES = {"A": "Rome", "B": "Paris", "C": "New York", "D": "York"}
STRANGE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("0123456789.,-+/ '\"{}[]()#:=eE%$½²٣१３万億АВ\u0301\u202f\ud800\n"),
    ),
    max_size=60,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text("abcé 1", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc"), VALUES, min_size=1, max_size=4)


@pytest.mark.parametrize("name", [name for name in JUDGES if name != "regex"])
@given(reply=STRANGE)
def test_no_reply_is_too_strange(name: str, reply: str) -> None:
    answers = {"json": '{"a": 1}', "choice": "B", "number": "3"}
    rule = JUDGES[name]
    verdict = rule(reply, [answers.get(name, "Lima")], CHOICES)
    assert verdict.right in (True, False)
    assert rule.is_complete(reply) in (True, False)
    kept = rule.kept(reply)
    assert rule(kept, [answers.get(name, "Lima")], CHOICES) == verdict, "what is kept is enough"


@given(answer=STRANGE)
def test_no_answer_is_too_strange(answer: str) -> None:
    """It is refused in words, or it can be judged by."""
    for name, rule in JUDGES.items():
        fault = rule.fault(answer, CHOICES)
        assert fault is None or isinstance(fault, str)
        if fault is None and name != "regex":
            rule("x", [answer], CHOICES)


@given(answer=STRANGE)
def test_an_answer_is_right_for_itself(answer: str) -> None:
    for name in ("exact", "number", "json"):
        rule = JUDGES[name]
        if rule.fault(answer) is None:
            assert rule(answer, [answer]).right, name


def test_a_judge_that_there_is_not_is_named() -> None:
    assert judge("json") is JUDGES["json"]
    with pytest.raises(
        UsageError, match="no judge 'mine'; there are contains, exact, number, json"
    ):
        judge("mine")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("number", "1" * 50_000),
        ("number", "1," * 20_000),
        ("number", "1 000" * 10_000),
        ("number", "9e99 " * 5_000),
        ("number", "answer is " * 5_000),
        ("number", "1/" * 20_000),
        ("json", "{" * 50_000),
        ("json", '{"a":' * 20_000),
        ("json", '{"a": 1e999999999}'),
        ("json", '{"a": ' + "1" * 50_000 + "}"),
        ("json", "[" * 50_000),
        ("choice", "A " * 20_000),
        ("choice", "(" * 20_000),
        ("choice", "New " * 20_000),
        ("contains", "a" * 200_000),
        ("exact", "가" * 50_000),
    ],
)
def test_a_hostile_reply_is_judged(name: str, text: str) -> None:
    """What took a time in the square of its length would end in minutes."""
    answers = {"json": '{"a": 1}', "choice": "B", "number": "3"}
    assert not JUDGES[name](text, [answers.get(name, "Lima")], CHOICES).right
    JUDGES[name].is_complete(text)


# Numbers


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,3", [1, 2, 3]),
        ("on 12.05.2020", [12, 5, 2020]),
        ("version 1.2.3", [1, 2, 3]),
        ("5-3=2", [5, 3, 2]),
        ("from 2010–2012", [2010, 2012]),
        ("10 minus 3", [10, 3]),
        ("H2O, CO2 and 3 m²", [3]),
        ("10⁶", [10]),
        ("2½ or -½", [Fraction(5, 2), Fraction(-1, 2)]),
        ("2\\frac{1}{2}", [Fraction(5, 2)]),
        ("1{,}234", [1234]),
        ("1億2千万と3", [120_000_000, 3]),
        ("3万 5000", [30_000, 5000]),
        ("1/0 of 3", [3]),
        ("0,234", [Fraction(234, 1000)]),
        ("1.5e-3", [Fraction(15, 10_000)]),
        ("2 × 10⁻³", [Fraction(2, 1000)]),
        ("$-5, -$5", [-5, -5]),
        ("- 3 of them", [3]),
        ("1" * 61, []),
        ("", []),
    ],
)
def test_numbers_of_a_text(text: str, values: list[Any]) -> None:
    assert [number.value for number in numbers(text)] == values


@given(st.integers(-(10**9), 10**9), st.sampled_from([",", "'", "\u202f", " ", "٬", "."]))
def test_groups_of_three_change_nothing(n: int, separator: str) -> None:
    (found,) = numbers(f"It is {n:,}.".replace(",", separator))
    assert found.can_be(Fraction(n))


@given(st.decimals(-(10**6), 10**6, places=2), st.sampled_from(",.٫"))
def test_a_decimal_is_one_by_comma_and_point(n: Any, point: str) -> None:
    (found,) = numbers(f"({n:f})".replace(".", point))
    assert found.value == Fraction(n)


def test_a_number_that_may_be_two_is_read_both_ways() -> None:
    rule = JUDGES["number"]
    for written in ("1.234", "1,234"):
        assert rule(written, ["1234"]).right
        assert rule(written, ["1.234"]).right
    assert not rule("1234", ["1.234"]).right, "an answer is read as programs write"
    assert not rule("1.2345", ["12345"]).right


# JSON


@given(OBJECTS, st.sampled_from(["", "Here: ", "```json\n"]), st.sampled_from([None, 2]))
def test_an_object_is_found_wherever_it_stands(
    expected: dict[str, Any], before: str, indent: int | None
) -> None:
    answer = json.dumps(expected)
    reply = before + json.dumps(expected, indent=indent, ensure_ascii=False) + "\n```\nDone {x}."
    verdict = JUDGES["json"](reply, [answer])
    assert verdict.right
    assert verdict.f1 == 1.0


@given(OBJECTS, st.data())
def test_a_field_more_or_less_is_wrong(expected: dict[str, Any], data: st.DataObject) -> None:
    answer = json.dumps(expected)
    key = data.draw(st.sampled_from(sorted(expected)))
    fewer = {name: value for name, value in expected.items() if name != key}
    for other in (fewer, {**expected, "more": 1}, {**expected, key: {"another": 1}}):
        verdict = JUDGES["json"](json.dumps(other), [answer])
        assert not verdict.right
        assert verdict.f1 is not None
        assert verdict.f1 < 1.0


@given(OBJECTS, OBJECTS)
def test_f1_is_the_same_from_both_sides(one: dict[str, Any], other: dict[str, Any]) -> None:
    texts = json.dumps(one), json.dumps(other)
    there, back = JUDGES["json"](texts[0], [texts[1]]), JUDGES["json"](texts[1], [texts[0]])
    assert there.f1 == back.f1
    assert there.right == back.right == (there.f1 == 1.0)


@pytest.mark.parametrize("text", ['{"a": {"b": 1}', '{"a": {"b": 1},}', '{"a": {"b": 1} "c"}'])
def test_a_part_of_what_went_wrong_is_no_answer(text: str) -> None:
    assert not JUDGES["json"](text, ['{"b": 1}']).right


def test_the_order_of_a_list_does_not_count() -> None:
    one, other = {"a": [1, {"b": [2, 3]}]}, {"a": [{"b": [3, 2]}, 1]}
    assert JUDGES["json"](json.dumps(one), [json.dumps(other)]).right


def test_the_answer_that_fits_best_counts() -> None:
    answers = ['{"a": 1, "b": 2}', '{"a": 2, "b": 3}']
    assert JUDGES["json"]('{"a": 2, "b": 3}', answers).right
    assert JUDGES["json"]('{"a": 2, "b": 2, "c": 1}', answers).fields == Fields(1, 3, 2)


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": Infinity}', "[1]", '"{"', "{}", "{'a': 1}"])
def test_what_is_no_object_of_fields(text: str) -> None:
    assert not first_object(text)
    assert JUDGES["json"].fault(text)


# How much of a reply is awaited


@pytest.mark.parametrize(
    ("name", "before", "then"),
    [
        ("contains", "\n\nIt is Lima", "."),
        ("json", 'So: {"a": {"b": 1}', "}"),
        ("json", '{not} {"a": "}"', "}"),
        ("json", '{"a": {"b": 1}, "c": "{', '"}'),
        ("number", "#### 12", "\n"),
    ],
)
def test_a_reply_is_complete_at_once(name: str, before: str, then: str) -> None:
    rule = JUDGES[name]
    assert not rule.is_complete(before)
    assert rule.is_complete(before + then) == (name != "contains")
    assert rule.is_complete(before + then + "\n")


@pytest.mark.parametrize("name", ["exact", "choice", "regex"])
def test_some_judges_hear_the_whole(name: str) -> None:
    assert not JUDGES[name].is_complete("B\n\n" * 100)
    assert JUDGES[name].max_tokens == 256


def test_the_first_line_is_short() -> None:
    assert JUDGES["contains"].max_tokens == 48
