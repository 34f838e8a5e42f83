"""Several systems answering the same questions side by side, for `eval`.

Each system has a thread and a context of its own; llama.cpp leaves Python's lock while it computes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edgeproxy.core.threads import default_threads, processors
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import Cancelled
from edgeproxy.gguf import read
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.judging import JUDGES
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.trios.find import Recipe

_BY_COST = ("proxy", "tuned", "base", "expert", "anti_expert")
"""The slowest first, so that no processor is idle while it ends."""

_INTERRUPTED = "the evaluation was interrupted"

_LOOKS_EVERY = 0.1
"""Seconds between two looks at how far the systems are."""

Known = Mapping[tuple[str, int], str]
"""The replies of systems to questions, which are counted from 0."""

NONE: Known = MappingProxyType({})


@dataclass(frozen=True)
class Ask:
    """Asks a speaker a question, for as much of its reply as the question's judge wants to hear.

    A reply has at most `max_tokens` tokens, or so many as the judge says.
    """

    sampling: Sampling
    max_tokens: int | None = None

    def __call__(
        self, speaker: Speaker[Any], question: Question, is_stopping: Callable[[], bool]
    ) -> str:
        """The reply. Raises `Cancelled` once `is_stopping`, and where the reply is cancelled."""
        judge = JUDGES[question.judge]
        longest = judge.max_tokens if self.max_tokens is None else self.max_tokens
        with speaker.reply(question.text, self.sampling, longest) as turn:
            # Who stops has said so before turns are cancelled, so one begun since is seen here.
            if is_stopping():
                raise Cancelled(_INTERRUPTED)
            for piece in turn:
                if piece.finish_reason == "cancelled":
                    raise Cancelled(_INTERRUPTED)
                if judge.is_complete(turn.text):
                    break
        return judge.kept(turn.text)


class Answering:
    """The systems of a session at work on questions; `known` are the replies that are there.

    `heard` is called with each new reply: its system, the question's number and the text, from any
    thread, one at a time.
    """

    def __init__(
        self,
        session: Session,
        systems: Sequence[str],
        questions: Sequence[Question],
        reply_of: Ask,
        known: Known = NONE,
        heard: Callable[[str, int, str], None] = lambda _system, _number, _text: None,
    ) -> None:
        self._session = session
        self._systems = systems
        self._questions = questions
        self._reply_of = reply_of
        self._replies = dict(known)
        self._heard = heard
        self._one_at_a_time = threading.Lock()
        self._is_stopping = False

    def stop(self) -> None:
        """End all replies soon; may be called from any thread and any signal handler."""
        self._is_stopping = True
        self._session.cancel()

    def run(
        self, workers: int, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> dict[str, list[str]]:
        """Every system's replies, in the order of the questions; `workers` systems run at once.

        `progress` is called with how many of how many replies are there. Raises `Cancelled` once
        stopped, and what a reply or `heard` raises; the other systems have ended then too.
        """
        total = len(self._systems) * len(self._questions)
        speakers = {name: self._speaker(name) for name in _BY_COST if self._missing(name)}
        with ThreadPoolExecutor(workers) as pool:
            work = [pool.submit(self._answer, *each) for each in speakers.items()]
            try:
                pending = set(work)
                while pending and not any(part.done() and part.exception() for part in work):
                    progress(len(self._replies), total)
                    pending = wait(pending, _LOOKS_EVERY, FIRST_EXCEPTION).not_done
                for part in work:
                    if part.done():
                        part.result()
            finally:
                self.stop()  # the pool waits for all
        numbers = range(len(self._questions))
        return {name: [self._replies[name, n] for n in numbers] for name in self._systems}

    def _missing(self, system: str) -> list[int]:
        if system not in self._systems:
            return []
        return [n for n in range(len(self._questions)) if (system, n) not in self._replies]

    def _speaker(self, name: str) -> Speaker[Any]:
        if self._is_stopping:
            raise Cancelled(_INTERRUPTED)
        return self._session.speaker if name == "proxy" else self._session.solo(name)

    def _answer(self, name: str, speaker: Speaker[Any]) -> None:
        for number in self._missing(name):
            text = self._reply_of(speaker, self._questions[number], lambda: self._is_stopping)
            with self._one_at_a_time:
                self._replies[name, number] = text
                self._heard(name, number, text)


def workers(recipe: Recipe, threads: int | None) -> int:
    """How many systems run at once, so that together they use the processors there are."""
    threads = threads or default_threads(read(recipe.base.path).n_params)
    return max(1, processors() // threads)
