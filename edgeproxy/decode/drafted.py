"""The decode loop with drafts: what `stepwise` yields, several tokens for one step of the base.

The expert must be evaluated at every position anyway, so it runs ahead and drafts; the base and the
anti-expert then check the draft in one batch. Each token is drawn from its fused row, in order, by
the sampler's own draws, so a draft decides only how long the tokens take, never which they are:
speculative decoding (Leviathan et al., 2023, arXiv 2211.17192) with the draws of the stepwise loop
in place of its acceptance rule. That holds bar rounding: batched kernels round otherwise than
single steps do, which decides between tokens that are as good as equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from edgeproxy.core.check import one_of
from edgeproxy.core.model import Logits
from edgeproxy.decode.draft_length import LONGEST, DraftLength
from edgeproxy.decode.stepwise import Evaluates, Steps
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import ContextFullError, UsageError
from edgeproxy.grammar.constraint import Constraint

Draft = Literal["off", "ngram", "expert", "auto"]

_NGRAM = 3
"""So many tokens must have stood before the same way for what followed them to be drafted."""


@dataclass
class Drafted:
    """What drafting has done: cycles, tokens drafted, drafted tokens that were drawn, all drawn."""

    cycles: int = 0
    drafted: int = 0
    accepted: int = 0
    tokens: int = 0


class Drafter:
    """Drafts for one trio as `mode` says, and learns from what became of it.

    "ngram" drafts what followed the last few tokens when they stood in the text before, "expert"
    what the expert finds likeliest, "auto" the one where the text repeats and else the other; "off"
    drafts nothing. Raises `UsageError` for another mode.
    """

    def __init__(self, trio: Trio, mode: Draft = "auto", pace: DraftLength | None = None) -> None:
        self._trio = trio
        self.mode = mode
        self.pace = pace or DraftLength()
        self.done = Drafted()
        self.ahead: Callable[[], Constraint] | None = None
        """What holds the draft of the next tokens to a grammar; None where replies keep to none."""
        self._said: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._draft_read: Sequence[int] = []  # what was drafted for the rows last evaluated
        self._sureness: list[float] = []  # of the expert, of each token that it drafted
        self._ran_on = False  # whether it has read the last of them as well

    @property
    def mode(self) -> Draft:
        """What drafts; may be set between replies.

        Always "off" for a pair with a tokenizer of its own, whose rows come one at a time, and for
        models that cannot rewind, which could take no drafted token back.
        """
        return self._mode

    @mode.setter
    def mode(self, value: Draft) -> None:
        one_of("draft", value, get_args(Draft))
        can_draft = self._trio.can_rewind and not self._trio.is_stepwise
        self._mode: Draft = value if can_draft else "off"

    def __call__(
        self,
        prompt: RoleTokens,
        model: Evaluates[RoleTokens],
        sample: Callable[[Logits], int],
        max_tokens: int,
    ) -> Steps:
        """Yield at most `max_tokens` tokens, each with the row it was drawn from, as `stepwise`.

        The last token yielded is never yet in the trio, so a consumer may stop at any time.
        """
        trio = self._trio
        if model is not trio:
            raise UsageError("a drafter serves the trio that it was made for")
        self._begin(prompt)
        tokens: RoleTokens | list[int] = prompt
        draft: list[int] = []
        left = max_tokens
        while left:
            rows = self._check(tokens, draft)
            version = trio.version
            kept = 0
            try:
                for row in rows:
                    token = sample(row)
                    kept += 1
                    self._learn(token, kept - 1)
                    yield token, row
                    if kept == left or kept > len(draft) or token != draft[kept - 1]:
                        break
            finally:
                # Unless someone else has gone on with the trio: what is drafted is gone then.
                if kept < len(rows) and trio.version == version:
                    trio.rewind(len(rows) - kept)
            left -= kept
            tokens = [token]
            draft = self._draft(token, left - 1)

    def _begin(self, prompt: RoleTokens) -> None:
        """Forget the last reply's text and counts."""
        self.done = Drafted()
        self._draft_read = []
        self._sureness = []
        self._said.clear()
        self._places.clear()
        for token in prompt.base:
            self._say(token)

    def _say(self, token: int) -> None:
        self._said.append(token)
        # What ends just before the newest token, so that the newest is never its own precedent.
        self._places[tuple(self._said[-_NGRAM - 1 : -1])] = len(self._said) - 1

    def _draft(self, token: int, most: int) -> list[int]:
        """What may follow `token`, which is in no model yet: at most `most` tokens."""
        room = self._trio.n_ctx - self._trio.n_past - 1
        most = min(most, room, LONGEST)
        self._sureness, self._ran_on = [], False
        if self._mode == "off" or most < 1:
            return []
        length = self.pace.length(most)
        if not length:
            return []
        if self._mode in ("ngram", "auto"):
            found = self._repetition(length)
            if self.ahead is not None:
                found = found[: self.ahead().count_valid(found)]
            if found or self._mode == "ngram":
                return found
        if self._trio.keeps_secrets:
            return []
        return self._expert_draft(token, length)

    def _repetition(self, length: int) -> list[int]:
        place = self._places.get(tuple(self._said[-_NGRAM:]))
        return self._said[place : place + length] if place is not None else []

    def _expert_draft(self, token: int, length: int) -> list[int]:
        draft: list[int] = []
        ahead = self.ahead() if self.ahead is not None else None
        chance = 1.0
        try:
            while len(draft) < length:
                started = time.perf_counter()
                row = self._trio.read_ahead(token)
                self.pace.ran_ahead(time.perf_counter() - started)
                if ahead is not None:
                    row = ahead.allow(row)
                token = int(row.argmax())
                sureness = _sureness(row, token)
                chance *= self.pace.chance(sureness)
                if not self.pace.is_worth(chance, len(draft), length):
                    self._ran_on = True
                    break
                draft.append(token)
                self._sureness.append(sureness)
                if token in self._trio.vocab.end_of_generation:
                    break
                if ahead is not None:
                    ahead.accept(token)
                    if ahead.is_over:
                        break
        except ContextFullError:
            pass
        return draft

    def _check(self, tokens: RoleTokens | Sequence[int], draft: Sequence[int]) -> Logits:
        """The fused rows after the last of `tokens` and after each drafted one."""
        if isinstance(tokens, RoleTokens):
            return self._trio.eval(tokens)
        started = time.perf_counter()
        rows = self._trio.eval([*tokens, *draft], len(draft) + 1)
        # As long as it would have taken had the expert stopped where the draft does.
        more = self.pace.ahead_seconds() if self._ran_on else 0.0
        self.pace.took(len(rows), time.perf_counter() - started + more)
        self._draft_read = draft
        self.done.cycles += 1
        self.done.drafted += len(draft)
        return rows

    def has_drafted(self, token: int, place: int) -> bool:
        """Whether `token` was drafted where the row `place` of the last check has been drawn."""
        return place < len(self._draft_read) and token == self._draft_read[place]

    def _learn(self, token: int, place: int) -> None:
        """Note what was drawn from the row `place` of the last check."""
        self.done.tokens += 1
        self.done.accepted += self.has_drafted(token, place)
        self._say(token)
        if self._mode not in ("expert", "auto"):
            return
        is_hit = token == int(self._trio.rows.expert[place].argmax())
        sure = self._sureness[place] if place < len(self._sureness) else None
        self.pace.saw(is_hit, sure)


def _sureness(row: Logits, token: int) -> float:
    """The softmax of `row` at its largest entry, `token`."""
    return float(1.0 / np.exp(row - row[token]).sum())
