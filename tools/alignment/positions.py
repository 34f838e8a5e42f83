"""Texts that a trio reads position by position, and what its rows are there, fast and exact."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from edgeproxy.align import own_tokens
from edgeproxy.core.model import Logits, Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.llama import Weights
from edgeproxy.measure.evaluate import Question
from edgeproxy.prompts.formats import Message, encode, make_format
from edgeproxy.trios.find import Recipe
from tools.alignment.cuts import cuts_of
from tools.alignment.exact_tokens import Rows, log_chances, walk

LIKELY = 1e-3
MOST_EVALS, HARDER = 150, 100
"""Evaluations for a token; what the projection chose is tried again with so many times more."""

MOST_TOKENS = 160
COUNTRIES = ("Peru", "Chad", "Iceland", "Vietnam", "Ghana", "Chile", "Nepal", "Kenya", "Malta")

_SENTENCE = re.compile(r"[A-Z][^.|#]{30,}\.")


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
        within half a nat is left out, and those `chosen` are tried harder.
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
                    epsilon=epsilon / harder**1.5,
                    ends=self.ends,
                    most_evals=MOST_EVALS * harder,
                )
                known |= {t: p + lost / 2 for t, (p, lost) in chances.items() if lost < 1.0}
        return known


def readings_of(
    recipe: Recipe, trio: Trio, weights: Sequence[Weights], asked: Sequence[Question]
) -> dict[str, Iterator[Reading]]:
    """What is read, by kind: greedy replies to the questions, what is told of countries, prose."""
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
            trio.steering = recipe.steering
            tokens: list[int] = []
            share = trio.resume(prompt(question))
            row = trio.eval(share)[-1]
            while len(tokens) < MOST_TOKENS:
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


def positions_of(
    trio: Trio, reading: Reading, masks: Sequence[float], most: int
) -> Iterator[tuple[bytes, list[Fast]]]:
    """The text so far, and the rows under each mask, at each position of a reading."""
    found: list[list[Fast]] = []
    for mask in masks:
        trio.steering = trio.steering.changed({"plausibility": mask})
        rows = []
        # Not resumed: the beginning of the reply may have been read under another mask.
        share: RoleTokens | Sequence[int] = trio.resume(reading.prompt)
        for token in [*reading.tokens[:most], None]:
            trio.eval(share)
            rows.append(Fast(*(part[-1].copy() for part in trio.rows)))
            if token is not None:
                share = [token]
        found.append(rows[: len(reading.tokens[:most])])
    text = b""
    for token, at in zip(reading.tokens, zip(*found, strict=True), strict=False):
        yield text, list(at)
        text += trio.vocab.texts[token]


def _last_word(text: bytes) -> int:
    """Where the last word begins: at a space after what is no white space."""
    starts = (
        n for n in range(len(text) - 1, 0, -1) if text[n] == 32 and text[n - 1] not in b" \t\r\n"
    )
    return next(starts, 0)


def _log(p: float) -> float:
    return math.log(p) if p > 0 else -math.inf
