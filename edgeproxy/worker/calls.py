"""What a host asks of a worker, and waits for: answers, the worker's end, and that it hangs."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from edgeproxy.children import last_words
from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.errors import UsageError, WorkerError
from edgeproxy.worker.faults import RAISED, error_of
from edgeproxy.worker.process import Ending, Process
from edgeproxy.worker.values import NoValueError, decoded, encoded

_POLL = 0.02
"""Seconds between two looks whether to cancel, and whether the worker is alive."""

_WHERE = "the process that the models run in"
_REMEDY = (
    "ask again, and a fresh one starts; if that ends at the same request, change the request or "
    "the model file"
)


class Patience(NamedTuple):
    """How long a worker that has to answer may be silent, in seconds, before it counts as hung.

    - `silent`: without any sign, of which it gives four a second while it works; or without taking
      what it was sent.
    - `idle`: while it gives signs, but neither answers nor looks whether to stop, as llama.cpp does
      at each operation of a prompt.
    - `heedless`: going on after it was cancelled.
    - `start`: from its start to its first sign; a busy machine or a slow disk takes long.
    """

    silent: float = 15.0
    idle: float = 120.0
    heedless: float = 10.0
    start: float = 60.0


PATIENCE = Patience()


class Worker:
    """A worker, while its process lives. Raises `OSError` where that cannot be started."""

    def __init__(
        self, command: Sequence[str], folder: str | None, patience: Patience = PATIENCE
    ) -> None:
        self.patience = patience
        self.heard = 0
        """How many messages have come."""
        self.looks = 0
        """How often it has looked whether to stop."""
        self.sent = self.taken = 0
        """How many messages it was sent, and how many of them it has taken, as it says itself."""
        self.ending: Ending | None = None
        self.why = ""
        """Why it was ended, where this process has done so."""
        self._calls: dict[int, Call] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.process = Process(command, folder, self._hear, self._end)

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self.ending is None and not self.why

    def open(self, do: str, arguments: dict[str, Any], doing: str) -> Call:
        """Ask it something; what comes is read from the call.

        `doing` says for an error what it was at. Raises `UsageError` for what cannot be sent.
        """
        call = Call(self, next(self._numbers), doing)
        try:
            data = {name: encoded(value) for name, value in arguments.items()}
        except NoValueError as error:
            raise UsageError(f"this cannot be given to an isolated session: {error}") from None
        message = {"do": do, "id": call.number, **data}
        with self._lock:
            if self.ending is None:
                self._calls[call.number] = call
                self._send(message)
                return call
        call.put(["ended"])
        return call

    def tell(self, message: dict[str, Any]) -> None:
        """Send it a message that it does not answer."""
        with self._lock:
            self._send(message)

    def _send(self, message: dict[str, Any]) -> None:
        self.sent += 1
        self.process.send(message)

    def close_call(self, call: Call) -> None:
        """Forget a call that nothing more will come for."""
        with self._lock:
            self._calls.pop(call.number, None)

    def kill(self, why: str) -> None:
        """End it, for this reason."""
        self.why = self.why or why
        self.process.kill()

    def error(self, doing: str) -> WorkerError:
        """What has become of it."""
        ending = self.ending
        if self.why:
            return WorkerError(f"{_WHERE} {self.why} while it {doing}, and was ended; {_REMEDY}")
        if ending is None:
            return WorkerError(f"{_WHERE} is out of reach; {_REMEDY}")
        how = ending.in_words
        if ending.signal == "SIGKILL":
            how += ", as the system does where memory ends,"
        words = last_words(ending.said)
        said = f" ({words})" if words else ""
        return WorkerError(
            f"{_WHERE} {how} while it {doing}{said}; {_REMEDY}", ending.signal, ending.said
        )

    def _hear(self, message: Any) -> None:
        self.heard += 1
        match message:
            case ["beat", int(looks), int(taken)]:
                self.looks, self.taken = looks, taken
            case [str(), int(number), *_]:
                with self._lock:
                    call = self._calls.get(number)
                if call is not None:
                    call.put(message)

    def _end(self, ending: Ending) -> None:
        with self._lock:
            self.ending = ending
            calls, self._calls = [*self._calls.values()], {}
        for call in calls:
            call.put(["ended"])


class Call:
    """Something that a worker was asked. One thread at a time may wait for what comes."""

    def __init__(self, worker: Worker, number: int, doing: str) -> None:
        self.worker = worker
        self.number = number
        self.is_over = False
        self._doing = doing
        self._came: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        self._cancelled = Flag()

    def put(self, message: list[Any]) -> None:
        """Take what has come for it."""
        self._came.put(message)

    def cancel(self) -> None:
        """Ask the worker to stop it."""
        if not self._cancelled.is_set() and not self.is_over:
            self._cancelled.set()
            self.worker.tell({"do": "cancel", "id": self.number})

    def more(self, count: int) -> None:
        """Allow so many more pieces."""
        self.worker.tell({"do": "more", "id": self.number, "count": count})

    def result(
        self, cancel: Cancel | None = None, told: Callable[..., object] | None = None
    ) -> Any:
        """What it answers in the end; `told` hears what it tells before. Raises what it raises."""
        while True:
            what, *rest = self.next(cancel)
            if what == "done":
                return rest[0]
            if what == "told" and told is not None:
                told(*rest)

    def next(self, cancel: Cancel | None = None) -> list[Any]:
        """What comes next: "piece", "told" or "done", and what was said; it may be cancelled.

        Raises what the worker raised, `WorkerError` where it ended or hangs.
        """
        what, *rest = self._wait(cancel)
        if what == "ended":
            self.is_over = True
            raise self.worker.error(self._doing)
        if what in ("done", "failed"):
            self.is_over = True
            self.worker.close_call(self)
        if what == "failed":
            raise self._made(error_of, rest[1])
        return [what, *(self._made(decoded, each) for each in rest[1:])]

    def leave(self) -> None:
        """Have no more of it: it is cancelled, and has ended in the worker when this returns."""
        with contextlib.suppress(*RAISED):  # whoever leaves wants no answer
            self.cancel()
            while not self.is_over:
                self.next()

    def _made(self, make: Callable[[Any], Any], said: Any) -> Any:
        """What `make` makes of what the worker said. Raises `WorkerError` for nonsense."""
        try:
            return make(said)
        except (NoValueError, TypeError, ValueError, KeyError, IndexError):
            raise self.nonsense() from None

    def nonsense(self) -> WorkerError:
        """End the worker, which said what it cannot have meant; the error for that."""
        self.worker.kill("answered with nonsense")
        return self.worker.error(self._doing)

    def _wait(self, cancel: Cancel | None) -> list[Any]:
        worker = self.worker
        silent = deaf = idle = heedless = 0
        signs = worker.heard, worker.looks, worker.taken
        while True:
            try:
                return self._came.get(timeout=_POLL)
            except queue.Empty:
                pass
            if cancel is not None and cancel.is_set():
                self.cancel()
            # Looks are counted, and not seconds: a machine that was asleep has waited for nobody.
            heard, looks, taken = worker.heard, worker.looks, worker.taken
            silent = silent + 1 if heard == signs[0] else 0
            deaf = deaf + 1 if taken == signs[2] and taken < worker.sent else 0
            idle = idle + 1 if looks == signs[1] else 0
            heedless = heedless + 1 if self._cancelled.is_set() else 0
            signs = heard, looks, taken
            patience = worker.patience
            silence = patience.silent if heard else max(patience.silent, patience.start)
            for looked, seconds, why in (
                (silent, silence, "gave no sign of life"),
                (deaf, silence, "did not take what it was sent"),
                (idle, max(patience.idle, silence), "did not get on"),
                (heedless, patience.heedless, "did not stop when it was cancelled"),
            ):
                if looked * _POLL >= seconds and worker.is_alive:
                    worker.kill(f"{why} for {seconds:g} seconds")
