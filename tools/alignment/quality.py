"""The parts of `tools.alignment` that need real models: what a projection says, and its effect."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproxy.align import MAX_PATHS, align
from edgeproxy.core.model import Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.pieces import complete
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.measure.evaluate import Question, read_questions
from edgeproxy.measure.judging import first_line, is_right
from edgeproxy.prompts.formats import Message, encode, make_format
from edgeproxy.session.load import load
from edgeproxy.trios.find import Recipe, find_recipe
from tools.alignment.naive import FirstToken, NoBoundaries
from tools.alignment.prefix import prefix_pair
from tools.models.regguf import padded, renumber_pair, replies, shuffled

Wrap = Callable[[LlamaModel, LlamaModel, Vocab], Sequence[Model]]
Row = NDArray[np.float32]
Told = Callable[[str], None]


def projected(expert: LlamaModel, anti_expert: LlamaModel, base: Vocab) -> Sequence[Model]:
    """The pair as edgeproxy aligns it."""
    aligned = align(expert, anti_expert, base)
    return aligned.expert, aligned.anti_expert


WAYS: Mapping[str, Wrap] = {
    "edgeproxy": projected,
    "prefix probability": prefix_pair,
    "no boundary handling": lambda e, a, v: (NoBoundaries(e, v), NoBoundaries(a, v)),
    "first token only": lambda e, a, v: (FirstToken(e, v), FirstToken(a, v)),
}


class Bench:
    """A trio's weights, and trios of them whose pairs are bridged as asked. Close when done."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._open = ExitStack()
        self.weights = [
            self._open.enter_context(Weights(role.path)) for role in recipe.roles.values()
        ]
        self.base = self.weights[0].vocab
        formats = [
            make_format(role.prompt, weights.vocab, str(role.path))
            for role, weights in zip(recipe.roles.values(), self.weights, strict=True)
        ]
        self._formats = formats

    def trio(self, wrap: Wrap, plausibility: float | None = None) -> Trio:
        """The trio under one way to bridge the vocabularies."""
        base, expert, anti = self.weights
        one, other = wrap(
            LlamaModel(expert, n_branches=MAX_PATHS),
            LlamaModel(anti, n_branches=MAX_PATHS),
            self.base,
        )
        steering = self.recipe.steering.changed({"plausibility": plausibility})
        return Trio(LlamaModel(base), one, other, steering)

    def prompt(self, text: str) -> RoleTokens:
        """A question as each role reads it; the pair's own tokens lie beyond the base's ids."""
        base, expert, anti = (
            encode(layout([Message("user", text)]), weights.vocab)
            for layout, weights in zip(self._formats, self.weights, strict=True)
        )
        n = len(self.base)
        return RoleTokens(base, [n + t for t in expert], [n + t for t in anti])

    def reply(self, trio: Trio, question: Question, longest: int = 48) -> str:
        """The first line of the greedy reply."""
        trio.rewind(0)
        said = ""
        pieces = complete(
            trio.resume(self.prompt(question.text)),
            trio,
            self.base,
            Sampler(self.base, Sampling()),
            max_tokens=longest,
            endings=self.base.end_of_generation,
            stops=["\n"],
        )
        for piece in pieces:
            said += piece.text
        return first_line(said)

    def close(self) -> None:
        """Give the memory back."""
        self._open.close()


def naive(
    trio: str, questions: Path, limit: int | None = None, told: Told = lambda what: None
) -> list[dict[str, Any]]:
    """Right answers under each way to bridge the vocabularies, with and without the mask."""
    recipe = find_recipe(trio)
    asked = read_questions(questions, limit)
    alone = {name: _alone(recipe, name, asked, told) for name in ("base", "expert", "tuned")}
    rows = [
        {"way": f"{name} alone", **_share(right, None)} for name, right in alone.items() if right
    ]
    bench = Bench(recipe)
    for name, wrap in WAYS.items():
        for beta in (recipe.steering.plausibility, 0.0):
            made = bench.trio(wrap, beta)
            right = _judge(partial(bench.reply, made), asked, name, told)
            rows.append({"way": f"{name}, mask {beta:g}", **_share(right, alone)})
    bench.close()
    return rows


def _alone(recipe: Recipe, name: str, asked: Sequence[Question], told: Told) -> list[bool]:
    if getattr(recipe, name, None) is None or not getattr(recipe, name).path.exists():
        return []
    with load(recipe) as session:
        speaker = session.solo(name)

        def reply(question: Question) -> str:
            pieces = speaker.reply([Message("user", question.text)], max_tokens=48, stops=["\n"])
            return first_line("".join(piece.text for piece in pieces))

        return _judge(reply, asked, name, told)


def _judge(
    reply: Callable[[Question], str], asked: Sequence[Question], name: str, told: Told
) -> list[bool]:
    right = []
    for number, question in enumerate(asked, start=1):
        right.append(is_right(reply(question), question.answers))
        told(f"{name}: {number} of {len(asked)}")
    return right


def _share(right: list[bool], alone: dict[str, list[bool]] | None) -> dict[str, Any]:
    share = sum(right) / len(right)
    gap = None
    if alone and alone["tuned"]:
        base, tuned = (sum(alone[name]) / len(alone[name]) for name in ("base", "tuned"))
        gap = (share - base) / (tuned - base)
    return {"right": share, "gap closed": gap, "n": len(right)}


def permuted(
    trio: str, questions: Path, count: int, told: Told = lambda what: None
) -> list[dict[str, Any]]:
    """How many replies the trio gives otherwise when its pair's ids are permuted, or padded."""
    recipe = find_recipe(trio)
    asked = [question.text for question in read_questions(questions, count)]
    with Weights(recipe.expert.path, vocab_only=True) as weights:
        n = len(weights.vocab)
    plain = list(replies(recipe, asked))
    rows = []
    for name, order in (
        ("permuted", shuffled(n, 1)),
        ("permuted, padding among the ids", shuffled(n, 2, 64)),
        ("padded", padded(n, 64)),
    ):
        told(name)
        with tempfile.TemporaryDirectory() as folder:
            said = list(replies(renumber_pair(recipe, Path(folder), [order, order]), asked))
        same = sum(a == b for a, b in zip(said, plain, strict=True))
        rows.append({"pair": name, "questions": len(asked), "same tokens": same})
    return rows
