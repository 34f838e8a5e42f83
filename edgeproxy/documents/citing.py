"""Which passage each part of a reply was taken from: by what matches, not by what a model claims.

- What stands in the question is no evidence: an answer about Chad that says "Chad" proves nothing.
  A part that says nothing else is an echo. A form of a word of the question (Bulgarian, where it
  has Bulgaria) counts only where a passage has it otherwise than the question does; where a
  passage has just the word of the question, it counts neither for that passage nor against it.
- Common words are no evidence. A number weighs most, then names, then long words; where many
  passages were given, less what most of them hold. An index can give better weights.
- A short part, as a value is, has to stand whole in one passage, its words near each other. Of a
  longer one a passage has to hold half of the weight: a paraphrase changes the rest.
- A number is compared by its value; "19 million" is 19,093,595 rounded, and 1960 is not 1958.
- Little evidence ("2", "no", "mm") counts only for a passage that also matches the question well: a
  digit stands in nearly every document.
- Of several passages that hold as much, it is the one that shares most with the question and with
  the rest of the reply, its trail included; among equals, the one that was found best.
- A passage joins that one where it holds a good part of what that one lacks.
- Numbers and names that stand in no passage are told apart, for models invent them.
- A passage that has none of the names in the question, its trail and its file's name included, may
  be about something else, and is marked so: models take values from the wrong passage too.

What cannot be seen so: that a sentence turns around what it was taken from ("is not landlocked"),
numbers in words, an answer of yes that the passage has in other words, names in scripts without
capitals, and in German, where every noun has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeproxy.documents.alike import Forms
from edgeproxy.documents.cited import Part, Source, as_data, in_words
from edgeproxy.documents.evidence import Context, New, choose
from edgeproxy.documents.holding import Held, readings
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.pieces import Piece, pieces
from edgeproxy.documents.quoting import quotation
from edgeproxy.documents.tokens import Token, looks_german, tokens

__all__ = ["Part", "Source", "as_data", "cite", "in_words"]

_REPLY = 0.5
"""How much the rest of the reply counts beside the question, where passages hold as much."""


def cite(
    reply: str,
    passages: Sequence[Passage],
    question: str = "",
    weight: Callable[[str], float] | None = None,
) -> list[Part]:
    """The parts of `reply`, in order, each with the passages that hold what it says anew.

    `weight` gives how rare a word is, folded as `words` folds it: 0 for one that is everywhere, 1
    for a rare one. Takes time in proportion to the length of all texts.
    """
    held = Held(passages, weight)
    german = looks_german(reply)
    rows = [(piece, tokens(piece.text, is_german=german)) for piece in pieces(reply)]
    asked = tokens(question)
    context = _contexts(held, asked, [token for _, row in rows for token in row])
    question_holds = _Asked(asked)
    lacks = _Lacks(question, asked, held)
    parts = []
    for piece, row in rows:
        new = _new(row, question_holds, held)
        parts.append(_part(reply, piece, new, choose(new, context), held, lacks))
    return parts


class _Asked:
    """The words and numbers of a question."""

    def __init__(self, asked: Sequence[Token]) -> None:
        self.words = {token.key for token in asked if not token.number}
        self._forms = Forms(self.words)
        self._values = {value for token in asked for value in readings(token.number)}

    def holds(self, token: Token) -> bool:
        if token.number:
            return not self._values.isdisjoint(readings(token.number))
        return token.key in self.words

    def holds_a_form(self, token: Token) -> bool:
        return not token.number and bool(self._forms.of(token.key))


class _Lacks:
    """Tells which names of a question a passage lacks, where it has none of them."""

    def __init__(self, question: str, asked: Sequence[Token], held: Held) -> None:
        self._passages = held.passages
        named = [token for token in asked if token.is_name and held.weigh(token)]
        self._named = [] if looks_german(question) else named
        self._names = _in_runs(question, self._named)
        self._having = {n for one in self._named for hit in held.hits(one) for n in hit.positions}

    def __call__(self, number: int) -> tuple[str, ...]:
        if number in self._having:
            return ()
        file = {token.key for token in tokens(self._passages[number].path.stem)}
        return () if any(token.key in file for token in self._named) else self._names


def _in_runs(text: str, found: Sequence[Token]) -> tuple[str, ...]:
    """What is written at some tokens of `text`, those with a space between them as one, once."""
    runs: list[tuple[int, int]] = []
    for token in found:
        if runs and text[runs[-1][1] : token.start] == " ":
            runs[-1] = runs[-1][0], token.end
        else:
            runs.append((token.start, token.end))
    return tuple(dict.fromkeys(text[start:end] for start, end in runs))


def _contexts(held: Held, asked: Sequence[Token], said: Sequence[Token]) -> list[Context]:
    of_question, of_reply = _shares(held, asked), _shares(held, said)
    return [Context(a, a + _REPLY * b) for a, b in zip(of_question, of_reply, strict=True)]


def _shares(held: Held, said: Sequence[Token]) -> list[float]:
    """The share of the weight of `said`, each token once, that each passage holds."""
    shares = [0.0] * len(held.passages)
    total = 0.0
    for token in {(one.key, readings(one.number)): one for one in said}.values():
        weight = held.weigh(token)
        total += weight
        for hit in held.hits(token) if weight else ():
            for passage in hit.positions:
                shares[passage] += weight * hit.grade
    return [share / total if total else 0.0 for share in shares]


def _new(row: Sequence[Token], asked: _Asked, held: Held) -> list[New]:
    """The tokens that say something and that the question does not have."""
    new = []
    for token in row:
        weight = held.weigh(token)
        if not weight or asked.holds(token):
            continue
        beside: set[int] = set()
        if is_form := asked.holds_a_form(token):
            hits, beside = held.apart(token, asked.words)
        else:
            hits = held.hits(token)
        found = {number: (hit.grade, at) for hit in hits for number, at in hit.positions.items()}
        new.append(New(token, weight, is_form, found, beside))
    return new


def _part(
    reply: str,
    piece: Piece,
    new: Sequence[New],
    chosen: list[int],
    held: Held,
    lacks: Callable[[int], tuple[str, ...]],
) -> Part:
    part = Part(piece.start, piece.end, reply[piece.start : piece.end], is_echo=not new)
    if not chosen:
        return part
    best = [max((one.found[n][0] for n in chosen if n in one.found), default=0.0) for one in new]
    spans = [piece.span(one.token.start, one.token.end) for one in new]
    return Part(
        part.start,
        part.end,
        part.text,
        sources=tuple(_source(number, new, held, lacks(number)) for number in chosen),
        words=tuple(span for span, grade in zip(spans, best, strict=True) if grade),
        unsupported=tuple(span for span, one in zip(spans, new, strict=True) if one.is_unheard_of),
        score=sum(one.weight * grade for one, grade in zip(new, best, strict=True))
        / sum(one.weight for one in new),
    )


def _source(number: int, new: Sequence[New], held: Held, lacks: tuple[str, ...]) -> Source:
    passage = held.passages[number]
    places = (place for one in new if number in one.found for place in one.found[number][1])
    spans = [span for place in places if (span := held.spans[number][place])]
    return Source(passage, quotation(passage.text, spans), lacks)
