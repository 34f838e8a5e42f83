"""Which kind of document a file is, and its blocks: `open_document`.

May touch: the files that it is given, read only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from io import FileIO
from pathlib import Path

from edgeproxy.core.cancel import Cancel
from edgeproxy.documents.cleaning import clean, one_line
from edgeproxy.documents.encodings import decide, looks_like_text
from edgeproxy.documents.passage import Block
from edgeproxy.documents.source import MAX_BLOCK, Source, pieces
from edgeproxy.errors import UnreadableError
from edgeproxy.files import open_regular, reason


@dataclass(frozen=True)
class Kind:
    """A kind of document: its name for a person, and the module in `readers` that reads it.

    One that `is_text` has an encoding. `suffixes` are of files that are of this kind.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    is_text: bool = True


TEXT = Kind("text", "text", (".txt", ".text", ".log", ".rst"))
MARKDOWN = Kind("Markdown", "markdown", (".md", ".markdown", ".mdown", ".mkd"))
HTML = Kind("HTML", "html", (".html", ".htm", ".xhtml"))
CSV = Kind("CSV", "csv", (".csv", ".tsv", ".tab"))
JSON = Kind("JSON", "json", (".json", ".geojson", ".jsonld"))
JSON_LINES = Kind("JSON lines", "json_lines", (".jsonl", ".ndjson"))
PDF = Kind("PDF", "pdf", (".pdf",), is_text=False)
WORD = Kind("Word", "word", (".docx", ".docm"), is_text=False)
KINDS = (TEXT, MARKDOWN, HTML, CSV, JSON, JSON_LINES, PDF, WORD)

BY_SUFFIX = {suffix: kind for kind in KINDS for suffix in kind.suffixes}

_NOT_READ = (
    ".7z .a .aac .avi .bin .bmp .bz2 .class .db .dll .doc .dylib .eps .epub .exe .flac .gguf "
    ".gif .gz .heic .ico .iso .jar .jpeg .jpg .lock .m4a .mkv .mov .mp3 .mp4 .npy .npz .o "
    ".odp .ods .odt .ogg .onnx .otf .parquet .pkl .png .ppt .pptx .ps .psd .pt .pyc .rar .rtf "
    ".safetensors .so .sqlite .svg .tar .tgz .tif .tiff .ttf .wasm .wav .webm .webp .whl "
    ".woff .woff2 .xls .xlsx .xz .zip .zst"
)
NOT_READ = frozenset(_NOT_READ.split())
"""Suffixes of pictures, sound, programs, archives and formats without a reader here."""

MOST_CONTROLS = 0.05
"""The share of control characters in a file whose suffix says that it is text."""

HEAD = 1 << 16
"""How many bytes are looked at where the suffix does not tell."""

MAX_PLACE = 500
"""How many characters a place has at most, as the path of a field may have more."""

_CHARSET = re.compile(
    rb"""(?:charset|encoding)\s*=\s*["']?([A-Za-z0-9_:.-]{2,40})""", re.IGNORECASE
)
_HTML_BEGINS = re.compile(rb"\s*(?:<!doctype html|<html)\b", re.IGNORECASE)


@dataclass
class Reading:
    """A document that is open: its kind, its encoding (empty for PDF and Word), and its blocks.

    `blocks` can be gone through once, and raises `UnreadableError`, `MissingReaderError`,
    `Cancelled` or `OSError`. Behind its end `problems` says what parts were left out, and why.
    """

    kind: Kind
    encoding: str
    blocks: Iterator[Block]
    problems: list[str] = field(default_factory=list)


def kind_of(path: Path) -> Kind | None:
    """The kind of the file at `path`; None for what is no document, or of no kind that is read.

    Raises `OSError`, and `ValueError` for what cannot be a path.
    """
    if path.suffix.lower() in NOT_READ:
        return None
    with open_regular(path) as file:
        return _kind(path, file.read(HEAD) or b"")


def _kind(path: Path, head: bytes) -> Kind | None:
    kind = BY_SUFFIX.get(path.suffix.lower())
    if kind is not None and not kind.is_text:
        return kind  # its reader says what is wrong with it
    if head.lstrip().startswith(b"%PDF-"):
        return PDF
    if head.startswith(b"PK\x03\x04") and b"word/" in head:
        return WORD
    if kind is not None or path.suffix.lower() in NOT_READ:
        return kind
    if not looks_like_text(head):
        return None
    return HTML if _HTML_BEGINS.match(head) else TEXT


@contextmanager
def open_document(path: Path, heard: Cancel | None = None) -> Iterator[Reading]:
    """The document at `path`, open for as long as this lasts. Setting `heard` stops the reading.

    Raises `UnreadableError` for what cannot be read or is of no kind that is, and `Cancelled`.
    """
    with closing(_opened(path)) as file:
        source = Source(path, file, heard)
        try:
            kind, encoding = _looked_at(source)
        except OSError as error:
            raise source.unreadable(reason(error)) from None
        read: Callable[[Source], Iterator[Block]]
        read = import_module(f"edgeproxy.documents.readers.{kind.module}").read
        with closing(_whole(source, read)) as blocks:
            yield Reading(kind, encoding, blocks, source.problems)


def _opened(path: Path) -> FileIO:
    try:
        return open_regular(path)
    except (OSError, ValueError) as error:
        raise UnreadableError(path, reason(error)) from None


def _looked_at(source: Source) -> tuple[Kind, str]:
    """The kind of an open file and its encoding, which is set."""
    head = source.file.read(HEAD) or b""
    source.file.seek(0)
    kind = _kind(source.path, head)
    if kind is None:
        raise source.unreadable("this is no document of a kind that edgeproxy reads")
    if not kind.is_text:
        return kind, ""
    if not looks_like_text(head, MOST_CONTROLS):
        raise source.unreadable(f"this is not {kind.name}: its bytes are no text")
    hint = _CHARSET.search(head[:4096]) if kind is HTML else None
    claimed = hint[1].decode("ascii") if hint else None
    source.codec, name = decide(source.file, claimed, source.check)
    return kind, name


def _whole(
    source: Source, read: Callable[[Source], Iterator[Block]]
) -> Generator[Block, None, None]:
    """A reader's blocks as they leave: clean, not empty, and not too large."""
    try:
        for text, trail, place in read(source):
            cleaned = clean(text)
            if not cleaned or cleaned.isspace():
                continue
            trail = tuple(filter(None, map(one_line, trail)))
            place = one_line(place)[:MAX_PLACE] if place else ""
            if len(cleaned) <= MAX_BLOCK:
                yield Block(cleaned, trail, place)
                continue
            for piece in pieces(cleaned):
                source.check()
                yield Block(piece, trail, place)
    except OSError as error:
        raise source.unreadable(reason(error)) from None
