"""JSON: each field with the names that lead to it; JSON lines where a file turns out to be that."""

from __future__ import annotations

from collections.abc import Iterator

from edgeproxy.documents.passage import Block
from edgeproxy.documents.readers import json_lines
from edgeproxy.documents.readers.values import MoreFollows, NotJson, parse, value_blocks
from edgeproxy.documents.source import Source

MAX_BYTES = 64 << 20
TOO_LARGE = (
    f"JSON of more than {MAX_BYTES >> 20} MB is not read, for it must be in memory as a whole; "
    "make JSON lines of it, one value a line (jq -c '.[]')"
)


def read(source: Source) -> Iterator[Block]:
    """Its fields. Raises `UnreadableError`: not JSON, too large, nested too deep; `OSError`."""
    if source.size() > MAX_BYTES and json_lines.fits(source):
        yield from json_lines.read(source)
        return
    text = source.whole(MAX_BYTES, TOO_LARGE)
    if not text.strip():
        return
    try:
        yield from value_blocks(parse(text, source.check))
        return
    except MoreFollows as error:
        if not json_lines.fits(source):
            raise source.unreadable(f"this is not JSON: {error}") from None
    except NotJson as error:
        raise source.unreadable(f"this is not JSON that can be read: {error}") from None
    yield from json_lines.read(source)
