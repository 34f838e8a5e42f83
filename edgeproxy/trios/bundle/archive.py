"""The container: an uncompressed tar file of regular files, in the one form that it can have.

POSIX calls it ustar; a size of 8 GiB or more is in base 256, as GNU tar, bsdtar and Python write
it. Times, owners and modes are always the same, so a header follows from a file's path and size. A
reader therefore need not understand tar: it makes the header that it expects, and compares.
"""

from __future__ import annotations

from collections.abc import Iterable

BLOCK = 512
END = bytes(2 * BLOCK)
"""What a tar file ends with."""

_OCTAL_SIZES = 8**11
_CHECKSUM = slice(148, 156)
_TYPES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a FIFO",
    b"7": "a file of a special kind",
}


def header(path: str, size: int) -> bytes:
    """The block before a file of `size` bytes at `path`.

    Raises `ValueError` for a path that is not ASCII or too long for the format.
    """
    prefix, name = _split(path)
    block = b"".join(
        (
            name.encode("ascii").ljust(100, b"\0"),
            b"0000644\0",  # mode
            b"0000000\0",  # owner
            b"0000000\0",  # group
            _size(size),
            b"00000000000\0",  # time
            b" " * 8,  # checksum, for now
            b"0",  # a regular file
            bytes(100),  # what a link would lead to
            b"ustar\x0000",
            bytes(64),  # names of owner and group
            b"0000000\0" * 2,  # device
            prefix.encode("ascii").ljust(155, b"\0"),
            bytes(12),
        )
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def size_of(block: bytes) -> int:
    """The size that a header declares; -1 where it declares none."""
    field = block[124:136]
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.rstrip(b"\0 ")
    return int(digits, 8) if digits.isdigit() and not digits.strip(b"01234567") else -1


def describe(block: bytes) -> str:
    """What stands where another header was expected, in words."""
    if not any(block):
        return "the end of the archive"
    checksum = block[:148] + b" " * 8 + block[156:]
    if block[_CHECKSUM] != b"%06o\0 " % sum(checksum):
        return "no header, or a damaged one"
    name = block[:100].rstrip(b"\0").decode("ascii", "backslashreplace")
    prefix = block[345:500].rstrip(b"\0").decode("ascii", "backslashreplace")
    kind = _TYPES.get(block[156:157], "a file")
    return f"{kind} {prefix + '/' if prefix else ''}{name}"


def padding(size: int) -> int:
    """How many zeros follow a file of `size` bytes."""
    return -size % BLOCK


def space(size: int) -> int:
    """How many bytes a file of `size` takes, with its header and its padding."""
    return BLOCK + size + padding(size)


def length(sizes: Iterable[int]) -> int:
    """How long an archive of files of these sizes is, in bytes."""
    return sum(map(space, sizes)) + len(END)


def _size(size: int) -> bytes:
    if size < _OCTAL_SIZES:
        return b"%011o\0" % size
    return b"\x80" + size.to_bytes(11, "big")


def _split(path: str) -> tuple[str, str]:
    """`path` as the format's prefix and name: a long one is cut at its first fitting slash."""
    if len(path) <= 100:
        return "", path
    for at, letter in enumerate(path):
        if letter == "/" and 0 < at <= 155 and len(path) - at - 1 <= 100:
            return path[:at], path[at + 1 :]
    raise ValueError(f"{path!r} is too long for a tar file")
