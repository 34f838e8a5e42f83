"""Packages of the extra [docs], imported when a document needs one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from edgeproxy.errors import DocumentError

INSTALL = "pip install 'edgeproxy[docs]'"


class MissingReaderError(DocumentError):
    """A package is missing or broken; other documents of the same kind cannot be read either."""


def needed(module: str, package: str, path: Path, kind: str) -> ModuleType:
    """The module of that name, of `package`. Raises `MissingReaderError` with what to type."""
    try:
        return import_module(module)
    except ModuleNotFoundError:
        there = "is not installed"
    except (ImportError, OSError) as error:
        there = f"cannot be loaded ({error})"
    raise MissingReaderError(f"{path}: {kind} is read by {package}, which {there}: {INSTALL}")
