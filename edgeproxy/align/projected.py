"""A model with a tokenizer of its own that speaks the base's vocabulary: they meet at bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from edgeproxy.align.mapped import LACKING
from edgeproxy.align.projection import LogProbabilities, Node, Projection, log_probabilities
from edgeproxy.align.reader import Reader
from edgeproxy.align.spelling import Spelling
from edgeproxy.errors import ContextFullError, EngineError
from edgeproxy.model import Branching, Logits
from edgeproxy.vocab import Vocab

WINDOW = 12
"""How many tokens of an unfinished word are looked back over; the earlier ones are settled."""

MAX_PATHS = 8
"""Paths that are looked along in one decode, besides the one that is kept."""

SPARE, SHARE = 4, 0.2
"""Tokens that may be evaluated beyond what the text itself takes: some, and a share of those."""


_Path = tuple[int, ...]


class _Mark(NamedTuple):
    """The state before a token.

    The lengths of `text` and of the settled tokens, the word's start, the own tokens since that
    were evaluated last, and how many evaluations the reply has taken.
    """

    text: int
    settled: int
    word: int
    last: _Path
    spent: int


class Cost(NamedTuple):
    """What a reply has cost: base tokens read, own tokens evaluated for them, and the fewest."""

    base_tokens: int
    evaluated: int
    ideal: int

    @property
    def ratio(self) -> float:
        """Evaluated over ideal; 1 is a model that reads the finished text once."""
        return self.evaluated / self.ideal if self.ideal else 1.0


class ProjectedModel:
    """A model read through bytes. Its rows are log-probabilities over the base's tokens.

    Base tokens become text, and what the model has read is what its own tokenizer makes of that
    text: a token that changes how the word under way is spelled takes the model back to where the
    two spellings part, in the same evaluation as the next row. Ids from `len(vocab)` on are own
    tokens, `len(vocab) + n` for n: prompts are given in them, and text after them begins a word.

    Invariants, after every call:

    - `text` is the bytes of all base tokens read and not rewound, in order;
    - `settled` own tokens, and those of the word under way, spell the prompts' tokens and `text` in
      order, word by word as `Spelling` does: they depend on nothing else, so neither how the text
      was cut into base tokens nor what was rewound can be seen in them;
    - after `eval`, the model has read exactly these, or these and a path that `refine` looked
      along; no row that it gave there outlives a change of what stands before it.
    """

    def __init__(
        self, model: Branching, base: Vocab, projection: Projection, spelling: Spelling
    ) -> None:
        self._model = model
        self._base = base
        self._projection = projection
        self._spelling = spelling
        self._reader = Reader(model)
        self._marks: list[_Mark] = []
        self._text = bytearray()
        self._settled = 0
        self._word = 0
        self._last: _Path = ()
        self._spent = 0
        self._rows: dict[int, LogProbabilities] = {}  # by the number of own tokens before them
        self._nodes: list[Node] = []
        self._said = b""  # the word's bytes, as own tokens spell them
        self._refined: set[int] = set()
        self._ahead: dict[_Path, LogProbabilities] = {}  # beyond the word, by tokens of the path
        self._out = np.empty((1, len(base)), np.float32)
        self._prompt = (0, 0)  # tokens read, and own tokens, when the last prompt ended

    @property
    def vocab(self) -> Vocab:
        """The base's vocabulary."""
        return self._base

    @property
    def n_past(self) -> int:
        """How many tokens, the base's or own ones, have been read."""
        return len(self._marks)

    @property
    def n_ctx(self) -> int:
        """As the wrapped model's, which counts own tokens."""
        return self._model.n_ctx

    @property
    def has_read(self) -> list[int]:
        """The own tokens that spell all that was read."""
        return [*self._reader.want[: self._settled], *self._spell_word()]

    @property
    def text(self) -> bytes:
        """The bytes of the base tokens read."""
        return bytes(self._text)

    @property
    def cost(self) -> Cost:
        """What the text since the last prompt has cost."""
        read, own = self._prompt
        return Cost(len(self._marks) - read, self._spent, len(self.has_read) - own)

    def own(self, tokens: Sequence[int]) -> list[int]:
        """The ids under which `eval` takes tokens of the model's own vocabulary."""
        return [len(self._base) + token for token in tokens]

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """As `Model.eval`. More than one row costs an evaluation each."""
        if not 1 <= rows <= len(tokens):
            raise EngineError(f"{rows} rows asked of {len(tokens)} tokens")
        before = len(self._marks)
        try:
            first = len(tokens) - rows + 1
            out = [self._eval(tokens[:first])]
            for token in tokens[first:]:
                out[-1] = out[-1].copy()
                out.append(self._eval([token]))
            return out[0] if rows == 1 else np.concatenate(out)
        except BaseException:
            self.rewind(len(self._marks) - before)
            raise

    def _eval(self, tokens: Sequence[int]) -> Logits:
        for token in tokens:
            self._push(token)
        self._reader.cut(self._settled)
        self._reader.add(self._spell_word())
        self._read_rows()
        self._count(tokens)
        self._nodes = self._place_nodes()
        self._refined.clear()
        self._ahead.clear()
        self._projection.row(self._nodes, self._out[0])
        return self._out

    def _count(self, tokens: Sequence[int]) -> None:
        """Count what the tokens just read take, as if nothing had ever been rewound."""
        if tokens[-1] >= len(self._base):
            self._prompt = (len(self._marks), len(self._reader.want))
            self._spent = 0
        else:
            new = tuple(self._reader.want[self._marks[-len(tokens)].settled :])
            self._spent += len(new) - _common(self._last, new)
        self._last = tuple(self._reader.want[self._settled :])

    def _push(self, token: int) -> None:
        """Take one token into the text, and settle the words that another one follows."""
        n_base = len(self._base)
        if not 0 <= token < n_base + len(self._model.vocab):
            raise EngineError(f"token {token} is outside the vocabulary of {n_base}")
        self._marks.append(
            _Mark(len(self._text), self._settled, self._word, self._last, self._spent)
        )
        if token >= n_base:
            self._settle(self._spell_word())
            self._settle([token - n_base])
            self._word = len(self._text)
            return
        self._text += self._base.texts[token]
        *finished, _ = self._words() or [b""]
        for word in finished:
            self._settle(self._spelling(word))
            self._word += len(word)

    def _settle(self, tokens: Sequence[int]) -> None:
        self._reader.cut(self._settled)
        self._reader.add(tokens)
        self._settled += len(tokens)

    def _words(self, more: bytes = b"") -> list[bytes]:
        return list(self._spelling.words(bytes(self._text[self._word :]) + more))

    def _spell_word(self) -> Sequence[int]:
        return self._spelling(bytes(self._text[self._word :]))

    def rewind(self, n: int) -> None:
        """As `Model.rewind`. The model itself goes back when it is next read."""
        if not 0 <= n <= len(self._marks):
            raise EngineError(f"cannot forget {n} tokens of {len(self._marks)}")
        if n:
            mark = self._marks[-n]
            del self._marks[-n:], self._text[mark.text :]
            _, self._settled, self._word, self._last, self._spent = mark
            self._reader.cut(self._settled)

    def _read_rows(self) -> None:
        """Have a row at every place of the word that a next token could begin from."""
        end = len(self._reader.want)
        first = max(self._settled, end - WINDOW, 1)
        agreed = self._reader.agreed
        known = {place: row for place, row in self._rows.items() if first <= place <= agreed}
        missing = next((n for n in range(first, end + 1) if n not in known), None)
        self._rows = known
        if missing is None:
            return
        raw = self._reader.read(end - missing + 1)
        for place, row in zip(range(missing, end + 1), raw, strict=True):
            self._rows[place] = log_probabilities(row)

    def _place_nodes(self) -> list[Node]:
        want, texts = self._reader.want, self._model.vocab.texts
        self._said = b"".join([texts[token] for token in want[self._settled :]])
        first = max(self._settled, len(want) - WINDOW, 1)
        at = sum(len(texts[token]) for token in want[self._settled : first])
        nodes, weight = [], 0.0
        for place in range(first, len(want) + 1):
            row = self._rows[place]
            nodes.append(Node(weight, self._said[:at], self._said[at:], row))
            if place < len(want):
                weight += float(row[want[place]])
                at += len(texts[want[place]])
        return nodes

    def refine(self, tokens: Iterable[int]) -> bool:
        """Make the last row exact for these base tokens, the most important ones first.

        Tokens that no single own token spells are followed along their own tokenisation, several
        at once and within bounds. Changes the row that `eval` returned in place; says whether it
        did. A context that is too full for it leaves the row as it was.
        """
        texts = self._base.texts
        paths = {token: self._path(texts[token]) for token in tokens if texts[token]}
        try:
            self._look_along(path[:-1] for path in paths.values())
        except ContextFullError:
            return False
        changed = False
        for token, path in paths.items():
            if token not in self._refined and (value := self._value(token, path)) is not None:
                self._out[0, token] = max(value, float(LACKING))
                self._refined.add(token)
                changed = True
        return changed

    def _value(self, token: int, path: _Path) -> float | None:
        """The log-probability of a base token, spelled `path` from the word's start.

        None where the row has it already, or where a place on the path was not looked at.
        """
        alone = len(self._nodes) == 1 and self._projection.tables.arrays.exact[token]
        end = self._ahead.get(path)
        if alone and end is None:
            return None
        nodes = self._nodes_along(path[:-1])
        if nodes is None:
            return None
        text = self._base.texts[token]
        value = self._projection.value(nodes, self._said, text, token)
        if end is not None:
            value += self._projection.stays(
                Node(0.0, self._said + text, b"", end), self._said, token
            )
        return value

    def _path(self, text: bytes) -> _Path:
        """The own tokens of the word under way and of `text` after it."""
        return tuple(token for word in self._words(text) for token in self._spelling(word))

    def _look_along(self, paths: Iterable[_Path]) -> None:
        """Evaluate what is not known yet of `paths`, given from the word's start, in one decode.

        The first path that goes on from where the model is stays read, for it is likely to come.
        """
        want = self._reader.want
        word = tuple(want[self._settled :])
        is_level = self._reader.agreed == len(want) == self._model.n_past
        trunk: _Path = ()
        others: list[_Path] = []
        spare, count = self._spare(), 0
        for path in paths:
            new = len(path) - _common(path, word)
            if not new or any(known[: len(path)] == path for known in (*self._ahead, *others)):
                continue
            if count + new > spare or len(others) == MAX_PATHS:
                break
            count += new
            if is_level and not trunk and path[: len(word)] == word:
                trunk = path
            else:
                others.append(path)
        if not count:
            return
        kept = trunk[len(word) :]
        branches = []
        for path in others:
            known = _common(path, word)
            branches.append((self._settled + known, path[known:]))
        answers = self._model.branch(kept, branches)
        self._reader.note_ahead(kept)
        self._spent += count
        self._last = (*word, *kept)
        for path, rows in zip((trunk, *others), answers, strict=True):
            for n, row in enumerate(rows, start=len(path) - len(rows) + 1):
                self._ahead[path[:n]] = log_probabilities(row)
        for n in range(len(word) + 1, len(trunk) + 1):
            self._rows[self._settled + n] = self._ahead[trunk[:n]]

    def _spare(self) -> int:
        """How many tokens may be evaluated for a closer look."""
        cost = self.cost
        return int(SPARE + SHARE * cost.ideal) - (cost.evaluated - cost.ideal)

    def _nodes_along(self, path: _Path) -> list[Node] | None:
        """The word's places, and those beyond it on `path`; None where one was not looked at."""
        word = self._reader.want[self._settled :]
        texts = self._model.vocab.texts
        known = _common(path, word)
        skipped = len(word) + 1 - len(self._nodes)
        if known < skipped:
            return None  # it parts from the word before what is looked back over
        nodes = list(self._nodes)
        weight, before, _, row = nodes[known - skipped]
        for n, token in enumerate(path[known:], start=known + 1):
            weight += float(row[token])
            before += texts[token]
            found = self._ahead.get(path[:n])
            if found is None:
                return None
            row = found
            nodes.append(Node(weight, before, b"", row))
        return nodes


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count
