"""PDF: the text of each page in paragraphs, by pypdf."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from edgeproxy.documents.faults import FAULTS, said
from edgeproxy.documents.missing import needed
from edgeproxy.documents.passage import Block
from edgeproxy.documents.source import Source

MAX_PAGES = 50_000
MAX_BAD_PAGES = 100
MAX_OPERATIONS = 2_000_000
"""How many drawing operations a page has at most; a page of dense text has some thousands."""

_HYPHEN = re.compile(r"[^\W\d_][-\u2010\xad]$")
_ENDS_SENTENCE = re.compile(r"[.!?:;\u2026\u3002][\"'\u201d\u2019)\]]*$")
_ITEM = re.compile(r"(?:[-*\u2022\u2023\u25aa\u25cf\u2013]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s")
_SHORT_LINE = 0.75
"""Of the page's longest line: a shorter one that ends a sentence ends a paragraph."""


def read(source: Source) -> Iterator[Block]:
    """Its paragraphs, page by page. A page that cannot be read is noted among its problems.

    Raises `MissingReaderError`; `UnreadableError` for a file that is damaged, encrypted or has no
    text; `OSError`.
    """
    pypdf = needed("pypdf", "pypdf", source.path, "PDF")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)  # it would write to the terminal
    pages = _pages(pypdf, source)
    found = False
    for number in range(1, len(pages) + 1):
        source.check()
        try:
            text = _text_of(pages[number - 1], source)
        except (pypdf.errors.PyPdfError, *FAULTS) as error:
            source.note(f"page {number} cannot be read: {said(error)}")
            if number == MAX_BAD_PAGES and not found:
                break
            continue
        for paragraph in paragraphs(text):
            found = True
            yield Block(paragraph, (), f"page {number}")
    if not found:
        raise source.unreadable(
            f"this PDF cannot be read: {source.problems[0]}"
            if source.problems
            else "this PDF has no text, only pictures of pages perhaps; recognise its text first, "
            "as with ocrmypdf"
        )


def _pages(pypdf: ModuleType, source: Source) -> list[Any]:
    """Its pages. Raises `UnreadableError`."""
    try:
        reader = pypdf.PdfReader(source.file, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise source.unreadable(
                "this PDF is encrypted; save it without its password, as with qpdf --decrypt"
            )
        pages = []
        for page in reader.pages:
            source.check()
            pages.append(page)
            if len(pages) > MAX_PAGES:
                raise source.unreadable(f"this PDF has more than {MAX_PAGES:,} pages")
    except pypdf.errors.DependencyError as error:
        raise source.unreadable(
            f"this PDF is encrypted, and pypdf needs more to read it ({said(error)}); save it "
            "without encryption, as with qpdf --decrypt"
        ) from None
    except (pypdf.errors.PyPdfError, *FAULTS) as error:
        raise source.unreadable(f"this PDF cannot be read: {said(error)}") from None
    if not pages:
        raise source.unreadable("this PDF has no pages")
    return pages


def _text_of(page: Any, source: Source) -> str:
    done = 0

    def operation(*_: Any) -> None:
        nonlocal done
        done += 1
        source.check()
        if done > MAX_OPERATIONS:
            raise ValueError(f"it has more than {MAX_OPERATIONS:,} drawing operations")

    text = page.extract_text(visitor_operand_before=operation)
    return text if isinstance(text, str) else ""


def paragraphs(text: str) -> Iterator[str]:
    """A page's lines joined to paragraphs, with words whole that a hyphen has parted.

    Pages have no paragraphs, only lines. One ends at a blank line, before an item of a list, and
    with a sentence whose last line is clearly shorter than the page's longest.
    """
    lines = text.replace("\r", "").split("\n")
    longest = max(map(len, lines))
    together: list[str] = []
    for line in (" ".join(line.split()) for line in lines):
        if together and (not line or _ITEM.match(line)):
            yield " ".join(together)
            together = []
        if not line:
            continue
        if together and line[0].islower() and _HYPHEN.search(together[-1][-2:]):
            together[-1] = together[-1][:-1] + line
        else:
            together.append(line)
        if _ENDS_SENTENCE.search(line[-8:]) and len(line) < _SHORT_LINE * longest:
            yield " ".join(together)
            together = []
    if together:
        yield " ".join(together)
