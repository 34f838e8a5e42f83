"""Which encoding a text file is in; the whole file is looked at, once and in chunks.

A byte-order mark decides; then UTF-8 where (nearly) all of it is that; UTF-16 by where its NULs
stand; what the document says of itself; what charset-normalizer finds, where that is installed;
else windows-1252.

May touch: the file that it is given, read only.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from io import FileIO

CHUNK = 1 << 18
"""How many bytes are read at once."""

FALLBACK = "windows-1252"
_NAMES = (
    "windows-1252 windows-1251 windows-1250 windows-1253 windows-1254 windows-1255 windows-1256 "
    "windows-1257 windows-1258 iso8859-2 iso8859-5 iso8859-7 iso8859-9 iso8859-15 koi8-r koi8-u "
    "shift_jis euc_jp iso2022_jp gb18030 big5 euc_kr cp949 tis-620 cp437 cp850 cp852 cp866 "
    "mac-roman"
)
KNOWN = _NAMES.split()
"""What a text may be in, besides Unicode's own, in the order in which a doubt is settled."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16"),
)
_SAMPLE = 1 << 14
_FEW = 0.01
"""The share of characters that may be wrong in a text that still counts as UTF-8."""

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\v\x08\x1b"))
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_ALIASES = {codecs.lookup(name).name: name for name in KNOWN}
# What is called latin-1 or ASCII on the web is windows-1252.
_ALIASES |= {"iso8859-1": FALLBACK, "ascii": FALLBACK, "gbk": "gb18030", "gb2312": "gb18030"}


def looks_like_text(head: bytes, most: float = _FEW) -> bool:
    """Whether a file that begins with `head` is text: it has a mark, or hardly any controls.

    `most` is the share of its bytes that may be control characters.
    """
    if any(head.startswith(mark) for mark, _, _ in _MARKS) or _utf16_by_nuls(head):
        return True
    controls = len(head) - len(head.translate(None, _CONTROLS))
    return controls <= most * len(head)


def decide(
    file: FileIO, hint: str | None = None, check: Callable[[], None] | None = None
) -> tuple[str, str]:
    """Python's codec for `file`, and the encoding's name for a person.

    `hint` is an encoding that the document claims; it counts where the text is not Unicode.
    `check` is called between chunks, and may raise to stop. Reads the file to its end and goes back
    to its beginning. Raises `OSError`.
    """
    try:
        file.seek(0)
        return _decide(file, hint, check)
    finally:
        file.seek(0)


def _decide(file: FileIO, hint: str | None, check: Callable[[], None] | None) -> tuple[str, str]:
    head = file.read(CHUNK) or b""
    for mark, codec, name in _MARKS:
        if head.startswith(mark):
            return codec, name
    if found := _utf16_by_nuls(head):
        return found, found
    counter = _Utf8Counter()
    chunk = head
    while chunk:
        if check:
            check()
        counter.add(chunk)
        chunk = file.read(CHUNK) or b""
    if counter.wrong <= _FEW * counter.right:
        return "utf-8", "utf-8"
    if hint and (known := _known(hint)):
        return known, known
    found = _detected(counter.sample) or FALLBACK
    return found, found


class _Utf8Counter:
    """Counts characters beyond ASCII that are right, and that are wrong, as UTF-8."""

    def __init__(self) -> None:
        self.right = 0
        self.wrong = 0
        self.sample = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, chunk: bytes) -> None:
        """Count what is in `chunk`; wrong bytes go into the sample, up to its size."""
        text = self._decoder.decode(chunk)
        if text.isascii():
            return
        wrong = text.count("\ufffd") - chunk.count(b"\xef\xbf\xbd")
        self.wrong += max(0, wrong)
        self.right += len(text) - len(text.encode("ascii", "ignore")) - wrong
        if wrong > 0 and len(self.sample) < _SAMPLE:
            self.sample += _lines_beyond_ascii(chunk)


def _lines_beyond_ascii(chunk: bytes) -> bytes:
    """The lines of `chunk` that are not plain ASCII, to the size of a sample."""
    found = bytearray()
    start = 0
    while len(found) < _SAMPLE and (match := _NOT_ASCII.search(chunk, start)):
        begin = max(chunk.rfind(b"\n", start, match.start()) + 1, match.start() - 200, start)
        end = chunk.find(b"\n", match.start()) + 1 or len(chunk)
        end = min(end, begin + _SAMPLE)
        found += chunk[begin:end]
        start = end
    return bytes(found[:_SAMPLE])


def _utf16_by_nuls(head: bytes) -> str | None:
    """UTF-16 without a mark: NULs stand in one half of each pair alone, and it decodes well."""
    head = head[: _SAMPLE & ~1]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) < max(1, len(head) // 200) or min(even, odd) * 3 > max(even, odd) * 2:
        return None
    others = len(head) - len(head.translate(None, _CONTROLS)) - even - odd
    if head.isascii() and not others and even + odd < len(head) // 5:
        return None  # ASCII with some NULs in it
    codec = "utf-16-le" if odd > even else "utf-16-be"
    text = codecs.getincrementaldecoder(codec)("replace").decode(head)
    good = sum(char.isprintable() or char.isspace() for char in text if char != "\ufffd")
    return codec if text and good >= (1 - _FEW) * len(text) else None


def _known(name: str) -> str | None:
    """The name in `KNOWN` of an encoding that a document claims; None for any other.

    Python has codecs that are no encodings of text, and some that hostile input could abuse.
    """
    try:
        return _ALIASES.get(codecs.lookup(name).name)
    except (LookupError, ValueError):
        return None


def _detected(sample: bytes) -> str | None:
    try:
        import charset_normalizer
    except ImportError:
        return None
    isolation = list(_ALIASES)
    best = charset_normalizer.from_bytes(sample, cp_isolation=isolation).best()
    return _known(best.encoding) if best else None
