"""Where a server listens: a port, or a UNIX socket that its owner alone can use.

May touch: the network, as far as listening; the path of a UNIX socket, where nothing else than a
socket that nobody answers is ever removed; a lock on its folder, which leaves no file.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.files import reason

_BACKLOG = 256
_PATIENCE = 1.0
_PRIVATE = 0o600

_LOCK_SECONDS = 5.0
"""So long another server that begins in the same folder is waited for."""

_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Listening:
    """A socket that listens, and what it is called: a host and a port, or a path.

    `identity` is that of the file at the path.
    """

    socket: socket.socket
    host: str | None = None
    port: int | None = None
    path: Path | None = None
    identity: tuple[int, int] | None = None

    @property
    def address(self) -> str:
        """The beginning of addresses there: "http://127.0.0.1:8080"; a socket has no port."""
        if self.host is None or self.port is None:
            return "http://localhost"
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def remove(self) -> None:
        """Remove what is at the path, unless another one has taken its place."""
        with contextlib.suppress(OSError):
            if self.path is not None and _identity(self.path) == self.identity:
                self.path.unlink()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def at_port(host: str, port: int) -> Iterator[Listening]:
    """A socket that listens at a port of a host, port 0 for any that is free.

    Raises `UsageError` for a host that is none of this machine's, `EdgeproxyError` for a port that
    is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UsageError(f"there is no host {host!r}; --host 127.0.0.1 is this machine") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as made:
        # Elsewhere than on Windows this lets a server begin again at once, and no other take over.
        if sys.platform == "win32":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
            made.listen(_BACKLOG)
        except OSError as error:
            raise _cannot_listen(host, port, error) from None
        yield Listening(made, host, made.getsockname()[1])


def _cannot_listen(host: str, port: int, error: OSError) -> EdgeproxyError:
    if error.errno == errno.EADDRINUSE:
        return EdgeproxyError(
            f"port {port} of {host} is taken by another program; choose another one with --port, "
            "or --port 0 for any that is free"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"{host} is no address of this machine; --host 127.0.0.1 always is")
    if error.errno in (errno.EACCES, errno.EPERM):
        return EdgeproxyError(f"port {port} is not allowed to this user; choose one above 1023")
    return EdgeproxyError(f"cannot listen at port {port} of {host}: {reason(error)}")


@contextlib.contextmanager
def at_path(path: Path) -> Iterator[Listening]:
    """A UNIX socket that listens at a path, which its owner alone can use.

    One that is there and that nobody answers is replaced, by one server alone where several begin
    at once. It is removed at the end, unless another one has taken its place. Raises `UsageError`
    for a path that cannot be one, `EdgeproxyError` where something else is there or another server
    answers.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("this system has no UNIX sockets for Python; use --port 0")
    path = path.absolute()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        with _alone_in(path.parent):
            _make_way(path)
            before = os.umask(0o777 & ~_PRIVATE)  # so that it is never open to others
            try:
                made.bind(str(path))
            except OSError as error:
                raise _cannot_bind(path, error) from None
            finally:
                os.umask(before)
            made.listen(_BACKLOG)
            found = Listening(made, path=path, identity=_identity(path))
        try:
            yield found
        finally:
            found.remove()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """While no other server begins in this folder, as far as its file system has locks."""
    opened = None
    # Where that cannot be done the socket cannot be made either, which is said then.
    with contextlib.suppress(OSError, ValueError):
        opened = os.open(folder, os.O_RDONLY)
    try:
        if opened is not None:
            _lock(opened, folder)
        yield
    finally:
        if opened is not None:
            os.close(opened)


def _lock(opened: int, folder: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                raise EdgeproxyError(
                    f"{folder} is locked by another program, so that a socket in it may be one "
                    "that is just being made; choose a path in another folder"
                ) from None
        except OSError:  # this file system has no locks
            return
        time.sleep(_LOOK_SECONDS)


def _identity(path: Path) -> tuple[int, int]:
    """Which file is at a path: a system may give a new one the number of one that is gone."""
    status = path.lstat()
    return status.st_ino, status.st_mtime_ns


def _make_way(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be a socket: {reason(error)}") from None
    if not stat.S_ISSOCK(mode):
        raise EdgeproxyError(f"{path} is there and is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trying:
        trying.settimeout(_PATIENCE)
        try:
            trying.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise EdgeproxyError(
                f"{path} is a socket of which nobody knows whether it is used: {reason(error)}; "
                "choose another path, or remove it"
            ) from None
    raise EdgeproxyError(f"another server answers at {path}; choose another path")


def _cannot_bind(path: Path, error: OSError) -> EdgeproxyError:
    if error.errno is None:  # Python's own, before it asks the system
        return UsageError(f"{path} is too long for a socket; choose a path of under 100 characters")
    return EdgeproxyError(f"cannot listen at {path}: {reason(error)}; is its folder there?")
