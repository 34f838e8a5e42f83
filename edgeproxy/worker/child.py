"""The worker: a process that loads a trio and answers what its host asks, until the host ends.

Its first thread reads what the host sends and does nothing else, so that the end of the host, and a
wish to stop, are heard while models evaluate. Each speaker has a thread of its own.

May touch: the standard streams, the process itself, and whatever a session does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any

from edgeproxy import __version__
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.worker.frames import VERSION, packed, read, write
from edgeproxy.worker.process import ENDS_BY_KERNEL
from edgeproxy.worker.serving import Serving

BEAT_SECONDS = 0.25
"""How often it gives a sign of life while it works, and looks whether its host is there."""

OTHER_EDGEPROXY = 3
"""The exit code of a worker that is of another version than its host."""

FAULT = 70
"""The exit code after a fault of this package; what went wrong is on standard error."""

Load = Callable[..., Session]


def main(loader: Load = load) -> None:
    """Serve the host on the standard streams; `loader` loads what is asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, answers = _own(0, "rb"), _own(1, "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)  # whatever a library prints is no answer
    threading.excepthook = _die
    lock = threading.Lock()

    def send(message: Any) -> None:
        data = packed(message)
        try:
            with lock:
                write(answers, data)
        except OSError:
            os._exit(0)  # the host has ended

    serving = Serving(send, loader)
    messages = read(requests)
    hello = next(messages, None)
    if hello is None:
        os._exit(0)
    _greet(hello)
    threading.Thread(target=_beat, args=(serving, send, hello["host"]), daemon=True).start()
    for message in messages:
        serving.take(message)
    os._exit(0)  # whatever is under way: nobody waits for it any more


def _own(descriptor: int, mode: str) -> IO[bytes]:
    """A standard stream under another number, which nothing else writes to or reads from."""
    return open(os.dup(descriptor), mode, buffering=0)  # noqa: PTH123 - for good


def _greet(hello: Mapping[str, Any]) -> None:
    if (hello["version"], hello["package"]) != (VERSION, __version__):
        told = f"this is edgeproxy {__version__}, and its host is edgeproxy {hello['package']}\n"
        sys.stderr.write(told)
        sys.stderr.flush()
        os._exit(OTHER_EDGEPROXY)
    if hello["lifeline"] is not None and ENDS_BY_KERNEL:
        _end_with(hello["lifeline"])


def _end_with(lifeline: int) -> None:
    """Have the system end this process when the last one that can write to this pipe has ended.

    Nothing is ever written to it, so the one thing that can be signalled is its end. Where that has
    come already, standard input has ended too.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def _beat(serving: Serving, send: Callable[[Any], None], host: int) -> None:
    while True:
        time.sleep(BEAT_SECONDS)
        if serving.is_at_work:
            send(["beat", serving.looks, serving.taken])
        if sys.platform != "win32" and os.getppid() != host:
            os._exit(0)  # a fork of the host may still hold the pipe


def _die(fault: threading.ExceptHookArgs) -> None:
    with contextlib.suppress(OSError):
        traceback.print_exception(fault.exc_value)
        sys.stderr.flush()
    os._exit(FAULT)
