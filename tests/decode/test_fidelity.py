"""What is fused is the equation, on the trio that ships: the issue's "must hold" 3."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.core.model import Logits
from edgeproxy.decode.pieces import Piece
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.trio import RoleTokens
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.prompts.formats import FORMATS, Message, encode
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe

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
    session.alpha = session.trio.alpha = factbook_recipe.alpha
    session.plausibility = session.trio.plausibility = factbook_recipe.plausibility


def from_nothing(session: Session) -> Session:
    """`session`, which has forgotten all: so prompts are read in one piece, as a new one would."""
    session.trio.resume(RoleTokens([], [], []))
    return session


def tokens_of(pieces: Iterator[Piece]) -> list[tuple[int | None, float | None]]:
    return [(piece.token, piece.logprob) for piece in pieces]


def of_the_base(session: Session, question: str) -> list[tuple[int | None, float | None]]:
    pieces = session.solo("base").reply([Message("user", question)], max_tokens=MAX_TOKENS)
    return tokens_of(pieces)


def prompts_of(session: Session, recipe: Recipe, question: str) -> RoleTokens:
    base, expert, anti_expert = (
        encode(FORMATS[role.prompt]([Message("user", question)]), session.trio.vocab)
        for role in recipe.roles.values()
    )
    return RoleTokens(base, expert, anti_expert)


def equation(rows: list[Logits], alpha: float, beta: float) -> NDArray[np.float64]:
    """The paper's equation and the mask as METHOD.md writes them, in float64."""
    base, expert, anti_expert = (row[-1].astype(np.float64) for row in rows)
    fused = base + alpha * (expert - anti_expert)
    p_expert = np.exp(expert - expert.max())
    fused[p_expert / p_expert.sum() < beta * (p_expert / p_expert.sum()).max()] = -np.inf
    return np.asarray(fused)


def test_there_are_50_prompts(questions: list[str]) -> None:
    assert len(set(questions)) == 50


@pytest.mark.parametrize("plausibility", [0.0, 0.01, 1.0])
def test_alpha_zero_gives_the_bases_tokens_exactly_whatever_the_mask(
    session: Session, questions: list[str], plausibility: float
) -> None:
    session.alpha, session.plausibility = 0.0, plausibility
    for question in questions:
        got = tokens_of(from_nothing(session).chat(question, max_tokens=MAX_TOKENS))
        assert got == of_the_base(session, question), question


def test_alpha_one_gives_other_tokens(session: Session, questions: list[str]) -> None:
    session.alpha = 1.0
    differ = [
        tokens_of(session.chat(question, max_tokens=MAX_TOKENS)) != of_the_base(session, question)
        for question in questions
    ]
    assert sum(differ) > len(questions) / 2


def test_an_expert_that_is_the_anti_expert_gives_the_bases_tokens_exactly(
    session: Session, factbook_recipe: Recipe, questions: list[str]
) -> None:
    same = replace(factbook_recipe, expert=factbook_recipe.anti_expert, plausibility=0.0)
    for alpha in (1.0, 1.7):
        with load(replace(same, alpha=alpha), draft="off") as without_opinion:
            for question in questions[::2]:
                got = tokens_of(from_nothing(without_opinion).chat(question, max_tokens=MAX_TOKENS))
                assert got == of_the_base(session, question), question


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 0.01), (1.5, 0.1)])
def test_fused_rows_equal_the_equation_from_three_separate_contexts(
    session: Session, factbook_recipe: Recipe, questions: list[str], alpha: float, beta: float
) -> None:
    session.trio.alpha, session.trio.plausibility = alpha, beta
    weights = [Weights(role.path) for role in factbook_recipe.roles.values()]
    separate = [LlamaModel(each) for each in weights]
    for question in questions:
        prompts = prompts_of(session, factbook_recipe, question)
        fused = from_nothing(session).trio.eval(prompts)[-1]
        for model in separate:
            model.rewind(model.n_past)
        rows = [model.eval(prompt) for model, prompt in zip(separate, prompts, strict=True)]
        for _ in range(3):
            np.testing.assert_allclose(fused, equation(rows, alpha, beta), rtol=0, atol=1e-5)
            token = int(fused.argmax())
            fused = session.trio.eval([token])[-1]
            rows = [model.eval([token]) for model in separate]
    for each in weights:
        each.close()


def test_rewinding_and_evaluating_again_equals_a_fresh_eval(
    session: Session, factbook_recipe: Recipe, questions: list[str]
) -> None:
    trio = session.trio
    for question in questions[::5]:
        prompts = prompts_of(session, factbook_recipe, question)
        wanted = from_nothing(session).trio.eval(prompts).copy()
        once = trio.eval([100]).copy()
        trio.eval([200, 300, 400])
        trio.rewind(4)
        assert np.array_equal(trio.eval([100]), once)
        trio.resume(RoleTokens([], [], []))
        assert np.array_equal(trio.eval(prompts), wanted)
        with load(factbook_recipe) as fresh:
            assert np.array_equal(fresh.trio.eval(prompts), wanted)
            assert np.array_equal(fresh.trio.eval([100]), once)


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
    here = ""
    for question in asked:
        sampling = Sampling(temperature=0.8, seed=11)
        for piece in session.chat(question, sampling=sampling, max_tokens=24):
            here += piece.text
        here += "\n--\n"
    assert child.stdout.decode() == here
