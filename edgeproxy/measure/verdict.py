"""What a fit has found, in plain words and figures."""

from __future__ import annotations

from edgeproxy.measure import settings
from edgeproxy.measure.compare import SIGNIFICANT, mcnemar, p_in_words, share_in_words
from edgeproxy.measure.fit import Fit, Tried

_AS_FAST = 1.15
"""Times that differ by a smaller factor are called the same."""

_FEW = 50
"""With fewer questions only large differences show."""


def verdict(fit: Fit, is_written: bool = True) -> str:
    """What to do, and why, in a few sentences; `is_written` where the manifest says so from now."""
    return " ".join([*_doubts(fit), _decision(fit, is_written)])


def _decision(fit: Fit, is_written: bool) -> str:
    if fit.is_blank:
        return (
            f"No model, alone or with others, is right in one of {len(fit.chosen.right)} questions:"
            " there is nothing to choose by. Look at the replies (--replies FILE), and at how they"
            " are judged."
        )
    if fit.chosen.setting.alone == "expert":
        return _expert_alone(fit, "; edgeproxy will" if is_written else "")
    if fit.chosen.setting.alone == "base":
        return _base_alone(fit, "; edgeproxy will leave it to the base" if is_written else "")
    return _steer(fit)


def _steer(fit: Fit) -> str:
    chosen, expert, base = fit.chosen, fit.alone("expert"), fit.alone("base")
    parts = [f"The proxy is right in {_share(chosen)}"]
    if expert:
        parts.append(f"the expert alone in {_plain_share(expert, fit)}{_doubt(chosen, expert)}")
    if base:
        parts.append(f"the base in {_plain_share(base, fit)}")
    text = f"{', '.join(parts)}: steer, by {settings.in_words(chosen.setting)}"
    times = _times(chosen, expert)
    if times is None:
        return f"{text}."
    if times < 1 / _AS_FAST:
        return f"{text}; it takes {times:.1f} of the expert's time."
    if times < _AS_FAST:
        return f"{text}; it takes the expert's time."
    return f"{text}; it takes {_factor(times)} times the expert's time."


def _expert_alone(fit: Fit, will: str) -> str:
    expert, proxy = fit.chosen, fit.best_proxy
    if proxy is None:
        return f"The expert alone is right in {_share(expert)}: use it alone{will}."
    p, n = _p(expert, proxy), min(len(expert.right), len(proxy.right))
    mine, yours = sum(expert.right[:n]) / n, sum(proxy.right[:n]) / n
    is_better = p < SIGNIFICANT and mine > yours
    of = "" if n == fit.questions else f" of {n} questions"
    figures = f"{mine:.0%} against {yours:.0%}{of}, {p_in_words(p)}"
    text = f"The expert alone is {'better' if is_better else 'as good'} ({figures})"
    times = _times(proxy, expert)
    if times is not None and times >= _AS_FAST:
        text += f" and {_factor(times)} times as fast"
    return f"{text}: use it alone{will}."


def _base_alone(fit: Fit, will: str) -> str:
    base, expert, proxy = fit.chosen, fit.alone("expert"), fit.best_proxy
    parts = [f"The base alone is right in {_share(base)}"]
    if proxy:
        parts.append(f"the proxy in {_plain_share(proxy, fit)}")
    if expert:
        parts.append(f"the expert alone in {_plain_share(expert, fit)}")
    return f"{', '.join(parts)}: do not steer{will}."


def _doubts(fit: Fit) -> list[str]:
    """What keeps the verdict from being sure, a sentence each."""
    said = []
    if fit.ending == "time":
        said.append("Time was up before it was decided; the best so far:")
    elif fit.ending == "interrupted":
        said.append("Interrupted before it was decided; the best so far:")
    if fit.questions < _FEW:
        said.append(f"With {fit.questions} questions only large differences show.")
    return sorted(said, key=lambda sentence: sentence.endswith(":"))


def _share(tried: Tried) -> str:
    return share_in_words(sum(tried.right), len(tried.right))


def _plain_share(tried: Tried, fit: Fit) -> str:
    """A share, and of how many where those are fewer than the chosen one's."""
    n = len(tried.right)
    share = f"{sum(tried.right) / n:.0%}"
    return share if n >= len(fit.chosen.right) else f"{share} of {n}"


def _doubt(chosen: Tried, expert: Tried) -> str:
    """How easily chance explains the difference, where it does so easily."""
    p = _p(chosen, expert)
    return "" if p < SIGNIFICANT else f" ({p_in_words(p)})"


def _p(one: Tried, other: Tried) -> float:
    """McNemar's p on the questions that both were asked."""
    n = min(len(one.right), len(other.right))
    return mcnemar(one.right[:n], other.right[:n])


def _times(slow: Tried, fast: Tried | None) -> float | None:
    if fast is None or not slow.seconds or not fast.seconds:
        return None
    return slow.seconds / fast.seconds


def _factor(times: float) -> str:
    """2.1, 14: two digits."""
    return f"{times:.1f}".removesuffix(".0") if times < 10 else f"{times:.0f}"
