"""Replies that keep to a grammar: valid whatever the models say, and drafted as without drafts."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from edgeproxy.core.model import Logits
from edgeproxy.decode.constrained import Constrained
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.decode.stepwise import stepwise
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.grammar.constraint import Tokens
from edgeproxy.grammar.grammar import Grammar
from tests.decode.test_drafted import VOCAB, Fixed, agreeing_trio
from tests.helpers.fakes import random_trio

TOKENS = Tokens(VOCAB, VOCAB.end_of_generation)
PERSON = Grammar.json_schema(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]{1,8}$"},
            "ages": {"type": "array", "items": {"type": "integer", "maximum": 99}, "maxItems": 5},
        },
        "required": ["name", "ages"],
        "additionalProperties": False,
    }
)
PROMPT = RoleTokens([1, 2, 3], [4, 5, 6, 7, 8], [9])
MODES: tuple[Draft, ...] = ("off", "ngram", "expert", "auto")


def held(sampling: Sampling) -> Constrained:
    return Constrained(Sampler(VOCAB, sampling), TOKENS.begin(PERSON))


def said(drafter: Drafter, trio: Trio, draw: Constrained, most: int = 300) -> bytes:
    drafter.ahead = draw.ahead
    tokens = []
    steps = drafter(PROMPT, trio, draw, most)
    for token, _ in steps:
        tokens.append(token)
        if draw.is_over():
            break
    steps.close()
    return bytes(tokens)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_drafted_or_not_the_same_valid_text_comes(mode: Draft, temperature: float) -> None:
    for seed in range(5):
        sampling = Sampling(temperature=temperature, top_k=0, seed=seed)
        trio, plain = agreeing_trio(), agreeing_trio()
        drafter = Drafter(trio, mode, Fixed(4))
        text = said(drafter, trio, held(sampling))
        assert text == said(Drafter(plain, "off"), plain, held(sampling))
        assert json.loads(text).keys() == {"name", "ages"}
        if mode == "expert":
            assert drafter.done.accepted > 0


def test_drafts_keep_to_the_grammar_themselves() -> None:
    """A draft that does not is of no use, however sure the expert is of it."""
    trio = agreeing_trio()
    drafter = Drafter(trio, "expert", Fixed(4))
    with_grammar = said(drafter, trio, held(Sampling()))
    accepted = drafter.done.accepted
    trio = agreeing_trio()
    drafter = Drafter(trio, "expert", Fixed(4))
    draw = held(Sampling())
    steps = drafter(PROMPT, trio, draw, 300)  # `ahead` is not set
    without = []
    for token, _ in steps:
        without.append(token)
        if draw.is_over():
            break
    steps.close()
    assert bytes(without) == with_grammar
    assert accepted > drafter.done.accepted


def test_the_row_that_a_token_came_from_is_the_fused_one() -> None:
    trio = random_trio()
    draw = held(Sampling())
    for token, row in stepwise(PROMPT, trio, draw, 5):
        assert np.shares_memory(row, trio.rows.fused)
        assert np.isfinite(row).all()
        assert np.isfinite(row[token])


def test_penalties_count_what_was_drawn() -> None:
    """The grammar's mask is laid over the row before the sampler's own penalties."""
    row: Logits = np.zeros(len(VOCAB), np.float32)
    row[ord("a")] = 1.0
    row[list(VOCAB.end_of_generation)] = -9.0
    letters = TOKENS.begin(Grammar.grammar('root ::= ("a" | "b")*'))
    draw: Callable[[Logits], int] = Constrained(
        Sampler(VOCAB, Sampling(frequency_penalty=2.0)), letters
    )
    assert bytes(draw(row.copy()) for _ in range(4)) == b"abab"
