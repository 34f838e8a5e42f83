"""How many threads an evaluation gets, and whether the pair evaluates at once: chosen by the clock.

No setting is best everywhere. llama.cpp's threads wait for each other after every operation, so
one busy neighbour halves the speed of two threads on two processors, where one thread would lose
nothing. So what is in use is timed, others are tried now and then, and the fastest one stays.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from statistics import median
from typing import Generic, TypeVar

from edgeproxy.core.control_groups import cpu_quota
from edgeproxy.errors import UsageError

Option = TypeVar("Option")
_First = TypeVar("_First")
_Second = TypeVar("_Second")

_KNOWN = 2
"""So many times must be known of what is in use before another is tried beside it."""
_KEPT = 7
_TRIES = 3
_HOPELESS, _BETTER = 1.3, 0.96
"""Shares of the known time: a trial is ended above the first, and won below the second."""
_CHANGED, _IN_A_ROW = 1.25, 3
_SUDDEN, _AT_ONCE = 4.0, 0.5
"""One time above the first share is enough to try another; a try below the second, to take it."""
_WORTH = 20.0
"""What a lost trial took must not be more than one part in so many of the time."""
_ASKED_AGAIN = 0.05
"""Seconds after which work that is to end is told so again: it may not have begun before."""
_SOONEST, _AGAIN, _BACK = 0.25, 1.0, 4.0
"""Seconds between two trials: while it climbs, when times seem to change, and of what was left."""


class Choice(Generic[Option]):
    """Which of `options` is the fastest at the moment.

    Neighbours in `options` are alike: the ones beside that in use are tried, `rarest` seconds apart
    when nothing changes, and at once when evaluations take longer or shorter than they did. Times
    are compared only of the same work.
    """

    def __init__(
        self,
        options: Sequence[Option],
        rarest: float = 15.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._options = options
        self._place = 0
        self._rarest = rarest
        self._clock = clock
        self._times: defaultdict[Hashable, deque[float]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._trial: int | None = None
        self._tried: list[tuple[Hashable, float, float]] = []  # work, seconds, share of the known
        self._lately: deque[tuple[Hashable, float]] = deque(maxlen=_IN_A_ROW)
        self._direction = 1
        self._pause = _SOONEST
        self._begun = self._due = clock()
        self._changed = 0
        self._is_sudden = False
        self.on_change: Callable[[], None] = lambda: None
        """Called when an earlier option, one of more threads, has turned out faster."""

    @property
    def best(self) -> Option:
        """The option in use."""
        return self._options[self._place]

    def pick(self, work: Hashable) -> Option:
        """The option for the next evaluation, which does `work`."""
        if len(self._options) == 1 or len(self._times[work]) < _KNOWN:
            return self.best
        if self._trial is None and self._clock() >= self._due:
            self._begin()
        return self.best if self._trial is None else self._options[self._trial]

    def took(self, option: Option, work: Hashable, seconds: float) -> None:
        """Note that `work` has taken `seconds` with `option`."""
        if len(self._options) == 1:
            return
        known = self._times[work]
        if option == self.best:
            share = seconds / median(known) if len(known) >= _KNOWN else 1.0
            known.append(seconds)
            self._lately.append((work, seconds))
            if share > _SUDDEN:
                self._hurry(share)
            else:
                self._watch(share)
        elif self._trial is not None and option == self._options[self._trial]:
            share = seconds / median(known)
            self._tried.append((work, seconds, share))
            is_far = share > _HOPELESS or (self._is_sudden and share < _AT_ONCE)
            if is_far or len(self._tried) == _TRIES:
                self._judge()

    def look_again(self) -> None:
        """Try the neighbours soon: something has changed."""
        self._pause = min(self._pause, _AGAIN)
        self._due = min(self._due, self._begun + _AGAIN)

    def _watch(self, share: float) -> None:
        """Look again when three times running what is in use took another time than it did."""
        turn = 1 if share > _CHANGED else -1 if share < 1 / _CHANGED else 0
        self._changed = self._changed + turn if turn * self._changed > 0 else turn
        if abs(self._changed) >= _IN_A_ROW:
            if self._trial is None:
                self._direction = turn
            # What was known is no measure any more.
            self._know(self._lately)
            self._changed = 0
            # Where times always vary, this must not make trials the rule.
            self._due = min(self._due, self._begun + min(self._pause, _AGAIN))

    def _hurry(self, share: float) -> None:
        """Try another at the next evaluation: what is in use takes `share` times what it did.

        With a busy neighbour two threads may take twenty times as long, so there is no time to see
        it three times. After a mere hiccup the old option comes back with its next trial.
        """
        for times in self._times.values():
            slow = median(times) * share
            times.clear()
            times.extend([slow] * _KNOWN)
        self._trial = None
        self._is_sudden = True
        self._direction = 1
        self._changed = 0
        self._due = self._clock()

    def _know(self, times: Iterable[tuple[Hashable, float]]) -> None:
        """Forget all that was known but `times`, of what is in use."""
        self._times.clear()
        for work, seconds in times:
            self._times[work].append(seconds)

    def _begin(self) -> None:
        places = range(len(self._options))
        if self._place + self._direction not in places:
            self._direction = -self._direction
        self._trial = self._place + self._direction
        self._tried = []
        self._begun = self._clock()

    def _judge(self) -> None:
        assert self._trial is not None
        if median(share for *_, share in self._tried) < _BETTER:
            self._place = self._trial
            self._know([(work, seconds) for work, seconds, _ in self._tried])
            goes_on = 0 <= self._place + self._direction < len(self._options)
            back = _BACK * (2 if self._is_sudden else 1)
            self._pause = _SOONEST if goes_on else min(back, self._rarest)
            # Who finds that fewer are enough says nothing of whether others could have more.
            if self._direction < 0:
                self.on_change()
        else:
            self._direction = -self._direction
            is_hopeless = self._tried[-1][2] > _HOPELESS
            self._pause = min(self._pause * (4 if is_hopeless else 2), self._rarest)
            self._pause = max(self._pause, _WORTH * sum(seconds for _, seconds, _ in self._tried))
        self._trial = None
        self._is_sudden = False
        self._changed = 0
        self._due = self._clock() + self._pause


class Threads:
    """How many threads evaluations get: at most `most`, or exactly `most` where it `is_fixed`.

    Contexts of like models may share one. Evaluations of more than `WATCHED` tokens are not timed:
    a trial of theirs would take seconds. Raises `UsageError` for an impossible `most`.
    """

    WATCHED = 32

    def __init__(
        self,
        most: int,
        *,
        is_fixed: bool = False,
        rarest: float = 15.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not 1 <= most <= 512:
            raise UsageError(f"threads must be between 1 and 512, not {most}")
        self.choice = Choice([most] if is_fixed else counts(most), rarest, clock)
        self.is_halved = False
        """While two contexts that share this one evaluate at once: half of the threads each."""

    def pick(self, work: Hashable, n_tokens: int) -> int:
        """How many threads the next evaluation gets; see `Choice.pick`."""
        if self.is_halved:
            return max(1, self.choice.best // 2)
        return self.choice.pick(work) if n_tokens <= self.WATCHED else self.choice.best

    def took(self, count: int, work: Hashable, n_tokens: int, seconds: float) -> None:
        """Note what the evaluation took; see `Choice.took`."""
        if not self.is_halved and n_tokens <= self.WATCHED:
            self.choice.took(count, work, seconds)


def counts(most: int) -> list[int]:
    """The thread counts that are worth a trial, the largest first."""
    shares = (most, most - 1, most * 3 // 4, most // 2, most // 3, most // 4, most // 8, 1)
    return sorted({count for count in shares if count >= 1}, reverse=True)


class Beside:
    """Two evaluations at once, in a thread of its own the second, where that is the faster way."""

    def __init__(
        self, threads: Threads, rarest: float = 15.0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._threads = threads
        self._clock = clock
        self.choice = Choice([False, True], rarest, clock)
        self._pool: ThreadPoolExecutor | None = None

    def run(
        self, work: Hashable, first: Callable[[], _First], second: Callable[[], _Second]
    ) -> tuple[_First, _Second]:
        """What both return. Both have ended when this returns or raises, Ctrl-C included."""
        at_once = self.choice.pick(work)
        started = self._clock()
        found = self._at_once(first, second) if at_once else (first(), second())
        self.choice.took(at_once, work, self._clock() - started)
        return found

    def _at_once(
        self, first: Callable[[], _First], second: Callable[[], _Second]
    ) -> tuple[_First, _Second]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "edgeproxy-anti-expert")
        self._threads.is_halved = True
        try:
            return at_once(self._pool, first, second)
        finally:
            self._threads.is_halved = False


def at_once(
    pool: ThreadPoolExecutor,
    first: Callable[[], _First],
    second: Callable[[], _Second],
    stop: Callable[[], None] | None = None,
) -> tuple[_First, _Second]:
    """What both return, `second` having run in `pool` meanwhile.

    Both have ended when this returns or raises, Ctrl-C included: a model must be at rest before
    anyone can put it back. `stop` ends `second` once nobody wants what it returns.
    """
    later: Future[_Second] | None = None
    interrupt: KeyboardInterrupt | None = None
    has_found = False
    try:
        later = pool.submit(second)
        found = first()
        has_found = True
    finally:
        while later is not None and not later.done():
            try:
                if stop is None or (has_found and interrupt is None):
                    wait([later])
                else:
                    stop()
                    wait([later], _ASKED_AGAIN)
            except KeyboardInterrupt as error:
                interrupt = error
    try:
        if interrupt is not None:
            raise interrupt
        return found, later.result()
    finally:
        del interrupt, later  # an error in them refers to this frame, which keeps the models


class Crew:
    """The threads of a trio: the base's, the pair's, and the pair's evaluations at once.

    For models of so many parameters; all have exactly `n_threads` where that is given. What one
    finds out makes the others look again: most of what changes is what else the machine does.
    """

    def __init__(self, base_params: int, pair_params: int, n_threads: int | None = None) -> None:
        self.beside: Beside | None = None
        self._n_threads = n_threads
        if n_threads is not None:
            self.base = self.pair = Threads(n_threads, is_fixed=True)
            return
        # A trial of the large model costs as much as many tokens; those of the small ones cost
        # little, and tell when the machine is quiet again.
        self.base = Threads(default_threads(base_params), rarest=120.0)
        self.pair = Threads(default_threads(pair_params), rarest=1.5)
        # For the smallest models handing over takes longer than the evaluation.
        if self.pair.choice.best > 1:
            self.beside = Beside(self.pair)
        self.base.choice.on_change = self.pair.choice.look_again
        self.pair.choice.on_change = self.base.choice.look_again

    def alone(self, n_params: int) -> Threads:
        """The threads of a model that answers alone: chosen as the trio's are, by its own times."""
        if self._n_threads is not None:
            return Threads(self._n_threads, is_fixed=True)
        return Threads(default_threads(n_params))


def default_threads(n_params: int) -> int:
    """How many threads a model of `n_params` parameters gets on this machine to begin with.

    Below some ten million parameters the threads' meeting costs more than a second one saves.
    """
    return 1 if n_params < 20_000_000 else min(processors(), 16)


def processors() -> int:
    """How many processors this process may keep busy at once.

    Fewer than the machine has where a mask or a control group (a container's limit) says so: with
    more threads than a group allows time for, all of them stand still until its next period.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cpu_quota()
    return count if quota is None else max(1, min(count, int(quota)))
