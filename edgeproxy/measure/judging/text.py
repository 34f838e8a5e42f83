"""Judging by an accepted answer's text: that it stands in the reply, or is the whole of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeproxy.measure.judging.verdict import Verdict
from edgeproxy.text.words import stands_in, words


def first_line(reply: str) -> str:
    """The first line of a reply that is not blank, without the space around it."""
    return reply.lstrip().split("\n", 1)[0].rstrip()


def is_right(reply: str, answers: Iterable[str]) -> bool:
    """Whether an accepted answer stands, word for word, in the first line of `reply`."""
    return is_said(first_line(reply), answers)


def is_said(reply: str, answers: Iterable[str]) -> bool:
    """Whether an accepted answer stands, word for word, anywhere in `reply`."""
    said = words(reply)
    return any(stands_in(words(answer), said) for answer in answers)


def judge_contains(reply: str, answers: Sequence[str], _choices: object = None) -> Verdict:
    """As `is_right`."""
    return Verdict(is_right(reply, answers))


def judge_exact(reply: str, answers: Sequence[str], _choices: object = None) -> Verdict:
    """Whether the whole of `reply` has the words of an accepted answer and no other ones."""
    said = words(reply)
    return Verdict(any(said == words(answer) for answer in answers))


def line_is_said(reply: str) -> bool:
    """Whether a first line has ended; blank ones before it do not count."""
    return "\n" in reply.lstrip()


def no_words(answer: str) -> str | None:
    """What is wrong with an accepted answer, or None."""
    return None if words(answer) else "must be text with a letter or digit in it"
