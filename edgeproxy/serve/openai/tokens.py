"""Log-probabilities of a reply's tokens, as OpenAI's protocol tells them, and as edgeproxy adds.

They are natural logarithms in the distribution that a reply is drawn from, the mask included and
before temperature; of the three models each its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.scoring import TokenScore
from edgeproxy.serve.events import Said
from edgeproxy.session.turn import Step

IMPOSSIBLE = -9999.0
"""What OpenAI's protocol says of a token that has no probability at all: JSON has no infinity."""


class Rated(NamedTuple):
    """A token: its id, its text, its bytes, and its log-probability, None where nobody knows it.

    A special one has no bytes, and its text is what its file calls it.
    """

    id: int
    text: str
    data: bytes
    logprob: float | None


class Word(NamedTuple):
    """A token of a text, its likeliest rivals, the likeliest first, and what three models said.

    `step` is None where that was not asked for.
    """

    token: Rated
    best: tuple[Rated, ...]
    step: Step | None


class Words:
    """Makes `Word`s of a reply's pieces, with `most` rivals each."""

    def __init__(self, vocab: Vocab, most: int) -> None:
        self._vocab = vocab
        self._most = most

    def word(self, said: Said) -> Word | None:
        """The token of a piece; None where it has none, or only ends the reply.

        After an echo the token that ends it is told too, as OpenAI does: clients count on it.
        """
        piece, step = said.piece, said.step
        if said.score is not None:
            return self.scored(said.score)
        if piece.token is None or (piece.finish_reason == "stop" and self._ends(piece.token)):
            return None
        logprob = piece.logprob
        best = step.fused.best[: self._most] if step is not None else ()
        return Word(
            self._rated(piece.token, logprob),
            tuple(self._rated(each.token, each.logprob) for each in best),
            step,
        )

    def scored(self, score: TokenScore) -> Word:
        """A token of which it is known how likely it was."""
        token = self._rated(score.token, score.logprob)
        if score.data:
            # A space that a tokenizer puts before a text is none of it.
            token = token._replace(text=score.data.decode("utf-8", "replace"), data=score.data)
        best = score.best[: self._most]
        return Word(token, tuple(self._rated(each.token, each.logprob) for each in best), None)

    def _ends(self, token: int) -> bool:
        return not self._vocab.texts[token]

    def _rated(self, token: int, logprob: float | None) -> Rated:
        data = self._vocab.piece(token)
        text = (data or self._vocab.tokens[token]).decode("utf-8", "replace")
        return Rated(token, text, data, None if logprob is None else finite(logprob))


def finite(logprob: float) -> float:
    """A log-probability as JSON has it."""
    return round(logprob, 6) if math.isfinite(logprob) else IMPOSSIBLE


def entry(word: Word, *, has_bytes: bool = False) -> dict[str, Any]:
    """A token as chat and responses tell it; with `has_bytes` one without bytes has none, [].

    Under "edgeproxy" are its id and, where it was asked for, what each model said of it, null for
    a probability of 0, and whether it was drafted.
    """
    extension: dict[str, Any] = {"id": word.token.id}
    if word.step is not None:
        for role in ("base", "expert", "anti_expert"):
            logprob = getattr(word.step, role).chosen.logprob
            extension[role] = round(logprob, 6) if math.isfinite(logprob) else None
        extension["drafted"] = word.step.drafted
    return {
        **_rated(word.token, has_bytes),
        "top_logprobs": [_rated(each, has_bytes) for each in word.best],
        "edgeproxy": extension,
    }


def _rated(rated: Rated, has_bytes: bool) -> dict[str, Any]:
    data = list(rated.data) if rated.data or has_bytes else None
    return {"token": rated.text, "bytes": data, "logprob": rated.logprob}


def legacy(words: Sequence[Word], starts: Sequence[int], most: int) -> dict[str, Any]:
    """Tokens as completions tell them: four lists.

    `starts` are where the tokens begin in the text. The token that was drawn is always among the
    likeliest, so that there may be `most` and one more. Of tokens of one text the likelier counts.
    Of the first token of a text nothing is known, and null is told.
    """
    return {
        "tokens": [word.token.text for word in words],
        "token_logprobs": [word.token.logprob for word in words],
        "top_logprobs": [_by_text(word) for word in words] if most else None,
        "text_offset": list(starts),
    }


def _by_text(word: Word) -> dict[str, float | None] | None:
    if not word.best and word.token.logprob is None:
        return None
    found: dict[str, float | None] = {}
    for each in (*word.best, word.token):
        found.setdefault(each.text, each.logprob)
    return found
