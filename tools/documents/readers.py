"""How right, how fast, and how well cited replies are, by who reads documents."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from edgeproxy.measure.compare import compare, p_in_words, share_in_words
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.report import share
from tools.documents.given import Given, is_given, is_given_its_passage
from tools.documents.told import Told

READERS = ("nobody", "base", "expert", "all")
SYSTEMS = ",".join(
    [
        "base/docs=nobody,base/docs=base",
        "expert/docs=nobody,expert/docs=expert",
        *(f"proxy/docs={readers}" for readers in READERS),
    ]
)
"""Each model alone, reading and not, and the proxy with all readers."""

PAIRS = (
    ("proxy/docs=base", "proxy/docs=nobody"),
    ("proxy/docs=expert", "proxy/docs=nobody"),
    ("proxy/docs=all", "proxy/docs=nobody"),
    ("proxy/docs=all", "proxy/docs=base"),
    ("proxy/docs=expert", "proxy/docs=base"),
    ("proxy/docs=expert", "expert/docs=expert"),
    ("proxy/docs=base", "base/docs=base"),
    ("expert/docs=expert", "expert/docs=nobody"),
    ("base/docs=base", "base/docs=nobody"),
)
"""The systems that are compared in pairs."""

GIVEN_BAR, NONE_BAR = 0.95, 0.05
"""At least so many right replies are given their passage, and at most so many others one."""

_CELLS = {
    "nobody": ("base/docs=nobody", "expert/docs=nobody", "proxy/docs=nobody"),
    "base": ("base/docs=base", "expert/docs=nobody", "proxy/docs=base"),
    "expert": ("base/docs=nobody", "expert/docs=expert", "proxy/docs=expert"),
    "all": ("base/docs=base", "expert/docs=expert", "proxy/docs=all"),
}
"""By who reads, the systems whose figures stand in the row: a model alone reads or does not."""
_HEAD = ("who reads", "base in its own words", "expert alone", "proxy")


def figures(replies: Mapping[str, Sequence[Told]], questions: Sequence[Question]) -> dict[str, Any]:
    """What was found of each system, of pairs of them, and of the passages that are given."""
    right = {system: [one.right for one in told] for system, told in replies.items()}
    pairs = [pair for pair in PAIRS if set(pair) <= set(replies)]
    found = [compare(one, right[one], other, right[other]) for one, other in pairs]
    return {
        "questions": len(questions),
        "systems": {system: _of(told) for system, told in replies.items()},
        "comparisons": [
            {
                "one": each.one,
                "other": each.other,
                "only_one": each.only_one,
                "only_other": each.only_other,
                "p": each.p,
                "better": each.better,
            }
            for each in found
        ],
        "given": given(replies, questions),
        "find_seconds": _find_seconds(replies),
    }


def _find_seconds(replies: Mapping[str, Sequence[Told]]) -> float:
    """The median time of finding passages: of each question that of who was asked first."""
    rows = [[one.find_seconds for one in told] for told in replies.values()]
    return float(statistics.median(map(max, zip(*rows, strict=True))))


def _of(told: Sequence[Told]) -> dict[str, Any]:
    return {
        **share([one.right for one in told]),
        "answerable": sum(one.is_answerable for one in told),
        "first_seconds": statistics.median(one.first_seconds for one in told),
        "seconds": statistics.median(one.seconds for one in told),
        "prompt_tokens": statistics.median(one.prompt_tokens for one in told),
    }


def given(replies: Mapping[str, Sequence[Told]], questions: Sequence[Question]) -> dict[str, Any]:
    """How often right replies are given their passage, and others one that holds no answer.

    By system, and of `all` together; None where there is none of that sort.
    """
    found: dict[str, Any] = {}
    every: tuple[list[bool], list[Given]] = ([], [])
    for system, told in replies.items():
        pairs = list(zip(told, questions, strict=True))
        own = [is_given_its_passage(one, question) for one, question in pairs]
        others = [is_given(one, question) for one, question in pairs]
        right = [one for one in own if one is not None]
        unanswerable = [one for one in others if one is not None]
        if right or unanswerable:
            found[system] = _shares(right, unanswerable)
            every[0].extend(right)
            every[1].extend(unanswerable)
    found["all"] = _shares(*every)
    return found


def _shares(right: Sequence[bool], unanswerable: Sequence[Given]) -> dict[str, Any]:
    return {
        "right": _share(right),
        "unanswerable": _share([one == "one" for one in unanswerable]),
        "warned": _share([one == "with a warning" for one in unanswerable]),
    }


def _share(found: Sequence[bool]) -> dict[str, Any] | None:
    return share(found) if found else None


def as_text(found: Mapping[str, Any]) -> str:
    """The figures for a person: the table in Markdown, then pairs, then passages."""
    systems = found["systems"]
    lines = [_row(_HEAD), f"|{'---|' * len(_HEAD)}"]
    for readers, cells in _CELLS.items():
        if any(cell in systems for cell in cells):
            lines.append(_row((readers, *(_cell(systems.get(cell)) for cell in cells))))
    lines += [
        "",
        "Seconds are medians: to the first token, and of the whole reply, without the "
        f"{found['find_seconds']:.3f} s in which passages are found.",
        "",
    ]
    others = [name for name in systems if not any(name in cells for cells in _CELLS.values())]
    lines += [f"{name}: {_cell(systems[name])}" for name in others]
    for pair in found["comparisons"]:
        lines.append(
            f"{pair['one']} against {pair['other']}: {pair['only_one']} right alone, "
            f"{pair['only_other']} the other way, {p_in_words(pair['p'])}"
        )
    return "\n".join([*lines, "", *given_in_words(found["given"])])


def given_in_words(found: Mapping[str, Any]) -> list[str]:
    """The shares of `given` as lines, beside their bars."""
    return [
        _given(found, "right", f"right replies given the passage with the value "
               f"(bar: at least {GIVEN_BAR:.0%})"),
        _given(found, "unanswerable", f"replies that no passage answers, given one "
               f"(bar: at most {NONE_BAR:.0%})"),
        _given(found, "warned", "replies that no passage answers, given one that is said not to "
               "name what was asked about"),
    ]  # fmt: skip


def _given(found: Mapping[str, Any], what: str, title: str) -> str:
    shares = [f"{name} {_in_words(each[what])}" for name, each in found.items()]
    return f"{title}: {', '.join(shares)}"


def _in_words(figure: Mapping[str, Any] | None) -> str:
    """A share with its interval, and of how many."""
    if figure is None:
        return "-"
    n = figure["n"]
    return f"{share_in_words(round(figure['accuracy'] * n), n)} of {n}"


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    n = figure["n"]
    return (
        f"{share_in_words(round(figure['accuracy'] * n), n)}; "
        f"{figure['first_seconds']:.2f} s, {figure['seconds']:.2f} s"
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
