"""What goes to standard output and standard error, safe for a terminal.

May touch: the two streams. A model, a file's metadata and a file's name may hold control characters
that would drive a terminal; none reaches one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

_CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
_BIDIRECTIONAL = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]

_BOLD, _NOT_BOLD = "\x1b[1m", "\x1b[0m"

# Model text keeps its lines and its direction marks, which Arabic and Hebrew need.
_IN_TEXT = {code: "\ufffd" for code in _CONTROLS if chr(code) not in "\n\t"}
# In a message, a file's name must be seen for what it is.
_IN_MESSAGE = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in [*_CONTROLS, *_BIDIRECTIONAL]
}


def clean(text: str) -> str:
    """`text` of a model's as a terminal may see it: without controls other than line and tab."""
    return text.translate(_IN_TEXT)


def clean_message(text: str) -> str:
    """`text` on one line, with every control and direction character spelled out."""
    return " ".join(text.splitlines()).translate(_IN_MESSAGE)


def prepare_streams() -> None:
    """Both streams speak UTF-8 whatever the locale, and no text can make them fail."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]


def silence_stdout() -> None:
    """Send the rest of standard output nowhere, so that the interpreter can close it in peace."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads or writes this stream directly."""
    with contextlib.suppress(ValueError):
        return stream is not None and stream.isatty()
    return False


def write(text: str) -> None:
    """Put a model's text on standard output at once. Raises `BrokenPipeError` as files do."""
    if sys.stdout is None:
        raise BrokenPipeError
    sys.stdout.write(clean(text) if is_terminal(sys.stdout) else text)
    sys.stdout.flush()


Styled = tuple[str, str]
"""The parameters of SGR, such as "4" for underlined, or "" for none, and text in that style."""


def has_colours() -> bool:
    """Whether standard output is a terminal whose reader wants colours (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return is_terminal(sys.stdout) and not plain


def write_styled(parts: Iterable[Styled]) -> None:
    """Put text on standard output, in its styles where there are colours; see `write`."""
    if sys.stdout is None:
        raise BrokenPipeError
    colours = has_colours()
    made_safe = clean if is_terminal(sys.stdout) else str
    for style, text in parts:
        shown = made_safe(text)
        sys.stdout.write(f"\x1b[{style}m{shown}\x1b[0m" if colours and style and text else shown)
    sys.stdout.flush()


def write_marked(text: str, spans: Sequence[tuple[int, int]]) -> None:
    """Put `text` on standard output, stretches of it in bold type, or between stars without that.

    `spans` are where they begin and end, one behind another.
    """
    is_bold = is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")
    at = 0
    for start, end in spans:
        write(text[at:start])
        if is_bold:
            sys.stdout.write(f"{_BOLD}{clean(text[start:end])}{_NOT_BOLD}")
        else:
            write(f"*{text[start:end]}*")
        at = end
    write(text[at:])


def write_lines(lines: Sequence[str]) -> None:
    """Put lines on standard output, their columns kept and all else made safe."""
    write("".join(_one_line(line) + "\n" for line in lines))


def _one_line(line: str) -> str:
    return "".join(clean_message(c) if not c.isspace() else " " for c in line).rstrip()


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, with what is above each other aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def write_json(content: Any, indent: int | None = None) -> None:
    """Put one JSON object on standard output, strictly: no NaN, no infinity."""
    write(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent) + "\n")


def say(message: str, *, dim: bool = False) -> None:
    """Put one line on standard error, if anyone listens."""
    line = clean_message(message)
    if dim and is_terminal(sys.stderr) and not os.environ.get("NO_COLOR"):
        line = f"\x1b[2m{line}\x1b[0m"
    _to_stderr(line + "\n")


def _to_stderr(text: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


class StatusLine:
    """One line on standard error that is written over while work lasts, then wiped.

    Nothing appears where nobody sees it, nor for work that ends within `patience` seconds.
    """

    def __init__(self, patience: float = 0.5) -> None:
        self._next = time.monotonic() + patience
        self._width = 0
        self._shown = is_terminal(sys.stderr)

    def show(self, text: str) -> None:
        """Show `text` in place of what was there, at most ten times a second."""
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + 0.1
            # A line that wraps could not be written over.
            line = clean_message(text)[: shutil.get_terminal_size().columns - 1]
            _to_stderr("\r" + line.ljust(self._width))
            self._width = len(line)

    def clear(self) -> None:
        """Wipe the line."""
        if self._width:
            _to_stderr("\r" + " " * self._width + "\r")
            self._width = 0
