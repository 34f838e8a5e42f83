"""The objects of one JSON array, as it is read: files of any size, such as alpaca's."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from functools import partial

from edgeproxy.errors import UsageError
from edgeproxy.tune.lines import MAX_LINE, Lines, Record, json_object

_OPENING = re.compile(r"[ \t\r\n]*\[?")
_GAP = re.compile(r"[ \t\r\n,]*")
_CLOSING = re.compile(r"\]?[ \t\r\n]*")


def array_records(lines: Lines) -> Iterator[Record]:
    """The objects of an array, of which only the next ones are in memory.

    What is not JSON has no end, and nothing behind it can be read: `UsageError` at once.
    """
    text = _Text(lines)
    parse = json.JSONDecoder().raw_decode
    text.skip(_OPENING)
    while True:
        text.skip(_GAP)
        if text.held.startswith("]", text.at):
            text.skip(_CLOSING)
            if text.at < len(text.held) or text.more():
                raise text.wrong("something follows the array")
            return
        try:
            value, end = parse(text.held, text.at)
        except RecursionError:
            raise text.wrong("this is nested too deeply") from None
        except ValueError:
            if len(text.held) - text.at > MAX_LINE:
                what = f"this is not JSON, or an object of more than {MAX_LINE >> 20} MB"
                raise text.wrong(what) from None
            if not text.more():
                ended = text.at == len(text.held)
                raise text.wrong("the array has no end" if ended else "this is not JSON") from None
            continue
        yield Record(text.line, partial(json_object, value))
        text.move(end)


class _Text:
    """The text of a file, of which only what is being looked at is `held`, from `at` on."""

    def __init__(self, lines: Lines) -> None:
        self.held, self.at, self.line = "", 0, 1
        self._lines = lines
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()

    def more(self) -> bool:
        """Read on; whether there was anything."""
        block = self._lines.read_block()
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError:
            raise self.wrong("what follows is not UTF-8 text; convert it first") from None
        self.held, self.at = self.held[self.at :] + text, 0
        return bool(block)

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Go behind all that matches, however much of it there is."""
        while True:
            found = pattern.match(self.held, self.at)
            self.move(found.end() if found else self.at)
            if self.at < len(self.held) or not self.more():
                return

    def move(self, end: int) -> None:
        """Go on to `end`."""
        self.line += self.held.count("\n", self.at, end)
        self.at = end

    def wrong(self, what: str) -> UsageError:
        """What is wrong here; nothing behind it can be read."""
        return UsageError(
            f"{self._lines.path}:{self.line}: {what}; mend it, or write an object of JSON a line"
        )
