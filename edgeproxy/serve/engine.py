"""The engine: one request is answered at a time, and the others wait for their turn.

All of it is called in one event loop, which never waits for a model: loading, answering, counting
and closing are done in threads, one for each.

A request waits in a `FairQueue` until the models are loaded and are its own. A thread then reads
the turn that answers it and puts what comes into the request's `Mailbox`, which its client takes
from: a slow client is behind, and the engine goes on. A client that leaves is gone at once from the
queue, or has its turn cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.pieces import FinishReason
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import Cancelled, ClosingError, EngineError, QueueFullError, WorkerError
from edgeproxy.serve.asked import Asked, raw_text
from edgeproxy.serve.counts import Counts, outcome_of
from edgeproxy.serve.events import Event, Loading, Queued
from edgeproxy.serve.keeping import CLOSING, Keeping, Load, State
from edgeproxy.serve.mailbox import Mailbox
from edgeproxy.serve.protocol import Known, WithdrawnError
from edgeproxy.serve.settings import Settings
from edgeproxy.serve.threads import in_thread
from edgeproxy.serve.waiting import FairQueue
from edgeproxy.serve.wanted import Answers, Wanted
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.trios.find import Recipe

DEFAULTS = Settings()

USUAL_N_CTX = 4096
"""The most that `load` takes where it is not told."""

GRACE_SECONDS = 5.0

_CLOSE_SECONDS = 0.8
"""So long the end of the models' process is waited for; it is being killed."""

_LEAST_ROOM = 16
"""Pieces that a client may be behind, however much was recorded of each."""

_MOST_COUNTS = 4
"""Requests that are counted or told a vocabulary at the same time."""

_RETRY_SECONDS = 5, 120
"""What is said before a request has been measured, and at most."""

Found = TypeVar("Found")


class SharedEngine:
    """Answers requests one after another over the session that `load` makes; an `events.Engine`.

    `recipe` is that of the trio as it will be loaded, documents and steering included (see
    `choose_recipe`), and `n_ctx` is how many tokens a conversation can have, as far as that is
    known before. Nothing happens before `start`, or the first request.
    """

    def __init__(
        self,
        load: Load,
        recipe: Recipe,
        settings: Settings = DEFAULTS,
        n_ctx: int = USUAL_N_CTX,
    ) -> None:
        self.settings = settings
        self.counts = Counts()
        """Figures for `/metrics`."""
        self.keeping = Keeping(load, settings.keep_alive, self._hear, self._has_loaded)
        """The models: whether they are loaded, their process, how often they were loaded."""
        self.recipe = recipe
        """That of the trio."""
        self._n_ctx = n_ctx
        self._queue: FairQueue[Asked] = FairQueue()
        self._current: Asked | None = None
        self._is_read = False
        """Whether a thread reads the turn of the current one."""
        self._free = asyncio.Event()
        self._free.set()
        self._visits = 0
        self._counting = asyncio.Semaphore(_MOST_COUNTS)
        self._closing: asyncio.Task[None] | None = None

    # What health, metrics and the list of models tell

    @property
    def state(self) -> State:
        """How the models are, and why they could not be loaded."""
        return self.keeping.state

    def known(self) -> Known:
        """What a reader of requests must know."""
        recipe, session = self.recipe, self.keeping.last
        endpoint = recipe.base.endpoint
        return Known(
            name=recipe.name,
            roles=tuple(recipe.roles),
            n_ctx=self._n_ctx if session is None else session.n_ctx,
            most_tokens=self.settings.most_tokens,
            has_documents=recipe.documents is not None,
            vocab=self.keeping.vocabs.get("trio"),
            sampling=Sampling(temperature=recipe.temperature),
            can_record=recipe.steering.alone is None
            and (endpoint is None or endpoint.way != "bias"),
        )

    @property
    def memory(self) -> Estimate | None:
        """What the models take of memory while they are loaded; None before they were."""
        return None if self.keeping.last is None else self.keeping.last.memory

    @property
    def doubts(self) -> tuple[str, ...]:
        """What of the trio may not work as wished, a sentence each; none before it was loaded."""
        return () if self.keeping.last is None else self.keeping.last.doubts

    @property
    def pid(self) -> int | None:
        """The process that the models are in; None while there is none."""
        return self.keeping.pid

    @property
    def starts(self) -> int:
        """How many processes there have been for the models."""
        return self.keeping.starts

    @property
    def waiting(self) -> int:
        """How many requests wait, the one under way not included."""
        return len(self._queue)

    @property
    def is_busy(self) -> bool:
        """Whether a request is answered now."""
        return self._current is not None

    # What is asked

    def start(self) -> None:
        """Begin to load the models where the settings say `preload`; it does not wait for them."""
        if self.settings.preload:
            self.keeping.start()

    async def ask(self, wanted: Wanted) -> AsyncGenerator[Event, None]:
        """The events of one request; see `events.Engine`.

        Raises `QueueFullError` at the first event, at any of them `ClosingError`, `TooSlowError`
        where the client or the reading of its prompt is too slow, what loading raises, and what a
        reply raises.
        """
        asked = self._let_in(wanted)
        try:
            while (event := await asked.mailbox.take()) is not None:
                yield event
        finally:
            self._withdraw(asked)

    def cancel(self, name: str) -> bool:
        """End the reply that is called so; see `events.Engine`."""
        under_way = (*self._queue, *filter(None, [self._current]))
        asked = next((each for each in under_way if each.wanted.id == name), None)
        if asked is None or asked.is_over or not name:
            return False
        is_current = asked is self._current
        if is_current and self._is_read:
            asked.cancel()
        else:
            self._withdraw(asked, WithdrawnError())
        return True

    async def count(self, wanted: Wanted) -> int:
        """The tokens of the prompt of a request, as the longest reads it. Raises as `ask` does.

        It waits for no reply. What is read of documents is not among them.
        """

        def work(speaker: Speaker[Any]) -> int:
            if wanted.is_raw:
                return speaker.count(raw_text(wanted), is_raw=True)
            return speaker.count(wanted.messages)

        return await self._visit(wanted.answers, work)

    async def tokenize(self, text: str, answers: Answers = "trio") -> list[int]:
        """The tokens of a text as whoever answers reads it, without one for its beginning.

        It waits for no reply. Raises as `ask` does.
        """
        return await self._visit(answers, lambda who: who.tokenize(text))

    async def vocab(self, answers: Answers = "trio") -> Vocab:
        """The vocabulary of the tokens in `Said`, of whoever answers. Raises as `ask` does.

        It is that of the models that were loaded last; they are loaded where none were.
        """
        if answers not in self.keeping.vocabs:
            self.keeping.vocabs[answers] = await self._visit(answers, lambda who: who.vocab)
        return self.keeping.vocabs[answers]

    async def close(self, grace: float = GRACE_SECONDS) -> None:
        """Answer no more, and end the models' process.

        The request under way may end within `grace` seconds; those that wait, and it where it does
        not, get `ClosingError`. A second call waits for the first one. When this returns, at most a
        second after the grace, the process has ended, unless the system does not end it.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(grace))
            self.keeping.cancel()
            while self._queue:
                self._end(self._queue.pop(), ClosingError(CLOSING))
        await asyncio.shield(self._closing)

    # One after another

    def _let_in(self, wanted: Wanted) -> Asked:
        try:
            self._check_room(wanted)
        except (ClosingError, QueueFullError) as error:
            self.counts.ended(outcome_of(error))
            raise
        room = max(_LEAST_ROOM, self.settings.most_buffered // (1 + max(0, wanted.record)))
        mailbox = Mailbox(room, self.settings.patience, lambda error: self._withdraw(asked, error))
        asked = Asked(wanted, mailbox, self.settings)
        self._queue.add(wanted.who, asked)
        self._advance()
        self._tell_places()
        if asked in self._queue and (state := self.state).word == "loading":
            mailbox.put(Loading(state.what, state.share))
        return asked

    def _check_room(self, wanted: Wanted) -> None:
        """Raise `ClosingError`, and `QueueFullError` where too many wait."""
        if self._closing is not None:
            raise ClosingError(CLOSING)
        waiting = len(self._queue) + (self._current is not None)
        if waiting > self.settings.most_waiting:
            seconds = self._retry_after(1)
            raise QueueFullError(
                f"{waiting} requests are under way or wait, as many as may; ask again in "
                f"{seconds} seconds",
                seconds,
            )
        each, own = self.settings.most_waiting_each, self._queue.of(wanted.who)
        if each is not None and own + (self._current is not None) > each:
            raise QueueFullError(
                f"{own} of your requests wait, as many as may; ask again when one was answered",
                self._retry_after(max(1, self._queue.owners)),
            )

    def _retry_after(self, requests: int) -> int:
        """The seconds in which so many requests are answered, as it took lately."""
        unknown, most = _RETRY_SECONDS
        mean = self.counts.mean_seconds
        return unknown if mean is None else min(most, max(1, math.ceil(mean * requests)))

    def _advance(self) -> None:
        """Begin with the next request, if nothing stands in its way."""
        if self._current is not None or self._closing is not None:
            return
        session = self._session()
        if not self._queue:
            if self._visits == 0:
                self.keeping.rest()
            return
        self.keeping.wake()
        if session is None:
            self.keeping.start()
            return
        asked = self._current = self._queue.pop()
        self._free.clear()
        self._is_read = False
        asked.began = time.perf_counter()
        speaker = self.keeping.speaker(session, asked.wanted.answers)
        if speaker.done() and speaker.exception() is None:
            self._read(asked, session, speaker)
        else:
            asked.mailbox.put(Loading(asked.wanted.answers, 0.0))
            speaker.add_done_callback(lambda made: self._read(asked, session, made))

    def _session(self) -> Session | None:
        """The loaded session; one whose process has ended is given up, unless somebody has it."""
        is_used = self._current is not None or self._visits > 0
        return self.keeping.session if is_used else self.keeping.ready()

    def _read(self, asked: Asked, session: Session, made: asyncio.Future[Speaker[Any]]) -> None:
        """Have a thread read the turn that answers the current request."""
        if asked is not self._current:
            return  # it has left meanwhile
        error = made.exception()
        if error is not None:
            self._finish(asked, None, error)
            return
        speaker = made.result()
        self._is_read = True
        loop = asyncio.get_running_loop()
        limit = loop.call_later(self.settings.most_seconds, asked.time_up)
        reading = in_thread(lambda: asked.answer(session, speaker), "edgeproxy reply")

        def ended(read: asyncio.Future[FinishReason | None]) -> None:
            limit.cancel()
            failed = read.exception()
            self._finish(asked, None if failed is not None else read.result(), failed)

        reading.add_done_callback(ended)

    def _finish(
        self, asked: Asked, reason: FinishReason | None, error: BaseException | None
    ) -> None:
        """The current request is done with; let the next one begin."""
        self._current = None
        self._free.set()
        if asked.turn is not None:
            self.counts.add(asked.turn)
            self.counts.took(asked.began - asked.came, time.perf_counter() - asked.began)
        self._end(asked, error, reason or "left")
        self._advance()
        self._tell_places()
        if isinstance(error, WorkerError) and self._closing is None:
            self.start()

    def _end(self, asked: Asked, error: BaseException | None, outcome: str = "left") -> None:
        """Let a request's events end, and count it, unless that has been done."""
        error = error or asked.lost
        asked.mailbox.end(error)
        if not asked.is_over:
            asked.is_over = True
            self.counts.ended(outcome if error is None else outcome_of(error))

    def _withdraw(self, asked: Asked, lost: BaseException | None = None) -> None:
        """Be done with a request at once: its client has left, or has lost it to this error."""
        if lost is None:
            asked.mailbox.close()
        if asked.is_over:
            return
        asked.lost = asked.lost or lost
        asked.leave()
        if asked is not self._current:
            self._queue.remove(asked.wanted.who, asked)
            self._end(asked, None)
            self._advance()
            self._tell_places()
        elif not self._is_read:
            self._finish(asked, None, None)

    def _tell_places(self) -> None:
        for place, asked in enumerate(self._queue, int(self._current is not None)):
            if asked.place != place:
                asked.place = place
                asked.mailbox.put(Queued(place))

    def _hear(self, what: str, share: float) -> None:
        for asked in self._queue:
            asked.mailbox.put(Loading(what, share))

    def _has_loaded(self, error: BaseException | None) -> None:
        """Go on, or say why not: all who waited for it get the error.

        Where the process has ended, which the next one may not, it is the one whose turn it is.
        """
        if error is not None:
            while self._queue:
                self._end(self._queue.pop(), error)
                if isinstance(error, WorkerError):
                    break
        self._advance()
        self._tell_places()

    # Beside replies

    async def _visit(self, answers: Answers, work: Callable[[Speaker[Any]], Found]) -> Found:
        """What `work` makes of whoever answers, in a thread, whatever reply is under way."""
        if self._closing is not None:
            raise ClosingError(CLOSING)
        if self._visits > self.settings.most_waiting:
            raise QueueFullError("too many requests are counted; ask again later", 1)
        self._session()  # before it counts as used
        self._visits += 1
        self.keeping.wake()
        try:
            return await self._visited(answers, work)
        except (Cancelled, EngineError) as error:
            if self._closing is not None:
                raise ClosingError(CLOSING) from error
            raise
        finally:
            self._visits -= 1
            self._advance()

    async def _visited(self, answers: Answers, work: Callable[[Speaker[Any]], Found]) -> Found:
        await self._counting.acquire()
        try:
            session = await self.keeping.loaded()
            speaker = await asyncio.shield(self.keeping.speaker(session, answers))
            found = in_thread(lambda: work(speaker), "edgeproxy count")
        except BaseException:
            self._counting.release()
            raise
        # The thread goes on where its client has left.
        found.add_done_callback(lambda _: self._counting.release())
        return await asyncio.shield(found)

    # The end

    async def _close(self, grace: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._free.wait(), grace)
        current = self._current
        if current is not None:
            self._end(current, ClosingError(CLOSING))
            current.leave()
        await self.keeping.close(_CLOSE_SECONDS)
