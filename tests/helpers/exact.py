"""The exact probability that a model's next bytes begin with given ones, by every tokenisation.

Slow on purpose: what a fast projection is measured against. Nothing here is shared with one.

A sequence of the model's own text tokens covers a byte string when its bytes begin with it and
those of all its tokens but the last do not. Coverings are disjoint events, so

    P(the next bytes begin with b) = sum over coverings of b of P(t1) P(t2 | t1) ...

and all that begin alike are walked together, as one tree of tokens.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.model import Model
from edgeproxy.core.vocab import Vocab
from tests.helpers.nasty import text_tokens

Floats = NDArray[np.float64]
_MAX_UTF_8 = 4


@dataclass(frozen=True)
class Exact:
    """For each candidate, in the order given; probabilities are those after the context alone.

    What is missing is never more than `pruned`: p <= true p <= p + pruned.
    """

    log_p: Floats
    """log P(the next bytes begin with said + candidate), shape (n,); -inf below 1e-308."""
    pruned: Floats
    """Upper bound of the probability (no logarithm) that pruning left out, shape (n,)."""
    log_end: float
    """log P(the next bytes are `said`, and then the generation ends)."""
    end_pruned: float
    """As `pruned`, for `log_end`."""
    n_evals: int
    """How many tokens were evaluated after the context."""

    @property
    def error(self) -> Floats:
        """Upper bound of true log p - `log_p`, shape (n,); inf where only pruning left 0."""
        lacking = np.zeros_like(self.pruned)
        with np.errstate(divide="ignore"):
            np.divide(self.pruned, np.exp(self.log_p), out=lacking, where=self.pruned > 0)
        return np.log1p(lacking)


def exact(
    model: Model,
    context: Sequence[int],
    said: bytes,
    candidates: Iterable[bytes],
    *,
    epsilon: float = 0.0,
    relative: float = 0.0,
    canonical_only: bool = False,
) -> Exact:
    """log P(`said` + candidate is a prefix of the next bytes | `context`) for each candidate.

    `context` holds one token or more of the model's own and comes after what the model has read;
    the model is left as it was found. Likely sequences of tokens are walked first. One with a
    probability below `epsilon`, or below `relative` times what was found for a candidate before,
    is not followed for that candidate, and counted as `pruned`; with 0 and 0 all are followed.
    Control, unused, unknown, empty and end-of-generation tokens are no text: nothing is read past
    one.

    With `canonical_only` a sequence counts only if the tokenizer may make it (see `Canonical`), and
    so must every beginning of it: the tree of valid tokenisations of arXiv 2506.14123. The walk is
    as deep as the longest of the byte strings, which should be a few hundred at most.
    """
    if not context:
        raise ValueError("the context needs a token, as no row comes before the first one")
    targets = [said + candidate for candidate in candidates]
    counts = Canonical(model.vocab).counts if canonical_only else None
    walk = _Walk(model, said, targets, (epsilon, relative), counts)
    before = model.n_past
    try:
        walk.visit(b"", (), 0.0, model.eval(context)[-1], range(len(targets) + 1))
    finally:
        model.rewind(model.n_past - before)
    with np.errstate(divide="ignore"):
        log_p = np.log(walk.mass)
    pruned = walk.pruned
    return Exact(log_p[:-1], pruned[:-1], float(log_p[-1]), float(pruned[-1]), walk.n_evals)


class _Walk:
    """Adds up the coverings of all targets; the last entry of `mass` is that of the end."""

    def __init__(
        self,
        model: Model,
        said: bytes,
        targets: Sequence[bytes],
        limits: tuple[float, float],
        counts: Callable[[tuple[int, ...]], bool] | None,
    ) -> None:
        self._model = model
        self._counts = counts
        self._epsilon, self._relative = limits
        self._table = text_tokens(model.vocab)
        pairs = sorted((data, token) for data, ids in self._table.items() for token in ids)
        self._keys = [data for data, _ in pairs]
        self._ids = np.array([token for _, token in pairs], np.intp)
        self._longest = max(map(len, self._keys), default=0)
        self._endings = sorted(model.vocab.end_of_generation)
        self._end = len(targets)
        self._targets = [*targets, said]
        self._ranges: dict[bytes, slice] = {}
        self.mass = np.zeros(len(self._targets))
        self.pruned = np.zeros(len(self._targets))
        self.n_evals = 0

    def visit(
        self,
        spelled: bytes,
        path: tuple[int, ...],
        mass: float,
        row: NDArray[np.float32],
        active: Iterable[int],
    ) -> None:
        """Add what `path` leads to, of log-probability `mass` and followed by `row`.

        `spelled` are its bytes, with which all `active` targets begin.
        """
        log_p = mass + _log_softmax(row)
        children: dict[bytes, list[int]] = {}
        for target in active:
            rest = self._targets[target][len(spelled) :]
            if not rest:
                # Only the end and an empty target get here: all others are covered before.
                self.mass[target] += _sum(log_p[self._endings]) if target == self._end else 1.0
                continue
            if target != self._end:
                self._cover(target, rest, path, log_p)
            longest = len(rest) if target == self._end else len(rest) - 1
            for length in range(1, min(longest, self._longest) + 1):
                if rest[:length] in self._table:
                    children.setdefault(rest[:length], []).append(target)
        pairs = [(data, token) for data in children for token in self._table[data]]
        for data, token in sorted(pairs, key=lambda pair: (-log_p[pair[1]], pair)):
            self._follow(spelled + data, (*path, token), float(log_p[token]), children[data])

    def _follow(
        self, spelled: bytes, path: tuple[int, ...], mass: float, active: list[int]
    ) -> None:
        kept = [target for target in active if not self._prune(target, math.exp(mass))]
        if kept and (self._counts is None or self._counts(path)):
            self.n_evals += 1
            self.visit(spelled, path, mass, self._model.eval(path[-1:])[-1], kept)
            self._model.rewind(1)

    def _prune(self, target: int, p: float) -> bool:
        """Whether a path of probability `p` is left out of a target; if so it is counted."""
        pruned = bool(p < max(self._epsilon, self._relative * self.mass[target]))
        if pruned:
            self.pruned[target] += p
        return pruned

    def _cover(self, target: int, rest: bytes, path: tuple[int, ...], log_p: Floats) -> None:
        """Add the tokens that begin with all that is left of a target."""
        tokens = self._ids[self._range(rest)]
        if self._counts is None:
            self.mass[target] += _sum(log_p[tokens])
            return
        for token in map(int, tokens[np.argsort(-log_p[tokens], kind="stable")]):
            p = math.exp(log_p[token])
            # Pruned before the tokenizer is asked: that costs more than a little mass is worth.
            if not self._prune(target, p) and self._counts((*path, token)):
                self.mass[target] += p

    def _range(self, rest: bytes) -> slice:
        """Where the tokens that begin with `rest` stand in `_ids`."""
        if rest not in self._ranges:
            end = _after(rest)
            stop = len(self._keys) if end is None else bisect_left(self._keys, end)
            self._ranges[rest] = slice(bisect_left(self._keys, rest), stop)
        return self._ranges[rest]


class Canonical:
    """Knows which sequences of tokens a vocabulary's tokenizer may begin with."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._known: dict[tuple[int, ...], bool] = {}

    def counts(self, path: tuple[int, ...]) -> bool:
        """Whether the tokenizer begins with `path` for the bytes of `path`, at their end or later.

        Later, because GPT-2's splits two newlines only before a word. What may follow is tried,
        not known: nothing or a letter; and where the bytes end within a character, first any byte
        that goes on with it, and the lowest or highest ones after that.
        """
        if path not in self._known:
            data = b"".join(self._vocab.tokens[token] for token in path)
            self._known[path] = any(
                tuple(self._vocab.encode(text + more)[: len(path)]) == path
                for text in _completed(data)
                for more in ("", "x")
            )
        return self._known[path]


def _completed(data: bytes) -> Iterable[str]:
    """`data` as text, a last character that is cut off completed in up to 128 ways."""
    text = _decoded(data)
    if text is not None:
        yield text
        return
    for lacking in range(1, _MAX_UTF_8):
        found = False
        for first in range(0x80, 0xC0):
            for last in (0x80, 0xBF):
                text = _decoded(data + bytes([first]) + bytes([last]) * (lacking - 1))
                if text is not None:
                    found = True
                    yield text
        if found:
            return


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _after(prefix: bytes) -> bytes | None:
    """The first byte string after all that begin with `prefix`; None where none is."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


def _log_softmax(row: NDArray[np.float32]) -> Floats:
    wide = row.astype(np.float64)
    wide -= wide.max()
    return np.asarray(wide - np.log(np.exp(wide).sum()))


def _sum(log_p: Floats) -> float:
    return float(np.exp(log_p).sum())
