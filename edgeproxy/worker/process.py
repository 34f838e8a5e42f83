"""The process of a worker: how it is started, what comes from it, and how it has ended.

It ends with its host, however that ends. Its standard input is a pipe that then closes, from
whichever thread it was started, and the worker reads from it all the time. On Linux there is a
second pipe, for whose end the system itself ends the worker, also one that is stuck in the middle
of something. (PR_SET_PDEATHSIG would strike when the thread ends that started it.) On Windows a job
object does so.

May touch: a child process, and pipes to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO, Any, NamedTuple

from edgeproxy.children import how_ended, own_group, signal_of
from edgeproxy.worker import windows_job
from edgeproxy.worker.frames import NoMessageError, packed, read, write

ENDS_BY_KERNEL = sys.platform == "linux"
"""Whether the system ends a worker for the end of a pipe; see `child`."""

_KEPT_LINES = 50
_END_SECONDS = 2.0
"""So long a worker that has closed its pipe may take to end."""

_DRAIN_SECONDS = 0.3
"""So long the last of what it wrote is waited for: what it started may still hold that pipe."""


class Ending(NamedTuple):
    """How a process has ended: its exit code as `Popen` has it, and the last lines it wrote."""

    code: int
    said: tuple[str, ...] = ()

    @property
    def signal(self) -> str | None:
        """The name of the signal that ended it; None for none."""
        return signal_of(self.code)

    @property
    def in_words(self) -> str:
        """To follow the process's name in a sentence."""
        return how_ended(self.code)


class Process:
    """One process, and the messages to and from it.

    `heard` gets each message that comes from it, and `ended` is called once, with how it has
    ended; both in a thread of its own. Raises `OSError` where it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: str | None,
        heard: Callable[[Any], None],
        ended: Callable[[Ending], None],
    ) -> None:
        self._heard, self._ended = heard, ended
        self._owner = os.getpid()
        self._lines: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._to_send: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.lifeline: int | None = None
        """The descriptor in the worker of the pipe that ends with this process; None without."""
        held, given = os.pipe() if ENDS_BY_KERNEL else (None, None)
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=folder,
                pass_fds=() if held is None else (held,),
                **own_group(),
            )
        except BaseException:
            if given is not None:
                os.close(given)
            raise
        finally:
            if held is not None:
                os.close(held)
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        self._pipes: list[IO[bytes]] = [stdin, stdout, stderr]
        if given is not None:
            self.lifeline = held
            self._pipes.append(open(given, "wb", buffering=0))  # noqa: SIM115, PTH123 - as long as it
        self._job = windows_job.holding(self._process) if sys.platform == "win32" else None
        _all.add(self)
        self._threads = [
            threading.Thread(target=_send, args=(stdin, self._to_send), daemon=True),
            threading.Thread(target=_keep_lines, args=(stderr, self._lines), daemon=True),
        ]
        self._listener = threading.Thread(target=self._listen, args=(stdout,), daemon=True)
        self._start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def is_ours(self) -> bool:
        """Whether this process has started it: a fork has its pipes, and may not use them."""
        return self._owner == os.getpid()

    def send(self, message: Any) -> None:
        """Send a message, from any thread; nothing where it has ended. Never waits.

        Raises `ValueError` for a message that is too long.
        """
        self._to_send.put(packed(message))

    def kill(self) -> None:
        """End it at once, from any thread; nothing where it has ended, or is not this process's."""
        if self.is_ours:
            self._process.kill()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it has ended and `ended` was called, at most so long."""
        if self.is_ours and threading.current_thread() is not self._listener:
            self._listener.join(seconds)

    def let_go(self) -> None:
        """Close this process's ends of the pipes, in a fork of it: they keep the worker alive."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.close()

    def _start(self) -> None:
        """Start the threads. Raises `OSError` where the system starts none, and leaves nothing."""
        try:
            for thread in (*self._threads, self._listener):
                thread.start()
        except RuntimeError:
            self._process.kill()
            self._process.wait()
            self._clean_up([thread for thread in self._threads if thread.ident is not None])
            raise OSError(errno.EAGAIN, "the system starts no more threads") from None

    def _clean_up(self, threads: Sequence[threading.Thread]) -> None:
        """Be done with the process, which has ended, and with these threads."""
        self._to_send.put(None)
        for thread in threads:
            thread.join(_DRAIN_SECONDS)
        _all.discard(self)
        self.let_go()
        if self._job is not None:
            self._job.close()

    def _listen(self, stdout: IO[bytes]) -> None:
        # Damage, or a pipe that breaks, is no message: it is ended like one that fell silent.
        with contextlib.suppress(OSError, NoMessageError):
            for message in read(stdout):
                self._heard(message)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._clean_up(self._threads)
        lines = b"".join([*self._lines]).decode(errors="replace").splitlines()
        self._ended(Ending(self._process.returncode, tuple(lines[-_KEPT_LINES:])))


def _send(stdin: IO[bytes], to_send: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(OSError, ValueError):  # it has ended, which the listener will tell
        while (data := to_send.get()) is not None:
            write(stdin, data)


def _keep_lines(stderr: IO[bytes], lines: deque[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):  # it was closed meanwhile
        while data := stderr.read(1 << 12):
            lines.append(data)


_all: weakref.WeakSet[Process] = weakref.WeakSet()


def _after_fork() -> None:
    for process in list(_all):
        process.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
