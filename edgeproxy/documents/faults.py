"""What parsers of other people's raise when a file is damaged, beside errors of their own."""

from __future__ import annotations

import struct
import zlib

FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    UnboundLocalError,
    ValueError,
    struct.error,
    zlib.error,
)
"""Parsers written in Python for whole files fall over damage in all of these ways."""


def said(error: BaseException) -> str:
    """What an error says, in one short line, or its kind where it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__
