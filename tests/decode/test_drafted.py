"""Drafts decide how long tokens take, and never which they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.align import LACKING, MappedModel, align, match
from edgeproxy.core.model import Logits
from edgeproxy.decode.draft_length import LONGEST, DraftLength
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.stepwise import stepwise
from edgeproxy.decode.trio import Heard, RoleTokens, Trio
from edgeproxy.decode.trio import Rows as Trios
from edgeproxy.errors import ContextFullError, UsageError
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.measure.evaluate import read_questions
from edgeproxy.session.session import Session
from tests.helpers.fakes import (
    END,
    FakeModel,
    Fault,
    Rows,
    drawn,
    fake_vocab,
    random_trio,
    shuffled,
    steered_trio,
)
from tests.helpers.gguf_files import draft as gguf_draft
from tests.helpers.near import assert_same_reply

PROMPT = RoleTokens([1, 2, 3], [4, 5, 6, 7, 8], [9])
MODES: tuple[Draft, ...] = ("off", "ngram", "expert", "auto")
VOCAB = fake_vocab()


class Fixed(DraftLength):
    """Always wants drafts of the same length, so that tests do not depend on the clock."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length

    def length(self, most: int = LONGEST) -> int:
        return min(self._length, most)

    def is_worth(self, chance: float, drafted: int, length: int) -> bool:
        return True


def mumbling(seed: int, weight: float) -> Rows:
    """Rows that three models agree on more the larger `weight` is: all see the last two tokens."""

    def row(history: Sequence[int]) -> NDArray[np.float32]:
        row = drawn(tuple(history[-2:]), weight, len(VOCAB)) + drawn(
            (seed, *history), 1.0, len(VOCAB)
        )
        row[20:] -= np.float32(3.0 * weight)  # a few tokens, so that they repeat
        return row

    return row


def agreeing_trio(
    plausibility: float = 0.0, *, n_ctx: int = 4096, steering: Steering | None = None
) -> Trio:
    base, expert, anti = (
        FakeModel(mumbling(seed, weight), n_ctx=n_ctx)
        for seed, weight in ((1, 4.0), (2, 4.0), (3, 1.0))
    )
    return Trio(base, expert, anti, steering or Steering(plausibility=plausibility))


def alike(rows: Rows) -> Trio:
    """Three models that say the same."""
    return Trio(FakeModel(rows), FakeModel(rows), FakeModel(rows))


def said(trio: Trio, sampling: Sampling, drafter: Drafter | None, count: int = 60) -> list[Any]:
    """The tokens, and what the row they were drawn from gives them."""
    sampler = Sampler(VOCAB, sampling)
    decode = drafter or stepwise
    steps = decode(PROMPT, trio, sampler, count)
    out = [(token, float(row[token])) for token, row in steps]
    sampler.close()
    return out


SAMPLINGS = {
    "greedy": Sampling(),
    "temperature": Sampling(temperature=0.8, seed=3),
    "hot": Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=4),
    "penalties": Sampling(temperature=0.7, repeat_penalty=1.3, presence_penalty=0.4, seed=5),
    "greedy with a penalty": Sampling(frequency_penalty=0.5),
    "bias": Sampling(temperature=0.9, logit_bias={7: 3.0}, seed=6),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("make", [agreeing_trio, random_trio], ids=["agreeing", "random"])
def test_the_same_tokens_from_the_same_rows(mode: Draft, sampling: Sampling, make: Any) -> None:
    for plausibility in (0.0, 0.05):
        wanted = said(make(plausibility=plausibility), sampling, None)
        for length in (1, 3, LONGEST):
            trio = make(plausibility=plausibility)
            assert said(trio, sampling, Drafter(trio, mode, Fixed(length))) == wanted


STEERINGS = [
    Steering(0.7, 0.5, 0.02),
    Steering(base_weight=0.1),
    Steering(1.2, 0.9, 0.01),
    Steering(0.9, plausibility=0.02, expert_ends=True),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("steering", STEERINGS, ids=str)
def test_the_same_tokens_however_it_is_steered(mode: Draft, steering: Steering) -> None:
    for sampling in (SAMPLINGS["greedy"], SAMPLINGS["temperature"]):
        for make in (agreeing_trio, steered_trio):
            wanted = said(make(steering=steering), sampling, None)
            for length in (1, LONGEST):
                trio = make(steering=steering)
                assert said(trio, sampling, Drafter(trio, mode, Fixed(length))) == wanted


KEEPS = np.arange(len(VOCAB)) % 97 != 5
"""The pair does not speak of a few of the base's tokens."""


class Hearing(Trio):
    """Sees whether the expert's own rows are those of its rows."""

    def _put_together(self, of_base: Heard, of_expert: Heard, of_anti: Heard) -> Trios:
        assert len(of_expert.own) == len(of_expert.rows)
        assert (of_expert.own > LACKING).all()
        apart = (of_expert.own - of_expert.rows)[:, KEEPS]  # the former are logits
        np.testing.assert_allclose(apart, np.broadcast_to(apart[:, :1], apart.shape), atol=1e-4)
        assert of_anti.own is of_anti.rows
        return super()._put_together(of_base, of_expert, of_anti)


@pytest.mark.parametrize("mode", ["expert", "auto"])
@pytest.mark.parametrize("steering", STEERINGS, ids=str)
def test_a_pair_with_tokens_of_its_own_drafts_the_same(mode: Draft, steering: Steering) -> None:
    """The expert's own rows are those of what it has read ahead, too."""

    def make() -> Trio:
        base, expert, anti = (
            FakeModel(mumbling(seed, weight)) for seed, weight in ((1, 4.0), (2, 4.0), (3, 1.0))
        )
        index = np.where(KEEPS, np.arange(len(VOCAB)), -1).astype(np.int32)
        one, other = (MappedModel(model, VOCAB, index, KEEPS) for model in (expert, anti))
        return Hearing(base, one, other, replace(steering, expert_ends=True))

    wanted = said(make(), SAMPLINGS["temperature"], None)
    trio = make()
    drafter = Drafter(trio, mode, Fixed(4))
    assert said(trio, SAMPLINGS["temperature"], drafter) == wanted
    assert drafter.done.drafted


@pytest.mark.parametrize("mode", [None, *MODES])
def test_each_token_comes_with_the_rows_that_it_was_made_of(mode: Draft | None) -> None:
    trio = agreeing_trio(plausibility=0.02)
    sampler = Sampler(VOCAB, SAMPLINGS["temperature"])
    loop = Drafter(trio, mode, Fixed(4)) if mode else stepwise
    read = [list(tokens) for tokens in PROMPT]
    fresh = (FakeModel(mumbling(1, 4.0)), FakeModel(mumbling(2, 4.0)), FakeModel(mumbling(3, 1.0)))
    for token, row in loop(PROMPT, trio, sampler, 40):
        rows = trio.rows_of(row)
        assert np.array_equal(rows.fused, row)
        fused = rows.base + (rows.expert - rows.anti_expert)
        fused[rows.expert < rows.expert.max() + np.log(np.float32(0.02))] = -np.inf
        np.testing.assert_allclose(fused, row, rtol=1e-5, atol=1e-5)
        for model, tokens, said in zip(fresh, read, rows, strict=False):
            model.rewind(model.n_past)
            assert np.array_equal(model.eval(tokens)[-1], said)
            tokens.append(token)
    sampler.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("which", [(0, 1, 2), (0,), (1, 2)])
def test_models_that_cannot_rewind_are_never_drafted_for(mode: Draft, which: Any) -> None:
    trio = agreeing_trio()
    for place in which:
        trio.models[place].can_rewind = False  # type: ignore[misc]
    drafter = Drafter(trio, mode, Fixed(4))
    modes: list[Draft] = [drafter.mode]
    drafter.mode = "expert"
    assert [*modes, drafter.mode] == ["off", "off"]
    assert said(trio, Sampling(), drafter) == said(agreeing_trio(), Sampling(), None)
    assert drafter.done.drafted == 0


@pytest.mark.parametrize("mode", ["on", "", None, True])
def test_an_unknown_way_to_draft_is_refused(mode: Any) -> None:
    with pytest.raises(UsageError, match="draft must be one of off, ngram, expert, auto, not"):
        Drafter(agreeing_trio(), mode)


def test_drafts_that_are_right_save_steps_of_the_base() -> None:
    trio = agreeing_trio()
    drafter = Drafter(trio, "expert", Fixed(4))
    said(trio, Sampling(), drafter)
    base: Any = trio.base
    assert drafter.done.tokens == 60
    assert drafter.done.accepted > 20
    assert len(base.evals) < 45
    assert drafter.done.drafted >= drafter.done.accepted


@pytest.mark.parametrize("mode", ["ngram", "expert", "auto"])
def test_no_more_is_accepted_than_was_drafted(mode: Draft) -> None:
    """Reply after reply: nothing of the last one is counted with the next."""
    trio = agreeing_trio()
    drafter = Drafter(trio, mode, Fixed(3))
    for count in (7, 1, 2, 9, 1, 30):
        trio.resume(RoleTokens([], [], []))
        said(trio, Sampling(), drafter, count)
        done = drafter.done
        assert 0 <= done.accepted <= done.drafted
        assert done.tokens == count
        assert done.tokens <= done.accepted + done.cycles + 1


def test_a_text_that_repeats_is_drafted_without_the_expert() -> None:
    def row(history: Sequence[int]) -> NDArray[np.float32]:
        out = np.zeros(len(VOCAB), np.float32)
        out[10 + (history[-1] + 1) % 7] = 9.0
        return out

    trio = alike(row)
    drafter = Drafter(trio, "ngram", Fixed(5))
    plain = alike(row)
    assert said(trio, Sampling(), drafter) == said(plain, Sampling(), None)
    base: Any = trio.base
    assert len(base.evals) < 30
    assert drafter.done.drafted > 30


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("taken", range(1, 14))
def test_a_consumer_may_stop_anywhere(mode: Draft, taken: int) -> None:
    """The last token taken is in no model, and all before it are in each."""
    trio = agreeing_trio()
    steps = Drafter(trio, mode, Fixed(4))(PROMPT, trio, Sampler(VOCAB, Sampling()), 60)
    tokens = [next(steps)[0] for _ in range(taken)]
    steps.close()
    histories = [model.history for model in trio.models]  # type: ignore[attr-defined]
    assert histories == [[*prompt, *tokens[:-1]] for prompt in PROMPT]
    fresh = agreeing_trio()
    wanted = [token for token, _ in said(fresh, Sampling(), None)]
    again = Drafter(trio, mode, Fixed(4))
    rest = again(trio.resume(RoleTokens(*([*p, *tokens] for p in PROMPT))), trio, _argmax, 5)
    assert [token for token, _ in rest] == wanted[taken : taken + 5]


def _argmax(row: Any) -> int:
    return int(row.argmax())


def test_a_reply_that_is_closed_late_undoes_nothing_of_the_next() -> None:
    trio = agreeing_trio()
    drafter = Drafter(trio, "expert", Fixed(4))
    first = drafter(PROMPT, trio, _argmax, 60)
    next(first), next(first)
    trio.resume(RoleTokens([1], [4], [9]))
    trio.eval(RoleTokens([50], [50], [50]))
    before = [list(model.history) for model in trio.models]  # type: ignore[attr-defined]
    first.close()
    assert [model.history for model in trio.models] == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("role", range(3))
@pytest.mark.parametrize("failing", range(1, 9))
def test_a_failure_leaves_the_three_in_step(role: int, failing: int, late: bool) -> None:
    trio = agreeing_trio()
    model: Any = trio.models[role]
    model.fail_on(failing, Fault(KeyboardInterrupt(), late))
    tokens: list[int] = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - what was said until then is looked at
        for token, _ in Drafter(trio, "expert", Fixed(3))(PROMPT, trio, _argmax, 60):
            tokens.append(token)
    histories = [list(other.history) for other in trio.models]  # type: ignore[attr-defined]
    if tokens:
        assert histories == [[*prompt, *tokens[:-1]] for prompt in PROMPT]
    else:
        assert histories == [[], [], []]


@pytest.mark.parametrize("mode", MODES)
def test_the_context_is_used_to_its_end(mode: Draft) -> None:
    counts = []
    for drafter_mode in ("off", mode):
        trio = agreeing_trio(n_ctx=30)
        steps = Drafter(trio, drafter_mode, Fixed(LONGEST))(PROMPT, trio, _argmax, 60)
        tokens = []
        with pytest.raises(ContextFullError):  # noqa: PT012 - tokens before it count
            for token, _ in steps:
                tokens.append(token)
        counts.append(tokens)
    assert counts[0] == counts[1]
    assert len(counts[0]) == 30 - len(PROMPT.expert) + 1


def test_another_trio_is_refused() -> None:
    drafter = Drafter(agreeing_trio())
    with pytest.raises(UsageError):
        next(drafter(PROMPT, agreeing_trio(), _argmax, 1))


def test_the_end_is_drafted_and_nothing_after_it() -> None:
    def row(history: Sequence[int]) -> NDArray[np.float32]:
        out = np.zeros(len(VOCAB), np.float32)
        out[END if history[-1] == 77 else 77] = 9.0
        return out

    trio = alike(row)
    drafter = Drafter(trio, "expert", Fixed(8))
    steps = drafter(PROMPT, trio, _argmax, 60)
    assert [next(steps)[0] for _ in range(2)] == [77, END]
    assert drafter.done.drafted <= 1


class TestPace:
    """The draft length that pays, from costs and chances."""

    def pace(self, row: float, ahead: float, hit: float) -> DraftLength:
        pace = DraftLength()
        source = np.random.default_rng(1)
        for _ in range(12):
            for rows in range(1, LONGEST + 2):
                pace.took(rows, 1.0 + row * (rows - 1))
            pace.ran_ahead(ahead)
        for _ in range(400):
            pace.saw(bool(source.random() < hit))
        return pace

    def test_nothing_is_drafted_before_a_step_was_measured(self) -> None:
        assert DraftLength().length() == 0

    def test_free_rows_and_sure_hits_make_long_drafts(self) -> None:
        assert self.pace(row=0.02, ahead=0.02, hit=0.97).length() >= 6

    def test_dear_rows_or_misses_make_none(self) -> None:
        assert self.pace(row=1.0, ahead=0.1, hit=0.9).length() == 0
        assert self.pace(row=0.3, ahead=0.1, hit=0.05).length() == 0

    def test_a_length_is_never_more_than_asked(self) -> None:
        assert self.pace(row=0.02, ahead=0.02, hit=0.97).length(2) == 2

    def test_the_costs_decide_as_the_equation_says(self) -> None:
        pace = self.pace(row=0.4, ahead=0.1, hit=0.8)
        hits, tries = pace._all
        a = hits / tries
        for g in range(LONGEST + 1):
            tokens = sum(a**n for n in range(g + 1))
            seconds = 1.0 + 0.4 * g + 0.1 * g
            assert pace.seconds_a_token(g) == pytest.approx(seconds / tokens)

    def test_what_was_not_tried_for_long_is_hoped_for_again(self) -> None:
        pace = self.pace(row=1.0, ahead=0.1, hit=0.9)
        assert pace.rows_seconds(4) == pytest.approx(4.0)
        for _ in range(1000):
            pace.took(1, 1.0)
        assert pace.rows_seconds(4) < 3.0

    def test_sure_tokens_are_worth_more_than_unsure_ones(self) -> None:
        pace = self.pace(row=0.4, ahead=0.05, hit=0.8)
        assert pace.is_worth(0.95, 0, 3)
        assert not pace.is_worth(0.05, 0, 3)
        for _ in range(100):
            pace.saw(False, 0.99)
        assert pace.chance(0.99) < 0.2 < pace.chance(0.85)


@pytest.mark.parametrize("kind", ["padded", "permuted"])
def test_related_vocabularies_are_drafted_for_as_well(kind: str) -> None:
    own, places = shuffled(VOCAB, 3) if kind == "permuted" else (fake_vocab(6), None)

    def model(seed: int) -> FakeModel:
        rows = mumbling(seed, 4.0 if seed == 2 else 1.0)

        def row(history: Sequence[int]) -> NDArray[np.float32]:
            names = history if places is None else [int(np.argmax(places == t)) for t in history]
            out = rows([token % len(VOCAB) for token in names])
            if places is None:
                return np.append(out, np.full(6, -20.0, np.float32))
            return out[np.argsort(places)]

        return FakeModel(row, vocab=own)

    def trio() -> Trio:
        aligned = align(model(2), model(3), VOCAB)
        return Trio(FakeModel(mumbling(1, 4.0)), aligned.expert, aligned.anti_expert)

    plain, drafted = trio(), trio()
    assert match(VOCAB, own).case == kind
    for sampling in (SAMPLINGS["greedy"], SAMPLINGS["temperature"]):
        for one in (plain, drafted):
            one.resume(RoleTokens([], [], []))
        drafter = Drafter(drafted, "expert", Fixed(4))
        assert said(drafted, sampling, drafter) == said(plain, sampling, None)
        assert drafter.done.drafted > 20


@pytest.mark.weights
def test_in_float_weights_drafted_text_is_the_stepwise_text(tmp_path: Path) -> None:
    """Bar near ties: batches round otherwise than single steps, in float32 by very little."""
    weights = []
    for name in ("base", "expert", "anti-expert"):
        made = gguf_draft("llama", width=64)
        made.metadata["general.name"] = name
        weights.append(Weights(made.write(tmp_path / f"{name}.gguf")))
    prompts = [[source.randrange(256) for _ in range(8)] for source in map(Random, range(40))]
    replies: list[list[list[int]]] = []
    for mode in ("off", "expert", "ngram"):
        trio = Trio(*(LlamaModel(part) for part in weights))  # type: ignore[arg-type]
        drafter = Drafter(trio, mode, Fixed(5))
        found = []
        for prompt in prompts:
            share = trio.resume(RoleTokens(prompt, prompt[:5], prompt[2:]))
            found.append([token for token, _ in drafter(share, trio, _argmax, 24)])
        replies.append(found)
    trio = Trio(*(LlamaModel(part) for part in weights))  # type: ignore[arg-type]
    for prompt, wanted, *drafted in zip(prompts, *replies, strict=True):

        def row_after(tokens: Sequence[int], prompt: list[int] = prompt) -> Logits:
            text = RoleTokens(*([*p, *tokens] for p in (prompt, prompt[:5], prompt[2:])))
            row: Logits = trio.eval(trio.resume(text))[-1]
            return row

        for said_so in drafted:
            assert_same_reply(said_so, wanted, row_after)
    for part in weights:
        part.close()


@pytest.mark.weights
def test_the_shipped_trio_says_the_same_with_drafts(session: Session, factbook: Path) -> None:
    questions = read_questions(factbook.parent / "questions.jsonl")[::25]
    said_by: dict[str, list[str]] = {}
    usual = session.drafter.mode
    for mode in ("off", "auto"):
        session.drafter.mode = mode
        said_by[mode] = [
            "".join(piece.text for piece in session.chat(question.text)) for question in questions
        ]
    session.drafter.mode = usual
    differ = sum(a != b for a, b in zip(said_by["off"], said_by["auto"], strict=True))
    # Quantised weights in batches of other shapes: a near tie may fall the other way.
    assert differ <= 1
