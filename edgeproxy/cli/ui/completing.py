"""Names that a shell, or a chat, may complete.

May touch: the store of installed trios, read-only.
"""

from __future__ import annotations

import contextlib

import click

from edgeproxy.errors import EdgeproxyError


def trio_names() -> list[str]:
    """The trios that can be loaded by their names: those that ship, and those installed."""
    from edgeproxy.trios.find import shipped_names
    from edgeproxy.trios.store import Store

    names: set[str] = set()
    with contextlib.suppress(EdgeproxyError, OSError):
        names.update(shipped_names())
    with contextlib.suppress(EdgeproxyError, OSError):
        names.update(Store().names())
    return sorted(names)


def complete_trio(_context: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """The `shell_complete` of an argument or option that names a trio."""
    return [name for name in trio_names() if name.startswith(typed)]


def complete_recipe(_context: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """The `shell_complete` of an argument that names a trio to pull."""
    from edgeproxy.trios.find import pullable_names

    with contextlib.suppress(EdgeproxyError, OSError):
        return [name for name in pullable_names() if name.startswith(typed)]
    return []
