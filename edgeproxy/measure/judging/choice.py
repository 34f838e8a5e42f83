"""Judging a choice among labelled texts: (A) Rome, (B) Paris.

A reply names a choice by its label or, where it names no label, by its text.

- A label counts in either case where it is the whole reply, stands in brackets, bold or quotes,
  before `)`, or before `.` or `:` where a line begins: "(b)", "B) Paris", "B: Paris". Elsewhere it
  counts as a capital that stands alone, and then not where it is a word: "A dog", "В Париже".
- What follows the last marker ("Answer:", "答案") counts alone, where a choice is named there.
- After a label, the text of another choice names that one too. Of texts that stand within one
  another the longest is named.

A reply that names two choices, or none, is wrong.

Without texts, the labels are A to J, or those of the accepted answers' script.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from edgeproxy.measure.judging.markers import after_marker
from edgeproxy.measure.judging.verdict import Verdict
from edgeproxy.text.words import HANGUL, KATAKANA, UNSPACED, stands_in, words

Choices = Mapping[str, str]
"""The text of each choice by its label; empty where the questions' own text has them."""

_LATIN = "ABCDEFGHIJ"
_SETS = (
    *(_LATIN, "АБВГДЕЖЗИК", "ΑΒΓΔΕΖΗΘ", "أبجدهوزح", "कखगघङ", "กขคงจ"),
    *("甲乙丙丁戊己", "アイウエオ", "가나다라마바", "123456789"),
)
"""What people label choices with."""

_CYRILLIC = str.maketrans("АВСЕ", "ABCE")
"""Letters that look alike, for replies to Latin labels: a keyboard has А where A was meant."""

_LONGEST = 500
"""So many characters after a label may be a choice's text."""

_JOINED = rf"(?:(?![{UNSPACED}{KATAKANA}{HANGUL}])\w)"
"""A character that a label must not stand beside; a word in these scripts may be a label's next."""
_WORDS = {
    **dict.fromkeys("AEI", r"\s+[^\W\d_A-Z]"),
    **dict.fromkeys("АВИКΗ", r"\s+[^\W\d_]"),
}
"""Labels that are words too where this follows: "A dog", "В Париже"."""

_NO_WORDS = (
    r"\s+(?:or|and|nor|is|because|since|would|oder|und|ist|weil|denn|ou|et|est|car|parce|o|y|e|es"
    r"|porque|или|и|потому)(?!\w)"
)
"""But not where that does: "A or B", "A because"."""


def judge_choice(reply: str, answers: Sequence[str], choices: Choices) -> Verdict:
    """Whether `reply` names one choice alone, and it is an accepted one."""
    wanted = {label_of(answer, choices) for answer in answers}
    parts = [reply]
    if (rest := after_marker(reply)) is not None:
        parts = [rest.lstrip().split("\n", 1)[0], rest, reply]
    named = next(filter(None, (_named(part, answers, choices) for part in parts)), set[str]())
    return Verdict(len(named) == 1 and named <= wanted)


def label_of(answer: str, choices: Choices) -> str | None:
    """The label of the choice that an accepted answer, a label or a text, stands for, or None."""
    plain = _plain(answer).strip(" ().[]:")
    for label in choices or _labels([answer]):
        if plain.upper() == _plain(label).upper():
            return label
    for label, text in choices.items():
        if words(answer) == words(text):
            return label
    return None


def _named(reply: str, answers: Sequence[str], choices: Choices) -> set[str]:
    """The labels of the choices that a text names."""
    labels = list(choices) or _labels(answers)
    text = _plain(reply)
    latin = text if set(labels) & set(_SETS[1]) else text.translate(_CYRILLIC)
    for find, where in ((_marked, latin), (_alone, text)):
        found = {label: at for label in labels if (at := find(_plain(label), where))}
        if found:
            ends = {end for of_label in found.values() for end in of_label}
            lines = {text[end : end + _LONGEST].split("\n", 1)[0] for end in ends}
            return set(found).union(*(_said_beside(line, choices) for line in lines))
    return _by_text(reply, choices)


def _marked(label: str, text: str) -> list[int]:
    """Where a label that is set apart from its text ends, in either case."""
    name = re.escape(label)
    patterns = (
        rf"\A[\s\"'“«*]*{name}[\s\"'”».。*)]*\Z",
        rf"[(\[{{（【「]\s*{name}\s*[)\]}}）】」]",
        rf"\*\*{name}\*\*|[\"“«]{name}[\"”»]|`{name}`",
        rf"(?:(?<=[\s*\"“«(])|(?<![\x00-\x7f]))(?<!{_JOINED}){name}\)",
        rf"^[\s*]*{name}[.:、](?!\w)|^[\s*]*{name}[.、](?=[^\x00-\x7f])",
    )
    flags = re.IGNORECASE | re.MULTILINE
    return [found.end() for pattern in patterns for found in re.finditer(pattern, text, flags)]


def _alone(label: str, text: str) -> list[int]:
    """Where a label that stands alone ends, as it is written."""
    after = rf"(?!{_JOINED}|['’-]\w)"
    if label in _WORDS:
        after += f"(?!(?!{_NO_WORDS}){_WORDS[label]})"
    if re.match(f"[{UNSPACED}{KATAKANA}{HANGUL}]", label):
        return []  # it may be a part of any word
    pattern = rf"(?<!{_JOINED})(?<!\d[.,-])(?<![-'’]){re.escape(label)}{after}"
    return [found.end() for found in re.finditer(pattern, text)]


def _said_beside(line: str, choices: Choices) -> set[str]:
    """The choices whose text is all that the line after a label has."""
    said = words(line)
    return {label for label, text in choices.items() if said and said == words(text)}


def _by_text(reply: str, choices: Choices) -> set[str]:
    said = words(reply)
    texts = {label: words(text) for label, text in choices.items()}
    found = {label: text for label, text in texts.items() if text and stands_in(text, said)}
    longest = set()
    for label, text in found.items():
        rest = said
        for other in found.values():
            if len(other) > len(text) and stands_in(text, other):
                rest = _without(rest, other)
        if stands_in(text, rest):
            longest.add(label)
    return longest


def _without(said: Sequence[str], part: Sequence[str]) -> list[str]:
    """`said` with something that is no word in the place of each `part`."""
    kept, at, n = list[str](), 0, len(part)
    while at < len(said):
        is_part = list(said[at : at + n]) == list(part)
        kept.append("" if is_part else said[at])
        at += n if is_part else 1
    return kept


def _labels(answers: Iterable[str]) -> list[str]:
    """The labels of the set that the answers' own are of."""
    for answer in answers:
        plain = _plain(answer).strip(" ().[]:").upper()
        for labels in _SETS:
            if len(plain) == 1 and plain in labels:
                return list(labels)
    return list(_LATIN)


def _plain(text: str) -> str:
    """`text` with labels as a keyboard has them: ① is 1, Ⓑ and Ｂ are B, ⑴ is (1)."""
    return unicodedata.normalize("NFKC", text)


def no_choice(answer: str, choices: Choices) -> str | None:
    """What is wrong with an accepted answer, or None."""
    if label_of(answer, choices) is not None:
        return None
    if choices:
        return f"is none of the choices, nor a label of theirs ({', '.join(choices)})"
    return "must be a label such as B, or the question needs choices"
