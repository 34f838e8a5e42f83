"""Names that a shell, or a chat, may complete.

May touch: the store of installed trios and the history of conversations, read-only.
"""

from __future__ import annotations

import contextlib

import click

from edgeproxy.errors import EdgeproxyError

_MOST_SESSIONS = 200
"""So many are enough to choose among."""


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


def session_names() -> list[tuple[str, str]]:
    """The latest conversations: the name of each, or its id, and what it is known by."""
    from edgeproxy.history.history import History

    with contextlib.suppress(EdgeproxyError, OSError), History() as history:
        return [(each.name or each.id, each.label) for each in history.sessions(_MOST_SESSIONS)]
    return []


def complete_session(_context: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """The `shell_complete` of an option that names a conversation."""
    return [name for name, _ in session_names() if name.startswith(typed)]


def complete_trio(_context: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """The `shell_complete` of an argument or option that names a trio."""
    return [name for name in trio_names() if name.startswith(typed)]


def complete_recipe(_context: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """The `shell_complete` of an argument that names a trio to pull."""
    from edgeproxy.trios.find import pullable_names

    with contextlib.suppress(EdgeproxyError, OSError):
        return [name for name in pullable_names() if name.startswith(typed)]
    return []
