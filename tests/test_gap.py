"""What the trio that ships is for: the proxy closes the gap that the expert alone leaves open."""

from __future__ import annotations

import pytest

from edgeproxy.cli.answer import FirstLine, answer_all
from edgeproxy.evaluate import SYSTEMS, figures, gap_closed, is_right, read_questions
from edgeproxy.loader import load
from edgeproxy.recipe import Recipe
from edgeproxy.sample import Sampling

EVERY = 5
"""Of the 525 questions, which stand sorted by kind: enough to tell, in seconds."""


@pytest.mark.weights
def test_the_proxy_comes_close_to_direct_tuning_and_far_above_the_expert(
    factbook_recipe: Recipe,
) -> None:
    path = factbook_recipe.base.path.parent / "questions.jsonl"
    questions = read_questions(path)[::EVERY]
    with load(factbook_recipe) as session:
        replies = answer_all(session, SYSTEMS, questions, FirstLine(Sampling(), 48), workers=2)
    found = {
        system: figures(
            questions, [is_right(r, q.answers) for r, q in zip(said, questions, strict=True)]
        )
        for system, said in replies.items()
    }
    gap = gap_closed(found)
    assert gap is not None
    assert gap >= 0.91
    assert found["proxy"]["accuracy"] >= found["expert"]["accuracy"] + 0.15
