"""What is fused is the equation, on the trio that ships: the issue's "must hold" 3."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edgeproxy.core.model import Logits
from edgeproxy.decode.pieces import Piece
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.prompts.formats import FORMATS, Message, encode
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe
from tests.helpers.near import NEAR_QUANTISED, RowAfter, assert_near, assert_same_reply, rows_of

pytestmark = pytest.mark.weights

MAX_TOKENS = 16


@pytest.fixture(scope="module")
def questions(factbook: Path) -> list[str]:
    """50 of the trio's questions, and some that it never saw the like of."""
    lines = (factbook.parent / "questions.jsonl").read_text("utf-8").splitlines()
    asked = [json.loads(line)["question"] for line in lines]
    odd = ["a", "!!!", "日本の首都は?", "1 2 3 4 5 6", "<|im_end|>", "Tell me.\n\nEverything."]
    return [*asked[:: len(asked) // 44][: 50 - len(odd)], *odd]


@pytest.fixture(autouse=True)
def stepwise(session: Session, factbook_recipe: Recipe) -> Iterator[None]:
    """Token by token, because batches of other shapes round otherwise (see test_exactness)."""
    mode, session.drafter.mode = session.drafter.mode, "off"
    yield
    session.drafter.mode = mode
    session.steering = session.trio.steering = factbook_recipe.steering


def from_nothing(session: Session) -> Session:
    """`session`, which has forgotten all: so prompts are read in one piece, as a new one would."""
    session.trio.resume(RoleTokens([], [], []))
    return session


class Said(NamedTuple):
    """The tokens of a reply, and what each was given."""

    tokens: list[int]
    logprobs: list[float]


def said(pieces: Iterator[Piece]) -> Said:
    found = [(p.token, p.logprob) for p in pieces if p.token is not None and p.logprob is not None]
    return Said(*map(list, zip(*found, strict=True)))


def of_the_base(session: Session, question: str) -> Said:
    return said(session.solo("base").reply([Message("user", question)], max_tokens=MAX_TOKENS))


def check_same(got: Said, wanted: Said, row_after: RowAfter) -> None:
    """The same tokens, as likely, up to where two are as good as each other."""
    assert_same_reply(got.tokens, wanted.tokens, row_after, NEAR_QUANTISED)
    for ours, theirs, *given in zip(*got[:1], *wanted[:1], got[1], wanted[1], strict=False):
        if ours != theirs:
            break
        assert given[0] == pytest.approx(given[1], abs=NEAR_QUANTISED)


def prompts_of(session: Session, recipe: Recipe, question: str) -> RoleTokens:
    base, expert, anti_expert = (
        encode(FORMATS[role.prompt]([Message("user", question)]), session.trio.vocab)
        for role in recipe.roles.values()
    )
    return RoleTokens(base, expert, anti_expert)


def check_equation(fused: Logits, rows: list[Logits], alpha: float, beta: float) -> None:
    """`fused` is the paper's equation and the mask as METHOD.md writes them, in float64."""
    base, expert, anti_expert = (row[-1].astype(np.float64) for row in rows)
    log_p = expert - np.log(np.exp(expert).sum())
    above = log_p - log_p.max() - (np.log(beta) if beta else -np.inf)
    unsure = np.abs(above) < NEAR_QUANTISED
    assert np.array_equal(np.isfinite(fused)[~unsure], (above >= 0.0)[~unsure])
    kept = np.isfinite(fused)
    wanted = base + alpha * (expert - anti_expert)
    np.testing.assert_allclose(fused[kept], wanted[kept], rtol=0, atol=NEAR_QUANTISED)


def test_there_are_50_prompts(questions: list[str]) -> None:
    assert len(set(questions)) == 50


@pytest.mark.parametrize("plausibility", [0.0, 0.01, 1.0])
def test_alpha_zero_gives_the_bases_tokens_exactly_whatever_the_mask(
    session: Session, questions: list[str], plausibility: float
) -> None:
    session.steering = Steering(0.0, plausibility=plausibility)
    for question in questions:
        got = said(from_nothing(session).chat(question, max_tokens=MAX_TOKENS))
        check_same(got, of_the_base(session, question), rows_of(session, question))


def test_alpha_one_gives_other_tokens(session: Session, questions: list[str]) -> None:
    session.alpha = 1.0
    differ = [
        said(session.chat(question, max_tokens=MAX_TOKENS)).tokens
        != of_the_base(session, question).tokens
        for question in questions
    ]
    assert sum(differ) > len(questions) / 2


def test_an_expert_that_is_the_anti_expert_gives_the_bases_tokens_exactly(
    session: Session, factbook_recipe: Recipe, questions: list[str]
) -> None:
    same = replace(factbook_recipe, expert=factbook_recipe.anti_expert, steering=Steering())
    session.alpha = 0.0  # its rows are the base's
    for alpha in (1.0, 1.7):
        with load(replace(same, steering=Steering(alpha)), draft="off") as without_opinion:
            for question in questions[::2]:
                got = said(from_nothing(without_opinion).chat(question, max_tokens=MAX_TOKENS))
                check_same(got, of_the_base(session, question), rows_of(session, question))


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 0.01), (1.5, 0.1)])
def test_fused_rows_equal_the_equation_from_three_separate_contexts(
    session: Session, factbook_recipe: Recipe, questions: list[str], alpha: float, beta: float
) -> None:
    session.trio.steering = Steering(alpha, plausibility=beta)
    weights = [Weights(role.path) for role in factbook_recipe.roles.values()]
    separate = [LlamaModel(each) for each in weights]
    for question in questions:
        prompts = prompts_of(session, factbook_recipe, question)
        fused = from_nothing(session).trio.eval(prompts)[-1]
        for model in separate:
            model.rewind(model.n_past)
        rows = [model.eval(prompt) for model, prompt in zip(separate, prompts, strict=True)]
        for _ in range(3):
            check_equation(fused, rows, alpha, beta)
            token = int(fused.argmax())
            fused = session.trio.eval([token])[-1]
            rows = [model.eval([token]) for model in separate]
    for each in weights:
        each.close()


def test_rewinding_and_evaluating_again_equals_a_fresh_eval(
    session: Session, factbook_recipe: Recipe, questions: list[str]
) -> None:
    trio, unmasked = session.trio, replace(factbook_recipe, steering=Steering())
    trio.steering = Steering()  # a token at the mask's edge may fall on either side
    for question in questions[::5]:
        prompts = prompts_of(session, factbook_recipe, question)
        wanted = from_nothing(session).trio.eval(prompts).copy()
        once = trio.eval([100]).copy()
        trio.eval([200, 300, 400])
        trio.rewind(4)
        assert_near(trio.eval([100]), once, NEAR_QUANTISED)
        trio.resume(RoleTokens([], [], []))
        assert_near(trio.eval(prompts), wanted, NEAR_QUANTISED)
        with load(unmasked) as fresh:
            assert_near(fresh.trio.eval(prompts), wanted, NEAR_QUANTISED)
            assert_near(fresh.trio.eval([100]), once, NEAR_QUANTISED)


def test_a_second_process_with_the_same_seed_gives_the_same_text(
    session: Session, factbook: Path, questions: list[str]
) -> None:
    code = (
        "import sys, edgeproxy\n"
        "with edgeproxy.load(sys.argv[1]) as session:\n"
        "    for question in sys.argv[2:]:\n"
        "        sampling = edgeproxy.Sampling(temperature=0.8, seed=11)\n"
        "        for piece in session.chat(question, sampling=sampling, max_tokens=24):\n"
        "            sys.stdout.buffer.write(piece.text.encode())\n"
        "        sys.stdout.buffer.write(b'\\n--\\n')\n"
    )
    asked = questions[:5]
    command = [sys.executable, "-c", code, str(factbook), *asked]
    child = subprocess.run(command, capture_output=True, check=True)
    here = []
    for question in asked:
        sampling = Sampling(temperature=0.8, seed=11)
        pieces = session.chat(question, sampling=sampling, max_tokens=24)
        here.append("".join(piece.text for piece in pieces))
    there = child.stdout.decode().split("\n--\n")
    # A draw may fall exactly between two tokens, and batches there are of other shapes.
    assert sum(a == b for a, b in zip(here, there, strict=False)) >= len(asked) - 1
