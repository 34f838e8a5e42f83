"""The exact probability that a base's next token is this one, for a model with another tokenizer.

Slow on purpose: what a fast projection is measured against. Nothing of edgeproxy.align is used.

A model's distribution over its own tokens is one over texts, and the base's tokenizer makes tokens
of every text. The event of a base token is that the text goes on with `said`, that the base cuts it
there, and that its next token is this one. All sequences of own tokens are walked, likely ones
first, until the text decides that (see `Cuts`). Texts that the base would have cut otherwise than
at the end of `said` are astray: the base cannot be where it is and say them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.model import Model
from edgeproxy.core.vocab import Vocab
from tools.alignment.cuts import ASTRAY, OPEN, Cuts, cuts_of

Floats = NDArray[np.float64]
_FREE = 0.1
"""Above this share of epsilon what is decided without an evaluation still counts."""


@dataclass(frozen=True)
class NextBase:
    """What comes next, by the base's tokens.

    `p` by base token and `end` of the generation sum to 1. `astray` and `undecided` are relative to
    that 1: texts cut otherwise before, and what was not followed to a decision. A true value lies
    between p / (1 + undecided) and (p + undecided) / (1 + undecided). `log_mass` is the logarithm
    of what the 1 stands for: the probability that `said` comes, is cut there, and was decided.
    """

    p: Mapping[int, float]
    end: float
    astray: float
    undecided: float
    log_mass: float
    n_evals: int


class Rows:
    """What a model says after own tokens that follow what it has read; each is evaluated once.

    As a context manager it leaves the model where it was.
    """

    def __init__(self, model: Model, context: Sequence[int]) -> None:
        if not context:
            raise ValueError("the context needs a token, as no row comes before the first one")
        self.model = model
        self.n_evals = 0
        self._before = model.n_past
        self._have: tuple[int, ...] = ()
        self._known: dict[tuple[int, ...], Floats] = {(): _log_softmax(model.eval(context)[-1])}

    def after(self, path: tuple[int, ...]) -> Floats:
        """The log-probabilities after `path`, shape (n_own,)."""
        if path not in self._known:
            kept = 0
            while kept < min(len(path) - 1, len(self._have)) and self._have[kept] == path[kept]:
                kept += 1
            self.model.rewind(len(self._have) - kept)
            row = self.model.eval(path[kept:])[-1]
            self.n_evals += len(path) - kept
            self._have = path
            self._known[path] = _log_softmax(row)
        return self._known[path]

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self.model.rewind(self.model.n_past - self._before)


def next_base(
    model: Model,
    context: Sequence[int],
    said: bytes,
    base: Vocab,
    *,
    epsilon: float,
    ends: Collection[int] | None = None,
) -> NextBase:
    """What the base's next token is after `said`, bytes of the word under way.

    `context` holds one own token or more, which come after what the model has read and up to where
    that word begins; the model is left as it was found. Sequences less likely than `epsilon` times
    the likeliest way to say `said` are not evaluated further. `ends` are the own tokens that end
    the generation, by default those of the model's vocabulary.
    """
    with Rows(model, context) as rows:
        return walk(rows, said, b"", cuts_of(base), epsilon, ends)


def log_chances(
    rows: Rows,
    said: bytes,
    base: Vocab,
    tokens: Iterable[int],
    *,
    epsilon: float,
    ends: Collection[int] | None = None,
    most_evals: int | None = None,
) -> dict[int, tuple[float, float]]:
    """For base tokens of text: the log-probability of each, and a bound of what it lacks.

    However unlikely a token is: here `epsilon` is relative to the token itself. Not divided by
    anything, so it is on the scale of `NextBase.log_mass`; -inf for one that never comes.
    """
    cuts, own = cuts_of(base), base.texts
    found = {}
    for token in tokens:
        got = walk(rows, said, own[token], cuts, epsilon, ends, most_evals)
        p = got.p.get(token, 0.0)
        lacking = math.log1p(got.undecided / p) if p else math.inf
        found[token] = (got.log_mass + math.log(p) if p else -math.inf, lacking)
    return found


def walk(
    rows: Rows,
    said: bytes,
    more: bytes,
    cuts: Cuts,
    epsilon: float,
    ends: Collection[int] | None = None,
    most_evals: int | None = None,
) -> NextBase:
    """As `next_base`, of the texts that go on with `more` after `said`.

    After `most_evals` evaluations the rest is left undecided.
    """
    limit = math.inf if most_evals is None else rows.n_evals + most_evals
    return _Walk(rows, said, said + more, cuts, epsilon, ends, limit).result()


class _Walk:
    def __init__(
        self,
        rows: Rows,
        said: bytes,
        target: bytes,
        cuts: Cuts,
        epsilon: float,
        ends: Collection[int] | None,
        limit: float,
    ) -> None:
        self._rows, self._cuts, self._limit = rows, cuts, limit
        self._at, self._target = len(said), target
        vocab = rows.model.vocab
        self._ends = sorted(vocab.end_of_generation if ends is None else ends)
        self._texts, self._sorted, self._ids = _own(vocab, tuple(self._ends))
        self._before = rows.n_evals
        # On the scale of the target, which may be as unlikely as one likes.
        self._scale = self._reach()
        self._least = math.log(epsilon) if epsilon else -math.inf
        self._p: dict[int, float] = {}
        self._end = self._astray = self._undecided = 0.0
        self._visit(b"", (), 0.0)

    def _reach(self) -> float:
        """log P of the target along one spelling of it: the tokenizer's."""
        best, spelled, mass = -math.inf, b"", 0.0
        path: tuple[int, ...] = ()
        for token in [*self._spell(self._target), -1]:
            row = self._rows.after(path)
            rest = self._target[len(spelled) :]
            covering = self._beginning_with(rest) if rest else np.empty(0, np.intp)
            reached = _log_sum(row[covering]) if rest else 0.0
            best = max(best, mass + reached)
            if token >= 0:
                mass += float(row[token])
                spelled += self._texts[token]
                path = (*path, token)
        return best if best > -math.inf else 0.0

    def _spell(self, data: bytes) -> list[int]:
        try:
            tokens = self._rows.model.vocab.encode(data.decode())
        except UnicodeDecodeError as error:
            tokens = self._rows.model.vocab.encode(data[: error.start].decode())
        spelled = b""
        for n, token in enumerate(tokens):
            spelled += self._texts[token]
            if not self._texts[token] or not data.startswith(spelled):
                return tokens[:n]
        return tokens

    def result(self) -> NextBase:
        """All that was found, divided by what was decided."""
        total = sum(self._p.values()) + self._end
        by = total or 1.0
        return NextBase(
            {token: p / by for token, p in self._p.items()},
            self._end / by,
            self._astray / by,
            self._undecided / by,
            self._scale + math.log(total) if total else -math.inf,
            self._rows.n_evals - self._before,
        )

    def _visit(self, spelled: bytes, path: tuple[int, ...], mass: float) -> None:
        """Add what `path` leads to; `mass` is its log-probability."""
        log_p = self._rows.after(path) + (mass - self._scale)
        rest = self._target[len(spelled) :]
        if not rest:
            ended = float(np.exp(log_p[self._ends]).sum())
            if len(spelled) == self._at:
                self._end += ended
            elif ended > 0.0:
                self._count(self._cuts.token_at(spelled, self._at, ended=True), ended)
        tokens = self._beginning_with(rest)
        if rest:
            inside = [self._range(rest[:n], exact=True) for n in range(1, len(rest))]
            tokens = np.concatenate([tokens, *inside])
        chances = log_p[tokens]
        counts = (chances >= self._least + math.log(_FREE)) & (chances > -math.inf)
        # Where `rest` is begun and not covered, these may be no texts that go on with it.
        self._undecided += float(np.exp(chances[~counts]).sum())
        tokens, chances = tokens[counts], chances[counts]
        order = np.argsort(-chances, kind="stable")
        for token, chance in zip(tokens[order].tolist(), chances[order].tolist(), strict=True):
            text = spelled + self._texts[token]
            found = OPEN
            if len(text) >= len(self._target) and len(text) > self._at:
                found = self._cuts.token_at(text, self._at)
            if found != OPEN:
                self._count(found, math.exp(chance))
            elif chance < self._least or self._rows.n_evals >= self._limit:
                self._undecided += math.exp(chance)
            else:
                self._visit(text, (*path, token), mass + float(self._rows.after(path)[token]))

    def _count(self, found: int, p: float) -> None:
        if found >= 0:
            self._p[found] = self._p.get(found, 0.0) + p
        elif found == ASTRAY:
            self._astray += p
        else:
            self._undecided += p

    def _beginning_with(self, prefix: bytes) -> NDArray[np.intp]:
        return self._range(prefix, exact=False)

    def _range(self, prefix: bytes, *, exact: bool) -> NDArray[np.intp]:
        kept = prefix if exact else prefix.rstrip(b"\xff")
        start = bisect_left(self._sorted, prefix)
        if exact:
            return self._ids[start : bisect_left(self._sorted, prefix + b"\0")]
        if not kept:
            return self._ids[start:]
        return self._ids[start : bisect_left(self._sorted, kept[:-1] + bytes([kept[-1] + 1]))]


@lru_cache(maxsize=16)
def _own(vocab: Vocab, ends: tuple[int, ...]) -> tuple[list[bytes], list[bytes], NDArray[np.intp]]:
    """The bytes of each token, those that are text in order, and the ids in that order."""
    own = [b"" if token in ends else data for token, data in enumerate(vocab.texts)]
    ids = sorted((token for token, data in enumerate(own) if data), key=own.__getitem__)
    return own, [own[token] for token in ids], np.array(ids, np.intp)


def _log_softmax(row: NDArray[np.float32]) -> Floats:
    wide = row.astype(np.float64)
    wide -= wide.max()
    return np.asarray(wide - np.log(np.exp(wide).sum()))


def _log_sum(log_p: Floats) -> float:
    if not len(log_p) or log_p.max() == -math.inf:
        return -math.inf
    return float(log_p.max() + np.log(np.exp(log_p - log_p.max()).sum()))
