"""Bytes to text, piece by piece: `push` what has come, `flush` at the end.

Both hold back what is not yet certain: half a character, or the beginning of a stop string. `spans`
tells where each piece stands in the text.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from edgeproxy.errors import UsageError


class Utf8:
    """UTF-8 bytes that arrive cut anywhere -> text. Damaged bytes become U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, data: bytes) -> str:
        """The characters completed by `data`."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What was held back; an unfinished character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)

    @property
    def is_within_a_character(self) -> bool:
        """Whether something is held back."""
        return bool(self._decoder.getstate()[0])


def spans(pieces: Iterable[bytes]) -> list[tuple[int, int]]:
    """Of each piece the characters that hold its bytes: [start, end) in the text of them all.

    A character that several pieces make belongs to each of them. An empty piece has none.
    """
    utf8, length, found = Utf8(), 0, []
    for data in pieces:
        start = length
        length += len(utf8.push(data))
        found.append((start, length + utf8.is_within_a_character if data else start))
    return found


class StopStrings:
    """Text up to the first of `stops`, which is itself left out; `stopped` tells that it came.

    Raises `UsageError` for an empty stop string.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        if not all(stops):
            raise UsageError("a stop string cannot be empty")
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """What is now certain to stand before any stop string."""
        if self.stopped:
            return ""
        text = self._held + text
        # The one that is complete first, however the text was cut; of two, the longer.
        found = [(at + len(s), at) for s in self._stops if (at := text.find(s)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)[1]]
        keep = self._beginning_of_a_stop(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, now that nothing follows."""
        text, self._held = self._held, ""
        return text

    def _beginning_of_a_stop(self, text: str) -> int:
        """The length of the longest end of `text` that begins a stop string."""
        longest = min(len(text), max(map(len, self._stops), default=0) - 1)
        return next(
            (n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in self._stops)),
            0,
        )
