"""Three Models in lock-step as one Model.

A step is a transaction: whatever fails, and Ctrl-C, leaves all three where they were. Where one of
them cannot go back, all three have read nothing then.

Where the pair has a tokenizer of its own, a row's leading tokens are looked at a second time: what
the pair says of a token that it spells in several takes an evaluation each (see `align`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from edgeproxy.align import ProjectedModel, own_rows, own_vocab
from edgeproxy.core.model import Logits, Model
from edgeproxy.core.threads import Beside, at_once
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.ending import Odds, end_by, odds_of_end
from edgeproxy.decode.fuse import fuse
from edgeproxy.decode.holding import Holding
from edgeproxy.decode.partial import Coverage, Partial
from edgeproxy.decode.remembering import kept_of
from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.decode.told import Told
from edgeproxy.errors import EngineError, UsageError
from edgeproxy.remote.model import RemoteModel

ROUNDS = 8
"""How often a row's leading tokens are made exact: others may lead after the first time."""

NEAR, MOST = 3.0, 8
"""Leading are tokens at most so many nats below the best one, and at most so many of them."""


class RoleTokens(NamedTuple):
    """Tokens that differ by role, as prompts do: only the expert sees its chat template."""

    base: Sequence[int]
    expert: Sequence[int]
    anti_expert: Sequence[int]


class Rows(NamedTuple):
    """What the three models said and what became of it: each of shape (rows, n_vocab).

    What fused is of the others, and where it is -inf, see `fuse`.
    """

    base: Logits
    expert: Logits
    anti_expert: Logits
    fused: Logits


class Heard(NamedTuple):
    """What one model said, and the expert's own rows behind that (see `own_rows`) where asked."""

    rows: Logits
    own: Logits


class Trio(Holding):
    """Base, expert and anti-expert as one `Model` whose rows are the fused logits.

    Expert and anti-expert must speak the base's vocabulary (see `align`); `UsageError` is raised
    where they do not. `steering` may be changed between evals. With `beside` the pair may be
    evaluated at once, the anti-expert in another thread. A base `elsewhere`, on a server, is asked
    while the pair evaluates here, and its rows may be partial (see `partial`). `endings` are the
    tokens that end a reply, by default those of the base's vocabulary.
    """

    def __init__(
        self,
        base: Model,
        expert: Model,
        anti_expert: Model,
        steering: Steering = PAPER,
        beside: Beside | None = None,
        elsewhere: bool = False,
        endings: Iterable[int] | None = None,
    ) -> None:
        for role, model in (("expert", expert), ("anti-expert", anti_expert)):
            if len(model.vocab) != len(base.vocab):
                raise UsageError(f"the {role} does not speak the base's vocabulary; align it first")
        self.base = base
        self.expert = expert
        self.anti_expert = anti_expert
        self.steering = steering
        self._beside = beside
        self._elsewhere = ThreadPoolExecutor(1, "edgeproxy-base") if elsewhere else None
        self.keeps_secrets = False
        """Whether what the expert alone has read must not be shown to the base: it is not asked for
        tokens that the expert favours, only for more of a row, nor given drafts."""
        self._told = Told(cast(Partial, base)) if elsewhere else None
        self._read: tuple[list[int], list[int], list[int]] = ([], [], [])
        self._nothing = Rows(*[np.empty((0, len(base.vocab)), np.float32)] * 4)
        self.rows = self._nothing
        """What the last `eval` returned and what it was made of; valid until the next call."""
        self.version = 0
        """Changes whenever something is read or forgotten."""
        self._is_astray = False  # a model could not even forget everything
        self._ahead: list[int] = []  # what the expert alone has read, and the rows that followed
        self._ahead_heard: list[Heard] = []
        self._fused = self._nothing.fused
        ends = base.vocab.end_of_generation if endings is None else endings
        self.endings = _sorted(ends)
        """The tokens that end a reply."""
        own_ends = own_vocab(expert).end_of_generation
        self._own_ends = self.endings if own_vocab(expert) is expert.vocab else _sorted(own_ends)
        self.end_odds: Odds | None = None
        """How likely the expert found the end in the last `eval`, where it alone says so."""
        self._projected = [m for m in (expert, anti_expert) if isinstance(m, ProjectedModel)]

    @property
    def models(self) -> tuple[Model, Model, Model]:
        """Base, expert, anti-expert."""
        return self.base, self.expert, self.anti_expert

    @property
    def can_rewind(self) -> bool:
        """Whether each of the three can forget a part of what it has read."""
        return all(model.can_rewind for model in self.models)

    @property
    def is_stepwise(self) -> bool:
        """Whether several rows cost as much as so many evals: the pair's tokenizer is its own."""
        return bool(self._projected)

    @property
    def vocab(self) -> Vocab:
        """The base's vocabulary."""
        return self.base.vocab

    @property
    def coverage(self) -> Coverage:
        """How much of what the expert finds likeliest a base elsewhere has told of."""
        return Coverage() if self._told is None else self._told.coverage

    @property
    def n_past(self) -> int:
        """The longest of the three: prompts differ by role, and it is what the context limits."""
        return max(model.n_past for model in self.models)

    @property
    def n_ctx(self) -> int:
        """The smallest context of the three."""
        return min(model.n_ctx for model in self.models)

    def eval(self, tokens: Sequence[int] | RoleTokens, rows: int = 1) -> Logits:
        """As `Model.eval`; `RoleTokens` gives each model its own. Returns fused rows."""
        if rows > 1 and self._projected:
            return self._eval_one_by_one(tokens, rows)
        if self._is_astray:
            raise EngineError("the three models are out of step; begin the reply again")
        self.version += 1
        version = self.version
        shares = tokens if isinstance(tokens, RoleTokens) else (tokens,) * 3
        before = [len(read) for read in self._read]
        try:
            heard = self._each(shares, rows)
            if self.version != version:
                raise EngineError("another reply went on with these models during an evaluation")
            if len(self._fused) < rows:
                self._fused = np.empty((rows, len(self.vocab)), np.float32)
            self.rows = self._put_together(*heard)
            return self.rows.fused
        except BaseException:
            self._restore(before)
            raise

    def _put_together(self, of_base: Heard, of_expert: Heard, of_anti: Heard) -> Rows:
        base, expert, anti_expert = of_base.rows, of_expert.rows, of_anti.rows
        if self._told is not None:
            self._told.begin(base, expert)
        self.end_odds = self._odds_of_end(of_expert) if self.steering.alpha else None
        while True:
            fused = self._fuse(base, expert, anti_expert)
            if self._projected and self.steering.alpha:
                fused = self._look_closer(base, expert, anti_expert, fused)
            if not (self.steering.alpha and self._learn(expert, anti_expert, fused)):
                return Rows(base, expert, anti_expert, fused)

    def _odds_of_end(self, of_expert: Heard) -> Odds | None:
        """How likely the expert finds the end, where it alone says so."""
        if not self.steering.expert_ends:
            return None
        return odds_of_end(of_expert.own, self._own_ends)

    def rows_of(self, row: Logits) -> Rows:
        """The four rows, each of shape (n_vocab,), of one `row` of those last returned.

        A decode loop yields such a row; it knows of one model and not of three. Raises
        `EngineError` for any other row, as a copy is.
        """
        place = self.place_of(row)
        return Rows(*(rows[place] for rows in self.rows))

    def place_of(self, row: Logits) -> int:
        """Which `row` of those last returned this is, counted from 0. Raises as `rows_of`."""
        for place, fused in enumerate(self.rows.fused):
            if np.may_share_memory(fused, row):
                return place
        raise EngineError("this row is none of those that the trio returned last")

    def whole_base_at(self, place: int) -> Logits:
        """The base's row at `place`, shape (n_vocab,), as it was fused.

        It is whole: where a server has told of a few tokens, the rest is what was fused in their
        place (see `partial`).
        """
        base, _, anti_expert, _ = self.rows
        row: Logits = self._whole(base, anti_expert)[place]
        return row

    def exact_for(self, token: int) -> Logits:
        """The row of the last `eval`, one of a single row, with this token exact; (n_vocab,).

        Where the pair has a tokenizer of its own, that is what it says of the token: leading ones
        are exact already, and all are where its tokenizer is the base's. Valid until the next call.
        """
        base, expert, anti_expert, fused = self.rows
        if len(fused) != 1:
            raise EngineError(f"a single row can be made exact, and there are {len(fused)}")
        if self.steering.alpha:
            changed = [model.refine([token]) for model in self._projected]
            if any(changed):
                fused = self._fuse(base, expert, anti_expert)
                self.rows = Rows(base, expert, anti_expert, fused)
        row: Logits = fused[0]
        return row

    def _look_closer(
        self, base: Logits, expert: Logits, anti_expert: Logits, fused: Logits
    ) -> Logits:
        """`fused` with the pair's opinion of its leading tokens made exact (see `align`)."""
        of_base = leading(base[-1])
        for _ in range(ROUNDS):
            tokens = [token for token in leading(fused[-1]) if fused[-1, token] > -np.inf]
            # In mid-word a first value may be too small to be among them.
            tokens += [
                token
                for token in of_base
                if any(model.may_be_low(token) for model in self._projected)
            ]
            changed = [model.refine(tokens) for model in self._projected]
            if not any(changed):
                break
            fused = self._fuse(base, expert, anti_expert)
        return fused

    def _learn(self, expert: Logits, anti_expert: Logits, fused: Logits) -> bool:
        """Whether a base elsewhere has told more, where that decides a row's best token."""
        if self._told is None:
            return False
        read, by_name = self._read[0], not self.keeps_secrets
        return self._told.learn(expert, anti_expert, self.steering, fused, read, by_name)

    def _fuse(self, base: Logits, expert: Logits, anti_expert: Logits) -> Logits:
        out = self._fused[: len(base)]
        fused = fuse(self._whole(base, anti_expert), expert, anti_expert, self.steering, out)
        if self.end_odds is not None:
            end_by(fused, self.end_odds, self.endings)
        return fused

    def _whole(self, base: Logits, anti_expert: Logits) -> Logits:
        return base if self._told is None else self._told.whole(base, anti_expert)

    def _eval_one_by_one(self, tokens: Sequence[int] | RoleTokens, rows: int) -> Logits:
        """Several rows of a pair whose rows are made exact one at a time."""
        if isinstance(tokens, RoleTokens) or not rows <= len(tokens):
            raise EngineError(f"{rows} rows asked of tokens that do not give as many")
        before = [len(read) for read in self._read]
        first = len(tokens) - rows + 1
        parts = [tokens[:first], *([token] for token in tokens[first:])]
        try:
            said = [self._copied(part) for part in parts]
        except BaseException:
            self._restore(before)
            raise
        self.rows = Rows(*map(np.concatenate, zip(*said, strict=True)))
        return self.rows.fused

    def _copied(self, tokens: Sequence[int]) -> Rows:
        self.eval(tokens)
        return Rows(*(rows.copy() for rows in self.rows))

    def _each(self, shares: Sequence[Sequence[int]], rows: int) -> tuple[Heard, Heard, Heard]:
        """The rows of all three, each model having read its share."""
        if self._elsewhere is not None:
            pair, base = at_once(
                self._elsewhere,
                lambda: self._each_of_pair(shares, rows),
                lambda: self._read_by(0, shares[0], rows),
                self.base.stop if isinstance(self.base, RemoteModel) else None,
            )
            return base, *pair
        return self._read_by(0, shares[0], rows), *self._each_of_pair(shares, rows)

    def _each_of_pair(self, shares: Sequence[Sequence[int]], rows: int) -> tuple[Heard, Heard]:
        def read(place: int) -> Heard:
            return self._read_by(place, shares[place], rows)

        if self._beside is None or self._ahead:
            return read(1), read(2)
        work = len(shares[1]), len(shares[2])
        return self._beside.run(work, lambda: read(1), lambda: read(2))

    def _read_by(self, place: int, tokens: Sequence[int], rows: int) -> Heard:
        # Noted first: an interrupt after the model has read must still find it to forget.
        self._read[place].extend(tokens)
        model = self.models[place]
        if model is self.expert and self._ahead:
            return self._catch_up(tokens, rows)
        return self._heard(model, tokens, rows)

    def _heard(self, model: Model, tokens: Sequence[int], rows: int) -> Heard:
        said = model.eval(tokens, rows)
        asks_own = self.steering.expert_ends and model is self.expert
        return Heard(said, own_rows(model, said) if asks_own else said)

    def read_ahead(self, token: int) -> Logits:
        """Let the expert alone read `token`: the row that follows for it, shape (n_vocab,).

        An `eval` that begins with what was read ahead does not evaluate that again for the expert;
        one that does not, and every rewind, takes it back.
        """
        try:
            heard = _joined([self._heard(self.expert, [token], 1)])
        except BaseException:
            self._restore([len(read) for read in self._read])
            raise
        self._ahead.append(token)
        self._ahead_heard.append(heard)
        row: Logits = heard.rows[-1]
        return row

    def _catch_up(self, tokens: Sequence[int], rows: int) -> Heard:
        """The expert's last `rows` rows for `tokens`, with what it has read ahead of them."""
        ahead, known = self._ahead, self._ahead_heard
        self._ahead, self._ahead_heard = [], []
        if ahead != list(tokens[: len(ahead)]):
            self.expert.rewind(len(ahead))
            return self._heard(self.expert, tokens, rows)
        rest = tokens[len(ahead) :]
        kept = known[max(0, len(tokens) - rows) :]
        if rest:
            kept = [*kept, self._heard(self.expert, rest, min(rows, len(rest)))]
        return _joined(kept)

    def _restore(self, lengths: Sequence[int]) -> None:
        """Bring each model back to its own length; where one cannot, all three forget everything.

        Raises `EngineError` then, but not where a model forgets all or nothing by its nature; and
        with nothing changed where none of them can be used at all.
        """
        self._ahead, self._ahead_heard = [], []
        self.rows = self._nothing
        self.version += 1
        if any(map(_cannot_go_back, self.models, lengths)):
            lengths = [0, 0, 0]
        done = 0
        try:
            for model, read, length in zip(self.models, self._read, lengths, strict=True):
                if model.n_past < length:
                    raise EngineError("a model has lost what it had read")
                model.rewind(model.n_past - length)
                del read[length:]
                done += 1
        except BaseException as error:
            is_as_it_was = not done and all(map(_has_read, self.models, self._read))
            if not is_as_it_was:
                self._forget()
            if is_as_it_was or not isinstance(error, EngineError):
                raise
            raise EngineError(
                f"the three models were out of step and have forgotten all that they had read "
                f"({error}); begin the reply again"
            ) from error
        self._is_astray = False

    def _forget(self) -> None:
        """Let all three forget everything; one that does not even do that is astray."""
        self._is_astray = True
        refused = False
        for model, read in zip(self.models, self._read, strict=True):
            read.clear()
            try:
                model.rewind(model.n_past)
            except EngineError:
                refused = True
        self._is_astray = refused

    def rewind(self, n: int) -> None:
        """As `Model.rewind`, the same number of tokens for all three."""
        if not 0 <= n <= min(len(read) for read in self._read):
            raise EngineError(f"cannot forget {n} tokens of {self.n_past}")
        lengths = [len(read) - n for read in self._read]
        if n and not self.can_rewind and any(lengths):
            raise EngineError("one of the three forgets everything or nothing; use resume")
        self._restore(lengths)

    def let_go(self) -> None:
        """Have replies under way leave the models as they are: they are about to be closed."""
        self.version += 1

    def resume(self, prompt: RoleTokens) -> RoleTokens:
        """Forget what differs from `prompt`, role by role; the rest of it, still to be evaluated.

        At least one token is left for each role, so that `eval` of the result gives a row. A role
        that cannot rewind reads all of it again, unless it goes on from what was read.
        """
        kept = list(map(kept_of, self.models, self._read, prompt))
        self._restore(kept)
        return RoleTokens(*(p[n:] for p, n in zip(prompt, kept, strict=True)))


def _sorted(tokens: Iterable[int]) -> NDArray[np.int64]:
    return np.array(sorted(tokens), np.int64)


def _joined(parts: Sequence[Heard]) -> Heard:
    """A copy of all their rows, in order."""
    rows = np.concatenate([part.rows for part in parts])
    if all(part.own is part.rows for part in parts):
        return Heard(rows, rows)
    return Heard(rows, np.concatenate([part.own for part in parts]))


def leading(row: Logits) -> list[int]:
    """The tokens of the largest logits in `row`, shape (n_vocab,), the largest first."""
    near = np.flatnonzero(row >= row.max() - NEAR)
    order = np.argsort(row[near])[::-1][:MOST]
    return [int(token) for token in near[order]]


def _has_read(model: Model, tokens: Sequence[int]) -> bool:
    return model.n_past == len(tokens)


def _cannot_go_back(model: Model, length: int) -> bool:
    """Whether `model` forgets all or nothing, and has read another number of tokens than this."""
    return not model.can_rewind and 0 < length != model.n_past
