"""Judging by the number that a reply ends with, as GSM8K is judged.

It is the number after the last marker (`####`, `\\boxed{`, "Answer:" and its likes in many
languages): the one after the last `=` of that line, or else the first. Without a marker, or with no
number after it, it is the last number of the reply. Its value must be an accepted one exactly; an
accepted answer is read by the same rule, so it may be a whole solution. See `numbers` for what is
read as a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeproxy.measure.judging.markers import after_marker
from edgeproxy.measure.judging.verdict import Verdict
from edgeproxy.text.numbers import Number, numbers

_DONE = re.compile(r"####.*\d.*\n")


def number_said(text: str) -> Number | None:
    """The number that `text` gives as its answer; None where there is none."""
    rest = after_marker(text)
    if rest is not None:
        line = rest.lstrip().split("\n", 1)[0]
        found = numbers(line.rpartition("=")[2]) or numbers(line) or numbers(rest)
        if found:
            return found[0]
    found = numbers(text)
    return found[-1] if found else None


def judge_number(reply: str, answers: Sequence[str], _choices: object = None) -> Verdict:
    """Whether the number that `reply` gives is that of an accepted answer."""
    said = number_said(reply)
    wanted = map(number_said, answers)
    return Verdict(
        said is not None and any(one is not None and said.can_be(one.value) for one in wanted)
    )


def number_is_said(reply: str) -> bool:
    """Whether nothing that follows can matter: the line of a `####` has ended."""
    return bool(_DONE.search(reply))


def no_number(answer: str) -> str | None:
    """What is wrong with an accepted answer, or None."""
    return None if number_said(answer) else "has no number in digits"
