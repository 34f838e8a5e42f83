"""Finds the setting that serves a trio's user best, with as few answers as it takes.

The coarse settings race (see `racing`); once those that are left have answered `COARSE` questions,
the neighbours of the best proxy join and catch up, and so on until the best has no new neighbours.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from edgeproxy.decode.steering import Alone
from edgeproxy.errors import Cancelled, EdgeproxyError
from edgeproxy.measure import settings
from edgeproxy.measure.racing import BLOCK, FIRST_LOOK, Race, Runner
from edgeproxy.measure.settings import Setting

PLANNED_LEVEL, FOUND_LEVEL = 0.3, 0.05
"""The p below which a costlier setting is preferred: for base and paper, which are one comparison
each, and for the many others, among which chance easily finds a winner."""

PLANNED_HOPE, FOUND_HOPE = 0.02, 0.1
"""Who is less likely than this to be preferred in the end is dropped: expert, base and paper late,
because the result must not be worse than they are; the many others early."""

COARSE = 40
"""Answers of each coarse setting that is left, before finer ones are tried."""

ENOUGH = 60
"""Answers of the chosen setting, however clear it was before: the verdict says how good it is."""

Ending = Literal["decided", "time", "interrupted"]


class Answer(NamedTuple):
    """A reply, and how long it took where that was measured."""

    text: str
    seconds: float | None = None


Known = Mapping[tuple[str, int], Answer]
"""Answers that are there already: of a setting, by its name, to a question, counted from 0."""

Ask = Callable[[Setting, int], Answer]
"""Has a setting answer a question. Raises `Cancelled` where it was stopped."""

NONE: Known = MappingProxyType({})


@dataclass(frozen=True)
class Tried:
    """What became of a setting: which of its questions it answered right, in the race's order.

    `seconds` is the median of its replies; None where none was measured.
    """

    setting: Setting
    right: tuple[bool, ...]
    seconds: float | None
    is_dropped: bool

    @property
    def name(self) -> str:
        """The setting's name."""
        return settings.name(self.setting)


@dataclass(frozen=True)
class Fit:
    """What was found: the setting to use, all that were tried, and why it ended."""

    chosen: Tried
    tried: tuple[Tried, ...]
    questions: int
    ending: Ending

    @property
    def answers(self) -> int:
        """How many answers it took."""
        return sum(len(each.right) for each in self.tried)

    @property
    def is_blank(self) -> bool:
        """Whether nobody was right even once: there was nothing to choose by."""
        return not any(any(each.right) for each in self.tried)

    def alone(self, role: Alone) -> Tried | None:
        """What became of a model alone, reading or not: the one that has stayed longest.

        None where it was never asked.
        """
        found = [t for t in self.tried if t.setting.alone == role and t.right]
        return max(found, key=lambda t: (len(t.right), sum(t.right)), default=None)

    @property
    def best_proxy(self) -> Tried | None:
        """The proxy that has stayed longest, of these the most right; None where there is none."""
        proxies = [t for t in self.tried if settings.is_proxy(t.setting) and t.right]
        return max(proxies, key=lambda t: (len(t.right), sum(t.right)), default=None)


class Progress(NamedTuple):
    """How far the race is: answers so far and at most, who is in, seconds left at most."""

    answers: int
    at_most: int
    racing: tuple[tuple[str, float], ...]
    seconds_left: float | None


class Fitting:
    """One search for a setting. `order` is that of the questions, by their numbers.

    `also` are settings that are tried from the beginning, such as the trio's own; with documents,
    who reads them is tried too.
    `is_right` judges a reply to a question. `heard` is called with each new answer: the setting's
    name, the question's number, the answer and whether it is right. After `seconds` it ends with
    what is known by then.
    """

    def __init__(
        self,
        ask: Ask,
        is_right: Callable[[int, str], bool],
        order: Sequence[int],
        *,
        also: Sequence[Setting] = (),
        with_documents: bool = False,
        known: Known = NONE,
        heard: Callable[[str, int, Answer, bool], None] = lambda *_: None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._also = also
        self._with_documents = with_documents
        self._is_right = is_right
        self._order = order
        self._known = known
        self._heard = heard
        self._seconds = seconds
        self._clock = clock
        self._race: Race[Setting] = Race(len(order))
        self._took: dict[Setting, list[float]] = {}
        self._refined: set[Setting] = set()

    def run(self, progress: Callable[[Progress], None] = lambda _: None) -> Fit:
        """Race until it is decided, or time is up, or an answer was cancelled.

        Where that was before anything can be said it raises `Cancelled`, or `EdgeproxyError` for
        want of time.
        """
        deadline = None if self._seconds is None else self._clock() + self._seconds
        self._enter([*settings.coarse(with_documents=self._with_documents), *self._also])
        ending: Ending = "decided"
        try:
            while (runner := self._next()) is not None and ending == "decided":
                ending = self._block(runner, BLOCK, deadline, progress)
                self._race.look()
            expert = self._best_expert()
            behind = len(self._race.leader.right) - len(expert.right)
            if ending == "decided" and behind > 0:  # what the verdict compares with
                ending = self._block(expert, behind, deadline, progress)
        except Cancelled:
            ending = "interrupted"
        if len(self._race.leader.right) < min(FIRST_LOOK, len(self._order)):
            if ending == "interrupted":
                raise Cancelled("fit was interrupted before anything could be said")
            raise EdgeproxyError(
                "fit ran out of time before anything could be said; give it longer"
            )
        return self._found(ending)

    def _best_expert(self) -> Runner[Setting]:
        """The expert alone, reading or not, that has stayed longest and was right most often."""
        experts = (r for r in self._race.runners.values() if r.setting.alone == "expert")
        return max(experts, key=lambda r: (len(r.right), r.share))

    def _most_right(self) -> Runner[Setting]:
        """Who leads where nothing is decided: the cheapest of those that are right most often.

        Of what everybody would compare, and the race's leader, on the questions that all of them
        were asked. Who is cheaper leads the race until it is beaten beyond chance, and to choose it
        before that was looked for would be to choose by the clock.
        """
        leader = self._race.leader
        among = [r for r in self._race.racing if r.setting.steering in settings.PLANNED]
        among = [leader, *(r for r in among if r is not leader and len(r.right) >= FIRST_LOOK)]
        shared = min(len(runner.right) for runner in among)
        return min(among, key=lambda r: (-sum(r.right[:shared]), r.rank))

    def _enter(self, found: Sequence[Setting]) -> None:
        for setting in found:
            planned = setting.steering in settings.PLANNED
            level, hope = (PLANNED_LEVEL, PLANNED_HOPE) if planned else (FOUND_LEVEL, FOUND_HOPE)
            self._race.enter(setting, settings.rank(setting), level, hope)

    def _next(self) -> Runner[Setting] | None:
        """Who is to answer; None once it is decided."""
        race = self._race
        while True:
            runner = race.behind()
            alone = len(race.racing) == 1
            coarse = min(COARSE, race.total)
            is_clear = runner is None or alone or len(runner.right) >= coarse
            if is_clear and self._refine():
                continue
            if runner is None or (alone and len(runner.right) >= min(ENOUGH, race.total)):
                return None
            return runner

    def _refine(self) -> bool:
        """Let the neighbours of a proxy join: the best one's, then whichever leads."""
        proxies = [r for r in self._race.racing if settings.is_proxy(r.setting)]
        if self._refined:
            proxies = [r for r in proxies if r is self._race.leader]
        best = max(proxies, key=lambda r: r.share, default=None)
        if best is None or best.setting in self._refined:
            return False
        self._refined.add(best.setting)
        before = len(self._race.runners)
        self._enter(settings.neighbours(best.setting, with_documents=self._with_documents))
        return len(self._race.runners) > before

    def _block(
        self,
        runner: Runner[Setting],
        count: int,
        deadline: float | None,
        progress: Callable[[Progress], None],
    ) -> Ending:
        """Have a setting answer its next questions."""
        for _ in range(min(count, self._race.total - len(runner.right))):
            if deadline is not None and self._clock() >= deadline:
                return "time"
            progress(self._progress())
            self._one(runner)
        return "decided"

    def _one(self, runner: Runner[Setting]) -> None:
        setting, number = runner.setting, self._order[len(runner.right)]
        name = settings.name(setting)
        answer = self._known.get((name, number))
        is_new = answer is None
        if answer is None:
            answer = self._ask(setting, number)
        is_right = self._is_right(number, answer.text)
        self._race.add(setting, is_right)
        if answer.seconds is not None:
            self._took.setdefault(setting, []).append(answer.seconds)
        if is_new:
            self._heard(name, number, answer, is_right)

    def _progress(self) -> Progress:
        runners, racing = self._race.runners.values(), self._race.racing
        left = {r.setting: self._race.total - len(r.right) for r in racing}
        took = {setting: self._median(setting) for setting in left}
        known = [seconds for seconds in took.values() if seconds is not None]
        usual = max(known, default=None)
        done = sum(len(runner.right) for runner in runners)
        return Progress(
            done,
            done + sum(left.values()),
            tuple((settings.in_words(r.setting), r.share) for r in racing),
            None if usual is None else sum(n * (took[s] or usual) for s, n in left.items()),
        )

    def _median(self, setting: Setting) -> float | None:
        took = self._took.get(setting)
        return statistics.median(took) if took else None

    def _found(self, ending: Ending) -> Fit:
        tried = {
            runner.setting: Tried(
                runner.setting,
                tuple(runner.right),
                self._median(runner.setting),
                not runner.is_racing,
            )
            for runner in sorted(self._race.runners.values(), key=lambda r: r.rank)
            if runner.right
        }
        leader = self._race.leader if ending == "decided" else self._most_right()
        chosen = tried[leader.setting]
        return Fit(chosen, tuple(tried.values()), self._race.total, ending)
