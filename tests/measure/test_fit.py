"""`fit` on fakes whose settings have known accuracies: it finds the right one, in few answers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import Cancelled, EdgeproxyError
from edgeproxy.measure import settings
from edgeproxy.measure.fit import Answer, Fit, Fitting, Known, Progress
from edgeproxy.measure.settings import BASE, BY_PAPER, EXPERT, Setting
from edgeproxy.measure.verdict import verdict

Accuracy = Callable[[Setting], float]
SEEDS = range(6)


def alike(expert: float, base: float, proxy: float) -> Accuracy:
    """One accuracy for all proxies."""
    return lambda s: expert if s == EXPERT else base if s == BASE else proxy


def weighted(setting: Setting) -> float:
    """Half the base's weight is far better than the paper."""
    if not settings.is_proxy(setting):
        return 0.3
    by = setting.steering
    distance = abs(by.base_weight - 0.5) + abs(by.alpha - 1) + 2 * by.plausibility
    return 0.9 - 0.9 * distance


class Fake:
    """A session whose settings answer right as often as told; an expert takes a quarter as long.

    Each question has a difficulty that settings share, as questions have.
    """

    def __init__(self, accuracy: Accuracy, seed: int = 0) -> None:
        self.accuracy, self.seed = accuracy, seed
        self.asked: Counter[tuple[str, int]] = Counter()
        self.stop_after: float = float("inf")

    def __call__(self, setting: Setting, number: int) -> Answer:
        if sum(self.asked.values()) >= self.stop_after:
            raise Cancelled("stopped")
        name = settings.name(setting)
        self.asked[name, number] += 1
        own = random.Random(f"{self.seed} {name} {number}")
        shared = random.Random(f"{self.seed} {number}")
        luck = (shared if own.random() < 0.85 else own).random()
        text = "right" if luck < self.accuracy(setting) else "wrong"
        return Answer(text, 0.25 if setting == EXPERT else 1.0)


def is_right(_number: int, text: str) -> bool:
    return text == "right"


def fitted(fake: Fake, total: int = 100, known: Known | None = None) -> Fit:
    return Fitting(fake, is_right, list(range(total)), known=known or {}).run()


@pytest.mark.parametrize(
    ("accuracy", "wanted"),
    [
        (alike(expert=0.3, base=0.0, proxy=0.6), "proxy"),
        (alike(expert=0.85, base=0.0, proxy=0.7), "expert"),
        (alike(expert=0.3, base=0.8, proxy=0.5), "base"),
        (weighted, "proxy/base_weight=0.5"),
    ],
)
def test_it_finds_what_is_clearly_best(accuracy: Accuracy, wanted: str) -> None:
    chosen = Counter(fitted(Fake(accuracy, seed)).chosen.name for seed in SEEDS)
    assert chosen[wanted] >= len(SEEDS) - 1, chosen


@pytest.mark.parametrize(
    "accuracy", [alike(0.3, 0.0, 0.6), alike(0.85, 0.0, 0.7), alike(0.3, 0.8, 0.5)]
)
def test_it_takes_few_answers(accuracy: Accuracy) -> None:
    """The grid has 64 settings; all of them on 200 questions are 12,800 answers."""
    assert len(settings.all_names()) > 64
    answers = [fitted(Fake(accuracy, seed), 200).answers for seed in SEEDS]
    assert sum(answers) / len(answers) < 600


def test_of_equals_the_expert_is_taken() -> None:
    fit = fitted(Fake(alike(1.0, 1.0, 1.0)))
    assert fit.chosen.setting == EXPERT
    assert fit.answers <= 8 * 40


def test_of_equal_proxies_the_paper_is_taken() -> None:
    fit = fitted(Fake(alike(0.0, 0.0, 1.0)))
    assert fit.chosen.setting == BY_PAPER


def test_a_costlier_setting_must_be_ahead_by_more_than_chance() -> None:
    """The paper is right once more than the expert in 40, which chance explains."""

    def ask(setting: Setting, number: int) -> Answer:
        extra = setting == BY_PAPER and number == 3
        is_good = number % 2 == 0 or extra
        return Answer("right" if is_good and setting != BASE else "wrong")

    fit = Fitting(ask, is_right, list(range(40))).run()
    assert fit.chosen.setting == EXPERT


def test_nobody_right_is_said() -> None:
    fit = fitted(Fake(alike(0.0, 0.0, 0.0)), 60)
    assert fit.is_blank
    assert fit.chosen.setting == EXPERT


def test_no_question_is_asked_twice_of_a_setting_and_the_order_is_kept() -> None:
    fake = Fake(alike(0.3, 0.0, 0.6))
    order = list(range(50))
    random.Random(1).shuffle(order)
    heard: list[tuple[str, int]] = []
    Fitting(
        fake, is_right, order, heard=lambda name, number, _a, _r: heard.append((name, number))
    ).run()
    assert set(fake.asked.values()) == {1}
    assert len(heard) == len(fake.asked)
    of_expert = [number for name, number in heard if name == "expert"]
    assert of_expert == order[: len(of_expert)]


def test_the_expert_answers_what_the_chosen_one_has() -> None:
    fit = fitted(Fake(alike(0.1, 0.0, 0.9)), 200)
    expert = fit.alone("expert")
    assert expert is not None
    assert len(expert.right) >= len(fit.chosen.right) >= 60


def test_the_trio_s_own_setting_takes_part() -> None:
    own = Setting(Steering(alpha=1.3, plausibility=0.2))
    fake = Fake(lambda setting: 0.95 if setting == own else 0.2)
    fit = Fitting(fake, is_right, list(range(100)), also=[own]).run()
    assert fit.chosen.setting == own


@pytest.mark.parametrize("after", [170, 400])
def test_interrupted_it_has_the_best_so_far(after: int) -> None:
    fake = Fake(alike(0.2, 0.0, 0.8))
    fake.stop_after = after
    fit = fitted(fake, 200)
    assert fit.ending == "interrupted"
    assert fit.answers == after
    assert settings.is_proxy(fit.chosen.setting)


def test_interrupted_before_anything_can_be_said_it_says_so() -> None:
    fake = Fake(alike(0.2, 0.0, 0.8))
    fake.stop_after = 30
    with pytest.raises(Cancelled, match="interrupted before anything could be said"):
        fitted(fake)


def test_resumed_it_asks_what_is_missing_only_and_finds_the_same() -> None:
    whole, cut, rest = (Fake(weighted, seed=3) for _ in range(3))
    wanted = fitted(whole)
    cut.stop_after = 200
    known: dict[tuple[str, int], Answer] = {}

    def heard(name: str, number: int, answer: Answer, _is_right: bool) -> None:
        known[name, number] = answer

    Fitting(cut, is_right, list(range(100)), heard=heard).run()
    found = fitted(rest, known=known)
    assert len(known) == 200
    assert found == wanted
    assert not rest.asked.keys() & known.keys()


def ticking(every: float) -> Iterator[float]:
    return (every * n for n in count())


def test_time_is_kept() -> None:
    times = ticking(1.0)
    fit = Fitting(
        Fake(alike(0.3, 0.0, 0.6)),
        is_right,
        list(range(200)),
        seconds=250,
        clock=lambda: next(times),
    ).run()
    assert fit.ending == "time"
    assert fit.answers == 249


def test_where_time_is_up_chance_does_not_make_the_cheapest_the_best() -> None:
    """The proxy is right a little more often, which so few answers cannot prove."""
    answers = {EXPERT: "r" * 9 + "w" * 21, BASE: "r" * 7 + "w" * 23}

    def ask(setting: Setting, number: int) -> Answer:
        said = answers.get(setting, "r" * 13 + "w" * 17 if settings.is_proxy(setting) else "")
        return Answer("right" if said[number % 30] == "r" else "wrong", 1.0)

    times = ticking(1.0)
    fit = Fitting(ask, is_right, range(100), seconds=200, clock=lambda: next(times)).run()
    assert fit.ending == "time"
    assert fit.chosen.name == "proxy"
    assert "the best so far: The proxy is right in" in verdict(fit)


def test_too_little_time_is_said() -> None:
    times = ticking(1.0)
    fitting = Fitting(
        Fake(alike(0.3, 0.0, 0.6)), is_right, range(200), seconds=9, clock=lambda: next(times)
    )
    with pytest.raises(EdgeproxyError, match="ran out of time"):
        fitting.run()


@pytest.mark.parametrize("total", [1, 2, 7, 21])
def test_few_questions_are_enough_to_end(total: int) -> None:
    fit = fitted(Fake(alike(0.0, 0.0, 1.0)), total)
    assert fit.ending == "decided"
    assert all(len(tried.right) <= total for tried in fit.tried)


def test_progress_says_who_is_in_and_how_long_it_may_take() -> None:
    heard: list[Progress] = []
    Fitting(Fake(alike(0.3, 0.0, 0.6)), is_right, range(100)).run(heard.append)
    assert heard[0].answers == 0
    assert heard[0].seconds_left is None
    later = heard[-1]
    assert later.answers == len(heard) - 1
    assert later.at_most >= later.answers
    assert later.seconds_left is not None
    assert 0.4 < dict(later.racing)["the paper's equation"] < 0.8


@pytest.mark.parametrize(
    ("shares", "wanted"),
    [
        ({"expert": 0.7, "base": 0.75, "all": 0.75}, "proxy/docs=expert"),
        ({"expert": 0.5, "base": 0.9, "all": 0.9}, "proxy/docs=base"),
        ({"expert": 0.2, "base": 0.2, "all": 0.9}, "proxy/docs=all"),
        ({"expert": 0.5, "base": 0.5, "all": 0.5}, "proxy"),
    ],
)
def test_who_reads_documents_is_found_too(shares: dict[str, float], wanted: str) -> None:
    """Cheaper readers come first: who reads more must be ahead by more than chance."""

    def accuracy(setting: Setting) -> float:
        if not settings.is_proxy(setting):
            return 0.1
        worse = 0.0 if setting.steering == BY_PAPER.steering else 0.4
        return shares.get(setting.readers, 0.5) - worse

    chosen: Counter[str] = Counter()
    for seed in SEEDS:
        fit = Fitting(Fake(accuracy, seed), is_right, list(range(150)), with_documents=True).run()
        chosen[fit.chosen.name] += 1
        assert {t.setting.readers for t in fit.tried} == {"nobody", "expert", "base", "all"}
    assert chosen[wanted] >= len(SEEDS) - 2, chosen
