"""Sessions that say what a test tells them, when it does."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.threads import Crew
from edgeproxy.decode.pieces import FinishReason, Piece
from edgeproxy.decode.steering import Change, Steering
from edgeproxy.errors import Cancelled
from edgeproxy.session.checks import check_unsteered
from edgeproxy.session.floor import Floor
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.messages import Messages
from edgeproxy.session.model_files import Progress
from edgeproxy.session.prompt_progress import PromptProgress
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.session.turn import Asked, Recorder
from edgeproxy.trios.find import Recipe, Role
from edgeproxy.trios.manifest import Readers
from tests.helpers.fakes import fake_vocab

_LOOK_SECONDS = 0.002

ROLE = Role(Path("none.gguf"))
RECIPE = Recipe("told", ROLE, ROLE, ROLE)


class Told:
    """What is said to each text, by whichever speaker is asked. `asked` is all that was asked."""

    def __init__(self) -> None:
        self._said: dict[str, queue.SimpleQueue[Any]] = defaultdict(queue.SimpleQueue)
        self.asked: list[tuple[str, Asked]] = []
        self.counting = threading.Event()
        self.counting.set()
        """While it is not set, tokens are not counted."""

    @property
    def begun(self) -> list[str]:
        """The texts that were begun to be answered, in that order."""
        return [asked.messages[-1].content for _, asked in self.asked]

    def read(self, text: str, done: int, total: int) -> None:
        """So much of the prompt was read."""
        self._said[text].put((done, total))

    def say(self, text: str, said: str, reason: FinishReason | None = None) -> None:
        """One piece of the answer."""
        self._said[text].put(Piece(said, ord(said[0]) if said else None, -1.0, reason))

    def answer(self, text: str, said: str) -> None:
        """A whole answer, a piece for each character."""
        for character in said:
            self.say(text, character)
        self.say(text, "", "stop")

    def fail(self, text: str, error: Exception) -> None:
        """The answer fails."""
        self._said[text].put(error)

    def has_more(self, text: str) -> bool:
        """Whether anything of it has not been taken yet."""
        return not self._said[text].empty()

    def next(self, text: str, cancel: Cancel) -> Any:
        """What comes next of an answer; None where it was cancelled."""
        while not cancel.is_set():
            try:
                return self._said[text].get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                pass
        return None


class ToldSpeaker(Speaker[Any]):
    """Says what `told` says; a `role` other than "trio" is one model alone."""

    def __init__(self, told: Told, role: str) -> None:
        vocab, nothing = fake_vocab(), None
        super().__init__(nothing, vocab, vocab.end_of_generation, Floor())  # type: ignore[arg-type]
        self.told, self.role = told, role
        self.steering = Steering()

    def begin(
        self,
        asked: Asked,
        cancel: Cancel,
        record: Recorder,
        progress: PromptProgress | None = None,
    ) -> Iterator[Piece]:
        text = asked.messages[-1].content
        self.told.asked.append((self.role, asked))
        record.prompt(10, 4)
        while True:
            match self.told.next(text, cancel):
                case None:
                    yield Piece("", None, None, "cancelled")
                    return
                case (int(done), int(total)):
                    assert progress is not None
                    progress(done, total)
                case Exception() as error:
                    raise error
                case Piece() as piece:
                    yield piece
                    if piece.finish_reason is not None:
                        return

    @property
    def n_ctx(self) -> int:
        return 100

    def count(
        self, messages: Messages, is_raw: bool = False, docs_to: Readers | None = "nobody"
    ) -> int:
        assert self.told.counting.wait(10)
        return 1000 * is_raw + len(str(messages[-1] if is_raw else messages[-1].content))  # type: ignore[union-attr]

    def encode(self, messages: Any, read: Any = None, is_raw: bool = False) -> Any:
        raise AssertionError

    def _steered(self, steering: Steering | None, change: Change) -> Steering | None:
        if self.role != "trio":
            check_unsteered(steering, change)
            return None
        return (steering or self.steering).changed(change)

    def _check(self, asked: Asked) -> None:
        pass

    def _prepare(self, asked: Asked) -> None:
        pass

    def _longest(self, prompt: Any) -> Any:
        raise AssertionError

    _work = _size = _resume = _longest

    def _of_tokens(self, tokens: Sequence[int]) -> Any:
        raise AssertionError


class Files:
    """What a session closes, and whether it was."""

    def __init__(self) -> None:
        self.is_closed = False
        self.may_close = threading.Event()
        self.may_close.set()

    def close(self) -> None:
        assert self.may_close.wait(10)
        self.is_closed = True


class ToldLoad:
    """Loads sessions of `told`, when it may, and fails as it is told.

    `may_load` and `may_solo` are set unless a test wants to wait. `errors` are raised first, one
    each.
    """

    def __init__(self, told: Told, errors: Sequence[Exception] = ()) -> None:
        self.told = told
        self.errors = list(errors)
        self.may_load, self.may_solo = threading.Event(), threading.Event()
        self.may_load.set()
        self.may_solo.set()
        self.files: list[Files] = []
        self.solos: list[str] = []
        self.begun = 0
        self.open_at_once: list[int] = []
        """At the end of each loading, how many sessions are open, with this one."""

    def __call__(self, *, progress: Progress | None, cancel: Cancel | None) -> Session:
        self.begun += 1
        assert progress is not None
        progress("base", 0.25)
        progress("base", 0.5)
        while not self.may_load.wait(_LOOK_SECONDS):
            if cancel is not None and cancel.is_set():
                raise Cancelled("loading was cancelled")
        if self.errors:
            raise self.errors.pop(0)
        files = Files()
        self.files.append(files)
        self.open_at_once.append(sum(not each.is_closed for each in self.files))
        return Session(
            RECIPE,
            ToldSpeaker(self.told, "trio"),
            files,
            self._solo,
            matches={},
            crew=Crew(1, 1, 1),
            memory=Estimate(1, 2, 3, 4, 5, 6),
            doubts=["a doubt"],
        )

    def _solo(self, role: str) -> ToldSpeaker:
        assert self.may_solo.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        self.solos.append(role)
        return ToldSpeaker(self.told, role)
