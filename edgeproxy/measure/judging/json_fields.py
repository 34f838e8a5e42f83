"""Judging by the fields of a JSON object, as slot filling is judged.

The first JSON object of the reply counts, wherever it stands: after words, in a code fence, in a
list. Its fields are its leaves by their paths: `{"a": {"b": 1}}` has one, a.b. Keys must be the
same to the letter. Values are compared as words, without case, accents and punctuation; numbers by
value, also where they are written as text (but "007" is text); true, false and null are only
themselves. A list is a set with repeats: each item is a leaf, and their order does not count.

A reply is right when it has every expected field and no other one.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NoReturn

from edgeproxy.measure.judging.verdict import Fields, Verdict
from edgeproxy.text.words import words

_TRIES = 200
"""How many opening braces of a reply are looked at."""

_DEEP = 50
"""An object within more than so many others is none."""

_MAX_DIGITS, _MAX_EXPONENT = 60, 99
"""A number of more is none."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,59})(?:\.\d{1,60})?")

_IN_LIST = 0
"""The last step of a list's paths; no key is a number."""

Leaf = tuple[Hashable, ...]


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _number(text: str) -> Fraction:
    # A huge exponent would take all memory there is.
    exponent = re.search(r"[eE]([+-]?\d+)", text)
    if len(text) > _MAX_DIGITS or (exponent and abs(int(exponent[1])) > _MAX_EXPONENT):
        raise ValueError(f"{text} is too large")
    return Fraction(text)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_int=_number, parse_float=_number)


def first_object(text: str) -> dict[str, Any] | None:
    """The first JSON object that stands in `text`, or None.

    One within another that is cut off, or goes wrong behind it, is not looked at.
    """
    at = 0
    for _ in range(_TRIES):
        start = text.find("{", at)
        if start < 0:
            return None
        at = start + 1
        try:
            found, _end = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            at = max(at, error.pos)
        except (ValueError, RecursionError):
            continue
        else:
            if _depth(found) <= _DEEP:
                return dict(found)
    return None


def judge_json(reply: str, answers: Sequence[str], _choices: object = None) -> Verdict:
    """How many fields of the accepted answer that fits best `reply` has; right if just them all."""
    found = first_object(reply)
    said = Counter(leaves(found)) if found else Counter()
    verdicts = []
    for answer in answers:
        wanted = Counter(leaves(first_object(answer) or {}))
        fields = Fields((said & wanted).total(), said.total(), wanted.total())
        verdicts.append(Verdict(found is not None and said == wanted, fields))
    return max(verdicts, key=lambda verdict: (verdict.right, verdict.f1 or 0.0))


def object_is_said(reply: str) -> bool:
    """Whether a JSON object has been closed."""
    return "}" in reply and first_object(reply) is not None


def no_object(answer: str) -> str | None:
    """What is wrong with an accepted answer, or None."""
    return None if first_object(answer) else "must be a JSON object with a field"


def leaves(value: object, path: tuple[Hashable, ...] = ()) -> Iterator[Leaf]:
    """Each leaf of a JSON value: its path, and its value as it is compared."""
    if isinstance(value, dict) and value:
        for key, of_key in value.items():
            yield from leaves(of_key, (*path, key))
    elif isinstance(value, list) and value:
        for item in value:
            yield (*path, _IN_LIST), _item(item)
    else:
        yield path, _plain(value)


def _item(value: object) -> Hashable:
    """An item of a list, whole: so that fields of two items cannot change places."""
    if isinstance(value, dict | list):
        return type(value).__name__, frozenset(Counter(leaves(value)).items())
    return _plain(value)


def _plain(value: object) -> Hashable:
    if isinstance(value, bool) or value is None or value in ({}, []):
        return json.dumps(value), "itself"
    if isinstance(value, str):
        said = words(value)
        if len(said) != 1 or not _NUMBER.fullmatch(said[0]):
            return " ".join(said) or value.strip()
        value = said[0]
    return Fraction(str(value))


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return deepest
