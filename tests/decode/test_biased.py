"""A trio whose base is told the pair's bias and draws: what it reads, sends, and goes back to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.biased import BiasedTrio, Sent
from edgeproxy.decode.drafted import Drafter
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.stepwise import stepwise
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import EngineError, LogitsError, UsageError
from edgeproxy.remote.predicts import BiasBy, Drawn, Draws
from tests.helpers.fakes import FakeModel, Fault, random_model


class Drawing(FakeModel):
    """A fake that draws as a server does: from its row with the bias added."""

    def __init__(self, model: FakeModel) -> None:
        super().__init__(model._rows, vocab=model.vocab)
        self.draws = Draws()
        self.told: list[dict[int, float]] = []

    def draw(self, tokens: Sequence[int], bias: BiasBy) -> Drawn:
        self.told.append(dict(bias))
        row = self.eval(tokens)[-1].copy()
        for token, value in bias.items():
            row[token] += value
        return Drawn(int(row.argmax()))


def three(steering: Steering, most: int | None = None, largest: float | None = None) -> BiasedTrio:
    base = Drawing(random_model(1))
    return BiasedTrio(base, random_model(2), random_model(3), steering, None, most, largest)


def said(trio: Trio, count: int = 30) -> list[int]:
    def best(row: Logits) -> int:
        return int(row.argmax())

    return [token for token, _ in stepwise([1, 2, 3], trio, best, count)]


def base_of(trio: BiasedTrio) -> Drawing:
    assert isinstance(trio.base, Drawing)
    return trio.base


@pytest.mark.parametrize(
    "steering", [Steering(), Steering(0.3), Steering(2.0), Steering(plausibility=0.2)]
)
def test_it_draws_what_fusing_draws(steering: Steering) -> None:
    fused = Trio(random_model(1), random_model(2), random_model(3), steering)
    trio = three(steering)
    assert said(trio) == said(fused)
    assert trio.n_past == fused.n_past
    assert [model.n_past for model in trio.models] == [model.n_past for model in fused.models]


def test_with_alpha_0_nothing_is_sent() -> None:
    trio = three(Steering(0.0))
    assert said(trio, 3) == said(Trio(*trio_of_fakes(), Steering(0.0)), 3)
    assert base_of(trio).told == [{}] * 3


def trio_of_fakes() -> tuple[FakeModel, FakeModel, FakeModel]:
    return random_model(1), random_model(2), random_model(3)


def test_limits_are_kept_and_counted() -> None:
    trio = three(Steering(), most=10, largest=0.5)
    said(trio, 4)
    for bias in base_of(trio).told:
        assert len(bias) == 10
        assert max(map(abs, bias.values())) <= 0.5
    cut = sum(abs(value) == 0.5 for bias in base_of(trio).told for value in bias.values())
    left_out = 4 * (len(trio.vocab) - 10)
    assert trio.sent == Sent(4, 40, cut, left_out)
    assert cut > 0


def test_biases_of_a_person_take_their_share_of_what_can_be_sent() -> None:
    trio = three(Steering(), most=10)
    base_of(trio).draws = Draws(logit_bias=dict.fromkeys(range(4), 1.0))
    said(trio, 1)
    base_of(trio).draws = Draws(logit_bias=dict.fromkeys(range(40), 1.0))
    said(trio, 1)
    assert [len(bias) for bias in base_of(trio).told] == [6, 1]


def test_a_row_says_only_what_was_drawn() -> None:
    trio = three(Steering())
    row = trio.eval(RoleTokens([1, 2], [3], [4]))
    assert row.shape == (1, len(trio.vocab))
    assert np.isfinite(row).sum() == 1
    assert row.max() == 0.0
    assert [model.n_past for model in trio.models] == [2, 1, 1]
    with pytest.raises(EngineError, match="one row at a time"):
        trio.eval([5, 6], 2)
    assert Drafter(trio, "auto").mode == "off"


@pytest.mark.parametrize("who", [0, 1, 2])
@pytest.mark.parametrize("late", [False, True])
def test_whatever_fails_leaves_all_three_where_they_were(who: int, late: bool) -> None:
    trio, wanted = three(Steering()), three(Steering())
    models = (trio.base, trio.expert, trio.anti_expert)
    for each in (trio, wanted):
        each.eval([1, 2, 3])
    model = models[who]
    assert isinstance(model, FakeModel)
    for error in (EngineError("x"), KeyboardInterrupt()):
        model.fail_on(1, Fault(error, late))
        with pytest.raises(type(error)):
            trio.eval([4])
        assert [each.n_past for each in trio.models] == [3, 3, 3]
    assert np.array_equal(trio.eval([5]), wanted.eval([5]))
    trio.rewind(2)
    wanted.rewind(2)
    assert np.array_equal(trio.eval([6]), wanted.eval([6]))


def test_rows_that_are_no_numbers_ask_no_server() -> None:
    trio = three(Steering())
    assert isinstance(trio.expert, FakeModel)
    trio.expert.fail_on(1, Fault(None))
    with pytest.raises(LogitsError):
        trio.eval([1])
    assert base_of(trio).told == []
    assert trio.n_past == 0


def test_a_steering_that_scales_the_base_asks_no_server() -> None:
    trio = three(Steering())
    trio.steering = Steering(base_weight=0.5)
    with pytest.raises(UsageError, match="base_weight 1"):
        trio.eval([1])
    assert base_of(trio).told == []


def test_the_vocabularies_must_be_alike() -> None:
    other = FakeModel(vocab=Vocab((b"a",), (1,)), rows=lambda _: np.zeros(1, np.float32))
    with pytest.raises(UsageError, match="align it first"):
        BiasedTrio(Drawing(random_model(1)), other, random_model(3))
