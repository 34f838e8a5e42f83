"""The part of `tools.alignment` that compares with exact probabilities, at places in real texts.

The trio reads its own greedy replies to the questions, what it tells about countries, and prose
that it was not trained for (the card beside its manifest), as replies. At each position the exact
fused row is worked out for the tokens that could lead it: the base's leading 20, the projection's
leading ones, and what the expert may say at all. Disagreements go to standard error as they come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgeproxy.cli.ui.output import say
from edgeproxy.core.model import Logits
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.measure.evaluate import read_questions
from edgeproxy.session.load import load
from edgeproxy.trios.find import find_recipe
from tools.alignment.positions import Fast, Reading, Side, positions_of, readings_of

Told = Callable[[str], None]

LEADING, LOOKED_AT = 20, 8
KINDS = ("replies", "countries", "prose")
_SHARES = (0.65, 0.3, 0.05)
"""Prose that no model here could have written takes the exact walk ten times as long."""


@dataclass
class Tally:
    """What was found over many positions, under one mask."""

    positions: int = 0
    agree: int = 0
    regrets: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    near: list[float] = field(default_factory=list)
    unresolved: int = 0
    unsure: int = 0

    def row(self, kind: str, plausibility: float) -> dict[str, Any]:
        """As a row of the table."""
        return {
            "text": kind,
            "mask": plausibility,
            "positions": self.positions,
            "argmax agrees": self.agree / max(self.positions, 1),
            "differ by 0.1 or more": sum(regret >= 0.1 for regret in self.regrets),
            "MAE of 20": _mean(self.errors),
            "median": float(np.median(self.errors)) if self.errors else None,
            "MAE near the best": _mean(self.near),
            "offsets": len(self.errors),
            "unresolved": self.unresolved,
            "choice unresolved": self.unsure,
        }


def reference(
    trio: str,
    questions: Path,
    positions: int = 2000,
    epsilon: float = 0.01,
    told: Told = lambda what: None,
) -> list[dict[str, Any]]:
    """Offsets and the fused argmax against the exact ones, by kind of text and by mask."""
    recipe = find_recipe(trio)
    alpha, masks = recipe.steering.alpha, (recipe.steering.plausibility, 0.0)
    tallies = {(kind, mask): Tally() for kind in KINDS for mask in masks}
    with ExitStack() as opened:
        session = opened.enter_context(load(recipe))
        watched = Trio(*session.trio.models, Steering(alpha))
        weights = [opened.enter_context(Weights(role.path)) for role in recipe.roles.values()]
        base = weights[0].vocab
        ends = weights[1].vocab.end_of_generation | weights[2].vocab.end_of_generation
        sides = [Side(LlamaModel(each), base, ends) for each in weights[1:]]
        readings = readings_of(recipe, watched, weights, read_questions(questions))
        for kind, share in zip(KINDS, _SHARES, strict=True):
            left = round(positions * share)
            for reading in readings[kind]:
                for text, fast in positions_of(watched, reading, masks, left):
                    left -= 1
                    _compare(text, reading, fast, sides, masks, epsilon, tallies, alpha)
                told(f"{kind}: {left} positions left")
                if left <= 0:
                    break
    rows = [tallies[kind, mask].row(kind, mask) for kind in KINDS for mask in masks]
    totals = [_total([tallies[kind, mask] for kind in KINDS]).row("all", mask) for mask in masks]
    return [*rows, *totals]


def _compare(
    text: bytes,
    reading: Reading,
    fast: Sequence[Fast],
    sides: Sequence[Side],
    masks: Sequence[float],
    epsilon: float,
    tallies: dict[tuple[str, float], Tally],
    alpha: float,
) -> None:
    base = fast[0].base
    leading = _top(base, LEADING)
    prompts = [[n - len(base) for n in part] for part in reading.prompt[1:]]
    likely = sides[0].log_p(prompts[0], text, set(), epsilon)
    asked = {*leading, *likely, *(t for rows in fast for t in _top(rows.fused, LOOKED_AT))}
    texts = sides[0].base.texts
    asked = {t for t in asked if texts[t]} | set(sides[0].base.end_of_generation)
    chosen = {int(rows.fused.argmax()) for rows in fast}
    expert, anti = (
        side.log_p(prompt, text, asked, epsilon, chosen)
        for side, prompt in zip(sides, prompts, strict=True)
    )
    known = [t for t in asked if min(expert.get(t, -math.inf), anti.get(t, -math.inf)) > -math.inf]
    for rows, mask in zip(fast, masks, strict=True):
        tally = tallies[reading.kind, mask]
        ours = int(rows.fused.argmax())
        if len(known) < 2 or ours not in known:
            tally.unsure += 1
            continue
        threshold = max(expert.values()) + (math.log(mask) if mask else -math.inf)
        exact = {
            t: float(base[t]) + alpha * (expert[t] - anti[t])
            for t in known
            if expert[t] >= threshold
        }
        best = max(exact, key=exact.__getitem__)
        tally.positions += 1
        tally.agree += best == ours
        tally.unresolved += len(asked) - len(known)
        if best != ours:
            regret = exact[best] - exact.get(ours, -math.inf)
            tally.regrets.append(regret)
            _tell(text, texts, mask, (best, ours), regret, rows, expert, anti)
        compared = [t for t in leading if t in known]
        if len(compared) > 1:
            errors = _errors(compared, rows, expert, anti)
            near = [exact.get(t, -math.inf) > exact[best] - 3.0 for t in compared]
            tally.errors += errors.tolist()
            tally.near += errors[near].tolist()


def _errors(
    compared: Sequence[int], fast: Fast, expert: dict[int, float], anti: dict[int, float]
) -> Logits:
    """How far the offsets are apart, each row taken as probabilities of these tokens alone."""
    ours = _normalised(fast.expert[compared]) - _normalised(fast.anti_expert[compared])
    theirs = _normalised(np.array([expert[t] for t in compared])) - _normalised(
        np.array([anti[t] for t in compared])
    )
    return np.asarray(np.abs(ours - theirs), np.float32)


def _normalised(row: Any) -> Any:
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def _tell(
    text: bytes,
    texts: Sequence[bytes],
    mask: float,
    tokens: tuple[int, int],
    regret: float,
    rows: Fast,
    expert: dict[int, float],
    anti: dict[int, float],
) -> None:
    """One disagreement: exact and fast log-probabilities of both tokens, from their best."""
    tops = max(expert.values()), max(anti.values())
    parts = [f"mask {mask:g} {text[-30:]!r} worse by {regret:.2f}:"]
    for name, token in zip(("exact", "fast"), tokens, strict=True):
        exact = expert.get(token, -math.inf) - tops[0], anti.get(token, -math.inf) - tops[1]
        ours = (
            rows.expert[token] - rows.expert.max(),
            rows.anti_expert[token] - rows.anti_expert.max(),
        )
        parts.append(
            f"{name} {texts[token]!r} base {rows.base[token] - rows.base.max():.2f}"
            f" expert {exact[0]:.2f}/{ours[0]:.2f} anti {exact[1]:.2f}/{ours[1]:.2f};"
        )
    say(" ".join(parts))


def _total(tallies: Sequence[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        for name, value in vars(tally).items():
            setattr(total, name, getattr(total, name) + value)
    return total


def _top(row: Logits, count: int) -> list[int]:
    order = np.argsort(row)[::-1]
    return [int(token) for token in islice(order, count) if row[token] > -np.inf]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
