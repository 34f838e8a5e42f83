"""Passages that belong together -> one: cuts of a paragraph, and the fields of a small record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgeproxy.documents.passage import TRAIL, Passage
from edgeproxy.documents.words import is_unspaced

MOST_CHARACTERS = 640
"""A record of several passages is no longer: a passage's usual size."""

LEAST_OVERLAP = 8
"""Two cuts of one paragraph have so many characters in common, or have none."""

_MOST_OVERLAP = 4_000


def overlap(before: str, after: str) -> int:
    """How many characters that end `before` begin `after`; 0 for fewer than `LEAST_OVERLAP`."""
    for n in range(min(len(before), len(after), _MOST_OVERLAP), LEAST_OVERLAP - 1, -1):
        if before.endswith(after[:n]):
            return n
    return 0


def seamless(texts: Sequence[str]) -> str:
    """Texts that follow one another, as one, with what two of them share written once."""
    whole = texts[0]
    for text in texts[1:]:
        if n := overlap(whole, text):
            whole += text[n:]
        elif whole and text and is_unspaced(whole[-1]) and is_unspaced(text[0]):
            whole += text
        else:
            whole += "\n" + text
    return whole


def paragraph(
    hit: Passage, around: Sequence[Passage], has_hit: Callable[[int], bool]
) -> list[Passage]:
    """The passages right before and behind `hit` that belong to it, and itself, in their order.

    They stand under the same trail and either have hit, too, as `has_hit` says of their ids, or are
    cuts of the same paragraph, as what they share with it shows.
    """
    by_number = {passage.number: passage for passage in around}
    found = [hit]
    before, after = by_number.get(hit.number - 1), by_number.get(hit.number + 1)
    if before and _belong(before, hit, has_hit(before.id)):
        found.insert(0, before)
    if after and _belong(hit, after, has_hit(after.id)):
        found.append(after)
    return found


def _belong(before: Passage, after: Passage, both_hit: bool) -> bool:
    same_trail = before.trail == after.trail
    return same_trail and (both_hit or overlap(before.text, after.text) > 0)


def record(
    hit: Passage, around: Sequence[Passage], is_named: Callable[[str], bool]
) -> list[Passage]:
    """The fields beside `hit` of a small record that the question names as a whole.

    "What is the capital of Chad?" names "Chad - Government - Capital", which has a name, a place
    and a time zone. Where it names a field itself, by `is_named`, there is nothing to join.
    """
    if len(hit.trail) < 2 or is_named(hit.trail[-1]) or not is_named(hit.trail[-2]):
        return [hit]
    beside = [
        other
        for other in around
        if other.id != hit.id
        and len(other.trail) == len(hit.trail)
        and other.trail[:-1] == hit.trail[:-1]
    ]
    found, size = [hit], len(hit.text)
    for other in sorted(beside, key=lambda other: (len(other.text), other.number)):
        size += len(other.text) + len(other.trail[-1])
        if size > MOST_CHARACTERS:
            break
        found.append(other)
    return sorted(found, key=lambda passage: passage.number)


def joined(hit: Passage, together: Sequence[Passage]) -> Passage:
    """Passages, `hit` among them, as one with the number and id of `hit`."""
    if len(together) == 1:
        return hit
    if all(passage.trail == hit.trail for passage in together):
        texts = [passage.text for passage in together]
        return replace(hit, text=seamless(texts), place=_places(together))
    trail = hit.trail[:-1]
    lines: list[str] = []
    last = None
    for passage in together:
        if passage.trail == last:
            lines[-1] = seamless([lines[-1], passage.text])
        else:
            lines.append(f"{TRAIL.join(passage.trail[len(trail) :])}: {passage.text}")
        last = passage.trail
    return replace(hit, trail=trail, text="\n".join(lines), place=_places(together))


def _places(together: Sequence[Passage]) -> str:
    places = [passage.place for passage in together if passage.place]
    if not places or places[0] == places[-1]:
        return places[0] if places else ""
    return f"{places[0]} to {places[-1]}"
