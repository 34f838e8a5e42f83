"""What the models have read of other conversations, kept in memory for when they go on.

A trio holds one conversation. Before it reads a prompt of another one, its states are taken out and
put on the shelf, and those that have read most of the prompt are put back. Within a budget: the
states that have not been used for longest go first. Replies are the same with and without a shelf.

Everything is judged by what the base reads. What would be lost is measured in text: the reply that
a conversation goes on from is often cut into other tokens in the next prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeproxy.core.cancel import Cancel
from edgeproxy.decode.remembering import common_length, kept_of
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import EngineError

LEAST_SPARED = 8
"""So many tokens at least must be spared for states to be put back."""

SHARE_SPARED = 1 / 16
"""And so much of what those states have read, as putting all of it back takes time too."""

LEAST_LOST = 32
"""Bytes of text that are worth being kept: about as many as `LEAST_SPARED` tokens are."""

MOST = 64
"""Conversations that are kept at most, so that many short ones neither fill the budget nor take
long to be compared."""


@dataclass(frozen=True, eq=False)
class Kept:
    """States of the three models, what each had read, and the text of what the base had."""

    tokens: RoleTokens
    text: bytes
    states: tuple[memoryview, memoryview, memoryview]

    @property
    def size(self) -> int:
        """The bytes of its states."""
        return sum(map(len, self.states))


class Shelf:
    """States of one trio, at most `budget` bytes of them and of at most `MOST` conversations.

    One thread at a time may use it.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._kept: list[Kept] = []  # the one that was used last is the last one

    def __len__(self) -> int:
        """How many conversations are on it."""
        return len(self._kept)

    @property
    def size(self) -> int:
        """The bytes of all states on it."""
        return sum(kept.size for kept in self._kept)

    def clear(self) -> None:
        """Let go of everything."""
        self._kept.clear()

    def change(self, trio: Trio, prompt: RoleTokens, cancel: Cancel) -> None:
        """Have `trio` hold what spares it most of reading `prompt`, and keep what it would lose.

        Where anything of that fails, or is cancelled, the trio holds something else, or nothing,
        and reads more. It is not evaluated.
        """
        held = RoleTokens(*trio.held)
        now = kept_of(trio.base, held.base, prompt.base)
        best = self._best(trio, prompt, now)
        text = _text(trio, held.base)
        if len(text) - common_length(text, _text(trio, prompt.base)) >= LEAST_LOST:
            self._keep(trio, held, text, best, cancel)
        if best is not None and not cancel.is_set():
            self._put_back(trio, best)

    def _best(self, trio: Trio, prompt: RoleTokens, now: int) -> Kept | None:
        """What spares most of `prompt`, where that is enough more than the `now` of the trio's."""
        spared = [kept_of(trio.base, kept.tokens.base, prompt.base) for kept in self._kept]
        lengths = [len(kept.tokens.base) for kept in self._kept]
        # Of those that spare as much the shortest one, which takes least time to be put back.
        order = sorted(range(len(spared)), key=lambda n: (spared[n], -lengths[n]))
        if not order:
            return None
        best = order[-1]
        least = max(LEAST_SPARED, SHARE_SPARED * lengths[best])
        return self._kept[best] if spared[best] - now >= least else None

    def _keep(
        self, trio: Trio, held: RoleTokens, text: bytes, best: Kept | None, cancel: Cancel
    ) -> None:
        """Take out what `trio` holds, unless it is here; `best` is about to be put back."""
        for kept in self._kept:
            # A model that cannot rewind cannot go back to a part of what it had read.
            if kept.text == text or (trio.can_rewind and kept.text.startswith(text)):
                self._use(kept)
                return
        try:
            trio.settle()
            size = sum(model.state_size() for model in trio.saving)
            if not all(held) or not self._make_room(size, text, best):
                return
            states = []
            for model in trio.saving:
                if cancel.is_set():
                    return
                states.append(model.state())
        except (EngineError, MemoryError):
            return  # it is read again
        base, expert, anti_expert = states
        self._kept.append(Kept(held, text, (base, expert, anti_expert)))

    def _make_room(self, size: int, text: bytes, best: Kept | None) -> bool:
        """Let go of states until so many bytes fit; False where they do not.

        What has read no more than a beginning of `text` goes first, for it is in what comes.
        """
        spared = 0 if best is None else best.size
        if size + spared > self.budget:
            return False
        self._kept = [k for k in self._kept if k is best or not text.startswith(k.text)]
        while self.size + size > self.budget or len(self._kept) >= MOST:
            del self._kept[1 if self._kept[0] is best else 0]
        return True

    def _put_back(self, trio: Trio, kept: Kept) -> None:
        try:
            trio.adopt(kept.tokens, kept.states)
        except (EngineError, MemoryError):
            self._kept.remove(kept)
        else:
            self._use(kept)

    def _use(self, kept: Kept) -> None:
        self._kept.remove(kept)
        self._kept.append(kept)


def _text(trio: Trio, tokens: Sequence[int]) -> bytes:
    texts = trio.vocab.texts
    return b"".join([texts[token] for token in tokens])
