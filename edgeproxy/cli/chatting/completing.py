"""What the Tab key may put at the end of a line: commands, settings, values, trios, paths.

May touch: names in folders that a person types.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgeproxy.cli.chatting.commands import COMMANDS
from edgeproxy.cli.chatting.settings import DEFAULT, SETTINGS
from edgeproxy.cli.ui.completing import trio_names

_MOST = 200
"""So many names of a folder are enough to choose among."""


def completions(line: str) -> Iterator[tuple[str, str]]:
    """What `line` may go on as: the word that is being typed, whole, and what it stands for."""
    if not line.startswith("/"):
        return
    name, space, rest = line.partition(" ")
    if not space:
        yield from _beginning_with(name, ((n, c.what) for n, c in COMMANDS.items()))
        return
    command = COMMANDS.get(name)
    if command is None:
        return
    match command.values:
        case "path":
            yield from _paths(rest)
        case "trio":
            yield from _beginning_with(rest, ((each, "") for each in trio_names()))
        case "topic":
            topics = [(n[1:], c.what) for n, c in COMMANDS.items()]
            settings = ((n, s.what) for n, s in SETTINGS.items() if f"/{n}" not in COMMANDS)
            yield from _beginning_with(rest, [*topics, *settings])
        case "setting":
            yield from _settings(rest)
        case values:
            yield from _beginning_with(rest, ((value, "") for value in values))


def _settings(rest: str) -> Iterator[tuple[str, str]]:
    name, space, value = rest.partition(" ")
    if not space:
        yield from _beginning_with(name, ((n, s.what) for n, s in SETTINGS.items()))
    elif name in SETTINGS:
        values: Sequence[str] = (*SETTINGS[name].values, DEFAULT)
        yield from _beginning_with(value, ((each, "") for each in values))


def _beginning_with(word: str, names: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    yield from ((name, what) for name, what in names if name.startswith(word))


def _paths(typed: str) -> Iterator[tuple[str, str]]:
    """Files and folders whose path begins with what was typed."""
    folder, sign, begun = typed.rpartition("/")
    found: list[str] = []
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        place = Path(f"{folder}{sign}" or ".").expanduser()
        for path in place.iterdir():
            if path.name.startswith(begun) and (begun or not path.name.startswith(".")):
                found.append(f"{folder}{sign}{path.name}{'/' if path.is_dir() else ''}")
            if len(found) >= _MOST:
                break
    yield from ((path, "") for path in sorted(found))
