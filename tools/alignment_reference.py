"""The projection against the exact probabilities, at positions of real texts.

    python -m tools.alignment_reference TRIO QUESTIONS [--positions 2000] [--epsilon 0.01] [--json]

The trio reads its own greedy replies to the questions, what it tells about countries, and prose
that it was not trained for (the card beside its manifest), as replies. At each position the exact
fused row is worked out for the tokens that could lead it: the base's leading 20, the projection's
leading ones, and what the expert may say at all. Disagreements go to standard error as they come.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeproxy.align import own_tokens
from edgeproxy.evaluate import read_questions
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.loader import load
from edgeproxy.model import Logits, Model
from edgeproxy.prompt import Message, encode, make_format
from edgeproxy.recipe import Recipe, find_recipe
from edgeproxy.trio import RoleTokens, Trio
from edgeproxy.vocab import Vocab
from tools.cuts import cuts_of
from tools.exact_tokens import Rows, log_chances, walk

LEADING, LOOKED_AT, LIKELY = 20, 8, 1e-3
MOST_EVALS, HARDER = 150, 30
"""Evaluations for a token; what the projection chose is tried again with so many times more."""

COUNTRIES = ("Peru", "Chad", "Iceland", "Vietnam", "Ghana", "Chile", "Nepal", "Kenya", "Malta")
KINDS = ("replies", "countries", "prose")
_SHARES = (0.5, 0.25, 0.25)
_SENTENCE = re.compile(r"[A-Z][^.|#]{30,}\.")


class WatchedTrio(Trio):
    """A trio that keeps the rows which it fused last: base, expert, anti-expert."""

    rows: tuple[Logits, Logits, Logits]

    def _fuse(self, base: Logits, expert: Logits, anti_expert: Logits) -> Logits:
        self.rows = base, expert, anti_expert
        return super()._fuse(base, expert, anti_expert)


class Reading(NamedTuple):
    """A text's name, the prompt that it answers, and its base tokens."""

    kind: str
    prompt: RoleTokens
    tokens: Sequence[int]


class Fast(NamedTuple):
    """Rows of one position, shape (n_base,): of the base, the projected pair, and all fused."""

    base: Logits
    expert: Logits
    anti_expert: Logits
    fused: Logits


class Side:
    """One model of the pair, read exactly. Its own tokens spell whole words; the last is walked."""

    def __init__(self, model: Model, base: Vocab, ends: frozenset[int]) -> None:
        self.model, self.base, self.ends = model, base, ends
        self._have: list[int] = []

    def log_p(
        self,
        prompt: Sequence[int],
        text: bytes,
        tokens: set[int],
        epsilon: float,
        chosen: Collection[int] = (),
    ) -> dict[int, float]:
        """Of `tokens`, or with none of all likely ones, the log-probability of following `text`.

        The end of generation is always there. Up to a constant; a token that was not resolved to
        half a nat is left out, and those `chosen` are tried harder.
        """
        start = _last_word(text)
        context = [*prompt, *self.model.vocab.encode(text[:start].decode())]
        kept = 0
        while kept < min(len(self._have), len(context) - 1) and self._have[kept] == context[kept]:
            kept += 1
        self.model.rewind(self.model.n_past - kept)
        if len(context) - 1 > kept:
            self.model.eval(context[kept:-1])
        self._have = context[:-1]
        with Rows(self.model, context[-1:]) as rows:
            said, cuts = text[start:], cuts_of(self.base)
            found = walk(rows, said, b"", cuts, LIKELY, self.ends, 10 * MOST_EVALS)
            known = dict.fromkeys(self.base.end_of_generation, _log(found.end) + found.log_mass)
            if not tokens:
                likely = {t: math.log(p) + found.log_mass for t, p in found.p.items() if p > LIKELY}
                return {**likely, **known}
            for harder in (1, HARDER):
                asked = {t for t in tokens if t not in known and (harder == 1 or t in chosen)}
                chances = log_chances(
                    rows,
                    said,
                    self.base,
                    asked,
                    epsilon=epsilon / harder,
                    ends=self.ends,
                    most_evals=MOST_EVALS * harder,
                )
                known |= {t: log_p for t, (log_p, lacking) in chances.items() if lacking < 0.5}
        return known


@dataclass
class Tally:
    """What was found over many positions, under one mask."""

    positions: int = 0
    agree: int = 0
    regrets: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    near: list[float] = field(default_factory=list)
    unresolved: int = 0
    skipped: int = 0

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
            "skipped": self.skipped,
        }


def reference(
    trio: str, questions: Path, positions: int = 2000, epsilon: float = 0.01
) -> list[dict[str, Any]]:
    """Offsets and the fused argmax against the exact ones, by kind of text and by mask."""
    recipe = find_recipe(trio)
    masks = (recipe.plausibility, 0.0)
    tallies = {(kind, mask): Tally() for kind in KINDS for mask in masks}
    with ExitStack() as opened:
        session = opened.enter_context(load(recipe))
        watched = WatchedTrio(*session.trio.models, recipe.alpha)
        weights = [opened.enter_context(Weights(role.path)) for role in recipe.roles.values()]
        base = weights[0].vocab
        ends = weights[1].vocab.end_of_generation | weights[2].vocab.end_of_generation
        sides = [Side(LlamaModel(each), base, ends) for each in weights[1:]]
        readings = _readings(recipe, watched, weights, read_questions(questions))
        for kind, share in zip(KINDS, _SHARES, strict=True):
            left = round(positions * share)
            for reading in readings[kind]:
                for text, fast in _positions(watched, reading, masks, left):
                    left -= 1
                    _compare(text, reading, fast, sides, masks, epsilon, tallies, recipe.alpha)
                _progress(f"{kind}: {left} positions left")
                if left <= 0:
                    break
    rows = [tallies[kind, mask].row(kind, mask) for kind in KINDS for mask in masks]
    totals = [_total([tallies[kind, mask] for kind in KINDS]).row("all", mask) for mask in masks]
    return [*rows, *totals]


def _readings(
    recipe: Recipe, trio: Trio, weights: Sequence[Weights], asked: Sequence[Any]
) -> dict[str, Iterator[Reading]]:
    formats = [
        make_format(role.prompt, each.vocab, str(role.path))
        for role, each in zip(recipe.roles.values(), weights, strict=True)
    ]

    def prompt(question: str) -> RoleTokens:
        return RoleTokens(
            *(
                own_tokens(model, encode(layout([Message("user", question)]), each.vocab))
                for model, layout, each in zip(trio.models, formats, weights, strict=True)
            )
        )

    def answered(kind: str, questions: Sequence[str]) -> Iterator[Reading]:
        for question in questions:
            trio.plausibility = recipe.plausibility
            tokens: list[int] = []
            share = trio.resume(prompt(question))
            row = trio.eval(share)[-1]
            while len(tokens) < 160:
                tokens.append(int(row.argmax()))
                if tokens[-1] in trio.vocab.end_of_generation:
                    break
                row = trio.eval(tokens[-1:])[-1]
            yield Reading(kind, prompt(question), tokens)

    def prose() -> Iterator[Reading]:
        card = (recipe.base.path.parent / "README.md").read_text(encoding="utf-8")
        for found in _SENTENCE.finditer(" ".join(card.split())):
            tokens = trio.vocab.encode(found[0])
            yield Reading("prose", prompt("What do you know about models?"), tokens)

    spread = [question.text for start in range(7) for question in asked[start::7]]
    told = [f"Tell me about {country}." for country in COUNTRIES]
    told += [f"What can you say about the people of {country}?" for country in COUNTRIES]
    return {
        "replies": answered("replies", spread),
        "countries": answered("countries", told),
        "prose": prose(),
    }


def _positions(
    trio: WatchedTrio, reading: Reading, masks: Sequence[float], most: int
) -> Iterator[tuple[bytes, list[Fast]]]:
    """The text so far, and the rows under each mask, at each position of a reading."""
    found: list[list[Fast]] = []
    for mask in masks:
        trio.plausibility = mask
        rows = []
        # Not resumed: the beginning of the reply may have been read under another mask.
        share: RoleTokens | Sequence[int] = trio.resume(reading.prompt)
        for token in [*reading.tokens[:most], None]:
            fused = trio.eval(share)[-1].copy()
            base, expert, anti_expert = (row[-1].copy() for row in trio.rows)
            rows.append(Fast(base, expert, anti_expert, fused))
            if token is not None:
                share = [token]
        found.append(rows[: len(reading.tokens[:most])])
    text = b""
    for token, at in zip(reading.tokens, zip(*found, strict=True), strict=False):
        yield text, list(at)
        text += trio.vocab.texts[token]


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
        if len(known) < 2:
            tally.skipped += 1
            continue
        threshold = max(expert.values()) + (math.log(mask) if mask else -math.inf)
        exact = {
            t: float(base[t]) + alpha * (expert[t] - anti[t])
            for t in known
            if expert[t] >= threshold
        }
        best, ours = max(exact, key=exact.__getitem__), int(rows.fused.argmax())
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
    _progress(" ".join(parts) + "\n")


def _total(tallies: Sequence[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        for name, value in vars(tally).items():
            setattr(total, name, getattr(total, name) + value)
    return total


def _last_word(text: bytes) -> int:
    """Where the last word begins: at a space after what is no white space."""
    starts = (
        n for n in range(len(text) - 1, 0, -1) if text[n] == 32 and text[n - 1] not in b" \t\r\n"
    )
    return next(starts, 0)


def _top(row: Logits, count: int) -> list[int]:
    order = np.argsort(row)[::-1]
    return [int(token) for token in islice(order, count) if row[token] > -np.inf]


def _log(p: float) -> float:
    return math.log(p) if p > 0 else -math.inf


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def main() -> None:
    """Measure and print, as the command line asks."""
    parser = argparse.ArgumentParser(description="Compare the projection with exact values.")
    parser.add_argument("trio", help="a trio's name, its folder, or its trio.toml")
    parser.add_argument("questions", type=Path, help="questions as JSON lines")
    parser.add_argument("--positions", type=int, default=2000)
    parser.add_argument("--epsilon", type=float, default=0.01, help="relative error of a token")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    rows = reference(given.trio, given.questions, given.positions, given.epsilon)
    _progress("")
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print("  ".join(rows[0]))
    for row in rows:
        print("  ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))


def _progress(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
