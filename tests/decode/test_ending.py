"""Where a reply ends by the expert alone, and the equation for what comes if it does not end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.align import MappedModel, align
from edgeproxy.core.model import Logits
from edgeproxy.decode.ending import SUREST, end_by, odds_of_end
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import UsageError
from edgeproxy.session.load import load
from edgeproxy.trios.manifest import Recipe, Role, read_recipe, to_toml
from tests.helpers.fakes import (
    END,
    LIKELY,
    TURN_END,
    FakeModel,
    drawn,
    fake_vocab,
    noise,
    random_model,
    script,
    shuffled,
    steered_trio,
)
from tests.session.test_turn import session_of, text_of

VOCAB = fake_vocab()
ENDS = np.array(sorted(VOCAB.end_of_generation))
BY_EXPERT = Steering(expert_ends=True)
PROMPT = RoleTokens([1, 2], [3], [4, 5])


def softmax(row: Logits) -> NDArray[np.float64]:
    powers = np.exp(row.astype(np.float64) - row.max())
    return np.asarray(powers / powers.sum())


def drawn_rows(count: int, seed: int, spread: float = 3.0) -> Logits:
    return np.array([drawn((seed, n), spread, len(VOCAB)) for n in range(count)])


def test_the_end_has_what_the_expert_gives_it_and_the_rest_is_as_it_was() -> None:
    fused, expert = drawn_rows(4, 1), drawn_rows(4, 2)
    before = fused.copy()
    end_by(fused, odds_of_end(expert, ENDS), ENDS)
    for was, now, own in zip(before, fused, expert, strict=True):
        p, q = softmax(now), softmax(was)
        assert p[ENDS].sum() == pytest.approx(softmax(own)[ENDS].sum(), rel=1e-4)
        others = np.delete(np.arange(len(p)), ENDS)
        np.testing.assert_allclose(p[others] / p[others].sum(), q[others] / q[others].sum(), 1e-4)
        np.testing.assert_allclose(p[ENDS] / p[ENDS].sum(), q[ENDS] / q[ENDS].sum(), 1e-4)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_expert_that_is_certain_gives_finite_logits(sign: float) -> None:
    expert = np.zeros((1, len(VOCAB)), np.float32)
    expert[:, ENDS] = sign * 1e4
    assert odds_of_end(expert, ENDS).tolist() == [[sign * SUREST]]
    fused = drawn_rows(1, 1)
    end_by(fused, odds_of_end(expert, ENDS), ENDS)
    assert np.isfinite(fused).all()
    assert (int(fused.argmax()) in ENDS) == (sign > 0)


def test_ends_that_a_mask_took_away_come_back() -> None:
    fused = np.full((1, len(VOCAB)), -np.inf, np.float32)
    fused[0, 65] = 2.0
    end_by(fused, np.array([[1.0]], np.float32), ENDS)
    assert softmax(fused[0])[ENDS].sum() == pytest.approx(1 / (1 + np.exp(-1.0)), rel=1e-5)


def test_without_an_end_nothing_changes() -> None:
    fused = drawn_rows(1, 1)
    before = fused.copy()
    end_by(fused, np.zeros((1, 1), np.float32), np.array([], np.int64))
    np.testing.assert_array_equal(fused, before)


@pytest.mark.parametrize("mask", [0.0, 0.05])
def test_a_trios_rows(mask: float) -> None:
    trio = steered_trio(Steering(0.8, 0.9, mask, expert_ends=True))
    trio.eval(PROMPT)
    base, expert, anti_expert, fused = (rows.copy() for rows in trio.rows)
    wanted = fuse(base, expert, anti_expert, Steering(0.8, 0.9, mask))
    end_by(wanted, odds_of_end(expert, ENDS), ENDS)
    np.testing.assert_array_equal(fused, wanted)
    several = trio.eval([1, 2, 3], 3).copy()
    trio.rewind(3)
    for place, token in enumerate((1, 2, 3)):
        np.testing.assert_allclose(trio.eval([token])[0], several[place], rtol=1e-6)


def test_the_base_alone_says_where_its_replies_end() -> None:
    trio = steered_trio(Steering(alpha=0.0, expert_ends=True))
    trio.eval(PROMPT)
    np.testing.assert_array_equal(trio.rows.fused, trio.rows.base)


def aligned_trio(kind: str) -> tuple[Trio, FakeModel]:
    """A pair whose tokens are the base's under other ids, or lack some; and the expert itself."""
    vocab, places = shuffled(VOCAB)
    expert, anti = (FakeModel(noise(seed, vocab), vocab=vocab) for seed in (2, 3))
    if kind == "permuted":
        aligned = align(expert, anti, VOCAB)
        return Trio(random_model(1), aligned.expert, aligned.anti_expert, BY_EXPERT), expert
    keeps = np.arange(len(VOCAB)) % 97 != 5
    index = np.where(keeps, places, -1).astype(np.int32)
    ends = vocab.end_of_generation
    one, other = (MappedModel(model, VOCAB, index, keeps, ends) for model in (expert, anti))
    return Trio(random_model(1), one, other, BY_EXPERT), expert


@pytest.mark.parametrize("kind", ["permuted", "lacking"])
def test_what_is_asked_is_the_experts_own_row(kind: str) -> None:
    trio, expert = aligned_trio(kind)
    said: list[Logits] = []
    evaluate = expert.eval

    def heard(tokens: Sequence[int], rows: int = 1) -> Logits:
        row = evaluate(tokens, rows)
        said.append(row.copy())
        return row

    expert.eval = heard  # type: ignore[method-assign]
    trio.eval([65, 66])
    own = softmax(said[-1][-1])[sorted(expert.vocab.end_of_generation)].sum()
    assert softmax(trio.rows.fused[0])[ENDS].sum() == pytest.approx(own, rel=1e-3)


def test_an_end_that_is_no_truth_value_is_refused() -> None:
    for wrong in ("yes", 1, None):
        value: Any = wrong
        with pytest.raises(UsageError, match="expert_ends must be true or false"):
            Steering(expert_ends=value)


# Replies


def unending(text: str) -> FakeModel:
    """A base that reads no turns: it says the text, and then would go on for ever."""

    def row(history: Sequence[int]) -> NDArray[np.float32]:
        found = script({"Hello\n": text}, VOCAB)(history)
        if found[END] > 0.0:
            found[END], found[ord("!")] = 0.0, LIKELY
        elif bytes(token for token in history if token < 256).endswith(b"!"):
            found[:] = 0.0
            found[ord("!")] = LIKELY
        return found

    return FakeModel(row, vocab=VOCAB)


def ending(text: str) -> FakeModel:
    return FakeModel(script({"Hello\n": text}, VOCAB), vocab=VOCAB)


def test_a_reply_ends_where_base_and_difference_would_go_on() -> None:
    """Expert and anti-expert both know the end, so that their difference says nothing of it."""

    def made() -> Trio:
        return Trio(unending("Hi there"), ending("Hi there"), ending("Hi there"))

    session = session_of(made())
    turn = session.reply("Hello", max_tokens=20)
    assert text_of(turn) == "Hi there" + "!" * 12
    assert turn.finish_reason == "length"
    session.steering = BY_EXPERT
    turn = session.reply("Hello", max_tokens=20, record=2)
    assert text_of(turn) == "Hi there"
    assert turn.finish_reason == "stop"
    last = turn.steps[-1]
    assert last.token in (END, TURN_END)
    assert last.compared.end_odds is not None
    assert last.compared.end_odds > 10.0


@pytest.mark.weights
def test_real_models_of_another_tokenizer_end_as_their_expert_does() -> None:
    with load("factbook-phi", expert_ends=True) as session:
        said = [
            text_of(session.reply(question, max_tokens=60))
            for question in ("What is the capital of Chad?", "Tell me about Peru.")
        ]
        assert all(said)
        trio = session.trio
        assert trio.end_odds is not None


def test_a_manifest_may_say_it(tmp_path: Any) -> None:
    (tmp_path / "m.gguf").touch()
    role = Role(tmp_path / "m.gguf")
    recipe = Recipe("mine", role, role, role, steering=BY_EXPERT)
    (tmp_path / "trio.toml").write_text(to_toml(recipe), "utf-8")
    assert read_recipe(tmp_path).steering == BY_EXPERT
    (tmp_path / "trio.toml").write_text(to_toml(Recipe("mine", role, role, role)), "utf-8")
    assert read_recipe(tmp_path).steering == Steering()
