"""A model with a tokenizer of its own that speaks the base's vocabulary: they meet at bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from edgeproxy.align.mapped import LACKING
from edgeproxy.align.projection import LogProbabilities, Node, Projection, log_probabilities
from edgeproxy.align.reader import Reader
from edgeproxy.align.spelling import Spelling
from edgeproxy.align.transcript import Cost, OwnTokens, Transcript, common
from edgeproxy.core.model import Branching, Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import ContextFullError, EngineError

WINDOW = 12
"""How many tokens of an unfinished word are looked back over; the earlier ones are settled."""

MAX_PATHS = 8
"""Paths that are looked along in one decode, besides the one that is kept."""

SPARE, SHARE = 8, 0.25
"""Tokens that may be evaluated beyond what the text itself takes: some, and a share of those."""


class ProjectedModel:
    """A model read through bytes. Its rows are log-probabilities over the base's tokens.

    Base tokens become text, and what the model has read is what its own tokenizer makes of that
    text: a token that changes how the word under way is spelled takes the model back to where the
    two spellings part, in the same evaluation as the next row. Ids from `len(vocab)` on are own
    tokens, `len(vocab) + n` for n: prompts are given in them.

    Invariants, after every call, besides those of `Transcript`:

    - after `eval`, the model has read the tokens of the transcript, perhaps with more after them
      that its next reading takes back or uses: a path that `refine` looked along, or what was
      rewound;
    - no row that the model gave outlives a change of what it had read before it.
    """

    def __init__(
        self, model: Branching, base: Vocab, projection: Projection, spelling: Spelling
    ) -> None:
        self._model = model
        self._base = base
        self._projection = projection
        self._reader = Reader(model)
        self._spelling = spelling
        self._transcript = Transcript(base, model.vocab, spelling, self._reader)
        self._rows: dict[int, LogProbabilities] = {}  # by the number of own tokens before them
        self._nodes: list[Node] = []
        self._said = b""  # the bytes of the word under way, as own tokens spell them
        self._refined: set[int] = set()
        self._ahead: dict[OwnTokens, LogProbabilities] = {}  # beyond the word
        self._out = np.empty((1, len(base)), np.float32)

    @property
    def model(self) -> Branching:
        """The model that is wrapped, which speaks its own vocabulary."""
        return self._model

    @property
    def vocab(self) -> Vocab:
        """The base's vocabulary."""
        return self._base

    @property
    def n_past(self) -> int:
        """How many tokens, the base's or own ones, have been read."""
        return len(self._transcript)

    @property
    def n_ctx(self) -> int:
        """As the wrapped model's, which counts own tokens."""
        return self._model.n_ctx

    @property
    def can_rewind(self) -> bool:
        """As the wrapped model's."""
        return self._model.can_rewind

    @property
    def own_rows(self) -> Logits:
        """What the model itself says after all that it has read, shape (1, len(model.vocab))."""
        return self._rows[len(self._reader.want)][None, :-1]

    @property
    def own_read(self) -> list[int]:
        """The own tokens that spell all that was read."""
        return self._transcript.tokens

    @property
    def word(self) -> OwnTokens:
        """Those of them that spell the word under way, which may change with the next token."""
        return self._transcript.word

    @property
    def text(self) -> bytes:
        """The bytes of the base tokens read."""
        return bytes(self._transcript.text)

    @property
    def cost(self) -> Cost:
        """What the text since the last prompt has cost."""
        return self._transcript.cost

    def own(self, tokens: Sequence[int]) -> list[int]:
        """The ids under which `eval` takes tokens of the model's own vocabulary."""
        return [len(self._base) + token for token in tokens]

    def reads(self, token: int) -> bool:
        """Whether it has anything to read for a base token that a text begins with."""
        return bool(self._spelling(self._base.texts[token]))

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """As `Model.eval`. More than one row costs an evaluation each."""
        if not 1 <= rows <= len(tokens):
            raise EngineError(f"{rows} rows asked of {len(tokens)} tokens")
        before = len(self._transcript)
        try:
            first = len(tokens) - rows + 1
            out = [self._eval(tokens[:first])]
            for token in tokens[first:]:
                out[-1] = out[-1].copy()
                out.append(self._eval([token]))
            return out[0] if rows == 1 else np.concatenate(out)
        except BaseException:
            self.rewind(len(self._transcript) - before)
            raise

    def _eval(self, tokens: Sequence[int]) -> Logits:
        self._transcript.take(tokens)
        self._read_rows()
        self._nodes = self._place_nodes()
        self._refined.clear()
        self._ahead.clear()
        self._projection.row(self._nodes, self._out[0])
        return self._out

    def rewind(self, n: int) -> None:
        """As `Model.rewind`. The model itself goes back when it is next read."""
        self._transcript.rewind(n)

    def origin(self) -> Mapping[str, str]:
        """As `Saving.origin`: the wrapped model's."""
        return self._reader.origin()

    def state_size(self) -> int:
        """As `Saving.state_size`."""
        self._transcript.spell()
        return self._reader.state_size()

    def state(self) -> memoryview:
        """As `Saving.state`: the wrapped model's, without what it has read beyond the text."""
        self._transcript.spell()
        return self._reader.state()

    def adopt(self, tokens: Sequence[int], state: memoryview) -> None:
        """As `Saving.adopt`."""
        self.rewind(len(self._transcript))
        try:
            self._transcript.take(tokens)
            self._reader.adopt(state)
        except BaseException:
            self.rewind(len(self._transcript))
            raise
        finally:
            self._rows.clear()

    def _first_place(self) -> int:
        """How many own tokens stand before the first place that is looked back to."""
        return max(self._transcript.settled, len(self._reader.want) - WINDOW, 1)

    def _read_rows(self) -> None:
        """Have a row at every place of the word that a next token could begin from."""
        first, end = self._first_place(), len(self._reader.want)
        agreed = self._reader.agreed
        self._rows = {n: row for n, row in self._rows.items() if first <= n <= agreed}
        missing = next((n for n in range(first, end + 1) if n not in self._rows), None)
        if missing is not None:
            raw = self._reader.read(end - missing + 1)
            for place, row in zip(range(missing, end + 1), raw, strict=True):
                self._rows[place] = log_probabilities(row)

    def _place_nodes(self) -> list[Node]:
        want, texts = self._reader.want, self._model.vocab.texts
        first, settled = self._first_place(), self._transcript.settled
        self._said = b"".join([texts[token] for token in want[settled:]])
        at = sum(len(texts[token]) for token in want[settled:first])
        nodes, weight = [], 0.0
        for place in range(first, len(want) + 1):
            row = self._rows[place]
            nodes.append(Node(weight, self._said[:at], self._said[at:], row))
            if place < len(want):
                weight += float(row[want[place]])
                at += len(texts[want[place]])
        return nodes

    def may_be_low(self, token: int) -> bool:
        """Whether the row's first value of a base token may be too small.

        So where it goes on with the word under way: the model may have cut the word otherwise.
        """
        return len(self._nodes) > 1 and not self._base.texts[token].startswith(b" ")

    def refine(self, tokens: Iterable[int]) -> bool:
        """Make the last row exact for these base tokens, the most important ones first.

        Tokens that no single own token spells are followed along their own tokenisation, several
        at once and within a budget: a share of what the reply has taken so far. Changes the row
        that `eval` returned in place; says whether it did. A context that is too full for it leaves
        the row as it was.
        """
        texts = self._base.texts
        paths = {token: self._transcript.path(texts[token]) for token in tokens if texts[token]}
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

    def _look_along(self, paths: Iterable[OwnTokens]) -> None:
        """Evaluate what is not known yet of `paths` in one decode.

        The first path that goes on from where the model is stays read, for it is likely to come.
        """
        word, settled = self._transcript.word, self._transcript.settled
        cost = self._transcript.cost
        spare = int(SPARE + SHARE * cost.ideal) - (cost.evaluated - cost.ideal)
        trunk: OwnTokens = ()
        others: list[OwnTokens] = []
        count = 0
        for path in paths:
            new = len(path) - common(path, word)
            known = (trunk, *others, *self._ahead)
            if not new or any(other[: len(path)] == path for other in known):
                continue
            if count + new > spare or len(others) == MAX_PATHS:
                break
            count += new
            if not (trunk or self._ahead) and path[: len(word)] == word:
                trunk = path
            else:
                others.append(path)
        if not count:
            return
        if not self._ahead:
            self._reader.trim()
        kept = trunk[len(word) :]
        parts = [(common(path, word), path) for path in others]
        answers = self._model.branch(kept, [(settled + n, path[n:]) for n, path in parts])
        self._reader.note_ahead(kept)
        self._transcript.spend(count, trunk)
        for path, rows in zip((trunk, *others), answers, strict=True):
            for n, row in enumerate(rows, start=len(path) - len(rows) + 1):
                self._ahead[path[:n]] = log_probabilities(row)
        for n in range(len(word) + 1, len(trunk) + 1):
            self._rows[settled + n] = self._ahead[trunk[:n]]

    def _value(self, token: int, path: OwnTokens) -> float | None:
        """The log-probability of a base token, spelled `path` from the word's start.

        None where the row has it already, or where a place on the path was not looked at.
        """
        end = self._ahead.get(path)
        is_plain = len(self._nodes) == 1 and self._projection.tables.arrays.exact[token]
        if is_plain and end is None:
            return None
        known = common(path[:-1], self._transcript.word)
        is_seen = all(path[:n] in self._ahead for n in range(known + 1, len(path)))
        skipped = len(self._transcript.word) + 1 - len(self._nodes)
        if not is_seen or known < skipped:
            return None  # also where it parts from the word before what is looked back over
        at = len(self._said)
        text = self._said + self._base.texts[token]
        value = self._projection.value(self._nodes_along(path[:-1], known, text), at, token)
        if end is not None:
            value += self._projection.stays(Node(0.0, text, b"", end), at, token)
        return value

    def _nodes_along(self, path: OwnTokens, known: int, text: bytes) -> list[Node]:
        """The word's places and those beyond it on `path`, from which `text` may come to be.

        The first `known` tokens of the path are the word's.
        """
        texts = self._model.vocab.texts
        nodes = [Node(n.weight, n.before, text[len(n.before) :], n.row) for n in self._nodes]
        weight, before, _, row = nodes[known - len(self._transcript.word) - 1]
        for n, token in enumerate(path[known:], start=known + 1):
            weight += float(row[token])
            before += texts[token]
            row = self._ahead[path[:n]]
            nodes.append(Node(weight, before, text[len(before) :], row))
        return nodes
