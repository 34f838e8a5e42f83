"""A file of examples -> what is trained on and what is held out, as tokens, with what was left out.

Which questions are held out follows from their text and a seed: the same in every order of the
file, and a question's examples all stand on one side.

May touch: the files of examples, read-only.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.check import number, whole
from edgeproxy.errors import Cancelled, PromptError, UsageError
from edgeproxy.llama.tokenizer import MAX_BYTES
from edgeproxy.tune.encoding import Encoder
from edgeproxy.tune.examples import Example, ExamplesFile
from edgeproxy.tune.records import Columns
from edgeproxy.tune.tokens import Collector, TokenSet

if TYPE_CHECKING:
    from edgeproxy.tune.lessons import Lesson

SHARE = 0.1
"""Of the examples are held out."""

MAX_HELD_OUT = 300
"""Examples: more make the loss hardly surer, and each evaluation of it longer."""

_AT_ONCE, _BYTES_AT_ONCE = 64, 65_536
"""So many examples, or bytes of them, are rendered in one turn: a few hundredths of a second."""

Progress = Callable[[Path, float], None]
"""Called with a file and the share of it that has been read, 0 to 1. It may raise to stop."""


@dataclass(frozen=True)
class Found:
    """What was in a file of examples.

    `n_kept` examples have become tokens. `wrong` says what was wrong with the first of `n_wrong`.
    """

    path: Path
    layout: str
    n_kept: int
    n_wrong: int
    n_duplicates: int
    n_too_long: int
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Data:
    """What a tuning learns from and is judged by.

    - `training`, `held_out`: the sequences; nothing is held out of a single question's examples.
    - `n_training`, `n_held_out`: of how many examples they are.
    - `found`: what was in the file, and in that of `validation`.
    - `n_in_both`: examples left out because their question is in the validation file too.
    """

    training: TokenSet
    held_out: TokenSet
    n_training: int
    n_held_out: int
    found: Found
    validation: Found | None = None
    n_in_both: int = 0


def read_data(
    path: str | Path,
    encoder: Encoder,
    *,
    max_tokens: int,
    validation: str | Path | None = None,
    share: float = SHARE,
    seed: int = 0,
    columns: Columns | None = None,
    skip_bad: bool = False,
    lesson: Lesson | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Data:
    """Read the examples at `path`, and hold out a `share` of them, or those of `validation`.

    At least one is held out and at most `MAX_HELD_OUT`. An example of which a sequence has more
    than `max_tokens`, or whose text is too long to tokenise at once, is left out. `columns` and
    `skip_bad` are as for `ExamplesFile`; so are lines that the prompt format or the vocabulary
    refuses. `lesson` says what is learnt from an example. Raises `UsageError` naming what is wrong,
    also where nothing is left to train with, and `Cancelled`.
    """
    whole("max_tokens", max_tokens, 2)
    whole("seed", seed)
    number("share", share, 0.0, 0.9)

    def read(file: str | Path) -> _Reading:
        reading = _Reading(encoder, max_tokens, seed, lesson)
        reading.read(file, columns, skip_bad, progress, cancel)
        return reading

    own = read(path)
    if validation is None:
        return own.split(share)
    return own.beside(read(validation))


class _Reading:
    """The tokens of a file's examples, and a number for the question of each."""

    def __init__(
        self, encoder: Encoder, max_tokens: int, seed: int, lesson: Lesson | None = None
    ) -> None:
        self._encoder, self._max_tokens, self._seed = encoder, max_tokens, seed
        self._lesson = lesson
        self._collected = Collector()
        self._questions = array("Q")  # of each example
        self._example_of = array("q")  # of each sequence
        self.tokens: TokenSet
        self.found: Found

    def read(
        self,
        path: str | Path,
        columns: Columns | None,
        skip_bad: bool,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> None:
        """Read a file. Raises as `read_data`."""
        where = Path(path)
        report = None if progress is None else lambda share: progress(where, share)
        file = ExamplesFile(
            where, columns=columns, skip_bad=skip_bad, progress=report, cancel=cancel
        )
        self._n_too_long = 0
        for examples in _together(file):
            learnt = [self._lesson(each) if self._lesson else [each] for each in examples]
            self._encoder.prepare([one.messages for lessons in learnt for one in lessons])
            for example, as_read in zip(examples, learnt, strict=True):
                if cancel is not None and cancel.is_set():
                    raise Cancelled(f"reading {where} was cancelled")
                try:
                    self._add(as_read, example.question)
                except PromptError as error:
                    file.pass_over(example.line, str(error))
        n_too_long = self._n_too_long
        n_kept = len(self._questions)
        if n_kept == 0:
            why = f"all that are sound are longer than {self._max_tokens:,} tokens; shorten them"
            if not n_too_long:
                why = file.wrong[0]
            raise UsageError(f"{path}: there is no example that can be used: {why}")
        self.tokens = self._collected.token_set()
        self.found = Found(
            where,
            file.layout or "",
            n_kept,
            file.n_wrong,
            file.n_duplicates,
            n_too_long,
            tuple(file.wrong),
        )

    def _add(self, lessons: Sequence[Example], question: str) -> None:
        """Take up what is learnt of a question, unless it is too long. Raises `PromptError`."""
        if any(_n_bytes(each) > MAX_BYTES for each in lessons):
            self._n_too_long += 1
            return
        sequences = [tokens for each in lessons for tokens in self._encoder.tokens(each.messages)]
        if max(map(len, sequences)) > self._max_tokens:
            self._n_too_long += 1
            return
        for tokens in sequences:
            self._collected.add(tokens)
            self._example_of.append(len(self._questions))
        self._questions.append(_question_number(question, self._seed))

    @property
    def questions(self) -> NDArray[np.uint64]:
        """A number for the question of each example: equal for the same question."""
        return np.frombuffer(self._questions, dtype=np.uint64)

    def split(self, share: float) -> Data:
        """Some of the examples held out."""
        held = held_out(self.questions, share)
        return Data(
            self._where(~held), self._where(held), int((~held).sum()), int(held.sum()), self.found
        )

    def beside(self, validation: _Reading) -> Data:
        """All examples but those that ask what `validation` asks, which is held out."""
        in_both = np.isin(self.questions, validation.questions)
        if in_both.all():
            raise UsageError(
                f"{self.found.path}: every question is in {validation.found.path} too; give other "
                "examples to validate with, or leave them out to have some of these held out"
            )
        return Data(
            self._where(~in_both),
            validation.tokens,
            int((~in_both).sum()),
            validation.found.n_kept,
            self.found,
            validation.found,
            int(in_both.sum()),
        )

    def _where(self, chosen: NDArray[np.bool_]) -> TokenSet:
        """The sequences of the chosen examples."""
        example_of = np.frombuffer(self._example_of, dtype=np.int64)
        return self.tokens.chosen(np.flatnonzero(chosen[example_of]))


def _together(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """The examples in groups, each of some examples or of one large one."""
    group: list[Example] = []
    size = 0
    for example in examples:
        group.append(example)
        size += _n_bytes(example)
        if len(group) == _AT_ONCE or size > _BYTES_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _n_bytes(example: Example) -> int:
    return sum(len(message.content.encode()) for message in example.messages)


def held_out(questions: NDArray[np.uint64], share: float = SHARE) -> NDArray[np.bool_]:
    """Which examples are held out; `questions` has a number for the question of each.

    Whole questions, by their numbers' order, until a `share` of the examples is reached, at least
    one and at most `MAX_HELD_OUT`; where every question has more examples, one that has fewest.
    None of a single question's.
    """
    numbers, which, counts = np.unique(questions, return_inverse=True, return_counts=True)
    if share == 0 or len(numbers) < 2:
        return np.zeros(len(questions), dtype=np.bool_)
    wanted = min(max(round(share * len(questions)), 1), MAX_HELD_OUT)
    chosen, n = np.zeros(len(numbers), dtype=np.bool_), 0
    for group, count in enumerate(counts):
        if n + count <= wanted:
            chosen[group] = True
            n += int(count)
    if not n:
        chosen[np.argmin(counts)] = True
    return chosen[which]


def _question_number(question: str, seed: int) -> int:
    """A number for a question, however it is spaced and capitalised."""
    said = f"{seed} {' '.join(question.split()).casefold()}"
    return int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest(), "big")
