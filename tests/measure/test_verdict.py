"""What a person is told after `fit`, for each way that it can end."""

from __future__ import annotations

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.measure.fit import Ending, Fit, Tried
from edgeproxy.measure.settings import BASE, BY_PAPER, EXPERT, Setting
from edgeproxy.measure.verdict import verdict

HALF = Setting(Steering(base_weight=0.5))


def tried(
    setting: Setting, right: int, asked: int = 100, seconds: float | None = 1.0, lost: bool = False
) -> Tried:
    """Right on the first `right` questions: of two settings, one is right wherever the worse is."""
    return Tried(setting, tuple(n < right for n in range(asked)), seconds, lost)


def fit(chosen: Tried, *others: Tried, questions: int = 100, ending: Ending = "decided") -> Fit:
    return Fit(chosen, (chosen, *others), questions, ending)


def test_the_proxy_is_better() -> None:
    found = fit(tried(BY_PAPER, 55, seconds=2.1), tried(EXPERT, 29), tried(BASE, 0))
    assert verdict(found) == (
        "The proxy is right in 55% [45, 64], the expert alone in 29%, the base in 0%: steer, by "
        "the paper's equation; it takes 2.1 times the expert's time."
    )


def test_figures_on_fewer_questions_say_on_how_many() -> None:
    found = fit(tried(HALF, 55, seconds=None), tried(EXPERT, 29), tried(BASE, 0, 20))
    assert verdict(found) == (
        "The proxy is right in 55% [45, 64], the expert alone in 29%, the base in 0% of 20: steer, "
        "by base_weight 0.5."
    )


def test_an_advantage_that_chance_may_explain_says_its_p() -> None:
    found = fit(tried(BY_PAPER, 35, seconds=None), tried(EXPERT, 31))
    assert "the expert alone in 31% (p = 0.12): steer" in verdict(found)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1.05, "it takes the expert's time."),
        (0.5, "it takes 0.5 of the expert's time."),
        (14.2, "14 times"),
    ],
)
def test_times(seconds: float, words: str) -> None:
    assert words in verdict(fit(tried(BY_PAPER, 55, seconds=seconds), tried(EXPERT, 29)))


def test_the_expert_is_as_good_and_faster() -> None:
    found = fit(tried(EXPERT, 83), tried(BY_PAPER, 80, seconds=4.0), tried(BASE, 0, 20))
    assert verdict(found) == (
        "The expert alone is as good (83% against 80%, p = 0.25) and 4 times as fast: use it "
        "alone; edgeproxy will."
    )


def test_the_expert_is_better() -> None:
    found = fit(tried(EXPERT, 83), tried(BY_PAPER, 10, 40, seconds=4.0, lost=True))
    assert verdict(found) == (
        "The expert alone is better (100% against 25% of 40 questions, p < 0.001) and 4 times as "
        "fast: use it alone; edgeproxy will."
    )


def test_an_expert_that_is_behind_by_chance_is_not_called_better() -> None:
    found = fit(tried(EXPERT, 80, seconds=None), tried(BY_PAPER, 82, seconds=None))
    assert verdict(found) == (
        "The expert alone is as good (80% against 82%, p = 0.50): use it alone; edgeproxy will."
    )


def test_the_base_is_best() -> None:
    found = fit(tried(BASE, 80), tried(EXPERT, 40), tried(BY_PAPER, 30, 50))
    assert verdict(found) == (
        "The base alone is right in 80% [71, 87], the proxy in 60% of 50, the expert alone in 40%: "
        "do not steer; edgeproxy will leave it to the base."
    )


def test_what_is_not_written_is_not_promised() -> None:
    assert verdict(fit(tried(EXPERT, 80), tried(BY_PAPER, 80)), is_written=False).endswith(
        "use it alone."
    )
    assert verdict(fit(tried(BASE, 80)), is_written=False).endswith(": do not steer.")


def test_nobody_is_right() -> None:
    found = fit(tried(EXPERT, 0), tried(BY_PAPER, 0), tried(BASE, 0))
    assert verdict(found) == (
        "No model, alone or with others, is right in one of 100 questions: there is nothing to "
        "choose by. Look at the replies (--replies FILE), and at how they are judged."
    )


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("time", "Time was up before it was decided; the best so far: The proxy is right in"),
        (
            "interrupted",
            "Interrupted before it was decided; the best so far: The proxy is right in",
        ),
    ],
)
def test_an_early_end_is_said(ending: Ending, words: str) -> None:
    found = fit(tried(BY_PAPER, 55), tried(EXPERT, 29), ending=ending)
    assert verdict(found).startswith(words)


def test_few_questions_are_said() -> None:
    found = fit(tried(BY_PAPER, 9, 12), tried(EXPERT, 2, 12), questions=12, ending="time")
    assert verdict(found).startswith(
        "With 12 questions only large differences show. Time was up before it was decided; the best"
    )


def test_only_the_expert_was_asked() -> None:
    assert verdict(fit(tried(EXPERT, 80))) == (
        "The expert alone is right in 80% [71, 87]: use it alone; edgeproxy will."
    )
