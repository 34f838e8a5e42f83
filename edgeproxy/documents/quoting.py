"""A short stretch of a text around what matches in it."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 160
"""So many characters a quotation has at most, its ellipses not counted."""
_MANY = 2000


def quotation(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The stretch of `text` that holds most of `spans`, cut at spaces, or all of a short text."""
    if len(text) <= LONGEST:
        return text.strip()
    sorted_spans = sorted(set(spans))[:_MANY]
    first, last = _fullest(sorted_spans)
    slack = max(0, LONGEST - (last - first))
    start = max(0, first - slack // 3)
    end = min(len(text), start + LONGEST)
    start = max(0, end - LONGEST)
    # Cut where a word ends, if one does nearby; scripts without spaces are cut anywhere.
    if start and (space := text.find(" ", start, min(first, start + LONGEST // 4))) >= 0:
        start = space + 1
    if end < len(text) and (space := text.rfind(" ", max(last, end - LONGEST // 4), end)) >= 0:
        end = space
    before, after = "... " if start else "", " ..." if end < len(text) else ""
    return f"{before}{text[start:end].strip()}{after}"


def _fullest(spans: list[tuple[int, int]]) -> tuple[int, int]:
    """The stretch of at most `LONGEST` characters that holds most of `spans`."""
    best, low = (0, 0, 0), 0
    for high, (_, end) in enumerate(spans):
        while low < high and end - spans[low][0] > LONGEST:
            low += 1
        if high - low + 1 > best[0]:
            best = (high - low + 1, spans[low][0], end)
    return best[1], min(best[2], best[1] + LONGEST)
