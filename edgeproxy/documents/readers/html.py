"""HTML: paragraphs, items and rows below their headings; by lxml, which parses as it is fed.

Scripts, styles, navigation, forms' fields and what is hidden are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType

from edgeproxy.documents.cleaning import clean, one_line
from edgeproxy.documents.missing import needed
from edgeproxy.documents.passage import Block
from edgeproxy.documents.source import MAX_BLOCK, Source
from edgeproxy.documents.tables import row_text
from edgeproxy.documents.trails import MAX_HEADING, Headings

_LEVELS = {f"h{level}": level for level in range(1, 7)}
_SKIPPED_NAMES = (
    "script style template noscript svg math nav iframe object select textarea button audio video "
    "canvas datalist dialog"
)
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
_BLOCKS_NAMES = (
    "html body main article section div p ul ol li dl dt dd blockquote pre figure figcaption aside "
    "header footer address details summary form fieldset hr table caption thead tbody tr"
)
_BLOCKS = frozenset(_BLOCKS_NAMES.split())
_MAX_CELLS = 1000


class _Target:
    """What lxml tells of tags and text; `done` are the blocks that this has completed."""

    def __init__(self) -> None:
        self.done: list[Block] = []
        self._headings = Headings()
        self._title = ""
        self._texts: list[str] = []
        self._length = 0
        self._skipping = 0
        self._in_title = False
        self._has_blocks = False
        self._preformatted = 0
        self._columns: list[str] = []
        self._cells: list[tuple[str, bool]] | None = None
        self._cell_is_header: bool | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """A tag opens; also where only lxml puts it."""
        if self._skipping or tag in _SKIPPED or _is_hidden(attributes):
            self._skipping += 1
            return
        if tag in ("td", "th"):
            self._end_cell()
            if self._cells is None:  # the tag of the row may be left out
                self._end_block()
                self._cells = []
            self._cell_is_header = tag == "th"
        elif tag == "br":
            self._texts.append("\n" if self._preformatted else " ")
        elif tag == "title":
            self._end_block()
            self._in_title = not self._title
        elif tag in _BLOCKS or tag in _LEVELS:
            self._end_block()
            self._preformatted += tag == "pre"
            if tag == "table":
                self._end_row()
                self._columns = []
            elif tag == "tr":
                self._end_row()
                self._cells = []

    def end(self, tag: str) -> None:
        """A tag closes; also where only lxml closes it."""
        if self._skipping:
            self._skipping -= 1
        elif tag in ("td", "th"):
            self._end_cell()
        elif tag == "title":
            if self._in_title:
                self._title = one_line("".join(self._texts))[:MAX_HEADING]
                self._in_title = False
            self._drop()
        elif tag in _LEVELS and self._cells is None:
            self._put(self._headings.add(_LEVELS[tag], "".join(self._texts)))
            self._drop()
        elif tag in _BLOCKS:
            if tag in ("tr", "table"):
                self._end_row()
            self._end_block()
            self._preformatted = max(0, self._preformatted - (tag == "pre"))
            if tag == "table":
                self._columns = []

    def data(self, text: str) -> None:
        """Text, in pieces of any size."""
        if self._skipping:
            return
        self._texts.append(text)
        self._length += len(text)
        if self._length > MAX_BLOCK and self._cells is None and not self._in_title:
            joined = "".join(self._texts)
            end = joined.rfind(" ") + 1 or len(joined)
            self._texts = [joined[:end]]
            self._end_block()
            self._texts, self._length = [joined[end:]], len(joined) - end
        elif self._length > 4 * MAX_BLOCK:
            self._in_title = False
            self._end_row()  # with the cell that is too long
            self._end_block()

    def close(self) -> None:
        """The document ends."""
        self._end_row()
        self._end_block()
        self._put(self._headings.end())
        if not self._has_blocks and self._title:
            self.done.append(Block(self._title))

    def _put(self, block: Block | None) -> None:
        if block is None:
            return
        self._has_blocks = True
        top = block.trail[0] if block.trail else ""
        if self._title and not (top and top in self._title):
            block = block._replace(trail=(self._title, *block.trail))
        self.done.append(block)

    def _drop(self) -> None:
        self._texts, self._length = [], 0

    def _end_block(self) -> None:
        if self._cell_is_header is not None or self._in_title:
            self._texts.append(" ")  # a paragraph in a cell
            return
        text = "".join(self._texts)
        self._drop()
        text = text.strip("\n") if self._preformatted else " ".join(text.split())
        if text and not text.isspace():
            self._put(Block(text, self._headings.trail))

    def _end_cell(self) -> None:
        if self._cell_is_header is None:
            return
        is_header, self._cell_is_header = self._cell_is_header, None
        if self._cells is None:
            return
        self._cells.append((" ".join("".join(self._texts).split()), is_header))
        self._drop()
        if len(self._cells) >= _MAX_CELLS:
            self._end_row()
            self._cells = []

    def _end_row(self) -> None:
        self._end_cell()
        cells, self._cells = self._cells or [], None
        self._drop_blank()
        if not cells:
            return
        texts = [text for text, _ in cells]
        if len(cells) > 1 and all(is_header for _, is_header in cells):
            self._columns = texts
            return
        if not self._columns and len(cells) > 1 and cells[0][1]:
            text = row_text((), ["; ".join(filter(None, texts[1:]))])
            self._put(Block(f"{texts[0]}: {text}", self._headings.trail))
        elif any(texts):
            self._put(Block(row_text(self._columns, texts), self._headings.trail))

    def _drop_blank(self) -> None:
        if not "".join(self._texts).strip():
            self._drop()


def read(source: Source) -> Iterator[Block]:
    """Its blocks, without places: HTML has no lines that a person sees.

    Raises `MissingReaderError`, `UnreadableError` where lxml gives up, `OSError`.
    """
    etree: ModuleType = needed("lxml.etree", "lxml", source.path, "HTML")
    target = _Target()
    parser = etree.HTMLParser(target=target, encoding="utf-8")
    fed = False
    try:
        for text in source.texts():
            data = clean(text)
            if data.strip() or fed:
                parser.feed(data.encode("utf-8"))
                fed = True
            yield from target.done
            target.done.clear()
        if fed:
            parser.close()
    except etree.LxmlError as error:
        raise source.unreadable(f"this is not HTML that lxml can read: {error}") from None
    yield from target.done


def _is_hidden(attributes: Mapping[str, str]) -> bool:
    if "hidden" in attributes:
        return True
    style = attributes.get("style")
    return style is not None and "display:none" in style[:1000].replace(" ", "").lower()
