"""What an evaluation found: how often each system is right, and what that says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgeproxy.measure.answering import numbers_asked
from edgeproxy.measure.compare import Comparison, compare, interval
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.judging import JUDGES, Fields, Verdict
from edgeproxy.measure.reply_lines import NOTHING
from edgeproxy.measure.systems import PROXY, leader, role_of
from edgeproxy.measure.took import Took

COMPARED_WITH = ("base", "expert", "tuned")
"""The roles that the proxy is compared with."""


class Answers:
    """The replies of one system to questions of one sort, judged."""

    def __init__(self, questions: Sequence[Question], replies: Sequence[str]) -> None:
        self._asked = list(zip(questions, replies, strict=True))
        self._verdicts = [question.verdict(reply) for question, reply in self._asked]

    @property
    def right(self) -> list[bool]:
        """Of each question, whether it was answered right."""
        return [verdict.right for verdict in self._verdicts]

    def figures(self) -> dict[str, Any]:
        """How the system did, as JSON has it.

        `accuracy` (a share of 1), its 95% `interval` and `n`, also for each of the `kinds`; `f1`
        over the fields of all JSON answers; `said`, the share of the replies that have what was
        asked for in whatever form. The last two are None where no question asks for it.
        """
        kinds: dict[str, list[bool]] = {}
        for (question, _), verdict in zip(self._asked, self._verdicts, strict=True):
            if question.kind is not None:
                kinds.setdefault(question.kind, []).append(verdict.right)
        said = [question.is_said_in(reply) for question, reply in self._asked if question.said]
        return {
            **share(self.right),
            "f1": _f1(self._verdicts),
            "said": sum(said) / len(said) if said else None,
            "kinds": {kind: share(right) for kind, right in kinds.items()},
        }


def share(right: Sequence[bool]) -> dict[str, Any]:
    """`accuracy`, a share of 1, with its 95% `interval`, of `n` questions."""
    count, n = sum(right), len(right)
    return {"accuracy": count / n, "interval": list(interval(count, n)), "n": n}


def _f1(verdicts: Sequence[Verdict]) -> float | None:
    fields = [verdict.fields for verdict in verdicts if verdict.fields is not None]
    return Fields.of_all(fields).f1 if fields else None


def report(
    questions: Sequence[Question],
    replies: Mapping[str, Sequence[str]],
    took: Mapping[tuple[str, int], Took] = NOTHING,
    longest: int | None = None,
) -> dict[str, Any]:
    """The figures of all systems, as JSON has them.

    `replies` are those of each system to the questions that it is asked, in their order, and `took`
    is what they took, by system and the number of the question. They had at most `longest` tokens,
    or as many as the question says.
    """
    task = _answers(questions, replies, is_general=False)
    general = _answers(questions, replies, is_general=True)
    systems = {name: answers.figures() for name, answers in task.items()}
    right = {name: answers.right for name, answers in task.items()}
    return {
        "questions": sum(not question.is_general for question in questions),
        "systems": systems,
        "gap_closed": gap_closed(systems),
        "comparisons": [{**asdict(found), "better": found.better} for found in comparisons(right)],
        "general": kept(general) if general else None,
        "cut": {name: cut(questions, name, said, took, longest) for name, said in replies.items()},
    }


def cut(
    questions: Sequence[Question],
    system: str,
    replies: Sequence[str],
    took: Mapping[tuple[str, int], Took],
    longest: int | None = None,
) -> int | None:
    """How many of a system's replies came to the longest that they may be, not having said all.

    None where it is not known of each how long it was. See `report`.
    """
    numbers = numbers_asked(system, questions)
    if any((system, number) not in took for number in numbers):
        return None
    return sum(
        took[system, number].tokens >= (longest or questions[number].max_tokens)
        and not JUDGES[questions[number].judge].is_complete(text)
        for number, text in zip(numbers, replies, strict=True)
    )


def _answers(
    questions: Sequence[Question], replies: Mapping[str, Sequence[str]], is_general: bool
) -> dict[str, Answers]:
    found = {}
    for system, said in replies.items():
        asked = [questions[number] for number in numbers_asked(system, questions)]
        pairs = zip(asked, said, strict=True)
        of_sort = [pair for pair in pairs if pair[0].is_general == is_general]
        if of_sort:
            found[system] = Answers([q for q, _ in of_sort], [reply for _, reply in of_sort])
    return found


def gap_closed(systems: Mapping[str, Mapping[str, Any]]) -> float | None:
    """(proxy - base) / (tuned - base) of the accuracies: the paper's measure.

    None where one of the three was not measured, or where tuning gained nothing.
    """
    if not {"base", PROXY, "tuned"} <= set(systems):
        return None
    base, proxy, tuned = (float(systems[name]["accuracy"]) for name in ("base", PROXY, "tuned"))
    return (proxy - base) / (tuned - base) if tuned > base else None


def comparisons(right: Mapping[str, Sequence[bool]]) -> list[Comparison]:
    """The proxy beside base, expert and tuned, and each variant beside the proxy."""
    lead = leader(list(right))
    if lead is None:
        return []
    alone = [name for name in COMPARED_WITH if name in right]
    variants = [name for name in right if role_of(name) == PROXY and name != lead]
    return [
        *(compare(lead, right[lead], name, right[name]) for name in alone),
        *(compare(name, right[name], lead, right[lead]) for name in variants),
    ]


def kept(general: Mapping[str, Answers]) -> dict[str, Any]:
    """How each system does outside of the task, and how much of what the base knows it has kept.

    `kept` is a share of the questions that the base answers right: those that the system answers
    right too. It and its interval are None for the base itself, and where the base knows nothing.
    """
    of_base = general["base"].right
    known = [number for number, is_right in enumerate(of_base) if is_right]
    systems = {}
    for name, answers in general.items():
        is_kept = [answers.right[number] for number in known]
        has_share = bool(known) and name != "base"
        systems[name] = {
            **share(answers.right),
            "kept": sum(is_kept) / len(known) if has_share else None,
            "kept_interval": list(interval(sum(is_kept), len(known))) if has_share else None,
        }
    return {"questions": len(of_base), "known": len(known), "systems": systems}
