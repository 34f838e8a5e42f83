"""Judges of replies: whether one is right, by the rule that fits the task.

All compare without case, width, accents and punctuation (see `words`), whatever the script.
"""

from edgeproxy.measure.judging.judge import (
    DEFAULT_JUDGE,
    JUDGES,
    LINE_TOKENS,
    NO_CHOICES,
    REPLY_TOKENS,
    Judge,
    judge,
)
from edgeproxy.measure.judging.text import first_line, is_right, is_said
from edgeproxy.measure.judging.verdict import Fields, Verdict
from edgeproxy.text.words import words

__all__ = [
    "DEFAULT_JUDGE",
    "JUDGES",
    "LINE_TOKENS",
    "NO_CHOICES",
    "REPLY_TOKENS",
    "Fields",
    "Judge",
    "Verdict",
    "first_line",
    "is_right",
    "is_said",
    "judge",
    "words",
]
