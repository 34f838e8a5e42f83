"""What the trio that ships is for: the proxy closes the gap that the expert alone leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeproxy.decode.sample import Sampling
from edgeproxy.measure.answering import Answering, Ask
from edgeproxy.measure.evaluate import Question, read_questions
from edgeproxy.measure.report import Answers, gap_closed
from edgeproxy.measure.systems import SYSTEMS
from edgeproxy.session.load import load
from edgeproxy.trios.find import Recipe, find_recipe, read_recipe

pytestmark = pytest.mark.slow

EVERY = 5
"""Of the 525 questions, which stand sorted by kind: enough to tell, in seconds."""


Figures = dict[str, dict[str, Any]]


def measured(recipe: Recipe, questions: list[Question]) -> Figures:
    with load(recipe) as session:
        ask = Ask(Sampling(), 48)
        replies = Answering(session, SYSTEMS, questions, ask).run(workers=2)
    return {system: Answers(questions, said).figures() for system, said in replies.items()}


@pytest.fixture(scope="module")
def questions(factbook: Path) -> list[Question]:
    return read_questions(factbook.parent / "questions.jsonl")[::EVERY]


@pytest.fixture(scope="module")
def of_factbook(factbook_recipe: Recipe, questions: list[Question]) -> Figures:
    return measured(factbook_recipe, questions)


@pytest.mark.weights
def test_the_proxy_comes_close_to_direct_tuning_and_far_above_the_expert(
    of_factbook: Figures,
) -> None:
    gap = gap_closed(of_factbook)
    assert gap is not None
    assert gap >= 0.91
    assert of_factbook["proxy"]["accuracy"] >= of_factbook["expert"]["accuracy"] + 0.15


@pytest.mark.weights
def test_a_pair_of_another_family_closes_nearly_as_much(
    of_factbook: Figures, questions: list[Question]
) -> None:
    """The same base, under a pair with a tokenizer and an architecture of its own."""
    found = measured(find_recipe("factbook-phi"), questions)
    assert found["base"] == of_factbook["base"]
    gap, same = gap_closed(found), gap_closed(of_factbook)
    assert gap is not None
    assert same is not None
    assert gap >= 0.95 * same
    assert found["proxy"]["accuracy"] >= found["expert"]["accuracy"] + 0.15


@pytest.mark.weights
def test_an_adapter_closes_the_gap_too(factbook: Path, questions: list[Question]) -> None:
    found = measured(read_recipe(factbook.parent / "lora.toml"), questions)
    gap = gap_closed(found)
    assert gap is not None
    assert gap >= 0.91
    assert found["proxy"]["accuracy"] >= found["expert"]["accuracy"] + 0.15


@pytest.mark.weights
def test_replies_through_an_adapter_end(factbook: Path) -> None:
    with load(factbook.parent / "lora.toml") as session:
        for text in ("hello", "What is the capital of Mongolia?", "thanks"):
            *_, last = session.chat(text, max_tokens=60)
            assert last.finish_reason == "stop", text
