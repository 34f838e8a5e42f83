"""The figures of an evaluation: accuracy, fields, what is said anyway, and what is compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.report import Answers, comparisons, gap_closed, report
from edgeproxy.measure.took import Took

QUESTIONS = [Question("?", ("a",), kind) for kind in ("x", "y", "x", None)]


def test_figures_by_kind() -> None:
    found = Answers(QUESTIONS, ["a", "b", "b", "a"]).figures()
    assert (found["accuracy"], found["n"], found["f1"], found["said"]) == (0.5, 4, None, None)
    assert found["interval"] == pytest.approx([0.15, 0.85], abs=0.001)
    assert {kind: (of["accuracy"], of["n"]) for kind, of in found["kinds"].items()} == {
        "x": (0.5, 2),
        "y": (0.0, 1),
    }


def test_f1_is_over_the_fields_of_all_replies() -> None:
    """As slot filling counts: not the mean of the replies' own."""
    small = Question("?", ('{"a": 1}',), judge="json")
    large = Question("?", ('{"a": 1, "b": 2, "c": 3}',), judge="json")
    found = Answers([small, large, QUESTIONS[0]], ['{"a": 1}', '{"a": 1}', "a"]).figures()
    assert found["f1"] == pytest.approx(2 * 2 / (2 + 4))
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_what_is_said_in_whatever_form_is_counted_apart() -> None:
    asked = Question("?", ('{"city": "Lima"}',), judge="json", said=("Lima", "Ciudad de los Reyes"))
    replies = ["Well,\nthat is Lima, of course.", "ciudad de los reyes", "Limassol", "Quito"]
    found = Answers([asked] * 4, replies).figures()
    assert (found["accuracy"], found["said"]) == (0.0, 0.5)


def test_gap_closed() -> None:
    def systems(**accuracies: float) -> dict[str, dict[str, Any]]:
        return {name: {"accuracy": accuracy} for name, accuracy in accuracies.items()}

    assert gap_closed(systems(base=0.1, proxy=0.4, tuned=0.5)) == pytest.approx(0.75)
    assert gap_closed(systems(base=0.5, proxy=0.4, tuned=0.5)) is None
    assert gap_closed(systems(base=0.5, proxy=0.4)) is None


def test_the_proxy_is_compared_with_each_and_variants_with_the_proxy() -> None:
    names = ["base", "anti_expert", "expert", "proxy", "proxy/alpha=2", "tuned"]
    found = comparisons({name: [True, False] for name in names})
    assert [(pair.one, pair.other) for pair in found] == [
        ("proxy", "base"),
        ("proxy", "expert"),
        ("proxy", "tuned"),
        ("proxy/alpha=2", "proxy"),
    ]
    names = ["expert", "proxy/alpha=2", "proxy/alpha=3"]
    found = comparisons({name: [True] for name in names})
    assert [(pair.one, pair.other) for pair in found] == [
        ("proxy/alpha=2", "expert"),
        ("proxy/alpha=3", "proxy/alpha=2"),
    ]
    assert comparisons({"base": [True], "expert": [True]}) == []


def test_what_is_kept_is_a_share_of_what_the_base_knows() -> None:
    general = [replace(question, is_general=True) for question in QUESTIONS]
    questions = [QUESTIONS[0], *general]
    replies = {
        "base": ["b", "a", "a", "b", "a"],
        "expert": ["a"],
        "proxy": ["a", "a", "b", "a", "a"],
        "tuned": ["a", "b", "b", "b", "b"],
    }
    found = report(questions, replies)
    assert found["questions"] == 1
    assert [found["systems"][name]["accuracy"] for name in replies] == [0.0, 1.0, 1.0, 1.0]
    kept = found["general"]
    assert (kept["questions"], kept["known"]) == (4, 3)
    assert {name: of["kept"] for name, of in kept["systems"].items()} == {
        "base": None,
        "proxy": pytest.approx(2 / 3),
        "tuned": 0.0,
    }
    assert kept["systems"]["proxy"]["accuracy"] == 0.75


def test_a_base_that_knows_nothing_has_nothing_to_lose() -> None:
    general = [replace(QUESTIONS[0], is_general=True)]
    found = report([QUESTIONS[0], *general], {"base": ["a", "b"], "proxy": ["a", "a"]})
    assert found["general"]["known"] == 0
    assert found["general"]["systems"]["proxy"]["kept"] is None
    assert found["general"]["systems"]["proxy"]["kept_interval"] is None


def test_what_was_cut_had_not_said_all_at_the_longest_it_may_be() -> None:
    json_question = Question("?", ('{"a": 1}',), None, "json")
    questions = [QUESTIONS[0], json_question, json_question]
    replies = {"base": ["b", '{"a": 1}', '{"a": '], "expert": ["a"] * 3}
    took = {("base", n): Took(8, None, None) for n in range(3)}
    found = report(questions, replies, took, 8)
    assert found["cut"] == {"base": 2, "expert": None}, "one has said all, and one is not known"
    assert report(questions, replies, took, 9)["cut"]["base"] == 0
    took["base", 0] = Took(QUESTIONS[0].max_tokens, None, None)
    assert report(questions, replies, took)["cut"]["base"] == 1
    assert report(questions, replies)["cut"] == {"base": None, "expert": None}
