"""Keeps one worker for a session: starts it, loads the trio in it, and again after its end.

May touch: a child process.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from edgeproxy import __version__, children
from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.errors import Cancelled, EngineError, WorkerError
from edgeproxy.files import reason
from edgeproxy.session.model_files import Progress
from edgeproxy.worker.calls import PATIENCE, Call, Patience, Worker
from edgeproxy.worker.facts import Facts
from edgeproxy.worker.frames import VERSION
from edgeproxy.worker.process import Process

MODULE = "edgeproxy.worker.child"

_POLL = 0.05
_CLOSE_SECONDS = 5.0


class Keeper:
    """The worker of a session that is loaded with `options`, the arguments of `load` in it.

    `progress` hears of each loading. `command` is what starts a worker. Any number of threads may
    use it.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        progress: Progress | None = None,
        *,
        command: Callable[[], Sequence[str]] | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        self._options = dict(options)
        self._progress = progress
        self._command = command or _command
        self._patience = patience
        self._folder = os.getcwd()  # noqa: PTH109 - as the trio's paths are meant
        self._owner = os.getpid()
        self._one_at_a_time = threading.Lock()
        self._is_closed = False
        self._worker: Worker | None = None
        self._end: Callable[[], object] = lambda: None
        self.starts = 0
        """How many workers there have been."""

    @property
    def pid(self) -> int | None:
        """The number of the worker's process; None where there is none."""
        worker = self._worker
        return worker.process.pid if worker is not None and worker.is_alive else None

    def ready(self, cancel: Cancel) -> Worker:
        """The worker, with the trio loaded. Raises as `load` does, and `WorkerError`."""
        self._check()
        worker = self._worker
        if worker is not None and worker.is_alive:
            return worker
        with self._alone(cancel):
            self._check()
            if self._worker is None or not self._worker.is_alive:
                self._load(cancel)
            assert self._worker is not None
            return self._worker

    def load(self, cancel: Cancel) -> Facts:
        """Load the trio in a fresh worker. Raises as `ready` does."""
        with self._alone(cancel):
            return self._load(cancel)

    def open(self, do: str, arguments: dict[str, Any], doing: str, cancel: Cancel) -> Call:
        """Ask the worker something, a fresh one where it has ended. Raises as `ready` does."""
        return self.ready(cancel).open(do, arguments, doing)

    def ask(
        self,
        do: str,
        arguments: dict[str, Any],
        doing: str,
        cancel: Cancel | None = None,
        told: Callable[..., object] | None = None,
    ) -> Any:
        """What the worker answers. Raises what it raises, and as `ready` does.

        Where waiting is interrupted, as by Ctrl-C, the worker stops too.
        """
        call = self.open(do, arguments, doing, cancel or Flag())
        try:
            return call.result(cancel, told)
        finally:
            if not call.is_over:
                call.leave()

    def close(self) -> None:
        """End the worker; its memory is free when this returns. A second call does nothing."""
        self._is_closed = True
        if self._owner != os.getpid():
            return
        self._end()
        worker = self._worker
        if worker is not None:
            worker.process.wait(_CLOSE_SECONDS)

    def _load(self, cancel: Cancel) -> Facts:
        command = self._command()
        if not command:
            raise WorkerError(
                "this program has no Python to run the models in a process of their own: call "
                "edgeproxy.worker.main() where the program begins, or set "
                f"{children.PYTHON} to a Python that has edgeproxy"
            )
        try:
            worker = Worker(command, self._folder, self._patience)
        except OSError as error:
            raise WorkerError(
                f"the process for the models cannot be started ({reason(error)}); look whether "
                f"{command[0]} and the folder {self._folder} are there"
            ) from None
        self._end()  # of the one before, which has ended
        self._worker, self.starts = worker, self.starts + 1
        self._end = weakref.finalize(self, _kill, worker.process)
        if self._is_closed:  # in another thread, meanwhile
            self._end()
            self._check()
        hello = {"version": VERSION, "package": __version__, "lifeline": worker.process.lifeline}
        try:
            worker.process.send({"do": "hello", **hello, "host": os.getpid()})
            call = worker.open("load", {"options": self._options}, "loaded the models")
            found = call.result(cancel, self._progress)
            if not isinstance(found, Facts):
                raise WorkerError(
                    f"what runs in the process for the models is not edgeproxy {__version__}"
                )
        except BaseException:
            worker.kill("was not loaded")
            raise
        return found

    def _check(self) -> None:
        if self._owner != os.getpid():
            raise EngineError(
                "an isolated session cannot be used in a forked process; start that process by "
                "spawn, or load the trio in it"
            )
        if self._is_closed:
            raise EngineError("the session has been closed; load the trio again")

    @contextmanager
    def _alone(self, cancel: Cancel) -> Iterator[None]:
        """While no other thread starts a worker. Raises `Cancelled`."""
        while not self._one_at_a_time.acquire(timeout=_POLL):
            if cancel.is_set():
                raise Cancelled("cancelled while another thread loads the trio again")
        try:
            yield
        finally:
            self._one_at_a_time.release()


def _command() -> Sequence[str]:
    return children.command(MODULE)


def _kill(process: Process) -> None:
    process.kill()
    process.wait(_CLOSE_SECONDS)
