"""Who has the models: one piece of work at a time, and it can be asked to stop at any moment."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.errors import BusyError, Cancelled, EdgeproxyError, EngineError

_POLL_SECONDS = 0.05
"""How often whoever waits looks whether it was cancelled meanwhile."""

_CLOSED = "the session has been closed; load the trio again"


class Floor:
    """Gives the models to one `Holder` at a time.

    It is the `Cancel` that the models look at: set while the holder that has them is cancelled, and
    while `cancel` is, which stops everything.
    """

    def __init__(self, cancel: Cancel | None = None) -> None:
        self.cancel_all = cancel or Flag()
        self._changed = threading.Condition()
        self._holder: weakref.ref[Holder] | None = None
        self._is_open = True
        self.cancels = 0
        self.listener: Callable[[int], None] | None = None
        """Hears of the models' work while a prompt is read; see `prompt_progress`."""

    @property
    def holder(self) -> Holder | None:
        """Whoever has the models now; one that nobody holds on to has them no more."""
        return None if self._holder is None else self._holder()

    def is_set(self) -> bool:
        """Whether the work that has the models is to stop."""
        holder = self.holder
        return self.cancel_all.is_set() if holder is None else holder.is_set()

    def heard(self, work: int) -> None:
        """Called by a model that has done so much of its reading, from any thread."""
        listener = self.listener
        if listener is not None:
            listener(work)

    def cancel(self) -> None:
        """Stop all work that was asked for until now. From any thread and any signal handler."""
        self.cancels += 1

    def take(self, holder: Holder) -> None:
        """Give the models to `holder`. Raises `BusyError`, `Cancelled` or `EngineError`.

        What the same thread left unfinished, or a thread that has ended, is given up for it.
        """
        if self.holder is holder:
            return
        with self._changed:
            while self._is_open:
                other = self.holder
                if other is None or other.is_left():
                    break
                if not holder.waits:
                    raise BusyError(
                        "another reply is under way in another thread; let it end, close it, or "
                        "ask with wait=True"
                    )
                if holder.is_set():
                    raise Cancelled("cancelled while another reply was under way")
                self._changed.wait(_POLL_SECONDS)
            self.check_open()
            self._holder = weakref.ref(holder)
        if other is not None:
            other.give_up(BusyError("a later reply has begun on the same models; this one ended"))

    def check_open(self) -> None:
        """Raise `EngineError` once it is closed."""
        if not self._is_open:
            raise EngineError(_CLOSED)

    def let_go(self, holder: Holder) -> None:
        """Take the models back from `holder`; nothing where it has them no more."""
        with self._changed:
            if self.holder in (holder, None):
                self._holder = None
                self._changed.notify_all()

    def close(self) -> None:
        """Stop the work under way, and give the models to nobody. A second call does nothing."""
        with self._changed:
            self._is_open = False
        holder = self.holder
        if holder is not None:
            holder.cancel()
            holder.give_up(EngineError(_CLOSED))


class Wish:
    """That some work stop: its own, or one of `Floor`'s, which are about all work.

    Apart from the work itself, so that what looks at it does not keep the work alive.
    """

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._cancels = floor.cancels
        self._said = Flag()

    def cancel(self) -> None:
        """Wish it."""
        self._said.set()

    def is_set(self) -> bool:
        """Whether it was wished."""
        floor = self._floor
        return self._said.is_set() or floor.cancels != self._cancels or floor.cancel_all.is_set()


class Holder:
    """Work on the models of a `Floor`, a step at a time, from its first step until it lets go.

    With `waits` it waits for other work to end instead of raising `BusyError`.
    """

    def __init__(self, floor: Floor, waits: bool = False) -> None:
        self.waits = waits
        self._floor = floor
        self._wish = Wish(floor)
        self._stepping = threading.Lock()
        self._thread: threading.Thread | None = None
        self._lost: EdgeproxyError | None = None

    def cancel(self) -> None:
        """Ask it to stop, also before it begins. From any thread and any signal handler."""
        self._wish.cancel()

    def is_set(self) -> bool:
        """Whether it is to stop."""
        return self._wish.is_set()

    def is_left(self) -> bool:
        """Whether nobody will go on with it: this thread left it, or its thread has ended."""
        thread = self._thread
        if self._stepping.locked() or thread is None:
            return False
        return thread is threading.current_thread() or not thread.is_alive()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Have the models for a step. Raises as `Floor.take` does, and once they were lost."""
        if not self._stepping.acquire(blocking=False):
            raise BusyError("this reply is being computed in another thread")
        try:
            if self._lost is not None:
                raise self._lost
            self._floor.take(self)
            self._thread = threading.current_thread()
            yield
        finally:
            self._stepping.release()

    def give_up(self, why: EdgeproxyError) -> None:
        """End it after the step under way; a later step raises `why`."""
        if self._thread is threading.current_thread() and self._stepping.locked():
            raise BusyError("the models are at work in this very thread; cancel it and let it end")
        with self._stepping:
            self._lost = why
            self._leave()
        self._floor.let_go(self)

    def let_go(self) -> None:
        """Be done with the models."""
        self._floor.let_go(self)

    def _leave(self) -> None:
        """Bring the models to where others can go on, while they are still this work's."""
