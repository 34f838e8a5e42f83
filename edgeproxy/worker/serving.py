"""What a worker does for its host: a job for each thing asked, in the order that speakers allow."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edgeproxy.core.cancel import Flag
from edgeproxy.decode.scoring import TokenScore
from edgeproxy.errors import UsageError
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.session.turn import Asked
from edgeproxy.worker.facts import Facts, SoloFacts
from edgeproxy.worker.faults import RAISED
from edgeproxy.worker.faults import told as said_of
from edgeproxy.worker.values import decoded, encoded

Key = tuple[Any, ...]
"""By what a host names a speaker; `("trio",)`, or how to make it, and a number."""

_OTHERS: Key = ("solo", "another")
"""Speakers that are made when they are first asked for."""

_ON_MODELS = ("reply", "score", "cache_prompt", "keep_read", "put_back")
"""What is done with a speaker's models, one after another."""

VOCAB_PART = 10_000
"""Tokens of a vocabulary in one message: reading a long one holds all threads of the host up."""

SCORES_PART = 200
"""Tokens of a text, and how likely they were, in one message: each may have twenty rivals."""

Send = Callable[[Any], None]


class Looks:
    """A `Cancel` that is never set, and counts how often it is looked at: a sign of life."""

    def __init__(self) -> None:
        self.count = 0

    def is_set(self) -> bool:
        """False, and one look more."""
        self.count += 1
        return False


class Job:
    """Something the host asked for, which it may stop, and whose pieces it allows."""

    def __init__(self, number: int, ahead: int, looks: Looks) -> None:
        self.number = number
        self._looks = looks
        self._wish = Flag()
        self._stop: Callable[[], None] = lambda: None
        self._allowed = threading.Semaphore(ahead)

    def is_set(self) -> bool:
        """Whether it is to stop: it is a `Cancel`."""
        self._looks.is_set()
        return self._wish.is_set()

    def cancel(self) -> None:
        """Stop it, begun or not."""
        self._wish.set()
        self._stop()
        self._allowed.release()

    def stops_by(self, stop: Callable[[], None]) -> None:
        """Have `stop` called when it is to stop, at once where it already is."""
        self._stop = stop
        if self._wish.is_set():
            stop()

    def allow(self, count: int) -> None:
        """Allow so many more pieces."""
        self._allowed.release(count)

    def wait(self) -> None:
        """Wait until a piece is allowed, or the job is to stop."""
        if not self._wish.is_set():
            self._allowed.acquire()


class Lane:
    """A thread that does jobs one after another."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def add(self, job: Callable[[], None]) -> None:
        """Do this too."""
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()


class Serving:
    """Answers a host's messages through `send`; the trio is loaded by `loader`, when asked."""

    def __init__(self, send: Send, loader: Callable[..., Session]) -> None:
        self._send = send
        self._loader = loader
        self._session: Session | None = None
        self._looks = Looks()
        self._jobs: dict[int, Job] = {}
        self._speakers: dict[Key, Speaker[Any]] = {}
        self._lanes: dict[Any, Lane] = {}
        self._one_at_a_time = threading.Lock()
        self.taken = 0
        """How many messages it has taken."""

    @property
    def looks(self) -> int:
        """How often its work has looked whether to stop."""
        return self._looks.count

    @property
    def is_at_work(self) -> bool:
        """Whether anything is under way."""
        return bool(self._jobs)

    def take(self, message: dict[str, Any]) -> None:
        """Do what the host asks, in another thread; returns at once."""
        self._take(message)
        self.taken += 1

    def _take(self, message: dict[str, Any]) -> None:
        do, number = message["do"], message["id"]
        if do in ("cancel", "more"):
            job = self._jobs.get(number)
            if job is None:
                return  # it has ended meanwhile
            if do == "cancel":
                job.cancel()
            else:
                job.allow(message["count"])
            return
        job = self._jobs[number] = Job(number, message.get("ahead", 1), self._looks)
        # The others need no models, and a reply that its reader has paused must not hold them up.
        lane = str(message["speaker"]) if do in _ON_MODELS else ""
        if lane not in self._lanes:
            self._lanes[lane] = Lane()
        self._lanes[lane].add(lambda: self._do(job, message))

    def _do(self, job: Job, message: dict[str, Any]) -> None:
        number = message.pop("id")
        try:
            work = getattr(self, f"_do_{message.pop('do')}")
            answer: list[Any] = ["done", number, encoded(work(job, **decoded(message)))]
        except RAISED as error:
            answer = ["failed", number, said_of(error)]
        del self._jobs[number]
        self._send(answer)

    def _do_load(self, job: Job, options: dict[str, Any]) -> Facts:
        def progress(what: str, share: float) -> None:
            self._send(["told", job.number, what, share])

        session = self._loader(**options, progress=progress, cancel=job)
        self._session = session
        reading = session.reading
        return Facts(
            session.recipe,
            session.alone,
            session.n_ctx,
            len(session.vocab),
            session.speaker.endings,
            session.memory,
            session.doubts,
            dict(session.matches),
            session.steering,
            session.sampling,
            None if reading is None else reading.readers,
        )

    def _do_reply(
        self, job: Job, speaker: Key, asked: Asked, ahead: int, told: bool = False
    ) -> tuple[Any, ...]:
        who = self._speaker(speaker)

        def progress(done: int, total: int) -> None:
            self._send(["told", job.number, done, total])

        turn = who.turn(asked, wait=True, progress=progress if told else None)
        job.stops_by(turn.cancel)
        has_begun, noted, scored = False, 0, 0
        for piece in turn:
            more: dict[str, Any] | None = None
            if not has_begun:
                has_begun, more = True, {"usage": turn.usage, "read": turn.read}
                self._send_scores(job, turn.echo)
            if asked.record:
                steps = turn.steps[noted:]
                noted += len(steps)
                more = {**(more or {}), "steps": steps}
            if asked.echo is not None:
                scores = turn.scores[scored:]
                scored += len(scores)
                more = {**(more or {}), "scores": scores}
            self._send(
                [
                    *("piece", job.number, piece.text, piece.token, piece.logprob),
                    *(piece.finish_reason, None if more is None else encoded(more)),
                ]
            )
            if piece.finish_reason is None:
                job.wait()
        stats = turn.stats
        took = stats.first_seconds, stats.seconds
        return (stats.drafted, stats.pair, who.spent), stats.changed, took

    def _send_scores(self, job: Job, scores: Sequence[TokenScore]) -> None:
        for start in range(0, len(scores), SCORES_PART):
            part = tuple(scores[start : start + SCORES_PART])
            self._send(["told", job.number, encoded(part)])

    def _do_score(
        self, job: Job, speaker: Key, asked: Asked, read: Any, said: Sequence[int]
    ) -> tuple[float, ...]:
        return tuple(self._speaker(speaker).score(asked, read, said, job))

    def _do_spans(self, job: Job, speaker: Key, said: Sequence[int]) -> tuple[Any, ...]:
        return tuple(self._speaker(speaker).spans(said))

    def _do_tokenize(self, job: Job, speaker: Key, text: str) -> tuple[int, ...]:
        return tuple(self._speaker(speaker).tokenize(text))

    def _do_count(self, job: Job, speaker: Key, messages: Any, is_raw: bool, docs_to: Any) -> int:
        return self._speaker(speaker).count(messages, is_raw, docs_to)

    def _do_vocab(self, job: Job, speaker: Key) -> Any:
        vocab = self._speaker(speaker).vocab
        for start in range(0, len(vocab), VOCAB_PART):
            part = slice(start, start + VOCAB_PART)
            told = encoded(vocab.tokens[part]), encoded(vocab.kinds[part])
            self._send(["told", job.number, *told])
        return replace(vocab, tokens=(), kinds=())

    def _do_solo(self, job: Job, speaker: Key) -> SoloFacts:
        made = self._speaker(speaker)
        return SoloFacts(made.n_ctx, len(made.vocab), made.endings)

    def _do_find(self, job: Job, speaker: Key, messages: Any) -> Any:
        reading = self._speaker(speaker).reading
        if reading is None:
            raise UsageError("the trio was loaded without documents")
        return reading.read(messages, "all").found

    def _do_cache_prompt(self, job: Job, speaker: Key, system: str, path: Any) -> Any:
        return self._stopping(job).cache_prompt(system, path, self._progress(job))

    def _do_keep_read(
        self, job: Job, speaker: Key, messages: Any, path: Any, most: int | None
    ) -> int:
        return self._stopping(job).keep_read(messages, path, self._progress(job), most=most)

    def _do_put_back(self, job: Job, speaker: Key, path: Any) -> int:
        return self._stopping(job).put_back(path, self._progress(job))

    def _progress(self, job: Job) -> Callable[[str, float], None]:
        return lambda what, share: self._send(["told", job.number, what, share])

    def _stopping(self, job: Job) -> Session:
        """The session, all of whose work on the trio's models stops with `job`."""
        session = self._session
        if session is None:
            raise UsageError("no trio is loaded")
        job.stops_by(session.speaker.floor.cancel)
        return session

    def _speaker(self, key: Key) -> Speaker[Any]:
        """The speaker that the host calls `key`, made where it is not there."""
        session = self._session
        if session is None:
            raise UsageError("no trio is loaded")
        if key[0] not in _OTHERS:
            return session.speaker
        with self._one_at_a_time:
            if key not in self._speakers:
                how, what, _ = key
                self._speakers[key] = (
                    session.another(what) if how == "solo" else session.another(n_threads=what)
                )
            return self._speakers[key]
