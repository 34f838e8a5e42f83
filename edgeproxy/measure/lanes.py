"""Questions for a server, several at once: each of its lanes answers one after another.

A lane is a thread that takes the next question, and a speaker with contexts of its own over the
same weights. So no more requests are open at once than there are lanes. A lane whose request the
server refuses as too many, after all its tries, leaves its question to the others and ends.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from edgeproxy.core.memory_free import Free
from edgeproxy.core.threads import processors
from edgeproxy.errors import OutOfMemoryError, RemoteBusyError
from edgeproxy.measure.systems import MOST_AT_ONCE, PROXY, USUAL_AT_ONCE, role_of
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.units import in_units

Asked = tuple[str, int]
"""A system, and the number of a question."""


class Lanes:
    """`count` threads that each `run` this answer all that is `asked`.

    `answer` is called with a speaker, a system and the number of a question, in any lane.
    """

    def __init__(
        self,
        session: Session,
        asked: Iterable[Asked],
        count: int,
        answer: Callable[[Speaker[Any], str, int], None],
    ) -> None:
        self._session = session
        self._left = deque(asked)
        self._answer = answer
        self._count = self._open = count
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._is_ending = False
        self._idle: dict[str, list[Speaker[Any]]] = {}
        for role in {role_of(system) for system, _ in self._left}:
            self._idle[role] = [session.speaker if role == PROXY else session.solo(role)]

    def run(self) -> None:
        """Answer until nothing is left. Raises what an answer raises; the other lanes end then.

        Each comes to the end of what it is at.
        """
        while (asked := self._next()) is not None:
            try:
                self._ask(*asked)
            except (RemoteBusyError, OutOfMemoryError):
                if not self._leave_to_others(asked):
                    raise
                return
            except BaseException:
                self.end()
                raise

    def end(self) -> None:
        """Have no lane begin with another question."""
        self._is_ending = True

    def _ask(self, system: str, number: int) -> None:
        role = role_of(system)
        speaker = self._speaker(role)
        try:
            self._answer(speaker, system, number)
        finally:
            with self._lock:
                self._idle[role].append(speaker)

    def _next(self) -> Asked | None:
        with self._lock:
            if self._left and not self._is_ending:
                return self._left.popleft()
            self._open -= 1
            return None

    def _leave_to_others(self, asked: Asked) -> bool:
        """Whether another lane will look for more, and finds this then."""
        with self._lock:
            if self._open == 1:
                self._is_ending = True
                return False
            self._open -= 1
            self._left.appendleft(asked)
            return True

    def _speaker(self, role: str) -> Speaker[Any]:
        """One that nobody else has; made where there is none, so at most one a lane and role."""
        with self._lock:
            if self._idle[role]:
                return self._idle[role].pop()
        with self._making:
            n_threads = max(1, processors() // self._count)
            return self._session.another(None if role == PROXY else role, n_threads)


def lanes_of(
    session: Session, asked: int | None, free: Free | None, *, needs_trio: bool
) -> int | None:
    """How many questions a session's server is asked at once; None where all models are here.

    `asked` is what a person wants; otherwise as many as the server says that it works on at once,
    or `USUAL_AT_ONCE`. Where a trio answers, each more takes contexts of its own: no more than fit
    into what is `free`. Raises `OutOfMemoryError` where more than these were asked for.
    """
    remote = session.remote
    if remote is None:
        return None
    wanted = asked or min(remote.server.offer.slots or USUAL_AT_ONCE, MOST_AT_ONCE)
    each = session.memory.another
    if free is None or not each or not needs_trio or wanted == 1:
        return wanted
    fitting = max(1, free.bytes // each)
    if asked is not None and asked > fitting:
        raise OutOfMemoryError(
            f"{asked} questions at once take {in_units((asked - 1) * each)} more memory, and "
            f"{free.limit} {in_units(free.bytes)}: ask fewer at once (--parallel {fitting}), or "
            "try it anyway (--force)"
        )
    return min(wanted, fitting)
