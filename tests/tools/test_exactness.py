"""Drafts change nothing but the speed: on real weights, and against exact distributions."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.core.model import Logits
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import Cancelled, UsageError
from edgeproxy.gguf import read
from edgeproxy.measure.evaluate import Question, read_questions
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe, read_recipe
from tests.helpers.fakes import FakeModel, Rows, word_vocab
from tests.helpers.near import NEAR, NEAR_QUANTISED
from tools.measure import exactness
from tools.measure.exactness import (
    Always,
    Compared,
    compare,
    distribution,
    draw,
    in_float32,
    make_prompts,
)
from tools.measure.goodness import REST, Tokens, counted, expected, fit, probabilities, together

VOCAB = word_vocab(*"abcdefghij")
PROMPT = RoleTokens([1, 2], [3], [4, 5, 6])


def table(seed: int, spread: float) -> Rows:
    """A random row for each last two tokens."""
    random = np.random.default_rng(seed)
    size = len(VOCAB)
    rows = random.normal(0.0, spread, (size, size, size)).astype(np.float32)

    def row(history: Sequence[int]) -> NDArray[np.float32]:
        before, last = [0, *history][-2:]
        return np.asarray(rows[before, last])

    return row


def small_trio(plausibility: float = 0.0) -> Trio:
    base, expert, anti_expert = (
        FakeModel(table(seed, spread), vocab=VOCAB)
        for seed, spread in ((1, 0.7), (2, 1.2), (3, 0.3))
    )
    return Trio(base, expert, anti_expert, Steering(plausibility=plausibility))


class Favouring(Drafter):
    """A wrong drafter: it adds something to the logit of what it drafted."""

    favour = 0.0

    def _check(self, tokens: Any, draft: Sequence[int]) -> Logits:
        rows = super()._check(tokens, draft)
        for row, token in zip(rows, draft, strict=False):
            row[token] += self.favour
        return rows


class Shifted(Drafter):
    """A wrong drafter: what follows a draft is drawn from the row before it."""

    def _check(self, tokens: Any, draft: Sequence[int]) -> Logits:
        rows = super()._check(tokens, draft)
        return rows[[0, *range(len(rows) - 1)]]


def always(trio: Trio) -> Drafter:
    return Drafter(trio, "expert", Always())


def favouring(favour: float) -> Callable[[Trio], Drafter]:
    def make(trio: Trio) -> Drafter:
        drafter = Favouring(trio, "expert", Always())
        drafter.favour = favour
        return drafter

    return make


def shifted(trio: Trio) -> Drafter:
    return Shifted(trio, "expert", Always())


def rows_of(trio: Trio, prompt: RoleTokens) -> Callable[[Tokens], Logits]:
    return lambda said: trio.eval(trio.resume(exactness.after(prompt, said)))[-1]


def p_values(make: Callable[[Trio], Drafter], draws: int) -> tuple[float, float]:
    """How well the first two and the first three tokens fit, drawn with these drafts."""
    trio = small_trio()
    cells = expected(rows_of(trio, PROMPT), 1.0, draws, 3)
    drawn = draw(trio, PROMPT, make(trio), 1.0, range(draws))
    assert drawn.drafted == draws
    assert 0.2 * draws < drawn.accepted
    counts = counted(drawn.said, cells)
    assert sum(counts.values()) == draws
    two, three = (fit(counts, cells, length) for length in (2, 3))
    assert three.freedom > two.freedom > 20
    return two.p, three.p


@pytest.mark.slow
class TestFakes:
    """Drawn again and again, against what the stepwise rows say exactly."""

    def test_twenty_thousand_drafted_draws_follow_the_exact_distribution(self) -> None:
        two, three = p_values(always, 20_000)
        assert two > 0.01
        assert three > 0.01

    @pytest.mark.parametrize("favour", [50.0, 0.5], ids=["always accepts", "favours a little"])
    def test_a_drafter_that_favours_its_draft_is_found_out(self, favour: float) -> None:
        two, three = p_values(favouring(favour), 3_000)
        assert two < 1e-6
        assert three < 1e-6

    def test_a_drafter_that_uses_the_row_before_is_found_out_by_the_third_token(self) -> None:
        two, three = p_values(shifted, 3_000)
        assert two > 0.01
        assert three < 1e-6

    def test_with_the_mask_and_from_two_places_and_beside_the_stepwise_loop(self) -> None:
        places = [PROMPT, RoleTokens([7], [8], [9])]
        told: list[str] = []
        found = distribution(
            small_trio(0.3), places, 0.7, 2_000, np.random.default_rng(1), always, told.append
        )
        assert found["samples"] == found["drafted"] == found["same"] == 2_000
        assert [(one["loop"], one["tokens"]) for one in found["fits"]] == list(
            product(("drafted", "stepwise"), (2, 3))
        )
        for one in found["fits"]:
            assert one["p"] > 0.01
            assert one["impossible"] == 0
        assert told[-1] == "temperature 0.7, stepwise: draw 900 of 1,000"


class TestGoodness:
    """The chi-square test itself, where what must come of it is plain."""

    ROWS: ClassVar[dict[Tokens, Logits]] = {
        (): np.log(np.array([0.5, 0.499, 0.001, 0.0], np.float32) + np.float32(1e-45)),
        (0,): np.array([0.0, 0.0, -np.inf, -np.inf], np.float32),
        (1,): np.array([-np.inf, -np.inf, 3.0, -np.inf], np.float32),
    }

    def cells(self, draws: int = 1000) -> dict[Tokens, float]:
        rows = dict(self.ROWS)
        rows[()] = np.where(np.arange(4) < 3, rows[()], -np.inf).astype(np.float32)
        return expected(rows.__getitem__, 1.0, draws, 2)

    def test_what_is_expected(self) -> None:
        cells = self.cells()
        assert cells == pytest.approx(
            {
                (REST,): 1.0,
                (0, REST): 0.0,
                (0, 0): 250.0,
                (0, 1): 250.0,
                (1, REST): 0.0,
                (1, 2): 499.0,
            },
            rel=1e-4,
        )

    def test_every_draw_has_its_cell(self) -> None:
        draws = [(0, 0), (0, 1), (0, 1), (1, 2), (2, 0), (3, 3), (0, 2), (1, 0)]
        counts = counted(draws, self.cells())
        assert counts == {
            (REST,): 2,
            (0, REST): 1,
            (0, 0): 1,
            (0, 1): 2,
            (1, REST): 1,
            (1, 2): 1,
        }

    def test_what_is_rare_is_pooled(self) -> None:
        cells = self.cells()
        counts = {cell: round(times) + 0.0 for cell, times in cells.items()}
        good = fit(counts, cells, 2)
        # The rest joins the smallest of three cells.
        assert good.freedom == 2
        assert good.statistic == pytest.approx(0.0, abs=1e-3)
        assert good.p == pytest.approx(1.0, abs=1e-3)
        assert fit(counts, cells, 1).freedom == 1

    def test_a_token_that_cannot_be_is_never_forgiven(self) -> None:
        cells = self.cells()
        counts = {cell: round(times) + 0.0 for cell, times in cells.items()}
        counts[0, REST] += 1
        bad = fit(counts, cells, 2)
        assert (bad.impossible, bad.p) == (1, 0.0)

    def test_the_statistic_and_its_p_are_the_books(self) -> None:
        # Of a fair die thrown 60 times: 11.07 is the 5 % point at 5 degrees of freedom.
        cells: dict[Tokens, float] = {(face,): 10.0 for face in range(6)}
        thrown = fit(dict(zip(cells, (5.0, 8.0, 9.0, 8.0, 10.0, 20.0), strict=True)), cells, 1)
        assert thrown.statistic == pytest.approx(13.4)
        assert thrown.freedom == 5
        assert thrown.p == pytest.approx(0.0199, abs=5e-4)
        both = together([thrown, thrown])
        assert (both.statistic, both.freedom) == pytest.approx((26.8, 10))

    def test_p_is_uniform_where_draws_are_from_the_distribution(self) -> None:
        random = np.random.default_rng(4)
        chances = probabilities(np.array([0.0, 1.0, 2.0, -1.0, -6.0], np.float32), 1.3)
        cells: dict[Tokens, float] = {
            (token,): 500 * chance for token, chance in enumerate(chances.tolist())
        }
        found = [
            fit(dict(zip(cells, counts, strict=True)), cells, 1).p
            for counts in random.multinomial(500, chances, 400).astype(float).tolist()
        ]
        shares = np.histogram(found, bins=4, range=(0.0, 1.0))[0] / 400
        assert shares == pytest.approx([0.25] * 4, abs=0.07)

    def test_one_outcome_tests_nothing(self) -> None:
        cells = expected(lambda _: np.array([9.0, -9.0], np.float32), 1.0, 100, 1)
        with pytest.raises(UsageError, match="draw more"):
            _ = fit(counted([(0,)] * 100, cells), cells, 1).p

    def test_without_scipy_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "scipy.stats", None)
        cells: dict[Tokens, float] = {(0,): 10.0, (1,): 10.0}
        with pytest.raises(UsageError, match="scipy"):
            _ = fit(dict.fromkeys(cells, 10.0), cells, 1).p


def test_prompts_are_of_every_kind_and_no_more_than_there_are() -> None:
    questions = [Question(f"Which is {n}?", (f"number {n}",)) for n in range(10)]
    every = make_prompts(questions, 40)
    assert len(set(every)) == 40
    few = make_prompts(questions, 8)
    assert few[:2] == ["Which is 0?", "Tell me about number 1."]
    assert set(few) <= set(every)
    with pytest.raises(UsageError, match="40 prompts, and not 41"):
        make_prompts(questions, 41)


@pytest.fixture(scope="module")
def questions(factbook: Path) -> list[Question]:
    return read_questions(factbook.parent / "questions.jsonl")


@pytest.fixture(scope="module")
def float_session(
    factbook_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    """The shipped trio in float32."""
    recipe = in_float32(factbook_recipe, tmp_path_factory.mktemp("floats"))
    for role in recipe.roles.values():
        assert {tensor.type.name for tensor in read(role.path).tensors} == {"f32"}
    with load(recipe) as session:
        yield session


def check_near_ties(found: Compared) -> None:
    """Drafted replies part from stepwise ones, if at all, where two tokens are as good."""
    assert found.same >= 0.95 * found.replies
    assert all(0.0 <= one.margin <= NEAR for one in found.parted)


@pytest.mark.slow
@pytest.mark.weights
def test_in_float32_two_hundred_drafted_replies_are_the_stepwise_ones(
    float_session: Session, questions: list[Question]
) -> None:
    prompts = make_prompts(questions, 200)
    shares: dict[Draft, list[str]] = {"auto": prompts[:100], "expert": prompts[100:]}
    for mode, share in shares.items():
        found = compare(float_session, share, [mode], 6)[mode]
        assert found.replies == 100
        check_near_ties(found)
        assert found.drafted > found.accepted > 100


@pytest.mark.weights
def test_in_float32_what_repeats_is_drafted_from_the_text(float_session: Session) -> None:
    found = compare(float_session, ["Peru and Chile. " * 6], ["ngram"], 40)["ngram"]
    check_near_ties(found)
    assert found.drafted > 0


@pytest.mark.weights
def test_a_drafter_that_is_wrong_parts_from_the_stepwise_reply(
    session: Session, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exactness, "Drafter", Shifted)
    found = compare(session, make_prompts(questions, 4), ["expert"], 10)["expert"]
    assert found.same < 4
    for parting in found.parted:
        assert 0 < parting.after < 10
        assert parting.margin > 0.0


@pytest.mark.slow
@pytest.mark.weights
def test_draws_from_the_shipped_trio_follow_the_exact_distribution(
    session: Session, questions: list[Question]
) -> None:
    draws = 1_000
    place = exactness.least_sure(session, make_prompts(questions, 4), 12)
    trio = session.trio
    cells = expected(rows_of(trio, place), 1.0, draws, 3)
    drafter = Drafter(trio, pace=Always())
    drawn = draw(trio, place, drafter, 1.0, range(draws))
    assert drawn.drafted == draws
    assert draws > drawn.accepted > 0
    for length in (2, 3):
        found = fit(counted(drawn.said, cells), cells, length)
        assert found.freedom > 20
        assert found.p > 0.01


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["exactness", *arguments])
    return exactness.main()


@pytest.mark.weights
def test_the_tool_prints_what_it_finds(
    factbook: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(factbook), str(factbook.parent / "questions.jsonl"), "--count", "2"]
    asked += ["--samples", "100", "--max-tokens", "6"]
    assert run_main(monkeypatch, *asked, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    for part in ("floats", "files"):
        assert list(found[part]) == ["off", "ngram", "expert", "auto"]
        assert found[part]["auto"]["drafted"] > 0
        assert all(one["margin"] <= NEAR_QUANTISED for one in found[part]["off"]["parted"])
    assert [one["temperature"] for one in found["draws"]] == [1.0, 0.7]
    # Without the models this time: a parting too, which they may not have.
    found["files"]["auto"]["parted"] = [{"prompt": "Why?", "after": 3, "margin": 0.002}]
    monkeypatch.setattr(exactness, "measure", lambda *_: found)
    assert run_main(monkeypatch, *asked) == 0
    said = capsys.readouterr().out
    assert "drafts by auto   2 of 2 replies are the stepwise ones" in said
    assert "0.0020 nats apart after 3 tokens: Why?" in said
    assert said.count("the first 3 tokens: chi-square") == 4


def test_the_tool_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "factbook", str(tmp_path / "none.jsonl")) == 2
    assert "none.jsonl" in capsys.readouterr().err

    def interrupted(*_: object) -> None:
        raise Cancelled("the measurement was interrupted")

    monkeypatch.setattr(exactness, "read_questions", interrupted)
    assert run_main(monkeypatch, "factbook", "any.jsonl") == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.weights
def test_a_trio_for_which_nothing_is_drafted_is_refused(
    factbook: Path, questions: list[Question], tmp_path: Path
) -> None:
    recipe = read_recipe(factbook.parent.parent / "factbook-phi")
    with pytest.raises(UsageError, match="nothing is drafted"):
        exactness.measure(recipe, questions, count=1)
    with pytest.raises(UsageError, match="no float32 copy"):
        in_float32(recipe, tmp_path)


def test_no_float_copy_is_written_over_anything(factbook_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(b"precious")
    with pytest.raises(UsageError, match="empty folder"):
        in_float32(factbook_recipe, tmp_path)
    assert (tmp_path / "base.gguf").read_bytes() == b"precious"
