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
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab

LogProbabilities = NDArray[np.float32]
"""Of each own token, and `LACKING` for the token that does not exist; shape (n_own + 1,)."""

MOST_TOKENS, NEGLIGIBLE = 16, 7.0
"""Of the own tokens that begin alike the likeliest count, down to so many nats below the first."""

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
    """Projects rows through `tables`.

    `ends` are the base's end-of-generation tokens, where the probabilities of `own_ends`, the
    tokens that end a text for the model, are pooled. `silent` are base tokens kept out of it.
    """

    tables: Tables
    ends: NDArray[np.intp]
    own_ends: NDArray[np.intp]
    silent: NDArray[np.intp]

    @classmethod
    def make(
        cls, tables: Tables, base: Vocab, own_ends: Iterable[int], silent: Iterable[int]
    ) -> Projection:
        """The projection to the vocabulary `base`."""
        ids = (sorted(base.end_of_generation), sorted(own_ends), sorted(silent))
        return cls(tables, *(np.array(part, np.intp) for part in ids))

    def row(self, nodes: Sequence[Node], out: Logits) -> None:
        """Write the log-probability of every base token into `out`, shape (n_base,).

        A token that is longer than the own tokens it begins with has the probability of the first
        of them alone, an upper bound; `value` finds its own. A token that the model cannot spell
        has `LACKING`. All are up to a constant: the log-probability of the word so far.
        """
        last = nodes[-1]
        row = np.maximum(last.row + np.float32(last.weight), LACKING)
        np.take(row, self.tables.one, out=out, mode="clip")
        many = self.tables.many
        if len(many.base):
            out[many.base] = _log(many.masses(np.exp(row)))
        out[self.ends] = log_sum_exp(row[self.own_ends]) if len(self.own_ends) else LACKING
        out[self.silent] = LACKING
        for node in nodes[:-1]:
            for token, value in self._crossing(node, last).items():
                out[token] = max(np.logaddexp(out[token], value), LACKING)

    def _crossing(self, node: Node, last: Node) -> dict[int, float]:
        """What own tokens that cross the end of the word so far say of what follows it.

        Log-probabilities by base token; nothing where they are negligible beside the last place.
        """
        own, chances = self._likely(node, beyond=True)
        values: dict[int, float] = {}
        if not own or node.weight + chances[0] < last.weight - NEGLIGIBLE:
            return values
        at = len(node.before) + len(node.rest)
        for token, chance in zip(own, chances, strict=True):
            base, is_kept = self.tables.next_base(node.before + self.tables.texts[token], at)
            value = node.weight + chance + (0.0 if is_kept else ASTRAY)
            values[base] = float(np.logaddexp(values.get(base, -np.inf), value))
        values.pop(-1, None)
        return values

    def _likely(self, node: Node, *, beyond: bool = False) -> tuple[list[int], list[float]]:
        """The likeliest own tokens that begin with all of `node.rest`, and their logs.

        With them the token that is equal to it, but not where they must go `beyond` it.
        """
        own = self.tables.beginning_with(node.rest, beyond=beyond)
        row = node.row[own]
        equal = own[:1] if len(own) and self.tables.texts[own[0]] == node.rest else own[:0]
        if len(own) > MOST_TOKENS:
            best = np.argpartition(row, -MOST_TOKENS)[-MOST_TOKENS:]
            own, row = own[best], row[best]
        order = np.argsort(row)[::-1]
        own, row = own[order], row[order]
        count = int((row > row[0] - NEGLIGIBLE).sum()) if len(own) else 0
        kept, chances = own[:count].tolist(), row[:count].tolist()
        for token in equal.tolist():
            if token not in kept:
                kept.append(token)
                chances.append(float(node.row[token]))
        return kept, chances

    def value(self, nodes: Sequence[Node], at: int, token: int) -> float:
        """log of the probability that the base token `token` comes next, on the scale of `row`.

        `nodes` are all the places that were looked at from which an own token may reach its end,
        each with the word and the token as its `before` and `rest`. The token begins at the byte
        `at`.
        """
        terms = [float(LACKING)]
        for node in nodes:
            own, chances = self._likely(node)
            # What is not among the likely ones is not more than this, and not nothing either.
            terms += [node.weight + chances[0] - NEGLIGIBLE] if own else []
            for other, chance in zip(own, chances, strict=True):
                text = node.before + self.tables.texts[other]
                base, is_kept = self.tables.next_base(text, at)
                # Where nothing goes beyond the token, it is this token that has been asked for.
                if is_kept and base != token and len(text) > len(node.before) + len(node.rest):
                    continue
                terms.append(node.weight + chance + (0.0 if is_kept else ASTRAY))
        return float(np.logaddexp.reduce(terms))

    def stays(self, node: Node, at: int, token: int) -> float:
        """log of the share of what follows `node` after which `token` is still the base's next.

        The token, from the byte `at` on, ends at `node`; a longer one may take its place.
        """
        likely = np.flatnonzero(node.row[:-1] > math.log(1e-3))
        lost = 0.0
        for own in likely.tolist():
            text = self.tables.texts[own]
            if text and self.tables.next_base(node.before + text, at) != (token, True):
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
