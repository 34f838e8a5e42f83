"""A trio whose base is told the pair's bias and draws the token itself.

What the base thinks is never seen, so its row here says only which token it drew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeproxy.core.model import Logits, Model
from edgeproxy.core.threads import Beside
from edgeproxy.decode.bias import LIFT, bias_of
from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.decode.trio import Heard, RoleTokens, Rows, Trio, leading
from edgeproxy.errors import EngineError
from edgeproxy.remote.model import row_of
from edgeproxy.remote.predicts import BiasBy, Drawn, Draws

ROUNDS = 4
"""How often the tokens that the pair finds likeliest are made exact before they are sent."""


class Drawing(Model, Protocol):
    """A `Model` that can draw its next token with a bias, besides that of its `draws`."""

    draws: Draws

    def draw(self, tokens: Sequence[int], bias: BiasBy) -> Drawn:
        """The token drawn after `tokens`, which are read then."""


@dataclass
class Sent:
    """What was sent since the trio was made: steps and biased tokens; what limits did.

    `cut` values were larger than the server takes, `left_out` tokens more than it takes.
    """

    steps: int = 0
    tokens: int = 0
    cut: int = 0
    left_out: int = 0


class BiasedTrio(Trio):
    """A `Trio` over a base that draws: `eval` gives a row with the drawn token alone.

    At most `most` tokens get a bias, of at most `largest`; None is no limit.
    """

    def __init__(
        self,
        base: Drawing,
        expert: Model,
        anti_expert: Model,
        steering: Steering = PAPER,
        beside: Beside | None = None,
        most: int | None = None,
        largest: float | None = None,
        endings: Iterable[int] | None = None,
    ) -> None:
        super().__init__(base, expert, anti_expert, steering, beside, endings=endings)
        self.sent = Sent()
        self._drawing = base
        self._most = most
        self._largest = largest

    @property
    def is_stepwise(self) -> bool:
        """Always: a bias is for one token."""
        return True

    def eval(self, tokens: Sequence[int] | RoleTokens, rows: int = 1) -> Logits:
        """As `Trio.eval`, one row: 0 for the token that the base drew, and -inf for all others."""
        if rows != 1:
            raise EngineError("a base that draws its tokens gives one row at a time")
        return super().eval(tokens)

    def _each(self, shares: Sequence[Sequence[int]], rows: int) -> tuple[Heard, Heard, Heard]:
        expert, anti_expert = self._each_of_pair(shares, rows)
        self._look_closer_at_pair(expert.rows, anti_expert.rows)
        own = len(self._drawing.draws.logit_bias)
        most = None if self._most is None else max(1, self._most - own)
        bias = bias_of(expert.rows[-1], anti_expert.rows[-1], self.steering, most, self._largest)
        self.sent.steps += 1
        self.sent.tokens += len(bias.tokens)
        self.sent.cut += bias.cut
        self.sent.left_out += bias.left_out
        self._read[0].extend(shares[0])
        values = dict(zip(bias.tokens, bias.values, strict=True))
        if self._is_end(expert):
            likeliest = int(self.endings[expert.rows[-1][self.endings].argmax()])
            values = {likeliest: LIFT if self._largest is None else min(LIFT, self._largest)}
        row = row_of(self._drawing.draw(shares[0], values).token, len(self.vocab))
        return Heard(row, row), expert, anti_expert

    def _is_end(self, of_expert: Heard) -> bool:
        """Whether a reply rather ends here than not, as the expert finds.

        What the base gives the other tokens is never seen, so nothing can be weighed against them.
        """
        odds = self._odds_of_end(of_expert)
        return odds is not None and bool(odds[-1, 0] > 0.0)

    def _put_together(self, of_base: Heard, of_expert: Heard, of_anti: Heard) -> Rows:
        return Rows(of_base.rows, of_expert.rows, of_anti.rows, of_base.rows)

    def _look_closer_at_pair(self, expert: Logits, anti_expert: Logits) -> None:
        """Make the pair's opinion of what it finds likeliest exact (see `align`)."""
        for _ in range(ROUNDS if self._projected else 0):
            tokens = [*leading(expert[-1]), *leading(2.0 * expert[-1] - anti_expert[-1])]
            changed = [model.refine(tokens) for model in self._projected]
            if not any(changed):
                break
