"""Which tokens of a vocabulary keep to a grammar, one reply after another and token by token."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import GrammarError
from edgeproxy.grammar.grammar import Grammar, engine, in_words, on_its_stack

_SPECIAL = b"\xff"
"""With this in front the engine knows a token that is no text: no UTF-8 text has this byte."""


class Tokens:
    """A vocabulary as the engine of grammars knows it, for all replies over it.

    `endings` are the tokens that end a reply, which a grammar allows where its text may end. Making
    it takes about half a second for 150,000 tokens. Raises `GrammarError` where there are none, or
    where llguidance is not installed.
    """

    def __init__(self, vocab: Vocab, endings: frozenset[int]) -> None:
        if not endings:
            raise GrammarError(
                "no token of the base ends a reply, so that no grammar can be kept to"
            )
        self.count = len(vocab)
        guidance = engine()
        self._known = guidance.LLTokenizer(
            guidance.TokenizerWrapper(_Wrapped(vocab, min(endings))), eos_token=sorted(endings)
        )

    def begin(self, grammar: Grammar) -> Constraint:
        """What holds one reply to `grammar`. Raises `GrammarError`."""
        make = engine().LLMatcher
        matcher = on_its_stack(lambda: make(self._known, grammar.text, log_level=0), grammar.text)
        return Constraint(matcher, self.count, grammar.name)


class Constraint:
    """Holds one reply to a grammar: `allow` says which token may come, `accept` which one came."""

    def __init__(self, matcher: Any, count: int, name: str) -> None:
        self._matcher = matcher
        self._count = count
        self._name = name

    @property
    def is_over(self) -> bool:
        """Whether nothing more may follow: the text is whole, and can have no other end."""
        return bool(self._matcher.is_stopped())

    def allow(self, row: Logits) -> Logits:
        """A copy of `row`, shape (n_vocab,), with -inf for each token that may not come next.

        Raises `GrammarError` where no token may, or the engine gives up.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        allowed = np.unpackbits(bits, bitorder="little")[: self._count].astype(bool)
        found: Logits = np.where(allowed, row, np.float32(-np.inf))
        if not np.isfinite(found.max()):
            raise GrammarError(f"{self._name}: no token that may come next is possible")
        return found

    def accept(self, token: int) -> None:
        """`token` comes next. Raises `GrammarError` where it may not."""
        self._matcher.consume_token(token)
        self._check()

    def ahead(self) -> Constraint:
        """A copy that may run ahead of the reply, as drafts do."""
        return Constraint(self._matcher.deep_copy(), self._count, self._name)

    def count_valid(self, tokens: list[int]) -> int:
        """How many of `tokens`, from the beginning, may come next."""
        return int(self._matcher.validate_tokens(tokens))

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(f"{self._name}: {in_words([self._matcher.get_error()])}")


class _Wrapped:
    """What llguidance asks of a tokenizer; its names are llguidance's."""

    bos_token_id = None

    def __init__(self, vocab: Vocab, ending: int) -> None:
        self.eos_token_id = ending
        self.tokens = [text or _SPECIAL + vocab.tokens[n] for n, text in enumerate(vocab.texts)]
        self.special_token_ids = [n for n, text in enumerate(vocab.texts) if not text]
        self._vocab = vocab

    def __call__(self, text: str) -> list[int]:
        """The tokens of a text that the grammar leaves no choice about."""
        if not isinstance(text, str):
            raise TypeError("a text, not bytes")  # llguidance asks once which of them it takes
        return self._vocab.encode(text)
