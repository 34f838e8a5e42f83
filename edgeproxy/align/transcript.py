"""The text that base tokens make, and the own tokens that spell it: the state behind a rewind."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from edgeproxy.align.reader import Reader
from edgeproxy.align.spelling import Spelling
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import EngineError

OwnTokens = tuple[int, ...]
"""Own tokens from the beginning of the word under way."""


class Cost(NamedTuple):
    """What a reply has cost: base tokens read, own tokens evaluated for them, and the fewest."""

    base_tokens: int
    evaluated: int
    ideal: int

    @property
    def ratio(self) -> float:
        """Evaluated over ideal; 1 is a model that reads the finished text once."""
        return self.evaluated / self.ideal if self.ideal else 1.0


class _Mark(NamedTuple):
    """The state before a token: see the attributes of `Transcript` that it names."""

    text: int
    settled: int
    word: int
    evaluated: OwnTokens
    spent: int


class Transcript:
    """Base tokens and own tokens, taken in any order, as the own tokens that spell them.

    Ids from `len(base)` on are own tokens, `len(base) + n` for n; text after them begins a word.
    What is to be read stands in `reader.want`. Invariants, after every call:

    - `text` is the bytes of all base tokens taken and not rewound, in order;
    - the first `settled` tokens of `reader.want` spell the own tokens and all words of `text` that
      another one follows, each as `Spelling` does; after `spell`, the rest spells the last one;
    - both depend on the tokens taken and not rewound, and neither on how the text was cut into base
      tokens nor on what was rewound.
    """

    def __init__(self, base: Vocab, own: Vocab, spelling: Spelling, reader: Reader) -> None:
        self._texts = base.texts
        self._n_base, self._n_own = len(base), len(own)
        self._spelling = spelling
        self._reader = reader
        self._marks: list[_Mark] = []
        self.text = bytearray()
        self.settled = 0
        self._word = 0  # where in `text` the last word begins
        self._evaluated: OwnTokens = ()  # own tokens from `settled` on that were evaluated last
        self._spent = 0
        self._prompt = (0, 0)  # tokens taken, and own tokens, when the last prompt ended

    def __len__(self) -> int:
        """How many tokens have been taken and not rewound."""
        return len(self._marks)

    @property
    def word(self) -> OwnTokens:
        """The own tokens of the word under way, as last spelled."""
        return tuple(self._reader.want[self.settled :])

    @property
    def tokens(self) -> list[int]:
        """The own tokens that spell all that was taken."""
        return [*self._reader.want[: self.settled], *self._spell_word()]

    def path(self, text: bytes) -> OwnTokens:
        """The own tokens of the word under way and of `text` after it."""
        return tuple(token for word in self._words(text) for token in self._spelling(word))

    def take(self, tokens: Sequence[int]) -> None:
        """Take `tokens` and spell them, counting what reading them evaluates.

        Raises `EngineError` for one that is outside both vocabularies.
        """
        settled = self.settled
        for is_own, some in itertools.groupby(tokens, lambda token: token >= self._n_base):
            if is_own:
                self._take_own(list(some))
            else:
                for token in some:
                    self._take(token)
        self.spell()
        if tokens[-1] >= self._n_base:
            self._prompt = (len(self._marks), len(self._reader.want))
            self._spent = 0
        else:
            new = self._reader.want[settled:]
            self._spent += len(new) - common(self._evaluated, new)
        self._evaluated = self.word

    def spell(self) -> None:
        """Spell the word under way, which a rewind leaves out of what is to be read."""
        self._reader.cut(self.settled)
        self._reader.add(self._spell_word())

    def _take_own(self, ids: Sequence[int]) -> None:
        """Take own tokens, which are all of a prompt: together, for they are many."""
        n_base, n_all = self._n_base, self._n_base + self._n_own
        tokens = [each - n_base for each in itertools.takewhile(lambda each: each < n_all, ids)]
        if tokens:
            self._marks.append(self._mark())
            self._settle(self._spell_word())
            self._word = len(self.text)
            mark = self._mark()
            places = range(self.settled + 1, self.settled + len(tokens))
            self._marks += [mark._replace(settled=place) for place in places]
            self._settle(tokens)
        if len(tokens) < len(ids):
            raise self._unknown(ids[len(tokens)])

    def _mark(self) -> _Mark:
        return _Mark(len(self.text), self.settled, self._word, self._evaluated, self._spent)

    def _unknown(self, token: int) -> EngineError:
        return EngineError(f"token {token} is outside the vocabulary of {self._n_base}")

    def _take(self, token: int) -> None:
        if token < 0:
            raise self._unknown(token)
        self._marks.append(self._mark())
        self.text += self._texts[token]
        for word in self._words()[:-1]:
            self._settle(self._spelling(word))
            self._word += len(word)

    def _settle(self, tokens: Sequence[int]) -> None:
        self._reader.cut(self.settled)
        self._reader.add(tokens)
        self.settled += len(tokens)

    def _words(self, more: bytes = b"") -> list[bytes]:
        return list(self._spelling.words(bytes(self.text[self._word :]) + more))

    def _spell_word(self) -> Sequence[int]:
        return self._spelling(bytes(self.text[self._word :]))

    def rewind(self, n: int) -> None:
        """Forget the last `n` tokens taken. Raises `EngineError` where there are fewer."""
        if not 0 <= n <= len(self._marks):
            raise EngineError(f"cannot forget {n} tokens of {len(self._marks)}")
        if n:
            mark = self._marks[-n]
            del self._marks[-n:], self.text[mark.text :]
            _, self.settled, self._word, self._evaluated, self._spent = mark
            self._reader.cut(self.settled)

    def spend(self, count: int, ahead: OwnTokens) -> None:
        """Count tokens evaluated for a closer look; `ahead` is what the model has read with it."""
        self._spent += count
        self._evaluated = ahead or self._evaluated

    @property
    def cost(self) -> Cost:
        """What the text since the last prompt has cost, as if nothing had ever been rewound."""
        taken, own = self._prompt
        return Cost(len(self._marks) - taken, self._spent, len(self.tokens) - own)


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count
