"""A server's key: read from the environment or a file, and shown by nothing.

A `Key` has no representation that holds it, cannot be pickled, and `scrubbed` takes it out of what
a server says, as some repeat the key that they refuse.

May touch: the environment variable or the file that it is told to read.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NoReturn

from edgeproxy.errors import UsageError
from edgeproxy.files import open_regular, reason

MAX_BYTES = 8192
HIDDEN = "(key)"
"""What stands in a text where the key stood."""

_KEY = re.compile(r"[\x21-\x7e]+")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Key:
    """A key. `warning` says what is wrong with where it is kept, "" where nothing is."""

    __slots__ = ("_secret", "warning")

    def __init__(self, secret: str, warning: str = "") -> None:
        """Raises `UsageError` for what no header can carry; the message does not repeat it."""
        if not isinstance(secret, str) or not _KEY.fullmatch(secret) or len(secret) > MAX_BYTES:
            raise UsageError(
                "a server's key is one word of ASCII letters, digits and signs, without spaces "
                "or line ends; this one is empty, too long or holds others"
            )
        self._secret = secret
        self.warning = warning

    @property
    def header(self) -> str:
        """The value of the header Authorization. Show it to nobody but the server."""
        return f"Bearer {self._secret}"

    def scrubbed(self, text: str) -> str:
        """`text` without the key."""
        return text.replace(self._secret, HIDDEN)

    def __repr__(self) -> str:
        return "Key(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled: it would lie in a file")


def read_key(env: str | None = None, key_file: Path | None = None) -> Key:
    """The key in the environment variable `env`, or in the file `key_file`; just one is named.

    The file holds the key and maybe one line end. It may be readable by others, as the secrets of
    containers are (llama-server and vLLM do not look); `warning` says so. Raises `UsageError`.
    """
    if (env is None) == (key_file is None):
        raise UsageError("name either an environment variable or a file that holds the key")
    if env is not None:
        return _from_environment(env)
    assert key_file is not None
    return _from_file(key_file)


def _from_environment(name: str) -> Key:
    try:
        secret = os.environ.get(name, "").strip()
    except (ValueError, TypeError):
        secret = ""
    if not secret:
        raise UsageError(
            f"the environment variable {name!r} is not set or empty; put the server's key into it"
        )
    try:
        return Key(secret)
    except UsageError as error:
        raise UsageError(f"the environment variable {name}: {error}") from None


def _from_file(path: Path) -> Key:
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_BYTES + 3)
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "it cannot be a path"
        raise UsageError(f"{path}: this file of a key cannot be read ({why}); check it") from None
    try:
        secret = data.decode("utf-8-sig").strip()
        return Key(secret, _warning(path, mode))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: this file holds no key: it is not text") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _warning(path: Path, mode: int) -> str:
    if os.name == "nt" or not mode & _OTHERS:  # Windows has no such bits
        return ""
    return f"{path}: others on this machine may read this key; chmod 600 keeps it yours"
