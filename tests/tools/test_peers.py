"""The peers of `tools.measure.peers` say what edgeproxy says; its rounds and complaints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tools
from edgeproxy.core.model import Logits
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens
from edgeproxy.errors import Cancelled, ContextFullError, EngineError, UsageError, VocabularyError
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.trios.find import Recipe, find_recipe
from tools.measure import agreement, llama_peers
from tools.measure import peers as bench_peers
from tools.measure.agreement import Agreement
from tools.measure.peers import Question, Said, System

PROMPTS = ("What is the capital of Mongolia?", "Hello!")
QUESTIONS = [Question(text, RoleTokens([1], [1], [1])) for text in PROMPTS]
END = 9


def saying(*tokens: int) -> System:
    """A system that says `tokens` and then 5 for ever."""

    def reply(_question: Question) -> Generator[int, Any, None]:
        yield from tokens
        while True:
            yield 5

    return reply


def timed(*ids: int, rest: float = 1.0) -> Said:
    return Said(len(ids), 0.5, rest, ids)


@pytest.mark.weights
@pytest.mark.parametrize(("alpha", "plausibility"), [(1.0, 0.01), (0.5, 0.0)])
def test_the_peers_say_what_edgeproxy_says(
    factbook_recipe: Recipe, alpha: float, plausibility: float
) -> None:
    recipe = replace(factbook_recipe, steering=Steering(alpha, plausibility=plausibility))
    found = bench_peers.measure(recipe, PROMPTS, repeats=1, max_tokens=16, threads=1)
    systems = found["systems"]
    assert list(systems) == ["loop", "logits_processor", "stepwise", "drafted"]
    for one in systems.values():
        # A near tie may fall otherwise in one of the two.
        assert one["parts_at"].count(None) == one["same_tokens"] >= 1
        low, high = one["spread"]
        assert 0 < low <= one["tokens_per_second"] <= high
        assert one["first_token_seconds"] > 0
    assert min(systems["stepwise"]["lengths"]) > 5
    assert found["draft"] == "auto"
    for pair, ratio in found["ratios"].items():
        ours, peer = (systems[name]["tokens_per_second"] for name in pair.split(" / "))
        assert ratio == pytest.approx(ours / peer)
    assert found["ratios"].keys() == {
        f"{ours} / {peer}" for ours in ("stepwise", "drafted") for peer in list(systems)[:2]
    }
    text = bench_peers.table(found)
    assert text.count(" of 2\n") == 4


@pytest.mark.weights
def test_drawn_replies_are_not_compared(factbook_recipe: Recipe) -> None:
    found = bench_peers.measure(factbook_recipe, ["Hello!"], 1, 6, temperature=0.7, threads=1)
    assert all("same_tokens" not in one for one in found["systems"].values())
    assert bench_peers.table(found).count("drawn") == 4


def test_every_round_runs_each_system_once_and_the_order_moves_on() -> None:
    heard: list[str] = []
    systems = {name: saying(1, 2, END) for name in "abc"}
    rounds = bench_peers.run(systems, QUESTIONS, frozenset({END}), 3, 10, heard.append)
    order = [line.split(": ")[1][0] for line in heard if "prompt 1 of 2" in line]
    assert "".join(order) == "abcbcacababc"
    assert {name: len(found) for name, found in rounds.items()} == {"a": 3, "b": 3, "c": 3}
    for replies in rounds.values():
        assert [[said.ids for said in one] for one in replies] == [[(1, 2, END)] * 2] * 3


def test_a_reply_without_an_ending_has_the_longest_length() -> None:
    rounds = bench_peers.run({"a": saying(1)}, QUESTIONS, frozenset({END}), 1, 4, lambda _: None)
    assert [said.ids for said in rounds["a"][0]] == [(1, 5, 5, 5)] * 2


def test_an_interrupt_ends_a_reply_within_a_token() -> None:
    asked: list[int] = []

    def counting(_question: Question) -> Generator[int, Any, None]:
        while True:
            asked.append(1)
            yield 5

    with pytest.raises(Cancelled):
        bench_peers.run(
            {"a": counting}, QUESTIONS, frozenset(), 1, 1000, lambda _: None, lambda: len(asked) > 2
        )
    assert len(asked) == 3


def test_the_figures_tell_where_replies_part() -> None:
    ours = [[timed(1, 2, 3), timed(4, 5)]]
    rounds = {
        "loop": [[timed(1, 2, 3, rest=2.0), timed(4, 5, rest=4.0)]],
        "torch float32": [[timed(1, 2, 4), timed(4, 5, 6)]],
        "stepwise": ours,
        "drafted": ours,
    }
    found = bench_peers.figures(rounds)
    assert found["systems"]["loop"]["parts_at"] == [None, None]
    assert found["systems"]["torch float32"]["parts_at"] == [2, 2]
    assert found["systems"]["torch float32"]["same_tokens"] == 0
    assert found["systems"]["loop"]["tokens_per_second"] == pytest.approx(3 / 6)
    assert found["ratios"]["stepwise / loop"] == pytest.approx(3.0)
    assert "stepwise / drafted" not in found["ratios"]


def test_a_reply_that_parts_in_any_round_is_told() -> None:
    first, second = [timed(1, 2, 3)], [timed(1, 7, 3)]
    rounds = {"drafted": [first, second], "stepwise": [first, first]}
    found = bench_peers.figures(rounds)
    assert found["systems"]["drafted"]["parts_at"] == [1]


def test_replies_of_one_token_cannot_be_timed() -> None:
    with pytest.raises(UsageError, match="ends at its first token"):
        bench_peers.figures({"stepwise": [[timed(END, rest=0.0)]]})


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("plausibility", [0.0, 0.01, 1.0])
def test_rows_are_fused_as_edgeproxy_does(alpha: float, plausibility: float) -> None:
    random = np.random.default_rng(0)
    base, expert, anti = random.normal(scale=4, size=(3, 500)).astype(np.float32)
    wanted = fuse(base, expert, anti, Steering(alpha, plausibility=plausibility))
    row = llama_peers.fused(base, expert, anti, alpha, plausibility)
    np.testing.assert_array_equal(row, wanted)
    assert row.dtype == np.float32


def test_tokens_are_drawn_by_their_probability() -> None:
    row = np.array([1.0, -np.inf, 3.0, 2.0], np.float32)
    random = np.random.default_rng(0)
    drawn = [llama_peers.draw(row, 0.5, random) for _ in range(20_000)]
    shares = np.exp(row / 0.5) / np.exp(row / 0.5).sum()
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, shares, atol=0.015)
    assert llama_peers.draw(row, 0.0, random) == 2


def rows_like(*best: int) -> Logits:
    rows = np.zeros((len(best), 50), np.float32)
    rows[range(len(best)), best] = 8.0
    return rows


def test_rows_that_differ_by_a_constant_agree() -> None:
    rows = rows_like(3, 4, 5)
    assert agreement.compare(rows + np.float32(2.5), rows) == Agreement(0.0, 0.0, 1.0)


def test_unlikely_tokens_do_not_count() -> None:
    rows, reference = rows_like(3, 4), rows_like(3, 4)
    rows[:, 7], reference[:, 7] = -5000.0, -4000.0
    assert agreement.compare(rows, reference) == Agreement(0.0, 0.0, 1.0)


@pytest.mark.parametrize("wrong", [0.9, np.nan, np.inf])
def test_what_computes_something_else_is_refused(wrong: float) -> None:
    reference = rows_like(*range(20))
    rows = reference.copy()
    rows[:, ::2] += wrong
    with pytest.raises(EngineError, match="is not timed"):
        agreement.check(agreement.compare(rows, reference), "it")


def test_other_best_tokens_are_refused_however_near() -> None:
    reference = rows_like(*range(20))
    rows = reference.copy()
    reference[:3, 40] = 8.0 - 1e-4
    rows[:3, 40] = 8.0 + 1e-4
    found = agreement.compare(rows, reference)
    assert found.difference < 1e-3
    assert found.same_best == 0.85
    with pytest.raises(EngineError, match="85%"):
        agreement.check(found, "it")


class FakeTorch:
    """In the place of `tools.measure.torch_peer`: a trio whose models are llama.cpp's after all."""

    VERSION = "none"

    def __init__(self, stack: ExitStack, *, mistaken: bool = False) -> None:
        self.stack = stack
        self.mistaken = mistaken

    def load_trios(self, recipe: Recipe, n_ctx: int, *_: Any) -> dict[str, Any]:
        models = []
        for role in recipe.roles.values():
            weights = self.stack.enter_context(Weights(role.path))
            models.append(LlamaModel(weights, n_ctx=n_ctx))
        if self.mistaken:
            models[2] = models[1]
        return {"torch float32": FakeTrio([FakeModel(model) for model in models], recipe)}


class FakeModel:
    def __init__(self, model: LlamaModel) -> None:
        self.model = model

    def rows(self, parts: Sequence[Sequence[int]]) -> Iterator[Logits]:
        self.model.rewind(self.model.n_past)
        for part in parts:
            yield self.model.eval(part)[-1].copy()


class FakeTrio:
    def __init__(self, models: Sequence[FakeModel], recipe: Recipe) -> None:
        self.models = models
        self.recipe = recipe

    def reply(self, question: Question) -> Generator[int, Any, None]:
        parts: Sequence[Sequence[int]] = question.prompt
        for one in self.models:
            one.model.rewind(one.model.n_past)
        while True:
            rows = [one.model.eval(p)[-1] for one, p in zip(self.models, parts, strict=True)]
            base, expert, anti = rows
            steering = self.recipe.steering
            row = llama_peers.fused(base, expert, anti, steering.alpha, steering.plausibility)
            token = int(row.argmax())
            yield token
            parts = [[token]] * 3


Measure = Callable[..., dict[str, Any]]


@pytest.fixture
def with_fake_torch(factbook_recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Iterator[Measure]:
    with ExitStack() as stack:

        def measure(mistaken: bool) -> dict[str, Any]:
            fake = FakeTorch(stack, mistaken=mistaken)
            monkeypatch.setattr(bench_peers, "_load_torch", lambda recipe: fake)
            return bench_peers.measure(factbook_recipe, PROMPTS, 1, 12, threads=1, with_torch=True)

        yield measure


@pytest.mark.weights
def test_what_agrees_with_llama_is_timed_too(with_fake_torch: Measure) -> None:
    found = with_fake_torch(mistaken=False)
    agrees = found["torch_agreement"]["torch float32"]
    assert agrees.keys() == {"base", "expert", "anti_expert"}
    assert all(one["same_best"] == 1.0 for one in agrees.values())
    assert None in found["systems"]["torch float32"]["parts_at"]
    assert found["ratios"].keys() >= {"drafted / torch float32", "stepwise / torch float32"}
    # The comparison went step by step; drafts are what they were all the same.
    assert found["draft"] == "auto"
    assert "PyTorch, float32: logits" in bench_peers.table(found)


@pytest.mark.weights
def test_a_model_that_is_another_is_not_timed(with_fake_torch: Measure) -> None:
    with pytest.raises(EngineError, match=r"anti-expert\.gguf in torch float32 does not compute"):
        with_fake_torch(mistaken=True)


def test_without_pytorch_a_person_is_told_how_to_get_it(
    factbook_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "tools.measure.torch_peer", raising=False)
    monkeypatch.delattr(tools, "torch_peer", raising=False)
    with pytest.raises(UsageError, match=r"pip install '\.\[train\]'"):
        bench_peers.measure(factbook_recipe, with_torch=True)


def test_another_architecture_is_refused_for_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tools.measure.torch_peer", FakeTorch(ExitStack()))
    with pytest.raises(UsageError, match="only llama models, and the expert is phi2"):
        bench_peers.measure(find_recipe("factbook-phi"), with_torch=True)


@pytest.mark.weights
def test_a_pair_with_another_vocabulary_has_no_peers() -> None:
    with pytest.raises(VocabularyError, match="expert of 'factbook-phi' has another vocabulary"):
        bench_peers.measure(find_recipe("factbook-phi"))


@pytest.mark.weights
def test_a_reply_that_may_not_fit_is_refused(factbook_recipe: Recipe) -> None:
    with pytest.raises(ContextFullError, match="do not fit the context"):
        bench_peers.measure(factbook_recipe, max_tokens=5000)


def test_a_wrong_setting_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_peers", "no-such-trio"])
    assert bench_peers.main() == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "there is no trio called 'no-such-trio'" in err


def test_an_interrupt_has_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> dict[str, Any]:
        raise Cancelled("the measurement was interrupted")

    monkeypatch.setattr(bench_peers, "measure", interrupted)
    monkeypatch.setattr(sys, "argv", ["bench_peers", "factbook"])
    assert bench_peers.main() == 130
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_a_file_that_llama_cpp_python_refuses_is_told(
    factbook_recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "none.gguf").write_bytes(b"no model")
    wrong = replace(
        factbook_recipe, base=replace(factbook_recipe.base, path=tmp_path / "none.gguf")
    )
    with pytest.raises(EngineError, match="llama-cpp-python"):
        bench_peers.Peers(wrong, [64, 64, 64], 1)


@pytest.mark.weights
def test_a_process_that_has_ended_is_told(factbook_recipe: Recipe) -> None:
    peers = bench_peers.Peers(factbook_recipe, [64, 64, 64], 1)
    peers.close()
    peers.close()
    with pytest.raises(EngineError, match="has ended"):
        next(peers.system("loop")(Question("", RoleTokens([5], [5], [5]))))
