"""The probability that text begins with a base token's bytes: what the projection replaced.

All of the alignment's boundary handling and closer looks, and another value of a base token: the
sum over the own tokens that begin with its bytes (METHOD: prefix probability). "T" then has all
that "The" has. Nothing but `tools.alignment` uses it, to show what the difference is worth.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeproxy.align import LACKING, ProjectedModel, align
from edgeproxy.align.projection import Node, Projection
from edgeproxy.align.spelling import Spelling
from edgeproxy.core.model import Branching, Logits
from edgeproxy.core.vocab import Vocab


@dataclass(frozen=True, eq=False)
class PrefixProjection(Projection):
    """A `Projection` whose event is that what comes next begins with a base token's bytes."""

    ids: dict[bytes, int] = field(default_factory=dict)
    low: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    high: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    longest: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))

    @classmethod
    def over(cls, usual: Projection, base: Vocab) -> PrefixProjection:
        """The one that takes the place of `usual` under `base`."""
        own = usual.tables.texts
        words = [own[token] for token in usual.tables.arrays.own_order.tolist()]
        known = {word: token for token, word in enumerate(own) if word}
        ends = [
            bisect_left(words, text[:-1] + bytes([text[-1] + 1])) if text[-1:] < b"\xff" else low
            for text, low in ((text, bisect_left(words, text)) for text in base.texts)
            if text
        ]
        low, high = np.zeros((2, len(base)), np.intp)
        spoken = [token for token, text in enumerate(base.texts) if text]
        low[spoken] = [bisect_left(words, base.texts[token]) for token in spoken]
        high[spoken] = ends
        longest = np.full(len(base), len(own), np.intp)
        for token, text in enumerate(base.texts):
            starts = (known[text[:n]] for n in range(len(text) - 1, 0, -1) if text[:n] in known)
            longest[token] = next(starts, len(own))
        return cls(
            usual.tables,
            usual.ends,
            usual.own_ends,
            usual.silent,
            {text: token for token, text in enumerate(base.texts) if text},
            low,
            high,
            longest,
        )

    def row(self, nodes: Sequence[Node], out: Logits) -> None:
        """As `Projection.row`: the sum for each token, and the longest that it begins with."""
        last = nodes[-1]
        p = np.exp(last.row.astype(np.float64))
        sums = np.concatenate([[0.0], np.cumsum(p[self.tables.arrays.own_order])])
        total = np.maximum(sums[self.high] - sums[self.low], 0.0) + p[self.longest]
        for node in nodes[:-1]:
            for text, chance in self._beyond(node):
                for n in range(1, len(text) + 1):
                    if (token := self.ids.get(text[:n])) is not None:
                        total[token] += math.exp(node.weight - last.weight + chance)
        out[:] = np.maximum(np.log(np.maximum(total, 1e-37)) + last.weight, LACKING)
        ended = p[self.own_ends].sum() if len(self.own_ends) else 0.0
        out[self.ends] = math.log(ended) + last.weight if ended > 0 else LACKING
        out[self.silent] = LACKING

    def _beyond(self, node: Node) -> list[tuple[bytes, float]]:
        own, chances = self._likely(node, beyond=True)
        texts = self.tables.texts
        return [
            (texts[token][len(node.rest) :], chance)
            for token, chance in zip(own, chances, strict=True)
        ]

    def value(self, nodes: Sequence[Node], at: int, token: int) -> float:
        """As `Projection.value`: all own tokens that cover the rest, from every place."""
        terms = [float(LACKING)]
        for node in nodes:
            own = self.tables.beginning_with(node.rest)
            if len(own):
                terms.append(node.weight + float(np.logaddexp.reduce(node.row[own])))
        return float(np.logaddexp.reduce(terms))

    def stays(self, node: Node, at: int, token: int) -> float:
        """Nothing: what follows does not change what a text begins with."""
        return 0.0


def prefix_pair(expert: Branching, anti_expert: Branching, base: Vocab) -> list[ProjectedModel]:
    """Both models over `base`, by prefix probability."""
    found = []
    for model, usual in zip(
        (expert, anti_expert), align(expert, anti_expert, base)[:2], strict=True
    ):
        if not isinstance(usual, ProjectedModel):
            raise TypeError("these vocabularies need no projection")
        projection = PrefixProjection.over(usual._projection, base)
        found.append(ProjectedModel(model, base, projection, Spelling(model.vocab)))
    return found
