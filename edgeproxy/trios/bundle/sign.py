"""Signatures of manifests, as minisign makes and checks them: Ed25519, over the manifest's BLAKE2b.

May touch: key files. Needs the extra `sign`, and says so where it is missing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeproxy.errors import BundleError, UsageError
from edgeproxy.files import open_regular, reason, write_new

_MAX_KEY_FILE = 1 << 12
_BARE_KEY = re.compile(r"RW[A-Za-z0-9+/]{54}")
# Always the same, so that the same bundle has the same signature.
_COMMENT = "the manifest of an edgeproxy bundle"


class PublicKey:
    """A minisign public key: what a bundle's signature is checked with."""

    def __init__(self, key: str) -> None:
        """`key` is the path of a public key file, or the key itself (56 characters from RW).

        Raises `UsageError` where it is neither, or where signatures cannot be checked here.
        """
        library, path = _library(), Path(key)
        is_bare = _BARE_KEY.fullmatch(key) is not None and not path.exists()
        with _refusing(key, "a minisign public key", library):
            read = library.PublicKey
            self._key = read.from_base64(key) if is_bare else read.from_bytes(_read(path))

    def check(self, content: bytes, signature: bytes | None) -> None:
        """Raise `BundleError` unless `signature` is this key's signature of `content`."""
        if signature is None:
            raise BundleError("it is not signed, and a key was given: do not use it")
        library = _library()
        try:
            self._key.verify(content, library.Signature.from_bytes(signature))
        except library.VerifyError as error:
            if "key identifiers" in str(error):
                raise BundleError("it is signed with another key: do not use it") from None
            raise BundleError("its signature is wrong, so it was altered: do not use it") from None
        except ValueError as error:
            raise BundleError(f"its signature is malformed ({error}): do not use it") from None


class SecretKey:
    """A minisign secret key, with or without a password: what a bundle is signed with."""

    def __init__(self, path: Path, ask: Callable[[], str]) -> None:
        """The key in the file at `path`; `ask` is called for its password where it has one.

        Raises `UsageError` for a file that is no secret key, and for a wrong password.
        """
        library = _library()
        with _refusing(path, "a minisign secret key", library):
            self._key = library.SecretKey.from_bytes(_read(path))
        if self._key.is_encrypted():
            with _refusing(path, "to be opened with this password", library):
                self._key.decrypt(ask())

    def sign(self, content: bytes) -> bytes:
        """The signature file of `content`, as `minisign -V` reads it."""
        return bytes(self._key.sign(content, trusted_comment=_COMMENT)) + b"\n"


def make_keys(path: Path, password: str = "") -> tuple[Path, str]:
    """Write a new secret key to `path` and its public key beside it; that path, and the key itself.

    The secret key is for its owner's eyes (mode 0600). Raises `UsageError` where either is there.
    """
    library = _library()
    public = path.with_name(f"{path.name}.pub")
    for each in (path, public):
        if each.exists() or each.is_symlink():
            raise UsageError(f"{each} is there already; name another file for the new key")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: there is no such folder; make it, or name another")
    pair = library.KeyPair.generate()
    if password:
        pair.secret_key.encrypt(password)
    write_new(path, bytes(pair.secret_key) + b"\n", private=True)
    write_new(public, bytes(pair.public_key) + b"\n")
    return public, pair.public_key.to_base64().decode("ascii")


def _library() -> Any:
    try:
        import minisign
    except ImportError:
        raise UsageError(
            "signatures need one more package; install it: pip install 'edgeproxy[sign]'"
        ) from None
    return minisign


@contextlib.contextmanager
def _refusing(name: object, what: str, library: Any) -> Iterator[None]:
    try:
        yield
    except library.Error as error:
        raise UsageError(f"{name}: this is not {what} ({error})") from None


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(_MAX_KEY_FILE)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such key file") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: it cannot be read ({reason(error)})") from None
