"""The judges by name: what each asks of a reply, and when it has heard enough of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from edgeproxy.errors import UsageError
from edgeproxy.measure.judging import choice, json_fields, number, pattern, text
from edgeproxy.measure.judging.verdict import Verdict

Name = Literal["contains", "exact", "number", "json", "choice", "regex"]

Until = Literal["line", "object", "number", "end"]
"""How much of a reply is awaited: its first line, a JSON object, a `####` line, or all of it."""

NO_CHOICES: Mapping[str, str] = MappingProxyType({})

LINE_TOKENS = 48
"""Long enough for the first line of an answer."""

REPLY_TOKENS = 256
"""Long enough for an answer with what leads to it."""

_IS_SAID: Mapping[Until, Callable[[str], bool]] = {
    "line": text.line_is_said,
    "object": json_fields.object_is_said,
    "number": number.number_is_said,
    "end": lambda _reply: False,
}


@dataclass(frozen=True)
class Judge:
    """A rule by which replies are right or wrong, called with a reply and its accepted answers.

    `means` says when a reply is right, for a person. Replies need at most `max_tokens` tokens
    unless a person says otherwise, and end early once they are complete.
    """

    name: Name
    means: str
    until: Until
    _verdict: Callable[[str, Sequence[str], Mapping[str, str]], Verdict]
    _fault: Callable[[str, Mapping[str, str]], str | None]

    def __call__(
        self, reply: str, answers: Sequence[str], choices: Mapping[str, str] = NO_CHOICES
    ) -> Verdict:
        """Judge a reply; `choices` are the texts of a question's choices by their labels.

        Raises `UsageError` for a pattern that takes too long.
        """
        return self._verdict(reply, answers, choices)

    def fault(self, answer: str, choices: Mapping[str, str] = NO_CHOICES) -> str | None:
        """Why `answer` cannot be an accepted answer, as the rest of a sentence, or None."""
        return self._fault(answer, choices)

    @property
    def max_tokens(self) -> int:
        """How many tokens of a reply are asked for."""
        return LINE_TOKENS if self.until == "line" else REPLY_TOKENS

    def is_complete(self, reply: str) -> bool:
        """Whether nothing that follows in `reply` can matter."""
        return _IS_SAID[self.until](reply)

    def kept(self, reply: str) -> str:
        """What of a reply is judged and kept."""
        return text.first_line(reply) if self.until == "line" else reply.strip()


def _of_answer(fault: Callable[[str], str | None]) -> Callable[[str, object], str | None]:
    return lambda answer, _choices: fault(answer)


JUDGES: Mapping[str, Judge] = {
    judge.name: judge
    for judge in (
        Judge(
            "contains",
            "an accepted answer stands, word for word, in the first line",
            "line",
            text.judge_contains,
            _of_answer(text.no_words),
        ),
        Judge(
            "exact",
            "the reply is an accepted answer and nothing else",
            "end",
            text.judge_exact,
            _of_answer(text.no_words),
        ),
        Judge(
            "number",
            'the last number, or the one after "####" or "Answer:", is the accepted one',
            "number",
            number.judge_number,
            _of_answer(number.no_number),
        ),
        Judge(
            "json",
            "the first JSON object has all fields of the accepted one, and no others",
            "object",
            json_fields.judge_json,
            _of_answer(json_fields.no_object),
        ),
        Judge(
            "choice",
            "the reply names one choice, by label or text, and it is the accepted one",
            "end",
            choice.judge_choice,
            choice.no_choice,
        ),
        Judge(
            "regex",
            "an accepted answer, a regular expression, matches somewhere",
            "end",
            pattern.judge_regex,
            _of_answer(pattern.no_pattern),
        ),
    )
}
"""Every judge by its name."""

DEFAULT_JUDGE = "contains"


def judge(name: str) -> Judge:
    """The judge called `name`. Raises `UsageError` naming those that there are."""
    if name not in JUDGES:
        raise UsageError(f"there is no judge {name!r}; there are {', '.join(JUDGES)}")
    return JUDGES[name]
