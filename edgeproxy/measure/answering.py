"""Several systems answering the same questions side by side, for `eval`.

Each role has a thread and a context of its own, and all variants of the proxy are one role's;
llama.cpp leaves Python's lock while it computes. Of a base on a server several questions are asked
at once (see `lanes`).
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
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import Cancelled
from edgeproxy.gguf import read
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.judging import JUDGES
from edgeproxy.measure.lanes import Asked, Lanes
from edgeproxy.measure.systems import (
    PROXY,
    by_role,
    is_asked,
    readers_of,
    role_of,
    steering_of,
)
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.session.turn import Ended, Stats
from edgeproxy.trios.find import Recipe
from edgeproxy.trios.manifest import Readers

_BY_COST = (PROXY, "tuned", "base", "expert", "anti_expert")
"""The slowest first, so that no processor is idle while it ends."""

_INTERRUPTED = "the evaluation was interrupted"

_LOOKS_EVERY = 0.1
"""Seconds between two looks at how far the systems are."""

Known = Mapping[tuple[str, int], str]
"""The replies of systems to questions, which are counted from 0."""

NONE: Known = MappingProxyType({})


def numbers_asked(system: str, questions: Sequence[Question]) -> list[int]:
    """The numbers of the questions that are asked of a system."""
    return [n for n, question in enumerate(questions) if is_asked(system, question.is_general)]


@dataclass(frozen=True)
class Ask:
    """Asks a speaker a question, for as much of its reply as the question's judge wants to hear.

    A reply has at most `max_tokens` tokens, or so many as the question needs. `ended` is called
    with each turn that has ended, from the thread that asks: it knows what the reply has taken.
    """

    sampling: Sampling
    max_tokens: int | None = None
    ended: Ended | None = None

    def __call__(
        self,
        speaker: Speaker[Any],
        question: Question,
        is_stopping: Callable[[], bool],
        steering: Steering | None = None,
        docs_to: Readers | None = None,
        ended: Ended | None = None,
    ) -> str:
        """The reply, steered by `steering` and with documents read by `docs_to` where given.

        `ended` is called in the place of the `ended` of all. Raises `Cancelled` once `is_stopping`,
        and where the reply is cancelled.
        """
        judge = JUDGES[question.judge]
        longest = question.max_tokens if self.max_tokens is None else self.max_tokens
        with speaker.reply(
            question.text,
            self.sampling,
            longest,
            steering=steering,
            docs_to=docs_to,
            ended=ended or self.ended,
        ) as turn:
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

    A system is named as in `systems`; variants of the proxy answer one after another. Questions
    outside of the task are asked of those alone that may have lost what they knew. A base on a
    server is asked `at_once` questions at the same time; None asks one for each system.
    `heard` is called with each new reply: its system, the question's number and the text, from any
    thread, one at a time. Where `took` is given, it is called before that with what the reply has
    taken. With `by_question` a question is asked of all systems of a role before the next one is,
    so that its prompt is read once where they read the same.
    """

    def __init__(
        self,
        session: Session,
        systems: Sequence[str],
        questions: Sequence[Question],
        reply_of: Ask,
        known: Known = NONE,
        heard: Callable[[str, int, str], None] = lambda _system, _number, _text: None,
        at_once: int | None = None,
        took: Callable[[str, int, Stats], None] | None = None,
        by_question: bool = False,
    ) -> None:
        self._session = session
        self._systems = systems
        self._questions = questions
        self._reply_of = reply_of
        self._replies = dict(known)
        self._heard = heard
        self._at_once = at_once
        self._took = took
        self._by_question = by_question
        self._one_at_a_time = threading.Lock()
        self._is_stopping = False

    def stop(self) -> None:
        """End all replies soon; may be called from any thread and any signal handler."""
        self._is_stopping = True
        self._session.cancel()

    def run(
        self, workers: int, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> dict[str, list[str]]:
        """Every system's replies, in the order of the questions; `workers` roles work at once.

        `progress` is called with how many of how many replies are there. Raises `Cancelled` once
        stopped, and what a reply or `heard` raises; the other systems have ended then too.
        """
        asked = {system: numbers_asked(system, self._questions) for system in self._systems}
        total = sum(map(len, asked.values()))
        missing = [system for system in self._systems if self._missing(system)]
        elsewhere = [system for system in missing if self._is_elsewhere(system)]
        roles = by_role(system for system in missing if system not in elsewhere)
        speakers = {role: self._speaker(role) for role in _BY_COST if role in roles}
        count = self._at_once or 1
        lanes = Lanes(self._session, self._in_lanes(elsewhere), count, self._answer_one)
        with ThreadPoolExecutor(workers) as pool, ThreadPoolExecutor(count) as at_server:
            here = [pool.submit(self._answer, roles[r], speaker) for r, speaker in speakers.items()]
            there = [at_server.submit(lanes.run) for _ in range(count if elsewhere else 0)]
            work = [*here, *there]
            try:
                pending = set(work)
                while pending and not any(part.done() and part.exception() for part in work):
                    progress(len(self._replies), total)
                    pending = wait(pending, _LOOKS_EVERY, FIRST_EXCEPTION).not_done
                # What a server has been paid for comes to its end, whatever else has failed.
                lanes.end()
                while wait(there, _LOOKS_EVERY).not_done:
                    progress(len(self._replies), total)
                for part in work:
                    if part.done():
                        part.result()
            finally:
                self.stop()  # the pools wait for all
        return {name: [self._replies[name, n] for n in numbers] for name, numbers in asked.items()}

    def _is_elsewhere(self, system: str) -> bool:
        """Whether a system's questions go to a server, and several at once were asked for."""
        if self._at_once is None:
            return False
        if role_of(system) != PROXY:
            return role_of(system) == "base" and self._session.recipe.base.endpoint is not None
        steering = steering_of(system, self._session.steering) or self._session.steering
        return self._session.speaker.remote is not None and steering.alone != "expert"

    def _in_lanes(self, systems: Sequence[str]) -> list[Asked]:
        """What a server is asked, the slowest first."""
        return self._ordered([s for role in _BY_COST for s in systems if role_of(s) == role])

    def _ordered(self, systems: Sequence[str]) -> list[Asked]:
        """What is still to be asked of these systems, in order."""
        if not self._by_question:
            return [(system, number) for system in systems for number in self._missing(system)]
        asked = [(n, at) for at, each in enumerate(systems) for n in self._missing(each)]
        # Another one begins each time: who does reads the prompt.
        asked.sort(key=lambda pair: (pair[0], (pair[1] - pair[0]) % len(systems)))
        return [(systems[at], number) for number, at in asked]

    def _missing(self, system: str) -> list[int]:
        asked = numbers_asked(system, self._questions)
        return [number for number in asked if (system, number) not in self._replies]

    def _speaker(self, role: str) -> Speaker[Any]:
        if self._is_stopping:
            raise Cancelled(_INTERRUPTED)
        return self._session.speaker if role == PROXY else self._session.solo(role)

    def _answer(self, systems: Sequence[str], speaker: Speaker[Any]) -> None:
        for system, number in self._ordered(systems):
            self._answer_one(speaker, system, number)

    def _answer_one(self, speaker: Speaker[Any], system: str, number: int) -> None:
        took, steering = self._took, self._session.steering
        text = self._reply_of(
            speaker,
            self._questions[number],
            lambda: self._is_stopping,
            # Speakers made for lanes may have begun with another one.
            steering_of(system, steering) or (steering if role_of(system) == PROXY else None),
            readers_of(system),
            None if took is None else lambda turn: took(system, number, turn.stats),
        )
        with self._one_at_a_time:
            self._replies[system, number] = text
            self._heard(system, number, text)


def workers(recipe: Recipe, threads: int | None) -> int:
    """How many systems run at once, so that together they use the processors there are."""
    largest = recipe.expert if recipe.base.vocab_only else recipe.base
    threads = threads or default_threads(read(largest.path).n_params)
    return max(1, processors() // threads)
