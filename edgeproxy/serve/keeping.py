"""Keeps the models loaded while they are wanted: loads them, unloads them, and again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import ClosingError
from edgeproxy.serve.threads import in_thread
from edgeproxy.serve.wanted import Answers
from edgeproxy.session.model_files import Progress
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.worker.isolated import IsolatedSession

CLOSING = "the server shuts down and answers no more; ask again when it has been started again"

Word = Literal["asleep", "loading", "ready", "failed", "closing"]


class State(NamedTuple):
    """How the models are: a word, and why where it has "failed".

    "asleep": not loaded, and the next request loads them. "loading": `what` is under way, and
    `share` of it is done, 0 to 1. "failed": as "asleep", and the last try to load them failed.
    """

    word: Word
    why: str = ""
    what: str = ""
    share: float = 0.0


class Load(Protocol):
    """What loads the models, as `functools.partial(edgeproxy.load, trio, isolate=True)` does."""

    def __call__(self, *, progress: Progress | None, cancel: Cancel | None) -> Session:
        """A session. Called in a thread. Raises as `edgeproxy.load` does."""


class Keeping:
    """One session at a time, of those that `load` makes. All of it is called in one event loop.

    `heard` hears of each progress of a loading, and `changed` that one has ended, with the error
    where it has failed.
    """

    def __init__(
        self,
        load: Load,
        keep_alive: float | None,
        heard: Callable[[str, float], None],
        changed: Callable[[BaseException | None], None],
    ) -> None:
        self._load = load
        self._keep_alive = keep_alive
        self._heard = heard
        self._changed = changed
        self._session: Session | None = None
        self._loading: asyncio.Task[Session] | None = None
        self._cancel = Flag()
        self._retired: set[asyncio.Future[None]] = set()
        self._speakers: dict[Answers, asyncio.Future[Speaker[Any]]] = {}
        self._sleeping: asyncio.TimerHandle | None = None
        self._told = _Told()
        self._why = ""
        self._is_closing = False
        self._restarts = 0
        self.last: Session | None = None
        """The one that was loaded last, closed or not: what it says of itself stays true."""
        self.vocabs: dict[Answers, Vocab] = {}
        """By who answers the vocabulary of the tokens, of the last session."""
        self.loads = self.failures = self.unloads = 0
        """How many loadings have begun and have failed, and how many sessions were given up."""
        self.load_seconds = 0.0
        """That loadings took which have ended."""

    @property
    def state(self) -> State:
        """How the models are."""
        if self._is_closing:
            return State("closing")
        if self._loading is not None:
            return State("loading", "", *self._told.latest)
        if self._session is not None and not has_ended(self._session):
            return State("ready")
        return State("failed", self._why) if self._why else State("asleep")

    @property
    def pid(self) -> int | None:
        """The process that the models are in; None where there is none."""
        session = self._session
        if session is None:
            return None
        return session.pid if isinstance(session, IsolatedSession) else os.getpid()

    @property
    def starts(self) -> int:
        """How many processes there have been for the models, be they loaded or not."""
        return self.loads + self._restarts + _restarts_of(self._session)

    @property
    def session(self) -> Session | None:
        """The loaded one, its process alive or not."""
        return self._session

    def ready(self) -> Session | None:
        """The session that can be used; one whose process has ended is given up.

        Nobody may be using the session meanwhile.
        """
        if self._session is not None and has_ended(self._session):
            self.unload()
        return self._session

    def start(self) -> None:
        """Begin to load, unless that is under way or done."""
        if self._session is None and self._loading is None and not self._is_closing:
            self.loads += 1
            self._told.latest = ("models", 0.0)
            self._loading = asyncio.get_running_loop().create_task(self._loaded_by_task())
            self._loading.add_done_callback(self._has_loaded)
            self._heard(*self._told.latest)

    async def loaded(self) -> Session:
        """The session, which is loaded where it is not. Raises as loading does, `ClosingError`."""
        if self._session is not None:
            return self._session
        self.start()
        if self._loading is None:
            raise ClosingError(CLOSING)
        return await asyncio.shield(self._loading)

    def speaker(self, session: Session, answers: Answers) -> asyncio.Future[Speaker[Any]]:
        """Whoever answers, of the session that is loaded, made once. Raises as `Session.solo`."""
        found = self._speakers.get(answers)
        if found is None:
            if answers == "trio":
                found = asyncio.get_running_loop().create_future()
                found.set_result(session.speaker)
            else:
                found = in_thread(functools.partial(session.solo, answers), "edgeproxy solo")
                found.add_done_callback(lambda made: self._has_made(answers, made))
            self._speakers[answers] = found
        return found

    def rest(self) -> None:
        """Unload after the time that models are kept, unless `wake` is called before."""
        if self._keep_alive is None or self._session is None or self._sleeping is not None:
            return
        if self._keep_alive == 0.0:
            self.unload()
            return
        loop = asyncio.get_running_loop()
        self._sleeping = loop.call_later(self._keep_alive, self._fall_asleep)

    def wake(self) -> None:
        """Somebody wants the models."""
        if self._sleeping is not None:
            self._sleeping.cancel()
            self._sleeping = None

    def unload(self) -> None:
        """Close the session, in a thread; nobody may be using it."""
        session, self._session = self._session, None
        self.wake()
        if session is not None:
            self.unloads += 1
            self._restarts += _restarts_of(session)
            self._speakers.clear()
            self._retire(session)

    def cancel(self) -> None:
        """Load no more, and break off a loading that is under way; replies go on."""
        self._is_closing = True
        if self._loading is not None:
            self._cancel.set()  # once it is loaded, this would end replies

    async def close(self, within: float) -> None:
        """Close the session, whatever is under way, and wait for its end, at most so long."""
        self.cancel()
        self._cancel.set()
        self.unload()
        waiting: set[asyncio.Future[Any]] = {*self._retired}
        if self._loading is not None:
            waiting.add(self._loading)
        if waiting:
            await asyncio.wait(waiting, timeout=within)

    def _fall_asleep(self) -> None:
        self._sleeping = None
        self.unload()

    def _retire(self, session: Session) -> None:
        closing = in_thread(session.close, "edgeproxy close")
        self._retired.add(closing)
        closing.add_done_callback(self._retired.discard)

    async def _loaded_by_task(self) -> Session:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            if self._retired:  # its memory is not free yet
                await asyncio.wait(self._retired)
            session, vocab = await in_thread(
                lambda: self._load_now(self._told.telling(loop, self._hear)), "edgeproxy load"
            )
        finally:
            self.load_seconds += loop.time() - began
        self.vocabs = {"trio": vocab}
        return session

    def _load_now(self, progress: Progress) -> tuple[Session, Vocab]:
        session = self._load(progress=progress, cancel=self._cancel)
        try:
            found = session, session.vocab
        except BaseException:
            session.close()
            raise
        if self._is_closing:  # nobody will close it
            session.close()
        return found

    def _hear(self, what: str, share: float) -> None:
        if self._loading is not None:
            self._heard(what, share)

    def _has_loaded(self, loading: asyncio.Task[Session]) -> None:
        self._loading = None
        error = asyncio.CancelledError() if loading.cancelled() else loading.exception()
        if error is None:
            session = loading.result()
            self._why, self.last = "", session
            if self._is_closing:
                self._retire(session)
            else:
                self._session = session
        else:
            self.failures += 1
            self._why = str(error) or type(error).__name__
        self._changed(error)

    def _has_made(self, answers: Answers, made: asyncio.Future[Speaker[Any]]) -> None:
        failed = made.cancelled() or made.exception() is not None
        if failed and self._speakers.get(answers) is made:
            del self._speakers[answers]


def has_ended(session: Session) -> bool:
    """Whether the process has ended that the models of a session were in."""
    return isinstance(session, IsolatedSession) and session.pid is None


def _restarts_of(session: Session | None) -> int:
    """How many processes a session has started but for the one it was loaded in."""
    return session.starts - 1 if isinstance(session, IsolatedSession) else 0


class _Told:
    """The latest that a loading told, from any thread."""

    def __init__(self) -> None:
        self.latest = ("", 0.0)
        self._lock = threading.Lock()
        self._is_calling = False

    def telling(
        self, loop: asyncio.AbstractEventLoop, heard: Callable[[str, float], None]
    ) -> Progress:
        """What a loading tells; `heard` hears the latest of it, in the loop."""

        def hear() -> None:
            with self._lock:
                self._is_calling = False
            heard(*self.latest)

        def tell(what: str, share: float) -> None:
            with self._lock:
                self.latest = (what, share)
                if self._is_calling:
                    return
                self._is_calling = True
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(hear)

        return tell
