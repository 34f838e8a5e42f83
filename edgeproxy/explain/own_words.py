"""How a pair with a tokenizer of its own spells a reply that the base's tokens make."""

from __future__ import annotations

from edgeproxy.align import ProjectedModel
from edgeproxy.align.spelling import Spelling
from edgeproxy.core.model import Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.explain.form import Word


class OwnWords:
    """Takes a reply token by token, and says how one model spells the word under way.

    A reply begins a word, and so does what `Spelling` says; the words before stay as they are.
    """

    def __init__(self, base: Vocab, own: Vocab) -> None:
        self._base = base
        self._own = own
        self._spelling = Spelling(own)
        self._word = b""

    def push(self, token: int) -> tuple[Word, ...]:
        """The own tokens of the word under way with `token`, one of the base's, at its end."""
        words = list(self._spelling.words(self._word + self._base.texts[token]))
        if len(words) > 1 and words[0] == self._word:
            del words[0]  # it has ended, and another one begins
        self._word = words[-1] if words else b""
        return tuple(word_of(self._own, each) for word in words for each in self._spelling(word))


def own_words(base: Vocab, model: Model) -> OwnWords | None:
    """What spells for a model of the pair; None where it reads the base's own tokens."""
    return OwnWords(base, model.model.vocab) if isinstance(model, ProjectedModel) else None


def word_of(vocab: Vocab, token: int) -> Word:
    """A token as a person may see it."""
    data = vocab.tokens[token]
    special = token in vocab.end_of_generation or not vocab.texts[token]
    try:
        return Word(data.decode(), special)
    except UnicodeDecodeError:
        return Word(data.decode(errors="replace"), special, data.hex())
