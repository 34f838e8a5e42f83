"""What a trio has read, in a file: tokens and states, checked before anything is made of them.

    magic (8 bytes), version and length of the header (4 each) | header | its sha256 | three states

All little-endian. The header is JSON: for each role what its state was made with (see
`Saving.origin`), the tokens it has read, and the state's size and sha256. The header's sha256 is of
everything before it. Nothing reaches llama.cpp before its sha256 was compared, because llama.cpp
takes most damage for numbers. That finds accidents: who can write to the file can also make one
that deceives, or worse, so keep it where nobody else can.

May touch: the file, and a temporary one in the same folder that takes its place in one step. Both
hold the text that was read, as tokens, and are for their owner's eyes alone (mode 0600).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from edgeproxy import files
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import EngineError, UsageError

Progress = Callable[[str, float], None]
"""Called with what is under way and the share of it that is done, 0 to 1."""

Origin = Mapping[str, str]

MAGIC, VERSION = b"EDGEPFX\n", 1
MAX_HEADER = 32 << 20

_FIXED = Struct("<8sII")
_SHA256 = 32
_CHUNK = 16 << 20
# Far more than any model needs for a token, and than a recurrent one needs for any text.
_MOST_A_TOKEN, _MOST = 8 << 20, 1 << 30
_DAMAGED = "it is damaged"
_REMEDIES = {
    "a directory": "name a file in it",
    "a symbolic link": "name the file itself, for a link may lead anywhere",
}


class Unfit(Exception):
    """The file is one of ours and cannot be used; says why."""


class _Part(NamedTuple):
    """What the header says of one role."""

    origin: Origin
    tokens: list[int]
    size: int
    sha256: str


def check_path(path: Path) -> None:
    """Raise `UsageError` unless `path` can be a prompt cache: a new file, an empty one, or one."""
    file = _open(path)
    if file is not None:
        file.close()


def load(
    path: Path, trio: Trio, origins: Sequence[Origin], progress: Progress
) -> RoleTokens | None:
    """What the file holds, now in the trio; None where there is nothing. Raises `Unfit`."""
    opened = _open(path)
    if opened is None:
        return None
    with opened as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return None
            parts = _read_header(file, size)
            _check_origins(parts, origins)
            tokens = RoleTokens(*(part.tokens for part in parts))
            trio.adopt(tokens, _states(file, parts, progress))
        except EngineError as error:
            raise Unfit(f"it could not be put back ({error})") from None
        except OSError as error:
            raise Unfit(f"it cannot be read ({files.reason(error)})") from None
    return tokens


def save(
    path: Path,
    trio: Trio,
    origins: Sequence[Origin],
    prompt: RoleTokens,
    progress: Progress,
    most: int | None = None,
) -> None:
    """Keep the trio's states, of just `prompt`. Raises `OSError`; the path is as it was then.

    So it is where they would take over `most` bytes: raises `Unfit`.
    """
    states = [model.state() for model in trio.saving]
    if most is not None and sum(map(len, states)) > most:
        raise Unfit("it would be too large")
    parts = [
        _Part(origin, list(tokens), len(state), hashlib.sha256(state).hexdigest())
        for origin, tokens, state in zip(origins, prompt, states, strict=True)
    ]
    text = json.dumps([part._asdict() for part in parts]).encode("ascii")
    head = _FIXED.pack(MAGIC, VERSION, len(text)) + text
    total, done = sum(map(len, states)), 0
    with files.replacing(path, private=True) as file:
        file.write(head + hashlib.sha256(head).digest())
        for chunk in (chunk for state in states for chunk in _chunks(state)):
            progress("writing the prompt cache", done / total)
            done += file.write(chunk)
        check_path(path)  # somebody may have put a file of another kind there meanwhile


def _open(path: Path) -> BufferedReader | None:
    """The file at `path`, at its start; None where there is none yet."""
    try:
        file = files.open_regular(path, follow=False)
    except FileNotFoundError:
        if path.parent.is_dir():
            return None
        raise UsageError(f"{path}: there is no such folder; make it, or name another") from None
    except files.NotRegularError as error:
        remedy = _REMEDIES.get(error.kind, "name a regular file")
        raise UsageError(f"{path}: it is {error.kind} and no prompt cache; {remedy}") from None
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        what = files.reason(error)
        raise UsageError(f"{path}: it cannot be a prompt cache ({what})") from None
    try:
        # An empty file is nobody's, and one of ours may be cut short.
        if not MAGIC.startswith(file.read(len(MAGIC))):
            raise UsageError(
                f"{path}: this is not a prompt cache, so it is left as it is; name another file"
            )
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return BufferedReader(file)


def _read_header(file: BufferedReader, size: int) -> list[_Part]:
    fixed = file.read(_FIXED.size)
    if len(fixed) < _FIXED.size:
        raise Unfit(_DAMAGED)
    _, version, length = _FIXED.unpack(fixed)
    if version != VERSION:
        raise Unfit("another version of edgeproxy made it, or it is damaged")
    start = _FIXED.size + length + _SHA256
    if length > MAX_HEADER or start > size:
        raise Unfit(_DAMAGED)
    text = file.read(length)
    if hashlib.sha256(fixed + text).digest() != file.read(_SHA256):
        raise Unfit(_DAMAGED)
    try:
        parts = [_Part(**part) for part in json.loads(text)]
    except (ValueError, TypeError, RecursionError):
        raise Unfit(_DAMAGED) from None
    if len(parts) != 3 or not all(map(_is_sound, parts)):
        raise Unfit(_DAMAGED)
    if start + sum(part.size for part in parts) != size:
        raise Unfit(_DAMAGED)
    return parts


def _is_sound(part: _Part) -> bool:
    return (
        isinstance(part.origin, dict)
        and isinstance(part.tokens, list)
        and all(type(token) is int and token >= 0 for token in part.tokens)
        and type(part.size) is int
        and 0 < part.size <= _MOST_A_TOKEN * len(part.tokens) + _MOST
        and len(part.tokens) > 0
    )


def _check_origins(parts: Sequence[_Part], origins: Sequence[Origin]) -> None:
    for role, part, origin in zip(RoleTokens._fields, parts, origins, strict=True):
        if part.origin != origin:
            other = [name for name in origin if part.origin.get(name) != origin[name]]
            what = other[0] if other else "edgeproxy"
            raise Unfit(f"it was made with another {what} for the {role.replace('_', '-')}")


def _states(
    file: BufferedReader, parts: Sequence[_Part], progress: Progress
) -> Iterator[memoryview]:
    """The states one after the other, each checked, so that one at a time is in memory."""
    total, done = sum(part.size for part in parts), 0
    for part in parts:
        state, digest = memoryview(bytearray(part.size)), hashlib.sha256()
        for chunk in _chunks(state):
            progress("loading the prompt cache", done / total)
            if file.readinto(chunk) != len(chunk):
                raise Unfit(_DAMAGED)
            digest.update(chunk)
            done += len(chunk)
        if digest.hexdigest() != part.sha256:
            raise Unfit(_DAMAGED)
        yield state


def _chunks(data: memoryview) -> Iterator[memoryview]:
    return (data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK))
