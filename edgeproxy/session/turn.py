"""One reply: its pieces as they come, its end, and what it took.

A turn owns its settings, its cancel and its figures. It has the models from its first piece to its
last; see `floor` for what happens to another one meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from edgeproxy.align import Cost, ProjectedModel
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Logits, Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.compared import (
    Compared,
    Ending,
    Said,
    Wide,
    best_of,
    compare,
    has_changed,
    log_softmax,
)
from edgeproxy.decode.drafted import Drafted, Drafter
from edgeproxy.decode.pieces import FinishReason, Piece
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.scoring import TokenScore, score_of
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import Cancelled, UsageError
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.prompts.formats import Message
from edgeproxy.remote.spent import Spent
from edgeproxy.session.floor import Floor, Holder
from edgeproxy.session.prompt_progress import PromptProgress
from edgeproxy.session.reading import NOTHING, Read
from edgeproxy.trios.manifest import Readers

if TYPE_CHECKING:
    from edgeproxy.documents.cited import Part
    from edgeproxy.documents.left_out import Progress, Reliance


FARTHEST_ALPHA = 2.0
"""So far at least a recorded reply can be looked at for another alpha."""


class Asked(NamedTuple):
    """What a reply was asked for; `steering` is None where one model alone answers.

    `record` is how many of each row's best tokens are kept (see `Turn.steps`), `readers` are those
    that read passages of documents, and `grammar` is what the reply keeps to. Where it `is_raw`,
    the text of `messages` is gone on with as it stands, by no prompt format, or `tokens` are where
    there are some. With `echo` it is told how likely these tokens were and those of the reply, with
    so many of the likeliest at each place.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    max_tokens: int
    stops: tuple[str, ...]
    steering: Steering | None
    record: int
    readers: Readers = "nobody"
    grammar: Grammar | None = None
    is_raw: bool = False
    tokens: tuple[int, ...] = ()
    echo: int | None = None


class Usage(NamedTuple):
    """Tokens of a reply, as the base reads them: `prompt`, of which `kept` were not read again.

    `completion` counts the tokens of the reply, the one that ended it included.
    """

    prompt: int = 0
    kept: int = 0
    completion: int = 0


class Changed(NamedTuple):
    """In how many tokens the fused row's likeliest one is another than the base's, `of` how many.

    Tokens do not count where the base's likeliest is not known.
    """

    tokens: int
    of: int

    @property
    def share(self) -> float:
        """The share of tokens that the pair has changed."""
        return self.tokens / self.of


@dataclass(frozen=True)
class Stats:
    """What a reply took: seconds to its first token and in all, and how it was drafted.

    `changed` is how much the pair changed; None where one model answers, where nothing was said,
    and where a server draws the tokens, so that nobody sees what the base itself would say.
    `pair` is what reading it has cost a pair with a tokenizer of its own; `drafted` is None where
    nothing drafts. `spent` is what asking a base on a server has cost; None where it is here.
    """

    tokens: int = 0
    first_seconds: float = 0.0
    seconds: float = 0.0
    drafted: Drafted | None = None
    pair: Cost | None = None
    spent: Spent | None = None
    changed: Changed | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens a second from the first one on; None for fewer than two."""
        rest = self.seconds - self.first_seconds
        return (self.tokens - 1) / rest if self.tokens > 1 and rest > 0.0 else None

    @property
    def acceptance(self) -> float | None:
        """The share of drafted tokens that were drawn; None where none was drafted."""
        done = self.drafted
        return done.accepted / done.drafted if done is not None and done.drafted else None


class Scored(NamedTuple):
    """A token and the natural logarithm of its probability."""

    token: int
    logprob: float


class Opinion(NamedTuple):
    """What one row says: its best tokens, the likeliest first, and `chosen`, the token drawn.

    A pair with a tokenizer of its own says of each of the base's tokens how likely the text goes on
    with it, exactly only of the likeliest (see `align`): these do not sum to 1.
    """

    best: tuple[Scored, ...]
    chosen: Scored


class Step(NamedTuple):
    """What each model, and the fused row, said where a token was drawn.

    `compared` is what the rows say of each other; `drafted` tells whether the token was drafted.
    """

    base: Opinion
    expert: Opinion
    anti_expert: Opinion
    fused: Opinion
    compared: Compared
    drafted: bool

    @property
    def token(self) -> int:
        """The token that was drawn."""
        return self.fused.chosen.token


class Speaks(Protocol):
    """What a turn needs of a `Speaker`."""

    floor: Floor

    @property
    def drafted(self) -> Drafted | None: ...  # noqa: D102 - as Speaker's

    @property
    def cost(self) -> Cost | None: ...  # noqa: D102 - as Speaker's

    @property
    def spent(self) -> Spent | None: ...  # noqa: D102 - as Speaker's

    def begin(  # noqa: D102 - as Speaker's
        self,
        asked: Asked,
        cancel: Cancel,
        record: Recorder,
        progress: PromptProgress | None = None,
    ) -> Iterator[Piece]: ...

    def score(  # noqa: D102 - as Speaker's
        self, asked: Asked, read: Read, said: Sequence[int], cancel: Cancel | None = None
    ) -> list[float]: ...

    def spans(self, said: Sequence[int]) -> list[tuple[int, int]]: ...  # noqa: D102


class Recorder:
    """What is noted while a reply is made: what it reads, the size of its prompt, its steps."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.read = NOTHING
        self.usage = Usage()
        self.steps: list[Step] = []
        self.echo: list[TokenScore] = []
        self.scores: list[TokenScore] = []
        self.changed: Changed | None = None
        """As `Stats.changed`."""
        self.took: tuple[float, float] | None = None
        """Seconds to the first token and in all, where it is made in another process, by which they
        were measured: its tokens may lie here unread, and then come all at once."""

    def prompt(self, tokens: int, unread: int) -> None:
        """A prompt of so many tokens is read, of which so many had not been read."""
        self.usage = Usage(tokens, tokens - unread)

    def counted(self, sample: Callable[[Logits], int], trio: Trio) -> Callable[[Logits], int]:
        """`sample`, of each of its tokens noted whether the pair changed the likeliest one."""

        def noted(row: Logits) -> int:
            token = sample(row)
            rows = trio.rows_of(row)
            is_changed = has_changed(rows.base, rows.fused)
            if is_changed is not None:
                before = self.changed or Changed(0, 0)
                self.changed = Changed(before.tokens + is_changed, before.of + 1)
            return token

        return noted

    def scored(
        self, sample: Callable[[Logits], int], vocab: Vocab, best: int
    ) -> Callable[[Logits], int]:
        """`sample`, of each of its tokens noted how likely it was."""

        def noted(row: Logits) -> int:
            token = sample(row)
            self.scores.append(score_of(token, vocab.piece(token), row, vocab, best))
            return token

        return noted

    def watched(
        self, sample: Callable[[Logits], int], trio: Trio, drafter: Drafter
    ) -> Callable[[Logits], int]:
        """`sample`, each of its tokens noted with what the rows of `trio` said."""

        def noted(row: Logits) -> int:
            token = sample(row)
            place = trio.place_of(row)
            is_drafted = drafter.has_drafted(token, place)
            self.steps.append(_step(trio, place, token, self._count, is_drafted))
            return token

        return noted


class Turn(Holder):
    """A reply under way: an iterator of `Piece`s, the last of which has a finish reason.

    `async for` reads it in a thread of its own; cancelling the task cancels the reply.

    Nothing is evaluated before the first piece is asked for. Read it in one thread at a time;
    `cancel` may be called from any thread and any signal handler. Raises `PromptError` and
    `ContextFullError` at the first piece, `BusyError` while another thread's reply has the models,
    and `BusyError` too once a later reply of its own thread has taken them.
    """

    def __init__(
        self,
        speaker: Speaks,
        asked: Asked,
        waits: bool = False,
        ended: Ended | None = None,
        progress: PromptProgress | None = None,
    ) -> None:
        super().__init__(speaker.floor, waits)
        self.asked = asked
        self.finish_reason: FinishReason | None = None
        """Why it ended; None while it has not, and where it failed."""
        self._speaker = speaker
        self._ended = ended
        self._progress = progress
        self._record = Recorder(asked.record)
        self._pieces: Iterator[Piece] | None = None
        self._is_over = False
        self._texts: list[str] = []
        self._tokens: list[int] = []
        self._started = self._first = self._last = 0.0
        self._drafted: Drafted | None = None
        self._cost: Cost | None = None
        self._spent_before: Spent | None = None
        self._spent: Spent | None = None

    def __iter__(self) -> Turn:
        return self

    def __aiter__(self) -> AsyncIterator[Piece]:
        from edgeproxy.session.asynchronous import pieces_of  # few need it

        return pieces_of(self)

    def __next__(self) -> Piece:
        if self._is_over:
            if self._lost is not None:
                raise self._lost
            raise StopIteration
        try:
            with self.step():
                piece = self._step()
        except Cancelled:  # while it waited for its turn
            piece = Piece("", None, None, "cancelled")
        except BaseException:
            if self._pieces is not None:
                self.close()
            raise
        self._texts.append(piece.text)
        if piece.finish_reason is not None:
            self.finish_reason = piece.finish_reason
            self.close()
        return piece

    def _step(self) -> Piece:
        if self._pieces is None:
            self._started = self._first = self._last = time.perf_counter()
            self._spent_before = copy(self._speaker.spent)
            self._pieces = self._speaker.begin(self.asked, self._wish, self._record, self._progress)
        piece = next(self._pieces)
        if piece.token is not None:
            self._last = time.perf_counter()
            if not self._tokens:
                self._first = self._last
            self._tokens.append(piece.token)
        return piece

    @property
    def text(self) -> str:
        """All that was said until now."""
        return "".join(self._texts)

    @property
    def usage(self) -> Usage:
        """The tokens of its prompt and of what was said until now."""
        return self._record.usage._replace(completion=len(self._tokens))

    @property
    def read(self) -> Read:
        """The passages that were found for it, and who read them; nothing before it begins."""
        return self._record.read

    @property
    def stats(self) -> Stats:
        """What it took until now."""
        here = self._first - self._started, self._last - self._started
        return Stats(
            len(self._tokens),
            *(self._record.took or here),
            self._drafted if self._is_over else self._of_drafts(),
            self._cost if self._is_over else self._speaker.cost,
            self._spent if self._is_over else self._of_server(),
            self._record.changed,
        )

    @property
    def steps(self) -> Sequence[Step]:
        """What each model said at each token; empty unless it was asked to `record`."""
        return tuple(self._record.steps)

    @property
    def echo(self) -> Sequence[TokenScore]:
        """How likely each token of the text was that it goes on with; empty unless asked for.

        There from the first piece on. The mask of `plausibility` is left out.
        """
        return tuple(self._record.echo)

    @property
    def scores(self) -> Sequence[TokenScore]:
        """The same of each token of the reply, the mask included; empty unless asked for."""
        return tuple(self._record.scores)

    def sources(self) -> list[Part]:
        """The parts of the reply so far, each with the passages that it is from (`citing`)."""
        from edgeproxy.documents.citing import cite  # few need it

        asked = [each.content for each in self.asked.messages if each.role == "user"]
        return cite(self.text, [f.passage for f in self.read.found], asked[-1] if asked else "")

    def cite(
        self, *, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> list[Reliance]:
        """How much less likely each part of the reply is without each passage that was read.

        The models that answered evaluate the reply once more as it was asked for, and once without
        each passage (see `left_out`). It may be any reply that has ended, and changes nothing of
        what comes next. `progress` gets what is under way and the share done; setting `cancel`
        stops it. Raises `UsageError` for a reply that is under way or has read no documents,
        `Cancelled`, and as asking for a piece does.
        """
        from edgeproxy.session.leaving_out import Scoring, cite  # few need it

        if not self._is_over:
            raise UsageError("the reply is still under way: read it to its end, or close it")
        if self.read.readers == "nobody":
            raise UsageError(
                "the reply has read no documents, so there is nothing to leave out: load the trio "
                "with docs, and have docs_to name who reads"
            )
        speaker, said = self._speaker, self._tokens
        work = Scoring(speaker.floor, self.waits, cancel)

        def score(read: Read, count: int) -> list[float]:
            return speaker.score(self.asked, read, said[:count], work)

        return cite(self.text, speaker.spans(said), self.read, score, work, progress)

    def close(self) -> None:
        """End it here; the models keep what they have read. A second call does nothing.

        Where another thread is reading it, it is cancelled, and ends there.
        """
        if not self._stepping.acquire(blocking=False):
            self.cancel()
            return
        try:
            self._leave()
        finally:
            self._stepping.release()
        self.let_go()

    def _leave(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._drafted, self._cost = self._of_drafts(), self._speaker.cost
        self._spent = self._of_server()
        pieces, self._pieces = self._pieces, None
        self._progress = None  # it may hold whoever holds this turn
        try:
            if pieces is not None:
                pieces.close()  # type: ignore[attr-defined]
        finally:
            ended, self._ended = self._ended, None
            if ended is not None:
                ended(self)

    def _of_drafts(self) -> Drafted | None:
        drafted = self._speaker.drafted
        return None if drafted is None else replace(drafted)

    def _of_server(self) -> Spent | None:
        now, before = self._speaker.spent, self._spent_before
        return None if now is None or before is None else now.since(before)

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # One that was left in the middle must give the models back.
        if not getattr(self, "_is_over", True):
            self.close()


Ended = Callable[[Turn], None]
"""Called once with a turn that has ended."""


def _step(trio: Trio, place: int, token: int, count: int, drafted: bool) -> Step:
    """What the rows at `place` of the trio's last ones say, of which `token` was drawn."""
    models = (*trio.models, trio)
    rows = [_said(*each, place) for each in zip(models, trio.rows, strict=True)]
    base, expert, anti_expert, fused = (_opinion(row, token, count) for row in rows)
    is_guess = np.isneginf(trio.rows.base[place])
    of_base = log_softmax(trio.whole_base_at(place)) if is_guess.any() else rows[0]
    said = Said(of_base, rows[1], rows[2], rows[3], is_guess)
    far = max(FARTHEST_ALPHA, trio.steering.alpha)
    odds = trio.end_odds
    ending = None if odds is None else Ending(trio.endings, float(odds[place, 0]))
    compared = compare(said, trio.steering, token, count, far, ending)
    return Step(base, expert, anti_expert, fused, compared, drafted)


def _said(model: Model, rows: Logits, place: int) -> Wide:
    """One row as log-probabilities; one that was projected is some already, and sums to no 1."""
    row = rows[place]
    return row.astype(np.float64) if isinstance(model, ProjectedModel) else log_softmax(row)


def _opinion(said: Wide, token: int, count: int) -> Opinion:
    """The `count` likeliest tokens of a row of log-probabilities, and `token`."""
    scored = (Scored(each, float(said[each])) for each in best_of(said, count))
    return Opinion(tuple(scored), Scored(token, float(said[token])))
