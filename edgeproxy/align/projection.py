"""Rows over a model's own vocabulary -> one row over the base's.

What a base token's probability is for a model with other tokens: that the text which it says next,
cut as the base's tokenizer cuts it, goes on with this token. After text that ends with the bytes s
of an unfinished word it is summed over how own tokens may have begun that word: along the model's
tokenisation of s, at each of its places, over the own tokens that begin with what is left of s and
go beyond it. With the base's own vocabulary this is the model's own row.

The probability that text *begins with* a token's bytes, the common choice, is no substitute: for
"T" it counts all that "The" says, which lifts fragments of every likely word. The sum over all
tokenisations is Phan et al., 2024 (arXiv 2410.09303) and, as a tree of the valid ones, arXiv
2506.14123; tests measure this one against it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.align.mapped import LACKING, log_sum_exp
from edgeproxy.align.tables import Tables
from edgeproxy.model import Logits
from edgeproxy.vocab import Vocab

LogProbabilities = NDArray[np.float32]
"""Of each own token, and `LACKING` for the token that does not exist; shape (n_own + 1,)."""

MOST_TOKENS, NEGLIGIBLE = 24, 9.0
"""Of the own tokens that begin alike the most likely ones count, down to so many nats below."""

_TINY = np.float32(1e-37)


ASTRAY = math.log(0.01)
"""Weight of texts that the base would have cut otherwise than it was: it can say them still."""


class Node(NamedTuple):
    """A place within the word where a model gave a row.

    `weight` is the log-probability of the word's tokens up to there, `before` their bytes, `rest`
    the bytes of the word that come after it, `row` what the model said there.
    """

    weight: float
    before: bytes
    rest: bytes
    row: LogProbabilities


@dataclass(frozen=True, eq=False)
class Projection:
    """Projects rows through `tables`; `texts` are the bytes of the own tokens.

    `ends` are the base's end-of-generation tokens, where the probabilities of `own_ends`, the
    tokens that end a text for the model, are pooled. `silent` are base tokens kept out of it.
    """

    tables: Tables
    texts: tuple[bytes, ...]
    ends: NDArray[np.intp]
    own_ends: NDArray[np.intp]
    silent: NDArray[np.intp]

    @classmethod
    def make(
        cls, tables: Tables, base: Vocab, own: Vocab, own_ends: Iterable[int], silent: Iterable[int]
    ) -> Projection:
        """The projection to the vocabulary `base`."""
        ids = (sorted(base.end_of_generation), sorted(own_ends), sorted(silent))
        return cls(tables, own.texts, *(np.array(part, np.intp) for part in ids))

    def row(self, nodes: Sequence[Node], out: Logits) -> None:
        """Write the log-probability of every base token into `out`, shape (n_base,).

        A token that is longer than the own tokens it begins with has the probability of the first
        of them alone, an upper bound; `value` finds its own. A token that the model cannot spell
        has `LACKING`. All are up to a constant: the log-probability of the word so far.
        """
        arrays, last = self.tables.arrays, nodes[-1]
        row = np.maximum(last.row + np.float32(last.weight), LACKING)
        np.take(row, arrays.one, out=out, mode="clip")
        many = self.tables.many
        if len(many.base):
            out[many.base] = _log(many.masses(np.exp(row)))
        out[self.ends] = log_sum_exp(row[self.own_ends]) if len(self.own_ends) else LACKING
        out[self.silent] = LACKING
        for node in nodes[:-1]:
            own, kept, astray = self.tables.crossing(node.before, node.rest)
            if not len(own):
                continue
            chances = np.exp(node.row)
            for cover, weight in ((kept, 0.0), (astray, ASTRAY)):
                found = _log(cover.masses(chances)) + np.float32(node.weight + weight)
                out[cover.base] = np.maximum(np.logaddexp(out[cover.base], found), LACKING)

    def value(self, nodes: Sequence[Node], said: bytes, text: bytes, token: int) -> float:
        """log of the probability that the base token `token`, of bytes `text`, follows `said`.

        `nodes` are all the places that were looked at from which an own token may reach its end.
        On the scale of `row`.
        """
        terms = [LACKING]
        wanted = said + text
        for node in nodes:
            own = self.tables.beginning_with(wanted[len(node.before) :])
            if not len(own):
                continue
            own = own[np.argsort(node.row[own])[: -MOST_TOKENS - 1 : -1]]
            row = node.row[own]
            likely = row > row[0] - NEGLIGIBLE
            for chance, other in zip(row[likely].tolist(), own[likely].tolist(), strict=True):
                after = node.before + self.texts[other]
                found = self.tables.next_base(said, after)
                if found == token or (after == wanted and found is None):
                    terms.append(node.weight + chance)
                elif found is None:
                    terms.append(node.weight + chance + ASTRAY)
        return float(np.logaddexp.reduce(terms))

    def stays(self, node: Node, said: bytes, token: int) -> float:
        """log of the share of what follows `node` after which `token` is still the base's next.

        The text so far, `said`, and the token end at `node`; a longer token may take its place.
        """
        likely = np.flatnonzero(node.row[:-1] > math.log(1e-3))
        lost = 0.0
        for own in likely.tolist():
            found = self.tables.next_base(said, node.before + self.texts[own])
            if self.texts[own] and found != token:
                lost += math.exp(float(node.row[own]))
        return math.log(max(1.0 - lost, 1e-3))


def _log(masses: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.log(np.maximum(masses, _TINY)))


def log_probabilities(raw: Logits) -> LogProbabilities:
    """The log-softmax of one row of logits, shape (n_own,), and `LACKING` behind it."""
    out = np.empty(len(raw) + 1, np.float32)
    np.subtract(raw, log_sum_exp(raw), out=out[:-1])
    out[-1] = LACKING
    return out
