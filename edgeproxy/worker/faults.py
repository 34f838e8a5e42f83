"""Errors of a worker <-> the same errors in its host."""

from __future__ import annotations

from typing import Any

from edgeproxy import errors
from edgeproxy.errors import (
    EdgeproxyError,
    ModelFileError,
    QueueFullError,
    RemoteError,
    UnreadableError,
)

RAISED = (EdgeproxyError, OSError, MemoryError)
"""What may be said; anything else is a fault of this package, and ends the worker."""


def told(error: BaseException) -> list[Any]:
    """An error, one of `RAISED`, as JSON can say it: the name of its kind and its arguments."""
    kind = type(error).__name__
    if isinstance(error, ModelFileError | UnreadableError):
        return [kind, error.path, error.what]
    if isinstance(error, RemoteError):
        return [kind, error.server, error.what, error.status]
    if isinstance(error, QueueFullError):
        return [kind, str(error), error.retry_after]
    if isinstance(error, OSError):
        name = error.filename if isinstance(error.filename, str) else None
        return ["OSError", error.errno, error.strerror or str(error), name]
    if isinstance(error, MemoryError):
        return ["MemoryError"]
    return [kind, str(error)]


def error_of(said: list[Any]) -> Exception:
    """The error that `told` said. Raises `ValueError` or `TypeError` for what it cannot have."""
    name, *arguments = said
    if name == "OSError":
        return OSError(*arguments)
    if name == "MemoryError":
        return MemoryError()
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, EdgeproxyError)):
        raise ValueError(f"there is no error {name!r}")
    return kind(*arguments)
