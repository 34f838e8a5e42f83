"""JSON lines: each line a value by itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from edgeproxy.documents.passage import Block
from edgeproxy.documents.readers.values import NotJson, parse, value_blocks
from edgeproxy.documents.source import Source
from edgeproxy.errors import UnreadableError

MAX_LINE = 4 << 20
"""How many characters a line has at most."""


def read(source: Source) -> Iterator[Block]:
    """The fields of each line. A line that is not JSON is noted among the source's problems.

    Raises `UnreadableError` where no line is JSON or one is too long, `OSError`.
    """
    good, first_problem = 0, ""
    for number, line in source.long_lines(MAX_LINE):
        if not line.strip():
            continue
        try:
            yield from value_blocks(parse(line, source.check), f"line {number}")
            good += 1
        except NotJson as error:
            problem = f"line {number} is not JSON that can be read: {error}"
            first_problem = first_problem or problem
            source.note(problem)
    if first_problem and not good:
        raise source.unreadable(f"no line of it is JSON; {first_problem}")


def fits(source: Source) -> bool:
    """Whether the first two lines of a file that are not empty are values of JSON."""
    lines = (line for _, line in source.long_lines(MAX_LINE) if line.strip())
    try:
        first = list(islice(lines, 2))
        for line in first:
            parse(line, source.check)
    except (UnreadableError, NotJson):
        return False
    return len(first) == 2
